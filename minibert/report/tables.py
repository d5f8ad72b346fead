"""Tables for a terminal: plain text of at most 80 columns, the same on a screen and in a file."""

import statistics
import textwrap

import numpy as np

from .. import metrics
from .legible import columns, left, legible, right

WIDTH = 80
#   key in a row            heading      columns
SCALARS = (
    ("accuracy",            "accuracy",  10),
    ("precision_macro",     "P macro",   9),
    ("recall_macro",        "R macro",   9),
    ("f1_macro",            "F1 macro",  10),
    ("auroc",               "AUROC",     10),
)  # fmt: skip
AVERAGED = (
    "accuracy", "precision_macro", "recall_macro", "f1_macro", "precision_weighted", "recall_weighted", "f1_weighted",
    "auroc", "mcc", "log_loss", "mean_absolute_error", "seconds",
)  # fmt: skip
TITLES = {"majority": "majority", "bag-of-words": "bag-of-words", "untrained": "untrained", "frozen": "frozen",
          "finetuned": "fine-tuned", "ensemble": "ensemble"}  # fmt: skip
LABEL = 16  # columns of a class's name
COLUMN = 13  # of a table by group
MOST_GROUPS = 20  # lines of groups, or of further test sets, on a terminal
LARGEST = 10  # confusions listed where the whole matrix has no room


def combine(rows):
    """{seed: row} -> the row itself for one seed; for several, their `mean` and `std` (sample) beside `per_seed`."""
    if len(rows) == 1:
        return next(iter(rows.values()))
    mean, std = {}, {}
    for key in AVERAGED:
        values = [row.get(key) for row in rows.values()]
        if None not in values:
            mean[key], std[key] = statistics.mean(values), statistics.stdev(values)
    combined = {"per_seed": rows, "mean": mean, "std": std}
    first = next(iter(rows.values()))
    return combined | {key: first[key] for key in ("trainable_parameters",) if key in first}


def result_table(rows, seeds):
    """The table of a run, as text: a line per row, and under it a line of spreads where there are several seeds."""
    lines = [left("", 13) + "".join(right(heading, width) for _, heading, width in SCALARS) + right("trained", 12)
             + right("sec", 7)]  # fmt: skip
    for name, row in rows.items():
        mean, std = row.get("mean", row), row.get("std")
        cells = "".join(right(_cell(mean.get(key)), width) for key, _, width in SCALARS)
        tail = right(f"{row['trainable_parameters']:,}", 12) + right(f"{mean['seconds']:,.0f}", 7)
        lines.append(left(TITLES[name], 13) + cells + tail)
        if std:
            spreads = "".join(right(f"±{std[key]:.4f}" if key in std else "", width) for key, _, width in SCALARS)
            lines.append(left("", 13) + spreads)
    count = f"mean ± standard deviation over seeds {', '.join(map(str, seeds))}"
    lines.append(count if len(seeds) > 1 else f"one seed ({seeds[0]}): how far another would differ is not known")
    return "\n".join(lines)


def error_line(rows, unit):
    """How far off each row is on average, in a line. rows: as in `result_table`; unit: what labels are numbers of."""
    means = {name: row.get("mean", row)["mean_absolute_error"] for name, row in rows.items()}
    return f"mean absolute error in {unit}: " + ", ".join(f"{TITLES[name]} {mean:.3f}" for name, mean in means.items())


def _cell(value):
    return "undefined" if value is None else f"{value:.4f}"


def confusion_table(confusion, label_names):
    """Rows gold, columns predicted, as text; where 80 columns do not hold it, the largest confusions."""
    names = [legible(name, 80) for name in label_names]
    if isinstance(confusion, dict):
        return largest_confusions([cell for cell in confusion["cells"] if cell[0] != cell[1]], names)
    widths = [max(8, min(LABEL, columns(name)) + 2) for name in names]
    start = max(len("gold \\ predicted"), min(LABEL, max(map(columns, names)))) + 1
    if start + sum(widths) > WIDTH:
        cells = [[i, j, n] for i, row in enumerate(confusion) for j, n in enumerate(row) if i != j and n]
        return largest_confusions(cells, names)
    lines = [
        left("gold \\ predicted", start)
        + "".join("  " + right(name, width - 2) for name, width in zip(names, widths, strict=True))
    ]
    for name, counts in zip(names, confusion, strict=True):
        cells = (right(f"{count:,}", width) for count, width in zip(counts, widths, strict=True))
        lines.append(left(name, start) + "".join(cells))
    return "\n".join(lines)


def largest_confusions(cells, names):
    """The most frequent mistakes, a line each. cells: [[gold, predicted, texts]]."""
    cells = sorted(cells, key=lambda cell: -cell[2])
    lines = [left("gold", 28) + left("predicted", 28) + right("texts", 8)]
    lines += [left(names[i], 27) + " " + left(names[j], 27) + " " + right(f"{n:,}", 8) for i, j, n in cells[:LARGEST]]
    more = len(cells) - LARGEST
    return "\n".join(lines + ([f"and {more:,} other pairs"] if more > 0 else []))


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


def accuracies_on(also_tests):
    """Further test sets as `group_table` takes them: {name: {"texts", row: mean accuracy}}."""
    found = {}
    for name, one in also_tests.items():
        accuracies = {row: figures.get("mean", figures)["accuracy"] for row, figures in one["rows"].items()}
        found[name] = {"texts": one["texts"]} | accuracies
    return found


def group_table(groups):
    """`by_group` as text, a line for each of the first MOST_GROUPS."""
    groups, left_out = dict(list(groups.items())[:MOST_GROUPS]), len(groups) - MOST_GROUPS
    width = min(WIDTH - 7 - 4 * COLUMN, max(16, *(columns(group) + 2 for group in groups)))
    present = next(iter(groups.values()))
    names = [name for name in TITLES if name in present and name not in ("untrained", "ensemble")]  # no room for more
    lines = [left("accuracy", width) + right("texts", 7) + "".join(right(TITLES[name], COLUMN) for name in names)]
    for group, values in groups.items():
        cells = "".join(right(f"{values[name]:.4f}", COLUMN) for name in names)
        lines.append(left(group, width) + right(f"{values['texts']:,}", 7) + cells)
    if left_out > 0:
        lines.append(f"and {left_out:,} more in metrics.json")
    return "\n".join(lines)


def check_lines(findings):
    """What the checks found, a paragraph each."""
    lines = []
    for one in findings:
        if one["status"] == "found":
            lines += textwrap.wrap(f"- {one['name']}: {one['sentence']}", WIDTH, subsequent_indent="  ")
            lines += textwrap.wrap(
                f"what to do: {one['advice'].replace('`', '')}", WIDTH, initial_indent="  ", subsequent_indent="  "
            )
    return "\n".join(lines)
