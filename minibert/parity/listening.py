"""Where does a learner drop? Dropout is put in the ladder's hands: it keeps what it is given, and drops nothing.

The learner's function is called twice with a `Listener` for its dropout: once with factor 1, so that every tensor is
what it is in evaluation and can be recognised (`placement.py`), and once with factor 1.5, so that the output shows
that the result was used. Code that calls PyTorch's dropout, scaled_dot_product_attention or nn.MultiheadAttention
cannot be handed a function: while a rung listens, those are replaced. Nothing here needs PyTorch to be installed.
"""

import contextlib
import math
import os
import sys
from pathlib import Path

import numpy as np

from .diagnosis import distance, flattened
from .judge import to_array
from .known_model import DROP
from .results import DIFF, Wrong

OURS = f"{Path(__file__).resolve().parents[1]}{os.sep}"  # the folder of the package minibert


class Listener:
    """A dropout that keeps what it is given and returns it, multiplied by `factor`."""

    def __init__(self, factor=1.0):
        self.factor, self.heard = factor, []

    def __call__(self, x, *more, **options):
        x = x if hasattr(x, "shape") else np.asarray(x)
        if not len(x.shape):
            raise ValueError("dropout was called on a single number")
        copy = x.detach().cpu().double().numpy() if hasattr(x, "detach") else np.asarray(x, dtype=np.float64)
        self.heard.append(copy.copy())
        return x * self.factor


def listen(function, arguments, module=None):
    """Call `function` twice. `arguments(dropout)` gives fresh ones with `dropout` among them.

    Returns {"plain": what it returned without dropout, "dropped": with it, "heard": what dropout was applied to}.
    """
    quiet, loud = Listener(), Listener(DROP)
    with replaced(quiet, module):
        plain = function(*arguments(quiet))
    if not quiet.heard and differs(plain, function(*arguments(quiet)), 1e-5):
        raise Wrong(DIFF, "drops at random in its own way, which the ladder cannot follow: call the given `dropout`")
    with replaced(loud, module):
        dropped = function(*arguments(loud))
    return {"plain": plain, "dropped": dropped, "heard": quiet.heard}


def ask(rung, function, arguments, module=None):
    """The learner's answer (about dropout: what `listen` returns). Wrong where two calls give different answers."""
    if rung.places:
        return listen(function, arguments, module)
    output = function(*arguments())
    if rung.twice and differs(output, function(*arguments()), rung.tolerance):
        with replaced(Listener(), module):
            steady = not differs(function(*arguments()), function(*arguments()), rung.tolerance)
        note = "two calls with the same input give different answers"
        raise Wrong(DIFF, note, "dropout-in-evaluation" if steady else "different-each-time")
    return output


def differs(left, right, tolerance):
    """Are these two answers different? Not where one of them is no array of numbers: others will complain of that."""
    try:
        left, right = (flattened(numbers_of(value)) for value in (left, right))
    except (TypeError, ValueError, Wrong):
        return False
    return left.shape == right.shape and distance(left, right) > tolerance


def numbers_of(value):
    """Lists, tuples and dicts of arrays as lists of float64 arrays."""
    if isinstance(value, dict):
        return [numbers_of(value[key]) for key in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [numbers_of(part) for part in value]
    return to_array(value, "")


# ---- PyTorch's own dropout


@contextlib.contextmanager
def replaced(listener, module=None):
    """Put `listener` where PyTorch's dropout is, here and in the learner's files."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    functional = torch.nn.functional

    def dropout(input, p=0.5, training=True, inplace=False):
        if not training or p == 0:
            return input
        return input.copy_(listener(input)) if inplace else listener(input)

    def torch_dropout(input, p, train):
        return dropout(input, p, train)

    def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **options):
        return explicit_attention(torch, dropout, query, key, value, attn_mask, dropout_p, is_causal, scale)

    stand_ins = [(functional.scaled_dot_product_attention, attention), (torch.dropout, torch_dropout)]
    names = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
    stand_ins += [(getattr(functional, name), dropout) for name in names]
    changed = []
    try:
        for holder in (functional, torch, *learners_modules(module)):
            for name, value in list(vars(holder).items()):
                for original, stand_in in stand_ins:
                    if value is original:
                        changed.append((holder, name, value))
                        setattr(holder, name, stand_in)
        yield
    finally:
        for holder, name, value in changed:
            setattr(holder, name, value)


def learners_modules(module):
    """The learner's module and those from its folder, but no installed library and nothing of ours."""
    place = getattr(module, "__file__", None)
    if not place:
        return [module] if hasattr(module, "__dict__") else []
    folder, found = f"{Path(place).resolve().parent}{os.sep}", [module]
    for other in list(sys.modules.values()):
        path = getattr(other, "__file__", None) or ""
        if path.startswith(folder) and not is_library(path) and other is not module:
            found.append(other)
    return found


def is_library(path):
    """Does a file belong to an installed library, perhaps of an environment in the learner's folder, or to minibert?"""
    return "site-packages" in path or "dist-packages" in path or path.startswith(OURS)


def explicit_attention(torch, dropout, query, key, value, mask, share, causal, scale):
    """scaled_dot_product_attention in the open, so that its dropout can be heard."""
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
    probabilities = scores.softmax(-1)
    return (dropout(probabilities, share) if share else probabilities) @ value
