"""What became of a rung: a status, the figures behind it, and what to do about it."""

from dataclasses import dataclass, field

OK, DIFF, SHAPE, ERROR, SKIP = "OK", "DIFF", "SHAPE", "ERROR", "SKIP"
OTHER = "OTHER"  # right by another published convention


@dataclass
class Result:
    """What became of one rung."""

    rung: str
    status: str
    note: str = ""  # why, in a line
    largest: float | None = None  # absolute difference
    mean: float | None = None
    tolerance: float | None = None
    where: str = ""  # of the largest difference
    mistakes: list = field(default_factory=list)  # names in mistakes.py; " + " joins those that were made together
    conventions: list = field(default_factory=list)  # names in conventions.py, of an answer that is OTHER
    details: list = field(default_factory=list)  # the last lines of a traceback

    @property
    def failed(self):
        return self.status in (DIFF, SHAPE, ERROR)


class Wrong(Exception):
    """Something about a returned value that ends its rung: (status, note)."""
