"""What the tests share: stored references, small checkpoints made of them, and the folders with real files.

Real weights and data are asked for through two environment variables; a test that needs one of them skips
with that reason when it is unset.
"""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from bad_input import bert, distilbert, output, refuse  # noqa: F401 (fixtures, for every test to ask for)
from safetensors.torch import load_file
from torch.nn import functional

REFERENCES = Path(__file__).parent / "references"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MINIBERT_CACHE", str(folder))
    return folder


def pytest_addoption(parser):
    parser.addoption("--impl", metavar="FILE", help="your own implementation, for tests/test_parity.py to check")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--impl"):  # then minibert itself is not what is asked about
        items[:] = [item for item in items if "minibert" not in item.name]
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device; PyTorch sees none"))


def folder_from(variable, holds):
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} is unset; set it to a folder that holds {holds}")
    return Path(folder)


@pytest.fixture
def weights_folder():
    """The folder of real checkpoints: $MINIBERT_TEST_WEIGHTS, with all-MiniLM-L6-v2/ inside."""
    return folder_from("MINIBERT_TEST_WEIGHTS", "all-MiniLM-L6-v2/")


@pytest.fixture
def data_folder():
    """The folder of real data sets: $MINIBERT_TEST_DATA."""
    return folder_from("MINIBERT_TEST_DATA", "the data sets (aclImdb/, ...)")


def load_reference(name):
    """A stored reference by file name: tensors of a .safetensors, values of a .json."""
    path = REFERENCES / name
    return load_file(path) if path.suffix == ".safetensors" else json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def reference():
    return load_reference


def copy_checkpoint(family, folder):
    """A whole checkpoint folder from the stored parts: weights, config.json and the tokenizer's files."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(REFERENCES / f"tiny-{family}.safetensors", folder / "model.safetensors")
    shutil.copyfile(REFERENCES / f"tiny-{family}.json", folder / "config.json")
    if family == "roberta":
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(REFERENCES / f"roberta-{name}", folder / name)
        (folder / "tokenizer_config.json").write_text('{"model_max_length": 64}')
        return folder
    shutil.copyfile(REFERENCES / "vocab.txt", folder / "vocab.txt")
    shutil.copyfile(REFERENCES / "tokenizer_config.json", folder / "tokenizer_config.json")
    return folder


@pytest.fixture
def tiny_bert(tmp_path):
    """A folder with a 2-layer BERT classifier of 6 classes, at most 64 tokens; the test may change it."""
    return copy_checkpoint("bert", tmp_path / "tiny-bert")


@pytest.fixture
def tiny_distilbert(tmp_path):
    """A folder with a 2-layer DistilBERT classifier of 6 classes, at most 64 tokens; the test may change it."""
    return copy_checkpoint("distilbert", tmp_path / "tiny-distilbert")


@pytest.fixture
def tiny_roberta(tmp_path):
    """A folder with a 2-layer RoBERTa classifier of 6 classes, at most 64 tokens; the test may change it."""
    return copy_checkpoint("roberta", tmp_path / "tiny-roberta")


@pytest.fixture
def tiny_electra(tmp_path):
    """A folder with a 2-layer ELECTRA classifier of 6 classes, at most 64 tokens; the test may change it."""
    return copy_checkpoint("electra", tmp_path / "tiny-electra")


@pytest.fixture
def kernel_calls(monkeypatch):
    """Counts the calls of PyTorch's fused attention, under "fused"."""
    calls, kernel = Counter(), functional.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls["fused"] += 1
        return kernel(*args, **kwargs)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    return calls
