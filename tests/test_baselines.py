"""The baselines are what they say: the majority's shares, tf-idf by hand, and logistic regression to convergence.

Then data on which a bag of words has little or nothing to go by: no word twice, no spaces between words, emoji.
"""

import math

import numpy as np
import pytest
import torch

from minibert import baselines
from minibert.baselines import fit_logistic, words_and_pairs
from minibert.data import Dataset, Task


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


def test_logistic_regression_agrees_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="the [reference] extra is not installed")
    random = np.random.default_rng(0)
    features = random.normal(size=(300, 6))
    labels = (features @ random.normal(size=(6, 3)) + random.normal(size=(300, 3))).argmax(1)
    theirs = linear_model.LogisticRegression(C=1 / (1e-2 * 300), tol=1e-10, max_iter=10_000).fit(features, labels)
    ours, bias = fit_logistic(torch.tensor(features, dtype=torch.float32), torch.tensor(labels), 3, l2=1e-2)
    np.testing.assert_allclose(ours, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(bias - bias.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-4)


# Data with little to go by


def task_of(texts, labels):
    """A toy task whose three parts are the same texts."""
    part = Dataset(list(texts), list(labels), ["no", "yes"], list(texts))
    return Task("toy", part, part, part, "")


def test_without_a_word_in_two_texts_the_answer_is_the_majoritys():
    task = task_of(["one", "two", "three", "four"], [0, 1, 1, 1])
    probabilities, parameters, tried = baselines.bag_of_words(task, quiet=True)
    assert probabilities.tolist() == [[0.25, 0.75]] * 4
    assert parameters == 2
    assert tried == [{"setting": "no word in two texts", "accuracy": 0.75, "loss": tried[0]["loss"]}]
    assert tried[0]["loss"] == pytest.approx(-(math.log(0.25) + 3 * math.log(0.75)) / 4)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_part_without_a_known_word_gets_an_answer_too(part):
    known = Dataset(["good film", "good plot", "bad film", "bad plot"] * 3, [1, 1, 0, 0] * 3, ["no", "yes"], [""] * 12)
    unknown = Dataset(["?!", "nothing of this"], [0, 1], ["no", "yes"], ["a", "b"])
    parts = {"train": known, "validation": known, "test": known} | {part: unknown}
    probabilities, _, _ = baselines.bag_of_words(Task("toy", **parts, splits=""), quiet=True)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)
    if part == "test":
        np.testing.assert_allclose(probabilities[0], probabilities[1])  # both are all zeros: the bias alone speaks


@pytest.mark.parametrize(
    "text, expected",
    [
        ("A fine film", ["a", "fine", "film", "a fine", "fine film"]),
        ("好电影", ["好", "电", "影", "好 电", "电 影"]),
        ("BERT很好", ["bert", "很", "好", "bert 很", "很 好"]),
        ("ดีมาก", ["ด", "ี", "ม", "า", "ก", "ด ี", "ี ม", "ม า", "า ก"]),
        ("ok 👍👎", ["ok", "👍", "👎", "ok 👍", "👍 👎"]),
        ("영화가 좋다", ["영화가", "좋다", "영화가 좋다"]),
        ("अच्छी फिल्म", ["अच्छी", "फिल्म", "अच्छी फिल्म"]),
        ("re\u0301sume\u0301 CAFÉ", ["résumé", "café", "résumé café"]),
        ("", []),
    ],
)
def test_scripts_without_spaces_and_emoji_are_read_a_character_at_a_time(text, expected):
    assert words_and_pairs(text) == expected


def test_chinese_reviews_are_told_apart_by_their_characters():
    openings = "这部那种昨天今晚我们他们大家"
    texts = [opening + ("很好看" if i % 2 else "不好看") for i, opening in enumerate(openings)]
    probabilities, _, _ = baselines.bag_of_words(task_of(texts, [i % 2 for i in range(len(texts))]), quiet=True)
    assert probabilities.argmax(1).tolist() == [i % 2 for i in range(len(texts))]


def test_emoji_alone_are_enough():
    texts = ["👍👍", "👎👎"] * 5
    probabilities, _, _ = baselines.bag_of_words(task_of(texts, [1, 0] * 5), quiet=True)
    assert probabilities.argmax(1).tolist() == [1, 0] * 5
