"""The ladder's command, from a file to an exit code: what it prints, and what it says about files it cannot use."""

import json
import os
import subprocess
import sys

import parity_mistakes
import pytest
from ladder_tools import EACH_RUNG, EXAMPLE, REPOSITORY, command, numpy_example, written

from minibert.parity import adapter
from minibert.parity.contract import explain
from minibert.parity.learner import load_implementation, near_misses
from minibert.parity.mistakes import MISTAKES
from minibert.parity.rungs import RUNGS

ALL = len(RUNGS)
HALF = """\
import torch
from torch.nn import functional

def layer_norm(x, weight, bias, eps):
    return functional.layer_norm(x, weight.shape, weight, bias, eps)

def gelu(x):
    return functional.gelu(x, approximate="tanh")

def accuracy(labels, predictions):
    return (labels == predictions).double().mean()

def warmup_schedule(step, warmup_steps, total_steps):
    return min(step / warmup_steps, (total_steps - step) / (total_steps - warmup_steps))

def pooler(hidden, attention_mask, weights):
    raise NotImplementedError("tomorrow")
"""
MENDED = HALF.replace(', approximate="tanh"', "")


def test_a_whole_file_passes_with_exit_code_0_even_when_strict(capsys):
    code, out, err = command(capsys, EXAMPLE, "--strict", "--dtype", "float64")
    assert (code, err) == (0, "")
    assert out.endswith(f"\n{ALL} of {ALL} rungs checked, {ALL} passed\n") and out.count("OK") == ALL
    assert "1.0e-10" in out and "1.0e-05" not in out


@pytest.mark.parametrize(
    "text, options, code, counts",
    [
        (HALF, [], 1, f"4 of {ALL} rungs checked, 3 passed"),
        (MENDED, [], 0, f"4 of {ALL} rungs checked, 4 passed"),
        (MENDED, ["--strict"], 1, f"4 of {ALL} rungs checked, 4 passed\n--strict: a rung that is not checked"),
        (MENDED, ["--strict", "--rungs", "gelu,accuracy"], 0, "2 of 2 rungs checked, 2 passed\n"),
        (HALF, ["--rungs", "accuracy"], 0, "1 of 1 rungs checked, 1 passed"),
        (MENDED, ["--rungs", "pooler"], 1, "0 of 1 rungs checked, 0 passed"),
    ],
)
def test_half_a_file_is_judged_by_the_half_that_is_there(tmp_path, capsys, text, options, code, counts):
    got, out, err = command(capsys, written(tmp_path / "mine.py", text), *options)
    assert (got, err) == (code, "")
    assert counts in out
    assert (text is HALF and not options) == ("looks like `gelu-tanh`: " in out)
    assert ("not yet (NotImplementedError)" in out) == (not options or "pooler" in options or options == ["--strict"])


def test_each_of_two_mistakes_made_together_comes_with_its_remedy(tmp_path, capsys):
    made = {mistake.name: mistake for mistake in parity_mistakes.MISTAKES}
    text = parity_mistakes.broken(made["unbiased-variance"])
    text = text.replace(made["no-shift"].old, made["no-shift"].new)
    words = " ".join(command(capsys, written(tmp_path / "mine.py", text), "--rungs", "layer_norm")[1].split())
    for start, name in (("looks like", "unbiased-variance"), ("together with", "no-shift")):
        what, fix = MISTAKES[name]
        assert f" {start} `{name}`: {what}. Right: {fix}." in words


def test_the_template_imports_asks_for_every_function_and_checks_nothing(tmp_path, capsys):
    path = tmp_path / "new.py"
    assert command(capsys, "--template", path)[0] == 0
    module = load_implementation(path)
    for rung in RUNGS:
        code = getattr(module, rung.name).__code__
        assert code.co_varnames[: code.co_argcount] == tuple(name for name, _ in rung.arguments)
    code, out, err = command(capsys, path)
    assert (code, err) == (1, "") and f"0 of {ALL} rungs checked" in out and "nothing was checked" in out
    text = path.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 120
    code, _, err = command(capsys, "--template", path)
    assert code == 2 and err.count("\n") == 1 and "is there already" in err
    assert path.read_text(encoding="utf-8") == text


UNREADABLE = {  # what is in mine.py: what the one line on standard error says
    "import torch\nimport no_such_package\n": ["mine.py: line 2", "No module named 'no_such_package'"],
    "x = 1\ndef gelu(x:\n    return x\n": ["mine.py: line 2", "def gelu(x:"],
    "x = 1\n\n1 / 0\n": ["mine.py: line 3", "ZeroDivisionError"],
    "import sys\nsys.exit()\n": ["mine.py: line 2", "SystemExit"],
    "\n\nimport neighbour\n": ["mine.py: neighbour.py, line 1", "oh no"],
    "x = '\0'": ["mine.py: ", "null bytes"],
}


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: text.strip().splitlines()[-1][:20].replace("\0", "NUL"))
def test_a_file_that_cannot_be_imported_is_one_line_with_its_place(text, tmp_path, capsys):
    written(tmp_path / "neighbour.py", "oh no\n")
    code, out, err = command(capsys, written(tmp_path / "mine.py", text))
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert all(part in err for part in UNREADABLE[text]) and "line None" not in err


@pytest.mark.parametrize(
    "place, says",
    [
        ("nothing.py", "nothing.py: no such file"),
        ("folder", "folder: "),
        ("notes.txt", "notes.txt: not a Python file"),
        ("no.such.module", "no.such.module: no such file, and no such module"),
        ("minibert.no_such", "minibert.no_such: no such file, and no such module"),
        ("package.module", "package.module: module.py, line 1: cannot be imported: ModuleNotFoundError"),
        ("package.leaves", "package.leaves: leaves.py, line 1: cannot be imported: SystemExit: 3"),
    ],
)
def test_a_place_without_an_implementation_is_one_line(place, says, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "package").mkdir()
    written(tmp_path / "package" / "module.py", "import package.gone\n")
    written(tmp_path / "package" / "leaves.py", "raise SystemExit(3)\n")
    written(tmp_path / "notes.txt", "buy milk\n")
    code, out, err = command(capsys, place)
    assert (code, out) == (2, "") and err.startswith(f"error: {says}") and err.count("\n") == 1


def test_a_file_may_have_dataclasses_neighbours_and_a_dotted_name(tmp_path, capsys, monkeypatch):
    written(tmp_path / "neighbour_of_mine.py", "from torch.nn.functional import gelu\n")
    text = "from __future__ import annotations\nimport dataclasses\nfrom neighbour_of_mine import gelu\n"
    written(tmp_path / "json.py", text + "@dataclasses.dataclass\nclass Config:\n    width: int = 1\n")
    path = list(sys.path)
    assert command(capsys, tmp_path / "json.py", "--rungs", "gelu")[0] == 0
    assert sys.modules["json"] is json and sys.path == path
    monkeypatch.chdir(tmp_path)
    assert command(capsys, "neighbour_of_mine", "--rungs", "gelu")[0] == 0


def test_names_that_are_nearly_right_are_pointed_out_and_no_others(tmp_path, capsys):
    names = "atention_probabilities layernorm adamW GELU _clip_gradients mean_poolings helper accuracy pooler"
    text = "from torch.nn.functional import layer_norm as layer_norms\n"  # not the learner's own
    text += "".join(f"def {name}(*x):\n    raise NotImplementedError\n" for name in names.split())
    path = written(tmp_path / "mine.py", text)
    expected = {
        "atention_probabilities": "attention_probabilities", "layernorm": "layer_norm", "adamW": "adamw",
        "GELU": "gelu", "mean_poolings": "mean_pooling",
    }  # fmt: skip
    assert near_misses(load_implementation(path)) == expected
    out = command(capsys, path)[1]
    assert [line for line in out.splitlines() if "did you mean" in line] == [
        f"{wrong} is no rung; did you mean {right}?" for wrong, right in expected.items()
    ]
    assert near_misses(numpy_example()) == near_misses(adapter) == {}


@EACH_RUNG
def test_explain_gives_the_whole_contract(rung, capsys):
    code, out, err = command(capsys, "--explain", rung.name)
    assert (code, err) == (0, "") and out == explain(rung) + "\n"
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == f"{rung.name}({', '.join(name for name, _ in rung.arguments)})"
    words = " ".join(" ".join(lines).split())
    for name, what in (*rung.arguments, ("returns", rung.returns)):
        assert any(line.startswith(f"{name} ") for line in lines[1:]) and " ".join(what.split()) in words
    assert rung.source in words
    assert ("word for word" if rung.exact else f"at most {rung.tolerance:g}, {rung.double:g} with") in words
    assert ("padding is left out" in words) == (rung.padding is not None)
    assert ("called twice" in words) == rung.twice and ("heard: " in words) == bool(rung.places)


def test_list_names_every_rung_once_and_in_order(capsys):
    code, out, _ = command(capsys, "--list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == [rung.name for rung in RUNGS]


def test_rungs_are_chosen_by_name_and_a_wrong_name_gets_suggestions(capsys):
    code, out, _ = command(capsys, EXAMPLE, "--rungs", "layer, gelu")
    assert code == 0 and [line.split()[0] for line in out.splitlines()[1:3]] == ["layer", "gelu"]
    assert "2 of 2 rungs checked" in out
    for option in ("--rungs", "--explain"):
        code, out, err = command(capsys, EXAMPLE, option, "layernorm")
        assert (code, out) == (2, "") and "no rung is called 'layernorm'; did you mean layer_norm" in err


def test_json_is_one_strict_document_whatever_the_file_prints(tmp_path):
    text = HALF + 'print("at import")\n\ndef adamW(): pass\n\ndef roc_auc(labels, scores):\n    return float("nan")\n'
    text = text.replace("    return functional.gelu", '    print("in a function")\n    return functional.gelu')
    path = written(tmp_path / "mine.py", text)
    done = subprocess.run(
        [sys.executable, "-m", "minibert.parity", path, "--json"], cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "at import" in done.stderr and "in a function" in done.stderr
    report = json.loads(done.stdout, parse_constant=pytest.fail)
    assert (report["implementation"], report["success"]) == (str(path), False)
    assert report["near_misses"] == {"adamW": "adamw"}
    rows = {row["rung"]: row for row in report["rungs"]}
    assert list(rows) == [rung.name for rung in RUNGS] and len(report["rungs"]) == ALL
    assert rows["roc_auc"]["status"] == "DIFF" and rows["roc_auc"]["largest"] is rows["roc_auc"]["mean"] is None
    assert rows["gelu"]["mistakes"] == ["gelu-tanh"]
    assert 0 <= rows["layer_norm"]["mean"] < rows["layer_norm"]["largest"] < rows["layer_norm"]["tolerance"] == 1e-5
    assert rows["pooler"] | {"note": ""} == rows["layer"] | {"note": "", "rung": "pooler"}


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("no_color", [True, False])
def test_colour_only_on_a_terminal_and_not_against_no_color(tmp_path, capsys, monkeypatch, terminal, no_color):
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    out = command(capsys, written(tmp_path / "mine.py", HALF), "--rungs", "gelu,accuracy,layer")[1]
    coloured = terminal and not no_color
    assert [f"\033[{code}" in out for code in ("31mDIFF", "32mOK", "33mSKIP", "")] == [coloured] * 4


def test_pytest_shows_a_learner_the_same(tmp_path):
    path = written(tmp_path / "mine.py", HALF)
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_parity.py", "--impl", path]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert f"1 failed, 3 passed, {ALL - 4} skipped" in done.stdout, done.stdout
    assert "looks like `gelu-tanh`" in done.stdout and "FAILED tests/test_parity.py::test_rung[gelu]" in done.stdout


def test_a_rung_without_a_name_points_to_its_part_that_fails(tmp_path, capsys):
    text = EXAMPLE.read_text(encoding="utf-8")
    text = text.replace("return x * normal_cdf(x)", "return x * normal_cdf(x) * 1.07 + 0.03 * np.abs(x)")
    out = command(capsys, written(tmp_path / "mine.py", text), "--rungs", "gelu,feed_forward,pooler")[1]
    lines = " ".join(out.split())
    assert "first mend gelu, which it is made of" in lines and "pooler OK" in lines


def test_a_key_that_is_not_there_brings_the_nearest_one(tmp_path, capsys):
    text = 'def feed_forward(hidden, weights, config):\n    return weights["intermediate.weight"]\n'
    out = command(capsys, written(tmp_path / "mine.py", text), "--rungs", "feed_forward")[1]
    assert "KeyError: 'intermediate.weight'; there is 'intermediate.dense.weight'" in " ".join(out.split())


@pytest.mark.parametrize(
    "text, says",
    [
        ("def gelu(x):\n    raise NotImplementedError\n", "write one of the functions and run this again"),
        ("class Bert:\n    def forward(self):\n        pass\n", "to check its classes, say --module "),
        ("x = 1\n", "none of the ladder's functions is in the file"),
    ],
)
def test_where_nothing_was_checked_the_next_step_is_named(text, says, tmp_path, capsys):
    code, out, _ = command(capsys, written(tmp_path / "mine.py", text))
    assert code == 1 and f"nothing was checked: {says}" in out


def test_the_expected_signature_is_shown_when_the_call_itself_fails(tmp_path, capsys):
    out = command(capsys, written(tmp_path / "mine.py", "def gelu(x, y):\n    return x\n"), "--rungs", "gelu")[1]
    assert "expected: gelu(x); yours: gelu(x, y)" in out


def test_scalar_rungs_show_what_they_were_asked(tmp_path, capsys):
    text = "def warmup_schedule(step, warmup_steps, total_steps):\n    return 1.0\n\ndef roc_auc(labels, scores):\n"
    path = written(tmp_path / "mine.py", text + "    return 0.5\n")
    out = " ".join(command(capsys, path, "--rungs", "warmup_schedule,roc_auc")[1].split())
    assert "step 0, warmup_steps 4, total_steps 20: 1, expected 0" in out or "step 20, warmup_steps 4" in out
    assert "labels [" in out and "scores [" in out


def test_json_carries_the_advice_and_coarse_answers_get_a_note(tmp_path, capsys):
    text = "import torch\ndef gelu(x):\n    return torch.nn.functional.gelu(x, approximate='tanh')\n\n"
    text += "def layer_norm(x, weight, bias, eps):\n"
    text += "    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, eps).half()\n"
    report = json.loads(command(capsys, written(tmp_path / "mine.py", text), "--json", "--rungs", "gelu,layer_norm")[1])
    gelu, norm = sorted(report["rungs"], key=lambda row: row["rung"])
    assert any(line.startswith("looks like `gelu-tanh`") for line in gelu["advice"])
    assert "the answer is float16: too coarse, the arguments are float32" in norm["note"]
