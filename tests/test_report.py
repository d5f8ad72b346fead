"""The page of a run: one function from a plain record, the same words as report.md, and safe whatever the data hold."""

import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from example_runs import make_features, make_run, make_task, some_texts

from minibert import load_tokenizer
from minibert.report import compact_json, markdown, page, pictures, tables, write_data_report, write_report
from minibert.report.gather import gather, roc_curve
from minibert.report.gather_errors import interval
from minibert.report.legible import columns, fit, left, legible, right

HOSTILE = [
    '<script>alert("x")</script>', "<img src=x onerror=alert(1)>", "</title></style></svg><b>", "&amp; &lt;",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467", "\u05e9\u05dc\u05d5\u05dd \u202eevil\u202c",
    "a\u0301\u0301\u0301\u0301\u0301\u0301\u0301", "\x1b[31mred\x1b[0m \x07\x00", "``` `code` ```",
    "| a | b |\n# heading\n- list",
    "[link](javascript:alert(1)) ![x](http://example.com/x.png)", "x" * 100_000, "word " * 20_000,
    "{curly} %s {0}", "\ud800half",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("minibert-tiny")


def record_of(folder, tokenizer, task, features=True, **more):
    job, results = make_run(folder, tokenizer, task, **more)
    return gather(job, results, make_features(task) if features else None)[0]


def hostile_texts(count, seed):
    texts = [text.replace("\ud800", "\ufffd") for text in HOSTILE]  # a tokenizer takes no half characters
    return [f"{texts[i % len(texts)]} {seed}x{i}" for i in range(count)]


class Reader(HTMLParser):
    """What a browser would see: tags that are not closed or not ours, and attributes that load something."""

    VOID = {"meta", "rect", "line", "circle", "path", "polyline"}
    KNOWN = VOID | set(
        "html head title style body header main footer nav section h1 h2 h3 p a ul li div figure figcaption "
        "details summary table thead tbody tr th td svg desc text g b span bdi code pre".split()
    )

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.problems, self.tags = [], [], [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag not in self.KNOWN:
            self.problems.append(f"tag {tag}")
        for name, value in attributes:
            if name.startswith("on") or name in ("src", "action", "formaction", "xlink:href"):
                self.problems.append(f"{tag} {name}={value}")
            if name == "href" and not value.startswith("#"):
                self.problems.append(f"{tag} href={value}")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"closing {tag}")

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)


def read(text):
    reader = Reader(text)
    assert reader.problems == [] and reader.open == []
    return reader


def written(folder, tokenizer, task, capsys, features=True, **more):
    job, results = make_run(folder, tokenizer, task, **more)
    capsys.readouterr()
    write_report(job, results, make_features(task) if features else None)
    return capsys.readouterr().out


# The record and the page


def test_the_page_is_a_function_of_metrics_json(tokenizer, tmp_path, capsys):
    written(tmp_path, tokenizer, make_task(groups=True), capsys, seeds=(0, 1))
    record = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert page.render_run(record) == (tmp_path / "report.html").read_text(encoding="utf-8")
    assert markdown.render_run(record) == (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "kind",
    [{}, {"mode": "frozen"}, {"mode": "finetune"}, {"seeds": (0, 1, 2)}, {"names": list("abcde")}, {"pairs": True},
     {"names": [f"class {i}" for i in range(50)], "sizes": (500, 200, 300)}, {"groups": True},
     {"names": [f"class {i}" for i in range(80)], "sizes": (500, 200, 300)}],
    ids=["two classes", "frozen only", "fine-tuned only", "three seeds", "five classes", "pairs", "fifty classes",
         "groups", "eighty classes"],
)  # fmt: skip
def test_every_kind_of_run_has_a_whole_page(kind, tokenizer, tmp_path, capsys):
    task = make_task(**{key: kind[key] for key in ("names", "pairs", "sizes", "groups") if key in kind})
    more = {key: kind[key] for key in ("mode", "seeds") if key in kind}
    printed = written(tmp_path, tokenizer, task, capsys, kind.get("mode") != "finetune", **more)
    reader = read((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "14 checks" in printed or "could not be made" in printed
    svg = re.findall(r"<svg.*?</svg>", (tmp_path / "report.html").read_text(encoding="utf-8"), re.S)
    assert len(svg) >= 12
    assert all(re.match(r'<svg role="img"[^>]*><title>.+?</title><desc>.+?</desc>', one) for one in svg)
    assert "nan" not in " ".join(svg).lower()
    assert reader.tags["details"] >= len(svg)  # each has its numbers in a table
    assert max(columns(line) for line in printed.splitlines() if not line.startswith("saved in")) <= 80


def test_html_and_markdown_say_the_same_words(tokenizer, tmp_path):
    record = record_of(tmp_path, tokenizer, make_task())
    html, text = " ".join(read(page.render_run(record)).words), markdown.render_run(record)
    for sentence in record["answer"] + [one["sentence"] for one in record["checks"]]:
        assert sentence in html
        assert markdown.escape(sentence) in text
    for title in ("ROC curves", "Loss by epoch", "Reliability, frozen", "Length by class"):
        assert title in html and title in text


def test_the_page_asks_nobody_for_anything(tokenizer, tmp_path):
    text = page.render_run(record_of(tmp_path, tokenizer, make_task()))
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    for forbidden in ("<script", "http:", "https:", "url(", "@import", "<link", "<img", "<iframe"):
        assert forbidden not in text
    assert "prefers-color-scheme:dark" in text and "@media print" in text and 'lang="en"' in text


def test_the_answer_names_the_winner_and_its_interval(tokenizer, tmp_path):
    task = make_task((200, 60, 400))
    first = record_of(tmp_path / "a", tokenizer, task, skills=(1.0, 1.0, 3.0))["answer"][0]
    assert first.startswith("The fine-tuned encoder wins") and "95% interval" in first
    second = record_of(tmp_path / "b", tokenizer, task, skills=(3.0, 1.0, 1.0))["answer"][0]
    assert second.startswith("The bag of words wins")
    third = record_of(tmp_path / "c", tokenizer, task, skills=(2.0, 2.0, 2.0))["answer"][0]
    assert third.startswith("No clear winner")


def test_a_figure_in_doubt_is_shown_with_the_doubt(tokenizer, tmp_path):
    record = record_of(tmp_path, tokenizer, make_task((200, 60, 400)), sure=4.0)
    top = page.render_run(record).split("<section")[1]
    assert "found something" in top and "calibration" in top


def test_several_seeds_are_thin_lines_and_their_mean(tokenizer, tmp_path):
    text = page.render_run(record_of(tmp_path, tokenizer, make_task(), seeds=(0, 1, 2)))
    loss = text[text.index("Training loss by update") :].split("</svg>")[0]
    assert loss.count('class="thin"') == 3 and loss.count('class="curve"') == 1
    assert "±" in text


def test_many_classes_leave_the_picture_and_are_stored_as_cells(tokenizer, tmp_path, capsys):
    names = [f"class {i}" for i in range(80)]
    printed = written(tmp_path, tokenizer, make_task((800, 400, 800), names), capsys)
    record = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    stored = record["rows"]["finetuned"]["confusion"]
    assert stored["classes"] == 80 and sum(n for _, _, n in stored["cells"]) == 800
    assert "Confusion, fine-tuned</h3>" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.search(r"and [\d,]+ other pairs", printed)


# Whatever the data hold


def test_hostile_texts_and_labels_are_escaped_cut_and_legible(tokenizer, tmp_path, capsys):
    names = [text.replace("\ud800", "\ufffd").strip() or "empty" for text in HOSTILE]
    task = make_task((150, 60, 90), names, hostile_texts, pairs=True, groups=True)
    task = replace(task, test=replace(task.test, groups=[names[i % 5] for i in range(90)]))
    printed = written(tmp_path, tokenizer, task, capsys)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    words = "".join(read(text).words)
    assert '<script>alert("x")</script>' in words and "<script" not in text  # shown, not run
    for made in (text, (tmp_path / "report.md").read_text(encoding="utf-8"), printed):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", made)
        assert "x" * 1000 not in made
    assert len(text) < 400_000
    assert max(columns(line) for line in printed.splitlines() if not line.startswith("saved in")) <= 80


def test_labels_cannot_break_the_markdown(tokenizer, tmp_path):
    names = ["``` `code` ```", "| a | b |\n# heading\n- list", "[x](http://example.com)", "<b>"]
    text = markdown.render_run(record_of(tmp_path, tokenizer, make_task((80, 40, 60), names)))
    assert "\n# heading" not in text and "[x](http" not in text and "<b>" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(widths) == 1, table
    assert "```" not in text.replace("\\`", "")


def test_data_that_look_like_an_explanation_stay_text():
    case = {"id": "1", "text": "a b", "gold": "x", "predicted": "y", "p_predicted": 0.9, "p_gold": 0.1,
            "words": [["<b>", 1.0], ["b", -0.5], ["c", 0.01]]}  # fmt: skip
    shown = page.render_case(case)
    assert "&lt;b&gt;" in shown and "<b>&" not in shown
    assert shown.count("color-mix") == 2


def test_the_words_that_decided_are_shown_where_they_are_known(tokenizer, tmp_path):
    job, results = make_run(tmp_path, tokenizer, make_task())
    plain = gather(job, results)[0]
    assert all(one["words"] is None for one in plain["errors"]["losses"]) and "color-mix" not in page.render_run(plain)
    texts = enumerate(job.task.test.texts)
    explained = {i: [[f" {word}", 1.0 if word == "film" else 0.01] for word in text.split() * 20] for i, text in texts}
    record = gather(job, results, explained=explained)[0]
    assert all(0 < len(one["words"]) <= 91 for one in record["errors"]["losses"])
    assert "color-mix" in page.render_run(record)


@pytest.mark.parametrize("text", HOSTILE)
def test_legible_text_is_one_short_line(text):
    shown = legible(text, 60)
    assert len(shown) <= 60 and "\n" not in shown and "\x1b" not in shown
    assert legible(text[:50], 300) == legible(text[:50], 60)[:300]


def test_long_texts_keep_their_beginning_and_their_end():
    shown = legible("first " + "middle " * 1000 + "last", 100)
    assert shown.startswith("first") and shown.endswith("last") and "…" in shown


@pytest.mark.parametrize("text", ["plain", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8", "e\u0301e\u0301", ""])
def test_columns_line_up_for_any_alphabet(text):
    assert columns(left(text, 12)) == columns(right(text, 12)) == 12
    assert columns(fit(text, 5)) <= 5


# Size and time


def test_twenty_five_thousand_test_texts_make_a_page_in_five_seconds_and_400_kilobytes(tokenizer, tmp_path):
    task = make_task((20_000, 5_000, 25_000), texts=lambda count, seed: some_texts(50, seed) * (count // 50))
    record = record_of(tmp_path, tokenizer, task, features=False, mode="finetune")
    started = time.process_time()
    text = page.render_run(record)
    assert time.process_time() - started < 5
    assert len(text.encode()) < 400_000


# Pictures and numbers


def test_ticks_are_round_and_hold_the_values():
    assert pictures.nice_step(0, 1) == 0.2
    for values in ([3.2, 9.7], [0.001, 0.0042], [5], [1, 2, 3], [-0.5, 12_345.0]):
        (low, high), ticks = pictures._range(values, None, whole=all(isinstance(one, int) for one in values))
        assert low <= min(values) and high >= max(values) and 1 <= len(ticks) <= 12
    assert pictures._range([1, 2, 3], None, whole=True)[1] == [1, 2, 3]


def test_a_bar_is_as_long_as_its_value():
    drawn = pictures.bars("t", "d", ["a", "b"], [{"name": "", "colour": "c-1", "values": [0.5, 1.0]}], high=1)
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', drawn)]
    assert widths[1] == pytest.approx(2 * widths[0], rel=1e-2)


def test_the_roc_curve_of_a_small_example_by_hand():
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])
    curve = roc_curve(labels, np.stack([1 - scores, scores], 1))
    assert np.interp([0, 0.25, 0.49, 0.51, 1], curve["x"], curve["y"]) == pytest.approx([0.5, 0.5, 0.5, 1, 1], abs=0.6)
    assert curve["x"][0] == 0 and curve["y"][-1] == 1 and sorted(curve["y"]) == curve["y"]


def test_the_interval_is_wilsons():
    low, high = interval(8, 10)  # the textbook example
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert interval(10, 10)[1] == pytest.approx(1.0) and interval(0, 10)[0] == pytest.approx(0.0)


def test_lists_of_numbers_stand_on_one_line():
    value = {"a": [1, 2, 3], "b": [[1, 2], [3, 4]], "c": {"d": []}, "e": [{"f": "\u00e9"}], "g": {}}
    text = compact_json.dump(value)
    assert json.loads(text) == value
    assert '"a": [1, 2, 3]' in text and "\u00e9" in text


@pytest.mark.parametrize("classes", [2, 5, 12, 60])
def test_confusion_fits_eighty_columns(classes):
    counts = np.random.default_rng(0).integers(0, 2000, (classes, classes)).tolist()
    text = tables.confusion_table(counts, [f"a label with a long name {i}" for i in range(classes)])
    assert max(map(columns, text.splitlines())) <= 80


# The data alone


def test_explore_tells_of_the_data_and_writes_a_page(tokenizer, tmp_path, capsys):
    task = make_task((300, 80, 120), names=("no", "yes", "per`haps"))
    sequences = {
        part: tokenizer.encode(getattr(task, part).texts, None, 16) for part in ("train", "validation", "test")
    }
    write_data_report(task, sequences, tokenizer, 16, "head", "a/model", tmp_path)
    printed = capsys.readouterr().out
    assert "8 checks" in printed and "saved in" in printed
    assert max(columns(line) for line in printed.splitlines() if not line.startswith("saved in")) <= 80
    read((tmp_path / "data.html").read_text(encoding="utf-8"))
    record = json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))
    assert record["data"]["sizes"] == {"train": 300, "validation": 80, "test": 120}
    used = next(one for one in record["data"]["cut"] if one["limit"] == 16)
    whole = [len(pieces) + 2 for pieces in tokenizer.pieces(task.train.texts)]
    assert used["texts"] == pytest.approx(np.mean([length > 16 for length in whole]))
    assert record["data"]["lengths"]["parts"]["train"]["longest"] == max(whole)
