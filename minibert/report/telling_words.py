"""Telling words: which words stand in texts of one class and not in the others, and which give the answer away.

Words are counted once per text. A word's pull towards a class is the difference between two shares, that of the
class's texts which hold it and that of the others, in standard errors (the root of Pearson's chi-squared).
A shortcut is a word, or a mark like "7/10", that by itself all but decides: a classifier may learn it instead of the
language.
"""

import re
import unicodedata
from collections import Counter

import numpy as np

from ..baselines import MARKS, UNSPACED, words_and_pairs

PART = rf"[^\W_{UNSPACED}](?:[^\W_{UNSPACED}]|[{MARKS}])*"
WORD = re.compile(rf"\d+(?:\.\d+)? ?/ ?\d+|[{UNSPACED}]|{PART}(?:'{PART})?")  # a rating, or as in a bag of words
MARK = re.compile(r"\d+(?:\.\d+)? ?/ ?\d+|https?|www|br|\w*[^\W\d_]\w*\d{3,}\w*")  # ratings, addresses, markup
SAMPLE = 8000  # texts counted, drawn at random, but always the same
LONGEST = 40  # characters of a word: longer ones are no words
FEWEST = 5  # texts with a word, for it to be looked at
SURE, MARK_SURE = 0.95, 0.75  # a shortcut's texts of one class
COMMON = 0.01  # of all texts have a shortcut; a mark may be half as common
PULL = 4.0  # standard errors
ODDS = 20  # times the odds that any text has


def words(text):
    """The different words of a text, in lower case; "7/10" is one."""
    text = unicodedata.normalize("NFC", text.lower().replace("\u2019", "'"))
    return {word.replace(" ", "") for word in WORD.findall(text)}


def count_words(texts, labels, num_labels):
    """(words [V], counts [V, C] of texts that hold each word, texts [C] of each class) of a sample of texts."""
    by_class = [Counter() for _ in range(num_labels)]
    sizes = np.zeros(num_labels, dtype=int)
    for i in sampled(len(texts)):
        by_class[labels[i]].update(words(texts[i]))
        sizes[labels[i]] += 1
    total = Counter()
    for counter in by_class:
        total.update(counter)
    names = sorted(word for word, count in total.items() if count >= FEWEST and len(word) <= LONGEST)
    counts = np.array([[counter[word] for counter in by_class] for word in names]).reshape(len(names), num_labels)
    return names, counts, sizes


def sampled(count, most=SAMPLE):
    """The numbers of `most` of `count` texts, in order: not each n-th, for classes may take turns in a file."""
    return range(count) if count <= most else np.sort(np.random.default_rng(0).permutation(count)[:most]).tolist()


def pulls(counts, sizes):
    """[V, C]: the share of a class's texts that hold a word, less that of the others, in standard errors."""
    total, texts = counts.sum(1, keepdims=True), sizes.sum()
    rest = np.maximum(texts - sizes, 1)
    gap = counts / np.maximum(sizes, 1) - (total - counts) / rest
    share = total / texts  # of all texts: what both shares would be if the word told nothing
    return gap / np.sqrt(np.maximum(share * (1 - share), 1e-12) * (1 / np.maximum(sizes, 1) + 1 / rest))


def telling(names, counts, sizes, most=8):
    """For each class the words that pull towards it most: [[{"word", "texts", "share", "pull"}]]."""
    if not names:
        return [[] for _ in sizes]
    pull, total = pulls(counts, sizes), counts.sum(1)
    lists = []
    for label in range(len(sizes)):
        best = [i for i in np.argsort(-pull[:, label], kind="stable")[:most] if pull[i, label] > 2]
        lists.append([{"word": names[i], "texts": int(total[i]), "share": float(counts[i, label] / total[i]),
                       "pull": round(float(pull[i, label]), 1)} for i in best])  # fmt: skip
    return lists


def shortcuts(names, counts, sizes, weighty=None):
    """Words that all but decide, strongest first: [{"word", "label", "texts", "share", "pull", "mark"}].

    weighty: the words to which a bag-of-words classifier gives most weight; others are then left out, marks excepted.
    """
    if not names:
        return []
    pull, total, texts = pulls(counts, sizes), counts.sum(1), sizes.sum()
    found = []
    for i, name in enumerate(names):
        label = int(pull[i].argmax())
        share, mark = float(counts[i, label] / total[i]), bool(MARK.fullmatch(name))
        odds = ((counts[i, label] + 0.5) / (total[i] - counts[i, label] + 0.5)) / (
            sizes[label] / max(0.5, texts - sizes[label])
        )
        enough = max(10, (COMMON / 2 if mark else COMMON) * texts)
        sure = MARK_SURE if mark else SURE
        if total[i] < enough or share < sure or pull[i, label] < PULL or odds < (ODDS / 4 if mark else ODDS):
            continue
        if weighty is None or mark or not weighty.isdisjoint(words_and_pairs(name)):  # to which "y'all" is two words
            found.append({"word": name, "label": label, "texts": int(total[i]), "share": share,
                          "pull": round(float(pull[i, label]), 1), "mark": mark})  # fmt: skip
    return sorted(found, key=lambda word: -word["pull"])
