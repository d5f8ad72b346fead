"""The parity ladder itself: each known mistake is named, nothing right is turned away, no file brings it down.

Most tests hand `run_rung` one small function. Where the judgement is what is tested, that function is a `parrot`: it
answers with the stored right values, spoiled in one known way.
"""

import ast
import functools
import itertools
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import ladder_torch
import numpy as np
import parity_mistakes
import pytest
import torch
from conftest import load_reference
from torch.nn import functional

import minibert
from minibert.parity import adapter, checkpoints
from minibert.parity.__main__ import explain, main
from minibert.parity.check import run_ladder, run_rung
from minibert.parity.judge import diagnose
from minibert.parity.learner import load_implementation, near_misses
from minibert.parity.mistakes import MISTAKES
from minibert.parity.references import FOLDER, References
from minibert.parity.rungs import RUNGS
from minibert.plumbing.command import run_command

REPOSITORY = Path(__file__).parent.parent
EXAMPLE = REPOSITORY / "examples" / "my_bert_numpy.py"
REFERENCES = References()
RUNG = {rung.name: rung for rung in RUNGS}
DTYPES = ("float32", "float64")
EACH_RUNG = pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
NUMERIC = pytest.mark.parametrize("rung", [rung for rung in RUNGS if not rung.exact], ids=lambda rung: rung.name)

# Mistakes that give the same numbers, so that nobody could tell which was made: pairs, and where.
ONE_LAYER = "attention_probabilities multi_head_attention layer bert_layer_dropout distilbert_layer_dropout".split()
TWINS = (({"no-mask", "mask-on-queries"}, ONE_LAYER), ({"not-clipped", "clipped-by-value"}, ["train"]))


def check(rung, function, arrays="torch", **options):
    """The `Result` of one function."""
    return run_rung(SimpleNamespace(ARRAYS=arrays, **{rung: function}), RUNG[rung], REFERENCES, **options)


def stored_answer(case):
    """What a perfect learner would return for a case of a rung that is compared by numbers."""
    values = {name: REFERENCES.arrays[key].copy() for name, key in case["output"].items()}
    if "loss" in values:
        return values.pop("loss"), values
    return values[""] if list(values) == [""] else list(values.values())


def parrot(rung, spoil):
    """A function that gives the stored answers, case after case, each through spoil(answer, number of the case)."""
    answers = enumerate(map(stored_answer, REFERENCES.cases(RUNG[rung])))

    def function(*arguments):
        number, answer = next(answers)
        return spoil(answer, number)

    return function


def leaves(value, change):
    """The same lists, tuples and dicts with change(x) for everything in them."""
    if isinstance(value, dict):
        return {name: leaves(part, change) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(leaves(part, change) for part in value)
    return change(value)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def command(capsys, *arguments):
    """(exit code, standard output, standard error) of `python -m minibert.parity`."""
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: main([str(argument) for argument in arguments]))
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


# ---- every known mistake is caught and named


def twins(name, rung):
    return next((pair for pair, rungs in TWINS if name in pair and rung in rungs), {name})


@functools.cache
def patched_numpy(mistake, dtype):
    """The results of my_bert_numpy.py with one mistake, up to the rung where it should be noticed."""
    module = ModuleType("mine")
    exec(compile(parity_mistakes.broken(mistake), "mine.py", "exec"), vars(module))
    noticed = [rung.name for rung in RUNGS].index(mistake.rung)
    return run_ladder(module, REFERENCES, RUNGS[: noticed + 1], dtype)


@functools.cache
def patched_torch(rung, name, dtype):
    """The result of ladder_torch.py with one mistake at one rung."""
    ladder_torch.WRONG = name
    try:
        return run_rung(ladder_torch, RUNG[rung], REFERENCES, dtype)
    finally:
        ladder_torch.WRONG = None


def stored_mistakes(rung):
    return list(REFERENCES.table[rung.name]["mistakes"] if rung.exact else REFERENCES.mistakes(rung)[0])


NUMPY_MISTAKES = list(itertools.product(parity_mistakes.MISTAKES, DTYPES))
# `train` takes as long as all the others: float32 only.
TORCH_MISTAKES = [
    (rung.name, name, dtype)
    for rung in RUNGS
    for name in stored_mistakes(rung)
    for dtype in DTYPES
    if rung.name != "train" or dtype == "float32"
]


@pytest.mark.parametrize("mistake", parity_mistakes.MISTAKES, ids=lambda mistake: f"{mistake.rung}-{mistake.name}")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mistake_in_numpy_fails_its_rung_and_none_before_and_is_named(mistake, dtype):
    *before, result = patched_numpy(mistake, dtype)
    assert result.status == "DIFF"
    assert set(result.mistakes) == twins(mistake.name, mistake.rung)
    assert [earlier.rung for earlier in before if earlier.status != "OK"] == []


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if stored_mistakes(rung)], ids=lambda rung: rung.name)
def test_each_mistake_that_a_rung_knows_fails_it_and_is_named_when_made_in_torch(rung):
    for name, dtype in [(name, dtype) for where, name, dtype in TORCH_MISTAKES if where == rung.name]:
        result = patched_torch(rung.name, name, dtype)
        assert result.status == "DIFF", (name, dtype)
        assert set(result.mistakes) == twins(name.split("#")[0], rung.name), (name, dtype)


def test_all_mistakes_are_caught_and_at_least_95_of_100_are_named_alone():
    made = [(mistake.name, patched_numpy(mistake, dtype)[-1]) for mistake, dtype in NUMPY_MISTAKES]
    made += [(name.split("#")[0], patched_torch(rung, name, dtype)) for rung, name, dtype in TORCH_MISTAKES]
    assert len(made) > 800
    assert all(result.failed and name in result.mistakes for name, result in made)
    assert sum(result.mistakes == [name] for name, result in made) >= 0.95 * len(made)


def test_the_list_of_mistakes_the_stored_outputs_and_the_patches_know_the_same_names():
    stored = {name.split("#")[0] for rung in RUNGS for name in stored_mistakes(rung)}
    assert stored == set(MISTAKES) == {mistake.name for mistake in parity_mistakes.MISTAKES}
    assert all(what.strip() and fix.strip() for what, fix in MISTAKES.values())


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung.exact], ids=lambda rung: rung.name)
def test_stored_mistakes_in_words_are_all_different(rung):
    outputs = list(map(str, REFERENCES.table[rung.name]["mistakes"].values()))
    assert len(set(outputs)) == len(outputs) > 0


@NUMERIC
def test_stored_mistakes_differ_from_each_other_and_from_the_right_answer_by_more_than_the_tolerance(rung):
    values, _ = REFERENCES.mistakes(rung)
    for name, one in values.items():
        assert np.abs(one - REFERENCES.arrays[f"{rung.name}/right"]).max() > 10 * rung.tolerance
        for other in values:
            alike = twins(name, rung.name) == twins(other, rung.name)
            assert (np.abs(one - values[other]).max() > 3 * rung.tolerance) != alike, (name, other)


@NUMERIC
def test_an_error_that_is_no_known_mistake_fails_and_is_given_no_name(rung):
    noise = np.random.default_rng(0)
    spoils = (
        lambda x: x + 0.01,
        lambda x: x * 1.03,
        lambda x: x + 0.3 * noise.normal(size=np.shape(x)),
        lambda x: x + math.inf,
        lambda x: x + 30 * rung.tolerance * noise.normal(size=np.shape(x)),
    )
    for spoil in spoils:
        result = check(rung.name, parrot(rung.name, lambda answer, _, spoil=spoil: leaves(answer, spoil)))
        assert (result.status, result.mistakes) == ("DIFF", [])


@pytest.mark.parametrize(
    "answer, names",
    [
        (1.0, ["relu"]),  # another mistake is near, but not as near
        (1.0015, ["relu", "gelu-tanh"]),  # between the two
        (0.95, []),  # 20 times nearer to a mistake than to what is right, and yet not the mistake
        (3e-5, ["gelu-sigmoid"]),
        (2e-5, []),  # within 10 tolerances of a mistake, but nearer to what is right
    ],
)
def test_a_mistake_is_named_only_where_the_answer_is_as_good_as_equal_to_it(answer, names):
    stored = {"relu": 1.0, "gelu-tanh": 1.003, "gelu-sigmoid": 3e-5}
    arrays = {f"gelu/mistake/{name}": np.full(3, value) for name, value in stored.items()}
    references = References({}, arrays | {"gelu/right": np.zeros(3), "gelu/positions": np.array([1, 2, 4])})
    assert sorted(diagnose(RUNG["gelu"], np.array([9, answer, answer, 9, answer]), references, 1e-5)) == sorted(names)


# ---- nothing right is turned away


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", ["numpy", "torch", "minibert fused", "minibert explicit"])
def test_a_right_implementation_passes_all_28_rungs(place, dtype, monkeypatch):
    monkeypatch.setattr(adapter, "FUSED", place != "minibert explicit")
    module = {"numpy": None, "torch": ladder_torch}.get(place, adapter) or load_implementation(EXAMPLE)
    start = time.perf_counter()
    results = run_ladder(module, REFERENCES, dtype=dtype)
    assert [result.status for result in results] == ["OK"] * 28, [r for r in results if r.status != "OK"]
    assert time.perf_counter() - start < 20


def is_float(value):
    return torch.is_tensor(value) and value.is_floating_point()


def needs_gradient(value):
    return value.detach().clone().requires_grad_() if is_float(value) else value


FORMS = {
    "NumPy arrays": lambda x: x.detach().numpy() if torch.is_tensor(x) else x,
    "Python lists": lambda x: x.tolist() if torch.is_tensor(x) else x,
    "float64 for float32": lambda x: x.double() if is_float(x) else x,
    "tensors that require grad": needs_gradient,
    "lists of tensors that require grad": lambda x: list(needs_gradient(x)) if is_float(x) and x.dim() else x,
    "not contiguous": lambda x: x.mT.contiguous().mT if is_float(x) and x.dim() > 1 else x,
}


@pytest.mark.parametrize("form", FORMS)
@EACH_RUNG
def test_right_answers_pass_in_any_form(rung, form):
    function = getattr(ladder_torch, rung.name)
    result = check(rung.name, lambda *arguments: leaves(function(*arguments), FORMS[form]))
    assert result.status == "OK", result


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if "list" in rung.returns or "(" in rung.returns[:1]])
def test_a_tuple_is_as_good_as_a_list(rung):
    def turned(value):
        if isinstance(value, (list, tuple)):
            return {list: tuple, tuple: list}[type(value)](map(turned, value))
        return value

    function = getattr(ladder_torch, rung.name)
    assert check(rung.name, lambda *arguments: turned(function(*arguments))).status == "OK"


def attention(penalty):
    """By einsum, the query scaled before, and a number added to blocked scores."""

    def attention_probabilities(query, key, attention_mask):
        scores = torch.einsum("bhqd,bhkd->bhqk", query / math.sqrt(query.shape[-1]), key)
        blocked = attention_mask[:, None, None, :] == 0
        return (scores + torch.zeros_like(scores).masked_fill(blocked, penalty(query.dtype))).softmax(-1)

    return attention_probabilities


def attention_by_torch(hidden, attention_mask, weights, config):
    def linear(x, name):
        return functional.linear(x, weights[f"attention.{name}.weight"], weights[f"attention.{name}.bias"])

    heads, allowed = (config["num_attention_heads"], -1), attention_mask[:, None, None, :].bool()
    three = (linear(hidden, f"self.{n}").unflatten(-1, heads).transpose(1, 2) for n in ("query", "key", "value"))
    context = functional.scaled_dot_product_attention(*three, allowed)
    return linear(context.transpose(1, 2).flatten(2), "output.dense")


def layer_norm_by_hand(x, weight, bias, eps):
    mean = x.sum(-1, keepdim=True) / x.shape[-1]
    return (x - mean) * torch.rsqrt(((x - mean) ** 2).mean(-1, keepdim=True) + eps) * weight + bias


def adamw(decay):
    def function(parameter, gradients, lr, beta1, beta2, eps, weight_decay):
        mean = square = torch.zeros_like(parameter)
        history = [parameter]
        for t, gradient in enumerate(gradients, 1):
            mean, square = mean + (1 - beta1) * (gradient - mean), beta2 * square + (1 - beta2) * gradient**2
            update = lr / (1 - beta1**t) * mean / ((square / (1 - beta2**t)).sqrt() + eps)
            history.append(decay(history[-1], update, lr * weight_decay))
        return torch.stack(history[1:])

    return function


def clip_without_guard(gradients, max_norm):
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    return [gradient / max(1, norm / max_norm) for gradient in gradients]


def roc_auc_by_ranks(labels, scores):
    ranks = np.array([(scores < score).sum() + ((scores == score).sum() + 1) / 2 for score in scores])
    ones = labels.sum()
    return (ranks[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones))


def roc_auc_by_trapezoids(labels, scores):
    limits = [np.inf, *sorted(set(scores), reverse=True)]
    right = np.array([(scores[labels == 1] >= limit).mean() for limit in limits])
    wrong = np.array([(scores[labels == 0] >= limit).mean() for limit in limits])
    return float((np.diff(wrong) * (right[1:] + right[:-1]) / 2).sum())


VARIANTS = {
    "mask of -1e4": ("attention_probabilities", attention(lambda dtype: -1e4), "torch"),
    "mask of the least number": ("attention_probabilities", attention(lambda dtype: torch.finfo(dtype).min), "torch"),
    "mask of -infinity": ("attention_probabilities", attention(lambda dtype: -math.inf), "torch"),
    "scaled_dot_product_attention": ("multi_head_attention", attention_by_torch, "torch"),
    "layer norm by hand": ("layer_norm", layer_norm_by_hand, "torch"),
    "layer norm by torch": (
        "layer_norm", lambda x, weight, bias, eps: functional.layer_norm(x, weight.shape, weight, bias, eps), "torch",
    ),
    "gelu by erf": ("gelu", lambda x: x * torch.special.ndtr(x), "torch"),
    "gelu by math.erf": ("gelu", lambda x: [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()], "numpy"),
    "gelu by torch": ("gelu", functional.gelu, "torch"),
    "gelu by nn.GELU": ("gelu", torch.nn.GELU(), "torch"),
    "mean pooling by matmul": (
        "mean_pooling", lambda h, mask: (mask[:, None] @ h)[:, 0] / np.count_nonzero(mask, 1)[:, None], "numpy",
    ),
    "decay first": ("adamw", adamw(lambda old, update, rate: old * (1 - rate) - update), "torch"),
    "decay last, of the old parameter": ("adamw", adamw(lambda old, update, rate: old - update - rate * old), "torch"),
    "schedule by min": ("warmup_schedule", lambda step, up, end: min(step / up, (end - step) / (end - up)), "torch"),
    "clipping without 1e-6": ("clip_gradients", clip_without_guard, "torch"),
    "AUROC by ranks": ("roc_auc", roc_auc_by_ranks, "numpy"),
    "AUROC by trapezoids": ("roc_auc", roc_auc_by_trapezoids, "numpy"),
    "sets of names": ("parameter_groups", lambda names: list(map(set, ladder_torch.parameter_groups(names))), "torch"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_another_right_way_passes(variant, dtype):
    rung, function, arrays = VARIANTS[variant]
    result = check(rung, function, arrays, dtype=dtype)
    assert result.status == "OK", result


def test_decay_of_the_updated_parameter_is_another_formula_and_fails_under_no_name():
    result = check("adamw", adamw(lambda old, update, rate: (old - update) * (1 - rate)))
    assert (result.status, result.mistakes) == ("DIFF", [])


# ---- the command, from a file to an exit code

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
    assert out.endswith("\n28 of 28 rungs checked, 28 passed\n") and out.count("OK") == 28
    assert "1.0e-10" in out and "1.0e-05" not in out


@pytest.mark.parametrize(
    "text, options, code, counts",
    [
        (HALF, [], 1, "4 of 28 rungs checked, 3 passed"),
        (MENDED, [], 0, "4 of 28 rungs checked, 4 passed"),
        (MENDED, ["--strict"], 1, "4 of 28 rungs checked, 4 passed\n--strict: a rung that is not checked"),
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


def test_two_mistakes_with_one_outcome_are_both_offered_with_their_remedies(tmp_path, capsys):
    (no_mask,) = (mistake for mistake in parity_mistakes.MISTAKES if mistake.name == "no-mask")
    path = written(tmp_path / "mine.py", parity_mistakes.broken(no_mask))
    words = " ".join(command(capsys, path, "--rungs", "attention_probabilities")[1].split())
    for start, name in (("looks like", "mask-on-queries"), ("or", "no-mask")):
        what, fix = MISTAKES[name]
        assert f" {start} `{name}`: {what}. Right: {fix}. " in words


def test_the_template_imports_asks_for_every_function_and_checks_nothing(tmp_path, capsys):
    path = tmp_path / "new.py"
    assert command(capsys, "--template", path)[0] == 0
    module = load_implementation(path)
    for rung in RUNGS:
        code = getattr(module, rung.name).__code__
        assert code.co_varnames[: code.co_argcount] == tuple(name for name, _ in rung.arguments)
    code, out, err = command(capsys, path)
    assert (code, err) == (1, "") and "0 of 28 rungs checked" in out and "nothing was checked" in out
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
        ("package.module", "package.module: cannot be imported: ModuleNotFoundError: No module named 'package.gone'"),
        ("package.leaves", "package.leaves: cannot be imported: SystemExit: 3"),
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


# ---- a bad function spoils its own rung and no other

BAD_FILE = """\
import sys
import numpy as np, torch
ARRAYS = "{arrays}"

def layer_norm(x, weight, bias, eps):
    right = (x - x.mean(-1)[..., None]) / ((x**2).mean(-1) - x.mean(-1) ** 2 + eps)[..., None] ** 0.5 * weight + bias
    {body}

def gelu(x):
    return torch.nn.functional.gelu(torch.as_tensor(x))
"""
BAD = {  # the body of layer_norm: (what its rung becomes, what the note, the place or the details say)
    'raise ValueError("two\\nlines")': ("ERROR", "ValueError: two lines", "bad.py", "line 7, in layer_norm"),
    "return torch.nn.functional.layer_norm(torch.as_tensor(x), (3,))": (
        "ERROR",
        "RuntimeError",
        "bad.py",
        "line 7, in layer_norm",
    ),
    "torch.nn.Linear(2, 2).load_state_dict({})": ("ERROR", "Missing key", "bad.py", "line 7, in layer_norm"),
    "return torch.nn.functional.softmax(torch.zeros(3).long(), -1)": ("ERROR", "not implemented for 'Long'", "line 7"),
    "return layer_norm(x, weight, bias, eps)": ("ERROR", "RecursionError", "bad.py", "in layer_norm"),
    "sys.exit(0)": ("ERROR", "SystemExit", "line 7"),
    "raise NotImplementedError": ("SKIP", "not yet"),
    "return right[0]": ("SHAPE", "shape [7, 20], expected [3, 7, 20]"),
    "return right.swapaxes(0, 1)": ("SHAPE", "shape [7, 3, 20], expected [3, 7, 20]; transposed by [1, 0, 2] it would"),
    "return right.swapaxes(0, 1).swapaxes(1, 2)": ("SHAPE", "[7, 20, 3]", "transposed by [2, 0, 1] it would be right"),
    "return right.swapaxes(0, 1) + 1": ("SHAPE", "shape [7, 3, 20], expected [3, 7, 20]"),
    "return right, right": ("SHAPE", "shape [2, 3, 7, 20]"),
    "return None": ("ERROR", "returned a NoneType, which is no array of numbers"),
    'return "right"': ("ERROR", "returned a str, which is no array of numbers"),
    "return [[1, 2], [3]]": ("ERROR", "returned a list, which is no array of numbers"),
    "return np.array([None, x], dtype=object)": ("ERROR", "no array of numbers"),
    "return {'x': right}": ("ERROR", "returned a dict, which is no array of numbers"),
    "return np.asarray(right) * 1j": ("ERROR", "no array of numbers"),
    "return torch.as_tensor(right).long()": ("DIFF", "batch ", ", expected "),
    "return right > 0": ("DIFF", "expected "),
    "return torch.as_tensor(right).bfloat16()": ("DIFF", "expected "),
    "return list(torch.as_tensor(right).bfloat16())": ("DIFF", "expected "),
    "return torch.as_tensor(right).half()": ("DIFF", "expected "),
    "right[1, 2, 3] = np.nan; return right": ("DIFF", "returned NaN or infinity", "batch 1, token 2, feature 3: nan"),
    "right[1, 2, 3] = -np.inf; return right": ("DIFF", "returned NaN or infinity", "batch 1, token 2, feature 3: -inf"),
    "x *= 2; return right": ("ERROR", "changes its argument `x` in place"),
}


@pytest.mark.parametrize("arrays", ["torch", "numpy"])
@pytest.mark.parametrize("body", BAD, ids=lambda body: body[:30])
def test_a_bad_function_is_explained_and_the_next_rung_runs(body, arrays, tmp_path, capsys):
    status, *says = BAD[body]
    path = written(tmp_path / "bad.py", BAD_FILE.format(arrays=arrays, body=body))
    bad, good = run_ladder(load_implementation(path), REFERENCES, [RUNG["layer_norm"], RUNG["gelu"]])
    assert bad.status == status, bad
    seen = "\n".join([bad.note, bad.where, *bad.details])
    assert all(part in seen for part in says), seen
    assert ("transposed" in seen) == any("transposed" in part for part in says)
    assert good.status == "OK", good
    code, out, err = command(capsys, path, "--rungs", "layer_norm,gelu")
    assert code == (0 if status == "SKIP" else 1) and "Traceback" not in err
    assert f"{1 if status == 'SKIP' else 2} of 2 rungs checked, 1 passed" in out
    assert all(part in " ".join(out.split()) for part in says), out


BIAS = "pooler.dense.bias"


@pytest.mark.parametrize(
    "rung, spoil, status, says",
    [
        ("bert_encoder", lambda x: x[:2], "SHAPE", "returned 2 values, expected 3: embeddings, layer 1, layer 2"),
        ("bert_encoder", lambda x: dict(zip("abc", x, strict=True)), "SHAPE", "returned a dict"),
        ("bert_encoder", lambda x: x[-1], "SHAPE", "returned one ndarray; expected list of L + 1"),
        ("bert_encoder", lambda x: [x[0], None, x[2]], "ERROR", "returned a NoneType for layer 1, which is no array"),
        ("bert_encoder", lambda x: [x[0], x[1], x[2][:, 0]], "SHAPE", "layer 2: shape [3, 20], expected [3, 7, 20]"),
        ("loss_and_gradients", lambda x: x[0], "SHAPE", "returned one ndarray; expected (loss, gradients)"),
        ("loss_and_gradients", lambda x: (x[0], {}), "SHAPE", "no gradient for embeddings.word_embeddings.weight,"),
        ("loss_and_gradients", lambda x: (x[0], x[1] | {BIAS: None, "more": 1}), "SHAPE", f"no gradient for {BIAS}"),
        ("loss_and_gradients", lambda x: (x[0], x[1] | {BIAS: x[0]}), "SHAPE", f"{BIAS}: shape [1], expected [20]"),
        ("loss_and_gradients", lambda x: (x[0], x[1] | {"more": 1}), "OK", ""),
        ("precision_recall_f1", lambda x: x[:2], "SHAPE", "returned 2 values, expected 3: precision, recall, f1"),
        ("accuracy", lambda x: [x], "OK", ""),
    ],
)
def test_several_outputs_are_told_apart(rung, spoil, status, says):
    result = check(rung, parrot(rung, lambda answer, _: spoil(answer)))
    assert result.status == status and says in result.note, result


@pytest.mark.parametrize(
    "rung, answer, status, says",
    [
        ("parameter_groups", None, "SHAPE", "expected two lists of names"),
        ("parameter_groups", [None, None], "SHAPE", "expected two lists of names"),
        ("parameter_groups", [[], []], "DIFF", "in neither', expected 'decayed'"),
        ("map_weight_names", None, "DIFF", "a NoneType, expected a list of 29"),
        ("map_weight_names", ["x"], "DIFF", "a list of 1, expected a list of 29"),
        ("map_weight_names", [None] * 29, "DIFF", "None, expected 'embeddings.word_embeddings.weight'"),
        ("wordpiece", None, "DIFF", "10 of 10 cases; 'The film was never dull.': None, expected [["),
    ],
)
def test_a_wrong_answer_in_words_says_which_word(rung, answer, status, says):
    result = check(rung, lambda *arguments: answer)
    assert result.status == status and says in result.note + result.where, result
    assert len(result.where) < 250


def test_a_function_that_never_returns_is_stopped_and_the_next_one_runs():
    def forever(*arguments):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                pass

    module = SimpleNamespace(layer_norm=forever, gelu=functional.gelu)
    start = time.perf_counter()
    slow, good = run_ladder(module, REFERENCES, [RUNG["layer_norm"], RUNG["gelu"]], time_limit=0.2)
    assert 0.2 <= time.perf_counter() - start < 1.5
    assert (slow.status, slow.note, good.status) == ("ERROR", "did not return within 0.2 seconds", "OK")
    time.sleep(0.25)  # an alarm that was left on would go off now


def test_the_time_limit_is_what_one_asks_for(tmp_path, capsys):
    path = written(tmp_path / "mine.py", MENDED)
    assert command(capsys, path, "--rungs", "gelu", "--time-limit", "inf")[0] == 0
    assert command(capsys, path, "--rungs", "gelu", "--time-limit", "0")[0] == 2
    written(path, "def gelu(x):\n    while True:\n        pass\n")
    assert "did not return within 0.1 seconds" in command(capsys, path, "--rungs", "gelu", "--time-limit", "0.1")[1]


def set_in_place(rung, argument, change, arrays):
    names = [name for name, _ in RUNG[rung].arguments]

    def function(*arguments):
        answer = getattr(ladder_torch if arrays == "torch" else numpy_example(), rung)(*arguments)
        change(arguments[names.index(argument)])
        return answer

    return check(rung, function, arrays)


@functools.cache
def numpy_example():
    return load_implementation(EXAMPLE)


def zero_first(array):
    array[0] = 0


@pytest.mark.parametrize("arrays", ["torch", "numpy"])
@pytest.mark.parametrize(
    "rung, argument, change",
    [
        ("layer", "hidden", zero_first),
        ("layer", "attention_mask", zero_first),
        ("bert_embeddings", "input_ids", zero_first),
        ("layer", "weights", lambda weights: zero_first(weights["output.dense.bias"])),
        ("layer", "weights", lambda weights: weights.pop("output.dense.bias")),
        ("layer", "weights", lambda weights: weights.update({"new": 1})),
        ("layer", "weights", lambda weights: weights.update({"output.dense.bias": None})),
        ("layer", "config", lambda config: config.update(hidden_size=1)),
        ("train", "batches", lambda batches: zero_first(batches[3]["labels"])),
        ("train", "batches", lambda batches: batches.pop()),
        ("clip_gradients", "gradients", lambda gradients: zero_first(gradients[1])),
        ("parameter_groups", "names", lambda names: names.sort()),
    ],
)
def test_an_argument_changed_in_place_is_named(rung, argument, change, arrays):
    result = set_in_place(rung, argument, change, arrays)
    assert (result.status, result.note) == ("ERROR", f"changes its argument `{argument}` in place; work on a copy")
    assert set_in_place(rung, argument, lambda unchanged: None, arrays).status == "OK"


@pytest.mark.parametrize(
    "line, says",
    [
        ("def gelu(): return 1", "takes 0 positional arguments but 1 was given"),
        ("def gelu(x, y): return x", "missing 1 required positional argument: 'y'"),
        ("gelu = 3", "gelu is a int, not a function"),
        ("import gelu_module as gelu", "gelu is a module, not a function"),
        ('ARRAYS = "jax"\ndef gelu(x): return x', """ARRAYS is 'jax'; expected "torch" or "numpy\""""),
    ],
)
def test_what_cannot_be_called_is_an_error_of_its_rung(line, says, tmp_path, capsys):
    written(tmp_path / "gelu_module.py", "")
    code, out, err = command(capsys, written(tmp_path / "mine.py", line), "--rungs", "gelu,layer")
    assert code == 1 and "Traceback" not in out + err
    assert f"ERROR{'':36}" in out and says in out and "1 of 2 rungs checked, 0 passed" in out


# ---- the report


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
    assert list(rows) == [rung.name for rung in RUNGS] and len(report["rungs"]) == 28
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


def planted(place, size, case=0):
    def spoil(answer, number):
        if number == case:
            answer[place] += size
        return answer

    return spoil


def test_the_largest_difference_is_where_it_is_said_to_be():
    result = check("layer", parrot("layer", planted((1, 3, 11), 0.5)))
    answer = stored_answer(REFERENCES.cases(RUNG["layer"])[0])[1, 3, 11]
    assert result.where == f"batch 1, token 3, feature 11: {answer + 0.5:.6g}, expected {answer:.6g}"
    assert result.largest == pytest.approx(0.5)
    assert result.mean == pytest.approx(0.5 / (34 * 20))  # 17 real tokens in each case, 20 features
    result = check("attention_probabilities", parrot("attention_probabilities", planted((2, 3, 1, 6), -0.25, case=1)))
    assert result.where.startswith("batch 2, head 3, query 1, key 6: ")
    result = check("confusion_matrix", parrot("confusion_matrix", planted((2, 1), 1)))
    assert result.where.startswith("true 2, predicted 1: ")
    # a padded key is compared, though a padded query is not
    result = check("attention_probabilities", parrot("attention_probabilities", planted((1, 0, 0, 5), 0.1)))
    assert result.status == "DIFF" and "query 0, key 5" in result.where


@pytest.mark.parametrize("size", [1.0, math.nan, math.inf])
@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung.padding is not None], ids=lambda rung: rung.name)
def test_padding_is_not_compared_and_its_neighbours_are(rung, size):
    def spoil(token):
        place = (1,) + (slice(None),) * (rung.padding - 1) + (token,)
        return lambda x, n: (
            [planted(place, size)(a, n) for a in x] if isinstance(x, list) else planted(place, size)(x, n)
        )

    assert check(rung.name, parrot(rung.name, spoil(4))).status == "OK"  # the second text has four tokens
    assert check(rung.name, parrot(rung.name, spoil(3))).status == "DIFF"


def test_just_within_the_tolerance_passes_and_just_beyond_fails():
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-10)):
        inside, outside = (
            check("gelu", parrot("gelu", planted(5, factor * tolerance)), dtype=dtype) for factor in (0.98, 1.02)
        )
        assert (inside.status, inside.tolerance) == ("OK", tolerance)
        assert (outside.status, outside.tolerance) == ("DIFF", tolerance)


@pytest.mark.parametrize("size", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_none_fails_wherever_it_stands(size):
    result = check("layer", parrot("layer", planted((2, 6, 19), size, case=1)))
    assert (result.status, result.note) == ("DIFF", "returned NaN or infinity")
    assert result.where.startswith(f"batch 2, token 6, feature 19: {size}, expected ")


@pytest.mark.parametrize("cases", [(0, 0), (0, 1), (1, 0)], ids=["same case", "later case", "earlier case"])
def test_an_encoder_names_the_first_layer_that_differs(cases):
    def spoil(answer, number):
        answer[1][0, 5, 2] += 0.1 * (number == cases[1])
        answer[2][0, 4, 3] += 0.7 * (number == cases[0])
        return answer

    result = check("bert_encoder", parrot("bert_encoder", spoil))
    assert result.note == "first differs at: layer 1"
    assert result.where.startswith("layer 2, batch 0, token 4, feature 3: ")


# ---- real weights


@pytest.fixture
def known_checkpoints(tiny_bert, tiny_distilbert, tmp_path, monkeypatch):
    """Figures for the two tiny checkpoints: BERT's from minibert, DistilBERT's from transformers' stored outputs."""
    ids, mask = [[2, 9, 30, 7, 3], [2, 41, 3, 0, 0]], [[1] * 5, [1, 1, 1, 0, 0]]
    states = minibert.load_encoder(tiny_bert)(torch.tensor(ids), torch.tensor(mask), return_all=True)
    bert = {"input_ids": ids, "attention_mask": mask, "tolerance": 1e-5}
    outputs = load_reference("tiny-distilbert-outputs.safetensors")
    distilbert = {"input_ids": outputs["input_ids"].tolist(), "tolerance": 2e-5}

    def case(inputs, rung, expected, cut):
        part = tuple(slice(*bounds) for bounds in cut)
        return inputs | {
            "rung": rung, "slice": cut, "expected": {name: value[part].tolist() for name, value in expected.items()},
        }  # fmt: skip

    masked = distilbert | {"attention_mask": outputs["attention_mask"].tolist()}
    layers = {name: outputs[f"fp64.hidden.{i}"] for i, name in ((0, "embeddings"), (2, "layer 2"))}
    known = {
        "tiny-bert": [
            case(bert, "bert_encoder", {"embeddings": states[0], "layer 2": states[2]}, [[0, 2], [0, 3], [0, 9]]),
            case(bert, "bert_encoder", {"layer 1": states[1]}, [[0, 1], [1, 4], [2, 6]]),
        ],
        "tiny-distilbert": [
            case(masked, "distilbert_encoder", layers, [[0, 5], [0, 1], [3, 9]]),
            case(masked, "distilbert_head", {"logits": outputs["fp64.logits"]}, [[1, 4], [0, 6]]),
            case(distilbert, "distilbert_head", {"logits": outputs["fp64.unpadded.logits"]}, [[0, 5], [0, 6]]),
        ],
    }
    folder = tmp_path / "figures"
    folder.mkdir()
    written(folder / "checkpoints.json", json.dumps(known))
    monkeypatch.setattr(checkpoints, "FOLDER", folder)
    return {"tiny-bert": tiny_bert, "tiny-distilbert": tiny_distilbert}


@pytest.mark.parametrize("place", [EXAMPLE, "minibert.parity.adapter"], ids=["numpy", "minibert"])
@pytest.mark.parametrize("name, rungs", [("tiny-bert", 1), ("tiny-distilbert", 2)])
def test_right_encoders_and_heads_pass_on_a_checkpoint(name, rungs, place, known_checkpoints, capsys):
    code, out, err = command(capsys, place, "--weights", known_checkpoints[name], "--strict")
    assert (code, err) == (0, "") and f"{rungs} of {rungs} rungs checked, {rungs} passed" in out, out


def encoder(change):
    """minibert's BERT encoder with change(states) for its result."""
    return SimpleNamespace(bert_encoder=lambda *arguments: change(list(adapter.bert_encoder(*arguments))))


def add(states, layer, place):
    states[layer] = states[layer].detach().clone()
    states[layer][place] += 1
    return states


@pytest.mark.parametrize(
    "change, status, says",
    [
        (lambda states: add(states, 1, (0, 2, 5)), "DIFF", "layer 1, batch 0, token 2, feature 5: "),
        (lambda states: add(states, 2, (1, 1, 7)), "DIFF", "layer 2, batch 1, token 1, feature 7: "),
        (lambda states: add(states, 0, (1, 4, 7)), "OK", ""),  # outside of what is stored
        (lambda states: states[:2], "SHAPE", "returned 2 states"),
        (lambda states: states[-1], "SHAPE", "returned one Tensor"),
        (lambda states: [None] * 3, "ERROR", "returned a NoneType"),
        (lambda states: 1 / 0, "ERROR", "ZeroDivisionError"),
    ],
)
def test_a_wrong_encoder_fails_on_a_checkpoint(change, status, says, known_checkpoints):
    (result,) = checkpoints.run_checkpoint(encoder(change), known_checkpoints["tiny-bert"])
    assert result.status == status and says in result.where + result.note, result


def test_a_head_is_checked_only_with_its_encoder_and_known_figures_only(known_checkpoints, capsys):
    module = SimpleNamespace(distilbert_head=adapter.distilbert_head)
    results = checkpoints.run_checkpoint(module, known_checkpoints["tiny-distilbert"])
    assert [(r.rung, r.status) for r in results] == [("distilbert_encoder", "SKIP"), ("distilbert_head", "SKIP")]
    weights = ("--weights", known_checkpoints["tiny-bert"])
    code, out, _ = command(capsys, *weights, "--rungs", "gelu,layer")
    assert code == 1 and "no figures are stored" in out and "0 of 0 rungs" in out
    code, _, err = command(capsys, *weights, "--dtype", "float64")
    assert code == 2 and "float32 only" in err


def test_the_mask_and_each_slice_are_used_on_a_checkpoint(known_checkpoints, monkeypatch):
    right = adapter.distilbert_encoder
    blind = SimpleNamespace(
        distilbert_head=adapter.distilbert_head,
        distilbert_encoder=lambda ids, mask, *rest: right(ids, torch.ones_like(mask), *rest),
    )
    results = checkpoints.run_checkpoint(blind, known_checkpoints["tiny-distilbert"])
    assert [result.status for result in results] == ["DIFF", "DIFF"]
    assert "logits, batch" in results[1].where and "embeddings" not in results[0].note


def test_an_unknown_checkpoint_is_refused_and_the_known_ones_are_listed(capsys, tmp_path):
    code, _, err = command(capsys, "--weights", tmp_path / "my-bert")
    assert code == 2 and err.count("\n") == 1
    assert all(name in err for name in ("'my-bert'", "bert-base-uncased", "all-MiniLM-L6-v2"))


def test_minilm_passes_and_its_tanh_variant_fails(weights_folder, tmp_path, capsys, monkeypatch):
    folder = weights_folder / "all-MiniLM-L6-v2"
    for place in (EXAMPLE, "minibert.parity.adapter"):
        code, out, _ = command(capsys, place, "--weights", folder)
        assert code == 0 and "1 of 1 rungs checked, 1 passed" in out, out
    (tanh,) = (mistake for mistake in parity_mistakes.MISTAKES if mistake.name == "gelu-tanh")
    wrong = written(tmp_path / "mine.py", parity_mistakes.broken(tanh))
    code, out, _ = command(capsys, wrong, "--weights", folder)
    assert code == 1 and "first differs at: layer 1" in out, out
    monkeypatch.chdir(folder)
    assert command(capsys, "--weights", ".")[0] == 0


# ---- the judge shares nothing with the judged


@pytest.mark.parametrize("name", ["rungs", "mistakes", "learner", "references", "check", "judge", "results"])
def test_the_engine_imports_none_of_the_code_that_it_judges(name):
    own = {"plumbing", "rungs", "results", "references", "learner", "judge"}
    allowed = {*own, "numpy", "safetensors", "torch"}  # torch: to make tensors, inside two functions
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            modules = [node.module]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            assert module.split(".")[0] in allowed | sys.stdlib_module_names
            assert module != "torch" or node.col_offset > 0


def test_the_references_are_small_and_need_no_transformers():
    assert sum(path.stat().st_size for path in FOLDER.glob("*") if path.suffix in (".json", ".safetensors")) < 1.5e6
    program = "import sys; sys.modules['transformers'] = None; from minibert.parity.__main__ import main; exit(main())"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and "28 of 28 rungs checked, 28 passed" in done.stdout, done.stderr


def test_pytest_shows_a_learner_the_same(tmp_path):
    path = written(tmp_path / "mine.py", HALF)
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_parity.py", "--impl", path]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "1 failed, 3 passed, 24 skipped" in done.stdout, done.stdout
    assert "looks like `gelu-tanh`" in done.stdout and "FAILED tests/test_parity.py::test_rung[gelu]" in done.stdout
