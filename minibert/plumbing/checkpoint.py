"""A checkpoint on disk: its folder, from a path or from the Hub, and the tensors in its safetensors files."""

import re
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .files import UserError, atomic_path, check_file, read_json, shown

WEIGHTS = ("../weights", "../../weights")  # bundled checkpoints: where a wheel has them, and where a checkout does
HUB_FILES = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors",
    "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt",
)  # fmt: skip


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
            raise UserError(f"{index}: shard {shown(shard)} lies outside the folder")
        tensors.update(read_safetensors(folder / shard)[0])
    absent = sorted(set(shards) - set(tensors))
    if absent:
        raise UserError(f"{index}: lists {absent[0]}, which its shard does not hold")
    return tensors


def read_safetensors(path):
    """(name -> tensor, the file's text metadata) of one safetensors file. UserError when it is cut or damaged."""
    check_file(path)
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
        raise UserError(f"{model or 'an empty name'}: no such folder, and not a Hub id either (name or owner/name)")
    import huggingface_hub  # here, because a local folder has no use for it and it is slow to import

    try:
        return Path(huggingface_hub.snapshot_download(str(model), allow_patterns=list(HUB_FILES)))
    except Exception as error:  # the library's failures (no network, no such id, a cut transfer) share no base
        reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        raise UserError(
            f"model {model!r} could not be had from the Hub ({reason}); "
            "check the id and the network, give --model a folder that holds it, or take the bundled minibert-tiny"
        ) from error
