"""Flags: a value out of range is named with its flag, and so are flags that do not go together.
"""

import pytest
import torch
from bad_input import POSITIONS, edit, table

from minibert import finetune, load_encoder
from minibert.plumbing.files import UserError, read_json, write_json


@pytest.mark.parametrize(
    "flag, value",
    [
        ("--epochs", "0"),
        ("--epochs", "1.5"),
        ("--lr", "-1"),
        ("--lr", "0"),
        ("--lr", "nan"),
        ("--lr", "inf"),
        ("--head-lr", "nan"),
        ("--weight-decay", "-0.1"),
        ("--batch-size", "x"),
        ("--batch-size", "0"),
        ("--warmup", "-0.1"),
        ("--warmup", "1.5"),
        ("--max-norm", "-1"),
        ("--layer-decay", "0"),
        ("--layer-decay", "1.1"),
        ("--dropout", "1"),
        ("--label-smoothing", "1"),
        ("--freeze", "head"),
        ("--freeze", "embeddings,embeddings"),
        ("--freeze", "1,2"),
        ("--freeze", "3"),
        ("--windows", "0"),
        ("--warmup", "nan"),
        ("--max-length", "3"),
        ("--max-length", "-16"),
        ("--limit", "0"),
        ("--test-limit", "-5"),
        ("--patience", "-1"),
        ("--seed", "-1"),
        ("--seed", str(2**64)),
        ("--seeds", "1,1"),
        ("--seeds", "a"),
        ("--seeds", ""),
        ("--seeds", "1,"),
        ("--seeds", "1,-2"),
        ("--seeds", f"0,{2**64}"),
        ("--max-norm", "inf"),
        ("--checkpoint-every", "nan"),
        ("--mode", "neither"),
        ("--pooling", "max"),
        ("--head", "deep"),
        ("--truncation", "middle"),
        ("--precision", "fp8"),
    ],
)
def test_a_flag_out_of_range_is_named_with_its_value(flag, value, refuse, tmp_path):
    message = refuse(table(tmp_path / "mine.csv"), flag, value)
    assert flag in message
    assert value in message


@pytest.mark.parametrize(
    "flags, named",
    [
        (("--seed", "1", "--seeds", "2,3"), "--seed: "),
        (("--refit", "--patience", "1"), "--patience: "),
        (("--sample",), "--sample: "),
    ],
)
def test_flags_of_which_one_would_do_nothing_are_refused(flags, named, refuse, tmp_path):
    assert named in refuse(table(tmp_path / "mine.csv"), *flags)


def test_a_flag_that_does_not_exist_is_named(refuse, tmp_path):
    assert "--learning-rate" in refuse(table(tmp_path / "mine.csv"), "--learning-rate", "1")


def test_a_task_has_to_be_given(output):
    with pytest.raises(UserError, match="task"):
        finetune.main(["--output", str(output)])


def test_cuda_without_cuda_is_refused(tmp_path, distilbert, output, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda"):
        finetune.main([str(table(tmp_path / "mine.csv")), "--model", str(distilbert), "--device", "cuda",
                       "--output", str(output)])  # fmt: skip
    assert not output.exists()


def test_texts_longer_than_the_position_table_are_refused(refuse, tmp_path):
    message = refuse(table(tmp_path / "mine.csv"), "--max-length", POSITIONS + 1)
    assert f"--max-length {POSITIONS + 1}" in message
    assert f"{POSITIONS} positions" in message


def test_the_encoder_itself_refuses_a_sequence_beyond_its_position_table(distilbert):
    encoder = load_encoder(distilbert)
    assert encoder(torch.zeros(1, POSITIONS, dtype=torch.int64)).shape == (1, POSITIONS, 12)
    with pytest.raises(ValueError, match=f"{POSITIONS + 1} tokens.*{POSITIONS} positions"):
        encoder(torch.zeros(1, POSITIONS + 1, dtype=torch.int64))


@pytest.mark.parametrize("mode", ["both", "frozen", "finetune"])
def test_a_distilbert_has_no_pooler_to_read(mode, refuse, tmp_path):
    message = refuse(table(tmp_path / "mine.csv"), "--pooling", "pooler", "--mode", mode)
    assert "no pooler" in message and "--pooling" in message


def test_a_native_head_with_another_pooling_is_refused(refuse, tmp_path):
    message = refuse(table(tmp_path / "mine.csv"), "--head", "native", "--pooling", "mean")
    assert "--head native" in message and "--pooling cls" in message


def test_a_missing_model_folder_is_refused(refuse, tmp_path):
    assert str(tmp_path / "none") in refuse(table(tmp_path / "mine.csv"), model=tmp_path / "none")


def test_pairs_are_refused_by_a_model_that_knows_one_type_of_token(bert, refuse, tmp_path):
    name = "embeddings.token_type_embeddings.weight"
    edit(bert, lambda tensors: tensors.update({name: tensors[name][:1]}))
    write_json(bert / "config.json", read_json(bert / "config.json") | {"type_vocab_size": 1})
    pairs = table(tmp_path / "pairs.csv", [f"a {i},b {i},{i % 2}" for i in range(20)], "text,text_pair,label")
    assert "knows one type of token" in refuse(pairs, model=bert)


def test_a_sample_of_nothing_is_refused(refuse, tmp_path):
    assert "--sample: says that --data is a part" in refuse(table(tmp_path / "mine.csv"), "--sample")
