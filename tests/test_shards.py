"""Checkpoints in several files: the same encoder, and a bad index or a missing shard is named.
"""

import json

import pytest
from bad_input import load_error, same_weights
from safetensors.torch import load_file, save_file

from minibert import load_encoder
from minibert.plumbing.files import read_json


def shard(folder, parts=2):
    """Split the checkpoint's weights over several files with an index; the index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for i in range(parts):
        name = f"model-{i + 1:05}-of-{parts:05}.safetensors"
        names = sorted(tensors)[i::parts]
        save_file({key: tensors[key] for key in names}, folder / name)
        weight_map |= dict.fromkeys(names, name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
    return index


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_a_sharded_checkpoint_is_the_same_encoder(family, bert, distilbert):
    folder = bert if family == "bert" else distilbert
    single = load_encoder(folder)
    shard(folder, 3)
    assert not (folder / "model.safetensors").exists()
    assert same_weights(load_encoder(folder), single)


def test_a_missing_shard_is_named(distilbert):
    shard(distilbert)
    path = distilbert / "model-00002-of-00002.safetensors"
    path.unlink()
    assert str(path) in load_error(distilbert)


@pytest.mark.parametrize("target", ["../x.safetensors", "/x.safetensors", "sub/../../x.safetensors"])
def test_an_index_cannot_point_outside_its_folder(target, distilbert, tmp_path):
    index = shard(distilbert)
    (distilbert / "model-00002-of-00002.safetensors").rename(tmp_path / "x.safetensors")
    path = f"{tmp_path}{target}" if target.startswith("/") else target
    index.write_text(index.read_text().replace("model-00002-of-00002.safetensors", path), encoding="utf-8")
    message = load_error(distilbert)
    assert str(index) in message and repr(path) in message


@pytest.mark.parametrize("target", ["a" * 300, "x\0", "\ud800", ".", "", "config.json"])
def test_a_shard_name_that_no_disk_holds_is_one_line(target, distilbert):
    index = shard(distilbert)
    values = read_json(index)
    values["weight_map"][min(values["weight_map"])] = target
    index.write_text(json.dumps(values), encoding="utf-8")
    assert str(distilbert) in load_error(distilbert)


def test_a_tensor_that_its_shard_does_not_hold_is_named(distilbert):
    index = shard(distilbert)
    values = read_json(index)
    values["weight_map"]["promised.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(values), encoding="utf-8")
    message = load_error(distilbert)
    assert str(index) in message and "promised.weight" in message


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "no"])
def test_a_bad_index_is_named(content, distilbert):
    index = shard(distilbert)
    index.write_text(content, encoding="utf-8")
    assert str(index) in load_error(distilbert)
