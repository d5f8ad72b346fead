"""A person's own .csv, .tsv or .jsonl file: what is wrong is named by file, line and field, and nothing is left behind.

What only looks bad and has to work, such as a word of a million letters, is here too.
"""

import pytest
from bad_input import ROWS, jsonl, table, write

from minibert import load_tokenizer
from minibert.data import load_task

# Rows and columns


def test_a_missing_file_is_named(refuse, tmp_path):
    assert str(tmp_path / "mine.csv") in refuse(tmp_path / "mine.csv")


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.jsonl"])
@pytest.mark.parametrize("content", ["", "\n \n\n", "\ufeff"])
def test_an_empty_file_is_refused(name, content, refuse, tmp_path):
    path = write(tmp_path / name, content)
    message = refuse(path)
    assert str(path) in message and "empty" in message


def test_a_header_without_rows_is_refused(refuse, tmp_path):
    path = write(tmp_path / "mine.csv", "text,label\n")
    message = refuse(path)
    assert str(path) in message and "no rows" in message


@pytest.mark.parametrize("row, count", [("good", 1), ("good,yes,indeed", 3)])
def test_a_row_with_another_number_of_columns_is_named(row, count, refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [*ROWS[:6], row, *ROWS[6:]])
    message = refuse(path)
    assert f"{path}, line 8" in message
    assert f"{count} column" in message and "2" in message


def test_lines_are_counted_through_quoted_newlines(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", ['"three\nlines\nlong",yes', "", "good"])
    assert f"{path}, line 6" in refuse(path)


@pytest.mark.parametrize(
    "row, field", [("good,", "label"), ("good, \t", "label"), (",yes", "text"), ("  ,yes", "text")]
)
def test_an_empty_field_is_named(row, field, refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [*ROWS, row])
    assert f"{path}, line 22: {field} is empty" in refuse(path)


def test_an_empty_second_text_is_named(refuse, tmp_path):
    rows = [f"a {i},b {i},{i % 2}" for i in range(20)]
    path = table(tmp_path / "mine.csv", [*rows, "a,,1"], "text,text_pair,label")
    assert f"{path}, line 22: text_pair is empty" in refuse(path)


@pytest.mark.parametrize(
    "header, flag, missing", [("review,label", "--text-column", "text"), ("text,verdict", "--label-column", "label")]
)
def test_a_missing_column_comes_with_the_flag_that_names_it(header, flag, missing, refuse, tmp_path):
    path = table(tmp_path / "mine.csv", header=header)
    message = refuse(path)
    assert str(path) in message and flag in message
    assert f"{missing!r}" in message
    assert all(name in message for name in header.split(","))


@pytest.mark.parametrize(
    "words", [["--text-column", "text_pair"], ["--pair-column", "text"], ["--text-column", "label"]]
)
def test_a_column_is_not_two_things_at_once(words, refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [f"a {i},b {i},{i % 2}" for i in range(20)], "text,text_pair,label")
    assert "a text, its pair and its label stand in three columns" in refuse(path, *words)


def test_a_second_text_column_that_was_asked_for_has_to_be_there(refuse, tmp_path):
    path = table(tmp_path / "mine.csv")
    message = refuse(path, "--pair-column", "premise")
    assert "'premise'" in message and "--pair-column" in message


def test_two_columns_of_one_name_are_refused(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [f"{row},no" for row in ROWS], "text,label,label")
    message = refuse(path)
    assert f"{path}, line 1" in message and "label" in message


def test_pairs_in_train_and_single_texts_in_test_are_refused(refuse, tmp_path):
    table(tmp_path / "both" / "train.csv", [f"a {i},b {i},{i % 2}" for i in range(20)], "text,text_pair,label")
    table(tmp_path / "both" / "test.csv", ["a,0", "b,1"])
    message = refuse(tmp_path / "both")
    assert "test.csv" in message and "text_pair" in message


def test_a_label_that_only_the_test_file_has_is_named(refuse, tmp_path):
    table(tmp_path / "both" / "train.csv")
    path = table(tmp_path / "both" / "test.csv", ["good,yes", "good,perhaps"])
    message = refuse(tmp_path / "both")
    assert f"{path}, line 3" in message
    assert "'perhaps'" in message and "training" in message


def test_a_single_class_is_refused(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [row for row in ROWS if row.endswith("yes")])
    message = refuse(path)
    assert str(path) in message and "one label" in message


def test_a_class_whose_texts_are_all_copies_of_one_is_trained_on(tmp_path):
    """A copy cannot be on both sides, so the whole class is on one; without it in train the run would be about less."""
    task = load_task(str(table(tmp_path / "mine.csv", [*ROWS, *["the same,rare"] * 10])))
    assert task.train.class_counts()[task.train.label_names.index("rare")] == 10


def test_too_few_texts_are_refused(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", ROWS[:4])
    message = refuse(path)
    assert str(path) in message and "too few" in message


# Bytes


@pytest.mark.parametrize("name, glue", [("mine.csv", b","), ("mine.tsv", b"\t")])
def test_invalid_utf8_is_named_by_its_line(name, glue, refuse, tmp_path):
    path = write(tmp_path / name, b"text,label\ngood,yes\ncaf\xe9,no\n".replace(b",", glue))
    message = refuse(path)
    assert f"{path}, line 3" in message
    assert "UTF-8" in message and "0xe9" in message


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.jsonl"])
def test_a_nul_byte_is_named_by_its_line(name, refuse, tmp_path):
    path = write(tmp_path / name, "text,label\ngood,yes\nbad\0,no\n")
    message = refuse(path)
    assert f"{path}, line 3" in message and "NUL" in message


def test_an_open_quote_is_named_by_the_line_where_its_row_starts(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [*ROWS[:3], '"never closed,yes', *ROWS[3:]])
    message = refuse(path)
    assert f"{path}, line 5" in message and "quote" in message


def test_letters_after_a_closed_quote_are_named_by_their_line(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [*ROWS[:3], '"closed" too early,yes', *ROWS[3:]])
    assert f"{path}, line 5" in refuse(path)


@pytest.mark.parametrize("row", ['{"text": "good", "label": ', "good", '{"text": "good" "label": 1}'])
def test_a_broken_json_line_is_named(row, refuse, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", {"text": "good", "label": 1}, "", row)
    message = refuse(path)
    assert f"{path}, line 3" in message and "JSON" in message


@pytest.mark.parametrize("row", ["[1, 2]", '"text"', "7", "null"])
def test_a_json_line_that_is_no_object_is_named(row, refuse, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", row)
    message = refuse(path)
    assert f"{path}, line 1" in message and "object" in message


@pytest.mark.parametrize(
    "row, field",
    [
        ({"text": "good"}, "label"),
        ({"label": 1}, "text"),
        ({"text": "", "label": 1}, "text"),
        ({"text": "good", "label": ""}, "label"),
        ({"text": "good", "label": None}, "label"),
        ({"text": None, "label": 1}, "text"),
        ({"text": ["good"], "label": 1}, "text"),
        ({"text": "good", "label": {"is": 1}}, "label"),
    ],
)
def test_a_json_field_that_is_absent_empty_or_no_text_is_named(row, field, refuse, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", row)
    message = refuse(path)
    assert f"{path}, line 1" in message and field in message


def test_half_of_a_surrogate_pair_is_named(refuse, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", '{"text": "cut emoji \\ud83d", "label": 1}')
    message = refuse(path)
    assert f"{path}, line 1" in message


def test_json_nested_too_deep_is_named(refuse, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", "[" * 200_000)
    message = refuse(path)
    assert f"{path}, line 1" in message


@pytest.mark.parametrize("text, tokens", [("a" * 1_000_000, 3), ("good bad " * 111_112, 16)], ids=["a word", "words"])
def test_a_text_of_a_million_letters_is_cut_like_any_other(text, tokens, distilbert, tmp_path):
    assert len(text) >= 1_000_000
    task = load_task(str(table(tmp_path / "mine.csv", [*ROWS, f"{text},yes"])))
    parts = (task.train, task.validation, task.test)
    [[part, position]] = [(part, part.texts.index(text)) for part in parts if text in part.texts]
    sequences = load_tokenizer(distilbert).encode(part.texts, None, 16, "head+tail")
    assert len(sequences[position].ids) == tokens  # a word out of all proportion is [UNK], between [CLS] and [SEP]
    assert max(len(sequence.ids) for sequence in sequences) <= 16
