"""Parts of a data set that are fixed by a hash of each text.

A hash and not a random generator: the same text then lands on the same side whatever the order of the file, and
all copies of a text, those that are equal letter for letter, land on one side, so that no test text was trained on.
"""

import hashlib
from collections import Counter
from itertools import groupby

HELD_OUT = 0.2  # the share of train that becomes validation, and of a data set without official split, test


def hold_out(dataset, purpose):
    """(what stays, what is held out): two data sets that share no text; HELD_OUT of each class is held out.

    Copies of a text go together; one that stands so often that it would tip the split stays, unless its class has
    nothing else to hold out. A text with two labels goes where the first of its classes sends it. Of every class
    something stays, because a class that training never saw cannot be learned. The original order is kept.

    purpose: a word that enters the hash. Held out by the same hash as test, validation would be the texts that only
    just missed the test set.
    """
    by_class = indices_by_class_and_hash(dataset, purpose)
    ambiguous = copies_of_texts_with_several_labels(by_class)
    staying, held_out = [len(members) for members in by_class], set()  # texts of each class; hashes
    quotas = [round(HELD_OUT * len(members)) for members in by_class]

    def tips(label, count):
        """Whether so many texts more would be far too many for a class."""
        missing = quotas[label] - (len(by_class[label]) - staying[label])
        return count > max(0, missing) + max(1, quotas[label] // 2)

    for label, members in enumerate(by_class):
        groups = [(key, len(list(group))) for key, group in groupby(members, lambda member: member[0])]
        for last_resort in (False, True):
            if last_resort and staying[label] < len(members):
                break
            for key, count in groups:
                if staying[label] <= len(members) - quotas[label]:
                    break
                copies = ambiguous.get(key) or {label: count}
                fits = all(staying[other] > some and (last_resort or not tips(other, some))
                           for other, some in copies.items())  # fmt: skip
                if key not in held_out and fits:
                    held_out.add(key)
                    for other, some in copies.items():
                        staying[other] -= some
    out = sorted(i for members in by_class for key, i in members if key in held_out)
    rest = sorted(i for members in by_class for key, i in members if key not in held_out)
    return dataset.select(rest), dataset.select(out)


def copies_of_texts_with_several_labels(by_class):
    """{hash: {class: number of copies}} of the texts that stand under more than one label."""
    first, copies = {}, {}
    for label, members in enumerate(by_class):
        for key, _ in members:
            if first.setdefault(key, label) != label:
                copies[key] = Counter()
    for label, members in enumerate(by_class if copies else ()):
        for key, _ in members:
            if key in copies:
                copies[key][label] += 1
    return copies


def stratified_subset(dataset, count, purpose):
    """About `count` of the texts, every class in its share and with at least one text, in the original order."""
    if count >= len(dataset):
        return dataset
    share, kept = count / len(dataset), []
    for members in indices_by_class_and_hash(dataset, purpose):
        kept += [i for _, i in members[: max(1, round(share * len(members)))]]
    return dataset.select(sorted(kept))


def indices_by_class_and_hash(dataset, purpose):
    """For each class a list of (hash of purpose and text, index), sorted by hash; copies of a text are neighbours."""
    by_class = [[] for _ in dataset.label_names]
    for i, text in enumerate(dataset.texts):
        pair = "" if dataset.pairs is None else dataset.pairs[i]
        key = hashlib.sha256(f"{purpose}\0{text}\0{pair}".encode()).digest()
        by_class[dataset.labels[i]].append((key, i))
    return [sorted(members) for members in by_class]
