"""`python -m minibert.parity my_bert.py`: the ladder on your implementation, and what is wrong with it.

Without an argument minibert itself climbs. Exit code 0 when something was checked and nothing failed, 1 when a rung
failed or none was checked, 2 when the command or the file is at fault.
"""

import contextlib
import os
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

from ..plumbing.command import Parser, number, run_command
from ..plumbing.files import UserError, write_text
from .call import TIME_LIMIT
from .check import Here, climb
from .contract import explain, find_rung, template
from .hints import hint
from .learner import split_place
from .opening import load_and_describe, open_level
from .process import LearnersProcess
from .report import Shown, Summary
from .results import OK, OTHER, SKIP
from .rungs import RUNGS
from .tiny import printed
from .verdict import result_of
from .watch import watch


def main(argv=None):
    options = parse(argv)
    if options.explain:
        print(explain(find_rung(options.explain)))
        return 0
    if options.template:
        return write_template(Path(options.template))
    if options.hint:
        return show_hint(*options.hint)
    if options.tiny:
        return show_tiny(options)
    return keep_watching(options) if options.watch else check(options)


def write_template(path):
    """--template FILE: never over a file that is there."""
    if path.exists():
        raise UserError(f"{path}: is there already; choose another name for the template")
    write_text(path, template())
    print(f"{path}: {len(RUNGS)} functions to fill in; check with: python -m minibert.parity {path}")
    return 0


def check(options):
    """Climb, and report."""
    summary = climb_once(options, None if options.json else Shown(options.colour))
    if isinstance(summary, str):  # --write-map
        print(summary)
        return 0
    print(summary.as_json() if options.json else "\n" + summary.as_text(options.weights))
    return 0 if summary.success else 1


def climb_once(options, show=None, notes=True):
    """The `Summary` of one climb; what was said, where nothing was to be climbed. `show` is called with each result."""
    with open_learner(options) as learner:
        if "said" in learner.about:
            return learner.about["said"]
        level = open_level(learner.about["level"], judging=bool(options.onnx) or not options.in_process)
        if notes and not options.json:
            for note in learner.about["notes"]:
                print(note)
        results = climb(learner, level, chosen(options, learner, level), options.dtype, show)
    about, functions = learner.about, not (options.module or options.weights)
    return Summary(
        place_of(options), results, about["near_misses"], about["notes"], options.strict, about["classes"], functions
    )


def place_of(options):
    """The learner's file, as it was given."""
    return options.onnx or (options.module[0] if options.module else options.implementation)


def keep_watching(options):
    """--watch: climb after every change."""
    place = split_place(place_of(options))[0]
    if not Path(place).is_file():
        raise UserError(f"--watch {place}: no such file; a file can be watched, not a module's name")
    shown = Shown(options.colour)
    return 0 if watch(lambda show: climb_once(options, show, notes=show is not None), shown, place) else 1


def show_tiny(options):
    """--tiny RUNG: one small case, whole."""
    rung = find_rung(options.tiny)
    with open_learner(options, ["tiny"]) as learner:
        judged, references = open_level(["tiny"]).rung(rung.name)
        reply = learner.ask(rung)
        print("\n".join(printed(judged, references, reply)))
    result = result_of(judged, reply, references, options.dtype)
    if result.status != SKIP and not reply.status:
        print(f"\n{result.status}: " + ("as expected" if result.status == OK else f"{result.where or result.note}"))
    return 0 if result.status in (OK, OTHER) else 1


def show_hint(level, name):
    """--hint 1|2|3 RUNG."""
    if level not in ("1", "2", "3"):
        raise UserError(f"--hint {level}: 1, 2 or 3, then the rung")
    rung = find_rung(name)
    heading, text = hint(rung, int(level))
    print(f"{rung.name}, {heading}:")
    print(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="  "))
    if level != "3":
        print(f"\nmore: --hint {int(level) + 1} {rung.name}; a case to compute by hand: FILE --tiny {rung.name}")
    return 0


def chosen(options, learner, level):
    """The rungs to climb: those asked for; of a module those that it has; of a checkpoint those with figures."""
    rungs = RUNGS
    if options.onnx:
        return level.rungs()
    if options.rungs:
        rungs = [find_rung(name.strip()) for name in options.rungs.split(",")]
    elif options.module:
        rungs = [rung for rung in RUNGS if rung.name in learner.about["provided"]]
    return level.rungs(rungs) if options.weights else rungs


@contextlib.contextmanager
def open_learner(options, level=None):
    """The learner's functions, in a process of their own, or in this one with --in-process."""
    what = {"place": options.implementation}
    if options.module:
        what = {"place": options.module[0], "modules": options.module, "family": options.family, "map": options.map,
                "write_map": options.write_map, "given": options.config_arg}  # fmt: skip
    if options.onnx:
        what = {"place": options.onnx, "onnx": options.onnx}
    if level is None:
        kind = "conversion" if options.onnx else "checkpoint"
        level = [kind, options.weights] if options.weights else ["ladder"]
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
    add("--only", "--rungs", dest="rungs", metavar="A,B", help="climb only these rungs (default: all)")
    add("--list", action="store_true", help="list the rungs and what they are")
    add("--explain", metavar="RUNG", help="print one rung's arguments, shapes, tolerance and source")
    add("--hint", nargs=2, metavar=("1|2|3", "RUNG"), help="what to look at; where it stands in the paper; the fix")
    add("--tiny", metavar="RUNG", help="one small case, printed whole: what is expected beside what comes back")
    add("--watch", action="store_true", help="climb again when the file changes, and show what has changed")
    add("--template", metavar="FILE", help="write a file with every function to fill in")
    add("--module", metavar="FILE:CLASS", nargs="+", help="a whole module, by its own class (and an optimizer's class)")
    add("--family", choices=("bert", "distilbert", "roberta"), help="of the module (default: by its name)")
    add("--config-arg", metavar="NAME=VALUE", action="append", help="an argument of the class; may be repeated")
    add("--map", metavar="FILE", help="which of the module's parameters is which weight, as JSON")
    add("--write-map", metavar="FILE", help="write such a map, as far as it can be found, to be mended")
    add("--onnx", metavar="FILE", help="a converted model, against the checkpoint that --weights names")
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
    if options.onnx and (not options.weights or options.module or options.watch or options.tiny):
        raise UserError("--onnx FILE goes with --weights DIR, the checkpoint it was made from, and with nothing else")
    if options.watch and options.json:
        raise UserError("--watch is for a person to read; leave out --json")
    if options.watch and options.write_map:
        raise UserError("--write-map writes a map once; leave out --watch")
    if options.tiny and (options.module or options.weights):
        raise UserError("--tiny is for functions; leave out --module and --weights")
    if not options.module and (options.map or options.write_map or options.config_arg or options.family):
        raise UserError("--map, --write-map, --config-arg and --family go with --module FILE:CLASS")
    return options


if __name__ == "__main__":
    run_command(main)
