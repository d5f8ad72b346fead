"""minibert: BERT fine-tuning from scratch, in files to be read in this order:

files, config, dropout, attention, linear, model, load, head, tokenizer, data, batch, metrics, optim, train, frozen,
baselines, report, finetune, predict, student, distill; then parity/, the ladder.
"""

from . import metrics, optim
from .config import EncoderConfig
from .files import UserError
from .head import Classifier
from .load import load_encoder, save_encoder
from .model import Encoder
from .tokenizer import load_tokenizer

__version__ = "0.1.0"
__all__ = [
    "Classifier", "Encoder", "EncoderConfig", "UserError", "load_classifier", "load_encoder", "load_tokenizer",
    "metrics", "optim", "save_encoder",
]  # fmt: skip


def __getattr__(name):
    if name == "load_classifier":  # late: a command's own module, imported here, would be loaded twice by `python -m`
        from .predict import load_classifier

        return load_classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
