"""--track shows what log.jsonl holds, which stays the truth. A dashboard is tried where its package is installed."""

import importlib.util
import json
import os
import sys
import types

import pytest
from test_finetune import arguments, five_classes

from minibert import finetune
from minibert.plumbing.files import UserError
from minibert.plumbing.tracking import TRACKERS, tracking


def run(tmp_path, model, *more):
    data = five_classes(tmp_path / "stars.csv", 60)
    finetune.main(arguments(data, model, tmp_path / "run", "--mode", "finetune", "--epochs", "2", *more))
    return [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def needs(package):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@needs("tensorboard")
def test_tensorboard_holds_every_number_of_the_log(tiny_bert, tmp_path):
    records = run(tmp_path, tiny_bert, "--track", "tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    for key in ("loss", "learning_rate", "gradient_norm", "validation_accuracy"):
        expected = [(record["update"], record[key]) for record in records if key in record]
        found = [(event.step, event.value) for event in events.Scalars(f"seed 0/{key}")]
        assert len(expected) >= 2
        assert [update for update, _ in found] == [update for update, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-5)


@needs("trackio")
def test_trackio_keeps_the_run_on_this_machine(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in [name for name in sys.modules if name.split(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)  # it reads its folder when it is imported
    records = run(tmp_path, tiny_bert, "--track", "trackio")
    from trackio.sqlite_storage import SQLiteStorage

    kept = SQLiteStorage.get_logs("minibert", "run")
    losses = [record["seed 0/loss"] for record in kept if "seed 0/loss" in record]
    assert losses == pytest.approx([record["loss"] for record in records if "loss" in record])


def test_without_a_tracker_nothing_is_shown_and_the_log_is_the_same(tiny_bert, tmp_path):
    with tracking(None, tmp_path, {}) as show:
        assert show({"seed": 0, "update": 1, "loss": 1.0}) is None
    records = run(tmp_path, tiny_bert)
    assert records and not (tmp_path / "run" / "tensorboard").exists()


def test_weights_and_biases_gets_the_numbers_offline(tmp_path, monkeypatch):
    logged = []
    library = types.ModuleType("wandb")
    library.__spec__ = importlib.util.spec_from_loader("wandb", None)
    library.init = lambda **options: types.SimpleNamespace(log=logged.append, finish=lambda: logged.append("finished"))
    monkeypatch.setitem(sys.modules, "wandb", library)
    monkeypatch.setenv("WANDB_MODE", "")  # so that it is put back at the end
    monkeypatch.delenv("WANDB_MODE")
    with tracking("wandb", tmp_path, {"lr": 1e-5, "seeds": [0, 1]}) as show:
        show({"seed": 1, "update": 10, "epoch": 1, "loss": 0.5, "note": "text"})
    assert os.environ["WANDB_MODE"] == "offline"
    assert logged == [{"seed 1/epoch": 1, "seed 1/loss": 0.5, "update": 10}, "finished"]


@pytest.mark.parametrize("kind", TRACKERS)
def test_a_tracker_that_is_not_installed_is_one_line_before_anything_is_done(kind, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"--track {kind}: the package {kind} is not installed; pip install"):
        run(tmp_path, tiny_bert, "--track", kind)
    assert not (tmp_path / "run").exists()
