"""Which mistakes may have been made at a rung, alone and together, from the simplest explanation on.

Names with a #VARIANT are another way to make the same mistake. Not every two can be tried together: some answer the
same question (an activation is ReLU or SiLU), and some hide others (without a pooler nobody sees what is wrong in it).
`diagnosis.py` makes them and compares.
"""

import itertools

# How a mask blocks: -1e4 in the place of scores, added to them, or -inf; or -inf, and a row that is blocked throughout
# is 0 after the softmax, not NaN, as in PyTorch's scaled_dot_product_attention.
WAYS = ADDED, INFINITE, ZEROS = ("#added", "#infinite", "#zeros")
QUERIES_TOO = "mask-on-queries#too"  # keys and queries, by -inf: padding becomes NaN, and in the next layer all does

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
    "no-mask", "mask-inverted", f"mask-inverted{ADDED}", f"mask-inverted{INFINITE}", f"mask-inverted{ZEROS}",
    "mask-after-softmax", "mask-on-queries", f"mask-on-queries{INFINITE}", f"mask-on-queries{ZEROS}",
    "mask-multiplied", "mask-multiplied#additive", "mask-added-as-it-is",
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
INSIDE_LAYER = (*ORDER, *FORWARD, *ATTENTION, "bias-missing#attention")  # in attention alone, it is bias-missing
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
    "bert_encoder": (*LAYERS, *EMBEDDINGS, *LAYER, QUERIES_TOO),
    "distilbert_encoder": (*LAYERS, *EMBEDDINGS[3:], *LAYER, QUERIES_TOO),
    "roberta_encoder": (*LAYERS, *ROBERTA_EMBEDDINGS, *INSIDE_LAYER, *ROBERTA_NORM, QUERIES_TOO),
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
        "last-class-only", "zero-division", "zero-division#of-counts",
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
    (*MASK, QUERIES_TOO, "batch-and-tokens-swapped", "batch-and-tokens-swapped#masked"),
    SOFTMAX,
    ("query-key-swapped", "query-value-swapped", "key-value-swapped"),
    ("heads-split-by-reshape", "heads-interleaved", "one-head"),
    ("bias-missing", "bias-missing#projections", "bias-missing#attention"),
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
MASKED_BY_NUMBERS = ("mask-inverted", "mask-on-queries")  # the masks that #added, #infinite and #zeros are ways of
COMMON = {  # of the mistakes of a layer or an encoder, those that are tried two at a time
    "unbiased-variance", "eps-outside-root", "eps-1e-5", "eps-1e-6", "eps-1e-12", "gelu-tanh", "relu", "silu",
    "activation-missing", "not-scaled", "scaled-by-hidden-size", "scaled-twice", "no-mask", "mask-inverted",
    f"mask-inverted{ADDED}", f"mask-inverted{ZEROS}", "mask-on-queries", "mask-after-softmax", "mask-multiplied",
    "mask-added-as-it-is",
    "softmax-over-queries", f"softmax-over-queries{ADDED}", "heads-split-by-reshape", "heads-not-transposed-back",
    "bias-missing", "bias-missing#projections", "bias-missing#attention", "no-output-projection",
    "weights-untransposed", "pre-norm",
    "layer-norm-before-residual", "no-attention-residual", "no-feed-forward-residual", "one-layer-norm-for-both",
    "layer-norms-exchanged", "residual-from-layer-input", "batch-and-tokens-swapped",
    "token-types-missing", "token-types-all-0", "positions-missing", "positions-off-by-one",
    "positions-count-real-tokens", "positions-of-bert", "positions-count-padding", "positions-not-shifted",
    "embeddings-without-layer-norm", "embeddings-scaled", "last-layer-missing",
}  # fmt: skip
TOGETHER = ("unbiased-variance", "eps-outside-root", "eps-1e-6")  # a LayerNorm that many have copied
OFTEN = (
    "eps-1e-5", "gelu-tanh", "relu", "pre-norm", "no-mask", "mask-inverted", "not-scaled", "scaled-by-hidden-size",
    "bias-missing", "bias-missing#projections", "bias-missing#attention", "no-output-projection", "unbiased-variance",
    "batch-and-tokens-swapped",
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
        if f"#{way}" in WAYS and mask in MASK and mask not in MASKED_BY_NUMBERS:
            return False
    return variant == other_variant or not {f"#{variant}", f"#{other_variant}"} <= set(WAYS)


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
