"""What can be said of a task's texts before anything is trained: `gather_data`, a plain record.

The record has JSON values only; C is the number of classes, in the order of `labels`:

    labels      [C] names                            splits      where the three sets come from, in words
    sizes       {part: texts}                        balance     {part: [C] texts}
    lengths     {"limit", "truncation", "parts": {part: {"mean", "median", "longest", "tokens"}},
                 "edges": [K + 1], "by_class": [{"label": index, or None for all the others, "shares": [K]}]}
    cut         [{"limit", "texts", "tokens"}]: the shares of training texts and tokens cut at some limits
    copies      {"across", "across_other_label", "in_test", "in_train": texts, "examples": [{"test", "train", "text"}]}
    words       [C] lists of {"word", "texts", "share", "pull"}
    shortcuts   [{"word", "label", "texts", "share", "pull", "mark"}];   shortcut_share: test texts that hold one
    length, place   {"auroc", "error", "label"}, or None;   shift   {"auroc", "error", "texts", "words"}, or None
    pieces      {"tokens", "unknown", "single"}: shares of tokens that are [UNK], or a letter by itself

Texts in the record are whole no more: they are made legible and cut.
"""

import unicodedata

import numpy as np

from ..baselines import one_text_each
from ..data import PARTS
from . import copies, surface, telling_words
from .legible import legible

LIMITS = (128, 256, 512)
BINS = 30
SHOWN_CLASSES = 5  # with a curve of their own in the picture of lengths
EXAMPLES = 10
UNKNOWN = ("[UNK]", "<unk>")  # BERT's name for what no piece spells, and XLM-R's


def gather_data(task, sequences, tokenizer, limit, truncation, weighty=None):
    """(record, {"across": {test index: index in train + validation}, "lengths": {part: [N] tokens before cutting}}).

    sequences: {part: list of `batch.Sequence`}. weighty: words that weigh most in a bag-of-words classifier, or None.
    """
    parts = {name: getattr(task, name) for name in PARTS}
    names = task.train.label_names
    lengths = {name: np.array([sequence.whole_length for sequence in sequences[name]]) for name in PARTS}
    counted = telling_words.count_words(one_text_each(task.train), task.train.labels, len(names))
    shortcuts = telling_words.shortcuts(*counted, weighty)
    place = surface.places(task.train.ids)
    copied, across = gather_copies(parts)
    record = {
        "labels": [legible(name, 80) for name in names],
        "splits": task.splits,
        "sizes": {name: len(part) for name, part in parts.items()},
        "balance": {name: part.class_counts() for name, part in parts.items()},
        "lengths": gather_lengths(lengths, task.train.labels, len(names), limit, truncation),
        "cut": [share_cut(lengths["train"], at) for at in sorted({*LIMITS, limit})],
        "copies": copied,
        "words": telling_words.telling(*counted),
        "shortcuts": shortcuts,
        "shortcut_share": share_with(shortcuts, one_text_each(task.test)),
        "length": surface.told_by(lengths["train"], task.train.labels, len(names)),
        "place": surface.told_by(place, task.train.labels, len(names)) if place else None,
        "shift": surface.told_apart(one_text_each(task.train), one_text_each(task.test)),
        "pieces": count_pieces(sequences["train"], tokenizer),
    }
    return record, {"across": across, "lengths": lengths}


def gather_copies(parts):
    """(the record's copies, {test index: index in train + validation})."""
    known = {name: copies.keys(part) for name, part in parts.items()}
    others = known["train"] + known["validation"]
    other_labels = parts["train"].labels + parts["validation"].labels
    across = copies.across(known["test"], others)
    test, training = parts["test"], parts["train"].ids + parts["validation"].ids
    examples = [
        {"test": legible(test.ids[i], 60), "train": legible(training[j], 60), "text": legible(test.texts[i], 160)}
        for i, j in list(across.items())[:EXAMPLES]
    ]
    record = {
        "across": len(across),
        "across_other_label": sum(test.labels[i] != other_labels[j] for i, j in across.items()),
        "in_test": len(copies.within(known["test"])),
        "in_train": len(copies.within(others)),
        "examples": examples,
    }
    return record, across


def gather_lengths(lengths, labels, num_labels, limit, truncation):
    """How long texts are in tokens, special ones included; the curves are of the training set."""
    train, labels = lengths["train"], np.asarray(labels)
    top = max(float(np.quantile(train, 0.99)), 1.0)
    edges = np.linspace(0, top, BINS + 1)
    counts = np.bincount(labels, minlength=num_labels)
    order = np.argsort(-counts, kind="stable")
    shown = order[: num_labels if num_labels <= SHOWN_CLASSES + 1 else SHOWN_CLASSES]
    curves = [(int(label), labels == label) for label in sorted(shown)]
    if len(shown) < num_labels:
        curves.append((None, ~np.isin(labels, shown)))
    return {
        "limit": limit,
        "truncation": truncation,
        "parts": {
            name: {"mean": float(part.mean()), "median": float(np.median(part)), "longest": int(part.max()),
                   "tokens": int(part.sum())}
            for name, part in lengths.items()
        },
        "edges": edges.round(2).tolist(),
        "by_class": [
            {"label": label, "shares": (np.histogram(train[inside], edges)[0] / max(1, inside.sum())).round(5).tolist()}
            for label, inside in curves
        ],
    }  # fmt: skip


def share_cut(lengths, limit):
    """The shares of texts that are longer than `limit` tokens, and of all tokens that are cut from them."""
    return {
        "limit": int(limit),
        "texts": float((lengths > limit).mean()),
        "tokens": float(np.maximum(lengths - limit, 0).sum() / max(1, lengths.sum())),
    }


def share_with(shortcuts, texts):
    """The share of texts (of a sample) that hold a shortcut."""
    marks = {word["word"] for word in shortcuts}
    sample = telling_words.sampled(len(texts))
    return sum(bool(marks & telling_words.words(texts[i])) for i in sample) / len(sample) if marks else 0.0


def count_pieces(sequences, tokenizer):
    """How well the vocabulary fits the texts: shares of the tokens that the model sees, special ones left out.

    A letter counts as a piece by itself when it is part of a longer word that was cut into letters (##x), East Asian
    characters excepted, which are cut so on purpose.
    """
    size = tokenizer.largest_id + 1  # more than there are pieces where a vocabulary has gaps
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(sequences), 4096):
        counts += np.bincount(np.concatenate([one.ids for one in sequences[start : start + 4096]]), minlength=size)
    counts[[tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id]] = 0
    unknown, single = [tokenizer.backend.token_to_id(name) for name in UNKNOWN], 0
    for number in np.flatnonzero(counts):
        piece = tokenizer.backend.id_to_token(int(number))
        if len(piece) == 3 and piece.startswith("##") and _is_letter(piece[2]):
            single += int(counts[number])
    total = max(1, int(counts.sum()))
    found = sum(int(counts[number]) for number in unknown if number is not None)
    return {"tokens": total, "unknown": found / total, "single": single / total}


def _is_letter(character):
    return character.isalpha() and unicodedata.east_asian_width(character) not in ("W", "F")
