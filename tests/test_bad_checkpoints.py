"""Checkpoints that cannot be loaded: the file and the field or tensor is named. The command says the same as
`load_encoder` does, before anything is written.
"""

import pytest
import torch
from bad_input import BERT_SHAPE, ROWS, SHAPE, WORDS, edit, load_error, set_config, table, write

from minibert import load_tokenizer
from minibert.plumbing.files import UserError, write_text


@pytest.mark.parametrize("mode", ["both", "frozen", "finetune"])
def test_the_command_on_a_bad_checkpoint_leaves_nothing_behind(mode, refuse, distilbert, tmp_path):
    weights = distilbert / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert str(weights) in refuse(table(tmp_path / "mine.csv"), "--mode", mode)


@pytest.mark.parametrize("mode", ["both", "frozen"])
def test_a_frozen_bert_without_pooler_cannot_be_read_through_one(mode, refuse, bert, tmp_path):
    edit(bert, lambda tensors: [tensors.pop(f"pooler.dense.{kind}") for kind in ("weight", "bias")])
    message = refuse(table(tmp_path / "mine.csv"), "--mode", mode, "--pooling", "pooler", model=bert)
    assert "no pooler" in message and "--pooling" in message


# config.json


@pytest.mark.parametrize("value", ["gpt2", "xlnet", None, 3])
def test_an_unsupported_model_type_is_named(value, distilbert):
    path = set_config(distilbert, model_type=value)
    message = load_error(distilbert)
    assert str(path) in message and "model_type" in message
    assert repr(value) in message and "'bert'" in message and "'distilbert'" in message


@pytest.mark.parametrize("family, field", [("bert", "hidden_act"), ("distilbert", "activation")])
def test_an_unsupported_activation_is_named(family, field, bert, distilbert):
    folder = bert if family == "bert" else distilbert
    path = set_config(folder, **{field: "swish"})
    message = load_error(folder)
    assert f"{path}: {field} is 'swish'" in message and "gelu" in message


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_every_missing_field_is_named_in_the_familys_own_words(family, bert, distilbert):
    folder, shape = (bert, BERT_SHAPE) if family == "bert" else (distilbert, SHAPE)
    needed = [name for name in shape if name not in ("hidden_act", "activation")]
    path = set_config(folder, drop=needed)
    message = load_error(folder)
    assert str(path) in message
    assert [name for name in needed if name not in message] == []


@pytest.mark.parametrize(
    "field, value",
    [
        ("dim", "12"),
        ("dim", 12.5),
        ("dim", 0),
        ("n_heads", 0),
        ("n_heads", -3),
        ("n_layers", True),
        ("vocab_size", -1),
        ("vocab_size", [1]),
        ("dropout", 1.0),
        ("dropout", 2),
        ("dropout", "0.1"),
        ("pad_token_id", 10_000),
        ("sinusoidal_pos_embds", True),
    ],
)
def test_a_field_of_the_wrong_kind_or_size_is_named(field, value, distilbert):
    path = set_config(distilbert, **{field: value})
    message = load_error(distilbert)
    assert str(path) in message and field in message


@pytest.mark.parametrize("field, value", [("position_embedding_type", "relative_key"), ("is_decoder", True)])
def test_a_setting_that_would_change_the_arithmetic_is_refused(field, value, bert):
    path = set_config(bert, **{field: value})
    message = load_error(bert)
    assert str(path) in message and field in message


def test_heads_have_to_divide_the_width(distilbert):
    set_config(distilbert, n_heads=5)
    message = load_error(distilbert)
    assert "5 heads" in message and "12" in message


@pytest.mark.parametrize("content", ['{"model_type": "bert",\n "vocab_size": }', '{\n"model_type": "bert"'])
def test_a_config_that_is_not_json_is_named_with_the_line(content, distilbert):
    path = write(distilbert / "config.json", content)
    assert f"{path}, line 2" in load_error(distilbert)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"model_type": ' * 3000 + "1" + "}" * 3000, '{"vocab_size": ' + "1" * 5000 + "}"]
)
def test_a_config_that_no_parser_reads_is_refused(content, distilbert):
    path = write(distilbert / "config.json", content)
    assert str(path) in load_error(distilbert)


@pytest.mark.parametrize(
    "field, value",
    [
        ("n_layers", 10**6),
        ("dim", 2**62),
        ("n_heads", 10**30),
        ("vocab_size", 2**63),
        ("hidden_dim", 2**40),
        ("max_position_embeddings", 10**4000),
        ("initializer_range", float("nan")),
        ("initializer_range", float("inf")),
        ("dropout", float("nan")),
        ("model_type", "x" * 100_000),
    ],
)
def test_a_number_that_no_memory_holds_is_named_at_once_and_shown_short(field, value, distilbert):
    path = set_config(distilbert, **{field: value})
    message = load_error(distilbert)
    assert str(path) in message and field in message
    assert len(message) < 600


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e-12, 2.0])
def test_an_epsilon_that_is_none_is_named(value, bert):
    path = set_config(bert, layer_norm_eps=value)
    assert f"{path}: layer_norm_eps is {value}" in load_error(bert)


def test_a_config_that_is_no_object_is_refused(distilbert):
    path = write(distilbert / "config.json", "[1, 2]")
    assert str(path) in load_error(distilbert)


def test_a_folder_without_config_is_refused(distilbert):
    (distilbert / "config.json").unlink()
    assert f"{distilbert / 'config.json'}: no such file" in load_error(distilbert)


# Tensors


QUERY = "transformer.layer.1.attention.q_lin.weight"


def test_a_missing_tensor_is_named(distilbert):
    edit(distilbert, lambda tensors: tensors.pop(QUERY))
    message = load_error(distilbert)
    assert str(distilbert) in message and f"missing tensor {QUERY}" in message


def test_an_extra_tensor_is_named(distilbert):
    edit(distilbert, lambda tensors: tensors.update(surplus=torch.zeros(2)))
    assert "unknown tensor surplus" in load_error(distilbert)


def test_a_layer_more_than_the_config_says_is_not_ignored(distilbert):
    set_config(distilbert, n_layers=1)
    assert "unknown tensor transformer.layer.1." in load_error(distilbert)


def test_a_misshapen_tensor_is_named_with_both_shapes(distilbert):
    edit(distilbert, lambda tensors: tensors.update({QUERY: torch.zeros(12, 11)}))
    assert f"{QUERY} has shape [12, 11], not [12, 12]" in load_error(distilbert)


def test_a_flattened_tensor_of_the_right_size_is_misshapen_too(distilbert):
    edit(distilbert, lambda tensors: tensors.update({QUERY: torch.zeros(144)}))
    assert f"{QUERY} has shape [144]" in load_error(distilbert)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_tensor_that_is_not_finite_is_named(value, distilbert):
    edit(distilbert, lambda tensors: tensors[QUERY].__setitem__((3, 4), value))
    assert f"{QUERY} holds NaN or infinity" in load_error(distilbert)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "int8", "bool", "complex64"])
def test_a_tensor_of_a_type_that_is_no_weight_is_named(dtype, distilbert):
    edit(distilbert, lambda tensors: tensors.update({QUERY: tensors[QUERY].to(getattr(torch, dtype))}))
    message = load_error(distilbert)
    assert f"{QUERY} has type {dtype}" in message


def test_a_number_that_float32_cannot_hold_is_named(distilbert):
    edit(distilbert, lambda tensors: tensors.update({QUERY: tensors[QUERY].double() * 1e300}))
    assert f"{QUERY} holds NaN or infinity" in load_error(distilbert)


def test_several_bad_tensors_are_named_together(distilbert):
    def change(tensors):
        del tensors[QUERY]
        tensors["surplus"] = torch.zeros(2)
        tensors["embeddings.LayerNorm.bias"][0] = float("nan")

    edit(distilbert, change)
    message = load_error(distilbert)
    assert QUERY in message and "surplus" in message and "embeddings.LayerNorm.bias" in message


@pytest.mark.parametrize("kept", [0, 4, 100, 1000, -1])
def test_a_weights_file_cut_short_is_refused(kept, distilbert):
    path = distilbert / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    message = load_error(distilbert)
    assert str(path) in message and "not a whole safetensors file" in message


@pytest.mark.parametrize("content", [b"garbage" * 100, b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}more"])
def test_a_weights_file_of_something_else_is_refused(content, distilbert):
    path = write(distilbert / "model.safetensors", content)
    assert str(path) in load_error(distilbert)


def test_pickled_weights_are_never_opened(distilbert):
    (distilbert / "model.safetensors").unlink()
    trap = distilbert / "opened"
    payload = f"cos\nmkdir\n(V{trap}\ntR.".encode()  # a pickle that makes a folder when it is loaded
    write(distilbert / "pytorch_model.bin", payload)
    message = load_error(distilbert)
    assert "no model.safetensors" in message and "never read" in message
    assert not trap.exists()


# Tokenizers


def test_a_tokenizer_with_more_words_than_the_model_is_refused(refuse, distilbert, tmp_path):
    write_text(distilbert / "vocab.txt", "\n".join([*WORDS, "surplus"]) + "\n")
    message = refuse(table(tmp_path / "mine.csv", [f"surplus {row}" for row in ROWS]))
    assert str(len(WORDS)) in message and str(len(WORDS) + 1) in message


def test_a_checkpoint_without_tokenizer_is_refused(refuse, distilbert, tmp_path):
    (distilbert / "vocab.txt").unlink()
    message = refuse(table(tmp_path / "mine.csv"))
    assert str(distilbert) in message and "tokenizer.json" in message and "vocab.txt" in message


@pytest.mark.parametrize("name, content", [("tokenizer.json", "{}"), ("tokenizer.json", "no"), ("vocab.txt", "a\nb\n")])
def test_a_bad_tokenizer_file_is_named(name, content, distilbert):
    write(distilbert / name, content)
    with pytest.raises(UserError, match=name):
        load_tokenizer(distilbert)


def test_a_roberta_with_berts_tokenizer_is_refused(refuse, tiny_roberta, tmp_path):
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tiny_roberta / name).unlink()
    write_text(tiny_roberta / "vocab.txt", "\n".join(WORDS) + "\n")
    message = refuse(table(tmp_path / "mine.csv"), model=tiny_roberta)
    assert "pads with token 0" in message and "padding, which is token 1" in message and "another model" in message


def test_missing_merges_are_named(refuse, tiny_roberta, tmp_path):
    (tiny_roberta / "merges.txt").unlink()
    message = refuse(table(tmp_path / "mine.csv"), model=tiny_roberta)
    assert f"{tiny_roberta / 'merges.txt'}: no such file" in message


@pytest.mark.parametrize(
    "name, content",
    [
        ("merges.txt", "#version: 0.2\nnot there"),
        ("merges.txt", "a b c\n"),
        ("vocab.json", '{"<s>": "0"}'),
        ("vocab.json", "{"),
    ],
)
def test_bad_bpe_files_are_named(name, content, tiny_roberta):
    write(tiny_roberta / name, content)
    with pytest.raises(UserError, match=name):
        load_tokenizer(tiny_roberta)


def test_positions_that_leave_no_room_for_a_token_are_refused(tiny_roberta):
    path = set_config(tiny_roberta, max_position_embeddings=2)
    assert f"{path}: max_position_embeddings is 2" in load_error(tiny_roberta)


def test_a_small_electra_with_its_projection_is_refused(tiny_electra):
    path = set_config(tiny_electra, embedding_size=12)
    assert f"{path}: embedding_size is 12; only 24 is supported" in load_error(tiny_electra)


def test_a_text_longer_than_roberta_has_positions_for_is_refused(refuse, tiny_roberta, tmp_path):
    message = refuse(table(tmp_path / "mine.csv"), "--max-length", 65, model=tiny_roberta)
    assert "64 positions" in message
