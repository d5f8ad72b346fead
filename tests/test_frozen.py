"""Features are computed once, and heads are fitted to convergence and chosen on validation."""

import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_train import CPU, tiny_classifier, token_examples

from minibert import frozen
from minibert.frozen import encode, fit_heads
from minibert.head import pool


def test_features_are_the_pooled_hidden_states_in_the_order_of_the_texts(monkeypatch):
    monkeypatch.setattr("minibert.evaluate.EVALUATION_TOKENS", {"cpu": 30})  # several batches
    encoder, examples = tiny_classifier().encoder.eval(), token_examples(11)
    features, encoded = encode(encoder, examples, ["cls", "mean"], CPU, quiet=True)
    assert encoded == 11
    for i in (0, 5, 10):
        batch = examples.inputs([i])
        for pooling in ("cls", "mean"):
            alone = pool(encoder(*batch), batch.attention_mask, pooling)[0]
            torch.testing.assert_close(features[pooling][i], alone, atol=1e-5, rtol=0)


def test_encoding_first_tokens_does_not_keep_the_states_of_all_tokens(monkeypatch):
    monkeypatch.setattr("minibert.evaluate.EVALUATION_TOKENS", {"cpu": 30})
    encoder, states = tiny_classifier().encoder.eval(), []
    forward = encoder.forward

    def watched(*inputs):
        assert not any(state() is not None for state in states[:-1])  # the last batch's may still be on its way out
        hidden = forward(*inputs)
        states.append(weakref.ref(hidden))
        return hidden

    monkeypatch.setattr(encoder, "forward", watched)
    encode(encoder, token_examples(11), ["cls"], CPU, quiet=True)
    assert len(states) > 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_features_are_mapped_from_their_file_and_not_copied():
    encoder, examples = tiny_classifier().encoder.eval(), token_examples(11)
    for _ in range(2):  # as they are made, and as they are found
        features, _ = encode(encoder, examples, ["mean"], CPU, quiet=True)
        address = features["mean"].data_ptr()
        for line in Path("/proc/self/maps").read_text().splitlines():
            low, high = (int(end, 16) for end in line.split()[0].split("-"))
            if low <= address < high:
                break
        assert line.endswith(".safetensors")


def test_each_text_is_encoded_once_and_not_again_in_a_second_run(monkeypatch):
    encoder, examples = tiny_classifier().encoder.eval(), token_examples(11)
    seen = []
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda ids, *rest: seen.append(len(ids)) or forward(ids, *rest))
    first, _ = encode(encoder, examples, ["cls", "mean"], CPU, quiet=True)
    assert sum(seen) == 11
    second, encoded = encode(encoder, token_examples(11), ["mean", "cls"], CPU, quiet=True)
    assert encoded == 0 and sum(seen) == 11
    assert torch.equal(first["mean"], second["mean"])


@pytest.mark.parametrize("change", ["weights", "texts", "precision", "poolings", "code"])
def test_features_are_computed_anew_when_what_decides_them_changes(change, monkeypatch):
    encoder, examples, poolings, precision = tiny_classifier().encoder.eval(), token_examples(11), ["cls"], "fp32"
    encode(encoder, examples, poolings, CPU, precision, quiet=True)
    if change == "weights":
        with torch.no_grad():
            encoder.layers[1].feed_forward_norm.bias[3] += 1e-3
    elif change == "texts":
        examples.sequences[4].ids[1] += 1
    elif change == "precision":
        precision = "bf16"
    elif change == "code":
        monkeypatch.setattr(frozen, "CODE", ("model.py", "head.py"))
    else:
        poolings = ["cls", "mean"]
    assert encode(encoder, examples, poolings, CPU, precision, quiet=True)[1] == 11


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 0x40
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def other_shape(path):
    vectors = {"cls": torch.zeros(11, 3)}
    save_file(vectors, path, metadata={"checksum": frozen.checksum(vectors)})


@pytest.mark.parametrize("damage", [flip_a_byte, cut, other_shape])
def test_damaged_features_are_made_again(damage, cache):
    encoder, examples = tiny_classifier().encoder.eval(), token_examples(11)
    first, _ = encode(encoder, examples, ["cls"], CPU, quiet=True)
    first = first["cls"].clone()
    (path,) = (cache / "features").iterdir()
    damage(path)
    again, encoded = encode(encoder, examples, ["cls"], CPU, quiet=True)
    assert encoded == 11 and torch.equal(again["cls"], first)
    assert encode(encoder, examples, ["cls"], CPU, quiet=True)[1] == 0  # and are whole in the cache


def test_a_cache_that_cannot_be_written_is_said_and_does_not_stop_the_run(cache, capsys):
    (cache / "features").write_text("a file where a folder should be")
    features, encoded = encode(tiny_classifier().encoder.eval(), token_examples(11), ["cls"], CPU, quiet=True)
    assert encoded == 11 and features["cls"].shape == (11, 16)
    assert "features are not kept" in capsys.readouterr().out


def test_the_best_head_on_validation_is_kept_and_works_on_raw_features():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    useful = torch.tensor(random.normal(size=(400, 5)) * 3 + labels[:, None] * 5 + 40, dtype=torch.float32)
    noise = torch.tensor(random.normal(size=(400, 5)), dtype=torch.float32)
    parts = [{"cls": noise[rows], "mean": useful[rows]} for rows in (slice(0, 300), slice(300, 400))]
    pooling, name, head, tried = fit_heads(*parts, labels[:300], labels[300:], 2, ("linear", "mlp"), quiet=True)
    assert pooling == "mean" and tried[0]["accuracy"] == max(row["accuracy"] for row in tried)
    with torch.no_grad():
        predictions = head.eval()(parts[1]["mean"]).argmax(1).numpy()
    assert (predictions == labels[300:]).mean() == tried[0]["accuracy"] > 0.9
    assert {(row["pooling"], row["head"]) for row in tried} == {
        ("cls", "linear"), ("cls", "mlp"), ("mean", "linear"), ("mean", "mlp")
    }  # fmt: skip
