"""What a person, or a program, is shown: a line for each rung, below it what to do, and the sum at the end."""

import json
import textwrap
from dataclasses import asdict, dataclass

from .conventions import CONVENTIONS
from .hints import HINTS
from .mistakes import MISTAKES
from .results import OK, OTHER, SKIP

COLOURS = {"OK": 32, "DIFF": 31, "SHAPE": 31, "ERROR": 31, "SKIP": 33, "OTHER": 36}  # ANSI
WIDTH = 116  # characters of a line of advice


class Shown:
    """Prints a result when it is there: a line, and below it what to do."""

    def __init__(self, colour):
        self.colour, self.started = colour, False

    def start(self):
        """The heading, before the first result."""
        self.started = True
        print(f"{'rung':<26}{'result':<8}{'largest':>10}{'mean':>10}{'tolerance':>11}  where the largest difference is")

    def __call__(self, result):
        if not self.started:
            self.start()
        cells = f"{figure(result.largest):>10}{figure(result.mean):>10}{figure(result.tolerance):>11}"
        status = f"{result.status:<8}"
        if self.colour:
            status = f"\033[{COLOURS[result.status]}m{status}\033[0m"
        tail = result.where if result.where else result.note
        print(f"{result.rung:<26}{status}{cells}  {tail}".rstrip(), flush=True)
        for line in below(result):
            print("\n".join(textwrap.wrap(line, WIDTH, initial_indent="    ", subsequent_indent="      ")), flush=True)


def below(result):
    """The lines below a result's line: the note, the advice, the place."""
    note = [result.note] if result.where and result.note else []
    return note + advice(result.mistakes) + conventions(result) + result.details


def figure(value):
    return "" if value is None else f"{value:.1e}"


def advice(mistakes):
    """A sentence for each mistake that would explain the output."""
    lines = []
    for i, explanation in enumerate(mistakes):
        for j, name in enumerate(explanation.split(" + ")):
            start = "together with" if j else "or" if i else "looks like"
            what, fix = MISTAKES[name]
            lines.append(f"{start} `{name}`: {what}. Right: {fix}.")
    return lines


def conventions(result):
    """A sentence for each published convention that the answer follows."""
    start = "" if result.status == OTHER else "beside it, and no mistake: "
    named = [(name, *CONVENTIONS[name]) for name in result.conventions]
    return [f"{start}`{name}`: {what}. Source: {source}." for name, what, source in named]


@dataclass
class Summary:
    """All results of a climb, and whether it succeeded."""

    implementation: str
    results: list
    near_misses: dict
    notes: list
    strict: bool = False
    classes: tuple = ()  # in the file, that --module could check
    functions: bool = True  # plain functions, to which a small case can be given

    def __post_init__(self):
        self.checked = [result for result in self.results if result.status != SKIP]
        self.passed = [result for result in self.results if result.status == OK]
        self.others = [result for result in self.results if result.status == OTHER]
        self.strict_failure = self.strict and len(self.passed) < len(self.results)
        right = len(self.passed) + len(self.others)
        self.success = bool(self.checked) and right == len(self.checked) and not self.strict_failure

    def why_nothing(self):
        """What to do where no rung could be asked."""
        if any(result.note.startswith("not yet") for result in self.results):
            return "write one of the functions and run this again; --hint 1 gelu is a way to begin"
        if self.classes:
            return f"to check its classes, say --module {self.implementation}:{self.classes[-1]}"
        return "none of the ladder's functions is in the file (--template FILE writes them)"

    def as_json(self):
        """One strict JSON document."""
        rows = []
        for result in self.results:
            row = asdict(result) | {"advice": advice(result.mistakes) + conventions(result)}
            if row["largest"] is not None and not row["largest"] < float("inf"):
                row["largest"] = row["mean"] = None  # JSON has no infinity; the note says it
            rows.append(row)
        return json.dumps(
            {"implementation": self.implementation, "success": self.success, "near_misses": self.near_misses,
             "notes": self.notes, "rungs": rows}, indent=2,
        )  # fmt: skip

    def as_text(self, weights=None):
        """The lines at the end."""
        lines = [f"{name} is no rung; did you mean {rung}?" for name, rung in self.near_misses.items()]
        if not self.results:
            why = f"no figures are stored for these rungs on {weights}" if weights else "it has no part to be asked"
            lines.append(f"nothing was checked: {why}")
        elif not self.checked:
            lines.append(f"nothing was checked: {self.why_nothing()}")
        follow = f", {len(self.others)} by another published convention" if self.others else ""
        lines.append(f"{len(self.checked)} of {len(self.results)} rungs checked, {len(self.passed)} passed{follow}")
        failed = [result.rung for result in self.results if result.failed and result.rung in HINTS]
        if failed:
            name = failed[0]
            tiny = f", --tiny {name} prints a small case" if self.functions else ""
            lines.insert(-1, f"stuck at {name}? --hint 1 {name} says what to look at{tiny}")
        if self.strict_failure and len(self.checked) < len(self.results):
            lines.append("--strict: a rung that is not checked counts as failed")
        if self.strict_failure and self.others:
            lines.append("--strict: another convention than the rung asks for counts as failed")
        return "\n".join(lines)
