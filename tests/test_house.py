"""How the house is built, as tests: the story's order, the wings' doors, and who may write a file."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minibert
from minibert import finetune

PACKAGE = Path(minibert.__file__).parent
README = PACKAGE.parent / "README.md"

STORY = (
    "config", "model", "head", "batch", "tokenizer", "names", "load", "metrics", "optim", "evaluate", "train",
    "baselines", "frozen", "explain", "job", "experiment", "recipes", "sweep", "finetune", "text_classifier",
    "serve", "predict", "trace_checks", "trace", "explore", "export",
)  # fmt: skip
WINGS = ("data", "fast", "report", "distill", "parity", "plumbing")


def module_name(path):
    """minibert/data/task.py -> data.task; a package is called by its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
STORY = tuple(name for name in STORY if name in FILES)


def imports(name):
    """The modules of the package that a file imports, at its top or later: {module: names taken from it}."""
    found = {}
    package = name.split(".") if FILES[name].name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - (node.level - 1)]
        target = ".".join([*base, *(node.module.split(".") if node.module else [])])
        for alias in node.names:
            inner = f"{target}.{alias.name}".strip(".")
            if inner in FILES:
                found.setdefault(inner, set())
            elif target:
                found.setdefault(target, set()).add(alias.name)
    return found


def test_every_file_at_the_top_belongs_to_the_story_and_every_folder_is_a_wing():
    top = {name for name in FILES if "." not in name and name} - set(WINGS)
    assert top == set(STORY)
    assert {name.split(".")[0] for name in FILES if "." in name} == set(WINGS)


@pytest.mark.parametrize("name", STORY)
def test_a_file_of_the_story_imports_only_what_stands_above_it_and_wings_through_their_doors(name):
    above = set(STORY[: STORY.index(name)])
    for module in imports(name):
        wing, _, inside = module.partition(".")
        if wing == "plumbing":
            continue  # by name: a reader may skip it
        through_door = wing in WINGS and (not inside or inside in importlib.import_module(f"minibert.{wing}").__all__)
        assert module in above or through_door, f"{name}.py imports {module}"


def test_the_model_needs_torch_and_the_standard_library_alone():
    assert set(imports("model")) <= {"config"}
    text = FILES["model"].read_text(encoding="utf-8")
    assert "autocast" not in text and "--" not in text.replace("---", "")


def test_the_loop_knows_nothing_about_bert():
    reached, waiting = set(), ["train"]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += [other for other in imports(module) if other]
    assert not reached & {"config", "model", "head", "tokenizer", "names", "load", "fast"}


def test_plumbing_imports_no_story_and_no_other_wing():
    for name in FILES:
        if name.startswith("plumbing"):
            assert all(module.startswith("plumbing") for module in imports(name)), name


def test_the_ladder_imports_no_model_code_but_in_its_adapter():
    allowed = {"names"}  # which tensor goes where: of a checkpoint whose figures are stored
    for name in FILES:
        if name.startswith("parity") and name != "parity.adapter":
            outside = {module for module in imports(name) if not module.startswith(("parity", "plumbing"))}
            assert outside <= allowed, (name, outside)


def test_there_is_no_circle():
    arrows = {name: [module for module in imports(name) if module != name] for name in FILES}
    done, path = set(), []

    def walk(name):
        assert name not in path, " -> ".join([*path, name])
        if name in done:
            return
        path.append(name)
        for module in arrows[name]:
            walk(module)
        path.pop()
        done.add(name)

    for name in FILES:
        walk(name)


WRITES = re.compile(r"""\bopen\([^)\n]*["'][wax]b?\+?["']|\.write_(?:text|bytes)\(|\bsave_file\(""")


def test_only_plumbing_and_data_open_a_file_for_writing():
    for name, path in FILES.items():
        if not name.startswith(("plumbing", "data")):
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if WRITES.search(line)]
            assert not lines, (name, lines)


def test_no_function_has_to_be_scrolled_through():
    long = {}
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno - node.lineno >= 50:
                long[f"{name}.{node.name}"] = node.end_lineno - node.lineno + 1
    assert not long


def test_readme_reads_the_story_in_this_order():
    linked = re.findall(r"\]\(minibert/(\w+)\.py\)", README.read_text(encoding="utf-8"))
    order = list(dict.fromkeys(linked))
    assert order == list(STORY)


def test_every_public_name_of_the_package_can_be_had():
    assert all(getattr(minibert, name) is not None for name in minibert.__all__)


@pytest.mark.parametrize("command", ["finetune", "predict", "distill", "parity", "explore", "trace", "export"])
def test_help_answers_without_pytorch(command):
    code = (
        "import sys; sys.modules['torch'] = None; import runpy; sys.argv = ['x', '--help']; "
        f"runpy.run_module('minibert.{command}', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m minibert.{command}")


def test_the_command_line_offers_what_the_code_has():
    from minibert.head import HEADS, NATIVE, POOLINGS
    from minibert.plumbing.device import PRECISIONS
    from minibert.tokenizer import TRUNCATIONS

    parsed = finetune.parse(["reviews"])
    for flag, choices in (("pooling", POOLINGS), ("truncation", TRUNCATIONS), ("head", ("linear", "mlp", "native")),
                          ("precision", ("auto", *PRECISIONS))):  # fmt: skip
        for choice in choices:
            assert getattr(finetune.parse(["reviews", f"--{flag}", choice]), flag) == choice
        with pytest.raises(minibert.UserError, match=re.escape(", ".join(map(repr, choices)))):
            finetune.parse(["reviews", f"--{flag}", "nothing"])
    assert parsed.task == "reviews"
    assert set(HEADS) == {"linear", "mlp"} | {head for _, head in NATIVE.values()}  # `native` offers the others


def test_a_wheel_holds_every_folder_of_the_package():
    text = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    listed = set(re.findall(r'"([\w.]+)"', re.search(r"packages = \[(.*?)\]", text, re.S)[1]))
    folders = {path.parent.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("__init__.py")}
    assert listed == {folder.replace("/", ".") for folder in folders} | {"minibert.weights"}
