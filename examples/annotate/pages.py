"""HTML from rows: prose on the left, code on the right, without a script, for light and dark, narrow and wide."""

import html
import re
import textwrap

from reading import marks, uses
from style import STYLE

SHOWN_TESTS = 5  # of a function; more stand behind a fold
ARXIV = re.compile(r"\barXiv[ :](\d{4}\.\d{4,5})\b")
ACL = re.compile(r"\b(\d{4}\.[a-z]+(?:-[a-z]+)+\.\d+|[A-Z]\d{2}-\d{4})\b")
# A paper as a text names it: authors, then the year, perhaps the number; or a first author "et al." alone.
CITED = re.compile(
    r"([A-Z][\w-]+(?: and [A-Z][\w-]+| et al\.)?),? \(?(\d{4})\b(?:,? \(?arXiv (\d{4}\.\d{4,5}))?|([A-Z][\w-]+) et al\."
)
HOME = '<a href="index.html">all files</a>'
CODE = re.compile(r"`([^`\n]+)`")


class Site:
    """All that a page needs to know of the others.

    story: {file: Source} in reading order; about: {file: what one learns there}; rungs, tests: of `holding`.
    """

    def __init__(self, story, about, rungs, tests):
        self.story, self.about, self.rungs, self.tests = story, about, rungs, tests
        self.places, self.papers = {}, papers(story)
        for file, source in story.items():
            for name in source.definitions:
                self.places.setdefault(name, []).append(file)

    def pages(self):
        """{file name: HTML}."""
        made = {f"{name}.html": self.file_page(source) for name, source in self.story.items()}
        more = {"rungs.html": self.rungs_page(), "tests.html": self.tests_page()}
        return {"index.html": self.index_page()} | made | more

    # ---- pages

    def index_page(self):
        items = "".join(
            f'<li><a href="{name}.html">{name}.py</a><p>{self.inline(words)}</p></li>'
            for name, words in self.about.items()
        )
        held = {place for rung in self.rungs for place in rung.holds}
        tested = {place for test in self.tests for place in test.holds}
        count = sum("." not in name for source in self.story.values() for name in source.definitions)
        words = (
            f"{len(self.story)} files, each of which imports only what stands above it. Of the {count} names that they "
            f"define, {len(tested)} are held by tests and {len(held)} by rungs of the ladder. Each one's page says by "
            "which, and the code of every test stands on a page of its own."
        )
        return page("minibert, annotated", f'<p class="sub">{words}</p><ol class="contents">{items}</ol>'
                    '<p><a href="rungs.html">The rungs of the ladder</a> · <a href="tests.html">The tests</a></p>',
                    "")  # fmt: skip

    def file_page(self, source):
        used, coloured = uses(source, self.story), marks(source)
        names = list(self.story)
        place = names.index(source.name)
        around = [HOME]
        around += [f'<a href="{names[place - 1]}.html">← {names[place - 1]}.py</a>'] if place else []
        around += [f'<a href="{names[place + 1]}.html">{names[place + 1]}.py →</a>'] if place + 1 < len(names) else []
        rows = "".join(self.row(source, row, used, coloured) for row in source.rows)
        intro = f'<div class="intro">{self.prose(source.intro, source)}</div>'
        return page(f"{source.name}.py", f'{intro}<div class="rows">{rows}</div>', " · ".join(around))

    def rungs_page(self):
        items = "".join(
            f'<section id="{rung.name}"><h2>{escape(rung.title)}</h2><p>{self.cite(escape(rung.source))}</p>'
            f"<p>{self.holding(rung.holds)}</p><pre>python -m minibert.parity --explain {rung.name}</pre></section>"
            for rung in self.rungs
        )
        words = "What each rung asks, and what minibert answers it with (found in <code>parity/adapter.py</code>)."
        return page("The rungs of the ladder", f'<p class="sub">{words}</p>{items}', HOME)

    def tests_page(self):
        parts, file = [], None
        for test in self.tests:
            if test.file != file:
                file = test.file
                parts.append(f"<h2>tests/{file}</h2>")
            parts.append(
                f'<section class="test" id="{anchor(test)}"><h3>{escape(sentence(test.name))}</h3>'
                f"<p>line {test.line}, holds {self.holding(test.holds)}</p>"
                f"<details><summary>code</summary><pre>{escape(test.code)}</pre></details></section>"
            )
        words = "The tests that name something of the story, and what they name."
        return page("The tests", f'<p class="sub">{words}</p>{"".join(parts)}', HOME)

    def holding(self, places):
        links = [link(f"{file}.html#{name}", f"{file}.{name}") for file, name in places]
        return ", ".join(links) or "nothing of the story: PyTorch's own"

    # ---- rows

    def row(self, source, row, used, coloured):
        heading = f"<h2>{escape(row.heading[:1].upper() + row.heading[1:])}</h2>" if row.heading else ""
        title = f'<h3><a href="#{row.name}">{escape(row.name)}</a></h3>' if row.name else ""
        prose = "".join(self.prose(text, source) for text in row.prose)
        held = self.held_by(source.name, row.name) if row.name else ""
        lines = "".join(self.line(source, number, used, coloured) for number in row.code)
        code = f'<pre tabindex="0">{lines}</pre>' if lines else ""
        prose = f'<div class="prose">{heading}{title}{prose}{held}</div>'
        return f'<div class="row">{prose}<div class="code">{code}</div></div>'

    def held_by(self, file, name):
        """The rungs and the tests of a definition."""
        place = (file, name)
        rungs = [link(f"rungs.html#{rung.name}", rung.name) for rung in self.rungs if place in rung.holds]
        tests = [link(f"tests.html#{anchor(test)}", sentence(test.name)) for test in self.tests if place in test.holds]
        tests = [f"<li>{one}</li>" for one in tests]
        parts = [f"<p>rung: {', '.join(rungs)}</p>"] if rungs else []
        parts += [f"<ul>{''.join(tests[:SHOWN_TESTS])}</ul>"] if tests else []
        if len(tests) > SHOWN_TESTS:
            more = "".join(tests[SHOWN_TESTS:])
            parts.append(f"<details><summary>{len(tests) - SHOWN_TESTS} more tests</summary><ul>{more}</ul></details>")
        return f'<div class="held">{"".join(parts)}</div>' if parts else ""

    def line(self, source, number, used, coloured):
        """A line of code: its number, its colours, its links."""
        text = source.lines[number - 1]
        ids = "".join(f'<span id="{name}"></span>' for name, at in source.definitions.items() if at == number)
        links = {column: target for (line, column), target in used.items() if line == number}
        spans = {start: (end, kind) for start, end, kind in coloured.get(number, ())}
        parts, column = [], 0
        while column < len(text):
            if column in spans:
                end, kind = spans[column]
                parts.append(f'<span class="{kind}">{escape(text[column:end])}</span>')
            elif column in links:
                file, name = links[column]
                end = re.compile(r"\w+").match(text, column).end()
                page = "" if file == source.name else f"{file}.html"
                place = f"{page}#{name}" if name else page
                parts.append(f'<a href="{place}">{escape(text[column:end])}</a>')
            else:
                end = min([at for at in (*spans, *links) if at > column], default=len(text))
                parts.append(escape(text[column:end]))
            column = end
        return f'<span class="line" id="L{number}">{ids}<i>{number}</i>{"".join(parts)}\n</span>'

    # ---- prose

    def prose(self, text, source):
        """Paragraphs; what is indented, or has columns, keeps its lines; lines with a dash are a list."""
        parts = []
        for block in re.split(r"\n\s*\n", text.strip("\n")):
            for kind, lines in runs(block.split("\n")):
                if kind == "columns":
                    columns = textwrap.dedent("\n".join(lines))
                    parts.append(f"<pre>{self.inline(columns, source)}</pre>")
                elif kind == "list":
                    items = re.split(r"(?:^|\n)- ", "\n".join(lines))[1:]
                    parts.append(f"<ul>{''.join(f'<li>{self.inline(one, source)}</li>' for one in items)}</ul>")
                else:
                    parts.append(f"<p>{self.inline(' '.join(line.strip() for line in lines), source)}</p>")
        return "".join(parts)

    def inline(self, text, source=None):
        """Escaped text, with links from papers to their pages and from `names` to their definitions."""
        parts, end = [], 0
        for found in CODE.finditer(text):
            parts.append(self.cite(escape(text[end : found.start()])))
            target, words = self.target(found[1], source), f"<code>{escape(found[1])}</code>"
            parts.append(f'<a href="{target}">{words}</a>' if target else words)
            end = found.end()
        return "".join([*parts, self.cite(escape(text[end:]))])

    def target(self, words, source):
        """Where a name in prose leads: name, Class.method, file.name or file.py; None if nowhere, or to two places."""
        name = words.split("(")[0].strip().removeprefix("minibert.")
        file, _, inner = name.partition(".")
        if inner == "py" and file in self.story:
            return f"{file}.html"
        if file in self.story and inner in self.story[file].definitions:
            return f"{file}.html#{inner}"
        if source and name in source.definitions:
            return f"#{name}"
        if source and name in source.imported and source.imported[name][0] in self.story:
            module, there = source.imported[name]
            return f"{module}.html#{there}" if there in self.story[module].definitions else f"{module}.html"
        found = self.places.get(name, ())
        return f"{found[0]}.html#{name}" if len(found) == 1 else None

    def cite(self, text):
        """Links from what names a paper's number, and from the authors and year of a paper whose number is known."""

        def by_author(found):
            if found[4]:  # no year: enough where the story names one paper of theirs
                numbers = [number for (author, _), number in self.papers.items() if author == found[4]]
                number = numbers[0] if len(numbers) == 1 else None
            else:
                number = found[3] or self.papers.get((found[1].split(" ")[0], found[2]))
            return link(f"https://arxiv.org/abs/{number}", found[0]) if number else found[0]

        text = CITED.sub(by_author, text)
        text = text.replace("-&gt;", '<span class="arrow">-&gt;</span>')
        parts = re.split(r"(<a .*?</a>)", text)  # what is a link already stays as it is
        for i in range(0, len(parts), 2):
            parts[i] = ARXIV.sub(lambda found: link(f"https://arxiv.org/abs/{found[1]}", found[0]), parts[i])
            parts[i] = ACL.sub(lambda found: link(f"https://aclanthology.org/{found[1]}", found[0]), parts[i])
        return "".join(parts)


def papers(story):
    """{(first author, year): arXiv number} of the papers whose number some file gives."""
    found = {}
    for source in story.values():
        for author, year, number, _ in CITED.findall(" ".join(source.text.split())):
            if number:
                found[author.split(" ")[0], year] = number
    return found


def runs(lines):
    """[(kind, lines)]: neighbouring lines of one kind, which is "text", "list" or "columns"."""
    result = []
    for line in lines:
        if line.startswith("- ") or (result and result[-1][0] == "list" and line.startswith("  ")):
            kind = "list"
        else:
            kind = "columns" if line.startswith("  ") or re.search(r"\S {3,}\S", line) else "text"
        if result and result[-1][0] == kind:
            result[-1][1].append(line)
        else:
            result.append((kind, [line]))
    return result


def sentence(name):
    return name.removeprefix("test_").replace("_", " ")


def anchor(test):
    return f"{test.file.removesuffix('.py')}.{test.name}"


def link(address, words):
    return f'<a href="{address}">{words}</a>'


def escape(text):
    return html.escape(text, quote=False)


def page(title, body, around):
    nav = f"<nav>{around}</nav>" if around else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.strip()}</style></head>\n<body><header>{nav}"
        f"<h1>{escape(title)}</h1></header>\n<main>{body}</main>\n</body></html>\n"
    )
