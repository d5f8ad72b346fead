"""The lesson on augmentation: what it does to words, that the comparison is fair, and that it runs."""

import random

import pytest
from programs import EXAMPLES, load_program
from test_finetune import five_classes

from minibert.data import load_task
from minibert.plumbing.files import UserError

WORDS = [f"w{i}" for i in range(40)]


@pytest.fixture
def lesson(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return load_program("augmentation.py")


def test_deletion_leaves_about_a_tenth_of_the_words_out_in_order_and_never_all(lesson):
    generator = random.Random(0)
    lengths = []
    for _ in range(300):
        kept = lesson.deletion(WORDS, generator)
        lengths.append(len(kept))
        assert [word for word in WORDS if word in set(kept)] == kept
    assert 35 < sum(lengths) / 300 < 37
    assert all(lesson.deletion(["one"], generator) == ["one"] for _ in range(100))


def test_swap_keeps_every_word_and_moves_few(lesson):
    generator, moved = random.Random(0), []
    for _ in range(300):
        after = lesson.swap(WORDS, generator)
        assert sorted(after) == sorted(WORDS)
        moved.append(sum(a != b for a, b in zip(after, WORDS, strict=True)))
    assert 6 < sum(moved) / 300 <= 8 and WORDS[0] == "w0"


def test_the_control_changes_nothing(lesson):
    assert lesson.changed("a fine film", lesson.nothing, random.Random(0)) == "a fine film"


@pytest.mark.parametrize(
    "gains, says",
    [
        ([1.0, 1.1, 0.9], "helps"),
        ([-1.0, -1.1, -0.9], "hurts"),
        ([1.0, -1.0, 0.2], "cannot be told"),
        ([0.2, 1.0, 1.5], "cannot be told"),  # more than two standard errors, but two degrees of freedom
        ([5.0], "says nothing"),
    ],
)
def test_the_verdict_follows_from_the_paired_differences(gains, says, lesson):
    assert says in lesson.verdict(200, "swap", gains)


def test_the_lesson_runs_and_prints_a_row_for_each_size_and_a_sentence_for_each_change(
    lesson, tiny_bert, tmp_path, capsys
):
    data = five_classes(tmp_path / "stars.csv", 60)
    lesson.main([str(data), "--model", str(tiny_bert), "--sizes", "20,all", "--seeds", "2", "--epochs", "1",
                 "--updates", "4",
                 "--max-length", "24"])  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["20", str(len(load_task(str(data)).train))]
    assert sum("points, 95% interval" in line for line in lines) == 4


@pytest.mark.parametrize("given", [("--sizes", "all,-5"), ("--sizes", "few"), ("--seeds", "0"), ("--batch-size", "0")])
def test_numbers_that_make_no_sense_are_refused(given, lesson):
    with pytest.raises(UserError, match=given[0]):
        lesson.main(["reviews", *given])
