"""Labels that would break a report, a table or a terminal: a whole run, and everything that it leaves and prints."""

import contextlib
import csv
import html.parser
import io
import json
import re

import pytest
from bad_input import SHAPE, save_tiny

from minibert import finetune, predict
from minibert.plumbing.files import csv_text
from minibert.text_classifier import load_classifier

LABELS = [
    "a, b", 'say "no"', "two\nlines", "😀 happy", "x" * 300, "=1+1", "```", "<blink>no</blink>", "a|b", "../up", "nan",
    "`", "[x](javascript:alert(1))", "\x1b[31mred", "label", "-7", "\u202eback", "1e5", "_em_", "&lt;",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(the folder of a run over all of LABELS, what it printed)."""
    place = tmp_path_factory.mktemp("hostile")
    model = save_tiny(place / "model", {"model_type": "distilbert", **SHAPE})
    with open(place / "mine.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows([f"good a {i}", LABELS[i % len(LABELS)]] for i in range(10 * len(LABELS)))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIBERT_CACHE", str(place / "cache"))
        finetune.main([str(place / "mine.csv"), "--model", str(model), "--max-length", "16", "--epochs", "1",
                       "--pooling", "cls", "--head", "linear", "--device", "cpu", "--precision", "fp32",
                       "--output", str(place / "run")])  # fmt: skip
    return place / "run", printed.getvalue()


def is_shown_safely(text):
    """No control characters but line ends, and nothing that turns the writing round."""
    return all(line.replace("\t", " ").isprintable() for line in text.split("\n"))


def test_the_terminal_gets_no_control_characters(run):
    assert is_shown_safely(run[1])


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_the_reports_hold_no_control_characters(name, run):
    assert is_shown_safely((run[0] / name).read_text(encoding="utf-8"))


def test_the_tables_of_the_markdown_report_keep_their_columns(run):
    lines = (run[0] / "report.md").read_text(encoding="utf-8").split("\n")
    width = 0
    tables = 0
    for line in lines:
        cells = len(re.findall(r"(?<!\\)\|", line))  # a bar without a backslash ends a cell
        if not line.startswith("|"):
            width = 0
            continue
        assert line.endswith("|")
        tables += not width
        width = width or cells
        assert cells == width, line
    assert tables >= 3


def test_no_label_opens_a_block_of_code_a_link_or_a_tag_in_markdown(run):
    text = (run[0] / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"^\s*```", text, re.MULTILINE)
    assert not re.search(r"(?<!\\)\[x(?<!\\)\]\(javascript", text)
    assert "<blink>" not in text


class Tags(html.parser.HTMLParser):
    """Collects the tags, links and texts of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text = set(), [], []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name in ("href", "src", "onclick") and value]

    def handle_data(self, data):
        self.text.append(data)


def test_labels_are_text_and_nothing_else_in_the_page(run):
    page = Tags()
    page.feed((run[0] / "report.html").read_text(encoding="utf-8"))
    text = "".join(page.text)
    assert "<blink>no</blink>" in text and "=1+1" in text and "a|b" in text and "&lt;" in text
    assert not [link for link in page.links if "javascript" in link]
    assert "blink" not in page.tags


def test_the_labels_themselves_are_kept_as_they_are(run):
    assert load_classifier(run[0]).label_names == sorted(LABELS)


def test_predictions_are_a_table_that_reads_back(run):
    with open(run[0] / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {2 + 2 * (1 + len(LABELS))}
    assert {row[1] for row in rows[1:]} == {csv_text(label) for label in LABELS}
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]


@pytest.mark.parametrize(
    "text, cell",
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+cmd", "'+cmd"), ("-2+3", "'-2+3"), ("\t=1", "'\t=1"),
        ("-7", "-7"), ("+1.5", "+1.5"), ("-1,5", "-1,5"), ("plain", "plain"), ("a=b", "a=b"), ("", ""), ("'=1", "'=1"),
    ],
)  # fmt: skip
def test_a_text_that_a_spreadsheet_would_run_has_an_apostrophe_in_front(text, cell):
    assert csv_text(text) == cell


def test_predict_prints_a_line_for_each_text_whatever_its_label_is_called(run, tmp_path, capsys):
    """The classifier is given labels that are all hostile, so that whichever it predicts is."""
    folder = run[0] / "finetuned"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    copy = tmp_path / "hostile"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config["id2label"] = {str(i): f"=\x1b\n{i}" for i in range(len(LABELS))}
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    predict.main([str(copy), "good", "bad a"])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2 and is_shown_safely(out)
    predict.main([str(copy), "=1+1", "bad a", "--format", "csv"])
    table = list(csv.reader(capsys.readouterr().out.splitlines(keepends=True)))
    assert [row[0] for row in table[1:]] == ["'=1+1", "bad a"]
    assert all(row[1].startswith("'=") for row in table[1:])
