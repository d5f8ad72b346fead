"""Suspected label errors: confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068).

A classifier that did not learn from a text gives it probabilities. A class is believed when its probability reaches the
mean that texts labelled with it get; a text whose believed class is not its label is suspected. The test set's
probabilities are those of the trained classifier; training texts get theirs from five logistic regressions on the
frozen features, each fitted without the texts that it judges. A suspicion is no proof, and nothing is ever deleted.
"""

import numpy as np
import torch

from ..baselines import fit_logistic
from ..metrics import softmax
from .calibration import apply_temperature, fit_temperature

FOLDS = 5
L2 = 1e-2  # on standardised features: firm enough that few iterations suffice
DOUBT = 1 / 19  # a suspect's own label has at most this share of its likeliest one's probability: of two, 5% and 95%


def out_of_fold(features, labels, num_labels, seed=0):
    """Probabilities [N, C] of each text by a regression that did not see it. features: [N, E] NumPy; labels: [N]."""
    features, labels = torch.as_tensor(np.asarray(features, dtype=np.float32)), np.asarray(labels)
    features = (features - features.mean(0)) / features.std(0).clamp(min=1e-6)
    folds = np.empty(len(labels), dtype=int)
    random = np.random.default_rng(seed)
    for label in range(num_labels):  # each class is spread over all folds
        members = random.permutation(np.flatnonzero(labels == label))
        folds[members] = (np.arange(len(members)) + label) % FOLDS
    probabilities = np.zeros((len(labels), num_labels))
    for fold in range(FOLDS):
        inside = folds == fold
        if inside.any():
            weight, bias = fit_logistic(features[~inside], torch.as_tensor(labels[~inside]), num_labels, L2)
            probabilities[inside] = softmax((features[inside] @ weight.T + bias).numpy())
    # Many features and few texts make regressions far too sure; one temperature for all takes that back.
    return apply_temperature(probabilities, fit_temperature(labels, probabilities))


def suspects(labels, probabilities):
    """[(index, suspected class)], the least believable label first.

    labels: [N]; probabilities: [N, C], from classifiers that did not learn from these texts.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    classes = range(probabilities.shape[1])
    usual = np.array([probabilities[labels == c, c].mean() if (labels == c).any() else 1.0 for c in classes])
    believed = np.where(probabilities >= usual, probabilities, -1)  # [N, C]
    best, own = believed.argmax(1), probabilities[np.arange(len(labels)), labels]
    found = (believed.max(1) > 0) & (best != labels) & (own <= DOUBT * probabilities.max(1))
    order = np.argsort(own, kind="stable")
    return [(int(i), int(best[i])) for i in order if found[i]]
