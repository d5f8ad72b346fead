"""Where a run's classifiers go wrong: `gather_errors`, a plain record.

    row          whose errors these are: the fine-tuned classifier's, else the best one's
    by_length    [{"low", "high" (tokens, ends included), "texts", row: [accuracy, low, high]}]
    by_cut       [{"name": "whole" or "cut", "texts", row: [accuracy, low, high]}]
    by_confidence  [{"low", "high", "texts", "accuracy"}] of `row`
    losses       the cases with the highest loss;   a case is {"id", "text", "gold", "predicted", "p_predicted",
                 "p_gold", "cut": whether the text was cut, "words": [[word with the space before it, weight]] or None}
    agreement    {"both", "frozen", "finetuned", "neither"}: test texts that they get right;   None with one experiment
    disagreements  cases where only one of them is right, with "frozen", the frozen row's prediction
"""

import numpy as np

from .. import metrics
from .legible import ELLIPSIS, legible

ROWS = ("bag-of-words", "frozen", "finetuned")
LENGTH_BINS = 5
CONFIDENCES = (0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
LOSSES, DISAGREEMENTS = 12, 5
WORDS = 90  # of an explained text


def gather_errors(run, lengths, limit, explained):
    """run: `gather.Run`; lengths: [N] tokens of the test texts before cutting; explained as in `gather`."""
    name = "finetuned" if "finetuned" in run.results else run.best
    probabilities, labels = run.probabilities[name], run.labels
    record = {"row": name}
    record["by_length"] = [
        {"low": int(lengths[inside].min()), "high": int(lengths[inside].max())} | accuracies(run, inside)
        for inside in same_sized(lengths)
    ]
    was_cut = lengths > limit
    record["by_cut"] = [
        {"name": what} | accuracies(run, inside)
        for what, inside in (("whole", ~was_cut), ("cut", was_cut))
        if inside.any()
    ]
    record["by_confidence"] = by_confidence(run, name)
    worst = metrics.surest_mistakes(labels, probabilities, LOSSES)
    record["losses"] = [case(run, name, i, was_cut) | {"words": window(explained.get(i))} for i in worst]
    record["agreement"], record["disagreements"] = None, []
    if {"frozen", "finetuned"} <= set(run.results):
        record["agreement"], record["disagreements"] = disagreements(run, was_cut)
    return record


def same_sized(lengths):
    """Masks that divide the texts into about equally many, by length; texts of one length stay together."""
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTH_BINS + 1)[1:-1], method="higher"))
    bins = np.searchsorted(edges, lengths, side="left")
    return [bins == number for number in range(len(edges) + 1) if (bins == number).any()]


def interval(right, texts):
    """Wilson's (1927) 95% interval of a share: [low, high]."""
    z, share = 1.96, right / texts
    middle = (share + z * z / (2 * texts)) / (1 + z * z / texts)
    half = z / (1 + z * z / texts) * (share * (1 - share) / texts + z * z / (4 * texts * texts)) ** 0.5
    return [max(0.0, middle - half), min(1.0, middle + half)]


def accuracies(run, inside):
    """{"texts", row: [accuracy, low, high]} of the texts `inside` (a mask)."""
    texts, found = int(inside.sum()), {}
    for name in ROWS:
        if name in run.predictions:
            right = int((run.predictions[name] == run.labels)[inside].sum())
            found[name] = [right / texts, *interval(right, texts)]
    return {"texts": texts} | found


def by_confidence(run, name):
    confidence = run.probabilities[name].max(1)
    right = run.predictions[name] == run.labels
    table = []
    for low, high in zip(CONFIDENCES[:-1], CONFIDENCES[1:], strict=True):
        inside = (confidence >= low) & ((confidence < high) | (high == 1))
        if inside.any():
            table.append(
                {"low": low, "high": high, "texts": int(inside.sum()), "accuracy": float(right[inside].mean())}
            )
    return table


def case(run, name, i, was_cut):
    """A test text with what a row says of it."""
    probabilities, names = run.probabilities[name][i], run.label_names
    best = int(probabilities.argmax())
    return make_case(
        run.task.test, i, names, predicted=names[best], p_predicted=probabilities[best],
        p_gold=probabilities[run.labels[i]], cut=bool(was_cut[i]),
    )  # fmt: skip


def window(words):
    """[[word, weight]] of an explained text, each with the space before it; the middle of a long one is left out.

    None for None.
    """
    if words is None:
        return None
    found = [[" " * word[:1].isspace() + legible(word, 40), float(f"{weight:.3g}")] for word, weight in words]
    return found if len(found) <= WORDS else [*found[: WORDS * 2 // 3], [f" {ELLIPSIS}", 0.0], *found[-WORDS // 3 :]]


def make_case(part, i, names, limit=420, **more):
    """{"id", "text", "pair", "gold", ...} of a text, legible and short."""
    found = {"id": legible(part.ids[i], 60), "text": legible(part.texts[i], limit), "gold": names[part.labels[i]]}
    if part.pairs is not None:
        found["pair"] = legible(part.pairs[i], limit)
    return found | {key: float(f"{value:.4g}") if key.startswith("p_") else value for key, value in more.items()}


def disagreements(run, was_cut):
    """({"both", "frozen", "finetuned", "neither"}, the surest cases of either side)."""
    frozen, tuned = (run.predictions[name] == run.labels for name in ("frozen", "finetuned"))
    agreement = {"both": int((frozen & tuned).sum()), "frozen": int((frozen & ~tuned).sum()),
                 "finetuned": int((~frozen & tuned).sum()), "neither": int((~frozen & ~tuned).sum())}  # fmt: skip
    cases = []
    for only, row in ((frozen & ~tuned, "frozen"), (tuned & ~frozen, "finetuned")):
        indices = np.flatnonzero(only)
        sure = run.probabilities[row][indices, run.labels[indices]]
        for i in indices[np.argsort(-sure, kind="stable")][:DISAGREEMENTS]:
            cases.append(case(run, "finetuned", int(i), was_cut)
                         | {"frozen": run.label_names[run.predictions["frozen"][i]], "right": row})  # fmt: skip
    return agreement, cases
