"""From FILE:CLASS to functions that the ladder can ask: modules, and optimizers."""

import contextlib
import inspect
from pathlib import Path
from types import SimpleNamespace

from torch import nn
from torch.optim import Optimizer as TorchOptimizer

from ...plumbing.files import UserError
from ..learner import split_place
from .absent import ABSENT, Nothing
from .build import argument_names, parse_given
from .find import find, neighbours_with
from .functions import ModuleFunctions
from .optimizer import Optimizer
from .words import SETTINGS

NOT_ASKED = "the module has no such part"


def load_modules(what):
    """An object with a function for each rung that the named classes can be asked, with `notes` and `level`.

    what: {"modules": [FILE:CLASS, ...], "given": texts of --config-arg, "family", "map", "write_map", "definitions"}
    """
    given, notes = parse_given(what.get("given")), []
    functions, optimizer = None, None
    for text in what["modules"]:
        target, source, found = find(text, what.get("definitions"))
        notes += found
        refuse_stand_in(target, text, found)
        if is_optimizer(target):
            optimizer = Optimizer(target, given)
        elif functions is None:
            with absences_named(found):
                functions = functions_of(target, source, given, what)
        else:
            raise UserError("--module takes one module, and one optimizer beside it")
    if optimizer is None and functions is not None:
        optimizer = optimizer_beside(split_place(what["modules"][0])[0], given, notes, what)
    targets = [functions.builder.target] if functions else []
    refuse_unread(given, targets + ([optimizer.optimizer_class] if optimizer else []))
    if functions is None:
        functions = SimpleNamespace(ARRAYS="torch", MISSING=NOT_ASKED, level=["module", {}], notes=[])
        functions.__file__ = getattr(source, "__file__", None)
    if optimizer is not None:
        functions.adamw, functions.adamw_several = optimizer.adamw, optimizer.adamw_several
        notes += optimizer.notes
    functions.notes = [*functions.notes, *notes]
    return functions


def refuse_unread(given, targets):
    """UserError for a --config-arg that no class takes, where that can be told: the word is misspelt."""
    taken = [argument_names(target) for target in targets]
    if None in taken:
        return
    for name in given:
        if name not in SETTINGS and not any(name in names for names in taken):
            each = [f"{target.__name__} takes {', '.join(names)}" for target, names in zip(targets, taken, strict=True)]
            raise UserError(f"--config-arg {name}: {'; '.join(each)}")


def refuse_stand_in(target, text, notes):
    """UserError for a class of a library that is not installed, or for one that has nothing but such a class above."""
    if not isinstance(target, Nothing) or issubclass(target, nn.Module):
        return
    above = [ancestor for ancestor in target.__mro__ if isinstance(ancestor, Nothing)][-1]
    derived = "" if above is target else f"is derived from {above.__name__}, which "
    with absences_named(notes):
        raise UserError(f"{text}: {target.__name__} {derived}is not installed here")


@contextlib.contextmanager
def absences_named(notes):
    """A UserError says also which libraries are not installed: they may be why."""
    try:
        yield
    except UserError as error:
        absent = [note for note in notes if note.startswith(ABSENT)]
        raise UserError("; ".join([str(error), *absent])) from error


def is_optimizer(target):
    """A class of torch.optim's kind, or one with a step() that is no module."""
    if not inspect.isclass(target) or issubclass(target, nn.Module) or isinstance(target, Nothing):
        return False
    return issubclass(target, TorchOptimizer) or callable(getattr(target, "step", None))


def functions_of(target, source, given, what):
    """The functions of a class, of a function that makes a module, or of a module that is there."""
    if isinstance(target, nn.Module):
        target = type(target)
    if not callable(target):
        raise UserError(f"{what['modules'][0]}: a {type(target).__name__}, not a class of torch.nn.Module")
    return ModuleFunctions(target, source, given, what.get("family"), what.get("map"), what.get("write_map"))


def optimizer_beside(place, given, notes, what):
    """The AdamW of the module's own file or of a file beside it; None where there is none."""
    path = Path(place)
    if not path.exists():
        return None
    for file, name in neighbours_with(path / "any.py" if path.is_dir() else path, "AdamW"):
        try:
            target, _, _ = find(f"{file}:{name}", what.get("definitions"))
        except UserError:
            continue
        if is_optimizer(target):
            notes.append(f"AdamW from {file.name}, beside it")
            return Optimizer(target, given)
    return None
