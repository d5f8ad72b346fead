"""TODO"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..plumbing.files import UserError

HELD_OUT = 0.2  # the share of train that becomes validation, and of a data set without official split, test


@dataclass(frozen=True)
class Dataset:
    """N texts (or pairs) with their classes."""

    texts: list
    labels: list  # class indices into label_names
    label_names: list
    ids: list  # what names each text to a person: a file, or a line number
    pairs: list | None = None  # second texts
    groups: list | None = None  # what kind of text each one is, where the data say

    def __len__(self):
        return len(self.texts)

    def select(self, indices):
        return Dataset(
            [self.texts[i] for i in indices],
            [self.labels[i] for i in indices],
            self.label_names,
            [self.ids[i] for i in indices],
            None if self.pairs is None else [self.pairs[i] for i in indices],
            None if self.groups is None else [self.groups[i] for i in indices],
        )

    def class_counts(self):
        """[C] texts of each class."""
        counts = Counter(self.labels)
        return [counts[label] for label in range(len(self.label_names))]


@dataclass(frozen=True)
class Task:
    """Three data sets with the same label names. Choices are made on validation; test is looked at once."""

    name: str
    train: Dataset
    validation: Dataset
    test: Dataset
    splits: str  # where the three come from, in words


def label_names(rows):
    """The labels in order: by value if all are whole numbers, else by name."""
    names = {row.label for row in rows}
    numeric = all(re.fullmatch(r"-?\d{1,18}", name) for name in names)
    return sorted(names, key=int) if numeric else sorted(names)


def to_dataset(rows, names, part):
    """A `Dataset`; a label that training never saw is an error, because no model could be right about it."""
    index = {name: number for number, name in enumerate(names)}
    unseen = next((row for row in rows if row.label not in index), None)
    if unseen:
        raise UserError(f"{part} set, {unseen.id}: label {unseen.label!r} does not occur in the training set")
    return Dataset(
        [row.text for row in rows],
        [index[row.label] for row in rows],
        names,
        [row.id for row in rows],
        None if rows[0].pair is None else [row.pair for row in rows],
        None if rows[0].group is None else [row.group for row in rows],
    )


def hashed_order(dataset, purpose):
    """For each class, its indices in an order fixed by a hash of purpose and text; copies of a text are adjacent."""
    order = [[] for _ in dataset.label_names]
    for i, text in enumerate(dataset.texts):
        pair = "" if dataset.pairs is None else dataset.pairs[i]
        key = hashlib.sha256(f"{purpose}\0{text}\0{pair}".encode()).digest()
        order[dataset.labels[i]].append((key, i))
    return [sorted(of_class) for of_class in order]


def split(dataset, purpose):
    """(rest, held out): HELD_OUT of each class, whole groups of identical texts at a time, original order kept.

    A text with two labels goes where its first class sends it. No class is held out whole.
    """
    order, held_out = hashed_order(dataset, purpose), set()  # of hashes
    for of_class in order:
        wanted = round(HELD_OUT * len(of_class))
        for taken, (key, _) in enumerate(of_class):
            if key not in held_out and (taken >= wanted or key == of_class[-1][0]):
                break
            held_out.add(key)
    held_out = {i for of_class in order for key, i in of_class if key in held_out}
    rest = [i for i in range(len(dataset)) if i not in held_out]
    return dataset.select(rest), dataset.select(sorted(held_out))


def take(dataset, count, purpose):
    """About `count` texts, each class in its share (at least one), original order kept."""
    share = count / len(dataset)
    if share >= 1:
        return dataset
    kept = []
    for of_class in hashed_order(dataset, purpose):
        kept += [i for _, i in of_class[: max(1, round(share * len(of_class)))]]
    return dataset.select(sorted(kept))


def balanced_weights(labels, num_labels):
    """`balanced`: N / (C * count), so that every class weighs the same in the loss."""
    counts = np.bincount(labels, minlength=num_labels)
    return len(labels) / (num_labels * np.maximum(counts, 1))
