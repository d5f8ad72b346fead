"""No code comes from data: the package's source is searched for every call that would run what a file says, or unpack
an archive wherever the archive likes.

The one place that runs a file is the ladder, whose purpose is to run the learner's own program.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "minibert"
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "code", "codeop"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {"extractall", "extract", "unpack_archive", "load_module"}
CALLS = {"os.system", "os.popen", "torch.load", "torch.hub.load", "torch.jit.load", "np.load", "numpy.load"}
ALLOWED = {"parity/module/find.py": {"compile", "exec"}}  # the learner's own file, which the learner names
KEYWORDS = {"trust_remote_code", "allow_pickle", "shell"}


def dotted(node):
    """`a.b.c` of an expression that is one, else ""."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def is_false(node):
    """Whether an expression is `False`."""
    return isinstance(node, ast.Constant) and node.value is False


def refuses_pickle(call):
    """Whether a call says `allow_pickle=False`."""
    return any(keyword.arg == "allow_pickle" and is_false(keyword.value) for keyword in call.keywords)


def forbidden(source):
    """(line, what) of everything in a Python source that could run or unpack data."""
    tree = ast.parse(source)
    harmless = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and refuses_pickle(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
            yield from ((node.lineno, f"import {name}") for name in names if name in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] in MODULES:
            yield node.lineno, f"from {node.module} import"
        elif isinstance(node, ast.Name) and node.id in BUILTINS:
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and (node.attr in METHODS or dotted(node) in CALLS):
            if id(node) not in harmless:
                yield node.lineno, dotted(node) or node.attr
        elif isinstance(node, ast.keyword) and node.arg in KEYWORDS and not is_false(node.value):
            yield node.value.lineno, node.arg


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_file_of_the_package_runs_or_unpacks_data(path):
    allowed = ALLOWED.get(path.relative_to(PACKAGE).as_posix(), ())
    assert [found for found in forbidden(path.read_text(encoding="utf-8")) if found[1] not in allowed] == []


@pytest.mark.parametrize(
    "source, what",
    [
        ("import pickle", "import pickle"),
        ("from joblib import load", "from joblib import"),
        ("x = eval('1')", "eval"),
        ("f = exec", "exec"),
        ("torch.load(path)", "torch.load"),
        ("np.load(path)", "np.load"),
        ("load(path, allow_pickle=True)", "allow_pickle"),
        ("from_pretrained(name, trust_remote_code=True)", "trust_remote_code"),
        ("tarfile.open(path).extractall()", "extractall"),
        ("subprocess.run(text, shell=True)", "shell"),
        ("os.system(text)", "os.system"),
    ],
)
def test_the_search_finds_what_it_is_for(source, what):
    assert [found.lstrip(".") for _, found in forbidden(source)] == [what]


def test_what_only_looks_like_it_is_left_alone():
    source = "re.compile('x')\nmodel.eval()\nmodel.compile()\nmodel.load_state_dict(x)\nnp.load(x, allow_pickle=False)"
    assert list(forbidden(source)) == []


def test_what_is_asked_of_the_hub_holds_no_code_and_no_pickle():
    from minibert.plumbing.checkpoint import HUB_FILES

    assert {name.rsplit(".", 1)[1] for name in HUB_FILES} == {"json", "safetensors", "txt"}
