"""aclImdb as an archive: read to its end, in whatever order, never unpacked; half of one is refused."""

import bz2
import gzip
import lzma
import tarfile

import pytest
from small_data import REVIEWS, every_text, member, review_folder, review_members, write_archive

from minibert.data import archive, load_task
from minibert.plumbing.files import UserError


def test_an_imdb_archive_reads_as_the_folder_does(tmp_path):
    archive = write_archive(tmp_path / "reviews.tar.gz", review_members())
    folder = review_folder(tmp_path / "aclImdb")
    assert load_task("imdb", archive, sample=True) == load_task("imdb", folder, sample=True)


def test_the_order_inside_an_archive_changes_nothing(tmp_path):
    forwards = write_archive(tmp_path / "forwards.tar.gz", review_members())
    backwards = write_archive(tmp_path / "backwards.tar.gz", review_members()[::-1])
    assert load_task("imdb", forwards, sample=True) == load_task("imdb", backwards, sample=True)


def test_a_hostile_archive_writes_nothing_and_adds_no_text(tmp_path):
    inside = tmp_path / "some" / "where"
    inside.mkdir(parents=True)
    secret = tmp_path / "secret.txt"
    secret.write_text("not yours", encoding="utf-8")
    hostile = [
        member("../../evil.txt", "evil"),
        member(str(tmp_path / "absolute.txt"), "evil"),
        member("aclImdb/train/neg/9_1.txt", type=tarfile.SYMTYPE, linkname=str(secret)),
        member("aclImdb/train/neg/8_1.txt", type=tarfile.LNKTYPE, linkname="../../secret.txt"),
        member("aclImdb/train/neg/deeper/7_1.txt", "evil"),
        member("aclImdb/train/neg/6_1.txt", type=tarfile.FIFOTYPE),
    ]
    archive = write_archive(inside / "hostile.tar.gz", hostile + review_members())
    before = sorted(tmp_path.rglob("*"))
    task = load_task("imdb", archive, sample=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert every_text(task) == sorted(text for folder, texts in REVIEWS.items() if "unsup" not in folder
                                      for text in texts)  # fmt: skip


def plain_tar(path, members):
    """The bytes of a .tar without compression, and the position where each member starts."""
    with tarfile.open(path, "w") as file:
        for info, content in members:
            file.addfile(info, content)
    with tarfile.open(path) as file:
        return path.read_bytes(), [info.offset for info in file.getmembers()]


@pytest.fixture
def tar(tmp_path):
    """The reviews as the bytes of a .tar without compression."""
    return plain_tar(tmp_path / "plain.tar", review_members())[0]


def refusal(path, content):
    """The message for an archive of these bytes."""
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_task("imdb", path, sample=True)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_an_archive_may_be_compressed_as_usual_or_not_at_all(compress, tar, tmp_path):
    (tmp_path / "packed").write_bytes(compress(tar))
    folder = review_folder(tmp_path / "aclImdb")
    assert load_task("imdb", tmp_path / "packed", sample=True) == load_task("imdb", folder, sample=True)


def test_an_archive_in_several_gzip_members_is_read_whole(tar, tmp_path):
    third = len(tar) // 3
    pieces = [gzip.compress(piece) for piece in (tar[:third], tar[third : 2 * third], tar[2 * third :])]
    (tmp_path / "pieces.tar.gz").write_bytes(b"".join(pieces))
    folder = review_folder(tmp_path / "aclImdb")
    assert load_task("imdb", tmp_path / "pieces.tar.gz", sample=True) == load_task("imdb", folder, sample=True)


def test_an_archive_cut_between_two_members_is_refused(tmp_path):
    content, starts = plain_tar(tmp_path / "plain.tar", review_members())
    for start in starts[1:]:
        assert "end mark" in refusal(tmp_path / "cut.tar.gz", gzip.compress(content[:start]))


def test_an_archive_cut_anywhere_is_refused(tar, tmp_path):
    packed = gzip.compress(tar)
    for kept in range(0, len(packed), 7):
        refusal(tmp_path / "cut.tar.gz", packed[:kept])


def test_two_archives_strung_together_are_refused(tar, tmp_path):
    assert "second archive" in refusal(tmp_path / "two.tar.gz", gzip.compress(tar) + gzip.compress(tar))


def test_a_letter_that_does_not_fit_its_checksum_is_refused(tar, tmp_path):
    packed = bytearray(gzip.compress(tar, compresslevel=0))  # stored, so that a letter can be changed
    packed[packed.index(b"a joy")] ^= 1
    assert "CRC" in refusal(tmp_path / "changed.tar.gz", bytes(packed))


def test_a_damaged_header_in_the_middle_is_refused(tmp_path):
    content, starts = plain_tar(tmp_path / "plain.tar", review_members())
    damaged = bytearray(content)
    damaged[starts[4]] ^= 1
    refusal(tmp_path / "damaged.tar.gz", gzip.compress(bytes(damaged)))


def test_the_same_review_twice_is_refused(tmp_path):
    path = write_archive(tmp_path / "twice.tar.gz", review_members() + review_members()[:1])
    with pytest.raises(UserError, match="train/neg/0_7.txt twice"):
        load_task("imdb", path, sample=True)


@pytest.mark.parametrize("name", ["aclImdb/train/neg/0_7.txt", "aclImdb/README"])
@pytest.mark.parametrize("size", [2**62, 2**33 - 1, -512, -(2**40)])
def test_a_member_that_claims_a_senseless_size_is_refused_at_once(name, size, tmp_path):
    info, _ = member(name)
    info.size = size
    head = info.tobuf(tarfile.GNU_FORMAT)
    content, _ = plain_tar(tmp_path / "plain.tar", review_members())
    refusal(tmp_path / "claims.tar.gz", gzip.compress(head + content))


def test_a_name_of_senseless_length_is_refused_before_it_is_read(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**40
    head = info.tobuf(tarfile.GNU_FORMAT)
    assert "claims" in refusal(tmp_path / "claims.tar.gz", gzip.compress(head + bytes(2**20)))


def test_a_review_too_large_to_be_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_REVIEW", 100)
    path = write_archive(tmp_path / "long.tar.gz", [*review_members(), member("aclImdb/test/neg/9_1.txt", "a" * 101)])
    with pytest.raises(UserError, match="test/neg/9_1.txt has 101 bytes"):
        load_task("imdb", path, sample=True)


def test_an_archive_that_becomes_too_large_is_refused(tar, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_ARCHIVE", len(tar) - 1)
    assert "becomes more than" in refusal(tmp_path / "bomb.tar.gz", gzip.compress(tar))


@pytest.mark.parametrize("text, why", [("", "empty"), (" \n", "empty"), ("a\0b", "NUL")])
def test_a_review_without_text_is_named(text, why, tmp_path):
    path = write_archive(tmp_path / "bad.tar.gz", [*review_members(), member("aclImdb/test/neg/9_1.txt", text)])
    with pytest.raises(UserError, match=f"aclImdb/test/neg/9_1.txt.*{why}"):
        load_task("imdb", path, sample=True)


# Half a data set


def test_a_part_of_imdb_is_refused_unless_a_sample_was_asked_for(tmp_path):
    path = write_archive(tmp_path / "reviews.tar.gz", review_members())
    with pytest.raises(UserError) as caught:
        load_task("imdb", path)
    message = str(caught.value)
    assert str(path) in message and "--sample" in message
    assert "5 neg, 5 pos" in message and "12,500 neg, 12,500 pos" in message
    assert len(every_text(load_task("imdb", path, sample=True))) == 15


def test_a_part_of_sms_spam_is_refused_unless_a_sample_was_asked_for(tmp_path):
    path = tmp_path / "SMSSpamCollection"
    path.write_text("".join(f"{'ham' if i % 4 else 'spam'}\tmessage {i}\n" for i in range(40)), encoding="utf-8")
    with pytest.raises(UserError, match="30 ham, 10 spam, the published one 4,827 ham, 747 spam"):
        load_task("sms-spam", tmp_path)
    assert len(every_text(load_task("sms-spam", tmp_path, sample=True))) == 40
