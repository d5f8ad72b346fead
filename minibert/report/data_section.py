"""The data in words and pictures: balance, lengths, what is cut, telling words, copies. Of a run, and of `explore`."""

from . import pictures
from .blocks import CLASS_COLOURS, fold, paragraph, picture, table

SHOWN = 15  # classes with bars of their own
OTHERS = "all others"


def data_section(data):
    """The blocks of a `data_facts.gather_data` record."""
    return [sizes(data), balance(data), length_picture(data), cut_picture(data), *word_blocks(data), *copy_blocks(data)]


def sizes(data):
    rows = []
    for part, count in data["sizes"].items():
        length = data["lengths"]["parts"][part]
        rows.append([part, f"{count:,}", f"{length['mean']:.0f}", f"{length['median']:.0f}", f"{length['longest']:,}",
                     f"{length['tokens']:,}"])  # fmt: skip
    return table(["set", "texts", "tokens, mean", "median", "longest", "all tokens"], rows,
                 f"Splits: {data['splits']}. Tokens are word pieces, special ones included, before anything is "
                 "cut.")  # fmt: skip


def balance(data):
    """The share of each class in the three sets."""
    names, train = data["labels"], data["balance"]["train"]
    order = list(range(len(names)))
    if len(names) > SHOWN + 1:
        order = sorted(order, key=lambda i: -train[i])[:SHOWN]
    shown, rows = [names[i] for i in order], [[names[i], *(f"{counts[i]:,}" for counts in data["balance"].values())]
                                              for i in range(len(names))]  # fmt: skip
    rest = len(names) - len(order)
    series = []
    for (part, counts), colour in zip(data["balance"].items(), ("c-1", "c-2", "c-3"), strict=True):
        total = sum(counts)
        values = [100 * counts[i] / total for i in order]
        if rest:
            values.append(100 * (total - sum(counts[i] for i in order)) / total)
        series.append({"name": part, "colour": colour, "values": values})
    shown += [f"{rest} others"] if rest else []
    return picture(
        "Label balance",
        pictures.bars("Label balance", "Share of each class in train, validation and test, in %.", shown, series,
                      form="{:.1f}%"),
        "Share of each class in %, and in numbers its texts. The three sets should agree; a class with a few texts is "
        "learned badly and measured badly.",
        ["class", *data["balance"]], rows,
    )  # fmt: skip


def length_picture(data):
    """How long texts are, class by class, with the line where they are cut."""
    lengths, names = data["lengths"], data["labels"]
    edges = lengths["edges"]
    middles = [(low + high) / 2 for low, high in zip(edges, edges[1:], strict=False)]
    series = []
    for number, curve in enumerate(lengths["by_class"]):
        name = OTHERS if curve["label"] is None else names[curve["label"]]
        series.append({"name": name, "colour": CLASS_COLOURS[number], "x": middles,
                       "y": [100 * share for share in curve["shares"]]})  # fmt: skip
    limit = lengths["limit"]
    rows = [[f"{low:.0f} to {high:.0f}", *(f"{one['y'][i]:.2f}" for one in series)]
            for i, (low, high) in enumerate(zip(edges, edges[1:], strict=False))]  # fmt: skip
    longest = lengths["parts"]["train"]["longest"]
    if limit <= edges[-1]:
        seen = f"the dashed line is the limit of {limit} tokens"
    elif longest <= limit:
        seen = f"none of these reaches the limit of {limit} tokens"
    else:
        seen = f"the limit of {limit} tokens lies beyond the picture"
    return picture(
        "Length by class",
        pictures.lines("Length by class", "Share of training texts by number of tokens, for each class.", series,
                       "tokens", "% of the class", (0, edges[-1]), marks=[(limit, f"cut at {limit}")]),
        f"Training texts, up to the 99th percentile; {seen}. Curves that lie apart let a classifier tell classes by "
        "length alone.",
        ["tokens", *(f"{one['name']}, %" for one in series)], rows,
    )  # fmt: skip


def cut_picture(data):
    """What some limits would cut off."""
    rows = [[f"{one['limit']:,}", f"{100 * one['texts']:.1f}", f"{100 * one['tokens']:.1f}"] for one in data["cut"]]
    series = [
        {"name": "texts cut", "colour": "c-1", "values": [100 * one["texts"] for one in data["cut"]]},
        {"name": "tokens lost", "colour": "c-2", "values": [100 * one["tokens"] for one in data["cut"]]},
    ]
    used = data["lengths"]["limit"]
    names = [f"{one['limit']:,}" + (" (used)" if one["limit"] == used else "") for one in data["cut"]]
    return picture(
        "What a limit cuts off",
        pictures.bars("What a limit cuts off", "Share of training texts cut and of tokens lost at some limits, in %.",
                      names, series, high=100, form="{:.1f}%"),
        "For some numbers of tokens that are read: the share of training texts that are longer, and of all tokens that "
        "are lost. Time grows with the limit.",
        ["limit, tokens", "texts cut, %", "tokens lost, %"], rows,
    )  # fmt: skip


def word_blocks(data):
    """Telling words of each class, and shortcuts where there are any."""
    names, blocks = data["labels"], []
    rows = [
        [names[label], ", ".join(f"{one['word']} ({100 * one['share']:.0f}%)" for one in found) or "none beyond chance"]
        for label, found in enumerate(data["words"])
    ]
    words = table(["class", "telling words"], rows,
                  "Words that stand in texts of the class and not in others, strongest first; in brackets the share "
                  "of the word's texts that are of the class.")  # fmt: skip
    blocks.append(words if len(rows) <= 8 else fold("Telling words of each class", [words]))
    if data["shortcuts"]:
        rows = [[one["word"], names[one["label"]], f"{one['texts']:,}", f"{100 * one['share']:.1f}"]
                for one in data["shortcuts"][:40]]  # fmt: skip
        found = table(["word or mark", "class", "texts", "of the class, %"], rows,
                      f"Each of these all but decides by itself; {100 * data['shortcut_share']:.1f}% of the test "
                      "texts hold one. A classifier may learn them instead of the language.")  # fmt: skip
        blocks.append(fold(f"Shortcut words and marks: {len(data['shortcuts'])}", [found]))
    return blocks


def copy_blocks(data):
    """Copies, pieces and the difference between train and test, in words."""
    copies, shares = data["copies"], data["pieces"]
    text = (
        f"Copies: {copies['across']:,} test texts also stand in train or validation; {copies['in_test']:,} extra "
        f"copies inside test, {copies['in_train']:,} inside train and validation. Tokens: "
        f"{100 * shares['unknown']:.2f}% [UNK], {100 * shares['single']:.2f}% single letters of words that the "
        "vocabulary could not cut better."
    )
    if data["shift"]:
        text += f" A bag of words tells train from test with AUROC {data['shift']['auroc']:.3f} (0.5 is chance)."
    blocks = [paragraph(text)]
    if copies["examples"]:
        rows = [[one["test"], one["train"], one["text"]] for one in copies["examples"]]
        found = table(["test", "train", "text"], rows)
        blocks.append(fold(f"Test texts seen in training: {copies['across']:,}", [found]))
    return blocks
