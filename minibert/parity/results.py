"""What came of a rung: the `Reply` of the learner's function, and the `Result` of judging it."""

from dataclasses import dataclass, field

OK, DIFF, SHAPE, ERROR, SKIP = "OK", "DIFF", "SHAPE", "ERROR", "SKIP"
OTHER = "OTHER"  # right by another published convention


@dataclass
class Reply:
    """What a learner's function said to the cases of a rung, not yet judged. It can be sent as JSON and arrays."""

    status: str = ""  # SKIP, ERROR or SHAPE where there is nothing to judge
    note: str = ""
    mistakes: list = field(default_factory=list)
    details: list = field(default_factory=list)
    cases: list = field(default_factory=list)  # numbers of the cases that were answered; the others are not yet written
    outputs: list = field(default_factory=list)  # of these cases; see values.py
    dtypes: list = field(default_factory=list)  # names, of the arrays in the outputs


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
    """Something about a returned value that ends its rung: (status, note), and perhaps names of mistakes."""
