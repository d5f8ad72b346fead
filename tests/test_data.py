"""Data sets: every reader on a few lines that a person can check, then label names and their order, then size, then
the published sizes of the real data sets (skipped unless MINIBERT_TEST_DATA names a folder with copies).

Archives are in test_archives.py, splits and limits in test_splits.py; what must be refused, and with which words, is
in test_bad_tables.py and test_bad_sources.py.
"""

import csv
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from small_data import REVIEWS, every_text, labelled, review_folder, write_csv

from minibert.data import Columns, balanced_weights, load_task, texts_of_file
from minibert.plumbing.files import UserError

REPOSITORY = Path(__file__).parent.parent

# IMDb


def test_an_imdb_folder_keeps_its_official_test_set_and_leaves_out_the_unlabelled(tmp_path):
    task = load_task("imdb", review_folder(tmp_path / "aclImdb"), sample=True)
    assert labelled(task.test) == {"weak": "neg", "clumsy": "neg", "strong": "pos", "deft": "pos", "lovely": "pos"}
    assert sorted(task.train.texts + task.validation.texts) == sorted(REVIEWS["train/neg"] + REVIEWS["train/pos"])
    assert task.train.label_names == ["neg", "pos"]


def test_the_folder_that_holds_aclimdb_will_do_too(tmp_path):
    review_folder(tmp_path / "aclImdb")
    assert load_task("imdb", tmp_path, sample=True) == load_task("imdb", tmp_path / "aclImdb", sample=True)


def test_a_review_may_hold_any_letter(tmp_path):
    folder = review_folder(tmp_path / "aclImdb")
    (folder / "test" / "pos" / "3_9.txt").write_text("Amélie \u2028 是 \U0001f600", encoding="utf-8")
    assert labelled(load_task("imdb", folder, sample=True).test)["Amélie \u2028 是 \U0001f600"] == "pos"


# SMS spam and MRPC


def test_an_sms_line_is_a_label_a_tab_and_a_message(tmp_path):
    lines = [f"ham\tsee you at {hour}" for hour in range(16)] + [f"spam\tWIN {prize} NOW" for prize in range(4)]
    lines[3] = 'ham\ta "quote and\ttabs are text'
    (tmp_path / "SMSSpamCollection").write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = load_task("sms-spam", tmp_path, sample=True)
    assert task.train.label_names == ["ham", "spam"]
    assert every_text(task) == sorted(line.partition("\t")[2] for line in lines)
    assert task.test.class_counts() == [3, 1]
    assert load_task("sms-spam", tmp_path / "SMSSpamCollection", sample=True) == task


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
    task = load_task("mrpc", tmp_path, sample=True)
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
    assert task.splits.startswith("the folder's own train, test;")


def label_folders(folder, parts=("train", "validation", "test"), labels=("sup", "unsup", "other")):
    """Five texts in each PART/LABEL/; returns the folder."""
    for part in parts:
        for label in labels:
            (folder / part / label).mkdir(parents=True)
            for i in range(5):
                (folder / part / label / f"{i}.TXT").write_text(f"{part} {label} {i}", encoding="utf-8")
    return folder


def test_label_folders_may_have_a_validation_set_of_their_own_and_any_names(tmp_path):
    task = load_task(str(label_folders(tmp_path)))
    assert task.splits == "the folder's own train, validation, test"
    assert all(text.startswith("validation") for text in task.validation.texts)
    assert task.train.label_names == ["other", "sup", "unsup"]  # aclImdb's unsup stands beside neg and pos alone


@pytest.mark.parametrize("name", ["dev", "Valid", "val", "validation.csv", "test.tsv", "Test"])
def test_a_part_beside_label_folders_that_is_not_read_is_not_passed_over(name, tmp_path):
    folder = label_folders(tmp_path, ("train",))
    if name.endswith("sv"):
        write_csv(folder / name, ["one,a", "two,b"])
    else:
        label_folders(folder, (name,))
    with pytest.raises(UserError, match=f"{name}: is not read; parts are called train, validation and test"):
        load_task(str(folder))


@pytest.mark.parametrize("name", ["dev.csv", "val.tsv", "valid.jsonl", "Test.csv", "validation", "test.CSV"])
def test_a_part_beside_tables_that_is_not_read_is_not_passed_over(name, tmp_path):
    write_csv(tmp_path / "train.csv", [f"train {i},{'ab'[i % 2]}" for i in range(20)])
    (tmp_path / "notes.csv").write_text("read by nobody", encoding="utf-8")
    (tmp_path / "val.old").mkdir()
    assert len(load_task(str(tmp_path)).train) == 12
    if name == "validation":
        (tmp_path / name).mkdir()
    else:
        write_csv(tmp_path / name, ["one,a", "two,b"])
    with pytest.raises(UserError, match=f"{name}: is not read; parts are called train, validation and test"):
        load_task(str(tmp_path))


def test_a_file_that_is_no_text_in_a_label_folder_is_not_passed_over(tmp_path):
    folder = label_folders(tmp_path)
    (folder / "train" / "sup" / ".hidden").write_bytes(b"\0")
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / ".cache" / "0.txt").write_text("of a program", encoding="utf-8")
    assert len(load_task(str(folder)).train) == 15
    (folder / "train" / "sup" / "notes.md").write_text("a note", encoding="utf-8")
    with pytest.raises(UserError, match="notes.md: a label's folder holds .txt files only"):
        load_task(str(folder))


def test_columns_without_a_name_may_be_several(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,label,,\n" + "".join(f"text {i},{'ab'[i % 2]},,\n" for i in range(20)), encoding="utf-8")
    assert len(load_task(str(path)).train) == 12
    path.write_text("text,text,label,,,\none,two,a,,,\n", encoding="utf-8")
    with pytest.raises(UserError, match="two columns are called 'text'"):
        load_task(str(path))


def test_a_folder_is_called_by_its_own_name(tmp_path, monkeypatch):
    folder = label_folders(tmp_path / "films")
    monkeypatch.chdir(folder / "train")
    assert load_task("..").name == "films"


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


def test_balanced_class_weights_make_every_class_weigh_the_same():
    assert balanced_weights([0, 0, 0, 1], 2).tolist() == [4 / 6, 4 / 2]


# Label names and sizes that a file may have


@pytest.mark.parametrize(
    "label", ["a, b", 'say "no"', "two\nlines", "😀 happy", "x" * 300, "=1+1", "```", "<b>", "../up", "a|b", "nan"]
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_label_may_be_called_anything(label, suffix, tmp_path):
    path = tmp_path / f"mine{suffix}"
    rows = [(f"text {i}", label if i % 2 else "other") for i in range(20)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        if suffix == ".csv":
            csv.writer(file).writerows([("text", "label"), *rows])
        else:
            file.writelines(json.dumps({"text": text, "label": name}) + "\n" for text, name in rows)
    task = load_task(str(path))
    assert sorted(task.train.label_names) == sorted([label, "other"])
    assert labelled(task.train).items() <= dict(rows).items()


def test_fifty_classes_are_kept_apart_in_every_part(tmp_path):
    rows = [f"text {i} of {i % 50},{i % 50}" for i in range(1000)]
    task = load_task(str(write_csv(tmp_path / "mine.csv", rows)))
    assert task.train.label_names == [str(label) for label in range(50)]
    for part in (task.train, task.validation, task.test):
        assert min(part.class_counts()) >= 3
        assert all(text.endswith(f" of {name}") for text, name in labelled(part).items())


def test_a_text_of_a_million_letters_and_many_columns_are_read_at_once(tmp_path):
    names = ",".join(f"column{i}" for i in range(2_000))
    rows = [f"{'a' * 1_000_000 if i == 7 else i},{'ab'[i % 2]},{names}" for i in range(20)]
    started = time.monotonic()
    task = load_task(str(write_csv(tmp_path / "mine.csv", rows, f"text,label,{names}")))
    assert "a" * 1_000_000 in every_text(task)
    assert time.monotonic() - started < 10


@pytest.mark.slow
def test_a_million_short_rows_take_seconds_and_what_the_docstring_says(tmp_path):
    path = tmp_path / "mine.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("text,label\n")
        file.writelines(f"this is the short text number {i},{i % 2}\n" for i in range(1_000_000))
    program = f"""if True:
        import resource, time
        from minibert.data import load_task
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        task = load_task({str(path)!r})
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(len(task.train), memory * 1024 / 1_000_000, time.process_time() - started)"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    rows, bytes_per_row, seconds = map(float, done.stdout.split())
    assert rows == 640_000
    assert seconds < 60
    assert bytes_per_row < 1000  # while it is read; what stays is less


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


@pytest.mark.parametrize("name", ["MINE.CSV", "mine.Csv"])
def test_a_suffix_may_be_in_capitals(name, tmp_path):
    path = write_csv(tmp_path / name, [f"text {i},{'ab'[i % 2]}" for i in range(20)])
    assert load_task(str(path)).train.label_names == ["a", "b"]
    [texts] = texts_of_file(path, Columns(), pairs=False)
    assert [text.text for text in texts] == [f"text {i}" for i in range(20)]


def test_a_label_folder_that_is_locked_is_not_passed_over(tmp_path, monkeypatch):
    for label in "ab":
        for i in range(6):
            path = tmp_path / "mine" / "train" / label / f"{i}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"text {label} {i}")
    listed = type(path).iterdir

    def locked(folder):
        if folder.name == "b":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(type(path), "iterdir", locked)
    with pytest.raises(PermissionError, match="Permission denied"):
        load_task(str(tmp_path / "mine"))
