"""What the command refuses: one line that names the flag or the file, and nothing written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from distilling import (
    FULL,
    SMALLEST,
    arguments,
    classifier,
    lines,
    pairs_file,
    save_teacher,
    tiny,
    wordpiece,
    write_lines,
)  # fmt: skip

from minibert.distill.__main__ import main, parse
from minibert.plumbing.device import PRECISIONS
from minibert.plumbing.files import UserError, read_json, write_json

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def teacher(tmp_path):
    return save_teacher(tiny("bert", layers=4), tmp_path / "teacher")


@pytest.fixture
def text(tmp_path):
    return write_lines(tmp_path / "texts.txt", lines(40))


@pytest.fixture
def refuse(teacher, text, tmp_path):
    """The one line that the command refuses with, after a look that it has written nothing."""

    def refuse(*more, teacher=teacher, text=text):
        with pytest.raises(UserError) as caught:
            main(arguments(teacher, text, tmp_path / "run", *more))
        assert not (tmp_path / "run").exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refuse


@pytest.mark.parametrize(
    "more, named",
    [
        (["--layers", 0], "--layers: 0 is out of range"),
        (["--layers", 5], "--layers 5: the teacher has 4"),
        (["--intermediate-size", 0], "--intermediate-size: 0 is out of range"),
        (["--intermediate-size", 21], "--intermediate-size 21: the teacher has 20"),
        (["--vocab-size", 10], f"--vocab-size 10: at least {SMALLEST} pieces are needed"),
        (["--losses", "nonsense"], "--losses nonsense: choose from hidden, relations, logits"),
        (["--losses", "hidden,"], "--losses hidden,: choose from"),
        (["--losses", "hidden,logits"], "--losses hidden,logits: logits need a classifier as teacher"),
        (["--limit", 1], "--limit: 1 is out of range"),
        (["--lr", "nan"], "--lr"),
        (["--temperature", 0], "--temperature: 0 is out of range"),
        (["--warmup", -1], "--warmup: -1 is out of range"),
        (["--warmup", 1.5], "--warmup: 1.5: below 1 it is a share of the updates"),
        (["--max-length", 4], "--max-length: 4 is out of range"),
        (["--max-length", 1000], "--max-length 1000: the teacher has 32 positions"),
        (["--initialization", "zero"], "--initialization"),
    ],
)
def test_a_flag_out_of_range_is_named(more, named, refuse):
    assert re.search(named, refuse(*more))


def test_a_missing_teacher_is_named(refuse, tmp_path):
    assert "no/such/teacher/anywhere: no such folder" in refuse(teacher="no/such/teacher/anywhere")


def test_a_missing_text_file_is_named(refuse, tmp_path):
    assert f"{tmp_path / 'none.txt'}: no such file" in refuse(text=tmp_path / "none.txt")
    assert "is no task" in refuse(text="none")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_text_file_is_named(content, refuse, text):
    text.write_text(content)
    assert f"{text}: is empty" in refuse()


def test_one_text_is_too_little(refuse, text):
    write_lines(text, ["good film"])
    assert f"{text}: one piece of text is too little" in refuse()


def test_a_tokenizer_that_knows_more_than_the_teacher_is_refused(refuse, teacher):
    wordpiece([*FULL, "surplus"]).save(teacher)
    assert "do not belong together" in refuse()


def test_an_output_has_to_be_named(teacher, text):
    with pytest.raises(UserError, match="--output"):
        main([str(teacher), str(text)])


def test_the_command_prints_one_line_and_exits_with_2(teacher, text, tmp_path):
    text.unlink()
    command = [sys.executable, "-m", "minibert.distill", *arguments(teacher, text, tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {text}: no such file\n"
    assert not (tmp_path / "run").exists()


def test_a_classifier_that_reads_more_than_it_has_positions_is_refused(refuse, tiny_bert):
    values = read_json(tiny_bert / "config.json")
    write_json(tiny_bert / "config.json", values | {"minibert": {"max_length": 65}})
    assert f"{tiny_bert}/config.json: minibert section has max_length 65" in refuse(teacher=tiny_bert)


@pytest.mark.parametrize(
    "extra, more, message",
    [
        ({"windows": 4}, [], "reads 4 windows of a text"),
        ({"max_length": 24}, ["--max-length", 8], "--max-length 8: the teacher reads 24 tokens; leave it out"),
        ({"pairs": True}, [], "holds single texts, and the teacher reads pairs"),
    ],
)
def test_a_classifier_that_would_read_otherwise_is_refused(extra, more, message, refuse, tmp_path):
    model = classifier(tiny("bert", layers=4), "mean", "linear")
    assert message in refuse(*more, teacher=save_teacher(model, tmp_path / "reader", extra=extra))


def test_pairs_are_no_lesson_for_a_reader_of_single_texts(refuse, tmp_path):
    model = classifier(tiny("bert", layers=4), "mean", "linear")
    reader = save_teacher(model, tmp_path / "reader", extra={"pairs": False})
    message = refuse(teacher=reader, text=pairs_file(tmp_path / "pairs.csv"))
    assert "holds pairs, and the teacher reads single texts" in message


def test_the_command_line_offers_the_precisions_in_which_something_learns():
    learning = ("auto", *(precision for precision in PRECISIONS if precision != "int8"))
    for precision in learning:
        assert parse(["teacher", "text", "--output", "run", "--precision", precision]).precision == precision
    for other in ("int8", "fp64"):
        with pytest.raises(UserError, match=", ".join(map(repr, learning))):
            parse(["teacher", "text", "--output", "run", "--precision", other])
