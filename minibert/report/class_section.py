"""Class by class: confusion matrices, precision and recall."""

from . import pictures, words
from .blocks import TRAINED, fold, picture, table
from .tables import TITLES

CONFUSIONS = 15  # listed of many classes


def class_blocks(record):
    blocks = []
    for name in TRAINED:
        if name in record["rows"]:
            blocks.append(confusion(record, name))
    return blocks + [per_class(record)]


def confusion(record, name):
    """The confusion matrix as a picture; of more than 50 classes the largest confusions as a table."""
    counts, names = words.kept_row(record, name)["confusion"], record["labels"]
    title = f"Confusion, {TITLES[name]}"
    if isinstance(counts, dict):
        cells = [cell for cell in counts["cells"] if cell[0] != cell[1]]
    else:
        cells = [[i, j, n] for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
    largest = sorted(cells, key=lambda cell: -cell[2])[:CONFUSIONS]
    listed = [[names[i], names[j], f"{n:,}"] for i, j, n in largest]
    if isinstance(counts, dict):
        note = f"{title}: the largest of {len(cells):,} kinds; all are in metrics.json."
        return table(["gold", "predicted", "texts"], listed, note)
    small = len(names) <= pictures.PLAIN_CELLS
    head = ["gold \\ predicted", *names] if small else ["gold", "predicted", "texts"]
    rows = [[name, *(f"{n:,}" for n in row)] for name, row in zip(names, counts, strict=True)] if small else listed
    how = "A row is a gold class, a column what was predicted; dark cells off the diagonal are the common mistakes."
    if not small:
        how += " Classes are numbered as in the table per class below."
    return picture(
        title, pictures.heat_map(title, f"Test texts by gold and predicted class, {TITLES[name]}.", counts, names),
        how, head, rows,
    )  # fmt: skip


def per_class(record):
    """Precision, recall and F1 of each class, by the row that is best on validation."""
    name = record["best"]
    rows = []
    for number, (label, figures) in enumerate(words.kept_row(record, name)["per_class"].items(), 1):
        title = record["labels"][number - 1] if number <= len(record["labels"]) else label
        title = f"{number}. {title}" if len(record["labels"]) > pictures.PLAIN_CELLS else title
        rows.append([title, *(f"{100 * figures[key]:.2f}" for key in ("precision", "recall", "f1")),
                     f"{figures['support']:,}"])  # fmt: skip
    note = (
        f"{words.capital(TITLES[name])}, {words.why_best(record)}, in %. Precision: how far to trust a prediction of "
        "the class; recall: how much of the class was found."
    )
    found = table(["class", "precision", "recall", "F1", "test texts"], rows, note)
    return found if len(rows) <= 20 else fold(f"Each of the {len(rows)} classes", [found])
