"""minibert: BERT fine-tuning from scratch, in files to be read in this order:

files, config, model, load, head, tokenizer, data, batch, metrics, optim, train, frozen, baselines, report, finetune,
predict.
"""

from . import metrics, optim
from .config import EncoderConfig
from .files import UserError
from .head import Classifier
from .load import load_encoder, save_encoder
from .model import Encoder
from .tokenizer import load_tokenizer

__version__ = "0.1.0"
