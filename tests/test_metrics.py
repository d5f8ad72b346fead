"""The metrics: first cases small enough to check by hand, then scikit-learn's answers, then bad input.

The answers are stored in references/metrics.json (made by make/make_metric_references.py), so scikit-learn is not
needed here.
"""

import json
from math import isnan, log, nan, sqrt
from pathlib import Path

import numpy as np
import pytest

from minibert import metrics

REFERENCES = json.loads((Path(__file__).parent / "references" / "metrics.json").read_text(encoding="utf-8"))
CASES = REFERENCES["cases"]


# By hand: which class was chosen


def test_accuracy_is_the_share_of_right_answers():
    assert metrics.accuracy([0, 1, 1, 0], [0, 1, 0, 0]) == 0.75


def test_confusion_matrix_has_gold_rows_and_predicted_columns():
    #                   gold 0 once taken for 1; gold 1 always right; gold 2 twice taken for 0
    matrix = metrics.confusion_matrix([0, 0, 1, 2, 2], [0, 1, 1, 0, 0])
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 0]]


def test_confusion_matrix_keeps_room_for_classes_that_never_occur():
    matrix = metrics.confusion_matrix([0, 1], [1, 1], num_classes=3)
    assert matrix.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_confusion_matrix_survives_small_integer_types():
    # Cell 20 * 21 + 20 = 440 of the flattened matrix does not fit into 8 bits.
    labels = np.array([20], dtype=np.uint8)
    assert metrics.confusion_matrix(labels, labels)[20, 20] == 1


# Class 0: 4 examples, 3 predictions, 2 of them right. Class 1: 1 example, 2 predictions, 1 of them right.
LABELS, PREDICTIONS = [0, 0, 0, 0, 1], [0, 0, 1, 2, 1]


def test_macro_leaves_out_classes_that_never_occur_unless_the_number_of_classes_is_given():
    labels, predictions = [0, 3, 3], [3, 3, 3]  # F1: 0 for class 0, 4/5 for class 3
    assert metrics.precision_recall_f1(labels, predictions, "macro")[2] == pytest.approx(0.4)  # scikit-learn's answer
    assert metrics.precision_recall_f1(labels, predictions, "macro", num_classes=4)[2] == pytest.approx(0.2)
    assert metrics.precision_recall_f1([0, 1, 1], [0, 3, 3], "macro")[2] == pytest.approx(1 / 3)  # 3: only predicted
    for average in ("weighted", "micro"):
        given, not_given = (metrics.precision_recall_f1(labels, predictions, average, number) for number in (4, None))
        assert given == not_given


def test_precision_recall_f1_per_class():
    # Class 2 never occurs and is predicted once: 0 / 0 recall counts as 0.
    precision, recall, f1, support = metrics.precision_recall_f1(LABELS, PREDICTIONS)
    assert precision.tolist() == [1, 1 / 2, 0]
    assert recall.tolist() == [1 / 2, 1, 0]
    assert f1.tolist() == pytest.approx([2 / 3, 2 / 3, 0])
    assert support.tolist() == [4, 1, 0]


@pytest.mark.parametrize(
    "average, precision, recall, f1",
    [
        ("macro", (1 + 1 / 2 + 0) / 3, (1 / 2 + 1 + 0) / 3, (2 / 3 + 2 / 3 + 0) / 3),
        ("weighted", (4 * 1 + 1 * 1 / 2) / 5, (4 * 1 / 2 + 1 * 1) / 5, 2 / 3),
        ("micro", 3 / 5, 3 / 5, 3 / 5),
    ],
)
def test_the_averages_weigh_classes_differently(average, precision, recall, f1):
    answer = metrics.precision_recall_f1(LABELS, PREDICTIONS, average)
    assert answer == pytest.approx((precision, recall, f1, 5))


def test_matthews_tells_a_good_classifier_from_a_constant_one():
    assert metrics.matthews_corrcoef([0, 1, 2], [0, 1, 2]) == 1
    assert metrics.matthews_corrcoef([0, 1], [1, 0]) == -1
    assert metrics.matthews_corrcoef([0, 0, 0, 0, 1], [0, 0, 0, 0, 0]) == 0  # though 80% accurate
    assert metrics.matthews_corrcoef([1, 1, 1], [0, 1, 2]) == 0


def test_matthews_binary_formula():
    # TP 3, TN 2, FP 1, FN 1: (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN))
    answer = metrics.matthews_corrcoef([1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 1])
    assert answer == pytest.approx((3 * 2 - 1 * 1) / sqrt(4 * 4 * 3 * 3))


def test_matthews_does_not_overflow_on_large_sets():
    half = np.arange(400_000) % 2
    assert metrics.matthews_corrcoef(half, half) == pytest.approx(1)


# By hand: ranking


def test_roc_auc_counts_the_pairs_that_are_in_order():
    # Positives 0.9 and 0.4, negatives 0.5 and 0.1: of the four pairs only 0.4 against 0.5 is wrong.
    assert metrics.roc_auc([1, 0, 1, 0], [0.9, 0.5, 0.4, 0.1]) == 3 / 4


@pytest.mark.parametrize("labels, scores", [([1, 0], [7, 7]), ([0, 1], [7, 7]), ([0, 1, 1, 0], [7, 7, 7, 7])])
def test_roc_auc_gives_a_tie_one_half_in_whatever_order_it_is_written(labels, scores):
    assert metrics.roc_auc(labels, scores) == 0.5


def test_roc_auc_with_a_tie_inside():
    # Positives 3 and 2, negatives 2 and 1: three pairs right, 2 against 2 half right.
    assert metrics.roc_auc([1, 1, 0, 0], [3, 2, 2, 1]) == 3.5 / 4


def test_roc_auc_needs_both_classes():
    assert isnan(metrics.roc_auc([1, 1], [0.2, 0.3]))
    assert isnan(metrics.roc_auc([0, 0], [0.2, 0.3]))
    assert isnan(metrics.roc_auc([0, 1, 0], np.eye(3)))  # no example of class 2


def test_average_precision_averages_precision_over_the_positives():
    # Ranked + - +: precision 1/1 at the first positive, 2/3 at the second.
    assert metrics.average_precision([1, 0, 1], [0.9, 0.8, 0.7]) == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("labels", [[1, 0, 0, 0], [0, 0, 0, 1]])
def test_average_precision_of_one_big_tie_is_the_share_of_positives(labels):
    assert metrics.average_precision(labels, [7, 7, 7, 7]) == 1 / 4


def test_average_precision_without_positives_is_0():
    assert metrics.average_precision([0, 0], [0.1, 0.2]) == 0


@pytest.mark.parametrize("metric", [metrics.roc_auc, metrics.average_precision])
def test_two_columns_mean_the_second_one_and_more_mean_one_against_the_rest(metric):
    labels, scores = np.array([0, 1, 1, 0]), np.array([[8, 0.5], [0, 0.4], [9, 0.9], [1, 0.1]])
    assert metric(labels, scores) == metric(labels, scores[:, 1]) < 1

    labels, scores = np.array([0, 1, 2, 0]), np.array([[3, 1, 0], [1, 2, 1], [2, 3, 1], [0, 0, 0]])
    by_class = [metric((labels == c).astype(int), scores[:, c]) for c in range(3)]
    assert metric(labels, scores) == pytest.approx(sum(by_class) / 3)
    assert len(set(by_class)) > 1


# By hand: probabilities


def test_log_loss_is_the_mean_surprise_at_the_gold_class():
    assert metrics.log_loss([0, 1], [[0.5, 0.5], [0.75, 0.25]]) == pytest.approx((log(2) + log(4)) / 2)
    assert metrics.log_loss([1, 0], [0.5, 0.75]) == pytest.approx((log(2) + log(4)) / 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_of_a_confident_mistake_is_large_but_finite(dtype):
    answer = metrics.log_loss([1], np.array([[1, 0]], dtype=dtype))
    assert answer == pytest.approx(-log(np.finfo(dtype).eps), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_loss_of_a_perfect_answer_is_not_quite_0(dtype):
    eps = float(np.finfo(dtype).eps)
    assert metrics.log_loss([1], np.array([[0, 1]], dtype=dtype)) == pytest.approx(eps, rel=1e-6, abs=0)


def test_whole_numbers_serve_as_scores():
    unsigned = np.array([0, 5], dtype=np.uint8)  # whose negative wraps around
    assert metrics.roc_auc([0, 1], unsigned) == metrics.average_precision([0, 1], unsigned) == 1
    assert metrics.log_loss([0, 1], [0, 1]) < 1e-15


# By hand: is a difference luck


def test_bootstrap_of_a_model_against_itself_is_nothing():
    assert metrics.paired_bootstrap([0, 1, 1], [0, 1, 0], [0, 1, 0]) == (0, 0, 0)


def test_bootstrap_is_b_minus_a():
    right, wrong = [0, 1, 1], [1, 0, 0]
    assert metrics.paired_bootstrap(right, wrong, right) == (1, 1, 1)
    assert metrics.paired_bootstrap(right, right, wrong) == (-1, -1, -1)


# 400 examples: b wins 60 of them and loses 20, so it leads by 0.1. One example's variance is 80/400 - 0.1^2.
GOLD, MODEL_A, MODEL_B = np.zeros((3, 400), dtype=int)
MODEL_A[:60] = 1
MODEL_B[60:80] = 1
SPREAD = sqrt((80 / 400 - 0.1**2) / 400)


@pytest.mark.parametrize("confidence, deviations", [(0.95, 1.96), (0.68, 0.994)])
def test_bootstrap_interval_matches_the_normal_approximation(confidence, deviations):
    difference, low, high = metrics.paired_bootstrap(GOLD, MODEL_A, MODEL_B, confidence=confidence)
    assert difference == pytest.approx(0.1)
    assert low == pytest.approx(0.1 - deviations * SPREAD, abs=0.003)
    assert high == pytest.approx(0.1 + deviations * SPREAD, abs=0.003)


def test_the_shortcut_for_accuracy_agrees_with_drawing_examples(monkeypatch):
    calls = []
    check = metrics._check_pair  # what accuracy does first, so counting it tells which way was taken
    monkeypatch.setattr(metrics, "_check_pair", lambda *arguments: calls.append(1) or check(*arguments))

    short = metrics.paired_bootstrap(GOLD, MODEL_A, MODEL_B, resamples=3000)
    assert len(calls) == 2
    drawn = metrics.paired_bootstrap(
        GOLD, MODEL_A, MODEL_B, metric=lambda *arguments: metrics.accuracy(*arguments), resamples=3000
    )
    assert len(calls) == 2 + 2 + 2 * 3000
    assert short == pytest.approx(drawn, abs=0.005)


def test_bootstrap_is_paired():
    # Both models fail on the same half of the examples, and b mends two of those: it can never lose, although
    # either accuracy alone swings by 0.05 from draw to draw.
    gold, a, b = np.zeros((3, 400), dtype=int)
    a[:200], b[2:200] = 1, 1
    for metric in (metrics.accuracy, lambda labels, predictions: metrics.accuracy(labels, predictions)):
        difference, low, high = metrics.paired_bootstrap(gold, a, b, metric=metric, resamples=1000)
        assert difference == pytest.approx(2 / 400)
        assert low >= 0 and high <= 6 / 400


def test_bootstrap_repeats_itself_for_a_seed_only():
    def interval(seed):
        return metrics.paired_bootstrap(GOLD, MODEL_A, MODEL_B, resamples=20, seed=seed)

    assert interval(1) == interval(1)
    assert len({interval(seed) for seed in range(10)}) > 1


def test_bootstrap_takes_scores_when_the_metric_does():
    gold, good, noisy = [0, 1] * 20, [0.1, 0.9] * 20, [0.5, 0.4] * 20
    assert metrics.paired_bootstrap(gold, noisy, good, metrics.roc_auc, resamples=50) == (1, 1, 1)


# By hand: the report


def test_report_reads_as_a_table():
    names = ["ham", "spam", "unsure", "absent"]  # nothing is labelled or predicted as the last one
    assert metrics.classification_report(LABELS, PREDICTIONS, names).splitlines() == [
        "               precision   recall       f1  support",
        "ham               1.0000   0.5000   0.6667        4",
        "spam              0.5000   1.0000   0.6667        1",
        "unsure            0.0000   0.0000   0.0000        0",
        "absent            0.0000   0.0000   0.0000        0",
        "",
        "accuracy                            0.6000        5",
        "macro mean        0.3750   0.3750   0.3333        5",
        "weighted mean     0.9000   0.6000   0.6667        5",
    ]


# scikit-learn's answers


def same(ours, theirs):
    """Equal to 1e-12 in absolute terms, where both may be nan (null in the file)."""
    theirs = np.array(nan if theirs is None else theirs, dtype=float)
    return np.shape(ours) == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=1e-12, equal_nan=True)


def test_the_references_cover_what_they_claim():
    assert REFERENCES["made_by"].startswith("scikit-learn ")
    assert len(CASES) == 240
    assert {case["num_classes"] for case in CASES} == {2, 3, 4, 5, 6}
    assert sum(case["sklearn"]["accuracy"] == 1 for case in CASES) >= 20
    assert sum(len(set(case["predictions"])) == 1 < len(set(case["labels"])) for case in CASES) >= 20
    assert sum(len(set(case["labels"])) < case["num_classes"] for case in CASES) >= 20
    assert sum(case["sklearn"]["roc_auc raw"] is None for case in CASES) >= 20
    for num_classes in (2, 3, 4, 5, 6):
        areas = [case["sklearn"]["roc_auc raw"] for case in CASES if case["num_classes"] == num_classes]
        assert sum(area is not None for area in areas) >= 10
    with_ties = [case for case in CASES if len(np.unique(case["raw"])) < np.size(case["raw"]) / 2]
    assert sum(case["sklearn"]["roc_auc raw"] is not None for case in with_ties) >= 20


@pytest.mark.parametrize("name", ["accuracy", "matthews_corrcoef"])
def test_predictions_score_as_in_scikit_learn(name):
    for case in CASES:
        assert same(getattr(metrics, name)(case["labels"], case["predictions"]), case["sklearn"][name])


def test_confusion_matrix_is_scikit_learns():
    for case in CASES:
        matrix = metrics.confusion_matrix(case["labels"], case["predictions"], case["num_classes"])
        assert matrix.tolist() == case["sklearn"]["confusion_matrix"]


@pytest.mark.parametrize("average", [None, "macro", "weighted", "micro"])
def test_precision_recall_f1_are_scikit_learns(average):
    for case in CASES:
        *figures, support = metrics.precision_recall_f1(
            case["labels"], case["predictions"], average, num_classes=case["num_classes"]
        )
        assert same(figures, case["sklearn"][f"precision_recall_f1 {average}"])
        assert np.all(support == (case["sklearn"]["support"] if average is None else len(case["labels"])))


@pytest.mark.parametrize(
    "name, scores", [("roc_auc", "probabilities"), ("roc_auc", "raw"), ("average_precision", "raw")]
)
def test_rankings_score_as_in_scikit_learn(name, scores):
    for case in CASES:
        theirs = case["sklearn"][f"{name} {scores}"]
        assert same(getattr(metrics, name)(case["labels"], case[scores]), theirs)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_each_class_against_the_rest_is_ranked_as_in_scikit_learn(name):
    for case in CASES:
        for c, theirs in enumerate(case["sklearn"][f"{name} by class"]):
            is_c, scores = np.array(case["labels"]) == c, np.array(case["raw"])[:, c]
            assert same(getattr(metrics, name)(is_c, scores), theirs)


def test_log_loss_is_scikit_learns():
    for case in CASES:
        probabilities = np.array(case["probabilities"])
        assert same(metrics.log_loss(case["labels"], probabilities), case["sklearn"]["log_loss"])
        # On float32 scikit-learn also sums in float32: the clipping can be held to it, but not every digit.
        in_float32 = metrics.log_loss(case["labels"], probabilities.astype(np.float32))
        assert in_float32 == pytest.approx(case["sklearn"]["log_loss_float32"], rel=1e-6, abs=1e-6)


# Bad input gets one clear line

TAKES_PREDICTIONS = [
    metrics.accuracy,
    metrics.confusion_matrix,
    metrics.precision_recall_f1,
    metrics.matthews_corrcoef,
    lambda labels, predictions: metrics.paired_bootstrap(labels, predictions, predictions),
    lambda labels, predictions: metrics.classification_report(labels, predictions, ["no", "yes"]),
]
TAKES_SCORES = [metrics.roc_auc, metrics.average_precision, metrics.log_loss]


def refuses(complaint, function, *arguments, **options):
    with pytest.raises(ValueError, match=complaint) as refusal:
        function(*arguments, **options)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("function", TAKES_PREDICTIONS)
def test_predictions_must_be_class_indices_one_per_label(function):
    refuses("empty", function, [], [])
    refuses("differ in length: 3 and 2", function, [0, 1, 1], [0, 1])
    refuses("predictions must be one-dimensional, got shape", function, [0, 1], [[0.1, 0.9], [0.8, 0.2]])
    refuses("predictions must be whole numbers", function, [0, 1], [0.2, 0.9])
    refuses("labels must be whole numbers", function, ["no", "yes"], [0, 1])
    refuses("labels holds -100", function, [0, -100], [0, 1])


def test_classes_must_fit_their_number():
    refuses("labels holds 3, too large for 3", metrics.confusion_matrix, [0, 3], [0, 1], num_classes=3)
    refuses("predictions holds 3, too large", metrics.precision_recall_f1, [0, 1], [0, 3], num_classes=3)
    refuses("labels holds 2, too large", metrics.classification_report, [0, 2], [0, 1], ["no", "yes"])


@pytest.mark.parametrize("function", TAKES_SCORES)
def test_scores_must_be_finite_and_shaped_like_the_classes(function):
    refuses("empty", function, [], [])
    refuses("differ in length: 3 and 2", function, [0, 1, 1], [0.1, 0.9])
    refuses("finite", function, [0, 1], [0.5, nan])
    refuses("finite", function, [0, 1], [[0.5, 0.5], [nan, 0.5]])
    refuses("finite", function, [0, 1], [0.5, float("inf")])
    refuses("numbers", function, [0, 1], ["low", "high"])
    refuses(r"shape \[N\] or \[N, C\]", function, [0, 1], [[0.5], [0.5]])
    refuses(r"shape \[N\] or \[N, C\]", function, [0, 1], np.zeros((2, 2, 2)))
    refuses("labels holds 2, too large for 2", function, [0, 2], [0.1, 0.9])
    refuses("labels holds 3, too large for 3", function, [0, 3], np.full((2, 3), 1 / 3))


def test_log_loss_wants_probabilities():
    refuses("softmax", metrics.log_loss, [0, 1], [0.5, 1.5])
    refuses("softmax", metrics.log_loss, [0, 1], [0.5, -0.5])
    refuses("sum to 1", metrics.log_loss, [0, 1], [[0.9, 0.9], [0.5, 0.5]])


def test_log_loss_forgives_the_rounding_of_half_precision():
    assert metrics.log_loss([0], np.array([[0.3337, 0.3333, 0.3333]], dtype=np.float16)) > 0


def test_settings_must_make_sense():
    refuses("average must be", metrics.precision_recall_f1, [0, 1], [0, 1], average="binary")
    refuses("confidence", metrics.paired_bootstrap, [0, 1], [0, 1], [0, 1], confidence=95)
    refuses("resamples", metrics.paired_bootstrap, [0, 1], [0, 1], [0, 1], resamples=0)
