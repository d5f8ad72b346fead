"""python -m minibert.export: a file is tried before it takes its place, and runs without PyTorch and minibert.

What the exporter itself makes is tested where the packages of the extra [deploy] are installed.
"""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import copy_checkpoint
from tiny import families

import minibert
from minibert import export
from minibert.plumbing.files import UserError

TEXTS = ["a", "the film was fine", "a very dull story and not good " * 20]


@pytest.fixture
def deploy():
    for name in export.PACKAGES:
        pytest.importorskip(name, reason=f"{name} is not installed (it comes with minibert's [deploy] extra)")


@pytest.fixture
def faked(monkeypatch):
    """Without the packages: a file is made of the letters "new", and its logits are minibert's plus `error`."""
    faked = type("Faked", (), {"error": 0.0})()
    wanted = []

    def examples(classifier):
        wanted[:] = [np.eye(6, dtype=np.float32)[np.arange(export.TEXTS) % 6]]
        return [], wanted[0]

    monkeypatch.setattr(export, "PACKAGES", ())
    monkeypatch.setattr(export, "examples", examples)
    monkeypatch.setattr(export, "write_onnx", lambda classifier, path: path.write_text("new"))
    monkeypatch.setattr(export, "write_int8", lambda source, path: path.write_text("new"))
    monkeypatch.setattr(export, "run_file", lambda path, batches: wanted[0] + faked.error)
    return faked


def change(folder, **more):
    """Write into the `minibert` section of a config.json."""
    path = folder / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"minibert": values.get("minibert", {}) | more}))


# ---- without the packages


def test_without_the_packages_it_says_what_to_install(tiny_bert, monkeypatch):
    monkeypatch.setattr(export, "PACKAGES", ("json", "not_there"))
    with pytest.raises(UserError, match=r"^export: the package not_there is not installed; pip install -e '.\[dep"):
        export.main([str(tiny_bert)])


def test_a_hub_id_needs_a_place_for_the_file(faked, tiny_bert, monkeypatch):
    monkeypatch.setattr(export, "find_folder", lambda run: tiny_bert)
    with pytest.raises(UserError, match="^some/one: is no folder on this machine; say with --output"):
        export.main(["some/one"])


def test_files_lie_beside_the_classifier_or_where_they_are_asked_for(faked, tiny_bert, tmp_path, capsys):
    assert export.main([str(tiny_bert), "--int8"]) == 0
    names = {path.name for path in (tiny_bert / "onnx").iterdir()}
    assert names == {"model.onnx", "model_int8.onnx", "tokenizer.json", "config.json"}
    assert "model_int8.onnx" in capsys.readouterr().out
    export.main([str(tiny_bert), "--output", str(tmp_path / "mine")])
    assert {path.name for path in (tmp_path / "mine").iterdir()} == names - {"model_int8.onnx"}
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert config["id2label"]["5"] == "LABEL_5" and config["minibert"]["max_length"] == 64


@pytest.mark.parametrize("error", [2e-4, float("nan")])
def test_a_file_with_other_logits_is_refused_and_the_old_one_stays(error, faked, tiny_bert):
    export.main([str(tiny_bert)])
    old = tiny_bert / "onnx" / "model.onnx"
    old.write_text("old")
    faked.error = error
    with pytest.raises(UserError, match=r"model.onnx: not written: its logits differ .* more than 1e-04"):
        export.main([str(tiny_bert)])
    assert old.read_text() == "old" and not list(old.parent.glob(".*"))


def test_rounding_may_change_an_eighth_of_the_labels_and_no_more(faked, tiny_bert, monkeypatch, capsys):
    run_file = export.run_file

    def changed(count):
        def run(path, batches):
            logits = run_file(path, batches)
            if "int8" in path.name:
                logits[:count] = logits[:count, ::-1]
            return logits

        return run

    monkeypatch.setattr(export, "run_file", changed(8))
    assert export.main([str(tiny_bert), "--int8"]) == 0
    assert "8 of 64 labels are others" in capsys.readouterr().out
    monkeypatch.setattr(export, "run_file", changed(9))
    (tiny_bert / "onnx" / "model_int8.onnx").write_text("old")
    with pytest.raises(UserError, match="model_int8.onnx: not written: .* 9 of 64 labels are others, more than the 8"):
        export.main([str(tiny_bert), "--int8"])
    assert (tiny_bert / "onnx" / "model_int8.onnx").read_text() == "old"


def test_an_interrupt_leaves_nothing_half_written(faked, tiny_bert, monkeypatch):
    def interrupted(classifier, path):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "write_onnx", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.main([str(tiny_bert)])
    assert list((tiny_bert / "onnx").iterdir()) == []


@pytest.mark.parametrize(
    "more, note",
    [
        ({"windows": 3, "max_length": 20}, "note: this classifier averages up to 3 windows of a text; the file"),
        ({"truncation": "head+tail"}, "note: this classifier keeps both ends of a text of more than 64 tokens"),
        ({"truncation": "tail"}, ""),
    ],
)
def test_it_says_what_the_file_does_otherwise(more, note, faked, tiny_bert, capsys):
    change(tiny_bert, **more)
    export.main([str(tiny_bert)])
    assert capsys.readouterr().out.startswith(note or "trying each file on 64 texts")


def test_of_several_windows_its_tokenizer_keeps_the_first_as_it_says(faked, tiny_bert, capsys):
    import tokenizers

    change(tiny_bert, windows=3, truncation="tail", max_length=5)
    export.main([str(tiny_bert)])
    assert "the file reads one, the first 5 tokens" in capsys.readouterr().out
    backend = tokenizers.Tokenizer.from_file(str(tiny_bert / "onnx" / "tokenizer.json"))
    expected = minibert.load_tokenizer(tiny_bert)(["the film was a dull story"], None, 5, "head")
    assert backend.encode("the film was a dull story").ids == expected.input_ids[0].tolist()


@pytest.mark.parametrize("truncation", ["head", "tail"])
@pytest.mark.parametrize("pairs", [False, True])
def test_its_tokenizer_cuts_and_pads_as_minibert_does(truncation, pairs, faked, tiny_bert):
    import tokenizers

    change(tiny_bert, truncation=truncation, pairs=pairs, max_length=16)
    export.main([str(tiny_bert)])
    backend = tokenizers.Tokenizer.from_file(str(tiny_bert / "onnx" / "tokenizer.json"))
    seconds = TEXTS[::-1] if pairs else None
    encodings = backend.encode_batch(list(zip(TEXTS, seconds, strict=True)) if pairs else TEXTS)
    batch = minibert.load_tokenizer(tiny_bert)(TEXTS, seconds, 16, truncation)
    assert [one.ids for one in encodings] == batch.input_ids.tolist()
    assert [one.attention_mask for one in encodings] == batch.attention_mask.tolist()
    assert [one.type_ids for one in encodings] == batch.token_type_ids.tolist()


def test_what_it_is_tried_on_runs_from_one_word_to_the_limit(tiny_bert):
    classifier = minibert.load_classifier(tiny_bert, fast=False)
    batches, logits = export.examples(classifier)
    lengths = np.concatenate([batch["attention_mask"].sum(1) for batch in batches])
    assert logits.shape == (export.TEXTS, 6) and len(lengths) == export.TEXTS
    assert lengths.min() <= 8 and lengths.max() == 64 and len(set(lengths)) > 8
    assert any((batch["attention_mask"] == 0).any() for batch in batches)


# ---- with them


@pytest.mark.slow
@families
def test_every_familys_file_takes_any_batch_of_any_length(family, deploy, tmp_path):
    import onnxruntime

    folder = copy_checkpoint(family, tmp_path / family)
    export.main([str(folder)])
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    names = [one.name for one in session.get_inputs()]
    assert names == ["input_ids", "attention_mask"] + ["token_type_ids"] * (family in ("bert", "electra"))
    classifier = minibert.load_classifier(folder, fast=False).classifier
    random = torch.Generator().manual_seed(0)
    for batch, length in ((1, 3), (7, 3), (1, 64), (7, 64)):
        inputs = [torch.randint(5, 40, (batch, length), generator=random), torch.ones(batch, length, dtype=torch.int64)]
        inputs += [torch.randint(0, 2, (batch, length), generator=random)] * (len(names) == 3)
        inputs[1][1:, -1] = 0
        inputs[0][1:, -1] = classifier.encoder.config.pad_token_id
        with torch.no_grad():
            expected = classifier(*inputs).numpy()
        (logits,) = session.run(None, dict(zip(names, (part.numpy() for part in inputs), strict=True)))
        assert abs(logits - expected).max() <= 1e-5, (batch, length)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [False, True])
def test_the_printed_lines_run_where_neither_pytorch_nor_minibert_can_be_imported(pairs, deploy, tiny_bert, capsys):
    change(tiny_bert, pairs=pairs, max_length=20)
    export.main([str(tiny_bert), "--int8"])
    out = capsys.readouterr().out
    script = out[out.index("import json") :].replace("model_int8.onnx", "model.onnx")
    seconds = TEXTS[::-1] if pairs else None
    texts = list(zip(TEXTS, seconds, strict=True)) if pairs else TEXTS
    before, after = script.split("encode_batch(")
    script = f"{before}encode_batch({texts!r}){after[after.index(')' + chr(10)) + 1 :]}"
    blocked = "import sys; sys.modules['torch'] = None; sys.modules['minibert'] = None\n"
    command = [sys.executable, "-I", "-c", f"{blocked}{script}\nprint(logits.tolist())"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    labels, logits = done.stdout.splitlines()
    classifier = minibert.load_classifier(tiny_bert)
    assert labels == str(classifier.predict(TEXTS, seconds))
    with torch.no_grad():
        expected = classifier.classifier(*classifier.tokenizer(TEXTS, seconds, 20))
    assert np.abs(np.array(json.loads(logits)) - expected.numpy()).max() <= 1e-5


@pytest.mark.slow
def test_the_bundled_weights_in_int8_are_smaller_and_close(deploy, tmp_path, capsys):
    from minibert.load import new_classifier, save_classifier

    save_classifier(new_classifier("minibert-tiny", ["a", "b"], "mean", "linear"), tmp_path / "run")
    minibert.load_tokenizer("minibert-tiny").save(tmp_path / "run")
    with torch.no_grad():
        assert export.main([str(tmp_path / "run"), "--int8"]) == 0
    sizes = [(tmp_path / "run" / "onnx" / name).stat().st_size for name in ("model.onnx", "model_int8.onnx")]
    assert sizes[1] < 0.7 * sizes[0]


@pytest.mark.slow
def test_in_int8_each_layers_six_products_are_rounded_and_pooler_and_head_are_not(deploy, tiny_bert):
    import onnx

    export.main([str(tiny_bert), "--int8"])
    kinds = [node.op_type for node in onnx.load(tiny_bert / "onnx" / "model_int8.onnx").graph.node]
    assert kinds.count("MatMulInteger") == 2 * 6  # layers
    assert kinds.count("MatMul") == 2 * 2 + 2  # attention's own two, pooler and head
