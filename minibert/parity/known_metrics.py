"""The metrics in NumPy, right or with known mistakes. `wrong` holds names of `mistakes.py` and `conventions.py`."""

import numpy as np


def ratio(top, bottom):
    """top / bottom, and 0 where bottom is 0."""
    return np.where(bottom == 0, 0.0, top / np.where(bottom == 0, 1, bottom))


def accuracy(labels, predictions, wrong=frozenset()):
    """A float."""
    right = labels == predictions
    if "error-rate" in wrong:
        return 1 - right.mean()
    if "accuracy-in-percent" in wrong:
        return 100 * right.mean()
    if "count-not-share" in wrong:
        return float(right.sum())
    if "balanced-accuracy" in wrong:
        return np.mean([right[labels == label].mean() for label in np.unique(labels)])
    return right.mean()


def confusion_matrix(labels, predictions, num_labels, wrong=frozenset()):
    """[C, C]."""
    matrix = np.zeros((num_labels, num_labels))
    np.add.at(matrix, (labels, predictions), 1)
    if "confusion-normalised" in wrong:
        matrix = ratio(matrix, matrix.sum(1, keepdims=True))
    if "confusion-counts-once" in wrong:
        matrix = np.minimum(matrix, 1)
    return matrix.T if "confusion-transposed" in wrong else matrix


def averaged_classes(matrix, wrong):
    """Which classes a macro average is taken over: a boolean for each."""
    true, predicted = matrix.sum(1) > 0, matrix.sum(0) > 0
    if "classes-absent-from-labels-skipped" in wrong:
        return true
    if "only-predicted-classes" in wrong:
        return predicted
    if "classes-that-occur" in wrong:
        return true | predicted
    if "classes-up-to-the-largest" in wrong:
        return np.arange(len(matrix)) <= np.flatnonzero(true | predicted).max()
    return np.ones(len(matrix), dtype=bool)


def precision_recall_f1(labels, predictions, num_labels, average, wrong=frozenset()):
    """Three floats."""
    matrix = confusion_matrix(labels, predictions, num_labels)
    right, true, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    if "micro-for-macro" in wrong and average == "macro":
        return (right.sum() / true.sum(),) * 3
    divided = np.divide if "zero-division" in wrong or "zero-division#of-counts" in wrong else ratio
    precision, recall = divided(right, predicted), divided(right, true)
    f1 = divided(2 * right, true + predicted)
    if "zero-division" in wrong:  # F1 by the two others, which is NaN where one of them is
        f1 = 2 * precision * recall / (precision + recall)
    if "last-class-only" in wrong:
        return precision[1], recall[1], f1[1]
    if "macro-for-weighted" in wrong:
        average = "macro"
    if "weighted-for-macro" in wrong:
        average = "weighted"
    shares = true / true.sum()
    if average == "macro":
        kept = averaged_classes(matrix, wrong)
        shares = kept / kept.sum()
    elif "weighted-by-predictions" in wrong:
        shares = predicted / predicted.sum()
    precision, recall, f1 = (float((figure * shares).sum()) for figure in (precision, recall, f1))
    if "f1-of-averages" in wrong:
        f1 = 2 * precision * recall / (precision + recall)
    if "f1-is-the-mean" in wrong:
        f1 = (precision + recall) / 2
    return (recall, precision, f1) if "precision-recall-swapped" in wrong else (precision, recall, f1)


def roc_auc(labels, scores, wrong=frozenset()):
    """A float."""
    if "auroc-from-hard-labels" in wrong:
        scores = (scores > 0.5).astype(np.float64)
    if "auroc-inverted" in wrong:
        scores = -scores
    orders = {
        "ties-in-order-of-appearance": np.argsort(-scores, kind="stable"),
        "ties-in-order-of-appearance#reversed": np.argsort(scores, kind="stable")[::-1],
    }
    for name, order in orders.items():
        if name in wrong:
            ranked = labels[order]
            above = np.cumsum(ranked)[ranked == 0]
            return above.mean() / ranked.sum()
    if "average-precision-for-auroc" in wrong:
        ranked = labels[orders["ties-in-order-of-appearance"]]
        return (np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked == 1].mean()
    ones, zeros = scores[labels == 1][:, None], scores[labels == 0][None, :]
    tie = 0.0 if "ties-count-nothing" in wrong else 1.0 if "ties-count-whole" in wrong else 0.5
    return (ones > zeros).mean() + tie * (ones == zeros).mean()
