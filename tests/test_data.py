"""Data sets: every reader on a few lines that a person can check, then label order, splits and limits, then the
published sizes of the real data sets (skipped unless MINIBERT_TEST_DATA names a folder with copies).

What must be refused, and with which words, is in test_bad_tables.py and test_bad_sources.py.
"""

import io
import json
import random
import tarfile
from collections import Counter

import numpy as np
import pytest

from minibert.data import load_task
from minibert.data.dataset import Dataset, split, take
from minibert.data.tables import Columns

REVIEWS = {
    "train/neg": ["dull", "a bore", "no wit at all", "flat", "two lost hours"],
    "train/pos": ["bright", "a joy", "wit and warmth", "fine", "I went twice"],
    "test/neg": ["weak", "clumsy"],
    "test/pos": ["strong", "deft", "lovely"],
    "train/unsup": ["nobody said whether this one is good"],
}


def member(name, text="", **more):
    """A tar member and its content."""
    info = tarfile.TarInfo(name)
    content = text.encode("utf-8")
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, io.BytesIO(content)


def write_archive(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            archive.addfile(info, content)
    return path


def review_members():
    return [
        member(f"aclImdb/{folder}/{i}_7.txt", text) for folder, texts in REVIEWS.items() for i, text in enumerate(texts)
    ]


def review_folder(root):
    for folder, texts in REVIEWS.items():
        (root / folder).mkdir(parents=True)
        for i, text in enumerate(texts):
            (root / folder / f"{i}_7.txt").write_text(text, encoding="utf-8")
    return root


def every_text(task):
    return sorted(task.train.texts + task.validation.texts + task.test.texts)


def labelled(dataset):
    """{text: label name}"""
    return {text: dataset.label_names[label] for text, label in zip(dataset.texts, dataset.labels, strict=True)}


def write_csv(path, rows, header="text,label"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


# IMDb


def test_an_imdb_folder_keeps_its_official_test_set_and_leaves_out_the_unlabelled(tmp_path):
    task = load_task("imdb", review_folder(tmp_path / "aclImdb"))
    assert labelled(task.test) == {"weak": "neg", "clumsy": "neg", "strong": "pos", "deft": "pos", "lovely": "pos"}
    assert sorted(task.train.texts + task.validation.texts) == sorted(REVIEWS["train/neg"] + REVIEWS["train/pos"])
    assert task.train.label_names == ["neg", "pos"]


def test_the_folder_that_holds_aclimdb_will_do_too(tmp_path):
    review_folder(tmp_path / "aclImdb")
    assert load_task("imdb", tmp_path) == load_task("imdb", tmp_path / "aclImdb")


def test_an_imdb_archive_reads_as_the_folder_does(tmp_path):
    archive = write_archive(tmp_path / "reviews.tar.gz", review_members())
    assert load_task("imdb", archive) == load_task("imdb", review_folder(tmp_path / "aclImdb"))


def test_the_order_inside_an_archive_changes_nothing(tmp_path):
    forwards = write_archive(tmp_path / "forwards.tar.gz", review_members())
    backwards = write_archive(tmp_path / "backwards.tar.gz", review_members()[::-1])
    assert load_task("imdb", forwards) == load_task("imdb", backwards)


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
    task = load_task("imdb", archive)
    assert sorted(tmp_path.rglob("*")) == before
    assert every_text(task) == sorted(text for folder, texts in REVIEWS.items() if "unsup" not in folder
                                      for text in texts)  # fmt: skip


def test_a_review_may_hold_any_letter(tmp_path):
    folder = review_folder(tmp_path / "aclImdb")
    (folder / "test" / "pos" / "3_9.txt").write_text("Amélie \u2028 是 \U0001f600", encoding="utf-8")
    assert labelled(load_task("imdb", folder).test)["Amélie \u2028 是 \U0001f600"] == "pos"


# SMS spam and MRPC


def test_an_sms_line_is_a_label_a_tab_and_a_message(tmp_path):
    lines = [f"ham\tsee you at {hour}" for hour in range(16)] + [f"spam\tWIN {prize} NOW" for prize in range(4)]
    lines[3] = 'ham\ta "quote and\ttabs are text'
    (tmp_path / "SMSSpamCollection").write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = load_task("sms-spam", tmp_path)
    assert task.train.label_names == ["ham", "spam"]
    assert every_text(task) == sorted(line.partition("\t")[2] for line in lines)
    assert task.test.class_counts() == [3, 1]
    assert load_task("sms-spam", tmp_path / "SMSSpamCollection") == task


def write_mrpc(folder, per_class=5):
    header = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
    for part in ("train", "test"):
        rows = [
            f'{quality}\t{i}\t{i + 100}\tHe said, "{part} {i}\t"He" said {part} {i}.\r\n'
            for quality in (0, 1)
            for i in range(10 * quality, 10 * quality + per_class)
        ]
        (folder / f"msr_paraphrase_{part}.txt").write_bytes((header + "".join(rows)).encode("utf-8"))


def test_mrpc_quotes_are_letters_and_neither_mark_nor_carriage_return_stays(tmp_path):
    write_mrpc(tmp_path)
    task = load_task("mrpc", tmp_path)
    assert task.test.label_names == ["different", "paraphrase"]
    assert task.test.class_counts() == [5, 5]
    assert task.test.texts[0] == 'He said, "test 0'
    assert task.test.pairs[0] == '"He" said test 0.'
    assert task.test.ids[0] == "0-100"
    assert task.test.labels[0] == 0 and task.test.labels[-1] == 1
    assert (len(task.train), len(task.validation)) == (8, 2)
    assert len(task.train.pairs) == 8


# A person's own files


def test_csv_fields_may_hold_newlines_commas_and_doubled_quotes(tmp_path):
    rows = ['"one, two\nand three",a', '"she said ""no""",b', *(f"plain {i},{'ab'[i % 2]}" for i in range(18))]
    task = load_task(str(write_csv(tmp_path / "mine.csv", rows)))
    texts = every_text(task)
    assert "one, two\nand three" in texts
    assert 'she said "no"' in texts
    assert len(texts) == 20


def test_a_csv_row_is_named_by_the_line_it_starts_on(tmp_path):
    rows = ['"one\ntwo\nthree",a', "next,b"]
    write_csv(tmp_path / "train.csv", rows)
    write_csv(tmp_path / "validation.csv", rows)
    write_csv(tmp_path / "test.csv", rows)
    assert load_task(str(tmp_path)).test.ids == ["line 2", "line 5"]


def test_csv_and_tsv_lines_may_end_as_on_windows_and_start_with_a_mark(tmp_path):
    lines = ["text,label", *(f"text {i},{'ab'[i % 2]}" for i in range(20))]
    plain, windows = tmp_path / "plain.csv", tmp_path / "windows.csv"
    plain.write_text("\n".join(lines), encoding="utf-8")
    windows.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    tabs = tmp_path / "tabs.tsv"
    tabs.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).replace(",", "\t").encode())
    expected = load_task(str(plain)).train
    assert load_task(str(windows)).train == expected
    assert load_task(str(tabs)).train == expected


def test_tsv_quotes_are_letters(tmp_path):
    rows = ['"open\ta', 'closed"\tb', *(f"plain {i}\t{'ab'[i % 2]}" for i in range(18))]
    task = load_task(str(write_csv(tmp_path / "mine.tsv", rows, "text\tlabel")))
    assert {'"open', 'closed"'} <= set(every_text(task))
    assert len(every_text(task)) == 20


def test_jsonl_labels_may_be_numbers_and_texts_may_hold_line_breaks(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [{"text": f"first\nsecond {i}", "label": [10, 9, 2][i % 3], "source": None} for i in range(30)]
    path.write_text("\n\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    task = load_task(str(path))
    assert task.train.label_names == ["2", "9", "10"]
    assert every_text(task) == sorted(row["text"] for row in rows)
    assert labelled(task.train).items() <= {row["text"]: str(row["label"]) for row in rows}.items()


def test_a_jsonl_line_ends_at_a_newline_only(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [{"text": f"line\u2028separator\x85 {i}", "label": i % 2} for i in range(20)]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert every_text(load_task(str(path))) == sorted(row["text"] for row in rows)


def test_columns_can_have_other_names(tmp_path):
    rows = [f"{i},{'yes' if i % 2 else 'no'},first {i},second {i}" for i in range(20)]
    path = write_csv(tmp_path / "mine.csv", rows, "number,verdict,left,right")
    task = load_task(str(path), columns=Columns(text="left", pair="right", label="verdict"))
    assert task.train.label_names == ["no", "yes"]
    for text, pair in zip(task.train.texts, task.train.pairs, strict=True):
        assert text.replace("first", "second") == pair


def test_a_second_text_column_makes_pairs(tmp_path):
    path = write_csv(tmp_path / "mine.csv", [f"a{i},b{i},{i % 2}" for i in range(20)], "text,text_pair,label")
    task = load_task(str(path))
    for part in (task.train, task.validation, task.test):
        assert part.pairs == [text.replace("a", "b") for text in part.texts]


def test_a_folder_of_three_files_is_taken_as_split(tmp_path):
    for part in ("train", "validation", "test"):
        write_csv(tmp_path / f"{part}.csv", [f"{part} one,a", f"{part} two,b"])
    task = load_task(str(tmp_path))
    assert task.train.texts == ["train one", "train two"]
    assert task.validation.texts == ["validation one", "validation two"]
    assert task.test.texts == ["test one", "test two"]


def test_a_folder_without_validation_gets_it_from_train_never_from_test(tmp_path):
    write_csv(tmp_path / "train.csv", [f"train {i},{'ab'[i % 2]}" for i in range(20)])
    write_csv(tmp_path / "test.csv", ["test one,a", "test two,b"])
    task = load_task(str(tmp_path))
    assert task.test.texts == ["test one", "test two"]
    assert (len(task.train), len(task.validation)) == (16, 4)
    assert all(text.startswith("train") for text in task.train.texts + task.validation.texts)


def test_a_folder_of_label_folders_takes_any_labels(tmp_path):
    for part, count in (("train", 5), ("test", 2)):
        for label in ("sport", "politics", "weather"):
            (tmp_path / part / label).mkdir(parents=True)
            for i in range(count):
                (tmp_path / part / label / f"{i}.txt").write_text(f"{part} {label} {i}", encoding="utf-8")
    task = load_task(str(tmp_path))
    assert task.train.label_names == ["politics", "sport", "weather"]
    assert task.test.class_counts() == [2, 2, 2]
    assert task.validation.class_counts() == [1, 1, 1]
    assert task.test.ids[0] == "test/politics/0.txt"


# Label order


@pytest.mark.parametrize(
    "labels, order",
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (["1", "-1", "0"], ["-1", "0", "1"]),
        (["10", "9", "one"], ["10", "9", "one"]),
        (["b", "a", "B"], ["B", "a", "b"]),
        (["--1", "2"], ["--1", "2"]),
        (["-", "2"], ["-", "2"]),
    ],
)
def test_labels_are_ordered_by_value_if_all_are_whole_numbers_else_by_name(tmp_path, labels, order):
    rows = [f"{label} number {i},{label}" for i in range(5) for label in labels]
    assert load_task(str(write_csv(tmp_path / "mine.csv", rows))).train.label_names == order


def test_blanks_around_a_label_are_not_part_of_it(tmp_path):
    rows = [f"{i},{' a ' if i % 2 else 'a'}" for i in range(10)] + [f"{i}!,b" for i in range(10)]
    assert load_task(str(write_csv(tmp_path / "mine.csv", rows))).train.label_names == ["a", "b"]


# Splits


def uneven_rows():
    """60 texts of class a, 30 of b, 10 of c."""
    return [f"text number {i},{'a' if i < 60 else 'b' if i < 90 else 'c'}" for i in range(100)]


def test_each_text_is_in_exactly_one_part(tmp_path):
    task = load_task(str(write_csv(tmp_path / "mine.csv", uneven_rows())))
    assert every_text(task) == sorted(row.split(",")[0] for row in uneven_rows())


def test_a_split_keeps_the_share_of_each_class(tmp_path):
    task = load_task(str(write_csv(tmp_path / "mine.csv", uneven_rows())))
    assert task.test.class_counts() == [12, 6, 2]  # a fifth of 60, 30, 10
    assert task.validation.class_counts() == [10, 5, 2]  # a fifth of the 48, 24, 8 that are left
    assert task.train.class_counts() == [38, 19, 6]


def test_a_split_is_the_same_each_time_and_in_whatever_order_the_file_is(tmp_path):
    shuffled = uneven_rows()
    random.Random(1).shuffle(shuffled)
    one = load_task(str(write_csv(tmp_path / "one.csv", uneven_rows())))
    other = load_task(str(write_csv(tmp_path / "other.csv", shuffled)))
    for part in ("train", "validation", "test"):
        assert labelled(getattr(one, part)) == labelled(getattr(other, part))
    assert one.train.texts != other.train.texts  # each keeps its file's order
    assert one.test == load_task(str(tmp_path / "one.csv")).test


def test_a_split_does_not_follow_the_order_of_the_file(tmp_path):
    task = load_task(str(write_csv(tmp_path / "mine.csv", uneven_rows())))
    of_first_class = [int(text.split()[-1]) for text in task.test.texts if int(text.split()[-1]) < 60]
    assert min(of_first_class) < 20 and max(of_first_class) >= 40


def test_test_and_validation_are_different_draws(tmp_path):
    """Drawn by one hash, validation would be the texts that only just missed the test set."""
    dataset = Dataset([f"text {i}" for i in range(200)], [0] * 200, ["a"], list(map(str, range(200))))
    held_out = [set(split(dataset, purpose)[1].texts) for purpose in ("test", "validation")]
    assert len(held_out[0]) == len(held_out[1]) == 40
    assert len(held_out[0] & held_out[1]) < 25  # 8 are expected by chance


def test_copies_of_a_text_are_never_on_both_sides(tmp_path):
    rows = [f"copy {i % 20},{'ab'[i % 2]}" for i in range(100)]
    task = load_task(str(write_csv(tmp_path / "mine.csv", rows)))
    parts = [set(part.texts) for part in (task.train, task.validation, task.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20
    assert len(every_text(task)) == 100


def test_a_text_with_two_labels_is_not_on_both_sides_either(tmp_path):
    rows = [f"text {i},a" for i in range(40)] + [f"text {i},b" for i in range(30, 200)]
    task = load_task(str(write_csv(tmp_path / "mine.csv", rows)))
    parts = [set(part.texts) for part in (task.train, task.validation, task.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 200


def test_the_same_first_text_with_another_second_text_is_another_pair():
    pairs = [str(i) for i in range(50)]
    dataset = Dataset(["same"] * 50, [0] * 50, ["a"], pairs, pairs)
    rest, held_out = split(dataset, "test")
    assert (len(rest), len(held_out)) == (40, 10)


# Limits


def test_limit_counts_train_and_validation_together_and_keeps_the_shares(tmp_path):
    path = str(write_csv(tmp_path / "mine.csv", uneven_rows()))
    whole, part = load_task(path), load_task(path, limit=40, test_limit=10)
    assert np.add(part.train.class_counts(), part.validation.class_counts()).tolist() == [24, 12, 4]
    assert part.test.class_counts() == [6, 3, 1]
    assert set(part.test.texts) < set(whole.test.texts)
    assert set(part.train.texts + part.validation.texts) < set(whole.train.texts + whole.validation.texts)


def test_a_limit_beyond_the_data_takes_all(tmp_path):
    path = str(write_csv(tmp_path / "mine.csv", uneven_rows()))
    assert load_task(path, limit=10_000, test_limit=10_000) == load_task(path)


def test_a_small_limit_keeps_a_text_of_each_class():
    labels = [0] * 97 + [1, 1, 2]
    dataset = Dataset([str(i) for i in range(100)], labels, ["a", "b", "c"], [str(i) for i in range(100)])
    assert take(dataset, 10, "limit").class_counts() == [10, 1, 1]


# The real data sets


def test_imdb_has_its_published_size(data_folder):
    task = load_task("imdb", data_folder / "aclImdb_labelled.tar.gz")
    assert task.train.label_names == ["neg", "pos"]
    assert task.train.class_counts() == [10_000, 10_000]
    assert task.validation.class_counts() == [2_500, 2_500]
    assert task.test.class_counts() == [12_500, 12_500]
    assert not set(task.train.texts) & set(task.validation.texts)


def test_sms_spam_has_its_published_size(data_folder):
    task = load_task("sms-spam", data_folder)
    total = Counter()
    for part in (task.train, task.validation, task.test):
        total.update(part.label_names[label] for label in part.labels)
    assert total == {"ham": 4_827, "spam": 747}
    parts = [set(part.texts) for part in (task.train, task.validation, task.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_mrpc_has_its_published_size(data_folder):
    task = load_task("mrpc", data_folder / "MRPC")
    assert len(task.train) + len(task.validation) == 4_076
    assert task.train.class_counts()[1] + task.validation.class_counts()[1] == 2_753
    assert task.test.class_counts() == [1_725 - 1_147, 1_147]
