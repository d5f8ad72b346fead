"""What the tests of bad input share: small checkpoints, files that hold whatever a test wants, and `refuse`, which runs
the command on what it has to refuse. The fixtures reach the tests through conftest.py.
"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from minibert import EncoderConfig, finetune, load_encoder, save_encoder
from minibert.model import Encoder, initialize
from minibert.plumbing.files import UserError, read_json, write_text

POSITIONS = 24  # the longest text of the models below
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *(f"##{x}" for x in "abcdefgh"), "good", "bad"]
ROWS = [f"{'good' if i % 2 else 'bad'} {i},{'yes' if i % 2 else 'no'}" for i in range(20)]
SHAPE = {
    "vocab_size": len(WORDS), "max_position_embeddings": POSITIONS, "activation": "gelu", "dim": 12, "n_heads": 3,
    "n_layers": 2, "hidden_dim": 20,
}  # fmt: skip
BERT_SHAPE = {
    "vocab_size": len(WORDS), "max_position_embeddings": POSITIONS, "hidden_act": "gelu", "hidden_size": 12,
    "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 20,
}  # fmt: skip


def save_tiny(folder, values):
    """A checkpoint folder with random weights and a vocabulary."""
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig.from_dict(values))
    initialize(encoder, 0.5)
    save_encoder(encoder, folder)
    write_text(folder / "vocab.txt", "\n".join(WORDS) + "\n")
    return folder


@pytest.fixture
def distilbert(tmp_path):
    return save_tiny(tmp_path / "distilbert", {"model_type": "distilbert", **SHAPE})


@pytest.fixture
def bert(tmp_path):
    return save_tiny(tmp_path / "bert", {"model_type": "bert", **BERT_SHAPE})


@pytest.fixture
def output(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def refuse(distilbert, output):
    """Run the command on what it has to refuse; the message, after checking that nothing was left behind."""

    def refuse(*arguments, model=distilbert):
        arguments = list(map(str, arguments))
        if "--max-length" not in arguments:
            arguments += ["--max-length", "16"]
        with pytest.raises(UserError) as caught:
            finetune.main([*arguments, "--model", str(model), "--output", str(output), "--device", "cpu"])
        assert not output.exists()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refuse


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def table(path, rows=ROWS, header="text,label"):
    return write(path, "\n".join([header, *rows]) + "\n")


def jsonl(path, *rows):
    """Twenty good lines, after the given ones."""
    good = [json.dumps({"text": f"good {i}", "label": i % 2}) for i in range(20)]
    return write(path, "\n".join([*(row if isinstance(row, str) else json.dumps(row) for row in rows), *good]) + "\n")


def contents(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def set_config(folder, drop=(), **values):
    path = folder / "config.json"
    config = read_json(path) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if key not in drop}), encoding="utf-8")
    return path


def load_error(folder):
    """The message of a checkpoint that cannot be loaded; the command on it says the same (see `refuse`)."""
    with pytest.raises(UserError) as caught:
        load_encoder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(folder, change):
    """Apply `change` to the checkpoint's dict of tensors."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def same_weights(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
