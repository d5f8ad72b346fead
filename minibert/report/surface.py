"""What can be told without understanding a text: its label from its length or its place in the file, and the set it is
in.

All three should be chance. AUROC 0.5 is chance, 1 is certainty; with several classes it is that of the class which is
told best from the rest.
"""

import re

import numpy as np
import torch

from ..baselines import fit_logistic
from ..metrics import roc_auc
from .telling_words import LONGEST, sampled, words

SAMPLE = 1500  # texts of each set
WORDS = 2000  # the commonest of the sample
L2 = 1e-2


def told_by(values, labels, num_labels):
    """{"auroc", "error", "label"}: how well one number per text tells a class from the rest, whichever way it points.

    error: the standard error of a random ranking's AUROC, sqrt((P + N + 1) / 12PN) (Mann and Whitney 1947).
    None where no class and no other class is there. values, labels: [N].
    """
    values, labels, best = np.asarray(values, dtype=float), np.asarray(labels), None
    for label in range(num_labels):
        inside = labels == label
        positive, negative = int(inside.sum()), int((~inside).sum())
        if not positive or not negative:
            continue
        auroc = roc_auc(inside.astype(int), values)
        error = float(np.sqrt((positive + negative + 1) / (12 * positive * negative)))
        found = {"auroc": max(auroc, 1 - auroc), "error": error, "label": label}
        if best is None or (found["auroc"] - 0.5) / error > (best["auroc"] - 0.5) / best["error"]:
            best = found
    return best


def places(ids):
    """[N] line numbers where the texts come from lines of one file, else None: other files' order is a matter of
    names.
    """
    numbers = [re.fullmatch(r"line (\d+)", str(name)) for name in ids]
    return [int(number[1]) for number in numbers] if all(numbers) else None


def told_apart(first_texts, second_texts):
    """{"auroc", "error", "texts", "words"}: how well a bag of words tells two sets of texts apart, on texts that it did
    not learn from; words: for each set those that pull towards it most. None when a set has fewer than 20.

    A text that stands several times in its set is taken once: what learned from one copy would know the other.
    """
    samples = [list(dict.fromkeys(texts)) for texts in (first_texts, second_texts)]
    samples = [[texts[i] for i in sampled(len(texts), SAMPLE)] for texts in samples]
    if min(map(len, samples)) < 20:
        return None
    bags = [words(text) for sample in samples for text in sample]
    labels = np.repeat([0, 1], [len(sample) for sample in samples])
    names, features = _binary_features(bags)
    random = np.random.default_rng(0)
    half = np.concatenate([random.permutation(len(sample)) % 2 for sample in samples])
    scores, weights = np.zeros(len(labels)), np.zeros(len(names))
    for part in (0, 1):
        inside = half == part
        weight, bias = fit_logistic(features[~inside], torch.tensor(labels[~inside]), 2, L2)
        scores[inside] = (features[inside] @ (weight[1] - weight[0]) + (bias[1] - bias[0])).numpy()
        weights += (weight[1] - weight[0]).numpy() / 2
    # Two regressions: their scores have no common scale, so each half is ranked by itself.
    auroc = float(np.mean([roc_auc(labels[half == part], scores[half == part]) for part in (0, 1)]))
    sizes = [len(sample) for sample in samples]
    error = float(np.sqrt((sum(sizes) + 1) / (12 * sizes[0] * sizes[1])))
    order = np.argsort(weights)
    telling = [[names[i] for i in order[:5]], [names[i] for i in order[::-1][:5]]]
    return {"auroc": auroc, "error": error, "texts": len(labels), "words": telling}


def _binary_features(bags):
    """(words, float tensor [N, V]: 1 where a text holds the word, else 0)."""
    counts = {}
    for bag in bags:
        for word in bag:
            if len(word) > LONGEST:
                continue
            counts[word] = counts.get(word, 0) + 1
    names = sorted(counts, key=lambda word: (-counts[word], word))[:WORDS]
    index = {word: column for column, word in enumerate(names)}
    features = torch.zeros(len(bags), len(names))
    for row, bag in enumerate(bags):
        features[row, [index[word] for word in bag if word in index]] = 1
    return names, features
