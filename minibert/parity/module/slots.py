"""Which parameter of a learner's module, or which rows of one, holds which reference weight.

Reference weights are called by BERT's names; a part of one, as separate heads have it, is called NAME@PART/COUNT.
"""

import re
from dataclasses import dataclass, field

import torch

from ...plumbing.files import write_json


@dataclass
class Slot:
    """A place for one reference weight: rows of a parameter, perhaps transposed."""

    parameter: str
    start: int | None = None  # the rows that are meant; None: all
    stop: int | None = None
    transposed: bool = False

    def view(self, tensor):
        """The part of the parameter's tensor (or of its gradient), in the reference's orientation."""
        tensor = tensor.squeeze(0) if tensor.dim() == 3 and tensor.shape[0] == 1 else tensor
        part = tensor[self.start : self.stop] if self.start is not None else tensor
        return part.T if self.transposed else part

    def __str__(self):
        rows = "" if self.start is None else f"[{self.start}:{self.stop}]"
        return f"{self.parameter}{rows}{'.T' if self.transposed else ''}"

    @classmethod
    def parse(cls, text):
        """The slot that `str` gives as text."""
        match = re.fullmatch(r"(.*?)(?:\[(\d+):(\d+)\])?(\.T)?", text)
        name, start, stop, transposed = match.groups()
        return cls(name, int(start) if start else None, int(stop) if stop else None, bool(transposed))


@dataclass
class Assignment:
    """{reference name: Slot}, how it was found, and what is worth saying about it."""

    slots: dict
    source: str
    notes: list = field(default_factory=list)

    @property
    def used(self):
        """The parameters that hold a reference weight."""
        return {slot.parameter for slot in self.slots.values()}

    @property
    def placed(self):
        """The reference weights that have a place, at least a part of them."""
        return {name.partition("@")[0] for name in self.slots}

    def fill(self, module, weights):
        """Put the reference weights in. A parameter with more rows or columns has zeros in the rest."""
        state = dict(module.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, slot in self.slots.items():
                if name.partition("@")[0] not in weights:
                    continue
                target, value = slot.view(state[slot.parameter]), piece(weights, name).to(state[slot.parameter])
                if target.shape != value.shape:
                    target.zero_()
                target[tuple(slice(size) for size in value.shape)] = value

    def gradients(self, module, weights):
        """{reference name: its gradient} for those of `weights` that have a place."""
        state = dict(module.named_parameters(remove_duplicate=False))
        pieces = {}
        for name, slot in self.slots.items():
            whole = name.partition("@")[0]
            if whole in weights:
                gradient = state[slot.parameter].grad
                gradient = torch.zeros_like(state[slot.parameter]) if gradient is None else gradient
                part = slot.view(gradient)[tuple(slice(size) for size in piece(weights, name).shape)]
                pieces.setdefault(whole, []).append(part)
        return {name: torch.cat(parts) for name, parts in pieces.items()}

    def save(self, path, names):
        """Write the map as JSON, for a person to mend and give with --map."""
        write_json(path, {name: str(self.slots[name]) if name in self.slots else None for name in names})


def piece(weights, name):
    """A reference weight, or of NAME@PART/COUNT, as separate heads have them, that part of its rows."""
    whole, _, part = name.partition("@")
    if not part:
        return weights[whole]
    number, count = map(int, part.split("/"))
    return weights[whole].chunk(count)[number]
