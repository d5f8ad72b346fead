"""What `explore` tells of a task's texts: in the terminal, and as data.html, data.md and data.json."""

import textwrap

from ..plumbing.files import write_text
from . import checks, compact_json, markdown, page, tables
from .data_facts import gather_data
from .legible import left, legible, right

SHOWN_CLASSES = 12  # in the terminal; the page has all


def write_data_report(task, sequences, tokenizer, limit, truncation, model, folder=None):
    """Print what there is to know of the texts before training; with a folder, write it there, too.

    sequences: {part: list of `batch.Sequence`}; limit, truncation: how a training would cut; model: the tokenizer's.
    """
    record = gather_exploration(task, sequences, tokenizer, limit, truncation, model)
    print_data(record)
    if folder is not None:
        write_text(folder / "data.json", compact_json.dump(record))
        write_text(folder / "data.html", page.render_data(record))
        write_text(folder / "data.md", markdown.render_data(record))
        print(f"\nsaved in {folder}: data.html, data.md, data.json")


def gather_exploration(task, sequences, tokenizer, limit, truncation, model):
    """{"task", "facts", "data": `data_facts.gather_data`'s record, "checks"}, JSON values."""
    data, _ = gather_data(task, sequences, tokenizer, limit, truncation)
    sizes, copies = data["sizes"], data["copies"]
    used = next(one for one in data["cut"] if one["limit"] == limit)
    findings = [
        checks.copies_across(copies["across"], copies["across_other_label"], sizes["test"]),
        checks.copies_inside(
            copies["in_test"], copies["in_train"], sizes["test"], sizes["train"] + sizes["validation"]
        ),
        checks.cut_texts(used, truncation, task.train.pairs is not None),
        checks.shortcut_words(data["shortcuts"], data["shortcut_share"], data["labels"]),
        checks.length_or_place(data["length"], data["place"], data["labels"]),
        checks.shift(data["shift"]),
        checks.pieces(data["pieces"]),
        checks.classes(data["balance"]["train"], data["labels"]),
    ]
    facts = [
        f"{sizes['train']:,} train, {sizes['validation']:,} validation, {sizes['test']:,} test; {task.splits}",
        f"tokenizer of {model}",
    ]
    return {"task": task.name, "facts": facts, "data": data, "checks": findings}


def print_data(record):
    """The record as tables of at most 80 columns."""
    for fact in ("", *record["facts"]):
        print(textwrap.fill(fact, tables.WIDTH))
    for title, text in (
        ("sizes and lengths, in tokens", size_table(record["data"])),
        ("classes", class_table(record["data"])),
        ("cut at a limit", cut_table(record["data"])),
        ("telling words", word_list(record["data"])),
    ):
        print("", title, text, sep="\n")
    print("", checks.summary(record["checks"]), sep="\n")
    found = tables.check_lines(record["checks"])
    if found:
        print(found)


def size_table(data):
    lines = [left("", 13) + "".join(right(name, 11) for name in ("texts", "mean", "median", "longest", "all tokens"))]
    for part, count in data["sizes"].items():
        one = data["lengths"]["parts"][part]
        cells = (
            f"{count:,}",
            f"{one['mean']:.0f}",
            f"{one['median']:.0f}",
            f"{one['longest']:,}",
            f"{one['tokens']:,}",
        )
        lines.append(left(part, 13) + "".join(right(cell, 11) for cell in cells))
    return "\n".join(lines)


def class_table(data):
    """Texts of each class in the three sets, the largest first, and its share of train."""
    balance, names = data["balance"], data["labels"]
    total = sum(balance["train"]) or 1
    order = sorted(range(len(names)), key=lambda i: -balance["train"][i])
    lines = [left("", 30) + "".join(right(part, 11) for part in balance) + right("of train", 11)]
    for i in order[:SHOWN_CLASSES]:
        cells = "".join(right(f"{counts[i]:,}", 11) for counts in balance.values())
        lines.append(left(names[i], 30) + cells + right(f"{100 * balance['train'][i] / total:.1f}%", 11))
    more = len(order) - SHOWN_CLASSES
    return "\n".join(lines + ([f"and {more} smaller classes"] if more > 0 else []))


def cut_table(data):
    used = data["lengths"]["limit"]
    lines = [left("tokens", 13) + right("texts cut", 13) + right("tokens lost", 13)]
    for one in data["cut"]:
        name = f"{one['limit']:,}" + (" (set)" if one["limit"] == used else "")
        lines.append(left(name, 13) + right(f"{one['texts']:.1%}", 13) + right(f"{one['tokens']:.1%}", 13))
    return "\n".join(lines)


def word_list(data):
    """For each class the words that pull towards it, and the share of their texts that are of the class."""
    lines = []
    for label, found in list(enumerate(data["words"]))[:SHOWN_CLASSES]:
        some = ", ".join(f"{one['word']} {one['share']:.0%}" for one in found) or "none beyond chance"
        name = legible(data["labels"][label], 30)
        lines += textwrap.wrap(f"{name}: {some}", tables.WIDTH, subsequent_indent="  ")
    return "\n".join(lines)
