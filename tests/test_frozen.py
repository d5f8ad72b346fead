"""Features are computed once, heads are fitted to convergence, and the baselines are what they say."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_train import CPU, tiny_classifier, token_examples

from minibert import baselines, frozen
from minibert.baselines import fit_logistic
from minibert.data.dataset import Dataset, Task
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


@pytest.mark.parametrize("change", ["weights", "texts", "precision", "poolings"])
def test_features_are_computed_anew_when_what_decides_them_changes(change):
    encoder, examples, poolings, precision = tiny_classifier().encoder.eval(), token_examples(11), ["cls"], "fp32"
    encode(encoder, examples, poolings, CPU, precision, quiet=True)
    if change == "weights":
        with torch.no_grad():
            encoder.layers[1].feed_forward_norm.bias[3] += 1e-3
    elif change == "texts":
        examples.sequences[4].ids[1] += 1
    elif change == "precision":
        precision = "bf16"
    else:
        poolings = ["cls", "mean"]
    assert encode(encoder, examples, poolings, CPU, precision, quiet=True)[1] == 11


def test_logistic_regression_reaches_the_point_where_the_gradient_is_zero():
    random = np.random.default_rng(0)
    features = torch.tensor(random.normal(size=(300, 6)), dtype=torch.float32)
    labels = torch.tensor(random.integers(0, 3, 300))
    weight, bias = fit_logistic(features, labels, 3, l2=1e-2)
    error = (features @ weight.t() + bias).softmax(1) - torch.nn.functional.one_hot(labels, 3)
    assert (error.t() @ features / 300 + 1e-2 * weight).abs().max() < 1e-4
    assert error.mean(0).abs().max() < 1e-4


def test_logistic_regression_is_the_same_on_sparse_features():
    features = torch.tensor(np.random.default_rng(0).integers(0, 2, (60, 9)), dtype=torch.float32)
    labels = (features.sum(1) > 4).long()
    dense, _ = fit_logistic(features, labels, 2, 1e-3)
    sparse, _ = fit_logistic(features.to_sparse_csr(), labels, 2, 1e-3, None, features.t().to_sparse_csr())
    torch.testing.assert_close(dense, sparse, atol=1e-3, rtol=1e-3)


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


def test_balanced_class_weights_make_every_class_weigh_the_same():
    assert frozen.class_weights([0, 0, 0, 1], 2).tolist() == [4 / 6, 4 / 2]


# Baselines


def test_majority_predicts_the_shares_of_the_training_labels():
    assert baselines.majority([0, 1, 1, 1], 3, 2).tolist() == [[0.25, 0.75, 0.0]] * 2


def test_tf_idf_by_hand():
    bag = baselines.BagOfWords(["good film", "good film", "bad"], quiet=True)
    assert list(bag.columns) == ["film", "good", "good film"]  # "bad" is in one text only
    vector = bag(["Good, good unknown"], quiet=True).to_dense()[0]
    # "good" twice, "good good" never seen: one entry, scaled to length 1
    assert vector.tolist() == [0.0, 1.0, 0.0]
    vector = bag(["good film good"], quiet=True).to_dense()[0]
    idf = math.log(4 / 3) + 1
    raw = np.array([idf, (1 + math.log(2)) * idf, idf])
    np.testing.assert_allclose(vector, raw / np.linalg.norm(raw), rtol=1e-6)


def test_bag_of_words_learns_a_word_and_a_pair_of_words_from_train_alone():
    def part(texts):
        labels = [int(" not good" not in f" {text}" and "good" in text) for text in texts]
        return Dataset(texts, labels, ["no", "yes"], texts)

    train = part(["good film", "not good film", "good plot", "not good plot", "dull", "dull"] * 5)
    task = Task("toy", train, train, part(["good ending", "not good ending"]), "")
    probabilities, parameters, tried = baselines.bag_of_words(task, quiet=True)
    assert probabilities.argmax(1).tolist() == [1, 0]
    assert parameters == 2 * len(baselines.BagOfWords(train.texts, quiet=True).columns) + 2
    assert tried[0]["accuracy"] == 1.0


def test_logistic_regression_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="the [reference] extra is not installed")
    random = np.random.default_rng(0)
    features = random.normal(size=(300, 6))
    labels = (features @ random.normal(size=(6, 3)) + random.normal(size=(300, 3))).argmax(1)
    theirs = linear_model.LogisticRegression(C=1 / (1e-2 * 300), tol=1e-10, max_iter=10_000).fit(features, labels)
    ours, bias = fit_logistic(torch.tensor(features, dtype=torch.float32), torch.tensor(labels), 3, l2=1e-2)
    np.testing.assert_allclose(ours, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(bias - bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-4)
