"""Calibration: of the texts that get probability 0.8, are 80 in 100 right? (Guo et al. 2017, arXiv 1706.04599)

The expected calibration error is the mean gap between confidence and accuracy over bins of confidence. It is never 0
for a finite test set, so it comes with the value that a perfectly calibrated classifier would reach in 95 of 100 test
sets of this size. One number, the temperature, fitted on validation, cures most overconfidence: logits are divided by
it.
"""

import numpy as np

from ..metrics import log_loss

BINS = 15
DRAWS = 500
TEMPERATURES = (0.05, 20.0)


def reliability(labels, probabilities):
    """[{"low", "high", "confidence", "accuracy", "texts"}] for the bins that hold texts. probabilities: [N, C]."""
    confidence, right, bins = _bins(labels, probabilities)
    table = []
    for number in range(BINS):
        inside = bins == number
        if inside.any():
            table.append({
                "low": number / BINS, "high": (number + 1) / BINS, "confidence": float(confidence[inside].mean()),
                "accuracy": float(right[inside].mean()), "texts": int(inside.sum()),
            })  # fmt: skip
    return table


def expected_error(labels, probabilities, seed=0):
    """{"error", "low", "high", "chance", "too_sure"}: the expected calibration error, an interval that holds the true
    one in at least 95 of 100 test sets, the error that a perfectly calibrated classifier stays under in 95 of 100
    (Broecker and Smith 2007), and the mean confidence minus the accuracy.

    Chance adds to the error of every bin, so errors of resampled texts are too large, and their quantiles no interval.
    But no error is further from the true one than the gaps of all bins together are: that distance is resampled.
    """
    confidence, right, bins = _bins(labels, probabilities)
    random, texts = np.random.default_rng(seed), len(confidence)
    gaps = _gaps(confidence, right, bins)
    drawn = [random.integers(texts, size=texts) for _ in range(DRAWS if texts <= 5000 else DRAWS // 5)]
    distances = [np.abs(_gaps(confidence[rows], right[rows], bins[rows]) - gaps).sum() for rows in drawn]
    calibrated = [np.abs(_gaps(confidence, random.random(texts) < confidence, bins)).sum() for _ in drawn]
    error, far = float(np.abs(gaps).sum()), float(np.quantile(distances, 0.95))
    return {"error": error, "low": max(0.0, error - far), "high": min(1.0, error + far),
            "chance": float(np.quantile(calibrated, 0.95)), "too_sure": float(gaps.sum())}  # fmt: skip


def _bins(labels, probabilities):
    """(confidence, whether it was right, number of the bin), [N] each."""
    probabilities = np.asarray(probabilities)
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == np.asarray(labels)
    return confidence, right, np.minimum((confidence * BINS).astype(int), BINS - 1)


def _gaps(confidence, right, bins):
    """Of each bin (sum of confidence - sum of right) / N: [BINS]."""
    return np.bincount(bins, weights=confidence - right, minlength=BINS) / len(confidence)


def fit_temperature(labels, probabilities):
    """The temperature that makes the log loss on these (validation) texts smallest, by golden section.

    None where there is none: with every text right the loss falls without end as the temperature goes to 0. Where
    probabilities say nothing it falls as the temperature rises, and the highest on offer is the answer.
    """
    low, high = np.log(TEMPERATURES)
    step = (np.sqrt(5) - 1) / 2
    inner = [high - step * (high - low), low + step * (high - low)]
    losses = [_loss_at(labels, probabilities, x) for x in inner]
    while high - low > 1e-4:  # the loss has one valley
        if losses[0] < losses[1]:
            high, inner[1], losses[1] = inner[1], inner[0], losses[0]
            inner[0] = high - step * (high - low)
            losses[0] = _loss_at(labels, probabilities, inner[0])
        else:
            low, inner[0], losses[0] = inner[0], inner[1], losses[1]
            inner[1] = low + step * (high - low)
            losses[1] = _loss_at(labels, probabilities, inner[1])
    temperature = float(np.exp((low + high) / 2))
    return temperature if temperature > 1.01 * TEMPERATURES[0] else None


def _loss_at(labels, probabilities, log_temperature):
    return log_loss(labels, apply_temperature(probabilities, np.exp(log_temperature)))


def apply_temperature(probabilities, temperature):
    """softmax(logits / temperature), from softmax(logits): the two differ by a constant per text, which cancels.

    A temperature of None leaves them as they are.
    """
    if temperature is None:
        return probabilities
    logs = np.log(np.maximum(probabilities, 1e-12)) / temperature
    raised = np.exp(logs - logs.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)
