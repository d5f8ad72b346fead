"""Bad input: one line that names the file, the line and the field, exit code 2, and nothing half-written.

First a person's data, then flags, then checkpoints, then disks that are full. Most cases call the command's
`main`, which raises UserError; a few run the real command and look at what a person would see. What only looks
bad and has to work (a word of a million letters, a checkpoint of another kind) is here too.
"""

import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from minibert import EncoderConfig, finetune, load_encoder, load_tokenizer, save_encoder
from minibert.data import load_task
from minibert.model import Encoder, initialize
from minibert.plumbing.checkpoint import write_safetensors
from minibert.plumbing.files import UserError, atomic_path, read_json, write_text
from minibert.plumbing.resume import Log

REPOSITORY = Path(__file__).parent.parent
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


# What a person sees


@pytest.mark.parametrize("case", ["missing file", "not a number", "cut checkpoint"])
def test_the_command_prints_one_line_and_exits_with_2(case, distilbert, tmp_path, output):
    data = table(tmp_path / "mine.csv")
    arguments = [str(data), "--model", str(distilbert), "--max-length", "16", "--output", str(output)]
    if case == "missing file":
        data.unlink()
        named = str(data)
    elif case == "not a number":
        arguments += ["--lr", "nan"]
        named = "--lr"
    else:
        weights = distilbert / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        named = str(weights)
    command = [sys.executable, "-m", "minibert.finetune", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert named in lines[0]
    assert "Traceback" not in done.stderr + done.stdout
    assert not output.exists()
    assert not (tmp_path / "runs").exists()


# Data: tables


def test_a_missing_file_is_named(refuse, tmp_path):
    assert str(tmp_path / "mine.csv") in refuse(tmp_path / "mine.csv")


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.jsonl"])
@pytest.mark.parametrize("content", ["", "\n \n\n", "\ufeff"])
def test_an_empty_file_is_refused(name, content, refuse, tmp_path):
    path = write(tmp_path / name, content)
    message = refuse(path)
    assert str(path) in message and "empty" in message


def test_a_header_without_rows_is_refused(refuse, tmp_path):
    path = write(tmp_path / "mine.csv", "text,label\n")
    message = refuse(path)
    assert str(path) in message and "no rows" in message


@pytest.mark.parametrize("row, count", [("good", 1), ("good,yes,indeed", 3)])
def test_a_row_with_another_number_of_columns_is_named(row, count, refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [*ROWS[:6], row, *ROWS[6:]])
    message = refuse(path)
    assert f"{path}, line 8" in message
    assert f"{count} column" in message and "2" in message


def test_lines_are_counted_through_quoted_newlines(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", ['"three\nlines\nlong",yes', "", "good"])
    assert f"{path}, line 6" in refuse(path)


@pytest.mark.parametrize(
    "row, field", [("good,", "label"), ("good, \t", "label"), (",yes", "text"), ("  ,yes", "text")]
)
def test_an_empty_field_is_named(row, field, refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [*ROWS, row])
    assert f"{path}, line 22: {field} is empty" in refuse(path)


def test_an_empty_second_text_is_named(refuse, tmp_path):
    rows = [f"a {i},b {i},{i % 2}" for i in range(20)]
    path = table(tmp_path / "mine.csv", [*rows, "a,,1"], "text,text_pair,label")
    assert f"{path}, line 22: text_pair is empty" in refuse(path)


@pytest.mark.parametrize(
    "header, flag, missing", [("review,label", "--text-column", "text"), ("text,verdict", "--label-column", "label")]
)
def test_a_missing_column_comes_with_the_flag_that_names_it(header, flag, missing, refuse, tmp_path):
    path = table(tmp_path / "mine.csv", header=header)
    message = refuse(path)
    assert str(path) in message and flag in message
    assert f"{missing!r}" in message
    assert all(name in message for name in header.split(","))


def test_a_second_text_column_that_was_asked_for_has_to_be_there(refuse, tmp_path):
    path = table(tmp_path / "mine.csv")
    message = refuse(path, "--pair-column", "premise")
    assert "'premise'" in message and "--pair-column" in message


def test_two_columns_of_one_name_are_refused(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [f"{row},no" for row in ROWS], "text,label,label")
    message = refuse(path)
    assert f"{path}, line 1" in message and "label" in message


def test_pairs_in_train_and_single_texts_in_test_are_refused(refuse, tmp_path):
    table(tmp_path / "both" / "train.csv", [f"a {i},b {i},{i % 2}" for i in range(20)], "text,text_pair,label")
    table(tmp_path / "both" / "test.csv", ["a,0", "b,1"])
    message = refuse(tmp_path / "both")
    assert "test.csv" in message and "text_pair" in message


def test_a_label_that_only_the_test_file_has_is_named(refuse, tmp_path):
    table(tmp_path / "both" / "train.csv")
    path = table(tmp_path / "both" / "test.csv", ["good,yes", "good,perhaps"])
    message = refuse(tmp_path / "both")
    assert f"{path}, line 3" in message
    assert "'perhaps'" in message and "training" in message


def test_a_single_class_is_refused(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [row for row in ROWS if row.endswith("yes")])
    message = refuse(path)
    assert str(path) in message and "one label" in message


def test_a_class_whose_texts_are_all_copies_of_one_is_trained_on(tmp_path):
    """A copy cannot be on both sides, so the whole class is on one; without it in train the run would be about less."""
    task = load_task(str(table(tmp_path / "mine.csv", [*ROWS, *["the same,rare"] * 10])))
    assert task.train.class_counts()[task.train.label_names.index("rare")] == 10


def test_too_few_texts_are_refused(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", ROWS[:4])
    message = refuse(path)
    assert str(path) in message and "too few" in message


# Data: bytes


@pytest.mark.parametrize("name, glue", [("mine.csv", b","), ("mine.tsv", b"\t")])
def test_invalid_utf8_is_named_by_its_line(name, glue, refuse, tmp_path):
    path = write(tmp_path / name, b"text,label\ngood,yes\ncaf\xe9,no\n".replace(b",", glue))
    message = refuse(path)
    assert f"{path}, line 3" in message
    assert "UTF-8" in message and "0xe9" in message


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.jsonl"])
def test_a_nul_byte_is_named_by_its_line(name, refuse, tmp_path):
    path = write(tmp_path / name, "text,label\ngood,yes\nbad\0,no\n")
    message = refuse(path)
    assert f"{path}, line 3" in message and "NUL" in message


def test_an_open_quote_is_named_by_the_line_where_its_row_starts(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [*ROWS[:3], '"never closed,yes', *ROWS[3:]])
    message = refuse(path)
    assert f"{path}, line 5" in message and "quote" in message


def test_letters_after_a_closed_quote_are_named_by_their_line(refuse, tmp_path):
    path = table(tmp_path / "mine.csv", [*ROWS[:3], '"closed" too early,yes', *ROWS[3:]])
    assert f"{path}, line 5" in refuse(path)


@pytest.mark.parametrize("row", ['{"text": "good", "label": ', "good", '{"text": "good" "label": 1}'])
def test_a_broken_json_line_is_named(row, refuse, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", {"text": "good", "label": 1}, "", row)
    message = refuse(path)
    assert f"{path}, line 3" in message and "JSON" in message


@pytest.mark.parametrize("row", ["[1, 2]", '"text"', "7", "null"])
def test_a_json_line_that_is_no_object_is_named(row, refuse, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", row)
    message = refuse(path)
    assert f"{path}, line 1" in message and "object" in message


@pytest.mark.parametrize(
    "row, field",
    [
        ({"text": "good"}, "label"),
        ({"label": 1}, "text"),
        ({"text": "", "label": 1}, "text"),
        ({"text": "good", "label": ""}, "label"),
        ({"text": "good", "label": None}, "label"),
        ({"text": None, "label": 1}, "text"),
        ({"text": ["good"], "label": 1}, "text"),
        ({"text": "good", "label": {"is": 1}}, "label"),
    ],
)
def test_a_json_field_that_is_absent_empty_or_no_text_is_named(row, field, refuse, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", row)
    message = refuse(path)
    assert f"{path}, line 1" in message and field in message


def test_half_of_a_surrogate_pair_is_named(refuse, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", '{"text": "cut emoji \\ud83d", "label": 1}')
    message = refuse(path)
    assert f"{path}, line 1" in message


def test_json_nested_too_deep_is_named(refuse, tmp_path):
    path = jsonl(tmp_path / "mine.jsonl", "[" * 200_000)
    message = refuse(path)
    assert f"{path}, line 1" in message


@pytest.mark.parametrize("text, tokens", [("a" * 1_000_000, 3), ("good bad " * 111_112, 16)], ids=["a word", "words"])
def test_a_text_of_a_million_letters_is_cut_like_any_other(text, tokens, distilbert, tmp_path):
    assert len(text) >= 1_000_000
    task = load_task(str(table(tmp_path / "mine.csv", [*ROWS, f"{text},yes"])))
    parts = (task.train, task.validation, task.test)
    [[part, position]] = [(part, part.texts.index(text)) for part in parts if text in part.texts]
    sequences = load_tokenizer(distilbert).encode(part.texts, None, 16, "head+tail")
    assert len(sequences[position].ids) == tokens  # a word out of all proportion is [UNK], between [CLS] and [SEP]
    assert max(len(sequence.ids) for sequence in sequences) <= 16


# Data: the built-in tasks, and folders


def test_an_unknown_task_is_refused_with_the_list_of_tasks(refuse):
    message = refuse("imbd")
    assert "'imbd'" in message
    assert all(name in message for name in ("imdb", "sms-spam", "mrpc", ".csv"))


def test_data_for_what_is_no_task_is_refused(refuse, tmp_path):
    assert "--data" in refuse(table(tmp_path / "mine.csv"), "--data", tmp_path)


@pytest.mark.parametrize("task, part", [("imdb", ""), ("sms-spam", ""), ("mrpc", "msr_paraphrase_train.txt")])
def test_a_missing_local_copy_is_named(task, part, refuse, tmp_path):
    assert str(tmp_path / "none" / part) in refuse(task, "--data", tmp_path / "none")


@pytest.mark.parametrize("line", ["ham no tab", "eggs\tsee you", "ham\t ", "\tsee you"])
def test_a_bad_sms_line_is_named(line, refuse, tmp_path):
    path = write(tmp_path / "messages", f"ham\tsee you\n{line}\nspam\tWIN\n")
    assert f"{path}, line 2" in refuse("sms-spam", "--data", path)


@pytest.mark.parametrize("line", ["1\t2\t3\tonly one", "2\t2\t3\tone\ttwo", "1\t2\t3\tone\t"])
def test_a_bad_mrpc_line_is_named(line, refuse, tmp_path):
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    path = write(tmp_path / "msr_paraphrase_train.txt", f"{header}1\t2\t3\tone\ttwo\n{line}\n")
    write(tmp_path / "msr_paraphrase_test.txt", f"{header}1\t2\t3\tone\ttwo\n")
    assert f"{path}, line 3" in refuse("mrpc", "--data", tmp_path)


def test_an_archive_cut_short_is_refused(refuse, tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as archive:
        for part in ("train", "test"):
            for label in ("neg", "pos"):
                for i in range(40):
                    path = write(tmp_path / "aclImdb" / part / label / f"{i}_1.txt", os.urandom(300).hex())
                    archive.add(path, str(path.relative_to(tmp_path)))
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    cut = write(tmp_path / "cut.tar.gz", whole[: len(whole) // 2])
    message = refuse("imdb", "--data", cut)
    assert str(cut) in message and "archive" in message


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_what_is_no_archive_is_refused(content, refuse, tmp_path):
    path = write(tmp_path / "aclImdb.tar.gz", content)
    assert str(path) in refuse("imdb", "--data", path)


def label_folders(root):
    for part in ("train", "test"):
        for label in ("neg", "pos"):
            for i in range(6):
                write(root / part / label / f"{i}.txt", f"{part} {label} {i}")
    return root


@pytest.mark.parametrize(
    "content, why", [(b"good\ncaf\xe9", "UTF-8"), (b"a\0b", "NUL"), (b"", "empty"), (b" \n", "empty")]
)
def test_a_bad_file_in_a_label_folder_is_named(content, why, refuse, tmp_path):
    path = write(label_folders(tmp_path / "mine") / "train" / "pos" / "bad.txt", content)
    message = refuse(tmp_path / "mine")
    assert str(path) in message and why in message


def test_a_label_folder_that_only_test_has_is_named(refuse, tmp_path):
    write(label_folders(tmp_path / "mine") / "test" / "meh" / "0.txt", "so so")
    message = refuse(tmp_path / "mine")
    assert "test/meh/0.txt" in message and "'meh'" in message


def test_a_folder_without_training_data_is_refused(refuse, tmp_path):
    (tmp_path / "mine").mkdir()
    table(tmp_path / "mine" / "test.csv")
    message = refuse(tmp_path / "mine")
    assert str(tmp_path / "mine") in message and "train" in message


def test_two_files_for_one_part_are_refused(refuse, tmp_path):
    table(tmp_path / "mine" / "train.csv")
    table(tmp_path / "mine" / "train.tsv", header="text\tlabel")
    message = refuse(tmp_path / "mine")
    assert "train.csv" in message and "train.tsv" in message


# Flags


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
        ("--warmup", "2"),
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
    with pytest.raises(UserError, match=f"{POSITIONS + 1} tokens.*{POSITIONS} positions"):
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


# Runs that are there already


@pytest.fixture
def finished(distilbert, tmp_path):
    """The arguments of a run that is done."""
    arguments = [str(table(tmp_path / "mine.csv")), "--model", str(distilbert), "--mode", "frozen", "--pooling", "cls",
                 "--head", "linear", "--max-length", "16", "--quiet", "--device", "cpu", "--precision", "fp32",
                 "--output", str(tmp_path / "done")]  # fmt: skip
    finetune.main(arguments)
    return arguments


def contents(folder):
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_folder_that_holds_a_run_is_left_alone(finished, tmp_path):
    before = contents(tmp_path / "done")
    with pytest.raises(UserError) as caught:
        finetune.main(finished)
    assert str(tmp_path / "done") in str(caught.value)
    assert "--resume" in str(caught.value) and "--output" in str(caught.value)
    assert contents(tmp_path / "done") == before


@pytest.mark.parametrize(
    "flag, value, was", [("--lr", "0.001", "5e-05"), ("--seed", "3", "0"), ("--limit", "15", "None")]
)
def test_a_run_is_not_resumed_with_other_settings(flag, value, was, finished, tmp_path):
    before = contents(tmp_path / "done")
    with pytest.raises(UserError) as caught:
        finetune.main([*finished, "--resume", flag, value])
    message = str(caught.value)
    assert str(tmp_path / "done" / "settings.json") in message
    assert f"{flag} {was}" in message
    assert contents(tmp_path / "done") == before


def test_a_run_is_not_resumed_on_other_data(finished, tmp_path):
    table(tmp_path / "mine.csv", ROWS * 2)
    before = contents(tmp_path / "done")
    with pytest.raises(UserError, match="mine.csv|data|texts"):
        finetune.main([*finished, "--resume"])
    assert contents(tmp_path / "done") == before


# Checkpoints: config.json


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


@pytest.mark.parametrize("value", ["gpt2", "roberta", None, 3])
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


def test_a_config_that_is_no_object_is_refused(distilbert):
    path = write(distilbert / "config.json", "[1, 2]")
    assert str(path) in load_error(distilbert)


def test_a_folder_without_config_is_refused(distilbert):
    (distilbert / "config.json").unlink()
    assert f"{distilbert / 'config.json'}: no such file" in load_error(distilbert)


# Checkpoints: tensors


def edit(folder, change):
    """Apply `change` to the checkpoint's dict of tensors."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


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


# Checkpoints: shards


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


def same_weights(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


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


# Checkpoints of other kinds, which have to load


def rename(folder, change, extra=()):
    """Rename every tensor by `change`, and add the `extra` ones as they are."""

    def rename_all(tensors):
        renamed = {change(name): tensor for name, tensor in tensors.items()}
        tensors.clear()
        tensors.update(renamed)
        tensors.update({name: torch.ones(3) for name in extra})

    edit(folder, rename_all)


def as_tensorflow(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
def test_names_may_carry_a_prefix_and_the_old_gamma_and_beta(family, prefixed, legacy, bert, distilbert):
    folder = bert if family == "bert" else distilbert
    expected = load_encoder(folder)

    def change(name):
        name = as_tensorflow(name) if legacy else name
        return f"{family}.{name}" if prefixed else name

    rename(folder, change)
    stored = set(load_file(folder / "model.safetensors"))
    assert all(name.startswith(family) for name in stored) == prefixed
    assert any(name.endswith(".gamma") for name in stored) == legacy
    encoder = load_encoder(folder)
    assert same_weights(encoder, expected)
    assert set(encoder.account.loaded) == stored  # by the names in the file
    assert not encoder.account.ignored and not encoder.account.missing and not encoder.account.new


@pytest.mark.parametrize("other", ["embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"])
def test_two_tensors_for_one_place_are_refused(other, bert):
    edit(bert, lambda tensors: tensors.update({other: torch.ones(12)}))
    message = load_error(bert)
    assert other in message and " embeddings.LayerNorm.weight" in f" {message}"


HEADS = {
    ("bert", "masked-language-model"): ["cls.predictions.bias", "cls.predictions.transform.dense.weight"],
    ("bert", "next-sentence"): ["cls.seq_relationship.weight", "cls.seq_relationship.bias"],
    ("bert", "classification"): ["classifier.weight", "classifier.bias"],
    ("distilbert", "masked-language-model"): ["vocab_transform.bias", "vocab_layer_norm.bias", "vocab_projector.bias"],
    ("distilbert", "classification"): ["pre_classifier.weight", "classifier.bias"],
    ("distilbert", "question-answering"): ["qa_outputs.weight"],
}


@pytest.mark.parametrize("family, kind", HEADS)
def test_a_checkpoint_with_a_head_gives_its_encoder_and_says_what_was_ignored(family, kind, bert, distilbert):
    folder, names = (bert if family == "bert" else distilbert), HEADS[family, kind]
    expected = load_encoder(folder)
    rename(folder, lambda name: f"{family}.{name}", extra=names)
    encoder = load_encoder(folder)
    assert same_weights(encoder, expected)
    assert sorted(encoder.account.ignored) == sorted(names)
    for name in names:
        assert kind in encoder.account.ignored[name]
        assert f"ignored  {name}: " in str(encoder.account)
    assert f"loaded   {len(expected.account.loaded)} tensors" in str(encoder.account)


def test_a_bert_saved_without_pooler_loads_and_says_so(bert):
    edit(bert, lambda tensors: [tensors.pop(f"pooler.dense.{kind}") for kind in ("weight", "bias")])
    encoder = load_encoder(bert)
    assert encoder.pooler is None
    assert "missing  pooler.dense" in str(encoder.account)


def test_half_a_pooler_is_refused(bert):
    edit(bert, lambda tensors: tensors.pop("pooler.dense.bias"))
    assert "missing tensor pooler.dense.bias" in load_error(bert)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_float32(dtype, distilbert):
    edit(distilbert, lambda tensors: tensors.update({name: tensor.to(dtype) for name, tensor in tensors.items()}))
    encoder = load_encoder(distilbert)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


# Disks that are full


def disk_full(*arguments, **more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "kept.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half of the new")
        1 / 0  # noqa: B018
    assert contents(tmp_path) == {str(path): b"old"}


def test_a_write_that_succeeds_replaces_the_old_file_in_one_step(tmp_path):
    path = write(tmp_path / "kept.txt", "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert contents(tmp_path) == {str(path): b"new"}


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_text_file_and_says_so(function, tmp_path, monkeypatch):
    path = write(tmp_path / "kept.txt", "old")
    monkeypatch.setattr(os, function, disk_full)
    with pytest.raises(UserError) as caught:
        write_text(path, "new")
    assert str(path) in str(caught.value) and os.strerror(errno.ENOSPC) in str(caught.value)
    assert contents(tmp_path) == {str(path): b"old"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), SafetensorError("I/O error: No space left")])
def test_a_full_disk_leaves_the_old_weights_and_says_so(error, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a": torch.zeros(3)})
    before = contents(tmp_path)

    def half_a_file(tensors, target, metadata=None):
        Path(target).write_bytes(b"half")
        raise error

    monkeypatch.setattr("minibert.plumbing.checkpoint.save_file", half_a_file)
    with pytest.raises(UserError) as caught:
        write_safetensors(path, {"a": torch.ones(3)})
    assert str(path) in str(caught.value) and "No space left" in str(caught.value)
    assert contents(tmp_path) == before


def test_saving_an_encoder_on_a_full_disk_leaves_the_old_checkpoint(distilbert, monkeypatch):
    before = contents(distilbert)
    encoder = load_encoder(distilbert)
    with torch.no_grad():
        encoder.embeddings.word.weight.add_(1)
    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(UserError):
        save_encoder(encoder, distilbert)
    assert contents(distilbert) == before


@pytest.mark.parametrize("name", ["settings.json", "majority.json", "model.safetensors", "metrics.json"])
def test_a_disk_that_fills_up_during_a_run_is_one_line_and_the_run_resumes(
    name, distilbert, tmp_path, output, monkeypatch
):
    arguments = [str(table(tmp_path / "mine.csv")), "--model", str(distilbert), "--mode", "frozen", "--pooling", "cls",
                 "--head", "linear", "--max-length", "16", "--quiet", "--device", "cpu", "--precision", "fp32",
                 "--output", str(output)]  # fmt: skip
    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda a, b: disk_full() if Path(b).name == name else replace(a, b))
        with pytest.raises(UserError) as caught:
            finetune.main(arguments)
    assert name in str(caught.value)
    assert not [path for path in output.rglob("*") if path.name == name or path.suffix == ".part"]
    finetune.main([*arguments, "--resume"])
    assert (output / "metrics.json").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a file on an always full disk")
def test_a_log_on_a_full_disk_is_one_line(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log({"update": 1})
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match="log.jsonl"):
        log({"update": 2})


def test_an_output_that_is_a_file_is_refused_and_kept(distilbert, tmp_path, output):
    write(output, "mine")
    with pytest.raises(UserError) as caught:
        finetune.main([str(table(tmp_path / "mine.csv")), "--model", str(distilbert), "--max-length", "16", "--quiet",
                       "--device", "cpu", "--output", str(output)])  # fmt: skip
    assert str(output) in str(caught.value)
    assert output.read_text() == "mine"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(distilbert, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with contextlib.ExitStack() as stack:
        stack.callback(locked.chmod, 0o700)
        with pytest.raises(UserError, match="locked"):
            write_text(locked / "new.txt", "text")


@pytest.mark.skipif(os.name != "posix", reason="pipes break otherwise elsewhere")
@pytest.mark.parametrize(
    "ending, code, line",
    [
        ("", 141, ""),
        ("raise UserError('no')", 2, "error: no\n"),
        ("raise SystemExit(0)", 141, ""),
        ("raise KeyboardInterrupt", 130, "\nstopped\n"),
    ],
    ids=["done", "wrong", "help", "stopped"],
)
@pytest.mark.parametrize("characters", [1, 10**6])
def test_a_reader_who_has_enough_is_no_traceback(characters, ending, code, line):
    """`... | head -1`: the little that Python keeps back until the end, and the much that it does not."""
    program = f"""if True:
        from minibert.files import UserError, run_command
        def main():
            print("x" * {characters})
            {ending}
        input()
        run_command(main)"""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, env=environment, text=True, **pipes)
    process.stdout.close()
    process.stdin.write("go\n")
    process.stdin.close()
    error = process.stderr.read()
    if characters > 1:  # then the pipe breaks before the ending
        code, line = 141, ""
    assert (process.wait(60), error) == (code, line)
