"""A bad function spoils its own rung and no other, and the report says what happened."""

import time
from types import SimpleNamespace

import ladder_torch
import numpy as np
import pytest
import torch
from ladder_tools import REFERENCES, RUNG, check, command, numpy_example, parrot, written
from torch.nn import functional

from minibert.parity.check import run_ladder
from minibert.parity.learner import load_implementation

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
        ("bert_encoder", lambda x: x[-1], "SHAPE", "returned one array; expected list of L + 1"),
        ("bert_encoder", lambda x: [x[0], None, x[2]], "ERROR", "returned a NoneType for layer 1, which is no array"),
        ("bert_encoder", lambda x: [x[0], x[1], x[2][:, 0]], "SHAPE", "layer 2: shape [3, 20], expected [3, 7, 20]"),
        ("loss_and_gradients", lambda x: x[0], "SHAPE", "returned one array; expected (loss, gradients)"),
        ("loss_and_gradients", lambda x: (x[0], {}), "SHAPE", "no gradient for embeddings.word_embeddings.weight,"),
        ("loss_and_gradients", lambda x: (x[0], x[1] | {BIAS: None, "more": 1}), "SHAPE", f"no gradient for {BIAS}"),
        ("loss_and_gradients", lambda x: (x[0], x[1] | {BIAS: x[0]}), "SHAPE", f"{BIAS}: shape [1], expected [20]"),
        ("loss_and_gradients", lambda x: (x[0], x[1] | {"more": 1}), "OK", ""),
        ("precision_recall_f1", lambda x: x[:2], "SHAPE", "returned 2 values, expected 3: precision, recall, f1"),
        ("precision_recall_f1", lambda x: np.ravel(x), "OK", ""),
        ("precision_recall_f1", lambda x: torch.as_tensor(np.ravel(x)), "OK", ""),
        ("precision_recall_f1", lambda x: np.ravel(x)[:2], "SHAPE", "returned one array; expected (precision,"),
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
        ("wordpiece", None, "SHAPE", "returned a NoneType for 'The film was never dull.'; expected (ids, token"),
        ("wordpiece", [2, 55, 3], "SHAPE", "returned a list of 3 for 'The film was never dull.'; expected (ids, token"),
        ("wordpiece", {"input_ids": [2, 3]}, "SHAPE", "returned a dict for 'The film was never dull.'; expected ("),
        ("wordpiece", ([2, 3], [0, 0]), "DIFF", "The film was never dull.': [[2, 3], [0, 0]], expected"),
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
    path = written(tmp_path / "mine.py", "from torch.nn.functional import gelu\n")
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
