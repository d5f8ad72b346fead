"""A source file, read for the page that it becomes: prose and code side by side, and where each name is defined.

Docstrings, and comments that have lines of their own, are the prose; everything else is code, untouched. `tokenize`
tells the two apart and gives the code its colours; `ast` knows what is defined and what is used where. Nothing is
imported or run.
"""

import ast
import builtins
import io
import keyword
import re
import tokenize
from dataclasses import dataclass, field

HEADING = re.compile(r"# ---- (.*)")
TABLE = re.compile(r"\S {3,}\S|^# {3,}")  # a comment with columns belongs to the table below it, not to the prose


@dataclass
class Row:
    """A piece of prose and the code that it is about."""

    heading: str = ""  # of a part of the file
    prose: list = field(default_factory=list)  # texts: a comment, a docstring
    code: list = field(default_factory=list)  # numbers of lines
    name: str = ""  # what is defined here: a function, a class, a method as Class.method


class Source:
    """One file of the story."""

    def __init__(self, name, text):
        self.name, self.text = name, text
        self.lines = text.splitlines()
        self.tree = ast.parse(text)
        self.intro = ast.get_docstring(self.tree) or ""
        self.definitions = definitions(self.tree)  # name -> its line
        self.imported = imported(self.tree)  # name here -> (module, name there, or None: the module itself)
        self.rows = rows(self)


def definitions(tree):
    """{name: line} of functions, classes, methods (Class.method) and constants at a file's top."""
    found = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node.lineno
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    found[f"{node.name}.{inner.name}"] = inner.lineno
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, node.lineno)
    return found


def imported(tree, places=()):
    """{name here: (module, name there or None)} of what comes from minibert itself, imported at the top or later.

    places: {name: module} of what `import minibert` offers.
    """
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or "").removeprefix("minibert").strip(".")
            if not node.level and not (node.module or "").startswith("minibert"):
                continue
            for alias in node.names:
                here = alias.asname or alias.name
                if not module and alias.name in places:
                    found[here] = (places[alias.name], alias.name)
                else:
                    found[here] = (module, alias.name) if module else (alias.name, None)
    return found


# ---- rows


def rows(source):
    """The file as `Row`s, in its order. The docstring of the file is its intro and stands in none of them."""
    heads, hidden, nested = outline(source)
    prose = {number: text for number, text in comments(source).items() if number not in nested}
    result = [Row()]

    def row():
        """The row to which prose, or a definition, goes: the last one as long as it waits for its code."""
        if result[-1].code:
            result.append(Row())
        return result[-1]

    for number, line in enumerate(source.lines, 1):
        if number in hidden:
            continue
        if number in prose:
            add_comment(row(), prose[number], goes_on=number - 1 in prose)
            continue
        if number in heads:
            found = row()
            found.name, docstring = heads[number]
            found.prose += [docstring] if docstring else []
        elif not line.strip() and source.lines[number : number + 1] == [""]:
            row()  # two empty lines: another thing begins
        if line.strip() or result[-1].code:
            result[-1].code.append(number)
    for row in result:
        while row.code and not source.lines[row.code[-1] - 1].strip():
            row.code.pop()
    return [row for row in result if row.code or row.prose or row.heading]


def add_comment(row, text, goes_on):
    """goes_on: the line before is a comment, too; then both are one text."""
    heading = HEADING.fullmatch(text)
    if heading:
        row.heading = heading[1]
    elif goes_on and row.prose:
        row.prose[-1] += "\n" + text.removeprefix("# ").removeprefix("#")
    else:
        row.prose.append(text.removeprefix("# ").removeprefix("#"))


def outline(source):
    """({first line of a definition: (name, docstring)}, lines of docstrings, lines inside brackets)."""
    heads, hidden = {}, set()

    def visit(node, outer):
        for inner in node.body:
            if isinstance(inner, (ast.FunctionDef, ast.ClassDef)):
                name = f"{outer}.{inner.name}" if outer else inner.name
                first = min([inner.lineno, *(one.lineno for one in inner.decorator_list)])
                if outer is not None:
                    heads[first] = (name, ast.get_docstring(inner))
                hide(inner)
                visit(inner, inner.name if isinstance(inner, ast.ClassDef) else None)

    def hide(node):
        if ast.get_docstring(node) is not None:
            hidden.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))

    hide(source.tree)
    visit(source.tree, "")
    return heads, hidden, bracketed(source.text)


def tokens(text):
    return tokenize.generate_tokens(io.StringIO(text).readline)


def bracketed(text):
    """Numbers of the lines that begin inside brackets, where a comment cannot be lifted out of the code."""
    found, depth, line = set(), 0, 0
    for token in tokens(text):
        if token.start[0] != line and depth:
            found.add(token.start[0])
        line = token.start[0]
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
    return found


def comments(source):
    """{line: comment} of the comments that have a line of their own, but for headings of tables."""
    found = {}
    for token in tokens(source.text):
        alone = token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()
        if alone and (HEADING.fullmatch(token.string) or not TABLE.search(token.string)):
            found[token.start[0]] = token.string
    return found


# ---- colours and links


def marks(source):
    """{line: [(start column, end, kind)]} of keywords, strings and comments, and of what is defined."""
    found = {}

    def mark(first, last, kind):
        for number in range(first[0], last[0] + 1):
            start = first[1] if number == first[0] else 0
            end = last[1] if number == last[0] else len(source.lines[number - 1])
            found.setdefault(number, []).append((start, end, kind))

    before = ""
    for token in tokens(source.text):
        name = tokenize.tok_name[token.type]
        if name == "COMMENT":
            mark(token.start, token.end, "comment")
        elif name == "STRING" or name.startswith("FSTRING"):
            mark(token.start, token.end, "string")
        elif name == "NAME" and keyword.iskeyword(token.string):
            mark(token.start, token.end, "keyword")
        elif name == "NAME" and before in ("def", "class"):
            mark(token.start, token.end, "defined")
        before = token.string
    return found


def uses(source, story):
    """{(line, column): (file, name)}: what the names in the code lead to, among the definitions of these files.

    story: {file: Source}. A name that is a function's own, because it is a parameter or is assigned there, leads
    nowhere, though a definition may be called the same.
    """
    found = {}

    def place(node, column):
        before = source.lines[node.lineno - 1].encode()[:column]  # ast counts bytes
        return node.lineno, len(before.decode())

    def visit(node, own, inside):
        if isinstance(node, ast.JoinedStr):  # before Python 3.12, nobody knows where in an f-string a name stands
            return
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            own = own | own_names(node)
        if isinstance(node, ast.ClassDef):
            inside = node.name
        if isinstance(node, ast.Name) and node.id not in own:
            target = resolve(source, story, node.id)
            if target and isinstance(node.ctx, ast.Load):
                found[place(node, node.col_offset)] = target
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in own - {"self"}:
            target = resolve(source, story, node.value.id, node.attr, inside)
            if target:
                found[place(node, node.end_col_offset - len(node.attr))] = target
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                target = resolve(source, story, alias.asname or alias.name)
                if target:
                    found[place(alias, alias.col_offset)] = target
        for child in ast.iter_child_nodes(node):
            visit(child, own, inside)

    visit(source.tree, frozenset(), "")
    return found


def own_names(function):
    """Names that belong to a function: parameters, and whatever it assigns, imports and nested functions aside."""
    arguments = function.args
    names = {one.arg for one in [*arguments.args, *arguments.kwonlyargs, *arguments.posonlyargs]}
    names |= {one.arg for one in (arguments.vararg, arguments.kwarg) if one}
    return frozenset(names | {node.id for node in ast.walk(function)
                              if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)})  # fmt: skip


def resolve(source, story, name, attribute=None, inside=""):
    """(file, name) of the definition that a name, or name.attribute, stands for, or None. `inside`: the class."""
    if attribute is not None:
        if name == "self" and f"{inside}.{attribute}" in source.definitions:
            return source.name, f"{inside}.{attribute}"
        module, there = source.imported.get(name, (None, None))
        if there is None and module in story and attribute in story[module].definitions:
            return module, attribute
        return None
    if name in source.imported:
        module, there = source.imported[name]
        if module in story:
            return (module, "") if there is None else (module, there) if there in story[module].definitions else None
        return None
    return (source.name, name) if name in source.definitions and not hasattr(builtins, name) else None
