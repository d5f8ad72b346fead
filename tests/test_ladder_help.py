"""Helped along: hints in three steps, a case small enough to compute by hand, climbing again on every change."""

import os
import signal
import subprocess
import sys
import time

import ladder_torch
import numpy as np
import pytest
from ladder_tools import EACH_RUNG, EXAMPLE, REPOSITORY, RUNG, check, command, written

from minibert.parity import watch
from minibert.parity.call import ask_learner
from minibert.parity.hints import HINTS
from minibert.parity.results import Result
from minibert.parity.rungs import RUNGS
from minibert.parity.tiny import Tiny, printed
from minibert.parity.verdict import result_of

TINY = Tiny()


# ---- hints


def test_every_rung_has_three_hints_and_each_is_a_text_of_its_own():
    assert set(HINTS) == {rung.name for rung in RUNGS}
    texts = [text for hints in HINTS.values() for text in hints]
    assert all(len(hints) == 3 for hints in HINTS.values()) and len(set(texts)) == len(texts)
    assert all(text.endswith((".", "?", ".)")) for text in texts)


@pytest.mark.parametrize("level, heading", [("1", "what to look at"), ("2", "where it stands"), ("3", "the fix")])
def test_a_hint_is_printed_without_a_file(level, heading, capsys):
    code, out, err = command(capsys, "--hint", level, "layer_norm")
    assert (code, err) == (0, "") and out.startswith(f"layer_norm, {heading}:\n")
    words = " ".join(out.split())
    assert " ".join(HINTS["layer_norm"][int(level) - 1].split()) in words
    assert (f"--hint {int(level) + 1} layer_norm" in words) == (level != "3")


def test_a_wrong_hint_is_refused(capsys):
    assert "1, 2 or 3" in command(capsys, "--hint", "4", "gelu")[2]
    assert "did you mean layer_norm" in command(capsys, "--hint", "1", "layernorm")[2]


def test_the_code_in_the_hints_is_right():
    """GELU's figures, and the examples of clipping and AUROC."""
    gelu = [float(ladder_torch.gelu(ladder_torch.torch.tensor(x))) for x in (1.0, -1.0)]
    assert [round(x, 4) for x in gelu] == [0.8413, -0.1587]
    tanh = ladder_torch.functional.gelu(ladder_torch.torch.tensor([1.0, -1.0]), approximate="tanh")
    assert [round(float(x), 4) for x in tanh] == [0.8412, -0.1588]
    assert np.sqrt(3**2 + 4**2 + 12**2) == 13
    scores, labels = np.array([0.9, 0.4, 0.4, 0.1]), np.array([1, 1, 0, 0])
    assert ladder_torch.roc_auc(*map(ladder_torch.torch.tensor, (labels, scores))) == 3.5 / 4


# ---- a tiny case


@EACH_RUNG
def test_the_tiny_case_of_every_rung_is_small_and_its_answer_is_right(rung):
    """Right, because another implementation says the same, which knows nothing of this one."""
    if rung.name == "train":
        return
    judged, references = TINY.rung(rung.name)
    reply = ask_learner(ladder_torch, judged, references, "float64", 20)
    result = result_of(judged, reply, references, "float64")
    tolerance = 1e-6 if rung.name == "loss_and_gradients" else 1e-9  # slopes are measured, not derived
    assert result.status == "OK" or result.largest < tolerance, result
    lines = printed(judged, references, reply)
    assert len(lines) < (250 if rung.name == "loss_and_gradients" else 120)
    assert max(map(len, lines)) < 165 or rung.exact  # six columns, twice


def test_a_tiny_case_shows_the_arguments_and_marks_what_differs(tmp_path, capsys):
    text = "import torch\ndef gelu(x):\n    return torch.where(x > 0.5, x * 1.1, torch.nn.functional.gelu(x))\n"
    path = written(tmp_path / "mine.py", text)
    code, out, err = command(capsys, path, "--tiny", "gelu", isolated=True)
    assert (code, err) == (1, "")
    x = TINY.rung("gelu")[1].arrays["x"]
    *_, got = [line for line in out.splitlines() if "element" not in line and line.startswith("   ")]
    assert got.count("*") == (x > 0.5).sum() > 0 and " ".join(f"{number:6.1f}" for number in x) in out
    assert "\nDIFF: " in out
    assert command(capsys, EXAMPLE, "--tiny", "layer")[0] == 0
    written(path, "def gelu(x):\n    raise NotImplementedError\n")
    assert "NotImplementedError" in command(capsys, path, "--tiny", "gelu")[1]
    assert "not tiny" in command(capsys, EXAMPLE, "--tiny", "train")[2]


def test_padding_is_in_brackets_where_it_is_not_compared(capsys):
    out = command(capsys, EXAMPLE, "--tiny", "layer")[1]
    assert out.count("(") == 4 and "batch 1, token 1" in [line for line in out.splitlines() if "(" in line][0]


# ---- a rung that is only partly written


def test_a_case_that_is_not_yet_written_is_left_out_and_the_others_are_judged():
    def only_macro(labels, predictions, num_labels, average):
        if average != "macro":
            raise NotImplementedError
        return ladder_torch.precision_recall_f1(labels, predictions, num_labels, average)

    def only_wrong_macro(*arguments):
        return [1 - figure for figure in only_macro(*arguments)]

    for function, status in ((only_macro, "OK"), (only_wrong_macro, "DIFF")):
        result = check("precision_recall_f1", function)
        assert result.status == status and "cases; the others are not yet written" in result.note, result


def test_a_tokenizer_without_pairs_is_judged_by_its_single_texts():
    def singles(text, pair, vocabulary, max_length):
        if pair is not None:
            raise NotImplementedError("pairs come later")
        return ladder_torch.wordpiece(text, pair, vocabulary, max_length)

    result = check("wordpiece", singles)
    assert result.status == "OK" and "not yet written" in result.note


# ---- watching


def test_what_has_changed_is_shown_and_only_that():
    ok, wrong = Result("gelu", "OK", largest=1e-7), Result("gelu", "DIFF", largest=1.0, mistakes=["relu"])
    assert watch.differs(ok, wrong) and watch.differs(wrong, ok) and watch.differs(None, ok)
    assert not watch.differs(ok, Result("gelu", "OK", largest=3e-7))
    assert not watch.differs(wrong, Result("gelu", "DIFF", largest=2.0, mistakes=["relu"]))
    assert watch.differs(wrong, Result("gelu", "DIFF", largest=1e-3, mistakes=["relu"]))
    assert not watch.differs(None, Result("gelu", "SKIP"))


def test_a_file_is_climbed_again_when_it_or_its_neighbour_changes_and_ctrl_c_ends_it(tmp_path):
    text = "import numpy as np\nfrom half import HALF\n\ndef accuracy(labels, predictions):\n"
    text += "    return (labels == predictions).mean() * HALF\n"
    path = written(tmp_path / "mine.py", text)
    written(tmp_path / "half.py", "HALF = 0.5\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "minibert.parity", path, "--rungs", "accuracy", "--watch"], cwd=REPOSITORY,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        seen = [until_waiting(process)]
        for name, new in (("half.py", "HALF = 1.0\n"), ("mine.py", "oh no\n"), ("mine.py", text)):
            time.sleep(0.05)
            written(tmp_path / name, new)
            seen.append(until_waiting(process))
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.stdout.close()
    assert "accuracy                  DIFF" in seen[0] and "1 of 1 rungs checked, 0 passed" in seen[0]
    assert "accuracy: DIFF before, now:" in seen[1] and "1 of 1 rungs checked, 1 passed" in seen[1]
    assert "error: " in seen[2] and "line 1" in seen[2] and "no rung has changed" in seen[3]


def until_waiting(process):
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "waiting for" in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def test_a_notebook_is_watched_too(tmp_path):
    path, before = tmp_path / "mine.ipynb", watch.stamps(tmp_path / "mine.ipynb")
    written(path, "{}")
    assert watch.stamps(path) != before


def test_only_a_file_can_be_watched(capsys):
    map_options = ("--module", f"{EXAMPLE}:A", "--watch", "--write-map", "map.json")
    assert "leave out --watch" in command(capsys, *map_options)[2]
    assert "no such file" in command(capsys, "minibert.parity.adapter", "--watch")[2]
    assert "leave out --json" in command(capsys, EXAMPLE, "--watch", "--json")[2]
    assert RUNG
