"""Copies: texts that stand in two sets, or twice in one, word for word or nearly.

A test text that was also trained on measures memory. Two texts are copies when they are equal once case, form of
characters (NFKC) and white space are set aside; near copies when their frozen features point almost the same way and
they share most of their words.
"""

import hashlib
import unicodedata

import numpy as np

from ..baselines import WORD

COSINE = 0.95  # of features less their mean: all texts of one encoder share a direction, which says nothing
SHARED_WORDS = 0.75  # of the words in either text
BLOCK = 1024  # test texts compared with the others at a time, so that memory stays flat


def keys(dataset):
    """[N] hashes; copies share one. dataset: has `texts` and `pairs` (second texts, or None)."""
    pairs = dataset.pairs or [None] * len(dataset.texts)
    return [_key(text, pair) for text, pair in zip(dataset.texts, pairs, strict=True)]


def _key(text, pair):
    plain = "\0".join(_plain(part) for part in (text, pair or ""))
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _plain(text):
    text = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def across(test_keys, other_keys):
    """{index of a test text: index of its first copy among the others}."""
    first = {}
    for index, value in enumerate(other_keys):
        first.setdefault(value, index)
    return {index: first[value] for index, value in enumerate(test_keys) if value in first}


def within(keys_of_part):
    """Indices of the extra copies: of each group of equal texts all but the first."""
    seen, extra = set(), []
    for index, value in enumerate(keys_of_part):
        if value in seen:
            extra.append(index)
        seen.add(value)
    return extra


def near(test_features, other_features, test_texts, other_texts, leave_out=()):
    """{index of a test text: index of its near copy}; texts in `leave_out` (indices of test) are not looked at.

    test_features [N, E], other_features [M, E]: float NumPy, any scale.
    """
    centre = other_features.mean(0)
    tests, others = _unit(test_features - centre), _unit(other_features - centre)
    left_out, found = set(leave_out), {}
    for start in range(0, len(tests), BLOCK):
        cosines = tests[start : start + BLOCK] @ others.T  # [B, M]
        nearest = cosines.argmax(1)
        for row in np.flatnonzero(cosines[np.arange(len(nearest)), nearest] >= COSINE).tolist():
            index, other = start + row, int(nearest[row])
            if index not in left_out and shared_words(test_texts[index], other_texts[other]) >= SHARED_WORDS:
                found[index] = other
    return found


def shared_words(first, second):
    """The share of two texts' different words that stand in both, in [0, 1]."""
    first, second = (set(WORD.findall(text.lower())) for text in (first, second))
    return len(first & second) / max(1, len(first | second))


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
