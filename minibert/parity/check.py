"""The climb: call a learner's functions on the stored inputs, one rung after the other, and have the answers judged."""

import contextlib
import signal
import sys
import threading
import traceback

import numpy as np

from .judge import judge_numbers, judge_words, to_array
from .learner import last_lines
from .references import References, converter
from .results import ERROR, SKIP, Result, Wrong
from .rungs import RUNGS

TIME_LIMIT = 20.0  # seconds a rung may take


class TimeLimit(BaseException):
    """Not an Exception, so that a learner's `except Exception` does not swallow it."""


def run_ladder(module, references=None, rungs=RUNGS, dtype="float32", time_limit=TIME_LIMIT, after_each=None):
    """A `Result` for each rung, in order. `after_each` is called with each one as it is there."""
    references = references or References()
    results = []
    for rung in rungs:
        results.append(run_rung(module, rung, references, dtype, time_limit))
        if after_each:
            after_each(results[-1])
    return results


def run_rung(module, rung, references, dtype="float32", time_limit=TIME_LIMIT):
    """Call the learner's function for one rung on all its cases."""
    function = getattr(module, rung.name, None)
    if function is None:
        return Result(rung.name, SKIP, "not provided")
    if not callable(function):
        return Result(rung.name, ERROR, f"{rung.name} is a {type(function).__name__}, not a function")
    tolerance = rung.tolerance if dtype == "float32" or rung.double is None else rung.double
    try:
        convert = converter(getattr(module, "ARRAYS", "torch"), dtype)
        with limited(time_limit), contextlib.redirect_stdout(sys.stderr):
            outputs = [call(function, rung, case, references, convert) for case in references.cases(rung)]
        if rung.exact:
            return judge_words(rung, outputs, references)
        return judge_numbers(rung, outputs, references, tolerance)
    except Wrong as error:
        status, note = error.args
        return Result(rung.name, status, note, tolerance=tolerance)
    except TimeLimit:
        return Result(rung.name, ERROR, f"did not return within {time_limit:g} seconds")
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, NotImplementedError) and "NotImplementedError" in (frames[-1].line or ""):
            return Result(rung.name, SKIP, "not yet (NotImplementedError)")  # PyTorch raises it too, for wrong types
        note = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
        return Result(rung.name, ERROR, note, details=last_lines(frames, module))


@contextlib.contextmanager
def limited(seconds):
    """Raise TimeLimit in here after so many seconds. It takes a Unix signal in the main thread; elsewhere: no limit."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, 1e6))  # more than the timer can count is forever
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def call(function, rung, case, references, convert):
    """The learner's answer to one case. Wrong when it changed what it was given."""
    names = [name for name, _ in rung.arguments]
    arguments = [references.resolve(case["arguments"][name], convert) for name in names]
    output = function(*arguments)
    for name, argument in zip(names, arguments, strict=True):
        if not same(argument, references.resolve(case["arguments"][name], convert)):
            raise Wrong(ERROR, f"changes its argument `{name}` in place; work on a copy")
    return output


def same(left, right):
    if isinstance(left, dict):
        return set(left) == set(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if hasattr(left, "shape") and hasattr(right, "shape"):
        return np.array_equal(to_array(left, ""), to_array(right, ""))
    if hasattr(left, "shape") or hasattr(right, "shape"):
        return False
    return left is right or left == right
