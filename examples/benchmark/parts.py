"""What is compared with what, and how far ahead minibert has to be."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """One comparison: minibert's job, the other sides' jobs, and the least ratio of minibert's rate to each of theirs.

    A number that depends on the precision is a dict of them.
    """

    what: str
    ours: dict
    others: tuple
    ratio: float | dict
    share: dict = field(default_factory=dict)  # of the machine's rate for matrix products, at least
    memory: float | None = None  # the peak as a share of the other side's, at most

    def asked(self, precision):
        """The least ratio in this precision, or None."""
        return self.ratio.get(precision) if isinstance(self.ratio, dict) else self.ratio


def against_trainer(what, ratio, work="finetune", ours=None, theirs=None, **more):
    """A part whose other side is transformers' Trainer. ours, theirs: what only one side's job has."""
    both = {name: more.pop(name) for name in ("task", "more", "max_length") if name in more}
    sides = dict(side="minibert", work=work, **both), dict(side="trainer", work=work, **both)
    return Part(what, sides[0] | (ours or {}), (sides[1] | (theirs or {}),), ratio, **more)


def against_pipeline(what, **ours):
    pipeline = dict(side="pipeline", work="inference")
    return Part(what, dict(side="minibert", work="inference", **ours), (pipeline,), 1.5)


def against_peers(task, precision):
    """Inference in one precision against the peers that have it."""
    job = dict(work="inference", task=task, precision=precision, classifier=True)
    sides = ("openvino",) if precision == "bf16" else ("onnxruntime", "openvino")
    name = {"imdb": "IMDb <= 256 tokens", "sms-spam": "SMS spam"}[task]
    return Part(f"inference, {name}, {precision}, length-sorted batches, against what one uses for speed on a CPU",
                dict(side="minibert", **job), tuple(dict(side=side, **job) for side in sides), 1.1)  # fmt: skip


AHEAD = {"bf16": 1.8, "fp16": 1.8, "fp32": 1.25}  # where products are slower, there is less around them to save
SHARE = {"bf16": 0.45, "fp16": 0.45, "fp32": 0.85}

PARTS = {
    "finetune-default": against_trainer(
        "fine-tuning, IMDb <= 256 tokens, batch 16, against the Trainer as tutorials run it (fp32, padded to 256)",
        {"bf16": 5.0}, theirs=dict(precision="fp32", padded=True),
    ),
    "finetune-best": against_trainer(
        "the same, against the Trainer at its best (same precision, grouped by length)", AHEAD, share=SHARE,
        memory=0.75,
    ),
    "finetune-micro": against_trainer(
        "fine-tuning, IMDb <= 256 tokens, the same updates with 8 texts in memory at a time (--micro-batch 8)",
        {"bf16": 1.5}, ours=dict(micro_batch=8), memory=0.75,
    ),
    "finetune-512": against_trainer(
        "fine-tuning, IMDb <= 512 tokens, batch 16, against the Trainer at its best", AHEAD, max_length=512,
    ),
    "finetune-sms": against_trainer(
        "fine-tuning, SMS spam, batch 16, against the Trainer at its best", 1.5, task="sms-spam", more=3,
    ),
    "frozen": against_trainer(
        "the whole frozen experiment, against 3 epochs of the Trainer (at its best) with a frozen body", 15.0,
        work="frozen",
    ),
    "inference": against_pipeline("inference from text to label, IMDb <= 256 tokens, against the pipeline, batch 32"),
    "inference-compiled": against_pipeline(
        "the same with torch.compile on minibert's side, compiling not counted", variant="compile",
    ),
    **{
        f"{task.split('-')[0]}-{precision}": against_peers(task, precision)
        for task in ("imdb", "sms-spam") for precision in ("fp32", "bf16", "int8")
    },
}  # fmt: skip
EXTRA_PARTS = ("reviews", "start-up", "shapes", "gpu")
