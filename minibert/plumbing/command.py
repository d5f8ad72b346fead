"""Command lines: help texts with their defaults, and every failure in one line with exit code 2."""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from .files import UserError, one_line
from .memory import keep_freed_memory
from .signals import Stopped, listening

LESS_MEMORY = "try a smaller --micro-batch, --batch-size or --max-length where --help lists them, or shorter texts"


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help texts with their defaults, where there is one and the text does not give it already."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False or "default" in action.help:
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A command line whose errors are one line, like all others."""

    def __init__(self, **options):
        super().__init__(formatter_class=Help, allow_abbrev=False, **options)

    def error(self, message):
        raise UserError(f"{message}; --help lists the options")


def number(kind, low, high=float("inf"), low_open=False):
    """An argparse type: an int or float within bounds."""

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if not (low < value if low_open else low <= value) or not value <= high:
            bounds = f"{'more than' if low_open else 'at least'} {low}"
            bounds += f", at most {high}" if high < float("inf") else ""
            raise argparse.ArgumentTypeError(f"{text} is out of range ({bounds})")
        return value

    return convert


def warmup(text):
    """An argparse type: a share in [0, 1) or a whole number of updates."""
    value = number(float, 0, 10**9)(text)
    if value >= 1 and value != int(value):
        raise argparse.ArgumentTypeError(f"{text}: below 1 it is a share of the updates, from 1 on their whole number")
    return value


def add_columns(add):
    """The options that say what a person's own file calls its columns. add: a parser's `add_argument`."""
    add("--text-column", default="text", help="of your own file: the column of texts")
    add("--pair-column", default="text_pair", help="of your own file: the column of second texts, if it has one")
    add("--label-column", default="label", help="of your own file: the column of labels")


def run_command(main):
    """Run a command's `main` and leave with its exit code; whatever goes wrong is one line on standard error.

    2: something that its reader can mend (`UserError`). 128 + N: stopped by signal N. 1: a fault of minibert, with the
    traceback in a file that the line names.
    """
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name, or a terminal, may not be UTF-8
    try:
        with listening():
            code = main()
            sys.stdout.flush()
    except SystemExit as stop:  # --help
        code = stop.code
    except (Stopped, KeyboardInterrupt) as stop:
        number = getattr(stop, "signal", signal.SIGINT)
        print(f"\nstopped{': ' if str(stop) else ''}{stop}", file=sys.stderr)
        code = 128 + number
    except BrokenPipeError:  # whoever read the output has enough, as `head` does
        code = 141
    except UserError as error:
        code = fail(str(error))
    except Exception as error:
        code = fail(*describe(error))
    sys.exit(close_output(code))


def describe(error):
    """(what to say about an error that is not a UserError, the exit code)."""
    what = one_line(f"{type(error).__name__}: {error}")
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}", 2
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"not enough memory ({what}); {LESS_MEMORY}", 2
    if isinstance(error, RuntimeError) and "not enough memory" in str(error):  # PyTorch's words on a CPU
        return f"not enough memory; {LESS_MEMORY}", 2
    if isinstance(error, UnicodeError):
        return f"text that is not UTF-8 ({what})", 2
    path = Path(tempfile.gettempdir()) / f"minibert-error-{os.getpid()}.txt"
    with contextlib.suppress(OSError):
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        return f"{what}; this is a fault of minibert: please report it with the file {path}", 1
    return f"{what}; this is a fault of minibert: please report it", 1


def fail(message, code=2):
    """Say what is wrong, in one line, and return the exit code."""
    with contextlib.suppress(OSError, ValueError):
        print(f"error: {one_line(message)}", file=sys.stderr)
    return code


def close_output(code):
    """Write out what is left of standard output: the exit code, or another where nobody can have it."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:  # a reader that is gone, a full disk, a closed file
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        if isinstance(error, BrokenPipeError):
            return code or 141
        return code or fail(f"standard output cannot be written ({getattr(error, 'strerror', None) or error})")
    return code
