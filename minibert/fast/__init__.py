"""Layers that compute what `model.py` computes, faster: same parameters, same names, same numbers up to rounding.

`accelerate(module)` turns the plain layers inside a module into fast ones, in place, and `restore(module)` turns them
back. A fast class is a subclass of the plain one that overrides as little as it can, so a layer only has to change its
class: its parameters, hooks and settings stay where they are, and `isinstance` still holds. With dropout the two draw
other random numbers.

    dropout.py     on a CPU: random decisions four at a time
    attention.py   PyTorch's fused kernel, and for training on a CPU a backward pass that keeps one matrix
    linear.py      on a CPU with bf16 instructions: no copied bias, weights cast once while nothing learns
    embedding.py   for micro-batches: gradients of only those rows that were touched
"""

from torch import nn

from .. import model
from .attention import Attention
from .dropout import Dropout
from .embedding import touched_rows
from .linear import FeedForward, Linear

__all__ = ["accelerate", "restore", "touched_rows"]

FAST = {
    nn.Linear: Linear,
    nn.Dropout: Dropout,
    model.Attention: Attention,
    model.FeedForward: FeedForward,
}
PLAIN = {fast: plain for plain, fast in FAST.items()}


def accelerate(module):
    """Make every layer of `module` that has a fast twin fast, in place. Returns the module."""
    return change_classes(module, FAST)


def restore(module):
    """Undo `accelerate`, in place. Returns the module."""
    return change_classes(module, PLAIN)


def change_classes(module, table):
    for part in module.modules():
        part.__class__ = table.get(type(part), type(part))
    return module
