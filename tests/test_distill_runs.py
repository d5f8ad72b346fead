"""Whole runs of the command: what they leave, and what the student has learned."""

import pytest
import torch
from distilling import (
    LABELS,
    arguments,
    bare,
    batch_of,
    classifier,
    lines,
    pairs_file,
    records,
    save_teacher,
    spread,
    tiny,
    write_lines,
)  # fmt: skip
from safetensors.torch import load_file

from minibert import load, load_classifier, load_encoder, load_tokenizer
from minibert.distill import run
from minibert.distill.__main__ import main
from minibert.distill.losses import hidden_loss
from minibert.load import read_classifier
from minibert.plumbing.files import read_json


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return {"folder": tmp_path_factory.mktemp("finished")}


@pytest.fixture
def finished(shared, tiny_bert):
    """One complete run with a bare BERT as teacher, made by the first test that asks for it."""
    if "run" not in shared:
        folder = shared["folder"]
        teacher, text = bare(tiny_bert, folder / "teacher"), write_lines(folder / "texts.txt", lines(250))
        main(arguments(teacher, text, folder / "run", "--vocab-size", 115, "--epochs", 6))
        shared |= {"run": folder / "run", "teacher": teacher}
    return shared


def test_the_held_out_losses_fall(finished):
    held_out = [record for record in records(finished["run"]) if "held_out_hidden" in record]
    assert [record["epoch"] for record in held_out] == list(range(7))
    for name in ("held_out_hidden", "held_out_relations"):
        assert held_out[-1][name] < 0.6 * held_out[0][name]


def test_the_held_out_loss_is_that_of_the_student_on_disk(finished):
    teacher, student = load_encoder(finished["teacher"]), load_encoder(finished["run"])
    tokenizer, full = load_tokenizer(finished["run"]), load_tokenizer(finished["teacher"])
    batch = tokenizer([lines(250)[i] for i in (0, 100, 200)])
    ids = batch.input_ids.apply_(lambda i: full.backend.token_to_id(tokenizer.backend.id_to_token(i)))
    with torch.no_grad():
        theirs = teacher(ids, batch.attention_mask)
        ours = student(tokenizer([lines(250)[i] for i in (0, 100, 200)]).input_ids, batch.attention_mask)
    logged = records(finished["run"])[-1]["held_out_hidden"]
    assert hidden_loss([ours], [theirs], batch.attention_mask).item() == pytest.approx(logged, rel=0.02)


def test_a_run_leaves_a_distilbert_in_fp16_and_no_state(finished):
    names = {path.name for path in finished["run"].iterdir()}
    assert names == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "settings.json", "log.jsonl",
    }  # fmt: skip
    assert {tensor.dtype for tensor in load_file(finished["run"] / "model.safetensors").values()} == {torch.float16}
    config = read_json(finished["run"] / "config.json")
    assert (config["model_type"], config["architectures"]) == ("distilbert", ["DistilBertModel"])
    assert (config["n_layers"], config["vocab_size"]) == (1, 115)
    assert load_tokenizer(finished["run"]).backend.get_vocab_size() == 115
    settings = read_json(finished["run"] / "settings.json")
    assert settings["teacher"] == str(finished["teacher"]) and settings["losses"] == "hidden,relations"


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A classifier that tells its texts apart, and the student that watched it: two folders."""
    folder = tmp_path_factory.mktemp("taught")
    model = spread(classifier(tiny(layers=3), "cls", "mlp"), std=0.1)
    spread(model.encoder.embeddings.word, std=1.0)
    with torch.no_grad():
        logits, output = model(*batch_of(lines(300))[:2]), model.head.output
        scale = 2 / logits.std(0)  # to a mean of 0 and a spread of 2: all classes are used
        output.weight *= scale[:, None]
        output.bias.sub_(logits.mean(0)).mul_(scale)
    teacher = save_teacher(model, folder / "teacher")
    text = write_lines(folder / "texts.txt", lines(300))
    main(arguments(teacher, text, folder / "run", "--epochs", 8, "--lr", "1e-2", "--full-precision"))
    return teacher, folder / "run"


def test_a_student_of_a_classifier_answers_as_the_teacher_does(taught):
    teacher, run = taught
    theirs, ours = (load_classifier(folder).predict(lines(300)) for folder in (teacher, run))
    common = max(theirs.count(label) for label in LABELS) / 300
    agreed = sum(a == b for a, b in zip(ours, theirs, strict=True)) / 300
    assert common < 0.6 and agreed > 0.8


def test_a_student_of_a_classifier_learns_from_its_logits(taught):
    _, run = taught
    held_out = [record for record in records(run) if "held_out_logits" in record]
    assert held_out[-1]["held_out_logits"] < 0.5 * held_out[0]["held_out_logits"]
    assert read_json(run / "settings.json")["losses"] == "hidden,relations,logits"
    assert read_json(run / "config.json")["architectures"] == ["DistilBertForSequenceClassification"]
    assert {tensor.dtype for tensor in load_file(run / "model.safetensors").values()} == {torch.float32}


def test_a_student_learns_pairs_from_a_bert_that_classifies_them(tiny_bert, tmp_path):
    path = pairs_file(tmp_path / "pairs.csv", 60)
    main(arguments(tiny_bert, path, tmp_path / "run", "--epochs", 4))
    held_out = [record for record in records(tmp_path / "run") if "held_out_logits" in record]
    assert held_out[-1]["held_out_hidden"] < 0.8 * held_out[0]["held_out_hidden"]
    student, _ = read_classifier(tmp_path / "run")
    assert len(student.label_names) == 6


@pytest.mark.parametrize("kind", ["classifier", "encoder"])
def test_the_teacher_and_its_config_are_read_once_and_the_hub_is_asked_once(kind, tiny_bert, tmp_path, monkeypatch):
    teacher = tiny_bert if kind == "classifier" else bare(tiny_bert, tmp_path / "teacher")
    reads = []
    for module, name in ((load, "read_tensors"), (load, "read_json"), (load, "read_config"), (run, "find_checkpoint")):
        read = getattr(module, name)
        monkeypatch.setattr(module, name, lambda path, name=name, read=read: reads.append((name, path)) or read(path))
    text = write_lines(tmp_path / "texts.txt", lines(20))
    main(arguments(teacher, text, tmp_path / "run", "--epochs", 1))
    of_teacher = [(name, path) for name, path in reads if getattr(path, "name", "") != "tokenizer_config.json"]
    assert of_teacher == [
        ("find_checkpoint", str(teacher)), ("read_json", teacher / "config.json"), ("read_tensors", teacher),
    ]  # fmt: skip


def test_settings_tell_what_the_options_decided_and_nothing_else(finished):
    assert set(read_json(finished["run"] / "settings.json")) == {
        "teacher", "source", "layers", "intermediate_size", "vocab_size", "initialization", "losses", "temperature",
        "epochs", "batch_size", "max_length", "lr", "weight_decay", "warmup", "max_norm", "precision", "seed",
    }  # fmt: skip
