"""Suspected label errors: confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068).

A classifier that did not learn from a text gives it probabilities. A class is believed when its probability reaches the
mean that texts labelled with it get; a text whose believed class is not its label is suspected. The test set's
probabilities are those of the trained classifier; training texts get theirs from five logistic regressions on the
frozen features, each fitted without the texts that it judges, and without their copies. A suspicion is no proof, and
nothing is ever deleted.
"""

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

    keys: [N], equal for copies of a text, as `copies.keys` gives them. A text that is alone in its class is believed:
    what judges it has seen nothing of the kind.
    """
    features, labels = torch.as_tensor(np.asarray(features, dtype=np.float32)), np.asarray(labels)
    features = (features - features.mean(0)) / features.std(0).clamp(min=1e-6)
    folds = np.empty(len(labels), dtype=int)
    random = np.random.default_rng(seed)
    for label in range(num_labels):  # each class is spread over all folds
        members = random.permutation(np.flatnonzero(labels == label))
        folds[members] = (np.arange(len(members)) + label) % FOLDS
    first = {}
    folds = folds[[first.setdefault(key, i) for i, key in enumerate(keys or range(len(labels)))]]
    probabilities = np.zeros((len(labels), num_labels))
    for fold in range(FOLDS):
        inside = folds == fold
        if inside.any():
            weight, bias = fit_logistic(features[~inside], torch.as_tensor(labels[~inside]), num_labels, L2)
            probabilities[inside] = softmax((features[inside] @ weight.T + bias).numpy())
    # Many features and few texts make regressions far too sure; one temperature for all takes that back.
    probabilities = apply_temperature(probabilities, fit_temperature(labels, probabilities))
    alone = np.bincount(labels, minlength=num_labels)[labels] == 1
    probabilities[alone] = np.eye(num_labels)[labels[alone]]
    return probabilities


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
    """How many right labels would be suspected, if the probabilities are true: a text of a class that is improbable for
    it is rare, but where texts or classes are many, there are some.
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
