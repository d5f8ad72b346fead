"""Run a learner's module: find its layers, keep what each is given and gives, put other inputs in their place."""

import contextlib
import copy
import inspect
from dataclasses import dataclass, field, fields, is_dataclass, replace

import torch
from torch import nn

from .words import BERTS_MASKS, KINDS, plain


def added_masks(depth):
    """{form: function} of the masks that are added to the scores."""
    return {
        f"[B, 1, 1, T], 0 for a token, -{depth} for padding": lambda mask, dtype: (
            depth * (mask[:, None, None].to(dtype) - 1)
        ),
        f"[B, T], 0 for a token, -{depth} for padding": lambda mask, dtype: depth * (mask.to(dtype) - 1),
    }


# How a forward may want its mask; the first one is BERT's, and most people's.
TOKEN_MASKS = {
    "[B, T], 1 for a token": lambda mask, dtype: mask,
    "[B, T], True for a token": lambda mask, dtype: mask.bool(),
    "[B, T] of floats": lambda mask, dtype: mask.to(dtype),
    "[B, 1, 1, T], 1 for a token": lambda mask, dtype: mask[:, None, None, :],
    "[B, 1, 1, T], True for a token": lambda mask, dtype: mask[:, None, None, :].bool(),
    "[B, 1, T], 1 for a token": lambda mask, dtype: mask[:, None, :],
    "[B, T, T], 1 for a token": lambda mask, dtype: mask[:, None, :].expand(-1, mask.shape[1], -1),
}  # fmt: skip
PADDING_MASKS = {
    "[B, T], True for padding": lambda mask, dtype: mask == 0,
    "[B, 1, 1, T], True for padding": lambda mask, dtype: mask[:, None, None, :] == 0,
}
ADDED_MASKS = added_masks(10000)
FAINT_MASKS = dict(zip(ADDED_MASKS, added_masks(1), strict=True))  # {form: the same, and padding gets through}
MASK_FORMS = TOKEN_MASKS | PADDING_MASKS | ADDED_MASKS | added_masks(1)


def find_layers(module, config):
    """[(path, module)]: the layers of an encoder, in order; [] where they cannot be told."""
    count, size = config["num_hidden_layers"], config["hidden_size"]
    lists = [
        (path, list(child))
        for path, child in module.named_modules()
        if isinstance(child, (nn.ModuleList, nn.Sequential))
        and len(child)
        and alike(child)
        and is_layer(child[0], size)
    ]
    if lists:
        lists.sort(key=lambda item: (len(item[1]) != count, item[0].count(".")))
        path, children = lists[0]
        return [(f"{path}.{i}" if path else str(i), child) for i, child in enumerate(children)]
    found = []
    for path, child in module.named_modules():
        if path and is_layer(child, size) and not any(path.startswith(f"{other}.") for other, _ in found):
            found.append((path, child))
    return found


def alike(children):
    return len({type(child) for child in children}) == 1


def is_layer(module, size):
    """Does it hold one layer's weights: a way up and one down, and at least one square or threefold one?"""
    shapes = [tuple(p.shape) for p in module.parameters() if p.dim() == 2 and size in p.shape]
    inner = [max(shape) for shape in shapes if shape[0] != shape[1] and shape != (3 * size, size) and max(shape) > size]
    square = [shape for shape in shapes if shape in ((size, size), (3 * size, size)) or shape[0] < size]
    return len(inner) == 2 and inner[0] == inner[1] and bool(square)


class Stop(Exception):
    """Ends a run before its end."""


def stop():
    """Called where a run shall end."""
    raise Stop


@dataclass
class Run:
    """What one call of a module gave: each layer's input and output, and what the module returned."""

    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    returned: object = None

    @property
    def states(self):
        """L + 1 tensors: what the first layer was given, and what each layer gave."""
        return [*self.inputs[:1], *self.outputs]


class Runner:
    """Calls a module with BERT's arguments under whatever names its forward has for them.

    pad: the id of padding where positions are counted from it, as RoBERTa counts.
    """

    def __init__(self, module, layers, size, pad=None):
        self.module, self.layers, self.size, self.pad = module, layers, size, pad
        self.mask_form = next(iter(MASK_FORMS))
        self.kinds = module.kinds if isinstance(module, OneLayer) else argument_kinds(module)
        self.takes_types = "types" in self.kinds.values()
        self.takes_mask = bool({"mask", "blocked", "lengths"} & set(self.kinds.values()))
        names = {kind: name for name, kind in self.kinds.items()}
        self.mask_name = module.mask if isinstance(module, OneLayer) else names.get("mask")
        self.takes_lengths = "lengths" in self.kinds.values() and not {"mask", "blocked"} & set(self.kinds.values())

    def arguments(self, ids, mask, types):
        """What forward is called with: an inspect.BoundArguments."""
        dtype = next(self.module.parameters()).dtype
        made = {
            "ids": lambda: ids,
            "types": lambda: types,
            "mask": lambda: MASK_FORMS[self.mask_form](mask, dtype),
            "blocked": lambda: mask == 0,
            "lengths": lambda: mask.sum(1),
            "positions": lambda: self.positions(mask),
            "labels": lambda: torch.zeros(len(ids), dtype=torch.long),
        }
        named = {name: made[kind]() for name, kind in self.kinds.items()}
        signature = inspect.signature(self.module.forward)
        if named and not set(named) & set(signature.parameters):  # forward(**inputs)
            named = {next(iter(signature.parameters)): named}
        return inspect.BoundArguments(signature, named)

    def mask_forms(self):
        """The forms that its mask may have. What is called as BERT's is called is 1 for a token, or is added."""
        berts = self.mask_name and plain(self.mask_name) in BERTS_MASKS
        return TOKEN_MASKS | ({} if berts else PADDING_MASKS) | ADDED_MASKS

    def positions(self, mask):
        """[B, T]: 0, 1, 2, ...; RoBERTa's begin behind the id of padding and pass padding over."""
        if self.pad is None:
            return torch.arange(mask.shape[1]).expand_as(mask)
        return mask.cumsum(1) * mask + self.pad

    def run(self, ids, mask, types, first=None, last=None, before=None, after=None, at_end=None):
        """Call it. first: stands in for what the first layer is given. last: for what the last layer gives.

        before and after: called there, of the first layer. at_end: called after the last one.
        """
        run, shape, end = Run(), (*ids.shape, self.size), len(self.layers) - 1
        with contextlib.ExitStack() as stack:
            for number, (_, layer) in enumerate(self.layers):
                calls = [call for call, place in ((after, 0), (at_end, end)) if call and number == place]
                enter = InputKeeper(run, shape, first if number == 0 else None, before if number == 0 else None)
                leave = OutputKeeper(run, shape, last if number == end else None, calls)
                stack.enter_context(kept(layer, enter, leave))
            with contextlib.suppress(Stop):
                given = self.arguments(ids, mask, types)
                run.returned = self.module(*given.args, **given.kwargs)
        return run


@contextlib.contextmanager
def kept(layer, before, after):
    """A layer whose forward passes by `before` and `after`; also where it is called as layer.forward(...)."""
    forward = layer.forward

    def passed(*args, **kwargs):
        args, kwargs = before(args, kwargs)
        return after(forward(*args, **kwargs))

    layer.forward = passed
    try:
        yield
    finally:
        if getattr(forward, "__func__", None) is getattr(type(layer), "forward", None):
            del layer.forward
        else:  # it was an attribute of the object before
            layer.forward = forward


def argument_kinds(module):
    """{argument of forward: what it is}, one of the kinds in `words.FORWARD`; the rest is left.

    What has a known name is settled first, so that a required argument of an unknown name takes nothing from it.
    Positions and labels are given only where they have to be: what a module does by itself is its own. A forward that
    names no argument, `forward(**inputs)`, is given Hugging Face's.
    """
    every = inspect.signature(module.forward).parameters.values()
    if every and all(parameter.kind is parameter.VAR_KEYWORD for parameter in every):
        return {"input_ids": "ids", "attention_mask": "mask", "token_type_ids": "types"}
    parameters = [p for p in every if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    known = {parameter.name: KINDS.get(plain(parameter.name)) for parameter in parameters}
    left = {None, "positions", "labels"} | ({"mask"} if "blocked" in known.values() else set())  # PyTorch's attn_mask
    known = {name: kind for name, kind in known.items() if kind not in left or kind and name in required}
    ids = [name for name in known if known[name] == "ids"]
    ids = [name for name in ids if name in required] or [name for name in required if name not in known] or ids
    names = {"ids": ids[0]} if ids else {}
    for name, kind in known.items():
        names.setdefault(kind, name)
    for kind in ("types",) if {"blocked", "lengths"} & set(names) else ("mask", "types"):
        for name in [name for name in required if name not in names.values()][:1]:
            names.setdefault(kind, name)
    return {name: kind for kind, name in names.items()}


class OneLayer(nn.Module):
    """A learner's layer where a whole model is expected: what it is given stands in for the embeddings."""

    def __init__(self, layer, size):
        super().__init__()
        self.layer, self.size = layer, size
        self.signature = inspect.signature(layer.forward)
        parameters = self.signature.parameters.values()
        self.by_place = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
        names = {kind: name for name, kind in argument_kinds(layer).items()}
        kind = next((kind for kind in ("mask", "blocked", "lengths") if kind in names), "mask")
        self.hidden = names.get("ids")
        others = [p.name for p in parameters if p.name != self.hidden and p.kind is not p.VAR_KEYWORD]
        self.mask = names.get(kind) or next(iter(others), None)  # of an unknown name: the second one
        self.kinds = {"input_ids": "ids", "attention_mask": kind}

    def forward(self, input_ids, attention_mask):
        hidden = torch.zeros(*input_ids.shape, self.size, dtype=next(self.parameters()).dtype)
        if self.by_place:
            return self.layer(hidden, attention_mask)
        given = inspect.BoundArguments(self.signature, {self.hidden: hidden, self.mask: attention_mask})
        return self.layer(*given.args, **given.kwargs)


def parts_of(value):
    """{its name or place: a part} of a dict, an output of transformers, a dataclass, a list or a tuple; else {}."""
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return {key: value[key] for key in value.keys()}
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: getattr(value, part.name) for part in fields(value)}
    if hasattr(value, "_asdict"):  # a NamedTuple
        return value._asdict()
    return dict(enumerate(value)) if isinstance(value, (list, tuple)) else {}


def exchanged(value, old, new):
    """The same value with `new` where `old` was, however deep inside dicts, dataclasses, lists and tuples."""
    if value is old:
        return new
    before = parts_of(value)
    parts = {name: exchanged(part, old, new) for name, part in before.items()}
    if all(part is parts[name] for name, part in before.items()):
        return value
    if hasattr(value, "keys"):
        changed = copy.copy(value)
        for name, part in parts.items():
            changed[name] = part
        return changed
    if is_dataclass(value):
        return replace(value, **parts)
    return type(value)(*parts.values()) if hasattr(value, "_asdict") else type(value)(parts.values())


def hidden_in(value, shape):
    """(the hidden states [B, T, E] or [T, B, E] in what a layer got or gave, the batch's axis); or (None, 0)."""
    if torch.is_tensor(value):
        batch, length, size = shape
        if tuple(value.shape) == (batch, length, size):
            return value, 0
        if tuple(value.shape) == (length, batch, size):
            return value, 1
        return None, 0
    for part in parts_of(value).values():
        tensor, axis = hidden_in(part, shape)
        if tensor is not None:
            return tensor, axis
    return None, 0


@dataclass
class InputKeeper:
    """Keeps the hidden states that a layer is given, and puts others in their place."""

    run: Run
    shape: tuple
    substitute: object
    call: object

    def __call__(self, args, kwargs):
        tensor, axis = hidden_in([*args, *kwargs.values()], self.shape)
        if tensor is not None:
            self.run.inputs.append(tensor.transpose(0, 1) if axis else tensor)
        if self.call:
            self.call()
        if self.substitute is None or tensor is None:
            return args, kwargs
        new = self.substitute.transpose(0, 1) if axis else self.substitute
        self.substitute = None  # a layer that is used again reads what it gave
        return exchanged(args, tensor, new), exchanged(kwargs, tensor, new)


@dataclass
class OutputKeeper:
    """Keeps the hidden states that a layer gives, and puts others in their place."""

    run: Run
    shape: tuple
    substitute: object
    calls: list

    def __call__(self, output):
        tensor, axis = hidden_in(output, self.shape)
        if tensor is None:
            return output
        self.run.outputs.append(tensor.transpose(0, 1) if axis else tensor)
        for call in self.calls:
            call()
        if self.substitute is None:
            return output
        new = self.substitute.transpose(0, 1) if axis else self.substitute
        return exchanged(output, tensor, new)


def final_state(returned, shape):
    """The last hidden state [B, T, E] in what a module returned; None where there is none."""
    names = ("last_hidden_state", "sequence_output", "hidden_states", "last_hidden_states", "output")
    parts = parts_of(returned)
    name = next((name for name in names if name in parts), None)
    if name:
        returned = list(parts[name]) if isinstance(parts[name], tuple) else parts[name]
    if isinstance(returned, (list, tuple)) and returned and isinstance(returned[0], (list, tuple)):
        returned = list(returned[0])[::-1]  # every layer's output, in a list
    elif is_history(returned, shape):
        returned = returned[-1]
    tensor, axis = hidden_in(returned, shape)
    return tensor.transpose(0, 1) if axis and tensor is not None else tensor


def is_history(value, shape):
    """Is it one hidden state after the other? A list of nothing else, or a tuple of more than two."""
    many = isinstance(value, list) or isinstance(value, tuple) and len(value) > 2
    return many and all(torch.is_tensor(part) and hidden_in(part, shape)[0] is not None for part in value)


def vector_in(returned, batch, width, names):
    """A tensor [B, width] in what a module returned, by name where it has names; None where there is none."""
    if torch.is_tensor(returned):
        return returned if tuple(returned.shape) == (batch, width) else None
    parts = parts_of(returned)
    for name in names:
        if torch.is_tensor(parts.get(name)):
            return vector_in(parts[name], batch, width, names)
    for part in parts.values():
        if (found := vector_in(part, batch, width, names)) is not None:
            return found
    return None
