"""Command lines: help texts with their defaults, and every failure in one line with exit code 2."""

import argparse
import os
import sys

from .files import UserError
from .memory import keep_freed_memory


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help texts with their defaults, where there is one and the text does not give it already."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False or "default" in action.help:
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A command line whose errors are one line, like all others."""

    def __init__(self, **options):
        super().__init__(formatter_class=Help, **options)

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


def run_command(main):
    """Run a command's `main`, and turn a UserError into one line on standard error and exit code 2."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file name, or a terminal, may not be UTF-8
    try:
        code = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except SystemExit as stop:  # --help
        code = stop.code
    except BrokenPipeError:
        code = 141
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        code = 130
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        code = code or 141
    sys.exit(code)
