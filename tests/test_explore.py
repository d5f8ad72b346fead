"""`python -m minibert.explore`: what it prints of a user's own file, what it writes, and what it refuses."""

import csv

import pytest

from minibert import explore
from minibert.plumbing.files import UserError
from minibert.report.legible import columns


@pytest.fixture
def table(tmp_path):
    """120 texts; spam is longer, and one word gives it away."""
    path = tmp_path / "mine.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["message", "kind"])
        for i in range(120):
            text = f"see you at {i} then" if i % 2 else f"win a prize now and call {i} today"
            writer.writerow([text, "ham" if i % 2 else "spam"])
    return path


COLUMNS = ["--model", "minibert-tiny", "--text-column", "message", "--label-column", "kind"]


def test_it_tells_sizes_classes_words_and_what_it_found(table, capsys):
    assert explore.main([str(table), *COLUMNS]) == 0
    printed = capsys.readouterr().out
    assert "76 train, 20 validation, 24 test" in printed
    assert "prize" in printed and "(100% spam)" in printed
    assert "8 checks" in printed and "length and place" in printed
    assert max(map(columns, printed.splitlines())) <= 80
    assert "\x1b" not in printed


def test_nothing_is_written_unless_asked(table, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    explore.main([str(table), *COLUMNS])
    assert sorted(tmp_path.rglob("*")) == before
    explore.main([str(table), *COLUMNS, "--output", str(tmp_path / "look")])
    assert {path.name for path in (tmp_path / "look").iterdir()} == {"data.html", "data.md", "data.json"}


def test_what_would_do_nothing_is_refused(table):
    for more in (["--sample"], ["--group-column", "kind"]):
        with pytest.raises(UserError, match=more[0]):
            explore.main([str(table), *COLUMNS, *more])


def test_a_wrong_column_is_one_line(table):
    with pytest.raises(UserError, match="no column 'text'.*--text-column"):
        explore.main([str(table), "--model", "minibert-tiny"])
