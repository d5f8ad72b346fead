"""A sentence's way through the model as a page, from `trace.trace`'s record, and the file that it becomes."""

import textwrap

from ..plumbing.files import write_text
from . import pictures, tables
from .blocks import fold, paragraph, picture, source, table
from .legible import legible
from .page import render
from .trace_layers import BY_HAND, attention_blocks, embedding_blocks, layer_blocks
from .trace_pictures import piece_name

MARKS = {  # what pieces carry that is no letter of the text -> what it means
    "##": "A piece that begins with ## goes on with the word before it.",
    "\u0120": "\u0120 stands for a space. This vocabulary is made of bytes; each has a sign.",
    "\u2581": "\u2581 stands for a space.",
}
FEW_LABELS = 12  # of a head with more labels, the most probable ones
POOLINGS = {
    "cls": "the first piece's vector stands for the whole text",
    "mean": "the mean of all pieces' vectors stands for the whole text",
    "pooler": "the first piece's vector, after a linear layer and tanh (the pooler), stands for the whole text",
}
HEADS = {
    "linear": "one linear layer",
    "mlp": "a linear layer, ReLU, and a linear layer",
    "tanh": "a linear layer, tanh, and a linear layer",
    "gelu": "a linear layer, GELU, and a linear layer",
}


def write_trace(record, path):
    """Write the page of a `trace.trace_of` record, and say in a line or two what is in it."""
    write_text(path, render_trace(record))
    pieces = f"{len(record['pieces'])} pieces through {record['layer_count']} layers of {record['head_count']} heads"
    print(f"{path}: {pieces}")
    print(textwrap.fill(sum_of_checks(record["checks"]), tables.WIDTH))


def render_trace(record):
    """The whole page."""
    facts = [f"model {legible(record['model'], 80)}", shape_of(record)]
    sections = [
        ("In short", short_blocks(record)),
        ("Pieces", piece_blocks(record)),
        ("Embeddings", embedding_blocks(record)),
        ("Attention", attention_blocks(record)),
        ("What each layer adds", layer_blocks(record)),
        ("Pooling", pooling_blocks(record)),
        ("Head and logits", head_blocks(record)),
        ("Words that decided", word_blocks(record)),
        ("Do the parts add up?", check_blocks(record)),
    ]
    return render(f"“{legible(record['text'], 60)}”, step by step", facts,
                  [(title, blocks) for title, blocks in sections if blocks])  # fmt: skip


def shape_of(record):
    layers = f"{record['layer_count']} layers of {record['head_count']} heads"
    return f"{record['model_type']}: {layers}, vectors of {record['width']:,} numbers"


def sum_of_checks(checks):
    """What the checks found, in a sentence."""
    failed = [one for one in checks if one["difference"] > one["allowed"]]
    if failed:
        worst = "; ".join(f"{one['name']} (off by {one['difference']:.1e})" for one in failed)
        return f"{len(failed)} of {len(checks)} checks failed, so this page is not to be trusted: {worst}."
    largest = max(one["difference"] for one in checks)
    return f"The parts add up: {len(checks)} checks, the largest difference is {largest:.1e}."


# ---- the sections


def short_blocks(record):
    """What came out, and how to read the page."""
    head, pieces = record["head"], len(record["pieces"])
    if head is None:
        lead = f"{pieces} pieces went in; one vector of {record['width']:,} numbers for each of them came out."
    else:
        best = max(range(len(head["labels"])), key=lambda i: head["probabilities"][i])
        lead = f"{legible(head['labels'][best], 60)}: {head['probabilities'][best]:.4f}"
    texts = [record["text"]] if record["pair"] is None else [record["text"], record["pair"]]
    blocks = [
        {"kind": "lead", "text": lead},
        {"kind": "list", "items": [legible(one, 600) for one in texts]},
        paragraph("Every number on this page was noted while the model ran. Each part names the line of the source "
                  "that computed it."),
        paragraph(sum_of_checks(record["checks"])),
    ]  # fmt: skip
    if record["single"] and record["pair"] is not None:
        blocks.append(paragraph("This classifier learned from single texts. What it makes of a pair is a guess."))
    return blocks


def piece_blocks(record):
    """The tokens with their numbers."""
    pieces = record["pieces"]
    kinds = {one["type"] for one in pieces} - {None}
    words = "The tokenizer cuts the text into pieces of its vocabulary. Under each piece stands its number there"
    words += ", then its position" + (", then its type" if kinds else "")
    words += ": 0 for the first text, 1 for the second." if 1 in kinds else "."
    marks = [meaning for mark, meaning in MARKS.items() if any(one["piece"].startswith(mark) for one in pieces)]
    blocks = [paragraph(" ".join([words, *marks])), {"kind": "pieces", "pieces": [shown_piece(one) for one in pieces]}]
    if record["whole"] > len(pieces):
        blocks.append(paragraph(
            f"The text has {record['whole']:,} pieces, special ones included. The model was given the {len(pieces)} "
            "above, so that the pictures can be read; given more of the text, it may answer otherwise. `--max-length` "
            "says how many are kept."
        ))  # fmt: skip
    if record["windows"] > 1:
        blocks.append(paragraph(f"This classifier reads a text in up to {record['windows']} windows and averages their "
                                "vectors. Here it is given one."))  # fmt: skip
    return blocks


def shown_piece(one):
    numbers = [one["id"], one["position"]] + ([] if one["type"] is None else [one["type"]])
    return {"piece": piece_name(one["piece"], 24), "numbers": " · ".join(map(str, numbers))}


def pooling_blocks(record):
    found = record["pooling"]
    words = f"{POOLINGS[found['how']].capitalize()}: {found['width']:,} numbers, of length {found['size']:.3f}."
    first = [f"{value:.4f}" for value in found["vector"][:BY_HAND]]
    blocks = [
        paragraph(words),
        source(record["lines"], "pooling"),
        table(["", *(str(i + 1) for i in range(len(first)))], [["pooled", *first]], f"Its first {len(first)} numbers."),
    ]
    if record["head"] is None:
        blocks.append(paragraph(
            "Here this model ends: it is an encoder, and says nothing about the text yet. A classifier would go on "
            "with a head, which makes a logit for each class out of this vector. `python -m minibert.finetune` trains "
            "one, and `--model` takes the folder of its run."
        ))  # fmt: skip
    return blocks


def head_blocks(record):
    """From the pooled vector to probabilities."""
    head = record["head"]
    if head is None:
        return []
    order = sorted(range(len(head["labels"])), key=lambda i: -head["probabilities"][i])[:FEW_LABELS]
    names = [legible(head["labels"][i], 60) for i in order]
    words = f"The head is {HEADS[head['name']]}. Its last layer reads {head['width']:,} numbers"
    words += ": for each class their products with its weights are added up, and a bias. Softmax turns the logits into "
    words += "probabilities."
    rows = [[name, f"{head['products'][i]:+.4f}", f"{head['bias'][i]:+.4f}", f"{head['logits'][i]:+.4f}",
             f"{head['probabilities'][i]:.4f}"] for name, i in zip(names, order, strict=True)]  # fmt: skip
    more = len(head["labels"]) - len(order)
    note = "Sum of products + bias = logit." + (f" {more} less probable labels are left out." if more else "")
    title = "Probabilities"
    series = [{"name": "", "colour": "c-1", "values": [head["probabilities"][i] for i in order]}]
    return [
        paragraph(words),
        source(record["lines"], "dense", "logits"),
        table(["label", "sum of products", "bias", "logit", "probability"], rows, note),
        picture(title, pictures.bars(title, "The probability of each label.", names, series, 1, "{:.3f}"),
                "Softmax of the logits.", ["label", "probability"], [[row[0], row[-1]] for row in rows]),
    ]  # fmt: skip


def word_blocks(record):
    """Integrated gradients: the words, shaded, and their shares in numbers."""
    found = record["words"]
    if found is None:
        return []
    label = legible(found["label"], 60)
    words = found["words"] + (found["pair_words"] or [])
    texts = [found["words"]] + ([] if found["pair_words"] is None else [found["pair_words"]])
    words = sorted(words, key=lambda word: -abs(word[1]))
    rows = [[legible(word, 40), f"{share:+.4f}"] for word, share, *_ in words]
    return [
        paragraph(f"With {found['padding']} for every word, the logit of {label} is {found['baseline_logit']:+.4f}; "
                  f"with the words it is {found['logit']:+.4f}. Integrated gradients divide what changed among the "
                  "words (Sundararajan et al. 2017, arXiv 1703.01365; `explain.py`)."),
        {"kind": "shaded", "texts": [[[legible(word, 40), share] for word, share, *_ in one] for one in texts]},
        paragraph(f"Orange speaks for {label}, blue, dotted below, against it. The shares add up to the difference "
                  f"within {100 * found['error']:.2f}% ({found['steps']} steps)."),
        fold("The shares in numbers", [table(["word", "share of the logit"], rows)]),
    ]  # fmt: skip


def check_blocks(record):
    """What was held against what, and how far off it was."""
    findings = []
    for one in record["checks"]:
        failed = one["difference"] > one["allowed"]
        findings.append({
            "name": one["name"], "status": "found" if failed else "clear",
            "shown": f"{one['difference']:.1e}", "sentence": f"Allowed: {one['allowed']:.1e}.",
            "advice": "report this: what the page shows is not what the model computed",
        })  # fmt: skip
    return [
        paragraph("The numbers on this page were held against each other, by arithmetic of their own in float64. The "
                  "largest difference of each check is shown. The model computes in float32, which keeps about seven "
                  "digits; a hundred thousandth of the largest number that takes part is allowed."),
        {"kind": "checks", "findings": findings},
    ]  # fmt: skip
