"""The ladder's second level: encoders and heads on real weights, against stored figures."""

import json
from types import SimpleNamespace

import parity_mistakes
import pytest
import torch
from conftest import load_reference
from ladder_tools import EXAMPLE, command, written

import minibert
from minibert.parity import adapter, checkpoints


@pytest.fixture
def known_checkpoints(tiny_bert, tiny_distilbert, tmp_path, monkeypatch):
    """Figures for the two tiny checkpoints: BERT's from minibert, DistilBERT's from transformers' stored outputs."""
    ids, mask = [[2, 9, 30, 7, 3], [2, 41, 3, 0, 0]], [[1] * 5, [1, 1, 1, 0, 0]]
    states = minibert.load_encoder(tiny_bert)(torch.tensor(ids), torch.tensor(mask), return_all=True)
    bert = {"input_ids": ids, "attention_mask": mask, "tolerance": 1e-5}
    outputs = load_reference("tiny-distilbert-outputs.safetensors")
    distilbert = {"input_ids": outputs["input_ids"].tolist(), "tolerance": 2e-5}

    def case(inputs, rung, expected, cut):
        part = tuple(slice(*bounds) for bounds in cut)
        return inputs | {
            "rung": rung, "slice": cut, "expected": {name: value[part].tolist() for name, value in expected.items()},
        }  # fmt: skip

    masked = distilbert | {"attention_mask": outputs["attention_mask"].tolist()}
    layers = {name: outputs[f"fp64.hidden.{i}"] for i, name in ((0, "embeddings"), (2, "layer 2"))}
    known = {
        "tiny-bert": [
            case(bert, "bert_encoder", {"embeddings": states[0], "layer 2": states[2]}, [[0, 2], [0, 3], [0, 9]]),
            case(bert, "bert_encoder", {"layer 1": states[1]}, [[0, 1], [1, 4], [2, 6]]),
        ],
        "tiny-distilbert": [
            case(masked, "distilbert_encoder", layers, [[0, 5], [0, 1], [3, 9]]),
            case(masked, "distilbert_head", {"logits": outputs["fp64.logits"]}, [[1, 4], [0, 6]]),
            case(distilbert, "distilbert_head", {"logits": outputs["fp64.unpadded.logits"]}, [[0, 5], [0, 6]]),
        ],
    }
    folder = tmp_path / "figures"
    folder.mkdir()
    written(folder / "checkpoints.json", json.dumps(known))
    monkeypatch.setattr(checkpoints, "FOLDER", folder)
    return {"tiny-bert": tiny_bert, "tiny-distilbert": tiny_distilbert}


@pytest.mark.parametrize("place", [EXAMPLE, "minibert.parity.adapter"], ids=["numpy", "minibert"])
@pytest.mark.parametrize("name, rungs", [("tiny-bert", 1), ("tiny-distilbert", 2)])
def test_right_encoders_and_heads_pass_on_a_checkpoint(name, rungs, place, known_checkpoints, capsys):
    code, out, err = command(capsys, place, "--weights", known_checkpoints[name], "--strict")
    assert (code, err) == (0, "") and f"{rungs} of {rungs} rungs checked, {rungs} passed" in out, out


def encoder(change):
    """minibert's BERT encoder with change(states) for its result."""
    return SimpleNamespace(bert_encoder=lambda *arguments: change(list(adapter.bert_encoder(*arguments))))


def add(states, layer, place):
    states[layer] = states[layer].detach().clone()
    states[layer][place] += 1
    return states


@pytest.mark.parametrize(
    "change, status, says",
    [
        (lambda states: add(states, 1, (0, 2, 5)), "DIFF", "layer 1, batch 0, token 2, feature 5: "),
        (lambda states: add(states, 2, (1, 1, 7)), "DIFF", "layer 2, batch 1, token 1, feature 7: "),
        (lambda states: add(states, 0, (1, 4, 7)), "OK", ""),  # outside of what is stored
        (lambda states: states[:2], "SHAPE", "returned 2 states"),
        (lambda states: states[-1], "SHAPE", "returned one Tensor"),
        (lambda states: [None] * 3, "ERROR", "returned a NoneType"),
        (lambda states: 1 / 0, "ERROR", "ZeroDivisionError"),
    ],
)
def test_a_wrong_encoder_fails_on_a_checkpoint(change, status, says, known_checkpoints):
    (result,) = checkpoints.run_checkpoint(encoder(change), known_checkpoints["tiny-bert"])
    assert result.status == status and says in result.where + result.note, result


def test_a_head_is_checked_only_with_its_encoder_and_known_figures_only(known_checkpoints, capsys):
    module = SimpleNamespace(distilbert_head=adapter.distilbert_head)
    results = checkpoints.run_checkpoint(module, known_checkpoints["tiny-distilbert"])
    assert [(r.rung, r.status) for r in results] == [("distilbert_encoder", "SKIP"), ("distilbert_head", "SKIP")]
    weights = ("--weights", known_checkpoints["tiny-bert"])
    code, out, _ = command(capsys, *weights, "--rungs", "gelu,layer")
    assert code == 1 and "no figures are stored" in out and "0 of 0 rungs" in out
    code, _, err = command(capsys, *weights, "--dtype", "float64")
    assert code == 2 and "float32 only" in err


def test_the_mask_and_each_slice_are_used_on_a_checkpoint(known_checkpoints, monkeypatch):
    right = adapter.distilbert_encoder
    blind = SimpleNamespace(
        distilbert_head=adapter.distilbert_head,
        distilbert_encoder=lambda ids, mask, *rest: right(ids, torch.ones_like(mask), *rest),
    )
    results = checkpoints.run_checkpoint(blind, known_checkpoints["tiny-distilbert"])
    assert [result.status for result in results] == ["DIFF", "DIFF"]
    assert "logits, batch" in results[1].where and "embeddings" not in results[0].note


def test_an_unknown_checkpoint_is_refused_and_the_known_ones_are_listed(capsys, tmp_path):
    code, _, err = command(capsys, "--weights", tmp_path / "my-bert")
    assert code == 2 and err.count("\n") == 1
    assert all(name in err for name in ("'my-bert'", "bert-base-uncased", "all-MiniLM-L6-v2"))


def test_minilm_passes_and_its_tanh_variant_fails(weights_folder, tmp_path, capsys, monkeypatch):
    folder = weights_folder / "all-MiniLM-L6-v2"
    for place in (EXAMPLE, "minibert.parity.adapter"):
        code, out, _ = command(capsys, place, "--weights", folder)
        assert code == 0 and "1 of 1 rungs checked, 1 passed" in out, out
    (tanh,) = (mistake for mistake in parity_mistakes.MISTAKES if mistake.name == "gelu-tanh")
    wrong = written(tmp_path / "mine.py", parity_mistakes.broken(tanh))
    code, out, _ = command(capsys, wrong, "--weights", folder)
    assert code == 1 and "first differs at: layer 1" in out, out
    monkeypatch.chdir(folder)
    assert command(capsys, "--weights", ".")[0] == 0
