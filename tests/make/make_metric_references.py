"""Write tests/references/metrics.json: random cases and what scikit-learn says about each of them.

Run from the repository root, in an environment with scikit-learn:

    python tests/make/make_metric_references.py

Inputs are stored beside the answers, one case per line, so that the tests need neither scikit-learn nor the
same random numbers. An undefined AUROC (nan) is stored as null. Scores have two decimals at most, which makes
ties common; JSON gives back the very same floats.
"""

import json
import warnings
from pathlib import Path

import numpy as np
import sklearn
from sklearn import metrics

TARGET = Path(__file__).parent.parent / "references" / "metrics.json"
CASES = 240
SIZES = [1, 2, 3, 5, 8, 17, 40, 64]


def make_inputs(number, rng):
    """Labels and predictions [N], a score per class [N, C] that sums to 1, and raw scores [N, C] that do not.

    The number of the case decides what is special about it, so that every peculiarity turns up equally often
    and with every number of classes.
    """
    num_classes, kind = 2 + number % 5, number // 5 % 8
    size = int(rng.choice(SIZES))
    shares = rng.dirichlet(np.full(num_classes, 2.0))
    labels = rng.choice(num_classes, size=size, p=shares)
    if size >= num_classes:
        labels[:num_classes] = rng.permutation(num_classes)  # every class occurs, unless changed below
    predictions = np.where(rng.random(size) < 0.6, labels, rng.integers(num_classes, size=size))
    if kind == 1:
        predictions = labels.copy()
    elif kind == 2:
        predictions = np.full(size, rng.integers(num_classes))
    elif kind == 3:  # a class that never occurs
        labels = np.where(labels == num_classes - 1, 0, labels)
    elif kind == 4:  # a class that is never predicted
        predictions = np.where(predictions == 0, num_classes - 1, predictions)
    elif kind == 5:  # a class that neither occurs nor is predicted
        labels, predictions = np.minimum(labels, num_classes - 2), np.minimum(predictions, num_classes - 2)
    elif kind == 6:
        labels = np.full(size, rng.integers(num_classes))

    # Probabilities are shares of a few votes: few votes, many ties. Some of them are exactly 0 or 1.
    votes = int(rng.choice([4, 10, 100]))
    leaning = rng.dirichlet(np.ones(num_classes), size=size) + 0.7 * np.eye(num_classes)[predictions]
    probabilities = np.stack([rng.multinomial(votes, row / row.sum()) for row in leaning]) / votes
    if kind == 7:  # one big tie
        raw = np.zeros((size, num_classes))
    else:
        decimals = int(rng.choice([0, 1, 2]))
        raw = (3 * probabilities + rng.normal(size=probabilities.shape)).round(decimals) + 0.0  # no -0.0
    return num_classes, labels, predictions, probabilities, raw


def answers(num_classes, labels, predictions, probabilities, raw):
    """Every figure scikit-learn has for one case."""
    classes = range(num_classes)
    one_hot = np.eye(num_classes, dtype=int)[labels]
    figures = {
        "accuracy": metrics.accuracy_score(labels, predictions),
        "confusion_matrix": metrics.confusion_matrix(labels, predictions, labels=classes).tolist(),
        "matthews_corrcoef": metrics.matthews_corrcoef(labels, predictions),
        "log_loss": metrics.log_loss(labels, probabilities, labels=classes),
        "log_loss_float32": metrics.log_loss(labels, probabilities.astype(np.float32), labels=classes),
    }
    for average in (None, "macro", "weighted", "micro"):
        *prf, support = metrics.precision_recall_fscore_support(
            labels, predictions, labels=classes, average=average, zero_division=0
        )
        figures[f"precision_recall_f1 {average}"] = np.array(prf).tolist()
        if average is None:
            figures["support"] = support.tolist()
    if num_classes == 2:
        figures["roc_auc probabilities"] = metrics.roc_auc_score(labels, probabilities[:, 1])
        figures["roc_auc raw"] = metrics.roc_auc_score(labels, raw[:, 1])
        figures["average_precision raw"] = metrics.average_precision_score(labels, raw[:, 1])
    else:
        figures["roc_auc probabilities"] = metrics.roc_auc_score(
            labels, probabilities, multi_class="ovr", average="macro", labels=classes
        )
        # For raw scores scikit-learn wants the classes as separate yes/no columns.
        figures["roc_auc raw"] = metrics.roc_auc_score(one_hot, raw, average="macro")
        figures["average_precision raw"] = metrics.average_precision_score(one_hot, raw, average="macro")
    columns = list(zip(one_hot.T, raw.T, strict=True))
    by_class = [metrics.roc_auc_score(yes, score) for yes, score in columns]
    figures["roc_auc by class"] = [None if np.isnan(area) else area for area in by_class]
    figures["average_precision by class"] = [metrics.average_precision_score(*column) for column in columns]
    return {name: None if value != value else value for name, value in figures.items()}  # nan is not itself


def main():
    warnings.simplefilter("ignore")  # scikit-learn warns about 0 / 0 and undefined areas, which are the point
    rng = np.random.default_rng(20)
    lines = []
    for number in range(CASES):
        num_classes, labels, predictions, probabilities, raw = make_inputs(number, rng)
        case = {
            "num_classes": num_classes,
            "labels": labels.tolist(),
            "predictions": predictions.tolist(),
            "probabilities": probabilities.tolist(),
            "raw": raw.tolist(),
            "sklearn": answers(num_classes, labels, predictions, probabilities, raw),
        }
        lines.append(json.dumps(case, separators=(",", ":"), allow_nan=False))
    TARGET.parent.mkdir(exist_ok=True)
    header = f'{{"made_by":"scikit-learn {sklearn.__version__}","cases":[\n'
    TARGET.write_text(header + ",\n".join(lines) + "\n]}\n", encoding="utf-8")
    print(f"{TARGET}: {CASES} cases, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
