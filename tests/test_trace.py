"""`python -m minibert.trace`: the numbers are the model's, the lines are the source's, the checks can fail, and the
page is safe whatever the text holds.
"""

import html
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from bad_input import contents
from conftest import copy_checkpoint
from test_report import HOSTILE, Reader
from tiny import FAMILIES, dropout_config, families

from minibert import explain, head, load_tokenizer, model, trace, trace_checks
from minibert.config import EncoderConfig
from minibert.load import load_encoder, put_head, read_classifier, save_classifier
from minibert.model import Encoder, initialize
from minibert.plumbing.files import UserError
from minibert.report.trace_page import render_trace

TEXT, PAIR = "The film was fine, really good!", "a dull story"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """{family: folder of a classifier of 6 classes}."""
    root = tmp_path_factory.mktemp("trace")
    return {family: copy_checkpoint(family, root / family) for family in FAMILIES}


def asked(*arguments):
    """The record of a command line."""
    return trace.trace_of(trace.parse([str(argument) for argument in arguments]))


class TraceReader(Reader):
    KNOWN = Reader.KNOWN | {"use", "defs"}


def read(page):
    reader = TraceReader(page)
    assert reader.problems == [] and reader.open == []
    return " ".join(reader.words)


# The numbers are the model's


@families
@pytest.mark.parametrize("pair", [None, PAIR])
def test_what_is_shown_is_what_the_model_computes(folders, family, pair):
    record = asked(TEXT, "--model", folders[family], *(["--pair", pair] if pair else []))
    fast, plain = (read_classifier(folders[family], way)[0] for way in (True, False))
    batch = load_tokenizer(folders[family])([TEXT], pair and [pair])
    with torch.no_grad():
        states, attentions = plain.encoder(*batch, return_all=True, return_attention=True)
        logits = fast(*batch)[0]
    assert [one["id"] for one in record["pieces"]] == batch.input_ids[0].tolist()
    assert len(record["layers"]) == len(attentions) == len(states) - 1
    for layer, probabilities, before, after in zip(record["layers"], attentions, states, states[1:], strict=False):
        assert torch.tensor(layer["attention"]).equal(probabilities[0])
        assert layer["enters"] == pytest.approx(before[0].norm(dim=-1).tolist())
        assert layer["leaves"] == pytest.approx(after[0].norm(dim=-1).tolist())
    assert record["head"]["logits"] == pytest.approx(logits.tolist(), abs=1e-5)
    assert record["head"]["probabilities"] == pytest.approx(logits.softmax(0).tolist(), abs=1e-5)
    assert record["words"]["logit"] == pytest.approx(max(logits.tolist()), abs=1e-5)
    assert all(one["difference"] <= one["allowed"] for one in record["checks"])
    assert 0 < max(one["difference"] for one in record["checks"]) < 1e-4


def test_positions_and_types_are_those_under_which_the_model_looked():
    shown = {}
    for family in FAMILIES:
        torch.manual_seed(0)
        encoder = Encoder(dropout_config(family)).eval()
        backend = SimpleNamespace(id_to_token=str)
        batch = torch.tensor([[2, 5, 6, 3]]), torch.ones(1, 4, dtype=torch.long), torch.tensor([[0, 0, 1, 1]])
        batch = batch[:2] + (torch.zeros_like(batch[2]),) if family == "roberta" else batch
        with torch.no_grad(), trace.listening(encoder=encoder) as calls:
            encoder(*batch)
        pieces = trace.pieces_of(calls, None, SimpleNamespace(backend=backend))
        shown[family] = [(one["position"], one["type"]) for one in pieces]
    pad = dropout_config("roberta").pad_token_id
    assert shown["bert"] == shown["electra"] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert shown["distilbert"] == [(i, None) for i in range(4)]
    assert shown["roberta"] == [(pad + 1 + i, 0) for i in range(4)]


@pytest.mark.parametrize("pooling", head.POOLINGS)
@pytest.mark.parametrize("name", head.HEADS)
def test_every_pooling_and_head_adds_up_and_names_its_lines(pooling, name, tiny_bert, tmp_path):
    classifier = put_head(load_encoder(tiny_bert, fast=False), ["no", "yes"], pooling, name)
    record = trace.trace(classifier.eval(), load_tokenizer(tiny_bert), TEXT)
    assert all(one["difference"] <= one["allowed"] for one in record["checks"]) and len(record["checks"]) == 12
    wanted = {"cls": "hidden[:, 0]", "mean": "weights.sum", "pooler": "torch.tanh(self.dense"}[pooling]
    assert wanted in record["lines"]["pooling"]["code"]
    assert "self.output(" in record["lines"]["logits"]["code"] and ("dense" in record["lines"]) == (name != "linear")


def test_an_encoder_ends_at_the_pooled_vector_and_the_page_says_what_would_follow(folders):
    record = asked(TEXT, "--model", "minibert-tiny")
    encoder, batch = load_encoder("minibert-tiny"), load_tokenizer("minibert-tiny")([TEXT])
    with torch.no_grad():
        first = encoder(*batch)[0, 0]
    assert record["head"] is None and record["words"] is None
    assert record["pooling"]["vector"] == pytest.approx(first[: trace.FEATURES].tolist(), abs=1e-4)
    words = read(render_trace(record))
    assert "A classifier would go on" in words and "Words that decided" not in words


# The lines are the source's


def test_the_lines_are_those_of_the_source_and_do_what_is_said(folders):
    lines = asked(TEXT, "--model", folders["bert"])["lines"]
    files = {Path(module.__file__).name: Path(module.__file__).read_text().splitlines() for module in (model, head)}
    for one in lines.values():
        assert one["code"] and files[one["file"]][one["line"] - 1].strip() == one["code"]
    for what, code in {
        "word": "self.word(input_ids) + self.position(positions)", "token type": "+ self.token_type(token_type_ids)",
        "embeddings norm": "self.norm(hidden)", "query": "self.query(hidden)", "key": "self.key(hidden)",
        "value": "self.value(hidden)", "scores": "@ key.transpose", "softmax": "softmax", "context": "@ value",
        "attention output": "self.output(context)", "layer": "layer(hidden, mask)",
        "attention": "self.attention(hidden, mask)", "attention norm": "hidden + self.attention_dropout(attended)",
        "feed-forward": "self.activation(self.expand(hidden))", "feed-forward norm": "self.feed_forward_norm(hidden +",
        "pooling": "torch.tanh(self.dense(hidden[:, 0]))", "logits": "self.output(self.dropout(pooled))",
    }.items():  # fmt: skip
        assert code in lines[what]["code"], what


def test_a_line_that_is_not_found_once_is_an_error():
    for words in ("hidden", "nowhere"):
        with pytest.raises(ValueError, match="pool has"):
            trace.line_with(head.pool, words)


def test_the_hooks_are_gone_afterwards(folders):
    classifier, _ = read_classifier(folders["bert"], fast=False)
    trace.trace(classifier, load_tokenizer(folders["bert"]), TEXT)
    assert not any(module._forward_hooks for module in classifier.modules())


# The checks can fail


def add(name, kind="given"):
    """Change one number of what a call was given, or answered, by a hundredth."""

    def tamper(calls):
        value = getattr(calls[name], kind)
        value = value[0] if isinstance(value, tuple) else value
        value.flatten()[1] += 0.01  # a view: the note itself changes

    return tamper


TAMPERINGS = {
    "listening changes nothing": add("head"),
    "are the sum": add("encoder.embeddings.position"),
    "LayerNorm of the sum": add("encoder.embeddings.norm", "given"),
    "sums to 1": lambda calls: calls["encoder.layers.1.attention"].given[1].mul_(1.01),
    "softmax(query key": lambda calls: calls["encoder.layers.1.attention.query"].given.mul_(2),
    "weights times the values": lambda calls: calls["encoder.layers.0.attention.value"].given.mul_(1.1),
    "what enters + what": add("encoder.layers.1.feed_forward"),
    "LayerNorm of each sum": add("encoder.layers.0.attention_norm"),
    "where the one before ended": lambda calls: setattr(
        calls["encoder.layers.1"], "taken", calls["encoder.layers.1"].taken + 0.01
    ),
    "the pooled vector": lambda calls: setattr(calls["head"], "taken", calls["head"].taken * 1.01),
    "the logits": add("head"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_number_that_is_not_the_models_fails_its_check(name, folders, monkeypatch, tmp_path, capsys):
    listening = trace.listening

    class Tampered:
        """`listening`, and at its end one note is changed."""

        def __init__(self, **parts):
            self.inner = listening(**parts)

        def __enter__(self):
            self.calls = self.inner.__enter__()
            return self.calls

        def __exit__(self, *error):
            TAMPERINGS[name]({key: detached(call) for key, call in self.calls.items()})
            return self.inner.__exit__(*error)

    def detached(call):  # LayerNorm's answer and the next layer's input are one tensor: here each note has its own
        copies = tuple(one.clone() for one in call.given) if isinstance(call.given, tuple) else call.given.clone()
        call.taken, call.given = call.taken.clone(), copies
        return call

    monkeypatch.setattr(trace, "listening", Tampered)
    page = tmp_path / "page.html"
    assert trace.main([TEXT, "--model", str(folders["bert"]), "--output", str(page)]) == 1
    assert "checks failed" in capsys.readouterr().out
    failed = re.findall(r'<li class="found">.*?<h3>(.*?)<span>', page.read_text())
    assert any(name in html.unescape(one) for one in failed)
    assert "not to be trusted" in page.read_text()


def test_nan_is_a_difference():
    found = trace_checks.compared("x", [(torch.tensor([float("nan")]), torch.ones(1))])
    assert not found["difference"] <= found["allowed"]


# The page


@families
def test_the_page_is_whole_and_keeps_to_itself(folders, family):
    record = asked(TEXT, "--pair", PAIR, "--model", folders[family])
    page = render_trace(record)
    words = read(page)
    assert "<script" not in page and "http" not in re.sub(r'http-equiv="', "", page)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    for i, label in enumerate(record["head"]["labels"]):
        assert label in words and f"{record['head']['logits'][i]:+.4f}" in words
    for one in record["pieces"]:
        assert f"{one['id']} · {one['position']}" in words
    for one in record["lines"].values():
        if one["file"] == "model.py":
            assert f"{one['file']}, line {one['line']}" in words
    assert len(re.findall('<g id="cells-', page)) == sum(len(layer["attention"]) for layer in record["layers"])


def test_the_sums_on_the_page_can_be_added_up_by_its_reader(folders):
    page = render_trace(asked(TEXT, "--model", folders["bert"]))
    rows = re.findall(r'<tr><th scope="row">(word|position|token type|sum)</th>(.*?)</tr>', page)[:4]
    vectors = {name: [float(cell) for cell in re.findall("<td>(.*?)</td>", cells)] for name, cells in rows}
    for total, *parts in zip(
        vectors["sum"], *(vectors[key] for key in ("word", "position", "token type")), strict=True
    ):
        assert total == pytest.approx(sum(parts), abs=2e-4)
    section = page[page.index('id="head-and-logits"') : page.index('id="words-that-decided"')]
    logits = re.findall(r"<td>([-+]\d+\.\d{4})</td><td>([-+]\d+\.\d{4})</td><td>([-+]\d+\.\d{4})</td>", section)
    assert len(logits) == 6
    for products, bias, logit in logits:
        assert float(logit) == pytest.approx(float(products) + float(bias), abs=2e-4)


def test_a_cell_is_as_dark_as_the_root_of_its_weight():
    from minibert.report.trace_pictures import head_map

    drawn = head_map([[1.0, 0.0, 0.0], [0.25, 0.25, 0.5], [0.0, 0.0, 1.0]], "layer 1, head 1")
    levels = dict(reversed(pair) for pair in re.findall(r'<path d="([^"]+)" stroke-opacity="([\d.]+)"', drawn))
    assert levels == {"1.0": "M0 0h1M2 2h1", "0.5": "M0 1h2", "0.7": "M2 1h1"}


@pytest.mark.parametrize("text", HOSTILE[:-1], ids=range(len(HOSTILE) - 1))
def test_a_hostile_text_stays_text(text, folders):
    record = asked(text, "--pair", text, "--model", folders["bert"])
    record["model"], record["head"]["labels"][0], record["words"]["label"] = text, text, text
    page = render_trace(record)
    words = read(page)
    assert "\x1b" not in page and "\u202e" not in page
    assert len(words) < 60_000


def test_a_long_text_is_cut_and_the_page_says_so(folders):
    record = asked("good film " * 500, "--model", "minibert-tiny", "--max-length", "12")
    assert len(record["pieces"]) == 12 and record["whole"] == 1002
    assert "has 1,002 pieces" in read(render_trace(record)) and "given the 12 above" in read(render_trace(record))
    short = render_trace(asked("good film", "--model", "minibert-tiny"))
    assert "was given the" not in short


def test_a_large_model_makes_a_page_under_two_megabytes(folders):
    torch.manual_seed(0)
    shape = dict(hidden_size=48, num_hidden_layers=12, num_attention_heads=12, intermediate_size=48)
    encoder = Encoder(EncoderConfig("bert", 200, max_position_embeddings=64, **shape), has_pooler=False).eval()
    initialize(encoder, 0.5)
    record = trace.trace(encoder, load_tokenizer(folders["bert"]), "film good " * 50, max_length=64)
    record |= {"text": "x", "pair": None, "model": "x", "model_type": "bert", "layer_count": 12, "head_count": 12,
               "width": 48, "windows": 1, "single": False}  # fmt: skip
    page = render_trace(record)
    assert len(record["pieces"]) == 64 and len(page.encode()) < 2e6
    assert len(re.findall(r'<figure id="layer-\d+-head-\d+"', page)) == 144


def test_a_model_without_layers_has_a_page(folders):
    encoder = Encoder(EncoderConfig("distilbert", 200, 6, 0, 1, 1, 16, type_vocab_size=0)).eval()
    record = trace.trace(encoder, load_tokenizer(folders["bert"]), "film")
    record |= {"text": "x", "pair": None, "model": "x", "model_type": "distilbert", "layer_count": 0, "head_count": 1,
               "width": 6, "windows": 1, "single": False}  # fmt: skip
    assert "Attention" not in read(render_trace(record))


def test_the_marks_on_pieces_and_the_types_are_explained_where_they_occur(folders):
    pages = {family: read(render_trace(asked("goodness film", "--model", folders[family]))) for family in FAMILIES}
    pair = read(render_trace(asked("good", "--pair", "film", "--model", folders["bert"])))
    assert "##" in pages["bert"] and "goes on with the word before it" in pages["bert"]
    assert "\u0120 stands for a space" in pages["roberta"] and "\u0120 stands" not in pages["bert"]
    assert "its type" not in pages["distilbert"] and "1 for the second" not in pages["bert"]
    assert "its type: 0 for the first text, 1 for the second." in pair


# The command


def test_the_command_writes_one_page_in_place_of_an_older_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trace.html").write_text("old")
    assert trace.main(["a fine film"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["trace.html"]
    assert "a fine film" in (tmp_path / "trace.html").read_text()
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "trace.html: 5 pieces through 5 layers of 12 heads"
    assert printed[1].startswith("The parts add up: 10 checks, the largest difference is ")


def test_a_runs_folder_leads_to_its_fine_tuned_classifier(tiny_bert, tmp_path):
    classifier, _ = read_classifier(tiny_bert)
    for part, names in (("finetuned", "abcdef"), ("frozen", "uvwxyz")):
        classifier.label_names = list(names)
        save_classifier(classifier, tmp_path / "run" / part, {"max_length": 7, "windows": 3, "pairs": False})
        load_tokenizer(tiny_bert).save(tmp_path / "run" / part)
    record = asked(TEXT, "--pair", PAIR, "--model", tmp_path / "run")
    assert record["head"]["labels"] == list("abcdef") and len(record["pieces"]) == 7
    words = read(render_trace(record))
    assert "in up to 3 windows" in words and "learned from single texts" in words


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["  "], "the text is empty; type a sentence"),
        (["x", "--pair", ""], "--pair is empty; type a sentence"),
        (["x", "--max-length", "4"], "4 is out of range (at least 5, at most 64)"),
        (["x", "--model", "no/where/at/all"], "no/where/at/all"),
        (["\udcff"], "cannot read a text"),
        ([], "the following arguments are required: text"),
    ],
)
def test_what_cannot_be_traced_is_one_line_and_leaves_nothing(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError) as caught:
        trace.main(arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert contents(tmp_path) == {}


def test_a_classifier_of_pairs_wants_the_second_text(tiny_bert, tmp_path):
    classifier, _ = read_classifier(tiny_bert)
    save_classifier(classifier, tmp_path / "pairs", {"pairs": True})
    load_tokenizer(tiny_bert).save(tmp_path / "pairs")
    with pytest.raises(UserError, match="reads pairs of texts; give the second one with --pair"):
        asked(TEXT, "--model", tmp_path / "pairs")
    assert asked(TEXT, "--pair", PAIR, "--model", tmp_path / "pairs")["words"]["pair_words"]


def test_a_page_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        trace.main(["a fine film", "--output", str(tmp_path)])


def test_the_words_are_those_of_explain(folders):
    record = asked(TEXT, "--model", folders["electra"])
    classifier, _ = read_classifier(folders["electra"], fast=False)
    [expected] = explain.explain(classifier, load_tokenizer(folders["electra"]), [TEXT], max_length=48)
    assert record["words"] == expected
    words = read(render_trace(record))
    for _, share, *_ in expected["words"]:
        assert f"{share:+.4f}" in words
