"""The answer: who won and by how much, the table of rows, and how sure it is."""

from . import pictures, words
from .blocks import COLOURS, paragraph, percent, picture, plain, table
from .checks import summary
from .tables import TITLES, error_line

FIGURES = (
    ("accuracy", "accuracy"), ("precision_macro", "precision"), ("recall_macro", "recall"), ("f1_macro", "F1"),
    ("auroc", "AUROC"),
)  # fmt: skip


def answer_blocks(record):
    lead, *rest = record["answer"]
    blocks = [{"kind": "lead", "text": lead}, paragraph(" ".join(rest)), *map(paragraph, record["notes"])]
    blocks.append(paragraph(f"The run checked itself: {summary(record['checks'], name_them=True)}."))
    blocks += [result_table(record), *also_tests(record), comparison(record), intervals(record)]
    return blocks + ([roc(record)] if any(record["roc"].values()) else [])


def result_table(record):
    """A line for each row, with spreads where there are several seeds."""
    head = ["", *(name for _, name in FIGURES), "log loss", "trained", "seconds"]
    rows = []
    for name, row in record["rows"].items():
        mean, std = row.get("mean", row), row.get("std", {})
        cells = [percent(mean.get(key), std.get(key)) for key, _ in FIGURES[:-1]]
        cells += [plain(mean.get(key), std.get(key)) for key in ("auroc", "log_loss")]
        rows.append([TITLES[name], *cells, f"{row['trainable_parameters']:,}", f"{mean['seconds']:,.0f}"])
    note = (
        f"On {record['test_texts']:,} test texts; precision, recall and F1 are means over the classes (macro), in %. "
        f"{words.capital(words.seeds_line(record['seeds']))}."
    )
    if record["unit"]:
        note += f" {words.capital(error_line(record['rows'], record['unit']))}."
    return table(head, rows, note)


def also_tests(record):
    """A table for each further test set."""
    blocks = []
    for name, one in record["also_tests"].items():
        rows = []
        for row, figures in one["rows"].items():
            mean, std = figures.get("mean", figures), figures.get("std", {})
            cells = [percent(mean.get(key), std.get(key)) for key, _ in FIGURES[:-1]]
            cells += [plain(mean.get(key), std.get(key)) for key in ("auroc", "log_loss")]
            rows.append([TITLES[row], *cells])
        note = f"The same classifiers on {name}, {one['texts']:,} texts"
        note += f", {one['seen']:,} of them in train or validation, too." if one["seen"] else (
            " that none of them was trained or chosen on."
        )
        blocks.append(table([name, *(title for _, title in FIGURES), "log loss"], rows, note))
    return blocks


def comparison(record):
    """All rows side by side, figure by figure."""
    names = [name for _, name in FIGURES]
    series, rows = [], []
    for name, row in record["rows"].items():
        mean = row.get("mean", row)
        values = [mean.get(key) for key, _ in FIGURES]
        series.append({"name": TITLES[name], "colour": COLOURS[name], "values": values})
        rows.append([TITLES[name], *(plain(value) for value in values)])
    return picture(
        "All rows side by side",
        pictures.bars("All rows side by side", "Accuracy, precision, recall, F1, AUROC of each classifier, from 0 "
                      "to 1.", names, series, high=1, form="{:.3f}"),
        "Longer is better; 1 is perfect. A classifier is worth its cost only as far as it leaves the bag of words "
        "behind. AUROC 0.5 is chance.",
        ["", *names], rows,
    )  # fmt: skip


def intervals(record):
    """Accuracy with its interval over test texts."""
    names = list(record["intervals"])
    values = [words.kept_row(record, name)["accuracy"] for name in names]
    ends = [record["intervals"][name] for name in names]
    rows = [[TITLES[name], f"{100 * value:.2f}", f"{100 * low:.2f} to {100 * high:.2f}"]
            for name, value, (low, high) in zip(names, values, ends, strict=True)]  # fmt: skip
    series = [{"name": "", "colour": [COLOURS[name] for name in names], "values": [100 * value for value in values],
               "intervals": [(100 * low, 100 * high) for low, high in ends]}]  # fmt: skip
    return picture(
        "How sure is each accuracy?",
        pictures.bars("Accuracy with 95% intervals", "Accuracy of each classifier in %, with its 95% interval.",
                      [TITLES[name] for name in names], series, high=100, form="{:.1f}%"),
        "Accuracy in %, of the seed that was kept. The thin line is Wilson's 95% interval: where the figure could lie "
        "if other test texts had been drawn. The paired difference above is sharper, because both classifiers saw the "
        "same texts.",
        ["", "accuracy, %", "95% interval"], rows,
    )  # fmt: skip


def roc(record):
    """One ROC curve for each classifier."""
    series, rows = [], []
    for name, curve in record["roc"].items():
        if curve:
            series.append({"name": TITLES[name], "colour": COLOURS[name], "x": curve["x"], "y": curve["y"]})
            rows.append((name, curve))
    points = [0.01, 0.05, 0.1, 0.2, 0.5]
    numbers = [[TITLES[name], *(f"{at(curve, x):.3f}" for x in points)] for name, curve in rows]
    what = f"class {record['labels'][1]}" if len(record["labels"]) == 2 else "each class against the rest, mean"
    return picture(
        "ROC curves",
        pictures.lines("ROC curves", "True positive rate against false positive rate.", series,
                       "false positive rate", "true positive rate", (0, 1), (0, 1), diagonal=True),
        f"How many of the right texts are found (upwards) when so many wrong ones are let in (to the right), for every "
        f"threshold: {what}. The higher the better; the diagonal is chance.",
        ["true positive rate at", *(f"{x:g}" for x in points)], numbers,
    )  # fmt: skip


def at(curve, x):
    """The height of a curve at x, between its points."""
    pairs = list(zip(curve["x"], curve["y"], strict=True))
    for (x1, y1), (x2, y2) in zip(pairs, pairs[1:], strict=False):
        if x1 <= x <= x2:
            return y1 + (y2 - y1) * (x - x1) / ((x2 - x1) or 1)
    return pairs[-1][1]
