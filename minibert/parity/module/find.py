"""Find a class in a learner's file, which was written to train something and not to be imported by a ladder.

The file is run statement by statement. One that fails (a data set that is not there, a library that is only needed for
plots) is left out, and a note says so; what the class needs is there or is missed by name. Relative imports work as if
the file's folder were a package. Notebooks are read cell by cell.
"""

import ast
import importlib
import importlib.util
import inspect
import json
import re
import sys
import types
from pathlib import Path

from ...plumbing.files import UserError, read_text
from ..learner import here_first, import_name, split_place
from .absent import ABSENT, Absent

MOST_NOTES = 5
SKIPPED = "line {}: {} ({}: {}); left out"
LIKELY = (  # what the class of a whole encoder is called, the likeliest first
    "BertModel", "BERTModel", "DistilBertModel", "RobertaModel", "BERT", "Bert", "MiniBert", "MyBert", "BertEncoder",
    "BERTEncoder", "TransformerEncoder", "Encoder", "Transformer", "Model",
)  # fmt: skip


def find(text, definitions=False):
    """(target, its module, notes) for FILE:CLASS. definitions: run no statement that may take long."""
    place, name = split_place(text)
    path = Path(place)
    if path.is_dir() and not name:
        path, name = likeliest_in(path)
        place = str(path)
    if path.suffix in (".py", ".ipynb") or path.exists():
        if not path.is_file():
            raise UserError(f"{place}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
        module, notes = run_file(path.resolve(), definitions)
    else:
        try:
            module, notes = import_name(place), []
        except Exception as error:
            raise UserError(f"{place}: cannot be imported: {type(error).__name__}: {error}") from error
    if name:
        target = getattr(module, name, None)
        if target is None:
            near = ", ".join(classes_of(module)) or "none"
            because = f"; {notes[0]}" if notes else ""
            raise UserError(f"{place}: has no class {name!r}; its modules are: {near}{because}")
        return target, module, notes
    names = classes_of(module)
    called = [name for word in ("bert", "transformer", "encoder", "model") for name in names if word in name.lower()]
    for likely in (*LIKELY, *called, *names[-1:]):
        if likely in names:
            return getattr(module, likely), module, [f"{likely} is taken; another one: {place}:CLASS", *notes]
    raise UserError(f"{place}: has no class of torch.nn.Module{'; ' + notes[0] if notes else ''}")


def likeliest_in(folder):
    """(file, class) in a folder: the class that is called most like a whole BERT. UserError where there is none."""
    for name in LIKELY:
        for file, found in neighbours_with(folder / "any.py", name):
            return file, found
    raise UserError(f"{folder}: none of its files defines a class that is called like a BERT; name it: FILE:CLASS")


def classes_of(module):
    """Names of the classes of modules that a file defines, in its order."""
    from torch import nn

    return [
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == module.__name__
    ]


# ---- running a file that was not made to be imported


def source_of(path):
    """The Python text of a file; of a notebook, its cells. Lines of notebook magic are blank."""
    text = read_text(path)
    if path.suffix == ".ipynb":
        try:
            cells = json.loads(text)["cells"]
            cells = [cell["source"] for cell in cells if cell.get("cell_type") == "code"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: not a notebook") from None
        text = "\n".join("".join(cell) for cell in cells)
    try:
        ast.parse(text)
    except SyntaxError:
        return re.sub(r"(?m)^(\s*)[!%].*$", r"\1pass", text)
    return text


def run_file(path, definitions=False):
    """(module, notes): the module made by the statements of a file that can be run."""
    text = source_of(path)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise UserError(f"{path}: line {error.lineno}: {error.msg}: {(error.text or '').strip()}") from None
    module = new_module(path, tree)
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    notes, absent = [], Absent()
    with here_first(path.parent):
        for node in tree.body:
            if node in future or definitions and not is_definition(node):
                continue
            try:
                run_statement(ast.Module([*future, node], []), path, module, absent)
            except (Exception, SystemExit) as error:
                what = text.splitlines()[node.lineno - 1].strip()[:60]
                words = " ".join(str(error).split())[:120]
                notes.append(SKIPPED.format(node.lineno, what, type(error).__name__, words))
    if len(notes) > MOST_NOTES:
        notes[MOST_NOTES:] = [f"and {len(notes) - MOST_NOTES} more statements that do not run here"]
    if absent.names:
        notes.append(ABSENT + ", ".join(absent.names))
    return module, notes


def run_statement(tree, path, module, absent):
    """Run it in the module; libraries that are not installed are replaced by stand-ins, one after the other."""
    code = compile(tree, str(path), "exec")
    lost = set()
    while True:
        try:
            exec(code, vars(module))
            return
        except ModuleNotFoundError as error:
            if not absent.add(error):
                raise
        except NameError as error:  # a class whose default is a size that nobody knows here
            if not isinstance(tree.body[-1], (ast.ClassDef, ast.FunctionDef)) or not error.name or error.name in lost:
                raise
            lost.add(error.name)
            setattr(module, error.name, None)


def new_module(path, tree):
    """An empty module for the file, inside as many packages as its relative imports climb."""
    climbs = [node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    depth, package = max(climbs, default=0), ""
    for level in reversed(range(depth)):
        folder = path.parents[level]
        package = f"{package}.{folder.name}" if package else f"learners_{folder.name}"
        parent = sys.modules[package] = types.ModuleType(package)
        parent.__path__ = [str(folder)]
    name = f"{package}.{path.stem}" if package else f"learners_{path.stem}"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    module.__file__, module.__package__ = str(path), package
    return module


def is_definition(node):
    """Is it quick to run: an import, a function, a class, or a constant?"""
    if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
        return True
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        calls = [call for call in ast.walk(node.value) if isinstance(call, ast.Call)]
        return all(isinstance(call.func, ast.Name) and call.func.id[:1].isupper() for call in calls)
    return False


def neighbours_with(path, name):
    """[(file, class)]: this file and those beside it that define a class of this name, its own first."""
    found, own = [], Path(path).resolve()
    files = sorted(
        own.parent.glob("*.py"), key=lambda file: (file != own, not file.name.startswith("optim"), file.name)
    )
    for file in files:
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, OSError, ValueError):
            continue
        found += [(file, node.name) for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return found
