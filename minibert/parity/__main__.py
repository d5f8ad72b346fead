"""`python -m minibert.parity my_bert.py`: the ladder on your implementation, and what is wrong with it.

Without an argument minibert itself climbs. Exit code 0 when something was checked and nothing failed, 1 when a rung
failed or none was checked, 2 when the command or the file is at fault.
"""

import contextlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

from ..plumbing.command import Parser, number, run_command
from ..plumbing.files import UserError, write_text
from .call import TIME_LIMIT
from .check import Here, climb
from .contract import explain, find_rung, template
from .learner import load_and_describe
from .levels import open_level
from .process import LearnersProcess
from .report import Shown, Summary
from .rungs import RUNGS


def main(argv=None):
    options = parse(argv)
    if options.explain:
        print(explain(find_rung(options.explain)))
        return 0
    if options.template:
        return write_template(Path(options.template))
    return check(options)


def write_template(path):
    """--template FILE: never over a file that is there."""
    if path.exists():
        raise UserError(f"{path}: is there already; choose another name for the template")
    write_text(path, template())
    print(f"{path}: {len(RUNGS)} functions to fill in; check with: python -m minibert.parity {path}")
    return 0


def check(options):
    """Climb, and report."""
    with open_learner(options) as learner:
        if "said" in learner.about:  # --write-map
            print(learner.about["said"])
            return 0
        level = open_level(learner.about["level"], judging=not options.in_process)
        if not options.json:
            for note in learner.about["notes"]:
                print(note)
        results = climb(
            learner, level, chosen(options, learner, level), options.dtype,
            None if options.json else Shown(options.colour),
        )  # fmt: skip
    about = learner.about
    summary = Summary(options.implementation, results, about["near_misses"], about["notes"], options.strict)
    print(summary.as_json() if options.json else "\n" + summary.as_text(options.weights))
    return 0 if summary.success else 1


def chosen(options, learner, level):
    """The rungs to climb: those asked for; of a module those that it has; of a checkpoint those with figures."""
    rungs = RUNGS
    if options.rungs:
        rungs = [find_rung(name.strip()) for name in options.rungs.split(",")]
    elif options.module:
        rungs = [rung for rung in RUNGS if rung.name in learner.about["provided"]]
    return level.rungs(rungs) if options.weights else rungs


@contextlib.contextmanager
def open_learner(options):
    """The learner's functions, in a process of their own, or in this one with --in-process."""
    what = {"place": options.implementation}
    if options.module:
        what = {"place": options.module[0], "modules": options.module, "family": options.family, "map": options.map,
                "write_map": options.write_map, "given": options.config_arg}  # fmt: skip
    options.implementation = what["place"]
    level = ["checkpoint", options.weights] if options.weights else ["ladder"]
    if not options.in_process:
        with LearnersProcess(what, level, options.dtype, options.time_limit) as learner:
            yield learner
        return
    module, about = load_and_describe(what, level)
    learner = SimpleNamespace()
    if module is not None:
        learner = Here(module, open_level(about["level"]), options.dtype, options.time_limit)
    learner.about = about
    yield learner


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
    add("--module", metavar="FILE:CLASS", nargs="+", help="a whole module, by its own class (and an optimizer's class)")
    add("--family", choices=("bert", "distilbert", "roberta"), help="of the module (default: by its name)")
    add("--config-arg", metavar="NAME=VALUE", action="append", help="an argument of the class; may be repeated")
    add("--map", metavar="FILE", help="which of the module's parameters is which weight, as JSON")
    add("--write-map", metavar="FILE", help="write such a map, as far as it can be found, to be mended")
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
    if options.weights and options.dtype != "float32":
        raise UserError("--weights is compared in float32 only; leave out --dtype")
    if not options.module and (options.map or options.write_map or options.config_arg or options.family):
        raise UserError("--map, --write-map, --config-arg and --family go with --module FILE:CLASS")
    return options


if __name__ == "__main__":
    run_command(main)
