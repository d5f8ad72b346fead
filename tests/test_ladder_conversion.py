"""`--onnx FILE --weights DIR`: a conversion is compared with its checkpoint, on padded and unpadded texts and on pairs.

onnxruntime is optional: what it does is played here by a stand-in that runs minibert's own model.
"""

import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import numpy as np
import pytest
from ladder_tools import EXAMPLE, command, written

from minibert.parity.adapter import answer_of

FAULTS = {  # what is wrong with a conversion: the texts on which it shows
    "nothing": [],
    "mask": ["padding on the right", "padding on the left"],
    "types": ["a pair of texts"],
    "half": ["no padding", "padding on the right", "padding on the left", "a pair of texts"],
}


def stand_in(folder, fault, inputs=("input_ids", "attention_mask", "token_type_ids")):
    """A module like onnxruntime, whose sessions run the checkpoint's model with a fault."""

    class InferenceSession:
        def __init__(self, place, providers):
            if "broken" in str(place):
                raise RuntimeError("no such graph")

        def get_inputs(self):
            return [SimpleNamespace(name=name, type="tensor(int64)") for name in inputs]

        def get_outputs(self):
            return [SimpleNamespace(name="last_hidden_state")]

        def run(self, names, feed):
            ids, mask, types = feed["input_ids"], feed["attention_mask"], feed["token_type_ids"]
            mask = np.ones_like(mask) if fault == "mask" else mask
            types = np.zeros_like(types) if fault == "types" else types
            answer = answer_of(folder, ids, mask, types)
            return [answer.astype(np.float16 if fault == "half" else np.float32)]

    return SimpleNamespace(InferenceSession=InferenceSession, __spec__=ModuleSpec("onnxruntime", None))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_conversion_is_judged_on_every_kind_of_text(fault, tiny_bert, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", stand_in(tiny_bert, fault))
    code, out, err = command(capsys, "--onnx", "model.onnx", "--weights", tiny_bert)
    wrong = [line.split("  ")[0] for line in out.splitlines() if " DIFF " in line]
    assert err == "" and wrong == FAULTS[fault] and code == (1 if wrong else 0)
    assert ("the answer is float16" in out) == (fault == "half")
    assert "takes input_ids, attention_mask, token_type_ids; gives last_hidden_state" in out


def test_a_family_without_token_types_is_not_asked_about_pairs(tiny_distilbert, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", stand_in(tiny_distilbert, "nothing"))
    code, out, _ = command(capsys, "--onnx", "model.onnx", "--weights", tiny_distilbert)
    assert code == 0 and "3 of 3 rungs checked, 3 passed" in out


def test_what_cannot_be_compared_is_one_line(tiny_bert, capsys, monkeypatch):
    def says(*arguments):
        code, out, err = command(capsys, *arguments)
        assert (code, out) == (2, "") and err.count("\n") == 1
        return err

    weights = ("--weights", tiny_bert)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime" in says("--onnx", "model.onnx", *weights)
    assert "goes with --weights DIR" in says("--onnx", "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", stand_in(tiny_bert, "nothing", ("input_ids", "pixels")))
    assert "takes pixels; expected" in says("--onnx", "model.onnx", *weights)
    assert "broken.onnx: cannot be loaded: RuntimeError: no such graph" in says("--onnx", "broken.onnx", *weights)


def test_onnxruntime_itself(tiny_bert, tmp_path, capsys):
    """Where it is installed: a file that is none is refused."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = written(tmp_path / "model.onnx", EXAMPLE.read_text(encoding="utf-8"))
    code, _, err = command(capsys, "--onnx", path, "--weights", tiny_bert)
    assert code == 2 and "cannot be loaded" in err
