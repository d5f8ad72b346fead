"""`python -m minibert.parity my_bert.py`: the ladder on your implementation, and what is wrong with it.

Without an argument minibert itself climbs. Exit code 0 when something was checked and nothing failed, 1 when a rung
failed or none was checked, 2 when the command or the file is at fault.
"""

import contextlib
import difflib
import json
import os
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

from ..plumbing.command import Parser, number, run_command
from ..plumbing.files import UserError, write_text
from .call import TIME_LIMIT
from .check import Here, climb
from .conventions import CONVENTIONS
from .learner import load, near_misses
from .levels import open_level
from .mistakes import MISTAKES
from .process import LearnersProcess
from .results import OK, OTHER, SKIP
from .rungs import RUNGS

COLOURS = {"OK": 32, "DIFF": 31, "SHAPE": 31, "ERROR": 31, "SKIP": 33, "OTHER": 36}  # ANSI


def main(argv=None):
    options = parse(argv)
    if options.explain:
        print(explain(find_rung(options.explain)))
        return 0
    if options.template:
        path = Path(options.template)
        if path.exists():
            raise UserError(f"{path}: is there already; choose another name for the template")
        write_text(path, template())
        print(f"{path}: {len(RUNGS)} functions to fill in; check with: python -m minibert.parity {path}")
        return 0
    rungs = RUNGS
    if options.rungs:
        rungs = [find_rung(name.strip()) for name in options.rungs.split(",")]
    if options.weights and options.dtype != "float32":
        raise UserError("--weights is compared in float32 only; leave out --dtype")
    what = {"place": options.implementation}
    place = ["checkpoint", options.weights] if options.weights else ["ladder"]
    with open_learner(what, place, options) as learner:
        level = open_level(place, judging=not options.in_process)
        show = None if options.json else Shown(options.colour)
        rungs = level.rungs(rungs) if options.weights else rungs
        results = climb(learner, level, rungs, options.dtype, show)
        misses = learner.about["near_misses"]
    checked = [result for result in results if result.status != SKIP]
    passed = [result for result in results if result.status == OK]
    others = [result for result in results if result.status == OTHER]
    strict_failure = options.strict and len(passed) < len(results)
    success = bool(checked) and len(passed) + len(others) == len(checked) and not strict_failure
    if options.json:
        rows = [asdict(result) for result in results]
        for row in rows:
            if row["largest"] is not None and not row["largest"] < float("inf"):
                row["largest"] = row["mean"] = None  # JSON has no infinity; the note says it
        print(json.dumps({"implementation": options.implementation, "success": success, "near_misses": misses,
                          "rungs": rows}, indent=2))  # fmt: skip
    else:
        print()
        for name, rung in misses.items():
            print(f"{name} is no rung; did you mean {rung}?")
        if not results:
            print(f"nothing was checked: no figures are stored for these rungs on {options.weights}")
        elif not checked:
            print("nothing was checked: none of the ladder's functions is in the file (--template FILE writes them)")
        follow = f", {len(others)} by another published convention" if others else ""
        print(f"{len(checked)} of {len(results)} rungs checked, {len(passed)} passed{follow}")
        if strict_failure and len(checked) < len(results):
            print("--strict: a rung that is not checked counts as failed")
        if strict_failure and others:
            print("--strict: another convention than the rung asks for counts as failed")
    return 0 if success else 1


@contextlib.contextmanager
def open_learner(what, place, options):
    """The learner's functions, in a process of their own, or in this one with --in-process."""
    if not options.in_process:
        with LearnersProcess(what, place, options.dtype, options.time_limit) as learner:
            yield learner
        return
    module = load(what)
    learner = Here(module, open_level(place), options.dtype, options.time_limit)
    learner.about = {"near_misses": near_misses(module)}
    yield learner


class Shown:
    """Prints a result when it is there: a line, and below it what to do."""

    def __init__(self, colour):
        self.colour = colour
        print(f"{'rung':<26}{'result':<8}{'largest':>10}{'mean':>10}{'tolerance':>11}  where the largest difference is")

    def __call__(self, result):
        cells = f"{figure(result.largest):>10}{figure(result.mean):>10}{figure(result.tolerance):>11}"
        status = f"{result.status:<8}"
        if self.colour:
            status = f"\033[{COLOURS[result.status]}m{status}\033[0m"
        tail = result.where if result.where else result.note
        print(f"{result.rung:<26}{status}{cells}  {tail}".rstrip(), flush=True)
        below = [result.note] if result.where and result.note else []
        below += advice(result.mistakes) + conventions(result.conventions) + result.details
        for line in below:
            print("\n".join(textwrap.wrap(line, 116, initial_indent="    ", subsequent_indent="      ")), flush=True)


def figure(value):
    return "" if value is None else f"{value:.1e}"


def advice(mistakes):
    """A sentence for each mistake that would explain the output."""
    lines = []
    for i, explanation in enumerate(mistakes):
        for j, name in enumerate(explanation.split(" + ")):
            start = "together with" if j else "or" if i else "looks like"
            if name in MISTAKES:
                what, fix = MISTAKES[name]
                lines.append(f"{start} `{name}`: {what}. Right: {fix}.")
            else:
                what, source = CONVENTIONS[name]
                lines.append(f"{start} `{name}`, which is no mistake: {what} ({source}).")
    return lines


def conventions(names):
    """A sentence for each published convention that the answer follows."""
    return [f"`{name}`: {what}. Source: {source}." for name in names for what, source in [CONVENTIONS[name]]]


def find_rung(name):
    for rung in RUNGS:
        if rung.name == name:
            return rung
    near = difflib.get_close_matches(name, [rung.name for rung in RUNGS], n=3, cutoff=0.3)
    raise UserError(f"no rung is called {name!r}; {'did you mean ' + ', '.join(near) + '? ' if near else ''}"
                    "--list names them all")  # fmt: skip


def explain(rung):
    """A rung's contract, as text."""
    lines = [f"{rung.name}({', '.join(name for name, _ in rung.arguments)})", "", f"{rung.title}: {rung.source}", ""]
    width = max(len(name) for name, _ in rung.arguments) + 2
    for name, what in rung.arguments:
        lines += textwrap.wrap(what, 96, initial_indent=f"  {name:<{width}}", subsequent_indent=" " * (width + 2))
    lines += [""] + textwrap.wrap(rung.returns, 96, initial_indent="  returns  ", subsequent_indent=" " * 11) + [""]
    if rung.exact:
        lines.append("  compared: word for word")
    else:
        double = f", {rung.double:g} with --dtype float64" if rung.double else ""
        padding = "; padding is left out" if rung.padding is not None else ""
        lines.append(f"  compared: largest absolute difference at most {rung.tolerance:g}{double}{padding}")
    return "\n".join(lines)


def template():
    """A file with every function of the contract, not yet written."""
    parts = ['"""My BERT, to be checked rung by rung: python -m minibert.parity THIS_FILE\n\n'
             "Fill in any functions, in any order; those that raise NotImplementedError or are deleted are skipped.\n"
             "B texts, T tokens, E hidden size = H heads * D, F intermediate size, C classes, V vocabulary, L layers.\n"
             'Floats come as float32. Arguments must not be changed in place.\n"""\n\n'
             'ARRAYS = "torch"  # or "numpy": what the arguments are']  # fmt: skip
    for rung in RUNGS:
        body = textwrap.wrap(f"{rung.title} ({rung.source}).", 110)
        for name, what in rung.arguments:
            body += textwrap.wrap(f"{name}: {what}", 110, initial_indent="  ", subsequent_indent="    ")
        body += textwrap.wrap(f"returns {rung.returns}", 110, initial_indent="  ", subsequent_indent="    ")
        document = "\n    ".join(body)
        signature = f"def {rung.name}({', '.join(name for name, _ in rung.arguments)}):"
        parts.append(f'{signature}\n    """{document}\n    """\n    raise NotImplementedError')
    return "\n\n\n".join(parts) + "\n"


def parse(argv):
    parser = Parser(
        prog="python -m minibert.parity",
        description="Check an implementation of BERT, its optimizer and its metrics, and name what is wrong with it.",
    )
    add = parser.add_argument
    add("implementation", nargs="?", default="minibert.parity.adapter", help="a .py file, or a module's dotted name")
    add("--rungs", metavar="A,B", help="only these (default: all)")
    add("--list", action="store_true", help="list the rungs and what they are")
    add("--explain", metavar="RUNG", help="print one rung's arguments, shapes, tolerance and source")
    add("--template", metavar="FILE", help="write a file with every function to fill in")
    add("--weights", metavar="DIR|ID", help="the encoder on a real checkpoint, against stored figures")
    add("--dtype", choices=("float32", "float64"), default="float32", help="of the arguments")
    add("--time-limit", type=number(float, 0, low_open=True), default=TIME_LIMIT, help="seconds a rung may take")
    add("--in-process", action="store_true", help="no process of its own for the file, so that a debugger works in it")
    add("--strict", action="store_true", help="a rung that is not checked, or OTHER, counts as failed")
    add("--json", action="store_true", help="print JSON for programs")
    options = parser.parse_args(argv)
    if options.list:
        print("\n".join(f"{rung.name:<26}{rung.title}" for rung in RUNGS))
        sys.exit(0)
    options.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return options


if __name__ == "__main__":
    run_command(main)
