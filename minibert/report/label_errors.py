"""Suspected label errors: confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068).

A classifier that did not learn from a text gives it probabilities. A class is believed when its probability reaches the
mean that texts labelled with it get; a text whose believed class is not its label is suspected. The test set's
probabilities are those of the trained classifier; training texts get theirs from five logistic regressions on the
frozen features, each fitted without the texts that it judges, and without their copies. A suspicion is no proof, and
nothing is ever deleted.
"""

from collections import Counter

import numpy as np
import torch

from ..baselines import fit_logistic
from ..metrics import softmax
from .calibration import apply_temperature, fit_temperature

FOLDS = 5
L2 = 1e-2  # on standardised features: firm enough that few iterations suffice
DOUBT = 1 / 19  # a suspect's own label has at most this share of its likeliest one's probability: of two, 5% and 95%


def out_of_fold(features, labels, num_labels, keys=None, seed=0):
    """Probabilities [N, C] of each text by a regression that did not see it. features: [N, E] NumPy; labels: [N].

    keys: a list of N, equal for copies of a text, as `copies.keys` gives them. A text that is alone in its class, its
    copies aside, is believed: what judges it has seen nothing of the kind.
    """
    features, labels = torch.as_tensor(np.asarray(features, dtype=np.float32)), np.asarray(labels)
    features = (features - features.mean(0)) / features.std(0).clamp(min=1e-6)
    keys = list(range(len(labels))) if keys is None else keys
    folds, probabilities = draw_folds(labels, num_labels, keys, seed), np.zeros((len(labels), num_labels))
    for fold in range(FOLDS):
        inside = folds == fold
        if inside.any():
            weight, bias = fit_logistic(features[~inside], torch.as_tensor(labels[~inside]), num_labels, L2)
            probabilities[inside] = softmax((features[inside] @ weight.T + bias).numpy())
    kinds = Counter(label for label, _ in set(zip(labels.tolist(), keys, strict=True)))
    alone = np.array([kinds[label] == 1 for label in labels.tolist()])
    if not alone.all():
        # Many features and few texts make regressions far too sure; one temperature for all takes that back.
        temperature = fit_temperature(labels[~alone], probabilities[~alone])
        probabilities = apply_temperature(probabilities, temperature)
    probabilities[alone] = 0
    probabilities[alone, labels[alone]] = 1
    return probabilities


def draw_folds(labels, num_labels, keys, seed):
    """[N] numbers of folds: each class is spread over all of them, and copies go with the first of their kind."""
    folds, random, first = np.empty(len(labels), dtype=int), np.random.default_rng(seed), {}
    for label in range(num_labels):
        members = random.permutation(np.flatnonzero(labels == label))
        folds[members] = (np.arange(len(members)) + label) % FOLDS
    return folds[[first.setdefault(key, i) for i, key in enumerate(keys)]]


def suspects(labels, probabilities):
    """[(index, suspected class)], the least believable label first.

    labels: [N]; probabilities: [N, C], from classifiers that did not learn from these texts.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    best, doubted = doubted_labels(labels, probabilities)
    texts = np.arange(len(labels))
    order = np.argsort(probabilities[texts, labels], kind="stable")
    return [(int(i), int(best[i])) for i in order if doubted[i, labels[i]]]


def expected_suspects(labels, probabilities):
    """How many right labels would be suspected if the probabilities are true: each is rare, but many texts or classes
    make some.
    """
    probabilities = np.asarray(probabilities)
    _, doubted = doubted_labels(np.asarray(labels), probabilities)
    return float(probabilities[doubted].sum())


def doubted_labels(labels, probabilities):
    """([N] the class that each text is believed to be of, [N, C] whether it would be suspected under this label)."""
    classes = np.arange(probabilities.shape[1])
    usual = np.array([probabilities[labels == c, c].mean() if (labels == c).any() else 1.0 for c in classes])
    believed = np.where(probabilities >= usual, probabilities, -1)  # [N, C]
    best = believed.argmax(1)
    unlikely = probabilities <= DOUBT * probabilities.max(1, keepdims=True)
    return best, (believed.max(1, keepdims=True) > 0) & (classes != best[:, None]) & unlikely
