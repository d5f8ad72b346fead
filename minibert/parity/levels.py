"""What is asked at a rung: the small stored cases, or a real checkpoint.

A level has rung(name) -> (the rung as it is judged, its `References`) and learner(module, name) -> what to call it on.
The learner's process and the one that judges open the same level, each for itself.
"""

from .references import References
from .rungs import RUNGS

BY_NAME = {rung.name: rung for rung in RUNGS}


class Ladder:
    """The stored cases."""

    def __init__(self, references=None):
        self.references = references or References()

    def rung(self, name):
        return BY_NAME[name], self.references

    def learner(self, module, name):
        return module


def open_level(level, judging=False):
    """The level that a list names: ["ladder"], or ["checkpoint", folder or Hub id]. judging: without the inputs."""
    kind, *rest = level
    if kind == "checkpoint":
        from .checkpoints import Checkpoint  # needs PyTorch

        return Checkpoint(*rest, with_weights=not judging)
    return Ladder()
