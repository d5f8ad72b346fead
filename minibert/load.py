"""Pretrained weights: a Hub id or a folder becomes an `Encoder`, with an account of every tensor, and the way back.

A checkpoint is `config.json` + `model.safetensors` (or shards with `model.safetensors.index.json`). Names are
translated by one literal table. A tensor is loaded, ignored for a stated reason, or new for a stated reason;
anything else (unknown, missing, misshapen, not finite) is an error that names it. Pickle is never read.
Next: `head.py`, which turns vectors into classes.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .config import read_config
from .files import UserError, atomic_path, read_json, write_json
from .model import Encoder

#   ours                              BERT                                          DistilBERT
NAMES = (
    ("embeddings.word",                 "embeddings.word_embeddings",                 "embeddings.word_embeddings"),
    ("embeddings.position",             "embeddings.position_embeddings",             "embeddings.position_embeddings"),
    ("embeddings.token_type",           "embeddings.token_type_embeddings",           None),
    ("embeddings.norm",                 "embeddings.LayerNorm",                       "embeddings.LayerNorm"),
    ("layers.#.attention.query",        "encoder.layer.#.attention.self.query",       "transformer.layer.#.attention.q_lin"),
    ("layers.#.attention.key",          "encoder.layer.#.attention.self.key",         "transformer.layer.#.attention.k_lin"),
    ("layers.#.attention.value",        "encoder.layer.#.attention.self.value",       "transformer.layer.#.attention.v_lin"),
    ("layers.#.attention.output",       "encoder.layer.#.attention.output.dense",     "transformer.layer.#.attention.out_lin"),
    ("layers.#.attention_norm",         "encoder.layer.#.attention.output.LayerNorm", "transformer.layer.#.sa_layer_norm"),
    ("layers.#.feed_forward.expand",    "encoder.layer.#.intermediate.dense",         "transformer.layer.#.ffn.lin1"),
    ("layers.#.feed_forward.contract",  "encoder.layer.#.output.dense",               "transformer.layer.#.ffn.lin2"),
    ("layers.#.feed_forward_norm",      "encoder.layer.#.output.LayerNorm",           "transformer.layer.#.output_layer_norm"),
    ("pooler.dense",                    "pooler.dense",                               None),
)  # fmt: skip

# Tensors that checkpoints carry and an encoder has no place for, by the beginning of their name.
IGNORED = {
    "cls.predictions.": "masked-language-model head, used in pretraining only",
    "cls.seq_relationship.": "next-sentence head, used in pretraining only",
    "vocab_transform.": "masked-language-model head, used in pretraining only",
    "vocab_layer_norm.": "masked-language-model head, used in pretraining only",
    "vocab_projector.": "masked-language-model head, used in pretraining only",
    "qa_outputs.": "question-answering head",
    "embeddings.position_ids": "a stored 0, 1, 2, ..., not a weight",
    "pre_classifier.": "classification head; load_classifier reads it",
    "classifier.": "classification head; load_classifier reads it",
    "head.": "classification head; load_classifier reads it",
}

WEIGHTS = ("weights", "../weights")  # bundled checkpoints: where a wheel has them, and where a checkout does

HUB_FILES = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors",
    "tokenizer.json", "tokenizer_config.json", "vocab.txt",
)  # fmt: skip


@dataclass
class Account:
    """What became of every tensor: names as in the checkpoint, except `new`, which has ours."""

    loaded: list = field(default_factory=list)
    ignored: dict = field(default_factory=dict)  # name -> why
    missing: list = field(default_factory=list)
    new: dict = field(default_factory=dict)  # name -> why it was not in the checkpoint

    def __str__(self):
        lines = [f"loaded   {len(self.loaded)} tensors"]
        lines += [f"ignored  {name}: {why}" for name, why in self.ignored.items()]
        lines += [f"missing  {name}" for name in self.missing]
        lines += [f"new      {name}: {why}" for name, why in self.new.items()]
        return "\n".join(lines)


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


def fill(module, tensors, names, source, ignored=IGNORED, dtype=torch.float32):
    """Put the checkpoint's `tensors` (name -> tensor) into `module`'s parameters, and account for each of them.

    names: our name -> the checkpoint's name, both without `.weight` / `.bias`, `#` standing for a layer's number.
    Raises UserError naming every unknown, missing, misshapen or non-finite tensor.
    """
    tensors, original = normalize_names(tensors)
    account, problems, state = Account(), [], {}
    for ours, parameter in module.state_dict().items():
        theirs = translate(ours, names)
        if theirs not in tensors:
            problems.append(f"missing tensor {theirs}")
            continue
        tensor = tensors.pop(theirs)
        if tensor.shape != parameter.shape:
            problems.append(f"{original[theirs]} has shape {list(tensor.shape)}, not {list(parameter.shape)}")
        elif not tensor.isfinite().all():
            problems.append(f"{original[theirs]} holds NaN or infinity")
        else:
            state[ours] = tensor.to(dtype, copy=True)
            account.loaded.append(original[theirs])
    for name in tensors:
        reason = next((why for start, why in ignored.items() if name.startswith(start)), None)
        if reason is None:
            problems.append(f"unknown tensor {original[name]}")
        else:
            account.ignored[original[name]] = reason
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UserError(f"{source}: weights and config.json do not fit: {'; '.join(problems[:4])}{more}")
    module.load_state_dict(state, assign=True)
    return account


def name_table(config):
    """Our module name -> the family's, from NAMES."""
    family = 1 if config.model_type == "bert" else 2
    return {row[0]: row[family] for row in NAMES if row[family] is not None}


def translate(parameter, names):
    """Our parameter's name in the checkpoint: `layers.3.attention.query.bias` -> `...layer.3...query.bias`."""
    module, kind = parameter.rsplit(".", 1)
    number = re.search(r"\.(\d+)\.", module)
    if number is None:
        return f"{names[module]}.{kind}"
    pattern = module.replace(number[0], ".#.", 1)
    return f"{names[pattern].replace('#', number[1])}.{kind}"


def normalize_names(tensors):
    """Drop the `bert.` / `distilbert.` prefix and rename the TensorFlow era's LayerNorm `gamma` and `beta`.

    Returns (tensors by normal name, normal name -> the name in the file).
    """
    result, original = {}, {}
    for name, tensor in tensors.items():
        normal = name.removeprefix("bert.").removeprefix("distilbert.")
        normal = re.sub(r"\.gamma$", ".weight", normal)
        normal = re.sub(r"\.beta$", ".bias", normal)
        if normal in result:
            raise UserError(f"{original[normal]} and {name} are two tensors for one place")
        result[normal], original[normal] = tensor, name
    return result, original


def read_tensors(folder):
    """Every tensor of a checkpoint folder, name -> tensor, from one file or from its shards."""
    folder = Path(folder)
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return read_safetensors(single)[0]
    if not index.is_file():
        raise UserError(
            f"{folder}: no model.safetensors; pickled weights (pytorch_model.bin) are never read, "
            "convert them with transformers' save_pretrained"
        )
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise UserError(f"{index}: weight_map is missing or is not a table of file names")
    tensors = {}
    for shard in sorted(set(shards.values())):
        if Path(shard).name != shard:
            raise UserError(f"{index}: shard {shard!r} lies outside the folder")
        tensors.update(read_safetensors(folder / shard)[0])
    absent = sorted(set(shards) - set(tensors))
    if absent:
        raise UserError(f"{index}: lists {absent[0]}, which its shard does not hold")
    return tensors


def read_safetensors(path):
    """(name -> tensor, the file's text metadata) of one safetensors file. UserError when it is cut or damaged."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); download or save it again") from None


def write_safetensors(path, tensors, metadata=None):
    """Write a safetensors file, whole or not at all. Metadata values are text."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"format": "pt", **(metadata or {})})
        except SafetensorError as error:  # how the library reports a full disk
            raise UserError(f"{path}: cannot be written ({error}); the old file is untouched") from error


def save_encoder(encoder, folder):
    """Write `config.json` and `model.safetensors` in Hugging Face layout: transformers' AutoModel opens the folder."""
    names = name_table(encoder.config)
    tensors = {translate(name, names): tensor for name, tensor in encoder.state_dict().items()}
    architecture = "BertModel" if encoder.config.model_type == "bert" else "DistilBertModel"
    write_safetensors(Path(folder) / "model.safetensors", tensors)
    write_json(Path(folder) / "config.json", {"architectures": [architecture], **encoder.config.to_dict()})


def find_checkpoint(model):
    """The folder that holds a model's files: `model` itself, a bundled checkpoint's name, or a Hub id that is fetched.

    Only safetensors, configuration and tokenizer files are fetched; they stay in the Hub's own cache.
    """
    if Path(model).is_dir():
        return Path(model)
    for place in WEIGHTS:
        folder = Path(__file__).parent / place / str(model)
        if "/" not in str(model) and (folder / "config.json").is_file():
            return folder.resolve()
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(model)):
        raise UserError(f"{model}: no such folder, and not a Hub id either (name or owner/name)")
    import huggingface_hub  # here, because a local folder has no use for it and it is slow to import

    try:
        return Path(huggingface_hub.snapshot_download(str(model), allow_patterns=list(HUB_FILES)))
    except Exception as error:  # the library's failures (no network, no such id, a cut transfer) share no base
        reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        raise UserError(
            f"model {model!r} could not be had from the Hub ({reason}); "
            "check the id and the network, give --model a folder that holds it, or take the bundled --model minibert-tiny"
        ) from error
