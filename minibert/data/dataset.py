"""What the rest of the package sees of a data set: texts, their classes, and what to call both."""

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ..plumbing.files import UserError, shown

PARTS = ("train", "validation", "test")  # of a `Task`


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
        """The data set of these texts alone, in the order of `indices`."""
        return Dataset(
            [self.texts[i] for i in indices],
            [self.labels[i] for i in indices],
            self.label_names,
            [self.ids[i] for i in indices],
            None if self.pairs is None else [self.pairs[i] for i in indices],
            None if self.groups is None else [self.groups[i] for i in indices],
        )

    def wholes(self):
        """Its texts, or its pairs of texts."""
        return self.texts if self.pairs is None else list(zip(self.texts, self.pairs, strict=True))

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
    unit: str | None = None  # what the labels are numbers of, if they are: a guess can then be near

    def seen_in_training(self, dataset):
        """How many texts of another data set stand in train or validation, too."""
        known = {*self.train.wholes(), *self.validation.wholes()}
        return sum(text in known for text in dataset.wholes())


def label_names(rows):
    """The labels in order: by value if all are whole numbers, else by name."""
    names = {row.label for row in rows}
    whole_numbers = all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in names)
    return sorted(names, key=lambda name: (int(name), name)) if whole_numbers else sorted(names)


def to_dataset(rows, names, where):
    """A `Dataset`. A label that training never saw is an error, because no model could be right about it.

    where: what the rows are, for the message.
    """
    index = {name: number for number, name in enumerate(names)}
    unseen = next((row for row in rows if row.label not in index), None)
    if unseen:
        raise UserError(f"{where}, {unseen.id}: label {shown(unseen.label)} does not occur in the training set")
    return Dataset(
        [row.text for row in rows],
        [index[row.label] for row in rows],
        names,
        [row.id for row in rows],
        None if rows[0].pair is None else [row.pair for row in rows],
        None if rows[0].group is None else [row.group for row in rows],
    )


def balanced_weights(labels, num_labels):
    """[C] weights that make every class count the same in the loss: N / (C * texts of the class)."""
    counts = np.bincount(labels, minlength=num_labels)
    return len(labels) / (num_labels * np.maximum(counts, 1))
