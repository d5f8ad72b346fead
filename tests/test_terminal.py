"""Answers on a terminal: 80 columns, colours only where they are wanted, and no text that a terminal would obey."""

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minibert
from minibert import predict
from minibert.load import load_tokenizer, read_classifier, save_classifier
from minibert.report import terminal
from minibert.report.legible import columns

HOSTILE = [
    "<script>alert(1)</script>",
    "\x1b[2J\x1b]0;title\x07 control \x9b31m",
    "مرحبا \u202e بالعالم \u2066 good",
    "👩‍👩‍👧 👍🏽 " + "a" + "\u0301" * 50,
    "word " * 20_000,
    "x" * 100_000,
    "two\nlines\r\nand\ta tab\u2028",
    "这部电影很好 " * 40,
]
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
OURS = re.compile(r"\x1b\[30;48;5;\d+m|\x1b\[0m")


@pytest.fixture
def run(tiny_bert, tmp_path):
    classifier, _ = read_classifier(tiny_bert)
    save_classifier(classifier, tmp_path / "run" / "finetuned", {"max_length": 48})
    load_tokenizer(tiny_bert).save(tmp_path / "run" / "finetuned")
    return tmp_path / "run"


def record(words, pair_words=None, **more):
    values = {"label": "good", "logit": 2.0, "baseline_logit": -1.0, "padding": "[PAD]", "steps": 16, "error": 0.002,
              "special": [["[CLS]", 0.0], ["[SEP]", 0.0]], "words": words, "pair_words": pair_words}  # fmt: skip
    return values | more


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_words_are_marked_by_sign_and_strength():
    text = "a fine, dull film"
    words = [["a", 0.02, 0, 1], ["fine", 2.0, 2, 6], [",", -0.3, 6, 7], ["dull", -1.3, 8, 12], ["film", 0.7, 13, 17]]
    lines = terminal.explanation(record(words), text)
    assert lines == [
        "  a [+++ fine][- ,] [--- dull] [++ film]",
        "  for good: fine +2.00, film +0.70, a +0.02",
        "  against it: dull -1.30, ',' -0.30",
        "  logit of good +2.00, and -1.00 with [PAD] for every word; the shares add up to",
        "  the difference within 0.20% (16 steps)",
        "  special tokens apart: [CLS] 0, [SEP] 0",
    ]
    coloured = terminal.explanation(record(words), text, colour=True)
    assert "\x1b[30;48;5;210mfine\x1b[0m" in coloured[0] and "\x1b[30;48;5;75mdull\x1b[0m" in coloured[0]
    assert [terminal.plain(line) for line in coloured][0] == "  a fine, dull film"
    assert coloured[1:] == lines[1:]


def test_both_texts_of_a_pair_and_what_was_not_read_are_shown():
    words, pair_words = [["two", 1.0, 4, 7]], [["four", -1.0, 0, 4]]
    lines = terminal.explanation(record(words, pair_words, error=0.2), "one two three", "four")
    assert lines[:2] == ["  […] [+++ two] […]", "  [--- four]"]
    assert "read them with care" in " ".join(lines)


@pytest.mark.parametrize(
    "settings, wanted",
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(settings, wanted, monkeypatch):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert terminal.in_colour(Terminal()) is wanted
    assert terminal.in_colour(io.StringIO()) is False


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_shown_in_80_columns_and_move_no_cursor(text, run, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert predict.main([str(run), "--explain", "--attention", "1,1", "--", text]) == 0
    lines = OURS.sub("", screen.getvalue()).splitlines()
    assert lines and not any(OBEYED.search(line) for line in lines)
    assert max(columns(line) for line in lines) <= 80
    assert len(lines) < 80


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_in_a_pipe_each_hostile_text_is_one_whole_line(text, run, capsys):
    assert predict.main([str(run), "--", text]) == 0
    [line] = capsys.readouterr().out.splitlines()
    label, probability, shown = line.split("\t")
    assert not OBEYED.search(line) and 0 <= float(probability) <= 1
    assert shown.startswith(predict.visible(text[:20])) and len(shown) >= len(text)


def test_a_heads_map_has_a_row_for_each_token_and_says_what_is_left_out():
    tokens = ["[CLS]", *(f"token{i}" for i in range(58)), "[SEP]"]
    weights = [[1.0 if i == j else 0.0 for j in range(60)] for i in range(60)]
    lines = terminal.attention_map({"layer": 1, "head": 2, "tokens": tokens, "weights": weights})
    assert lines[1] == "  the first 36 of 60 tokens; --format jsonl has them all"
    assert lines[3].startswith("  1 [CLS]          |█") and lines[3].endswith("| 1.00 from [CLS]")
    assert len(lines) == 3 + 36 + 1 and max(map(columns, lines)) <= 80


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals here")
def test_without_a_text_a_terminal_gets_a_prompt(run):
    """A person types two texts, one of them nothing but spaces, and ends with Ctrl-D."""
    ours, theirs = os.openpty()
    root = str(Path(minibert.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "minibert.predict", str(run), "--explain"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = read_until(ours, "text> ")
        assert "Type a text and press Enter; Ctrl-D ends." in seen
        os.write(ours, b"  \n")
        read_until(ours, "text> ")
        os.write(ours, b"the film was fine\n")
        seen = read_until(ours, "text> ")
        assert "the film was fine" in seen and "special tokens apart" in seen and "\x1b[30;48;5;" in seen
        os.write(ours, b"\x04")
        assert process.wait(30) == 0
    os.close(ours)


def read_until(terminal, wanted, seconds=60):
    """What a pseudo-terminal shows until `wanted` ends it."""
    seen, started = "", time.monotonic()
    while not seen.endswith(wanted):
        assert time.monotonic() - started < seconds, seen
        seen += os.read(terminal, 4096).decode("utf-8", "replace")
    return seen
