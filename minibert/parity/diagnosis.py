"""Which known mistake gives this answer? Each is made here, alone and two at a time, and its outcome compared.

An answer that misses the right one and meets a wrong one has, almost surely, been computed the same wrong way. The
forward pass, the optimizer and the metrics are computed here with each mistake (`known_*.py`); what mistakes do to
gradients and to training is stored. Names in one string, joined by " + ", were made together.
"""

import itertools

import numpy as np

from .known_metrics import accuracy, confusion_matrix, precision_recall_f1, roc_auc
from .known_model import Known
from .known_optimizer import adamw, adamw_several, clip_gradients, warmup_schedule

ADDED, INFINITE = "#added", "#infinite"  # how a mask blocks: -1e4 in the place of scores, added to them, or -inf

NORM = (
    "unbiased-variance", "eps-1e-5", "eps-1e-6", "eps-outside-root", "no-scale-and-shift", "no-shift",
    "normalised-over-tokens", "normalised-over-everything", "mean-not-subtracted", "divided-by-variance",
)  # fmt: skip
ROBERTA_NORM = tuple(name.replace("eps-1e-5", "eps-1e-12") for name in NORM)  # RoBERTa's own eps is 1e-5
ACTIVATION = ("gelu-tanh", "gelu-sigmoid", "relu", "silu", "gelu-without-root")
EMBEDDINGS = (
    "token-types-missing", "token-types-all-0", "token-types-all-1", "positions-off-by-one",
    "positions-count-real-tokens", "positions-from-table-end", "positions-missing", "positions-all-0",
    "embeddings-without-layer-norm", "embeddings-scaled",
)  # fmt: skip
ROBERTA_EMBEDDINGS = (
    "token-types-missing", "positions-of-bert", "positions-count-padding", "positions-not-shifted",
    "positions-off-by-one", "positions-off-by-one#ahead", "positions-missing", "embeddings-without-layer-norm",
    "embeddings-scaled",
)  # fmt: skip
SCALE = (
    "scaled-by-hidden-size", "not-scaled", "scaled-twice", "scaled-by-length", "scaled-by-heads", "scale-multiplied",
    "scaled-after-softmax",
)  # fmt: skip
MASK = (
    "no-mask", "mask-inverted", f"mask-inverted{ADDED}", f"mask-inverted{INFINITE}", "mask-after-softmax",
    "mask-on-queries", f"mask-on-queries{INFINITE}", "mask-multiplied",
    "mask-multiplied#additive", "mask-added-as-it-is",
)  # fmt: skip
SOFTMAX = (
    "softmax-over-queries", f"softmax-over-queries{ADDED}", f"softmax-over-queries{INFINITE}", "softmax-over-heads",
    f"softmax-over-heads{ADDED}", "softmax-over-batch", "no-softmax",
)  # fmt: skip
PROBABILITIES = (*SCALE, *MASK, *SOFTMAX, "query-key-swapped")
ATTENTION = (
    *PROBABILITIES, "heads-split-by-reshape", "heads-not-transposed-back", "heads-interleaved", "one-head",
    "query-value-swapped", "key-value-swapped", "probabilities-transposed", "weights-untransposed", "bias-missing",
    "bias-missing#projections", "no-output-projection", "batch-and-tokens-swapped", "batch-and-tokens-swapped#masked",
)  # fmt: skip
FORWARD = (*ACTIVATION, "activation-missing", "activation-at-the-end", "activation-twice")
ORDER = (
    "pre-norm", "layer-norm-before-residual", "layer-norms-exchanged", "one-layer-norm-for-both",
    "first-layer-norm-missing", "second-layer-norm-missing", "no-attention-residual", "no-feed-forward-residual",
    "residual-from-layer-input",
)  # fmt: skip
INSIDE_LAYER = (*ORDER, *FORWARD, *ATTENTION)
LAYER = (*INSIDE_LAYER, *NORM)
LAYERS = ("last-layer-missing", "layers-reversed", "one-layer-repeated")
FIRST_TOKEN = (
    "pooler-reads-last-token", "pooler-reads-second-token", "pooler-reads-mean", "pooler-reads-mean#padded",
    "pooler-reads-maximum",
)  # fmt: skip
POOLER = (*FIRST_TOKEN, "pooler-without-tanh", "pooler-without-dense", "bias-missing", "weights-untransposed")
HEAD = (*FIRST_TOKEN, "head-without-dense", "softmax-on-logits", "bias-missing", "weights-untransposed")
ADAM = (
    "l2-instead-of-decoupled", "decay-without-lr", "decay-sign", "decay-times-lr-squared", "decay-missing",
    "decay-twice", "decay-of-gradient", "decay-of-update", "decay-without-weight-decay",
    "bias-correction-off-by-one", "bias-correction-from-step-0", "step-count-stuck", "only-mean-corrected",
    "only-square-corrected", "betas-swapped-in-correction", "betas-swapped", "correction-without-root",
    "correction-upside-down", "eps-inside-root", "eps-missing", "root-missing", "optimizer-state-reset",
    "moments-not-stored", "mean-not-stored", "square-not-stored", "moments-start-at-gradient",
    "mean-without-1-minus-beta", "square-without-1-minus-beta", "averages-weighted-the-wrong-way", "square-of-mean",
    "square-not-squared", "update-with-old-moments", "first-gradient-dropped",
    "first-gradient-dropped#and-not-counted", "learning-rate-compounded", "step-uphill",
    "nothing-updated", "nothing-updated#but-decayed", "learning-rate-twice", "corrected-moments-stored",
    "square-overwritten", "square-overwritten#with-eps", "power-as-product", "correction-without-root#of-the-square",
)  # fmt: skip
SEVERAL = (
    "step-counted-for-each-parameter", "rate-compounded-over-parameters", "return-inside-the-loop",
    "missing-gradient-as-zero", "missing-gradient-ends-the-loop",
)  # fmt: skip
ADAM_CONVENTIONS = (
    ("decay-after-step",),
    ("folded-bias-correction",),
    ("folded-bias-correction", "decay-after-step"),
    ("folded-bias-correction", "decay-by-corrected-rate"),
    ("folded-bias-correction", "decay-after-step", "decay-by-corrected-rate"),
    ("no-bias-correction",),
    ("no-bias-correction", "decay-after-step"),
)

MISTAKES_OF = {  # rung: what may be wrong there
    "layer_norm": NORM,
    "gelu": (*ACTIVATION, "activation-missing"),
    "bert_embeddings": (*EMBEDDINGS, *NORM),
    "distilbert_embeddings": (*EMBEDDINGS[3:], *NORM),
    "roberta_embeddings": (*ROBERTA_EMBEDDINGS, *ROBERTA_NORM),
    "attention_probabilities": PROBABILITIES,
    "multi_head_attention": ATTENTION,
    "feed_forward": (*FORWARD, "bias-missing"),
    "layer": LAYER,
    "distilbert_layer": LAYER,
    "bert_encoder": (*LAYERS, *EMBEDDINGS, *LAYER),
    "distilbert_encoder": (*LAYERS, *EMBEDDINGS[3:], *LAYER),
    "roberta_encoder": (*LAYERS, *ROBERTA_EMBEDDINGS, *INSIDE_LAYER, *ROBERTA_NORM),
    "pooler": POOLER,
    "mean_pooling": (
        "mean-over-all-positions", "sum-divided-by-length", "mean-without-cls", "first-token-for-mean",
        "maximum-for-mean", "sum-for-mean", "mean-divided-by-tokens-only",
    ),
    "bert_head": (*POOLER, "classifier-without-pooler", "softmax-on-logits"),
    "distilbert_head": (*HEAD, "head-without-relu", "head-tanh-for-relu", "head-gelu"),
    "roberta_head": (*HEAD, "head-without-tanh", "head-relu-for-tanh", "head-gelu"),
    "bert_embeddings_dropout": (*EMBEDDINGS, *NORM),
    "bert_layer_dropout": LAYER,
    "distilbert_layer_dropout": LAYER,
    "bert_head_dropout": (*POOLER, "classifier-without-pooler", "softmax-on-logits"),
    "distilbert_head_dropout": (*HEAD, "head-without-relu", "head-tanh-for-relu", "head-gelu"),
    "roberta_head_dropout": (*HEAD, "head-without-tanh", "head-relu-for-tanh", "head-gelu"),
    "adamw": ADAM,
    "adamw_several": (*SEVERAL, *ADAM),
    "warmup_schedule": (
        "schedule-off-by-one", "schedule-one-step-behind", "never-reaches-zero", "no-warmup", "no-decay",
        "warmup-starts-above-0", "decay-starts-too-late",
    ),
    "clip_gradients": (
        "clipped-by-value", "clipped-per-tensor", "always-scaled", "not-clipped", "norms-added", "norm-without-root",
        "largest-norm", "norm-of-largest-element", "scaled-to-norm-1",
    ),
    "accuracy": ("error-rate", "accuracy-in-percent", "count-not-share", "balanced-accuracy"),
    "confusion_matrix": ("confusion-transposed", "confusion-normalised", "confusion-counts-once"),
    "precision_recall_f1": (
        "macro-for-weighted", "weighted-for-macro", "micro-for-macro", "f1-of-averages", "precision-recall-swapped",
        "classes-absent-from-labels-skipped", "only-predicted-classes", "weighted-by-predictions", "f1-is-the-mean",
        "last-class-only",
    ),
    "roc_auc": (
        "auroc-from-hard-labels", "ties-count-nothing", "ties-count-whole", "auroc-inverted",
        "ties-in-order-of-appearance", "ties-in-order-of-appearance#reversed", "average-precision-for-auroc",
    ),
}  # fmt: skip
CONVENTIONS_OF = {
    "adamw": ADAM_CONVENTIONS,
    "adamw_several": (
        *ADAM_CONVENTIONS, ("one-step-count",),
        *(("one-step-count", *names) for names in ADAM_CONVENTIONS if "no-bias-correction" not in names),
    ),
    "warmup_schedule": (
        ("schedule-of-bert",), ("schedule-noam",), ("schedule-polynomial",), ("schedule-polynomial#end",),
        ("schedule-cosine",),
    ),
    "precision_recall_f1": (("classes-that-occur",), ("classes-up-to-the-largest",)),
}  # fmt: skip

# Of these, no two are made at once: they answer the same question, or one hides the other.
RESIDUALS = ("no-attention-residual", "no-feed-forward-residual", "residual-from-layer-input")
MOMENTS = (
    "optimizer-state-reset", "moments-not-stored", "mean-not-stored", "square-not-stored", "moments-start-at-gradient",
    "update-with-old-moments", "first-gradient-dropped", "first-gradient-dropped#and-not-counted",
    "corrected-moments-stored", "square-overwritten", "square-overwritten#with-eps",
)  # fmt: skip
CORRECTIONS = (
    "bias-correction-off-by-one", "bias-correction-from-step-0", "step-count-stuck", "only-mean-corrected",
    "only-square-corrected", "betas-swapped-in-correction", "correction-without-root", "correction-upside-down",
    "betas-swapped", "optimizer-state-reset", "learning-rate-compounded", "rate-compounded-over-parameters",
    "power-as-product", "correction-without-root#of-the-square",
)  # fmt: skip
ALTERNATIVES = (
    ("eps-1e-5", "eps-1e-6", "eps-1e-12"),
    ("no-scale-and-shift", "no-shift"),
    ("normalised-over-tokens", "normalised-over-everything"),
    ("divided-by-variance", "eps-outside-root"),
    (*ACTIVATION, "activation-missing"),
    ("activation-at-the-end", "activation-twice", "activation-missing"),
    ("token-types-missing", "token-types-all-0", "token-types-all-1"),
    tuple(name for name in (*EMBEDDINGS, *ROBERTA_EMBEDDINGS) if name.startswith("positions")),
    (*SCALE, "no-softmax"),
    (*MASK, "batch-and-tokens-swapped", "batch-and-tokens-swapped#masked"),
    SOFTMAX,
    ("query-key-swapped", "query-value-swapped", "key-value-swapped"),
    ("heads-split-by-reshape", "heads-interleaved", "one-head"),
    ("bias-missing", "bias-missing#projections"),
    ("pre-norm", "layer-norm-before-residual", *RESIDUALS),
    ORDER[:-3],
    ("no-feed-forward-residual", "residual-from-layer-input"),
    LAYERS,
    FIRST_TOKEN,
    ("pooler-without-dense", "pooler-without-tanh"),
    ("head-without-relu", "head-without-tanh", "head-tanh-for-relu", "head-relu-for-tanh", "head-gelu"),
    tuple(name for name in ADAM if "decay" in name),
    MOMENTS,
    CORRECTIONS,
    ("eps-missing", "eps-inside-root", "root-missing"),
    ("square-of-mean", "square-not-squared", "square-without-1-minus-beta", "averages-weighted-the-wrong-way"),
    ("mean-without-1-minus-beta", "averages-weighted-the-wrong-way"),
    SEVERAL,
)
HIDES = {  # a mistake, and those that nobody can see beside it
    "embeddings-without-layer-norm": (*NORM, "eps-1e-12"),
    "classifier-without-pooler": POOLER,
    "pooler-without-dense": ("weights-untransposed", "bias-missing"),
    "head-without-dense": ("weights-untransposed", "bias-missing"),
    "bias-correction-from-step-0": ADAM,
    "nothing-updated": ADAM,
    "nothing-updated#but-decayed": tuple(name for name in ADAM if "decay" not in name),
    "step-count-stuck": ("step-counted-for-each-parameter",),
    "optimizer-state-reset": ("step-counted-for-each-parameter",),
    "mask-multiplied#additive": SCALE,
    "normalised-over-tokens": ("token-types-missing", "token-types-all-0", "token-types-all-1"),
}
MASKED_BY_NUMBERS = ("mask-inverted", "mask-on-queries")  # the masks that #added and #infinite are ways of
COMMON = {  # of the mistakes of a layer or an encoder, those that are tried two at a time
    "unbiased-variance", "eps-outside-root", "eps-1e-5", "eps-1e-6", "eps-1e-12", "gelu-tanh", "relu", "silu",
    "activation-missing", "not-scaled", "scaled-by-hidden-size", "scaled-twice", "no-mask", "mask-inverted",
    f"mask-inverted{ADDED}", "mask-on-queries", "mask-after-softmax", "mask-multiplied", "mask-added-as-it-is",
    "softmax-over-queries", f"softmax-over-queries{ADDED}", "heads-split-by-reshape", "heads-not-transposed-back",
    "bias-missing", "bias-missing#projections", "no-output-projection", "weights-untransposed", "pre-norm",
    "layer-norm-before-residual", "no-attention-residual", "no-feed-forward-residual", "one-layer-norm-for-both",
    "layer-norms-exchanged", "residual-from-layer-input", "batch-and-tokens-swapped",
    "token-types-missing", "token-types-all-0", "positions-missing", "positions-off-by-one",
    "positions-count-real-tokens", "positions-of-bert", "positions-count-padding", "positions-not-shifted",
    "embeddings-without-layer-norm", "embeddings-scaled", "last-layer-missing",
}  # fmt: skip
TOGETHER = ("unbiased-variance", "eps-outside-root", "eps-1e-6")  # a LayerNorm that many have copied
OFTEN = (
    "eps-1e-5", "gelu-tanh", "relu", "pre-norm", "no-mask", "mask-inverted", "not-scaled", "scaled-by-hidden-size",
    "bias-missing", "bias-missing#projections", "no-output-projection", "unbiased-variance", "batch-and-tokens-swapped",
)  # fmt: skip
PAIRS = {  # rungs at which only these make sense together: the first with each of the others
    "mean_pooling": (), "accuracy": (), "confusion_matrix": ("confusion-transposed", "confusion-normalised"),
    "warmup_schedule": ("warmup-starts-above-0", "never-reaches-zero"),
    "clip_gradients": (
        "always-scaled", "norms-added", "norm-without-root", "largest-norm", "norm-of-largest-element",
    ),
    "precision_recall_f1": (
        "precision-recall-swapped", "macro-for-weighted", "weighted-for-macro", "f1-of-averages",
        "classes-absent-from-labels-skipped", "only-predicted-classes", "weighted-by-predictions",
    ),
    "roc_auc": ("auroc-inverted", "auroc-from-hard-labels"),
}  # fmt: skip


def rivals():
    """{name: the names that answer the same question}"""
    table = {}
    for group in ALTERNATIVES:
        for name in group:
            table.setdefault(name, set()).update(group)
    for name, hidden in HIDES.items():
        for other in hidden:
            table.setdefault(name, set()).add(other)
            table.setdefault(other, set()).add(name)
    return table


RIVALS = rivals()


def compatible(first, second):
    """Can both be made at once, and both be seen?"""
    (name, variant), (other, other_variant) = (one.partition("#")[::2] for one in (first, second))
    if name == other or second in RIVALS.get(first, ()):
        return False
    if variant != other_variant and {name, other} <= {"softmax-over-queries", *MASKED_BY_NUMBERS}:
        return False
    for mask, way in ((name, other_variant), (other, variant)):
        if way in ("added", "infinite") and mask in MASK and mask not in MASKED_BY_NUMBERS:
            return False
    return not {variant, other_variant} >= {"added", "infinite"}


def pairs_of(rung):
    """The two mistakes at once that are tried at a rung, and some three."""
    if rung in PAIRS:
        return [(PAIRS[rung][0], other) for other in PAIRS[rung][1:]]
    names = MISTAKES_OF.get(rung, ())
    if rung == "adamw_several":
        return [pair for pair in itertools.product(SEVERAL, ADAM) if compatible(*pair)]
    if len(names) > 40 and rung != "adamw":
        names = [name for name in names if name in COMMON]
    pairs = [pair for pair in itertools.combinations(names, 2) if compatible(*pair)]
    if not rung.startswith(("layer_norm", "roberta")):  # an eps of 1e-12 shows neither in the root nor outside
        pairs = [p for p in pairs if "eps-outside-root" not in p or any("eps-1e" in name for name in p)]
    if all(name in names for name in TOGETHER):
        rest = [name for name in names if all(compatible(one, name) for one in TOGETHER)]
        pairs += [TOGETHER, *((*TOGETHER, name) for name in rest)]
    return pairs


def triples_of(rung):
    """Three mistakes at once of those that are made most, and what is known to go with a certain LayerNorm."""
    often = [name for name in OFTEN if name in MISTAKES_OF[rung]]
    groups = [*itertools.combinations(often, 3), *((*TOGETHER, *pair) for pair in itertools.combinations(often, 2))]
    return [names for names in groups if all(compatible(*pair) for pair in itertools.combinations(names, 2))]


# ---- making an answer


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


def levels(rung):
    """Candidates, from the simplest explanation on: lists of tuples of names."""
    singles = [(name,) for name in MISTAKES_OF.get(rung, ())]
    conventions = CONVENTIONS_OF.get(rung, ())
    yield list(conventions)
    yield singles
    yield [(*one, *convention) for convention in conventions for one in singles]
    pairs = pairs_of(rung)
    yield pairs
    if "layer" in rung.split("_") or rung.endswith("encoder"):
        yield triples_of(rung)
    if rung.startswith("adamw"):
        yield [(*pair, *convention) for convention in conventions for pair in pairs]


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
