"""The stored inputs, right answers and known wrong ones, and how they reach a learner's function."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from ..plumbing.files import UserError

FOLDER = Path(__file__).parent


class References:
    """Inputs, right answers and known wrong ones: those stored beside this file, or the given ones."""

    def __init__(self, table=None, arrays=None):
        self.table = json.loads((FOLDER / "references.json").read_text(encoding="utf-8")) if table is None else table
        self.arrays = load_file(FOLDER / "references.safetensors") if arrays is None else arrays

    def cases(self, rung):
        return self.table[rung.name]["cases"]

    def resolve(self, value, convert):
        """A stored argument: {"array": name} becomes convert(array); lists and dicts are walked through."""
        if isinstance(value, dict) and set(value) == {"array"}:
            return convert(self.arrays[value["array"]])
        if isinstance(value, dict) and set(value) == {"array", "times"}:  # a power of two: exact in float32
            return convert(self.arrays[value["array"]] * np.float32(value["times"]))
        if isinstance(value, dict):
            return {key: self.resolve(part, convert) for key, part in value.items()}
        if isinstance(value, list):
            return [self.resolve(part, convert) for part in value]
        return value

    def mistakes(self, rung):
        """({mistake: its values [P]}, the positions [P] in all compared outputs strung together)"""
        prefix = f"{rung.name}/mistake/"
        values = {key.removeprefix(prefix): array for key, array in self.arrays.items() if key.startswith(prefix)}
        return values, self.arrays.get(f"{rung.name}/positions")


def converter(kind, dtype):
    """A function from a stored array to what the learner's file works with: a fresh copy, floats in `dtype`."""
    if kind not in ("torch", "numpy"):
        raise UserError(f'ARRAYS is {kind!r}; expected "torch" or "numpy"')

    def convert(array):
        array = array.astype(dtype if array.dtype.kind == "f" else np.int64)  # astype copies
        if kind == "numpy":
            return array
        import torch  # only for those who want tensors

        return torch.from_numpy(array)

    return convert
