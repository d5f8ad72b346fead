"""Where the classifiers go wrong: by length, by confidence, by group, and the texts themselves."""

from . import pictures
from .blocks import COLOURS, TRAINED, fold, paragraph, picture
from .tables import MOST_GROUPS, TITLES


def error_blocks(record):
    """Where the classifiers go wrong, and the texts with which they do."""
    errors = record["errors"]
    blocks = [length_picture(errors), cut_picture(errors), confidence_picture(errors)]
    if record.get("groups"):
        blocks.append(group_picture(record))
    blocks = [block for block in blocks if block]
    if errors["agreement"]:
        both = errors["agreement"]
        blocks.append(paragraph(
            f"Frozen and fine-tuned are both right on {both['both']:,} test texts and both wrong on "
            f"{both['neither']:,}; "
            f"only the fine-tuned one is right on {both['finetuned']:,}, only the frozen one on {both['frozen']:,}."
        ))  # fmt: skip
    if errors["losses"]:
        about = []
        if any(one["words"] for one in errors["losses"]):
            about.append(paragraph(
                "Words that spoke for the predicted class are shaded orange, those against it blue and underlined, as "
                "strongly as it did (integrated gradients of the class's logit; predict --explain gives the numbers)."
            ))  # fmt: skip
        title = f"The surest mistakes of the {TITLES[errors['row']]} classifier"
        blocks.append(fold(title, [*about, {"kind": "cases", "cases": errors["losses"]}], True))
    if errors["disagreements"]:
        cases = {"kind": "cases", "cases": errors["disagreements"]}
        blocks.append(fold("Where frozen and fine-tuned disagree", [cases]))
    return blocks


def rows_of(bins):
    """The rows that a list of accuracies has."""
    return [name for name in TRAINED if bins and name in bins[0]]


def accuracy_bars(title, description, names, bins, how, first):
    rows = rows_of(bins)
    series = [{"name": TITLES[name], "colour": COLOURS[name], "values": [100 * one[name][0] for one in bins],
               "intervals": [(100 * one[name][1], 100 * one[name][2]) for one in bins]} for name in rows]  # fmt: skip
    table = [[label, f"{one['texts']:,}", *(f"{100 * one[name][0]:.2f}" for name in rows)]
             for label, one in zip(names, bins, strict=True)]  # fmt: skip
    return picture(title, pictures.bars(title, description, names, series, high=100, form="{:.1f}"), how,
                   [first, "texts", *(f"{TITLES[name]}, %" for name in rows)], table)  # fmt: skip


def length_picture(errors):
    bins = errors["by_length"]
    if len(bins) < 2:
        return None
    names = [f"{one['low']:,} to {one['high']:,}" if one["low"] < one["high"] else f"{one['low']:,}" for one in bins]
    return accuracy_bars("Accuracy by length", "Accuracy in % of test texts by their number of tokens.", names, bins,
                         "Test texts in groups of about equal size, by tokens before cutting; accuracy in %, with 95% "
                         "intervals. A fall to the longest says that what was cut off mattered.", "tokens")  # fmt: skip


def cut_picture(errors):
    bins = errors["by_cut"]
    if len(bins) < 2:
        return None
    return accuracy_bars("Whole and cut texts", "Accuracy in % of test texts that were read whole, and of cut ones.",
                         [one["name"] for one in bins], bins,
                         "Cut texts are longer than what is read. If they do worse, try a greater --max-length, more "
                         "--windows, or --truncation head+tail.", "text")  # fmt: skip


def confidence_picture(errors):
    """Accuracy by the probability of the answer."""
    bins = errors["by_confidence"]
    names = [f"{one['low']:g} to {one['high']:g}" for one in bins]
    series = [{"name": "", "colour": COLOURS[errors["row"]], "values": [100 * one["accuracy"] for one in bins]}]
    rows = [[name, f"{one['texts']:,}", f"{100 * one['accuracy']:.2f}"] for name, one in zip(names, bins, strict=True)]
    return picture(
        "Accuracy by confidence",
        pictures.bars("Accuracy by confidence", "Accuracy in % by the probability of the predicted class.", names,
                      series, high=100, form="{:.1f}%"),
        f"Texts by the probability that the {TITLES[errors['row']]} classifier gives its own answer; accuracy in %. A "
        "person may read the unsure ones and trust the rest.",
        ["probability", "texts", "accuracy, %"], rows,
    )  # fmt: skip


def group_picture(record):
    """Accuracy in each of the largest groups of texts."""
    groups = dict(list(record["groups"].items())[:MOST_GROUPS])
    bins = [{"texts": values["texts"]} | {name: values[name] for name in values if name != "texts"}
            for values in groups.values()]  # fmt: skip
    rows = [name for name in TRAINED if name in bins[0]]
    series = [{"name": TITLES[name], "colour": COLOURS[name], "values": [100 * one[name] for one in bins]}
              for name in rows]  # fmt: skip
    table = [[label, f"{one['texts']:,}", *(f"{100 * one[name]:.2f}" for name in rows)]
             for label, one in zip(groups, bins, strict=True)]  # fmt: skip
    title = f"Accuracy by {record['group_column']}"
    return picture(title, pictures.bars(title, f"{title}, in %.", list(groups), series, high=100, form="{:.1f}"),
                   "Accuracy in % within each group of texts, mean over seeds. Small groups move by chance: the table "
                   "has their sizes.", ["group", "texts", *(f"{TITLES[name]}, %" for name in rows)], table)  # fmt: skip
