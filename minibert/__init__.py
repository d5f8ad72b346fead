"""minibert: BERT fine-tuning from scratch. README.md holds the order in which the files are read."""

import importlib

__version__ = "0.1.0"

# Where each public name lives. A name is imported when it is first asked for: the parity ladder and `--help` then
# start without PyTorch.
PLACES = {
    "Classifier": "head",
    "Encoder": "model",
    "EncoderConfig": "config",
    "UserError": "plumbing.files",
    "load_classifier": "text_classifier",
    "load_encoder": "load",
    "load_tokenizer": "load",
    "save_encoder": "load",
}
__all__ = [*PLACES, "metrics", "optim"]


def __getattr__(name):
    if name in ("metrics", "optim"):
        return importlib.import_module(f".{name}", __name__)
    if name in PLACES:
        return getattr(importlib.import_module(f".{PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
