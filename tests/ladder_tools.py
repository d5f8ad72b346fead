"""What the tests of the ladder share: its rungs and references, and ways to put one function on one rung.

Where the judgement is what is tested, that function is a `parrot`: it answers with the stored right values, spoiled in
one known way.
"""

import functools
from pathlib import Path
from types import SimpleNamespace

import pytest

from minibert.parity.__main__ import main
from minibert.parity.check import run_rung
from minibert.parity.learner import load_implementation
from minibert.parity.references import References
from minibert.parity.rungs import RUNGS
from minibert.plumbing.command import run_command

REPOSITORY = Path(__file__).parent.parent
EXAMPLE = REPOSITORY / "examples" / "my_bert_numpy.py"
REFERENCES = References()
RUNG = {rung.name: rung for rung in RUNGS}
DTYPES = ("float32", "float64")
EACH_RUNG = pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
NUMERIC = pytest.mark.parametrize(  # compared by numbers, and by nothing else
    "rung", [rung for rung in RUNGS if not rung.exact and not rung.places], ids=lambda rung: rung.name
)


def check(rung, function, arrays="torch", **options):
    """The `Result` of one function."""
    return run_rung(SimpleNamespace(ARRAYS=arrays, **{rung: function}), RUNG[rung], REFERENCES, **options)


def stored_answer(case):
    """What a perfect learner would return for a case of a rung that is compared by numbers."""
    values = {name: REFERENCES.arrays[key].copy() for name, key in case["output"].items()}
    if "loss" in values:
        return values.pop("loss"), values
    return values[""] if list(values) == [""] else list(values.values())


def parrot(rung, spoil):
    """A function that gives the stored answers, case after case, each through spoil(answer, number of the case)."""
    times = 2 if RUNG[rung].twice else 1  # a parrot says each answer as often as it is asked
    numbered = [pair for pair in enumerate(REFERENCES.cases(RUNG[rung])) for _ in range(times)]
    answers, said = iter(numbered), {}

    def function(*arguments):
        number, case = next(answers)
        if number not in said:
            said[number] = spoil(stored_answer(case), number)
        return said[number]

    return function


def leaves(value, change):
    """The same lists, tuples and dicts with change(x) for everything in them."""
    if isinstance(value, dict):
        return {name: leaves(part, change) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(leaves(part, change) for part in value)
    return change(value)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def command(capsys, *arguments, isolated=False):
    """(exit code, standard output, standard error) of `python -m minibert.parity`.

    The file is imported here, which is quicker; isolated=True: in a process of its own, as the command does by itself.
    """
    arguments = arguments if isolated else (*arguments, "--in-process")
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: main([str(argument) for argument in arguments]))
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


@functools.cache
def numpy_example():
    return load_implementation(EXAMPLE)


def planted(place, size, case=0):
    def spoil(answer, number):
        if number == case:
            answer[place] += size
        return answer

    return spoil
