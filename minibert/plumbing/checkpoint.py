"""A checkpoint on disk: its folder, from a path or from the Hub, and the tensors in its safetensors files."""

import contextlib
import hashlib
import re
import sys
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .files import UserError, atomic_path, check_file, read_json, shown

WEIGHTS = ("../weights", "../../weights")  # bundled checkpoints: where a wheel has them, and where a checkout does
CONVERTER = "SFconvertbot"  # opens pull requests on the Hub that add safetensors to pickled weights, under this title:
CONVERSION = "Adding `safetensors` variant of this model"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt")
HUB_FILES = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors", *TOKENIZER_FILES,
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
            "convert them with transformers' save_pretrained, or name a revision that has been converted (ID@refs/pr/N)"
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


def find_checkpoint(model, commit=None, files=HUB_FILES):
    """The folder that holds a model's files: `model` itself, a bundled checkpoint's name, or a Hub id that is fetched.

    An id may end in @REVISION: a branch, a tag, a commit, or a pull request's refs/pr/N. Without one it is `main`, or
    the Hub's own conversion where `main` has pickled weights only. commit: take exactly this one of the id.
    Only safetensors, configuration and tokenizer files are fetched, or those of them that `files` names; they stay in
    the Hub's own cache.
    """
    if Path(model).is_file():
        raise UserError(f"{model}: a file; give the folder of a checkpoint or of a run")
    if str(model).strip() and Path(model).is_dir():
        return Path(model)
    for place in WEIGHTS:
        folder = Path(__file__).parent / place / str(model)
        if "/" not in str(model) and (folder / "config.json").is_file():
            return folder.resolve()
    parts = re.fullmatch(r"([\w.-]+(?:/[\w.-]+)?)(?:@([\w.-]+(?:/[\w.-]+)*))?", str(model))
    if not parts:
        named = model if str(model).strip() else "an empty name"
        raise UserError(f"{named}: no such folder, and not a Hub id either (name or owner/name, perhaps @REVISION)")
    name, revision = parts[1], commit or parts[2]
    try:
        folder = fetch(name, revision, files)
        if files is HUB_FILES and revision is None and not has_weights(folder):
            with contextlib.suppress(Exception):  # a Hub out of reach: the weights will be missed by name
                conversion = find_conversion(name)
                folder = fetch(name, conversion, files) if conversion else folder
            if has_weights(folder):
                print(f"note: {name} has no safetensors on main; taking the Hub's own conversion, {name}@{conversion}",
                      file=sys.stderr)  # fmt: skip
        return folder
    except Exception as error:  # the library's failures (no network, no such id, a cut transfer) share no base
        reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
        what = "the id, the revision" if revision else "the id"
        raise UserError(
            f"model {model!r} could not be had from the Hub ({reason}); "
            f"check {what} and the network, give --model a folder that holds it, or take the bundled minibert-tiny"
        ) from error


def fetch(name, revision, files):
    """The folder of one revision of a Hub id, with the files that these patterns name."""
    import huggingface_hub  # here, because a local folder has no use for it and it is slow to import

    return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(files)))


def has_weights(folder):
    return any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json"))


def find_conversion(name):
    """The open pull request of the Hub's converter, as refs/pr/N, if it is of the weights that `main` holds; or None.

    Only the converter's own: anybody may open a pull request. And only while `main` has the same weights still.
    """
    from huggingface_hub import HfApi

    api = HfApi()

    def pickled(revision):
        files = api.list_repo_tree(name, revision=revision)
        return {file.path: file.blob_id for file in files if file.path.endswith(".bin")}

    for request in api.get_repo_discussions(name, author=CONVERTER):
        is_open = request.is_pull_request and request.status == "open" and request.author == CONVERTER
        if is_open and request.title == CONVERSION and pickled(f"refs/pr/{request.num}") == pickled(None):
            return f"refs/pr/{request.num}"
    return None


def commit_of(folder):
    """The commit that a folder of the Hub's cache holds; None for any other folder."""
    folder = Path(folder)
    is_commit = folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name)
    return folder.name if is_commit else None


def weights_hash(module):
    """A hash of all the weights of a module, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()
