"""The doors that the command and the learner's process share: what climbs, and what it is asked."""

from .learner import Written, classes_in, load_implementation, near_misses, own_folder
from .levels import Ladder, ModuleLadder
from .references import References
from .rungs import RUNGS
from .tiny import Tiny


def load(what):
    """The functions that are to climb. what: {"place": a file or a dotted name}, or what `module/load.py` takes."""
    if "modules" in what:
        from .module.load import load_modules  # needs PyTorch

        return load_modules(what)
    if "onnx" in what:
        from .conversion import Converted

        return Converted(what["onnx"])
    return load_implementation(what["place"])


def load_and_describe(what, level):
    """(the functions, what is said about them); (None, ...) where nothing is to be asked. UserError as `load`."""
    try:
        module = load(what)
    except Written as done:
        return None, {"said": str(done), "provided": [], "level": level}
    return module, describe(module, level)


def describe(module, level):
    """What the judging process wants to know of a learner's functions before it asks."""
    level = level if level[0] in ("checkpoint", "conversion") else getattr(module, "level", level)
    return {
        "near_misses": near_misses(module),
        "classes": classes_in(module),
        "notes": getattr(module, "notes", []),
        "level": level,
        "home": str(own_folder(module) or ""),
        "provided": getattr(module, "provided", [rung.name for rung in RUNGS if hasattr(module, rung.name)]),
        "missing": getattr(module, "MISSING", "not provided"),  # why there is no such function
    }


def open_level(level, judging=False):
    """The level that a list names: ["ladder"], ["tiny"], ["module", options], ["checkpoint" or "conversion", place].

    judging: with the right answers of a conversion, without the inputs of a checkpoint.
    """
    kind, *rest = level
    if kind == "checkpoint":
        from .checkpoints import Checkpoint  # needs PyTorch

        return Checkpoint(*rest, with_weights=not judging)
    if kind == "conversion":
        from .conversion import Conversion  # the same

        return Conversion(*rest, judging=judging)
    if kind == "tiny":
        return Tiny(References())
    return ModuleLadder(**rest[0]) if kind == "module" else Ladder()
