"""TODO"""

import statistics

import numpy as np

from .. import metrics

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
