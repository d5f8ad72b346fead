"""A run's own files, damaged before --resume: named, and never computed with. Found by tests/fuzz.py."""

import json

import pytest
import torch
from bad_input import contents, table
from safetensors import safe_open
from safetensors.torch import save_file

from minibert import finetune, train
from minibert.plumbing.files import UserError, read_checked_json, write_checked_json
from minibert.plumbing.resume import Log
from minibert.report.gather import gather_training


@pytest.fixture
def stopped(distilbert, tmp_path, monkeypatch):
    """The arguments of a run that was stopped when it had saved its training for the first time."""
    arguments = [str(table(tmp_path / "mine.csv")), "--model", str(distilbert), "--max-length", "16", "--quiet",
                 "--pooling", "cls", "--head", "linear", "--device", "cpu", "--precision", "fp32", "--epochs", "2",
                 "--batch-size", "8", "--output", str(tmp_path / "run")]  # fmt: skip
    save = train.save_state

    def save_and_stop(*arguments, **more):
        save(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_state", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            finetune.main(arguments)
    return arguments


def refusal(arguments, path):
    """The message of --resume, which has to name the damaged file and to leave everything as it is."""
    before = contents(path.parents[1] if path.parent.name == "work" else path.parent)
    with pytest.raises(UserError) as caught:
        finetune.main([*arguments, "--resume"])
    assert str(path) in str(caught.value)
    assert contents(path.parents[1] if path.parent.name == "work" else path.parent) == before
    return str(caught.value)


def test_a_stopped_run_that_nobody_touched_goes_on(stopped, tmp_path):
    assert finetune.main([*stopped, "--resume"]) == 0
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_a_figure_changed_in_a_kept_result_is_noticed(stopped, tmp_path):
    path = tmp_path / "run" / "work" / "frozen-0.json"
    text = path.read_text(encoding="utf-8")
    changed = text.replace('"seconds": ', '"seconds": 1', 1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    assert "changed or damaged" in refusal(stopped, path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"row": ' * 5000, '{"row": ' + "1" * 5000 + "}", "\ud800"])
def test_a_kept_result_of_any_content_is_one_line(text, stopped, tmp_path):
    path = tmp_path / "run" / "work" / "majority.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    refusal(stopped, path)


def test_a_kept_result_that_is_deleted_is_computed_again(stopped, tmp_path):
    (tmp_path / "run" / "work" / "frozen-0.json").unlink()
    assert finetune.main([*stopped, "--resume"]) == 0


def test_a_bit_of_the_training_state_that_flipped_is_noticed(stopped, tmp_path):
    path = tmp_path / "run" / "work" / "finetuned-0.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 16
    path.write_bytes(bytes(content))
    assert "changed or damaged" in refusal(stopped, path)


def change_state(path, change):
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())
    change(tensors, metadata)
    save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, metadata: metadata.pop("state"),
        lambda tensors, metadata: metadata.pop("checksum"),
        lambda tensors, metadata: metadata.update(state="[" * 5000),
        lambda tensors, metadata: metadata.update(state=metadata["state"].replace('"epoch": ', '"epoch": 1')),
        lambda tensors, metadata: tensors.pop("random.cpu"),
        lambda tensors, metadata: tensors.update({"nodot": torch.zeros(1)}),
        lambda tensors, metadata: tensors.update({"random.cpu": tensors["random.cpu"].long()}),
    ],
)
def test_a_training_state_of_other_content_is_one_line(change, stopped, tmp_path):
    path = tmp_path / "run" / "work" / "finetuned-0.safetensors"
    change_state(path, change)
    assert "changed or damaged" in refusal(stopped, path)


@pytest.mark.parametrize("value", [None, 3, "words", [3], {}])
def test_settings_without_the_words_of_a_command_line_are_refused(value, stopped, tmp_path):
    path = tmp_path / "run" / "settings.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(settings | {"arguments": value}), encoding="utf-8")
    assert "arguments" in refusal(stopped, path)


def test_settings_with_a_number_that_is_not_finite_are_refused(stopped, tmp_path):
    path = tmp_path / "run" / "settings.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(settings | {"more": float("nan")}), encoding="utf-8")
    assert "NaN or infinity" in refusal(stopped, path)


@pytest.mark.parametrize("line", ["[]", "3", '{"seed": 0}', '{"seed": 0, "update": "x"}', "half a", "[" * 5000])
def test_a_damaged_line_of_the_log_is_named_by_its_number(line, stopped, tmp_path):
    path = tmp_path / "run" / "log.jsonl"
    path.write_text(line + "\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert f"{path}, line 1" in refusal(stopped, path)


def test_half_a_line_at_the_end_of_the_log_is_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    whole = '{"epoch": 1, "update": 1}\n{"epoch": 1, "update": 2}\n'
    path.write_text(whole + '{"upd', encoding="utf-8")
    Log(path, keep=lambda line: line["update"] < 5)
    assert path.read_text(encoding="utf-8") == whole


@pytest.mark.parametrize(
    "line",
    [
        '{"seed": 0, "epoch": 1, "update": 9, "loss": 0.5, "learning_rate": 0.1}',
        '{"seed": 0, "epoch": 1, "update": 9, "validation_loss": 0.5}',
        '{"seed": 0, "epoch": 1, "update": 9, "validation_loss": NaN, "validation_accuracy": 1.0}',
        '{"seed": 0, "epoch": 1, "update": 9, "loss": "low", "learning_rate": 0.1, "gradient_norm": 1}',
        '{"epoch": 1, "update": 9, "loss": 0.5, "learning_rate": 0.1, "gradient_norm": 1}',
        '{"seed": 0, "epoch": 1.5, "update": 9, "loss": 0.5, "learning_rate": 0.1, "gradient_norm": 1}',
        '{"seed": 0, "epoch": 1, "update": 9, "loss": 1e300, "learning_rate": 0.1, "gradient_norm": 1}',
        "true",
    ],
)
def test_a_line_of_the_log_that_the_report_cannot_draw_is_named(line, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        gather_training(path)
    assert str(path) in str(caught.value) and "delete this line" in str(caught.value)


def test_an_update_whose_gradients_overflowed_is_left_out_of_the_curve(tmp_path):
    record = {"seed": 0, "epoch": 1, "update": 1, "loss": 0.5, "learning_rate": 0.1, "gradient_norm": 1.0}
    lines = [record, record | {"update": 2, "gradient_norm": None}, record | {"update": 3}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    updates = gather_training(tmp_path / "log.jsonl")["updates"]["0"]
    assert [point["update"] for point in updates] == [1, 3]


def test_a_checksum_is_of_the_values_and_not_of_their_order(tmp_path):
    path = tmp_path / "kept.json"
    write_checked_json(path, {"b": {10: 1.5, 2: "é"}, "a": (1, None)})
    assert read_checked_json(path) == {"b": {"10": 1.5, "2": "é"}, "a": [1, None]}
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(dict(reversed(values.items()))), encoding="utf-8")
    assert read_checked_json(path)["a"] == [1, None]
