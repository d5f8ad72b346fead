"""Layers that compute what `model.py` computes, faster: same parameters, same names, same numbers up to rounding.

`accelerate(module)` turns the plain layers inside a module into fast ones, in place, and `restore(module)` turns them
back. A fast class is a subclass of the plain one that overrides as little as it can, so a layer only has to change its
class: its parameters, hooks and settings stay where they are, and `isinstance` still holds. With dropout the two draw
other random numbers.

    dropout.py     on a CPU: random decisions four at a time
    attention.py   PyTorch's fused kernel, and for training on a CPU a backward pass that keeps one matrix
    linear.py      on a CPU: in bf16 no copied bias, and weights cast once while nothing learns; in fp32 the library
                   that multiplies faster
    embedding.py   for micro-batches: gradients of only those rows that were touched

`quantize(module)` is another thing: its layers compute in whole numbers of 8 bits (int8.py), which is faster still,
rounds visibly, has no way back and cannot learn. Nothing calls it unless it was asked to.
"""

from torch import nn

from .. import model
from . import int8
from .attention import Attention
from .dropout import Dropout
from .embedding import touched_rows
from .linear import FeedForward, Linear

__all__ = ["accelerate", "quantize", "restore", "touched_rows"]

FAST = {
    nn.Linear: Linear,
    nn.Dropout: Dropout,
    model.Attention: Attention,
    model.FeedForward: FeedForward,
}
INT8 = {model.Attention: int8.Attention, model.FeedForward: int8.FeedForward}
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


def quantize(module):
    """Round the matrices of every encoder layer in `module` to 8 bits, in place, for inference. Returns the module.

    `module` is an `Encoder`, a `Classifier` or whatever holds one, plain or fast, on a CPU. Its parameters no longer
    learn, and its train mode raises ValueError, as do a module without encoder layers and one on a GPU. Quantise what
    has been loaded: the rounded weights are not saved.
    """
    parts = [part for part in module.modules() if isinstance(part, tuple(INT8))]
    if not parts:
        raise ValueError(f"{type(module).__name__} holds no encoder layer to quantise")
    if any(parameter.device.type != "cpu" for parameter in module.parameters()):
        raise ValueError("int8 layers compute on a CPU; this module lies elsewhere")
    for part in parts:
        for name, child in part.named_children():
            if isinstance(child, nn.Linear):
                setattr(part, name, int8.Int8Linear(child))
        part.__class__ = next(fast for plain, fast in INT8.items() if isinstance(part, plain))
    return module.requires_grad_(False).eval()
