"""Pretrained weights: a Hub id or a folder becomes an `Encoder`, with an account of every tensor, and the way back.

A checkpoint is `config.json` + `model.safetensors` (or shards with `model.safetensors.index.json`). Names are
translated by one literal table. A tensor is loaded, ignored for a stated reason, or new for a stated reason;
anything else (unknown, missing, misshapen, not finite) is an error that names it. Pickle is never read.
Next: `head.py`, which turns vectors into classes.
"""

import os
from pathlib import Path

import tokenizers
import torch

from .config import read_config
from .head import HEADS, NATIVE, POOLINGS, Classifier, resolve_head
from .model import Encoder, Pooler, initialize
from .names import fill, head_names, name_table, translate
from .plumbing.checkpoint import find_checkpoint, read_tensors, write_safetensors
from .plumbing.files import UserError, read_json, read_text, write_json
from .tokenizer import Tokenizer, _content, from_vocabulary


def load_encoder(model, fused=True, dtype=torch.float32):
    """A pretrained `Encoder` in eval mode. `model` is a folder or a Hub id; `fused` chooses the attention path.

    `encoder.account` says what became of every tensor. Raises UserError.
    """
    folder = find_checkpoint(model)
    config = read_config(folder)
    tensors = read_tensors(folder)
    has_pooler = any(name.endswith("pooler.dense.weight") for name in tensors)
    with torch.device("meta"):  # shapes only: the numbers come from the checkpoint
        encoder = Encoder(config, fused, pooler=has_pooler)
    encoder.account = fill(encoder, tensors, name_table(config), source=folder, dtype=dtype)
    if config.model_type == "bert" and not has_pooler:
        encoder.account.missing.append("pooler.dense (this checkpoint was saved without one)")
    return encoder.eval()


def save_encoder(encoder, folder):
    """Write `config.json` and `model.safetensors` in Hugging Face layout: transformers' AutoModel opens the folder."""
    names = name_table(encoder.config)
    tensors = {translate(name, names): tensor for name, tensor in encoder.state_dict().items()}
    architecture = "BertModel" if encoder.config.model_type == "bert" else "DistilBertModel"
    write_safetensors(Path(folder) / "model.safetensors", tensors)
    write_json(Path(folder) / "config.json", {"architectures": [architecture], **encoder.config.to_dict()})


def new_classifier(model, label_names, pooling=None, head=None, seed=0, fused=True):
    """A pretrained encoder (folder or Hub id) under a fresh head, ready for training. Raises UserError.

    `classifier.encoder.account` says what was loaded; a missing pooler that is needed starts fresh too.
    """
    encoder = load_encoder(model, fused)
    config = encoder.config
    pooling, head = resolve_head(config.model_type, pooling, head)
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    if pooling == "pooler" and encoder.pooler is None and config.model_type == "bert":
        encoder.pooler = Pooler(config)
        initialize(encoder.pooler, config.initializer_range)
        encoder.account.missing.clear()
        encoder.account.new["pooler.dense"] = "not in the checkpoint; it starts random and has to be trained"
    classifier = Classifier(encoder, label_names, pooling, head)
    initialize(classifier.head, config.initializer_range)
    torch.set_rng_state(generator_state)
    for name, _ in classifier.head.named_parameters():
        encoder.account.new[f"head.{name}"] = "the head for this task; it starts random and has to be trained"
    return classifier


def save_classifier(classifier, folder, extra=None):
    """Write `config.json` and `model.safetensors`; with the native head, transformers' classifier opens them.

    `extra` (JSON values, such as max_length) is kept in config.json's `minibert` section for `read_classifier`.
    """
    config = classifier.encoder.config
    prefix = f"{config.model_type}."
    names = {f"encoder.{ours}": prefix + theirs for ours, theirs in name_table(config).items()}
    names |= head_names(config.model_type, classifier.is_native)
    tensors = {translate(name, names): tensor for name, tensor in classifier.state_dict().items()}
    family = "Bert" if config.model_type == "bert" else "DistilBert"
    values = {
        "architectures": [family + ("ForSequenceClassification" if classifier.is_native else "Model")],
        **config.to_dict(),
        "id2label": {str(i): name for i, name in enumerate(classifier.label_names)},
        "label2id": {name: i for i, name in enumerate(classifier.label_names)},
        "minibert": {"pooling": classifier.pooling, "head": classifier.head_name, **(extra or {})},
    }
    write_safetensors(Path(folder) / "model.safetensors", tensors)
    write_json(Path(folder) / "config.json", values)


def read_classifier(model, fused=True):
    """A trained classifier in eval mode, and its `minibert` section: ours, or any native one from transformers.

    `classifier.account` says what became of every tensor. Raises UserError.
    """
    folder = find_checkpoint(model)
    values, config = read_json(folder / "config.json"), read_config(folder)
    extra = values.get("minibert", {})
    if not holds_classifier(values):
        architecture = (values.get("architectures") or ["not stated"])[0]
        raise UserError(f"{folder}: holds no classifier (architecture {architecture})")
    native_pooling, native_head = NATIVE[config.model_type]
    id2label = values.get("id2label") or {}
    try:
        label_names = [id2label[str(i)] for i in range(len(id2label))] or ["LABEL_0", "LABEL_1"]
    except KeyError as error:
        raise UserError(f"{folder}/config.json: id2label has no entry {error}") from None
    pooling, head = extra.get("pooling", native_pooling), extra.get("head", native_head)
    if pooling not in POOLINGS or head not in HEADS:
        raise UserError(f"{folder}/config.json: minibert section has pooling {pooling!r} and head {head!r}")
    with torch.device("meta"):  # shapes only: the numbers come from the checkpoint
        classifier = Classifier(Encoder(config, fused, pooler=pooling == "pooler"), label_names, pooling, head)
    names = {f"encoder.{ours}": theirs for ours, theirs in name_table(config).items()}
    names |= head_names(config.model_type, classifier.is_native)
    ignored = {"embeddings.position_ids": "a stored 0, 1, 2, ..., not a weight"}
    if pooling != "pooler":
        ignored["pooler."] = f"this head reads {pooling} pooling"
    classifier.account = fill(classifier, read_tensors(folder), names, folder, ignored)
    return classifier.eval(), extra


def holds_classifier(values):
    """Whether a config.json belongs to a classifier: ours, or a native one from transformers."""
    architecture = (values.get("architectures") or [""])[0]
    return bool(values.get("minibert")) or architecture.endswith("ForSequenceClassification")


def load_tokenizer(model):
    """The tokenizer of a folder or Hub id: `tokenizer.json`, else `vocab.txt` + `tokenizer_config.json`.

    Raises UserError.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # unset, the library turns wary and slow after a fork
    folder = find_checkpoint(model)
    config_path = folder / "tokenizer_config.json"
    config = read_json(config_path) if config_path.is_file() else {}
    if (folder / "tokenizer.json").is_file():
        text = read_text(folder / "tokenizer.json")
        try:
            backend = tokenizers.Tokenizer.from_str(text)
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"{folder / 'tokenizer.json'}: not a tokenizer ({error})") from None
    elif (folder / "vocab.txt").is_file():
        lines = [line.rstrip("\r") for line in read_text(folder / "vocab.txt").rstrip("\n").split("\n")]
        backend = from_vocabulary(lines, config)
    else:
        raise UserError(f"{folder}: no tokenizer.json and no vocab.txt")
    max_length = config.get("model_max_length", 512)
    if not isinstance(max_length, int) or max_length > 100_000:  # transformers writes 1e30 for "not known"
        max_length = 512
    special = {name: _content(config.get(f"{name}_token")) for name in ("cls", "sep", "pad")}
    return Tokenizer(backend, max_length, **{name: token for name, token in special.items() if token})
