"""`--onnx FILE --weights DIR`: does a converted model give what its checkpoint gives?

The right answers come from minibert's own model of the checkpoint (through `adapter.py`), on random tokens: not padded,
padded on the right, padded on the left, pairs. That a conversion loads says nothing: a mask that is not wired up, or
positions that are off by some, leave everything else in order.
"""

from dataclasses import replace

import numpy as np

from ..plumbing.checkpoint import find_checkpoint
from ..plumbing.files import UserError, read_json
from .references import References
from .rungs import RUNGS

TOLERANCE = 1e-4  # of a conversion in float32
TEXTS = {  # what is special about the texts: (mask, token types)
    "no padding": ([[1] * 7] * 3, None),
    "padding on the right": ([[1] * 7, [1] * 4 + [0] * 3, [1] * 6 + [0]], None),
    "padding on the left": ([[1] * 7, [0] * 3 + [1] * 4, [0] + [1] * 6], None),
    "a pair of texts": ([[1] * 7] * 3, [[0, 0, 0, 1, 1, 1, 1]] * 3),
}
INPUTS = {  # what an input of the file may be called
    "input_ids": "input_ids", "input": "input_ids", "ids": "input_ids", "attention_mask": "attention_mask",
    "input_mask": "attention_mask", "mask": "attention_mask", "token_type_ids": "token_type_ids",
    "segment_ids": "token_type_ids",
}  # fmt: skip
ARGUMENTS = tuple((name, "[B, T]") for name in ("input_ids", "attention_mask", "token_type_ids"))


class Converted:
    """An ONNX file as a function that answers every kind of text."""

    ARRAYS = "numpy"

    def __init__(self, place):
        try:
            import onnxruntime
        except ImportError:
            raise UserError("--onnx needs onnxruntime: pip install onnxruntime") from None
        try:
            self.session = onnxruntime.InferenceSession(place, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise UserError(f"{place}: cannot be loaded: {type(error).__name__}: {error}") from None
        self.inputs = self.session.get_inputs()
        names = [one.name for one in self.inputs]
        unknown = [name for name in names if name not in INPUTS]
        if unknown:
            raise UserError(f"{place}: takes {', '.join(unknown)}; expected input_ids, attention_mask, token_type_ids")
        outputs = [one.name for one in self.session.get_outputs()]
        self.notes = [f"takes {', '.join(names)}; gives {', '.join(outputs)}, of which the first is compared"]
        self.provided = list(TEXTS)
        for what in TEXTS:
            setattr(self, what, self.answer)

    def answer(self, input_ids, attention_mask, token_type_ids):
        """The first output: the last hidden states [B, T, E], or a classifier's logits [B, C]."""
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        kinds = {"tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(bool)": bool}
        feed = {one.name: given[INPUTS[one.name]].astype(kinds.get(one.type, np.float32)) for one in self.inputs}
        return self.session.run(None, feed)[0]


class Conversion:
    """The level: for each kind of text a rung, with the checkpoint's own answer as the right one."""

    def __init__(self, place, judging=False):
        self.folder = find_checkpoint(place)
        self.config = read_json(self.folder / "config.json")
        self.encoder = next(rung for rung in RUNGS if rung.name == "bert_encoder")
        self.cases = {what: self.inputs(*kind) for what, kind in TEXTS.items() if kind[1] is None or self.has_types()}
        self.right = {}
        if judging:
            from .adapter import answer_of

            self.right = {what: answer_of(self.folder, *inputs.values()) for what, inputs in self.cases.items()}

    def has_types(self):
        return self.config.get("type_vocab_size", 0) > 1

    def inputs(self, mask, types):
        """{argument: array [B, T]} for one kind of text."""
        mask = np.array(mask, dtype=np.int64)
        ids = np.random.default_rng(0).integers(5, self.config["vocab_size"], mask.shape)
        ids = np.where(mask == 1, ids, self.config.get("pad_token_id") or 0)
        types = np.zeros_like(mask) if types is None else np.array(types, dtype=np.int64)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}

    def rungs(self):
        """A rung for each kind of text that the checkpoint can read."""
        return [self.rung(what)[0] for what in self.cases]

    def rung(self, what):
        """(the rung, its references)"""
        arrays = dict(self.cases[what])
        case = {"arguments": {name: {"array": name} for name in arrays}, "output": {"": "right"}}
        states = True
        if what in self.right:
            arrays["right"] = self.right[what]
            states = self.right[what].ndim == 3
        rung = replace(
            self.encoder, name=what, arguments=ARGUMENTS, twice=False, tolerance=TOLERANCE, double=None,
            padding=1 if states else None, axes=self.encoder.axes if states else ("text", "class"),
            returns="[B, T, E], or [B, C] of a classifier",
        )  # fmt: skip
        return rung, References({what: {"cases": [case]}}, arrays)

    def learner(self, module, what):
        """What the rung's function is taken from."""
        return module
