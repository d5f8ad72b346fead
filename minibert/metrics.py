"""How good is a classifier? The usual figures, written out in NumPy.

Every function takes the truth first and the model's answer second, in scikit-learn's order, and agrees with
scikit-learn to 1e-12. A class is an index from 0 to C-1. Lists work as well as arrays.

    N   examples            labels         [N]      gold class of each example, whole numbers
    C   classes             predictions    [N]      predicted class, whole numbers
                            scores         [N]      any number that is higher where class 1 is likelier
                                           [N, C]   one such number for each class
                            probabilities  like scores, but in [0, 1]; rows of [N, C] sum to 1

Three kinds of question: which class was chosen (accuracy, confusion matrix, precision, recall, F1, Matthews),
are likelier examples ranked higher (AUROC, average precision), are the probabilities right (log loss). Then:
is the difference between two models luck (paired bootstrap)? Input that makes no sense raises ValueError.
"""

import math

import numpy as np


def _check_classes(name, values, num_classes=None):
    """Return `values` as int64 [N], or raise ValueError saying what is wrong with `name`."""
    values = np.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {values.shape}")
    if values.size == 0:
        raise ValueError(f"{name} is empty: a metric needs at least one example")
    if values.dtype.kind not in "iub":
        raise ValueError(f"{name} must be whole numbers (class indices), got {values.dtype}")
    if values.min() < 0:
        raise ValueError(f"{name} holds {values.min()}, but class indices start at 0")
    if num_classes is not None and values.max() >= num_classes:
        raise ValueError(f"{name} holds {values.max()}, too large for {num_classes} classes counted from 0")
    return values.astype(np.int64)  # a small type such as int8 would overflow in confusion_matrix


def _check_pair(labels, predictions, num_classes=None):
    """Return labels and predictions as int64 [N] each."""
    labels = _check_classes("labels", labels, num_classes)
    predictions = _check_classes("predictions", predictions, num_classes)
    if len(labels) != len(predictions):
        raise ValueError(f"labels and predictions differ in length: {len(labels)} and {len(predictions)}")
    return labels, predictions


def _check_scores(name, labels, scores):
    """Return labels as int64 [N] and scores as floats [N] or [N, C]; labels must fit the columns."""
    scores = np.asarray(scores)
    if scores.ndim not in (1, 2) or (scores.ndim == 2 and scores.shape[1] < 2):
        raise ValueError(f"{name} must have shape [N] or [N, C] with C of 2 or more, got {scores.shape}")
    labels = _check_classes("labels", labels, num_classes=2 if scores.ndim == 1 else scores.shape[1])
    if len(labels) != len(scores):
        raise ValueError(f"labels and {name} differ in length: {len(labels)} and {len(scores)}")
    if scores.dtype.kind not in "fiub" or not np.isfinite(scores).all():
        raise ValueError(f"{name} must be numbers, all of them finite: no NaN, no infinity")
    return labels, scores if scores.dtype.kind == "f" else scores.astype(np.float64)


# Which class was chosen?


def accuracy(labels, predictions):
    """Share of examples whose predicted class is the gold one, in [0, 1]."""
    labels, predictions = _check_pair(labels, predictions)
    return float((labels == predictions).mean())


def confusion_matrix(labels, predictions, num_classes=None):
    """Count every combination: entry [i, j] is how many examples of class i were predicted as j.

    Returns int64 [C, C], gold classes as rows. C is `num_classes`, or else the largest class seen, plus one.
    """
    labels, predictions = _check_pair(labels, predictions, num_classes)
    if num_classes is None:
        num_classes = int(max(labels.max(), predictions.max())) + 1
    # Number the cells of the matrix row by row; counting the examples of each cell is then one bincount.
    cells = labels * num_classes + predictions
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def _ratio(top, bottom):
    """top / bottom, with 0 where bottom is 0."""
    return np.divide(top, bottom, out=np.zeros(len(top)), where=bottom != 0)


def precision_recall_f1(labels, predictions, average=None, num_classes=None):
    """Per class: how far to trust a prediction of it, how much of it was found, and both in one figure.

    precision = right predictions of the class / all predictions of it
    recall    = right predictions of the class / all examples of it
    f1        = their harmonic mean, 2 * right / (predictions + examples); 0 / 0 counts as 0 everywhere

    average=None returns arrays [C]: precision, recall, f1, support (examples per class). The other choices
    return three floats and N. A class below `num_classes` that never occurs scores 0 and pulls macro down; where
    `num_classes` is not given, macro leaves out classes that never occur, as scikit-learn does.
      "macro"     plain mean over classes: a rare class counts as much as a common one
      "weighted"  mean over classes by support: common classes dominate
      "micro"     pool the counts of all classes first; with one label per example all three equal accuracy
    """
    if average not in (None, "macro", "weighted", "micro"):
        raise ValueError(f"average must be None, 'macro', 'weighted' or 'micro', got {average!r}")
    matrix = confusion_matrix(labels, predictions, num_classes)
    right, predicted, support = np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1)
    if average == "micro":
        right, predicted, support = (counts.sum(keepdims=True) for counts in (right, predicted, support))

    figures = _ratio(right, predicted), _ratio(right, support), _ratio(2 * right, predicted + support)
    if average is None:
        return *figures, support
    occurs = None if num_classes is not None or average == "micro" else support + predicted > 0
    weights = support if average == "weighted" else occurs
    return *(float(np.average(figure, weights=weights)) for figure in figures), int(support.sum())


def matthews_corrcoef(labels, predictions):
    """Correlation between gold and predicted classes: 1 perfect, 0 no better than chance, below 0 worse.

    Always answering the commonest class can look accurate; here every constant answer gets 0. So does a
    gold column of one class, where correlation is undefined. Any C: Gorodkin (2004), the R_K statistic.
    """
    # Floats, because the product of the two variances grows like N to the fourth power and overflows int64.
    matrix = confusion_matrix(labels, predictions).astype(np.float64)
    total, gold, predicted = matrix.sum(), matrix.sum(axis=1), matrix.sum(axis=0)
    covariance = np.trace(matrix) * total - gold @ predicted
    variances = (total**2 - gold @ gold) * (total**2 - predicted @ predicted)
    return float(covariance / np.sqrt(variances)) if variances > 0 else 0.0


# Are likelier examples ranked higher?


def _counts_by_threshold(positive, scores):
    """Lower a threshold past each distinct score, highest first, and count what lies at or above it.

    positive [N] bool, scores [N] -> true positives and false positives, int64 [distinct scores] each.
    Examples with equal scores pass together: no threshold can tell them apart, and counting them one by one
    would let the order of the file decide the result.
    """
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], np.cumsum(positive[order])
    last_of_tie = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    return found[last_of_tie], last_of_tie + 1 - found[last_of_tie]


def _binary_roc_auc(positive, scores):
    true_positives, false_positives = _counts_by_threshold(positive, scores)
    pairs = int(true_positives[-1]) * int(false_positives[-1])
    # Trapezoids under the curve, in whole examples. A tie of positives with negatives is one slanted step,
    # and the area under the slant is exactly the half credit of the tie.
    steps = np.diff(false_positives, prepend=0)
    heights = true_positives - np.diff(true_positives, prepend=0) / 2
    return float(steps @ heights / pairs) if pairs else float("nan")


def _binary_average_precision(positive, scores):
    true_positives, false_positives = _counts_by_threshold(positive, scores)
    gained = np.diff(true_positives, prepend=0)
    precision = true_positives / (true_positives + false_positives)
    return float(gained @ precision / max(true_positives[-1], 1))


def _over_classes(binary_metric, labels, scores):
    """Ask the yes/no question once for [N] or [N, 2]; else for each class against the rest, and average."""
    labels, scores = _check_scores("scores", labels, scores)
    if scores.ndim == 2 and scores.shape[1] == 2:
        scores = scores[:, 1]
    if scores.ndim == 1:
        return binary_metric(labels == 1, scores)
    return float(np.mean([binary_metric(labels == c, scores[:, c]) for c in range(scores.shape[1])]))


def roc_auc(labels, scores):
    """Area under the ROC curve: the chance that a random positive scores above a random negative.

    A tie counts one half; 1 is a perfect ranking, 0.5 a random one. Fawcett (2006), algorithm 2.
    scores [N]: binary; [N, 2]: binary, by column 1; [N, C]: each class against the rest, plain mean.
    Without positives or without negatives the area is undefined and the answer is nan; for [N, C] a single
    such class, for example one that is absent from labels, makes the mean nan.
    """
    return _over_classes(_binary_roc_auc, labels, scores)


def average_precision(labels, scores):
    """Precision at the threshold of each positive, averaged over the positives.

    The area under the precision-recall curve as a staircase: straight lines between its points, as for
    AUROC, would flatter (Davis and Goadrich, 2006). Chance level is the share of positives, not 0.5.
    scores [N]: binary; [N, 2]: binary, by column 1; [N, C]: each class against the rest, plain mean.
    A class without positives gets 0.
    """
    return _over_classes(_binary_average_precision, labels, scores)


# Are the probabilities right?


def softmax(logits):
    """Logits [N, C] -> probabilities [N, C], float64 NumPy."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)  # exp of a large logit would overflow
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def log_loss(labels, probabilities):
    """Mean of -ln(probability given to the gold class), in nats: 0 is perfect, ln C is uniform guessing.

    probabilities [N, C], or [N] holding the probability of class 1. It is the cross-entropy that training
    lowers. One confident mistake would cost infinity, so probabilities are first clipped to [eps, 1 - eps],
    with eps the spacing of their own type at 1 (2.2e-16 in float64, 1.2e-7 in float32), as scikit-learn does.
    ValueError for values outside [0, 1] and for rows that miss a sum of 1 by more than 0.01.
    """
    labels, probabilities = _check_scores("probabilities", labels, probabilities)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise ValueError("probabilities must lie in [0, 1]; apply softmax to logits first")
    if probabilities.ndim == 1:
        probabilities = np.stack([1 - probabilities, probabilities], axis=1)
    # 0.01 lets rows pass that a softmax in half precision rounded, and stops columns of unrelated sigmoids.
    if np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1).max() > 0.01:
        raise ValueError("probabilities of one example must sum to 1")
    eps = np.finfo(probabilities.dtype).eps
    of_gold = np.clip(probabilities[np.arange(len(labels)), labels], eps, 1 - eps)
    return float(-np.log(of_gold.astype(np.float64)).mean())


def surest_mistakes(labels, probabilities, count):
    """Indices of the wrong answers (by probabilities [N, C]), the least probability for the gold class first."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    order = np.argsort(probabilities[wrong, labels[wrong]], kind="stable")
    return wrong[order][:count].tolist()


# Is the difference between two models luck?


def paired_bootstrap(labels, predictions_a, predictions_b, metric=accuracy, resamples=10_000, confidence=0.95, seed=0):
    """By how much does model b beat model a, and how far could another test set move that?

    Draw N of the N examples with replacement, score both models on that same draw, repeat `resamples` times,
    and cut the tails off the differences (percentile interval: Efron and Tibshirani, 1993, chapter 13).
    Judging both on one draw is what "paired" means: examples that both find easy then cancel out.
    Returns (metric of b - metric of a, low, high). An interval that holds 0 leaves luck as an explanation.

    `metric` is any function of (labels, predictions); pass scores as predictions if that is what it takes.
    It runs 2 * resamples times, except accuracy, which has a shortcut. nan if undefined on some draw.
    """
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"need resamples >= 1 and 0 < confidence < 1, got {resamples} and {confidence}")
    labels, a, b = _check_classes("labels", labels), np.asarray(predictions_a), np.asarray(predictions_b)
    difference = metric(labels, b) - metric(labels, a)  # also checks a and b, before anything slow starts

    rng, n = np.random.default_rng(seed), len(labels)
    if metric is accuracy:
        # On each example b loses to a, ties, or wins. Only how often each of the three was drawn matters, and
        # drawing n examples with replacement makes those counts multinomial: no example is ever touched.
        outcome = (b == labels).astype(int) - (a == labels)
        losses, _, wins = rng.multinomial(n, [(outcome == o).mean() for o in (-1, 0, 1)], size=resamples).T
        differences = (wins - losses) / n
    else:
        draws = (rng.integers(n, size=n) for _ in range(resamples))
        differences = [metric(labels[rows], b[rows]) - metric(labels[rows], a[rows]) for rows in draws]
    low, high = np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return difference, float(low), float(high)


def student_t(freedom):
    """The 97.5th percentile of Student's t: so many standard errors to each side are a 95% interval of a mean.

    freedom: measurements less one. Beyond 10 it is that of 10, a little too wide.
    """
    table = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
    return table[min(freedom, len(table)) - 1]


# All of it at once


def classification_report(labels, predictions, label_names):
    """A table for people: a line per class, then accuracy and two means. label_names holds C strings."""
    classes = len(label_names)
    rows = list(zip(label_names, *precision_recall_f1(labels, predictions, num_classes=classes), strict=True))
    rows.append(("accuracy", "", "", accuracy(labels, predictions), len(labels)))
    for average in ("macro", "weighted"):
        rows.append((f"{average} mean", *precision_recall_f1(labels, predictions, average, classes)))

    width = max(len(name) for name, *_ in rows)
    lines = [f"{'':{width}}  precision   recall       f1  support"]
    for name, precision, recall, f1, support in rows:
        precision, recall, f1 = (x if x == "" else f"{x:.4f}" for x in (precision, recall, f1))
        lines.append(f"{name:{width}}  {precision:>9}  {recall:>7}  {f1:>7}  {support:>7}")
    lines.insert(1 + classes, "")  # a gap between the classes and what sums them up
    return "\n".join(lines)


def mean_absolute_error(labels, predictions, values):
    """How far off the predictions are on average. labels, predictions: [N] class indices; values: [C] their numbers."""
    values = np.asarray(values, dtype=np.float64)
    return float(np.abs(values[np.asarray(labels)] - values[np.asarray(predictions)]).mean())


def score(labels, probabilities, label_names):
    """A row of figures for one model: labels [N], probabilities [N, C] -> a dict of JSON values.

    It is a row of a run's metrics.json, but for its seconds and parameters. A figure that is undefined is None.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    predictions, num_labels = probabilities.argmax(1), len(label_names)
    row = {"accuracy": accuracy(labels, predictions)}
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = precision_recall_f1(labels, predictions, average, num_labels)
        row |= {f"precision_{average}": precision, f"recall_{average}": recall, f"f1_{average}": f1}
    row |= {
        "auroc": roc_auc(labels, probabilities),
        "mcc": matthews_corrcoef(labels, predictions),
        "log_loss": log_loss(labels, probabilities),
        "confusion": confusion_matrix(labels, predictions, num_labels).tolist(),
    }
    per_class = precision_recall_f1(labels, predictions, None, num_labels)
    row["per_class"] = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(label_names, *per_class, strict=True)
    }
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
