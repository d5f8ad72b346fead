"""The learner's file: import it, say in one line why it cannot be imported, and guess at misspelt names."""

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path

from ..plumbing.files import UserError
from .rungs import RUNGS

NAMES = {rung.name for rung in RUNGS}


def load_implementation(place):
    """The module at a path or under a dotted name. UserError when it is not there or cannot be imported."""
    path = Path(place)
    if path.suffix != ".py" and not path.exists():
        try:
            with here_first(Path.cwd()):
                return importlib.import_module(str(place))
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
                raise UserError(f"{place}: no such file, and no such module") from None
            raise UserError(f"{place}: {import_failure(error, place)}") from error
    if not path.is_file():
        raise UserError(f"{place}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    # A name that no other module has; and known to sys.modules, where dataclasses look their module up.
    name = f"learners_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise UserError(f"{place}: not a Python file (.py)")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        with here_first(path.resolve().parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"{place}: {import_failure(error, place)}") from error
    return module


@contextlib.contextmanager
def here_first(folder):
    """Let the learner's file import its neighbours, and print elsewhere than among our results."""
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path.remove(str(folder))


def import_failure(error, place):
    """One line: what went wrong, and in which line of which file."""
    if isinstance(error, SyntaxError):
        neighbour = Path(error.filename or place).name
        start = "" if neighbour == Path(place).name else f"{neighbour}, "
        start += f"line {error.lineno}: " if error.lineno else ""
        return f"{start}{error.msg}{': ' if error.text else ''}{(error.text or '').strip()}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == Path(place).name]
    line = f"line {frames[-1].lineno}: " if frames else ""
    return f"{line}cannot be imported: {type(error).__name__}: {error}"


def near_misses(module):
    """{a function of the module: the rung that it was probably meant to be}"""
    wanted = [rung.name for rung in RUNGS if not hasattr(module, rung.name)]
    found = {}
    for name, value in vars(module).items():
        own = inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if own and name not in NAMES:
            close = difflib.get_close_matches(name.lower(), wanted, n=1, cutoff=0.8)
            if close:
                found[name] = close[0]
    return found


def last_lines(frames, module):
    """Where it happened: the last line in the learner's own files, not in a library and not in ours."""
    home = own_folder(module)
    own = [frame for frame in frames if is_own(frame.filename, home)]
    return [f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}" for frame in own[-1:]]


def own_folder(module):
    """The folder of the learner's file, or of its outermost package; None for what comes from no file."""
    path = getattr(module, "__file__", None)
    if path is None:
        return None
    inside = getattr(module, "__package__", None) or ""
    return Path(path).resolve().parents[inside.count(".") if inside else 0]


def is_own(filename, home):
    """Is it one of the learner's files? What is installed, and the ladder itself, is not."""
    path = Path(filename).resolve()
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    ladder = path.parent == Path(__file__).parent and path.name != "adapter.py"
    return home is not None and home in path.parents and not installed and not ladder
