"""New text with a finished classifier: from Python, and through the command."""

import csv
import io
import json

import pytest
import torch

import minibert
from minibert import predict
from minibert.load import load_tokenizer, read_classifier, save_classifier
from minibert.plumbing.files import UserError

TEXTS = ["the film was fine", "a dull story", "good"]


@pytest.fixture
def run(tiny_bert, tmp_path):
    """A run's folder with a fine-tuned classifier of six classes in it."""
    classifier, _ = read_classifier(tiny_bert)
    save_classifier(classifier, tmp_path / "run" / "finetuned", {"max_length": 7, "truncation": "tail"})
    load_tokenizer(tiny_bert).save(tmp_path / "run" / "finetuned")
    return tmp_path / "run"


def expected(folder, texts):
    """The labels by way of the parts, one text at a time."""
    classifier, _ = read_classifier(folder)
    tokenizer = load_tokenizer(folder)
    with torch.no_grad():
        best = [classifier(*tokenizer([text], max_length=7, truncation="tail")).argmax().item() for text in texts]
    return [classifier.label_names[i] for i in best]


def test_texts_get_the_label_that_the_parts_give_in_their_order(run):
    classifier = minibert.load_classifier(run)
    assert classifier.predict(TEXTS) == expected(run / "finetuned", TEXTS)
    assert classifier.predict([]) == []


def test_a_run_is_read_with_its_own_limits(run):
    classifier = minibert.load_classifier(run)
    assert (classifier.max_length, classifier.truncation) == (7, "tail")
    longer = "film " * 30 + "good"
    assert classifier.predict([longer]) == expected(run / "finetuned", [longer])


@pytest.mark.parametrize("source", ["arguments", "file", "standard input"])
def test_the_command_reads_texts_from_three_places(run, tmp_path, monkeypatch, capsys, source):
    arguments = [str(run)]
    if source == "arguments":
        arguments += TEXTS
    elif source == "file":
        (tmp_path / "texts.txt").write_text("\n\n".join(TEXTS) + "\n", encoding="utf-8")
        arguments += ["--file", str(tmp_path / "texts.txt")]
    else:
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(TEXTS)))
    assert predict.main(arguments) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == expected(run / "finetuned", TEXTS)
    assert [row[2] for row in rows] == TEXTS


def test_csv_and_jsonl_hold_every_score(run, capsys):
    texts = ['a "fine" film, really', "dull"]
    predict.main([str(run), *texts, "--format", "csv"])
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    predict.main([str(run), *texts, "--format", "jsonl"])
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = minibert.load_classifier(run).label_names
    for text, row, values in zip(texts, table, objects, strict=True):
        assert row["text"] == values["text"] == text
        assert row["label"] == values["label"] == max(values["scores"], key=values["scores"].get)
        assert [float(row[f"score_{name}"]) for name in names] == list(values["scores"].values())
        assert sum(values["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_a_classifier_of_pairs_wants_a_tab_and_gets_both_texts(run, capsys):
    folder = run / "finetuned"
    config = json.loads((folder / "config.json").read_text())
    config["minibert"]["pairs"] = True
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="text 2.*tab"):
        predict.main([str(run), "good\tfilm", "no pair"])
    predict.main([str(run), "good film\tdull story", "--format", "jsonl"])
    scores = json.loads(capsys.readouterr().out)["scores"]
    classifier = minibert.load_classifier(run)
    with torch.no_grad():
        inputs = classifier.tokenizer(["good film"], ["dull story"], max_length=7, truncation="tail")
        probabilities = classifier.classifier(*inputs).softmax(-1)[0]
    assert list(scores.values()) == pytest.approx(probabilities.tolist(), abs=1e-5)


@pytest.mark.parametrize(
    "arguments, why",
    [
        (["no/such/run/anywhere", "good"], "no such folder"),
        (["RUN", "--file", "absent.txt"], "absent.txt: no such file"),
        (["RUN", "good", "--file", "texts.txt"], "one or the other"),
        (["RUN", " "], "no text to classify"),
        (["RUN", "good", "--format", "xml"], "--help"),
    ],
)
def test_bad_input_is_one_clear_line(run, arguments, why):
    with pytest.raises(UserError, match=why):
        predict.main([str(run) if argument == "RUN" else argument for argument in arguments])


@pytest.mark.parametrize(
    "content, why", [(b"good\n\xffbad\n", "line 2: not UTF-8"), (b"", "no text"), (b" \n\n", "no text")]
)
def test_standard_input_that_cannot_be_read_is_one_clear_line(content, why, run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    with pytest.raises(UserError, match=f"standard input.*{why}"):
        predict.main([str(run)])


def test_standard_input_that_is_closed_is_one_clear_line(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="standard input is closed"):
        predict.main([str(run)])


def test_half_a_surrogate_pair_is_one_clear_line(run):
    with pytest.raises(UserError, match="cannot read a text"):
        predict.main([str(run), "cut emoji \ud83d"])


def test_an_encoder_without_a_classifier_is_refused(tiny_bert, tmp_path):
    minibert.save_encoder(minibert.load_encoder(tiny_bert), tmp_path / "bare")
    with pytest.raises(UserError, match="holds no classifier"):
        minibert.load_classifier(tmp_path / "bare")
