"""Which rung of the ladder, and which test, holds a function: found in the sources, not in a list that could grow old.

A rung holds what minibert's own answer to it uses: `parity/adapter.py` has a function for each rung, and what that
function names, itself or through a helper of the same file, is what the rung judges. A helper that serves more than
MACHINERY rungs puts weights into modules for all of them, and says nothing about one.

A test holds what it names: the functions and classes that stand in its own body. Where no test names one itself, those
tests count that name it through a helper or a fixture of their file.
"""

import ast
from dataclasses import dataclass, field

from reading import imported, own_names

MACHINERY = 4


@dataclass
class Rung:
    """One rung: its name, title and source as rungs.py has them."""

    name: str
    title: str
    source: str
    holds: list = field(default_factory=list)  # [(file, name)]


@dataclass
class Test:
    """One test function."""

    file: str
    name: str
    line: int
    code: str
    holds: list = field(default_factory=list)


class Functions:
    """The functions of a file, and what each of them names."""

    def __init__(self, text, story, places=()):
        tree = ast.parse(text)
        self.imported, self.story = imported(tree, places), story
        self.nodes = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self.direct = {name: self.named(node) for name, node in self.nodes.items()}

    def named(self, function):
        """(what of the story a function names, the functions of its own file that it names or takes as fixtures)."""
        found, helpers, parameters = set(), set(), {one.arg for one in function.args.args}
        own = own_names(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module, there = self.imported.get(node.value.id, (None, None))
                if there is None and module in self.story and node.attr in self.story[module].definitions:
                    found.add((module, node.attr))
            elif isinstance(node, ast.Name) and node.id not in own:
                module, there = self.imported.get(node.id, (None, None))
                if module in self.story and there in self.story[module].definitions:
                    found.add((module, there))
                if node.id in self.nodes:
                    helpers.add(node.id)
        return found, (helpers | (parameters & set(self.nodes))) - {function.name}

    def reached(self, name, through=lambda helper: True):
        """What a function names itself or through helpers."""
        found, seen, waiting = set(), set(), [name]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                found |= self.direct[one][0]
                waiting += [helper for helper in self.direct[one][1] if through(helper)]
        return found


def find_rungs(rungs_text, adapter_text, story):
    """[Rung] in the ladder's order."""
    rungs = []
    for node in ast.walk(ast.parse(rungs_text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Rung":
            rungs.append((node.lineno, Rung(*(one.value for one in node.args[:3]))))
    rungs = [rung for _, rung in sorted(rungs, key=lambda pair: pair[0])]
    answers = Functions(adapter_text, story)
    serves = {}
    for rung in rungs:
        for helper in answers.direct[rung.name][1]:
            serves[helper] = serves.get(helper, 0) + 1
    for rung in rungs:
        held = answers.reached(rung.name, lambda helper: serves.get(helper, MACHINERY + 1) <= MACHINERY)
        rung.holds = sorted(held)
    return rungs


def find_tests(files, story, places):
    """[Test] that hold something, from {file name: text}; places: as `reading.imported` takes them."""
    direct, through = [], []
    for file, text in sorted(files.items()):
        functions = Functions(text, story, places)
        lines = text.splitlines()
        for name, node in functions.nodes.items():
            if name.startswith("test_"):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                code = "\n".join(lines[first - 1 : node.end_lineno])
                direct.append((Test(file, name, first, code), functions.direct[name][0]))
                through.append(functions.reached(name))
    named = set().union(*(held for _, held in direct)) if direct else set()
    for (test, held), reached in zip(direct, through, strict=True):
        test.holds = sorted(held | (reached - named))
    return [test for test, _ in direct if test.holds]
