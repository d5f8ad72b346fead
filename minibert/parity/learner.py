"""The learner's file: import it, say in one line why it cannot be imported, and guess at misspelt names."""

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import linecache
import re
import sys
import traceback
from pathlib import Path

from ..plumbing.files import UserError
from .rungs import RUNGS

NAMES = {rung.name for rung in RUNGS}


class Written(Exception):
    """A map was written, which is all that was asked for: (what to say)."""


def load_implementation(place):
    """The module at a path or under a dotted name. UserError when it is not there or cannot be imported."""
    path = Path(place)
    dotted = path.suffix != ".py" and not path.exists()
    if not dotted and not path.is_file():
        raise UserError(f"{place}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    try:
        return import_name(str(place)) if dotted else import_file(path)
    except UserError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not raises_interrupt(error):
            raise
        if dotted and isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            raise UserError(f"{place}: no such file, and no such module") from None
        home = path.resolve().parent if not dotted else Path.cwd()
        raise UserError(f"{place}: {import_failure(error, path, home)}") from error


def import_name(name):
    with here_first(Path.cwd()):
        return importlib.import_module(name)


def import_file(path):
    # A name that no other module has; and known to sys.modules, where dataclasses look their module up.
    name = f"learners_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise UserError(f"{path}: not a Python file (.py)")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    with here_first(path.resolve().parent):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def here_first(folder):
    """Let the learner's file import its neighbours, and print elsewhere than among our results."""
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        with contextlib.suppress(ValueError):  # the file may have changed it, too
            sys.path.remove(str(folder))


GUARD = 'put what should not run on import under `if __name__ == "__main__":`'


def import_failure(error, path, home):
    """One line: what went wrong, in which line of which file, and what to do where that is known."""
    if isinstance(error, SyntaxError):
        neighbour = Path(error.filename or path).name
        start = "" if neighbour == path.name else f"{neighbour}, "
        start += f"line {error.lineno}: " if error.lineno else ""
        return f"{start}{error.msg}{': ' if error.text else ''}{(error.text or '').strip()}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename, home)]
    start = ""
    if frames:
        neighbour = Path(frames[-1].filename).name
        start = f"{'' if neighbour == path.name else neighbour + ', '}line {frames[-1].lineno}: "
    words = f"{start}cannot be imported: {type(error).__name__}: {error}"
    if isinstance(error, ImportError) and "relative import" in str(error):
        folder = path.resolve().parent
        return f"{words}; in {folder.parent}, say: python -m minibert.parity {folder.name}.{path.stem}"
    return f"{words}; {GUARD}" if isinstance(error, (SystemExit, EOFError, FileNotFoundError)) else words


def raises_interrupt(error):
    """Was a KeyboardInterrupt raised by a line that says so, and not by the keyboard?"""
    return "KeyboardInterrupt" in (traceback.extract_tb(error.__traceback__)[-1].line or "")


def split_place(text):
    """FILE:CLASS -> (file or dotted name, class or "")."""
    place, colon, name = text.rpartition(":")
    return (place, name) if colon and name.isidentifier() and len(place) > 1 else (text, "")


def near_misses(module):
    """{a function of the module: the rung that it was probably meant to be}"""
    wanted = [rung.name for rung in RUNGS if not hasattr(module, rung.name)]
    found = {}
    for name, value in vars(module).items():
        own = inspect.isfunction(value) and value.__module__ == getattr(module, "__name__", "")
        if own and name not in NAMES and not name.startswith("_"):
            close = difflib.get_close_matches(name.lower(), wanted, n=1, cutoff=0.8)
            if close:
                found[name] = close[0]
    return found


def last_lines(frames, module):
    """Where it happened: the last line in the learner's own files, not in a library and not in ours."""
    home = own_folder(module)
    own = [frame for frame in frames if is_own(frame.filename, home)]
    return [f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}" for frame in own[-1:]]


def trace_lines(text, home, place):
    """The same from what `faulthandler` has written: of the thread that crashed, or else of the main one."""
    home = Path(home) if home else Path(place).resolve().parent
    threads = re.split(r"\n(?=Current thread|Thread 0x)", text)
    threads.sort(key=lambda thread: thread.startswith("Current"))
    for thread in reversed(threads):
        for filename, number, name in re.findall(r'File "(.*)", line (\d+) in (.*)', thread):
            if is_own(filename, home):
                linecache.checkcache(filename)
                line = linecache.getline(filename, int(number)).strip()
                return [f"{Path(filename).name}, line {number}, in {name}: {line}"]
    return []


def classes_in(module):
    """Names of the classes of a learner's module that have a forward or a step: what --module is for."""
    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == getattr(module, "__name__", "")
        and (hasattr(value, "forward") or hasattr(value, "step"))
    ]


def own_folder(module):
    """The folder of the learner's file, or of its outermost package; None for what comes from no file."""
    path = getattr(module, "__file__", None)
    if path is None:
        return None
    inside = getattr(module, "__package__", None) or ""
    return Path(path).resolve().parents[inside.count(".") if inside else 0]


def import_root(module):
    """The folder from which the learner's file imports: its own one, or the one that holds its package."""
    home = own_folder(module)
    return home.parent if home and getattr(module, "__package__", None) else home


def is_own(filename, home):
    """Is it one of the learner's files? What is installed, and the ladder itself, is not."""
    path = Path(filename).resolve()
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    ladder = Path(__file__).parent in path.parents and path.name != "adapter.py"
    return home is not None and home in path.parents and not installed and not ladder
