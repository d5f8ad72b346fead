"""Which known mistake gives this answer? Each is made here, alone and with others, and its outcome compared.

An answer that misses the right one and meets a wrong one has, almost surely, been computed the same wrong way. The
forward pass, the optimizer and the metrics are computed here with each mistake (`known_*.py`), as `candidates.py` lists
them; what mistakes do to gradients and to training is stored. Names in one string, joined by " + ", were made together.
"""

import numpy as np

from .candidates import levels
from .known_metrics import accuracy, confusion_matrix, precision_recall_f1, roc_auc
from .known_model import Known
from .known_optimizer import adamw, adamw_several, clip_gradients, warmup_schedule


def made(rung, arguments, wrong, dropped=()):
    """What a rung returns for {argument: value} (float64 NumPy) with these mistakes, as one row of numbers."""
    names = frozenset(wrong)
    if rung in ONE_OFF:
        with np.errstate(all="ignore"):
            return flattened(ONE_OFF[rung](**arguments, wrong=names))
    arguments = {name: value for name, value in arguments.items() if name != "dropout"}
    with np.errstate(all="ignore"):
        return flattened(getattr(Known(names, dropped), rung)(**arguments))


ONE_OFF = {
    function.__name__: function
    for function in (
        adamw, adamw_several, warmup_schedule, clip_gradients, accuracy, confusion_matrix, precision_recall_f1, roc_auc,
    )
}  # fmt: skip


def flattened(output):
    """One row with all the numbers of an output."""
    if isinstance(output, (list, tuple)):
        return np.concatenate([flattened(part) for part in output])
    return np.asarray(output, dtype=np.float64).ravel()


def distance(left, right):
    """The largest absolute difference; infinite where one is NaN or infinite and the other is not."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(left - right)
    alike = (left == right) | (np.isnan(left) & np.isnan(right))
    difference = np.where(alike, 0.0, np.where(np.isnan(difference), np.inf, difference))
    return float(difference.max(initial=0.0))


# ---- comparing


class Answer:
    """What a learner returned for one case, and the arguments that led to it."""

    def __init__(self, arguments, pieces):
        """pieces: [(name, got, expected, which elements count)]"""
        self.arguments = arguments
        self.got = np.concatenate([got.ravel() for _, got, _, _ in pieces])
        self.expected = np.concatenate([expected.ravel() for _, _, expected, _ in pieces])
        self.counts = np.concatenate([compared.ravel() for *_, compared in pieces])

    def off(self, row):
        """How far what was returned is from this row of numbers. Infinite where they are not as many."""
        if row.shape != self.got.shape:
            return np.inf
        return distance(self.got[self.counts], row[self.counts])


def first_steps(arguments, count=4):
    """The same arguments with fewer steps: enough to rule a mistake out quickly."""
    return arguments | {"gradients": arguments["gradients"][:count]}


class Search:
    """Tries mistakes on the answers to a rung's cases."""

    def __init__(self, rung, answers, tolerance, dropped=()):
        self.rung, self.answers, self.dropped = rung, answers, dropped
        off = max(answer.off(answer.expected) for answer in answers)
        # A match is close in itself, and far closer than the right answer is.
        self.limit = min(max(10 * tolerance, 0.01 * off), 0.1 * off) if np.isfinite(off) else 1e-3
        self.certain = min(10 * tolerance, self.limit)

    def distance(self, wrong):
        """How far the outcome of these mistakes is from what was returned, over all cases; inf where it is too far."""
        largest = 0.0
        if self.rung.startswith("adamw") and self.too_far_at_once(wrong):
            return np.inf
        for answer in self.answers:
            if self.rung.endswith("encoder"):
                largest = max(largest, self.layer_by_layer(answer, wrong))
            else:
                largest = max(largest, answer.off(made(self.rung, answer.arguments, wrong, self.dropped)))
            if largest > self.limit:
                return np.inf
        return largest

    def layer_by_layer(self, answer, wrong):
        """As `Answer.off` for an encoder, given up at the first layer that is too far away."""
        largest, start = 0.0, 0
        with np.errstate(all="ignore"):
            for state in getattr(Known(wrong), self.rung.replace("encoder", "states"))(**answer.arguments):
                part = slice(start, start + state.size)
                counts = answer.counts[part]
                largest = max(largest, distance(answer.got[part][counts], state.ravel()[counts]))
                if largest > self.limit:
                    break
                start += state.size
        return largest

    def too_far_at_once(self, wrong):
        """Do the first steps alone rule these mistakes out?"""
        answer = self.answers[0]
        few = len(made_steps := first_steps(answer.arguments)["gradients"])
        steps = len(answer.arguments["gradients"])
        row = made(self.rung, answer.arguments | {"gradients": made_steps}, wrong)
        got = answer.got
        if self.rung == "adamw":
            return distance(got[: len(row)], row) > self.limit
        start, place = 0, 0
        for parameter in answer.arguments["parameters"]:
            size = np.size(parameter)
            if distance(got[start : start + few * size], row[place : place + few * size]) > self.limit:
                return True
            start, place = start + steps * size, place + few * size
        return False

    def best(self, candidates):
        """(distance, [candidates that meet the answer, best first])"""
        found = sorted((d, names) for names in candidates if (d := self.distance(names)) < np.inf)
        if not found:
            return np.inf, []
        best = [names for d, names in found if d <= 3 * found[0][0] + 1e-9]
        best = [names for names in best if not any(set(other) < set(names) for other in best)]
        return found[0][0], [names for names in best if self.meets_padding(names)] or best

    def meets_padding(self, wrong):
        """Is what was returned the same at padding, too? It is not compared, but it can tell two mistakes apart."""
        return all(
            distance(answer.got, made(self.rung, answer.arguments, wrong, self.dropped)) <= self.limit
            for answer in self.answers
        )


def explain(rung, answers, tolerance):
    """[explanations]: each the mistakes and conventions that, made together, lead to these answers; [] if none do."""
    return without_variants(explain_names(rung, answers, tolerance))


def explain_names(rung, answers, tolerance, dropped=()):
    """The same as tuples of names, #VARIANTs included."""
    search = Search(rung, answers, tolerance, dropped)
    nearest, chosen = np.inf, []
    for candidates in levels(rung):
        found, names = search.best(candidates)
        if found < 0.1 * nearest:
            nearest, chosen = found, names
        if nearest <= search.certain:
            break
    if not chosen and rung == "roc_auc" and all(tied_somehow(answer) for answer in answers):
        return [("ties-in-order-of-appearance#of-the-sort",)]
    return chosen


def tied_somehow(answer):
    """Is this AUROC right but for ties, of which some count whole and some nothing, as a sort left them?"""
    arguments, got = answer.arguments, float(answer.got[0])
    low, high = (made("roc_auc", arguments, (f"ties-count-{way}",))[0] for way in ("nothing", "whole"))
    ones = arguments["labels"].sum()
    counted = (got - low) * ones * (len(arguments["labels"]) - ones)  # of the tied pairs
    return low - 1e-6 < got < high + 1e-6 and abs(counted - np.round(counted)) < 1e-3


def without_variants(explanations):
    """Each explanation once, as one string. Another way to make the same mistake is known as NAME#VARIANT."""
    words = [" + ".join(name.partition("#")[0] for name in names) for names in explanations]
    return list(dict.fromkeys(words))
