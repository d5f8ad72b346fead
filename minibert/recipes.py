"""Named settings for `python -m minibert.finetune TASK --recipe NAME`: those of tutorials and papers, and ours.

A recipe says what its source says, and leaves the rest to the task's defaults; whatever is typed beside `--recipe`
overrides it. `--dry-run` prints it. To repeat a tutorial on another task or with another model, name them:
`sms-spam --recipe mrpc-bert --model minibert-tiny`.
"""

from dataclasses import dataclass, fields

# What a run takes where nothing else is asked for.
DEFAULTS = {
    "model": "distilbert-base-uncased", "epochs": 3, "batch_size": 16, "lr": 5e-5, "pooling": None, "head": None,
}  # fmt: skip
# What a task takes with its own model; chosen on its validation texts (RESULTS.md).
TASK_DEFAULTS = {
    "reviews": {
        "model": "minibert-tiny", "epochs": 3, "batch_size": 32, "lr": 4e-4, "pooling": "mean", "head": "linear",
    },
}  # fmt: skip


def defaults_of(task, model=None):
    """{option: value} of what was not asked for. `model` is what was: a rate that suits one may ruin another."""
    own = TASK_DEFAULTS.get(task, {})
    return DEFAULTS | (own if model in (None, own.get("model")) else {})


@dataclass(frozen=True)
class Recipe:
    """Settings under a name. The fields after `task` are options of the command; None leaves an option as it is."""

    about: str  # what it shows, and what of its source cannot be said in options
    task: str  # for which it was written
    model: str | None = None
    mode: str | None = None
    untrained: bool | None = None
    limit: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    head_lr: float | None = None
    layer_decay: float | None = None
    weight_decay: float | None = None
    warmup: float | None = None
    max_norm: float | None = None
    dropout: float | None = None
    patience: int | None = None
    max_length: int | None = None
    truncation: str | None = None
    pooling: str | None = None
    head: str | None = None

    def options(self):
        """{option: value} of all that the recipe decides."""
        values = {field.name: getattr(self, field.name) for field in fields(self)[2:]}
        return {name: value for name, value in values.items() if value is not None}

    def __str__(self):
        flags = []
        for name, value in self.options().items():
            flags.append(f"--{name.replace('_', '-')}")
            if value is not True:
                flags.append(f"{value:g}" if isinstance(value, float) else str(value))
        return f"{self.about} ({self.task}): {' '.join(flags)}"


RECIPES = {
    # ---- the tutorials that this project started from
    "frozen-vs-finetuned": Recipe(
        "DistilBERT's [CLS] features under a classifier of their own, against fine-tuning all of it", "imdb",
        model="distilbert-base-uncased", mode="both", pooling="cls",
    ),
    "sms-bert": Recipe(
        "an MLP on frozen BERT, against fine-tuning it", "sms-spam",
        model="bert-base-uncased", mode="both", head="mlp",
    ),
    "imdb-1000": Recipe(
        "1,000 reviews are all the labels there are; lowercase and strip are the uncased tokenizer's own first steps",
        "imdb",
        model="distilbert-base-uncased", limit=1000, max_length=256, epochs=2, batch_size=32, lr=5e-5,
    ),
    "mrpc-bert": Recipe(
        "pairs, without fine-tuning against with; optimizer and schedule as transformers' Trainer has them", "mrpc",
        model="bert-base-uncased", mode="finetune", untrained=True, epochs=3, batch_size=8, lr=5e-5, head_lr=5e-5,
        weight_decay=0.0, warmup=0.0, max_norm=1.0, head="native", max_length=512,
    ),
    "imdb-full": Recipe(
        "all of IMDb, mean pooling, early stopping", "imdb",
        model="distilbert-base-uncased", mode="finetune", pooling="mean", head="linear", dropout=0.3, epochs=3,
        batch_size=16, lr=2e-5, head_lr=2e-5, warmup=1000, max_norm=1.0, patience=1, max_length=256,
    ),
    # ---- published recipes
    "bert-paper": Recipe(
        "Devlin et al. 2019, appendix A.3; their program's own choice where they name a range", "mrpc",
        model="bert-base-uncased", epochs=3, batch_size=32, lr=2e-5, head_lr=2e-5, weight_decay=0.01, warmup=0.1,
        max_norm=1.0, dropout=0.1, max_length=128, head="native",
    ),
    "sun2019": Recipe(
        "Sun et al. 2019, How to Fine-Tune BERT for Text Classification, without further pretraining", "imdb",
        model="bert-base-uncased", epochs=4, batch_size=24, lr=2e-5, head_lr=2e-5, layer_decay=0.95, warmup=0.1,
        dropout=0.1, max_length=512, truncation="head+tail", head="native",
    ),
    "hf-tutorial": Recipe(
        "transformers' guide to text classification", "imdb",
        model="distilbert-base-uncased", mode="finetune", epochs=2, batch_size=16, lr=2e-5, head_lr=2e-5,
        weight_decay=0.01, warmup=0.0, max_norm=1.0, max_length=512, head="native",
    ),
    # ---- ours
    "best": Recipe(
        "both ends of a long review, which is what paid most here on validation (RESULTS.md)", "imdb",
        mode="both", epochs=3, batch_size=16, lr=5e-5, head_lr=5e-4, weight_decay=0.01, warmup=0.1, patience=1,
        max_length=256, truncation="head+tail",
    ),
}  # fmt: skip
