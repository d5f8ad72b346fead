"""Published conventions that differ from what a rung asks for: no mistakes, but other numbers.

An answer that is one of these gets the status OTHER: named, with its source and how far it leads away, and no
failure unless `--strict` is given. name -> (what it is, where it comes from).
"""

CONVENTIONS = {
    # adamw
    "folded-bias-correction": (
        "the bias correction is folded into the learning rate, lr * sqrt(1 - beta2^t) / (1 - beta1^t), so that eps "
        "counts for more in the first steps",
        "the efficient version in the last paragraph of section 2 of Kingma and Ba 2015; transformers' own AdamW, "
        "fairseq, minBERT",
    ),
    "no-bias-correction": (
        "no bias correction: the first steps are larger or smaller than elsewhere",
        "BERT's own optimizer, google-research/bert, optimization.py",
    ),
    "decay-after-step": (
        "decay comes after the update and shrinks the new weights, not the old ones",
        "transformers' own AdamW, minBERT",
    ),
    "decay-by-corrected-rate": (
        "decay is multiplied with the corrected learning rate, not with lr itself",
        "egg-west/AdamW-pytorch, widely copied before PyTorch had an AdamW; many minBERTs",
    ),
    "one-step-count": (
        "steps are counted once for all parameters, also for one that had no gradient",
        "NVIDIA apex, FusedAdam: group['step']",
    ),
    # warmup_schedule
    "schedule-of-bert": (
        "the decay runs from step 0, so that it jumps down from 1 where the warmup ends",
        "BERT's own, google-research/bert, optimization.py: polynomial_decay over all steps, warmup put in its place",
    ),
    "schedule-noam": (
        "the rate falls with 1 / sqrt(step) after the warmup",
        "Vaswani et al. 2017, section 5.3 (scaled here so that its peak is 1)",
    ),
    "schedule-polynomial": (
        "the decay is a polynomial",
        "transformers, get_polynomial_decay_schedule_with_warmup; fairseq, polynomial_decay",
    ),
    "schedule-cosine": (
        "the decay is a cosine",
        "Loshchilov and Hutter 2017, equation 5; transformers, get_cosine_schedule_with_warmup",
    ),
    # precision_recall_f1
    "classes-that-occur": (
        "macro averages over the classes that occur in labels or predictions",
        "scikit-learn where `labels` is not given",
    ),
    "classes-up-to-the-largest": (
        "macro averages over every class up to the largest that occurs",
        "a confusion matrix without a given size, as PyTorch's bincount makes it",
    ),
}  # fmt: skip
