"""The doors in and out: a Hub id or a folder becomes an encoder, a classifier or a tokenizer, and back.

A checkpoint is a folder with `config.json`, `model.safetensors` (or shards with an index) and the tokenizer's files.
The functions called `load_...` are the doors: they take a Hub id or a folder, and ask the Hub once. Those called
`read_...` take a folder, and those called `..._from` a folder whose config.json has been read. Pickled weights are
never read. `load_classifier`, which brings the tokenizer along, stands in text_classifier.py.
"""

import os
from dataclasses import replace
from pathlib import Path

import tokenizers
import torch

from .config import EncoderConfig, read_config
from .fast import accelerate
from .head import HEADS, NATIVE, POOLINGS, Classifier, resolve_head
from .model import Encoder, Pooler, initialize
from .names import classifier_names, encoder_names, fill, translate
from .plumbing.checkpoint import TOKENIZER_FILES, find_checkpoint, read_tensors, write_safetensors
from .plumbing.files import UserError, read_json, read_text, shown, write_json
from .tokenizer import (
    TRUNCATIONS,
    Tokenizer,
    adjusted,
    check_tokenizer_config,
    from_merges,
    from_vocabulary,
    library_errors,
    silent_panics,
    special_tokens,
)

ARCHITECTURES = {  # what transformers calls them
    "bert": "Bert",
    "distilbert": "DistilBert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "electra": "Electra",
}
UNKNOWN_LENGTH = 512  # tokens, where a tokenizer_config.json does not say how many the model takes


# ---- encoders


def build_encoder(config, has_pooler=None, fast=True):
    """An `Encoder` with the numbers that PyTorch gives it; made of fast layers unless `fast` is False."""
    encoder = Encoder(config, has_pooler)
    return accelerate(encoder) if fast else encoder


def load_encoder(model, fast=True, dtype=torch.float32):
    """A pretrained `Encoder` in eval mode, from a folder or a Hub id.

    fast: layers from `fast/`, or False for the plain ones of `model.py`, which can return attention probabilities.
    `encoder.account` says what became of every tensor. Raises UserError.
    """
    return read_encoder(find_checkpoint(model), fast, dtype)


def read_encoder(folder, fast=True, dtype=torch.float32):
    """`load_encoder` from a folder."""
    return encoder_from(folder, read_config(folder), fast, dtype)


def encoder_from(folder, config, fast=True, dtype=torch.float32):
    """`read_encoder` of a folder whose config.json has been read."""
    tensors = read_tensors(folder)
    names = encoder_names(config.family)
    has_pooler = "pooler.dense" in names and any(name.endswith("pooler.dense.weight") for name in tensors)
    with torch.device("meta"):  # shapes only: the numbers come from the checkpoint
        encoder = build_encoder(config, has_pooler, fast)
    encoder.account = fill(encoder, tensors, names, folder, dtype=dtype)
    if config.family == "bert" and not has_pooler:
        encoder.account.missing.append("pooler.dense (this checkpoint was saved without one)")
    return encoder.eval()


def save_encoder(encoder, folder):
    """Write `config.json` and `model.safetensors` in Hugging Face layout: transformers' AutoModel opens the folder."""
    check_saveable(encoder)
    config, names = encoder.config, encoder_names(encoder.config.family)
    tensors = {translate(name, names): tensor for name, tensor in encoder.state_dict().items()}
    write_safetensors(Path(folder) / "model.safetensors", tensors)
    values = {"architectures": [f"{ARCHITECTURES[config.model_type]}Model"], **config.to_dict()}
    write_json(Path(folder) / "config.json", values)


def check_saveable(module):
    """ValueError for weights that `fast.quantize` has rounded: no other program would know what to make of them."""
    if any(tensor.dtype == torch.int8 for tensor in module.state_dict().values()):
        raise ValueError("these weights are rounded for inference in int8; save the model that they were made from")


# ---- classifiers


def new_classifier(model, label_names, pooling=None, head=None, seed=0, fast=True, dropout=None):
    """A pretrained encoder, from a folder or a Hub id, under a fresh head, ready for training. Raises UserError."""
    return put_head(load_encoder(model, fast), label_names, pooling, head, seed, dropout)


def put_head(encoder, label_names, pooling=None, head=None, seed=0, dropout=None):
    """A `Classifier` of this pretrained encoder and a fresh head, whose numbers depend on `seed` alone.

    pooling, head: as `resolve_head` takes them. dropout: of the head, in place of the checkpoint's own.
    `encoder.account` is completed: a pooler that is needed and missing starts fresh, too. Raises ValueError when they
    do not fit the encoder.
    """
    if dropout is not None:
        encoder.config = replace(encoder.config, classifier_dropout=dropout)  # so that it is saved, too
    config, account = encoder.config, encoder.account
    pooling, head = resolve_head(config.family, pooling, head)
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    if pooling == "pooler" and encoder.pooler is None and config.family == "bert":
        encoder.pooler = Pooler(config)
        initialize(encoder.pooler, config.initializer_range)
        account.missing.clear()  # no longer missing, but new
        account.new["pooler.dense"] = "not in the checkpoint; it starts random and has to be trained"
    classifier = Classifier(encoder, label_names, pooling, head)
    initialize(classifier.head, config.initializer_range)
    torch.set_rng_state(generator_state)
    for name, _ in classifier.head.named_parameters():
        account.new[f"head.{name}"] = "the head for this task; it starts random and has to be trained"
    return classifier


def save_classifier(classifier, folder, extra=None):
    """Write `config.json` and `model.safetensors`; with the family's own head, transformers' classifier opens them.

    `extra` (JSON values, such as max_length) is kept in config.json's `minibert` section for `read_classifier`.
    """
    check_saveable(classifier)
    config = classifier.encoder.config
    names = classifier_names(config.family, classifier.is_native, prefix=f"{config.family}.")
    tensors = {translate(name, names): tensor for name, tensor in classifier.state_dict().items()}
    kind = "ForSequenceClassification" if classifier.is_native else "Model"
    values = {
        "architectures": [ARCHITECTURES[config.model_type] + kind],
        **config.to_dict(),
        "id2label": {str(i): name for i, name in enumerate(classifier.label_names)},
        "label2id": {name: i for i, name in enumerate(classifier.label_names)},
        "minibert": {"pooling": classifier.pooling, "head": classifier.head_name, **(extra or {})},
    }
    write_safetensors(Path(folder) / "model.safetensors", tensors)
    write_json(Path(folder) / "config.json", values)


def read_classifier(folder, fast=True):
    """A folder's trained classifier in eval mode, and its `minibert` section: ours, or a native one of transformers.

    `classifier.account` says what became of every tensor. Raises UserError.
    """
    return classifier_from(folder, read_json(Path(folder) / "config.json"), fast)


def classifier_from(folder, values, fast=True):
    """`read_classifier` of a folder whose config.json has been read: `values`."""
    config = EncoderConfig.from_dict(values, f"{folder}/config.json")
    if not holds_classifier(values):
        raise UserError(f"{folder}: holds no classifier (architectures: {shown(values.get('architectures'))})")
    check_problem_type(values, folder)
    extra = read_extra(values, folder)
    if extra.get("max_length", 0) > config.longest:
        raise UserError(
            f"{folder}/config.json: minibert section has max_length {extra['max_length']}, "
            f"but the model has {config.longest} positions"
        )
    native_pooling, native_head = NATIVE[config.family]
    pooling, head = extra.get("pooling", native_pooling), extra.get("head", native_head)
    with torch.device("meta"):  # shapes only: the numbers come from the checkpoint
        encoder = build_encoder(config, pooling == "pooler", fast)
        classifier = Classifier(encoder, read_label_names(values, folder), pooling, head)
    ignored = {"embeddings.position_ids": "a stored 0, 1, 2, ..., not a weight"}
    if pooling != "pooler":
        ignored["pooler."] = f"this head reads {pooling} pooling"
    names = classifier_names(config.family, classifier.is_native)
    classifier.account = fill(classifier, read_tensors(folder), names, folder, ignored)
    return classifier.eval(), extra


def check_problem_type(values, folder):
    """UserError for a classifier of transformers whose logits are not those of classes that exclude each other."""
    kind = values.get("problem_type")
    wanted = "minibert reads single_label_classification, where a text has one of several labels"
    if kind not in (None, "single_label_classification"):
        raise UserError(f"{folder}/config.json: problem_type is {shown(kind)}; {wanted}")
    if kind is None and len(read_label_names(values, folder)) == 1:  # how transformers saves these
        raise UserError(f"{folder}/config.json: id2label has one label: a regression, or a score of pairs; {wanted}")


def read_model(folder, fast=True):
    """A classifier and its `minibert` section if the folder holds one, else a bare encoder and {}. Raises UserError.

    config.json is read once.
    """
    values = read_json(Path(folder) / "config.json")
    if holds_classifier(values):
        return classifier_from(folder, values, fast)
    return encoder_from(folder, EncoderConfig.from_dict(values, f"{folder}/config.json"), fast), {}


def read_label_names(values, folder):
    """The labels in a config.json's `id2label`, in order."""
    id2label = values.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    if not isinstance(id2label, dict):
        raise UserError(f"{folder}/config.json: id2label is {shown(id2label)}; expected an object of labels")
    numbers = [str(i) for i in range(len(id2label))]
    absent = next((number for number in numbers if number not in id2label), None)
    if absent is not None:
        raise UserError(f"{folder}/config.json: id2label has no entry '{absent}'")
    wrong = next((id2label[number] for number in numbers if not isinstance(id2label[number], str)), None)
    if wrong is not None or None in id2label.values():
        raise UserError(f"{folder}/config.json: id2label has {shown(wrong)} for a label; expected text")
    return [id2label[number] for number in numbers]


def is_among(value, names):
    """Whether a JSON value is one of these names; a list or an object is none."""
    return isinstance(value, str) and value in names


#   entry of a config.json's `minibert` section, what is right, how that is said
EXTRA = (
    ("pooling", lambda value: is_among(value, POOLINGS), f"one of {', '.join(POOLINGS)}"),
    ("head", lambda value: is_among(value, HEADS), f"one of {', '.join(HEADS)}"),
    ("max_length", lambda value: type(value) is int and 5 <= value <= 10**7, "a whole number of tokens, 5 or more"),
    ("truncation", lambda value: is_among(value, TRUNCATIONS), f"one of {', '.join(TRUNCATIONS)}"),
    ("windows", lambda value: type(value) is int and 1 <= value <= 1000, "a whole number from 1 to 1000"),
    ("pairs", lambda value: isinstance(value, bool), "true or false"),
)


def read_extra(values, folder):
    """The `minibert` section of a config.json, after a look at what is in it; {} where there is none."""
    extra = values.get("minibert", {})
    if not isinstance(extra, dict):
        raise UserError(f"{folder}/config.json: minibert is {shown(extra)}; expected an object {{...}}")
    for name, is_right, expected in EXTRA:
        if name in extra and not is_right(extra[name]):
            problem = f"minibert section has {name} {shown(extra[name])}; expected {expected}"
            raise UserError(f"{folder}/config.json: {problem}")
    return extra


def holds_classifier(values):
    """Whether the `values` of a config.json belong to a classifier: ours, or a native one of transformers."""
    architectures = values.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else ""
    return bool(values.get("minibert")) or (isinstance(first, str) and first.endswith("ForSequenceClassification"))


# ---- tokenizers


def load_tokenizer(model):
    """The `Tokenizer` of a folder or a Hub id, of which no weights are fetched. Raises UserError."""
    return read_tokenizer(find_checkpoint(model, files=TOKENIZER_FILES))


def read_tokenizer(folder):
    """The tokenizer of a folder: `tokenizer.json`, else BERT's `vocab.txt`, else RoBERTa's `vocab.json`, `merges.txt`.

    What `tokenizer_config.json` says of casing, accents and spaces counts more than that, as in transformers.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # unset, the library works on one core after a fork
    folder = Path(folder)
    config_path = folder / "tokenizer_config.json"
    config = read_json(config_path) if config_path.is_file() else {}
    check_tokenizer_config(config, config_path)
    source = folder / "tokenizer.json"
    if source.is_file():
        text = read_text(source)
        with library_errors(f"{source}: not a tokenizer"), silent_panics():
            backend = tokenizers.Tokenizer.from_str(text)
            backend.encode_batch_fast(["A text, to see whether it can be read."])
        if config.get("tokenizer_class") != "PreTrainedTokenizerFast":  # which, in transformers, takes the file alone
            backend = adjusted(backend, config)
    elif (folder / "vocab.txt").is_file():
        source = folder / "vocab.txt"
        lines = [line.rstrip("\r") for line in read_text(source).rstrip("\n").split("\n")]
        backend = from_vocabulary(lines, config, source)
    else:
        source = folder / "vocab.json"
        backend = read_merges(folder, config)
    max_length = config.get("model_max_length", UNKNOWN_LENGTH)
    if not isinstance(max_length, int) or max_length > 100_000:  # transformers writes 1e30 for "not known"
        max_length = UNKNOWN_LENGTH
    return Tokenizer(backend, max_length, **special_tokens(backend, config), source=source)


def read_merges(folder, config):
    """A backend from `vocab.json` and `merges.txt`."""
    vocabulary_path, merges_path = folder / "vocab.json", folder / "merges.txt"
    if not vocabulary_path.is_file():
        raise UserError(f"{folder}: no tokenizer.json, no vocab.txt, and no vocab.json with merges.txt")
    if not merges_path.is_file():
        raise UserError(f"{merges_path}: no such file; vocab.json alone does not say how words are cut into its tokens")
    vocabulary = read_json(vocabulary_path)
    if not all(type(number) is int and number >= 0 for number in vocabulary.values()):
        raise UserError(f"{vocabulary_path}: does not give every token a number")
    with library_errors(f"{merges_path}: does not fit {vocabulary_path.name}"):
        return from_merges(vocabulary, [line.rstrip("\r") for line in read_text(merges_path).split("\n")], config)
