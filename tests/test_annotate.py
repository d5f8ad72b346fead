"""examples/annotate: every link leads somewhere, nothing of a source is lost, the same sources give the same bytes."""

import html
import io
import os
import re
import subprocess
import sys
import tokenize
from html.parser import HTMLParser
from pathlib import Path

import pytest
from programs import load_program
from test_page_in_a_browser import browser  # noqa: F401 (a fixture)

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "annotate"
VOID = {"meta", "br"}


@pytest.fixture(scope="module")
def annotate():
    """The command's module; its neighbours are imported by name, as when Python runs the folder."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield load_program(FOLDER / "__main__.py")
    finally:
        sys.path.remove(str(FOLDER))
        for name in ("reading", "holding", "pages", "style"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def pages(annotate):
    return annotate.build()


@pytest.fixture(scope="module")
def story(annotate):
    return annotate.read_story(ROOT)[1]


class Reader(HTMLParser):
    """Tags that are not closed, ids, links, and whatever could run or be fetched."""

    def __init__(self, text):
        super().__init__()
        self.open, self.problems, self.ids, self.links = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ("script", "iframe", "img", "link", "form") or any(name.startswith("on") for name in attributes):
            self.problems.append(f"{tag} {attributes}")
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if tag == "a" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"closing {tag}")


def lines_of(page):
    """{number: text} of the code that a page shows."""
    found = re.findall(r'<span class="line" id="L(\d+)">(?:<span id="[^"]*"></span>)*<i>\d+</i>(.*?)\n</span>', page)
    return {int(number): html.unescape(re.sub("<[^>]+>", "", text)) for number, text in found}


def row_of(page, name):
    """The HTML of the row that defines a name."""
    rows = page.split('<div class="row">')
    [row] = [one for one in rows if f'<h3><a href="#{name}">' in one]
    return row


def test_there_is_a_page_for_each_file_of_the_story_in_its_order(pages, story):
    assert set(pages) == {"index.html", "rungs.html", "tests.html"} | {f"{name}.html" for name in story}
    linked = re.findall(r'<li><a href="(\w+)\.html">', pages["index.html"])
    assert linked == list(story)
    assert linked[:3] == ["config", "model", "head"]
    for before, after in zip(linked, linked[1:], strict=False):
        assert f'<a href="{after}.html">{after}.py →</a>' in pages[f"{before}.html"]
        assert f'<a href="{before}.html">← {before}.py</a>' in pages[f"{after}.html"]


def test_every_page_is_well_formed_and_every_link_leads_somewhere(pages):
    read = {name: Reader(text) for name, text in pages.items()}
    count = 0
    for name, reader in read.items():
        assert reader.problems == [] and reader.open == [], name
        assert len(reader.ids) == len(set(reader.ids)), name
        for link in reader.links:
            if link.startswith("http"):
                assert re.fullmatch(r"https://(arxiv\.org/abs/\d{4}\.\d{4,5}|aclanthology\.org/[\w.-]+)", link)
                continue
            page, _, place = link.partition("#")
            assert (page or name) in read, (name, link)
            assert not place or place in read[page or name].ids, (name, link)
            count += 1
    assert count > 2000


def test_nothing_of_a_file_is_lost(pages, story):
    """Each line that holds code is shown as it is; what is not shown stands in docstrings and comments, as prose."""
    for name, source in story.items():
        page, shown = pages[f"{name}.html"], lines_of(pages[f"{name}.html"])
        assert all(source.lines[number - 1] == line for number, line in shown.items()), name
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
            if token.type in (tokenize.NAME, tokenize.OP, tokenize.NUMBER):
                assert token.start[0] in shown, (name, token)
        words = re.findall(r"\w+", html.unescape(re.sub("<[^>]+>", " ", page)).lower())
        hidden = [line for number, line in enumerate(source.lines, 1) if number not in shown]
        assert set(re.findall(r"\w+", " ".join(hidden).lower())) <= set(words), name


def test_every_definition_is_a_place_on_its_page(pages, story):
    for name, source in story.items():
        assert set(source.definitions) <= set(Reader(pages[f"{name}.html"]).ids), name


def test_names_lead_to_their_definitions_across_files(pages):
    assert '<a href="#Embeddings">Embeddings</a>(config)' in pages["model.html"]
    assert 'self.<a href="#Attention.attend">attend</a>(' in pages["model.html"]
    assert '<a href="model.html#Encoder">Encoder</a>' in pages["load.html"]
    assert '<a href="head.html#Classifier">Classifier</a>(' in pages["load.html"]


def test_a_name_that_a_function_has_for_itself_leads_nowhere(annotate):
    from reading import Source, uses

    text = "def size(x):\n    return x\n\n\ndef one(size):\n    return size\n\n\ndef two(x):\n    return size(x=size)\n"
    source = Source("some", text)
    assert sorted(uses(source, {"some": source})) == [(10, 11), (10, 18)]


def test_comments_and_docstrings_are_prose_and_tables_stay_code(annotate):
    from reading import Source

    text = '''"""Intro."""

#   name     what
TABLE = (
    # inside
    1,
)


# ---- a part


# Why it
# is so.
@cached
def f(x):
    """What it does."""
    a = 1  # beside

    # A step.
    return a
'''
    rows = [(row.heading, row.prose, row.code, row.name) for row in Source("some", text).rows]
    assert rows == [
        ("", [], [3, 4, 5, 6, 7], ""),
        ("a part", ["Why it\nis so.", "What it does."], [15, 16, 18], "f"),
        ("", ["A step."], [21], ""),
    ]


# Papers


def test_papers_are_links_where_the_story_names_their_number(pages):
    assert '<a href="https://arxiv.org/abs/1703.01365">' in pages["explain.html"]
    assert '<a href="https://arxiv.org/abs/1711.05101">Loshchilov and Hutter 2019 (arXiv' in pages["optim.html"]
    assert '<a href="https://arxiv.org/abs/1706.03762">Vaswani et al. 2017, arXiv 1706.03762</a>' in pages["model.html"]
    # Named elsewhere by authors and year, or by authors alone: the number is known from the file that gives it.
    assert '<a href="https://arxiv.org/abs/1706.03762">Vaswani et al.</a>, section 3.2' in pages["model.html"]
    assert '<a href="https://arxiv.org/abs/1810.04805">Devlin et al. 2019</a>' in pages["rungs.html"]
    assert "Jain and Wallace 2019)" in pages["explain.html"]  # no file gives its number


# Rungs and tests


def test_functions_lead_to_the_rungs_and_the_tests_that_hold_them(pages):
    attention = row_of(pages["model.html"], "Attention")
    assert '<a href="rungs.html#multi_head_attention">' in attention and '"rungs.html#feed_forward"' not in attention
    assert '<a href="rungs.html#adamw">' in row_of(pages["optim.html"], "AdamW")
    assert '<a href="rungs.html#mean_pooling">' in row_of(pages["head.html"], "pool")
    assert '<a href="tests.html#test_metrics.' in row_of(pages["metrics.html"], "roc_auc")
    assert "rungs.html" not in row_of(pages["train.html"], "train")
    # `shape` makes a config for a dozen rungs: those that name EncoderConfig themselves hold it, the others do not.
    config = row_of(pages["config.html"], "EncoderConfig")
    assert "#attention_probabilities" in config and "#bert_encoder" not in config


def test_every_rung_of_the_ladder_is_on_its_page(pages):
    from minibert.parity.rungs import RUNGS

    assert re.findall(r'<section id="(\w+)">', pages["rungs.html"]) == [rung.name for rung in RUNGS]


def test_a_rung_holds_what_its_answer_names_itself_or_through_a_helper_of_few(annotate):
    from holding import find_rungs
    from reading import Source

    story = {"model": Source("model", "def f(): pass\ndef g(): pass\ndef h(): pass\n")}
    rungs = "".join(f'Rung("r{i}", "title", "source")\n' for i in range(6))
    answers = "from ..model import f, g, h\n\ndef few():\n    f()\n\ndef many():\n    g()\n\n"
    answers += "".join(f"def r{i}():\n    many()\n" for i in range(5)) + "def r5():\n    few()\n    h()\n"
    found = {rung.name: rung.holds for rung in find_rungs(rungs, answers, story)}
    assert found == {f"r{i}": [] for i in range(5)} | {"r5": [("model", "f"), ("model", "h")]}


def test_a_test_holds_what_it_names_and_through_helpers_only_what_no_test_names(annotate):
    from holding import find_tests
    from reading import Source

    story = {"model": Source("model", "def f(): pass\ndef g(): pass\ndef h(): pass\ndef k(): pass\n")}
    text = (
        "from minibert import model, k\nfrom minibert.model import f\n\ndef helper():\n    f()\n    model.g()\n\n"
        "def test_a():\n    f()\n\ndef test_b(helper):\n    pass\n\ndef test_c(f):\n    f()\n\ndef test_d():\n    k()\n"
    )
    found = {test.name: test.holds for test in find_tests({"test_x.py": text}, story, {"k": "model"})}
    assert found == {"test_a": [("model", "f")], "test_b": [("model", "g")], "test_d": [("model", "k")]}


# The command


def run(*arguments, **environment):
    command = [sys.executable, FOLDER, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def test_the_command_writes_the_same_bytes_every_time(pages, tmp_path):
    """A process with other hashes, and so with other orders of sets, writes what this one has made."""
    done = run("--output", tmp_path / "new" / "site", PYTHONHASHSEED="7")
    assert done.returncode == 0 and done.stdout.startswith(f"{len(pages)} pages; begin with ")
    written = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "new" / "site").iterdir()}
    assert written == pages


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "taken").write_text("")
    done = run("--output", tmp_path / "taken")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert str(tmp_path / "taken") in done.stderr and "--output" in done.stderr


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_prose_stands_beside_the_code_or_above_it_where_it_is_narrow(width, scheme, browser, pages, tmp_path):  # noqa: F811
    for name in ("model.html", "index.html", "tests.html"):
        (tmp_path / name).write_text(pages[name], encoding="utf-8")
        view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        messages, requests = [], []
        view.on("console", lambda message, messages=messages: messages.append(message.text))
        view.on("request", lambda request, requests=requests: requests.append(request.url))
        view.goto((tmp_path / name).as_uri())
        assert messages == [] and requests == [(tmp_path / name).as_uri()]
        assert view.evaluate("document.documentElement.scrollWidth") <= width
        background = view.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness = sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(","))) / 3
        assert lightness > 200 if scheme == "light" else lightness < 60
        if name == "model.html":
            boxes = view.evaluate(
                "[...document.querySelectorAll('.row')].map(row => [...row.children].map(one => {"
                "const box = one.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom]}))"
            )
            for prose, code in boxes:
                assert prose[3] <= code[1] + 1 if width == 400 else prose[2] <= code[0]
        view.close()
