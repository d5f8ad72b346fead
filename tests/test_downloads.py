"""Downloads of data sets: what arrives is whole and the right thing, or one line says why not and what to type."""

import contextlib
import hashlib
import io
import zipfile

import pytest
from local_server import (
    MESSAGES,
    Handler,
    files_in,
    no_proxy,  # noqa: F401 (a fixture for every test here)
    serve_messages_from,
    serving,
    source_at,
    unused_url,
)

from minibert.data import download, load_task
from minibert.data.corpora import CORPORA
from minibert.data.download import fetch
from minibert.plumbing.files import UserError, cache_folder


def refused(source, task="sms-spam"):
    """The message of a fetch that fails, after checking that it is one line, helps, and left nothing behind."""
    with pytest.raises(UserError) as caught:
        fetch(source, task)
    message = str(caught.value)
    assert "\n" not in message
    assert source.url in message
    assert "--data" in message
    assert files_in(cache_folder()) == []
    return message


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_is_fetched_once_and_then_taken_from_the_cache(algorithm):
    with serving(lambda path: (200, {}, MESSAGES.encode())) as server:
        source = source_at(server.url, MESSAGES.encode(), algorithm=algorithm)
        first, second = fetch(source, "sms-spam"), fetch(source, "sms-spam")
    assert first == second == cache_folder() / "SMSSpamCollection"
    assert first.read_bytes() == MESSAGES.encode()
    assert server.requests == [("GET", "/messages")]
    assert files_in(cache_folder()) == ["SMSSpamCollection"]


def test_a_task_fetches_what_it_needs(monkeypatch):
    with serving(lambda path: (200, {}, MESSAGES.encode())) as server:
        serve_messages_from(server, monkeypatch)
        task = load_task("sms-spam")
        assert load_task("sms-spam") == task
    assert len(task.train) + len(task.validation) + len(task.test) == 20
    assert len(server.requests) == 1


def test_a_transfer_of_unknown_length_is_fine_when_the_checksum_is():
    with serving(lambda path: (200, {"Transfer-Encoding": "chunked"}, b"5\r\nham\tx\r\n0\r\n\r\n")) as server:
        assert fetch(source_at(server.url, b"ham\tx"), "sms-spam").read_bytes() == b"ham\tx"


def zipped(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return content.getvalue()


def test_of_a_zip_archive_only_the_named_member_is_kept(tmp_path):
    archive = zipped({"readme": "about", "SMSSpamCollection": MESSAGES, "../../evil": "evil"})
    with serving(lambda path: (200, {}, archive)) as server:
        path = fetch(source_at(server.url, MESSAGES.encode(), member="SMSSpamCollection"), "sms-spam")
    assert path.read_text() == MESSAGES
    assert files_in(tmp_path) == ["SMSSpamCollection"]


def test_a_zip_archive_without_the_member_is_refused():
    with serving(lambda path: (200, {}, zipped({"readme": "about"}))) as server:
        assert "SMSSpamCollection" in refused(source_at(server.url, b"", member="SMSSpamCollection"))


def test_something_else_than_a_zip_archive_is_refused():
    with serving(lambda path: (200, {}, b"<html>please log in</html>")) as server:
        assert "zip" in refused(source_at(server.url, b"", member="SMSSpamCollection"))


def test_a_damaged_member_of_a_zip_archive_is_refused():
    archive = bytearray(zipped({"SMSSpamCollection": MESSAGES}))
    archive[archive.index(b"see you at 7")] ^= 1
    with serving(lambda path: (200, {}, bytes(archive))) as server:
        assert "CRC" in refused(source_at(server.url, MESSAGES.encode(), member="SMSSpamCollection"))


def test_another_file_than_expected_is_refused():
    with serving(lambda path: (200, {}, b"something else")) as server:
        message = refused(source_at(server.url, MESSAGES.encode()))
    assert hashlib.sha256(b"something else").hexdigest() in message
    assert hashlib.sha256(MESSAGES.encode()).hexdigest() in message


def test_a_transfer_cut_short_is_refused_and_the_next_try_works():
    whole = MESSAGES.encode()
    with serving(lambda path: (200, {"Content-Length": str(len(whole))}, whole[:100])) as server:
        source = source_at(server.url, whole)
        message = refused(source)
        assert "100" in message and str(len(whole)) in message
        server.answer = lambda path: (200, {}, whole)
        assert fetch(source, "sms-spam").read_bytes() == whole


def test_a_chunked_transfer_cut_short_is_refused():
    with serving(lambda path: (200, {"Transfer-Encoding": "chunked"}, b"ff\r\nham\tx")) as server:
        refused(source_at(server.url, b"ham\tx"))


def test_a_missing_file_on_the_server_is_refused():
    with serving(lambda path: (404, {}, b"")) as server:
        assert "Not Found" in refused(source_at(server.url, b""))


def test_a_refused_connection_is_one_clear_line():
    assert "refused" in refused(source_at(unused_url(), b""))


def test_an_answer_that_is_not_http_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(Handler, "do_GET", lambda self: self.wfile.write(b"SSH-2.0-something\r\n"))
    with serving(lambda path: (200, {}, b"")) as server:
        assert "SSH-2.0-something" in refused(source_at(server.url, b""))


@pytest.mark.parametrize("length", ["many", "-5", "5.0", "\xb2", ""])
def test_a_length_that_is_no_number_is_as_good_as_none(length):
    with serving(lambda path: (200, {"Content-Length": length}, MESSAGES.encode())) as server:
        assert fetch(source_at(server.url, MESSAGES.encode()), "sms-spam").read_text() == MESSAGES


@pytest.mark.parametrize("length", ["9" * 18, "9" * 400])
def test_a_length_beyond_all_reason_is_refused_or_ignored(length):
    with serving(lambda path: (200, {"Content-Length": length}, MESSAGES.encode())) as server:
        with contextlib.suppress(UserError):
            assert fetch(source_at(server.url, MESSAGES.encode()), "sms-spam").read_text() == MESSAGES


@pytest.mark.parametrize("size", [b"-1", b"ffffffffffffffffff", b"no", b""])
def test_a_chunk_of_senseless_size_is_refused(size):
    with serving(lambda path: (200, {"Transfer-Encoding": "chunked"}, size + b"\r\nham\tx\r\n0\r\n\r\n")) as server:
        refused(source_at(server.url, b"ham\tx"))


def test_a_transfer_without_end_is_cut_off(monkeypatch):
    monkeypatch.setattr(download, "LARGEST_FILE", 1000)
    with serving(lambda path: (200, {}, b"x" * 2000)) as server:
        assert "more than 1,000 bytes" in refused(source_at(server.url, b""))


def test_an_encrypted_zip_archive_is_refused():
    archive = bytearray(zipped({"SMSSpamCollection": MESSAGES}))
    archive[6] |= 1  # the flag of the member's own header, and of its entry in the directory
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    with serving(lambda path: (200, {}, bytes(archive))) as server:
        assert "encrypted" in refused(source_at(server.url, MESSAGES.encode(), member="SMSSpamCollection"))


def test_a_zip_archive_that_becomes_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(download, "LARGEST_FILE", 1000)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SMSSpamCollection", "x" * 100_000)
    with serving(lambda path: (200, {}, content.getvalue())) as server:
        message = refused(source_at(server.url, b"x" * 100_000, member="SMSSpamCollection"))
    assert "more than 1,000 bytes" in message


def test_the_message_names_what_to_type_instead():
    message = refused(source_at(unused_url(), b""), "mrpc")
    assert message.startswith("mrpc ")
    assert "--data" in message and "`reviews`" in message


def test_every_source_states_a_checksum_and_an_encrypted_address():
    for corpus in CORPORA.values():
        for source in corpus.sources:
            assert source.url.startswith("https://")
            algorithm, digest = source.checksum.split(":")
            assert len(bytes.fromhex(digest)) == hashlib.new(algorithm).digest_size
