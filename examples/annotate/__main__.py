"""The story of minibert as annotated pages: `python examples/annotate` writes site/index.html and what it leads to.

Code stands on the right and prose, which is its docstrings and comments, on the left, in the order in which README.md
reads the files. Names lead to their definitions, papers to their pages, and each function to the rungs and the tests
that hold it (`holding.py` says how that is known). Everything is read from the sources with the standard library:
nothing is imported or run, and the same sources give the same bytes.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

from holding import find_rungs, find_tests
from pages import Site
from reading import Source

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| \[`(\w+)\.py`\]\(minibert/\w+\.py\) \| (.*?) \|$", re.MULTILINE)


def read_story(root):
    """({file: what one learns there} in README.md's order, {file: Source})."""
    about = {}
    for name, words in ROW.findall((root / "README.md").read_text(encoding="utf-8")):
        about.setdefault(name, words)
    if not about:
        raise ValueError("README.md has no table of files such as | [`config.py`](minibert/config.py) | ... |")
    return about, {name: Source(name, read(root / f"minibert/{name}.py")) for name in about}


def read(path):
    return path.read_text(encoding="utf-8")


def public_names(root):
    """{name: file} of what `import minibert` offers: the literal PLACES of minibert/__init__.py."""
    for node in ast.parse(read(root / "minibert/__init__.py")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "PLACES":
            return ast.literal_eval(node.value)
    return {}


def build(root=ROOT):
    """{file name: HTML} of the whole site."""
    about, story = read_story(root)
    parity = root / "minibert/parity"
    rungs = find_rungs(read(parity / "rungs.py"), read(parity / "adapter.py"), story)
    files = {path.name: read(path) for path in sorted((root / "tests").glob("test_*.py"))}
    return Site(story, about, rungs, find_tests(files, story, public_names(root))).pages()


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python examples/annotate", description="The story as annotated pages.")
    parser.add_argument("--output", default="site", metavar="FOLDER", help="where to write them (default: site)")
    folder = Path(parser.parse_args(argv).output)
    pages = build()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}; choose another folder with --output", file=sys.stderr)
        return 2
    print(f"{len(pages)} pages; begin with {folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
