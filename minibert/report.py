"""What a finished run looks like to a person: every row scored the same way, one table, and plain words.

A frozen row never stands without the majority and bag-of-words rows, a classifier that predicts a single class
is called out, and one seed is called one seed. Next: `finetune.py`, the command.
"""

import math
import statistics

import numpy as np

from . import metrics

#   key in a row            heading
SCALARS = (
    ("accuracy",            "accuracy"),
    ("precision_macro",     "P macro"),
    ("recall_macro",        "R macro"),
    ("f1_macro",            "F1 macro"),
    ("auroc",               "AUROC"),
)  # fmt: skip
AVERAGED = (
    "accuracy", "precision_macro", "recall_macro", "f1_macro", "precision_weighted", "recall_weighted", "f1_weighted",
    "auroc", "mcc", "log_loss", "seconds",
)  # fmt: skip
TITLES = {"majority": "majority", "bag-of-words": "bag-of-words", "frozen": "frozen", "finetuned": "fine-tuned"}


def score(labels, probabilities, label_names, seconds, trainable_parameters):
    """One row of metrics.json: labels [N], probabilities [N, C] -> a dict of JSON values (an undefined one is None)."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    predictions, num_labels = probabilities.argmax(1), len(label_names)
    row = {"accuracy": metrics.accuracy(labels, predictions)}
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = metrics.precision_recall_f1(labels, predictions, average, num_labels)
        row |= {f"precision_{average}": precision, f"recall_{average}": recall, f"f1_{average}": f1}
    row |= {
        "auroc": metrics.roc_auc(labels, probabilities),
        "mcc": metrics.matthews_corrcoef(labels, predictions),
        "log_loss": metrics.log_loss(labels, probabilities),
        "confusion": metrics.confusion_matrix(labels, predictions, num_labels).tolist(),
    }
    per_class = metrics.precision_recall_f1(labels, predictions, None, num_labels)
    row["per_class"] = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
        for name, p, r, f, s in zip(label_names, *per_class, strict=True)
    }
    row |= {"seconds": round(seconds, 1), "trainable_parameters": trainable_parameters}
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


def combine(rows):
    """{seed: row} -> the row itself for one seed; for several, their `mean` and `std` (sample) beside `per_seed`."""
    if len(rows) == 1:
        return next(iter(rows.values()))
    mean, std = {}, {}
    for key in AVERAGED:
        values = [row[key] for row in rows.values()]
        if None not in values:
            mean[key], std[key] = statistics.mean(values), statistics.stdev(values)
    parameters = next(iter(rows.values()))["trainable_parameters"]
    return {"per_seed": rows, "mean": mean, "std": std, "trainable_parameters": parameters}


def result_table(rows, seeds):
    """The table of a run, one line per row, as text."""
    lines = [f"{'':<13}" + "".join(f"{heading:>16}" for _, heading in SCALARS) + f"{'trained':>13}{'seconds':>9}"]
    for name, row in rows.items():
        mean, std = row.get("mean", row), row.get("std", {})
        cells = [f"{_cell(mean.get(key), std.get(key)):>16}" for key, _ in SCALARS]
        tail = f"{row['trainable_parameters']:>13,}{mean['seconds']:>9,.0f}"
        lines.append(f"{TITLES[name]:<13}" + "".join(cells) + tail)
    count = f"mean ± standard deviation over seeds {', '.join(map(str, seeds))}"
    lines.append(count if len(seeds) > 1 else f"one seed ({seeds[0]}): how far another would differ is not known")
    return "\n".join(lines)


def _cell(mean, std):
    if mean is None:
        return "undefined"
    return f"{mean:.4f} ± {std:.4f}" if std is not None else f"{mean:.4f}"


def confusion_table(confusion, label_names):
    """Rows gold, columns predicted, as text."""
    width = max(8, *(len(name) for name in label_names)) + 2
    lines = ["gold \\ predicted".ljust(16) + "".join(f"{name:>{width}}" for name in label_names)]
    for name, counts in zip(label_names, confusion, strict=True):
        lines.append(f"{name:<16}" + "".join(f"{count:>{width},}" for count in counts))
    return "\n".join(lines)


def by_group(labels, groups, predictions):
    """Accuracy within each group of texts: {group: {"texts": count, row: accuracy, ...}}, largest group first.

    labels, groups: [N]. predictions: {row: [[N] for each seed]}; the accuracy is the mean over seeds.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    result = {}
    for group in sorted(set(groups.tolist()), key=lambda group: (-(groups == group).sum(), group)):
        inside = groups == group
        result[group] = {"texts": int(inside.sum())}
        for name, by_seed in predictions.items():
            accuracies = [metrics.accuracy(labels[inside], np.asarray(predicted)[inside]) for predicted in by_seed]
            result[group][name] = statistics.mean(accuracies)
    return result


def group_table(groups):
    """`by_group` as text, a line per group."""
    width = max(16, *(len(group) + 2 for group in groups))
    names = [name for name in TITLES if name in next(iter(groups.values()))]
    lines = ["accuracy".ljust(width) + f"{'texts':>7}" + "".join(f"{TITLES[name]:>14}" for name in names)]
    for group, values in groups.items():
        cells = "".join(f"{values[name]:>14.4f}" for name in names)
        lines.append(f"{group:<{width}}{values['texts']:>7,}{cells}")
    return "\n".join(lines)


def collapse_warning(name, predictions, label_names):
    """A line when all predictions are one class, else None."""
    classes = np.unique(predictions)
    if len(classes) > 1:
        return None
    return (
        f"WARNING: the {TITLES[name]} classifier predicts {label_names[classes[0]]!r} for every text. It learned "
        "nothing beyond the majority. Likely causes: a learning rate too high (the encoder was destroyed) or too "
        "low, too few updates, classes so uneven that --class-weights balanced is needed."
    )


def difference_line(labels, frozen, finetuned):
    """The paired bootstrap of fine-tuned minus frozen accuracy, in words."""
    difference, low, high = metrics.paired_bootstrap(labels, frozen, finetuned)
    if low <= 0 <= high:
        verdict = "the test set cannot tell them apart"
    else:
        verdict = f"{'fine-tuning' if difference > 0 else 'the frozen encoder'} is ahead"
    return (
        f"fine-tuned minus frozen: {100 * difference:+.2f} points of accuracy, "
        f"95% interval {100 * low:+.2f} to {100 * high:+.2f} (paired bootstrap over test texts): {verdict}"
    )


def choices(results, kept):
    """What was chosen on validation, a line per experiment; `kept` names the seed of each row."""
    lines = []
    for name in ("bag-of-words", "frozen"):
        if name in results:
            best = results[name][kept[name]]["tried"][0]
            what = ", ".join(str(best[key]) for key in ("pooling", "head", "setting") if key in best)
            lines.append(f"{name}: {what} (validation accuracy {best['accuracy']:.4f})")
    for seed, result in results.get("finetuned", {}).items():
        lines.append(
            f"fine-tuned, seed {seed}: epoch {result['best_epoch']} "
            f"(validation accuracy {result['validation_accuracy']:.4f})"
        )
    return "\n".join(lines)


def markdown(title, facts, sections):
    """report.md: a list of facts, then (heading, preformatted text) sections."""
    lines = [f"# {title}", ""] + [f"- {fact}" for fact in facts]
    for heading, text in sections:
        lines += ["", f"## {heading}", "", "```", text, "```"]
    return "\n".join(lines) + "\n"
