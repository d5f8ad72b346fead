"""What is asked at a rung: the small stored cases, those cases with all token types 0, or a real checkpoint.

A level has rung(name) -> (the rung as it is judged, its `References`) and learner(module, name) -> what to call it on.
The learner's process and the one that judges open the same level, each for itself.
"""

import json

import numpy as np
from safetensors.numpy import load_file

from .references import FOLDER, References
from .rungs import RUNGS

BY_NAME = {rung.name: rung for rung in RUNGS}
ZERO_TYPES = FOLDER / "zero_types"  # .json and .safetensors, from tests/make/make_modules.py


class Ladder:
    """The stored cases."""

    def __init__(self, references=None):
        self.references = references or References()

    def rung(self, name):
        """(the rung as it is judged, its references)"""
        return BY_NAME[name], self.references

    def learner(self, module, name):
        """What the rung's function is taken from."""
        return module


class ModuleLadder(Ladder):
    """The stored cases as a whole module can be asked them.

    zero_types: it takes no token types. only_last: of an encoder, what comes out at the end is compared. right_only: it
    is told the lengths of its texts, so that padding can only be on the right.
    """

    def __init__(self, zero_types=False, only_last=False, right_only=False):
        super().__init__()
        if zero_types:
            table, arrays = zero_type_cases()
            # What mistakes do to gradients is stored for other token types.
            stored = self.references.arrays.items()
            kept = {name: array for name, array in stored if not name.startswith("loss_and_gradients/")}
            self.references = References(self.references.table | table, kept | arrays)
        if only_last:
            for name in ("bert_encoder", "distilbert_encoder", "roberta_encoder"):
                for case in self.references.table[name]["cases"]:
                    case["output"] = dict([list(case["output"].items())[-1]])
        if right_only:
            for entry in self.references.table.values():
                entry["cases"] = [case for case in entry["cases"] if padded_right(case, self.references.arrays)]


def padded_right(case, arrays):
    """Does a case have its padding at the end of each text, if it has any?"""
    mask = case["arguments"].get("attention_mask")
    return mask is None or bool((np.diff(arrays[mask["array"]], axis=1) <= 0).all())


def zero_type_cases():
    """(table, arrays) of the rungs that are asked with token type 0 everywhere."""
    table = json.loads(ZERO_TYPES.with_suffix(".json").read_text(encoding="utf-8"))
    return table, load_file(ZERO_TYPES.with_suffix(".safetensors"))
