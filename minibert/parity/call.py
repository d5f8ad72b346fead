"""Calling: the learner's function for a rung, on the rung's stored inputs, for as long as it may take.

The command does this in a process of its own (`process.py`), where nothing that the function does can hurt.
"""

import contextlib
import difflib
import inspect
import signal
import threading
import traceback

import numpy as np

from .judge import to_array
from .learner import here_first, import_root, last_lines, raises_interrupt
from .listening import ask
from .references import converter
from .results import ERROR, SKIP, Reply, Wrong
from .values import portable

TIME_LIMIT = 60.0  # seconds a rung may take, by the clock: on a busy machine the first optimizer alone may need 20


class TimeLimit(BaseException):
    """Not an Exception, so that a learner's `except Exception` does not swallow it."""


def ask_learner(module, rung, references, dtype="float32", time_limit=TIME_LIMIT):
    """The `Reply` of the learner's function to all cases of a rung. Whatever the function raises becomes part of it."""
    function = getattr(module, rung.name, None)
    if function is None:
        return Reply(SKIP, "not provided")
    if not callable(function):
        return Reply(ERROR, f"{rung.name} is a {type(function).__name__}, not a function")
    try:
        convert = converter(array_kind(module), dtype)
        with limited(time_limit), here_first(import_root(module) or "."):
            return ask_cases(function, rung, references, convert, module)
    except Wrong as error:
        status, note, *mistakes = error.args
        return Reply(status, note, mistakes=mistakes)
    except TimeLimit as error:
        note = f"did not return within {time_limit:g} seconds"
        return Reply(ERROR, note, details=last_lines(traceback.extract_tb(error.__traceback__), module))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not raises_interrupt(error):
            raise
        return failure(error, module, rung, function, references)


def array_kind(module):
    """What the arguments are: ARRAYS if the file says so; else NumPy's for a file that knows NumPy and not PyTorch."""
    if hasattr(module, "ARRAYS"):
        return module.ARRAYS
    libraries = {value.__name__.split(".")[0] for value in vars(module).values() if inspect.ismodule(value)}
    return "numpy" if "numpy" in libraries and "torch" not in libraries else "torch"


def ask_cases(function, rung, references, convert, module=None):
    """The answers to all cases. A case for which the function raises NotImplementedError is left out."""
    reply, dtypes, not_yet = Reply(), set(), None
    for number, case in enumerate(references.cases(rung)):
        try:
            output = call(function, rung, case, references, convert, module)
        except NotImplementedError as error:
            line = traceback.extract_tb(error.__traceback__)[-1].line or ""
            if "NotImplementedError" not in line:  # PyTorch raises it too, for wrong types
                raise
            not_yet = error
            continue
        reply.cases.append(number)
        reply.outputs.append(portable(output, dtypes))
    if not_yet is not None and not reply.cases:
        reply.status, reply.note = SKIP, "not yet (NotImplementedError)"
    reply.dtypes = sorted(dtypes)
    return reply


def call(function, rung, case, references, convert, module=None):
    """The learner's answer to one case. Wrong when it changed what it was given, or changes from call to call."""
    names, given = [name for name, _ in rung.arguments], []

    def arguments(dropout=None):
        """Fresh ones, which are kept to see what became of them."""
        given.append({name: references.resolve(case["arguments"][name], convert) for name in names})
        return list((given[-1] | ({"dropout": dropout} if dropout else {})).values())

    output = ask(rung, function, arguments, module)
    for values in given:
        for name, value in values.items():
            if not same(value, references.resolve(case["arguments"][name], convert)):
                raise Wrong(ERROR, f"changes its argument `{name}` in place; work on a copy")
    return output


def same(left, right):
    """Equal, all the way down? Functions are equal where they are the same."""
    if isinstance(left, dict):
        return set(left) == set(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if hasattr(left, "shape") and hasattr(right, "shape"):
        return np.array_equal(to_array(left, ""), to_array(right, ""))
    if hasattr(left, "shape") or hasattr(right, "shape"):
        return False
    return left is right or left == right


def failure(error, module, rung, function, references):
    """The reply that stands for an exception: its type, its words, and the line in the learner's own files."""
    details = last_lines(traceback.extract_tb(error.__traceback__), module)
    words = " ".join(str(error).split()) or "no message"
    if isinstance(error, TypeError) and not details:  # the call itself failed
        details = [f"expected: {rung.name}({', '.join(name for name, _ in rung.arguments)})"]
        with contextlib.suppress(TypeError, ValueError):
            details[0] += f"; yours: {rung.name}{inspect.signature(function)}"
    if isinstance(error, KeyError):
        words += nearest_key(error, rung, references)
    if isinstance(error, EOFError):
        words += "; input() asks, and nobody is there to answer"
    return Reply(ERROR, f"{type(error).__name__}: {words}", details=details)


def nearest_key(error, rung, references):
    """For a KeyError: what the weights or the configuration have that sounds like it."""
    arguments = references.cases(rung)[0]["arguments"]
    names = [name for key in ("weights", "config") if isinstance(arguments.get(key), dict) for name in arguments[key]]
    near = difflib.get_close_matches(str(error.args[0] if error.args else ""), names, n=2, cutoff=0.5)
    return f"; there is {' and '.join(map(repr, near))}" if near else ""


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
