"""Named settings for `python -m minibert.finetune`."""

# What a task takes where nothing else is asked for; chosen on its validation texts.
DEFAULTS = {
    "model": "distilbert-base-uncased", "epochs": 3, "batch_size": 16, "lr": 5e-5, "pooling": None, "head": None,
}  # fmt: skip
TASK_DEFAULTS = {
    "reviews": {
        "model": "minibert-tiny", "epochs": 6, "batch_size": 32, "lr": 1e-4, "pooling": "mean", "head": "linear",
    },
}  # fmt: skip
