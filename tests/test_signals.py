"""Told to stop or to save, a run does so where it can go on from; and two runs never share a folder."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_finetune import two_classes
from test_train import CPU, tiny_classifier, token_examples

from minibert import finetune
from minibert import train as train_module
from minibert.optim import AdamW
from minibert.plumbing import lock as lock_module
from minibert.plumbing.files import UserError, remove_leftovers
from minibert.plumbing.lock import only_run_in
from minibert.plumbing.resume import Progress, read_progress, save_state
from minibert.plumbing.signals import Stopped, listening
from minibert.train import TrainSettings, train

SETTINGS = TrainSettings(epochs=2, batch_size=8, lr=1e-3, seed=3)
DATA = token_examples(120), token_examples(40, 1)


def run(path, log=None, resume=False, **more):
    classifier = tiny_classifier()
    train(classifier, *DATA, SETTINGS, CPU, checkpoint=path, log=log, resume=resume, quiet=True, **more)
    return [*classifier.parameters()]


def losses(records):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("update", [3, 10, 15, 27])  # between two lines of the log, at one, at the epoch's end, later
def test_the_first_signal_finishes_the_update_and_saves_and_nothing_is_lost(tmp_path, monkeypatch, number, update):
    records, unbroken_records, do = [], [], train_module.update
    unbroken = run(tmp_path / "a", unbroken_records.append)

    def signalled(run, batch):
        do(run, batch)
        if run.progress.update == update:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(train_module, "update", signalled)
    with listening(), pytest.raises(Stopped, match=f"after update {update} is saved.*--resume") as stopped:
        run(tmp_path / "b", records.append)
    assert stopped.value.signal == number
    monkeypatch.setattr(train_module, "update", do)
    done = read_progress(tmp_path / "b")
    assert done.update == update
    records = [record for record in records if done.knows(record)]
    resumed = run(tmp_path / "b", records.append, resume=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(resumed, unbroken, strict=True))
    assert losses(records) == losses(unbroken_records)


def test_a_signal_during_validation_is_answered_at_once_and_loses_nothing(tmp_path, monkeypatch):
    unbroken, validate = run(tmp_path / "a"), train_module.Classification.validate

    def interrupted(self, model):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(train_module.Classification, "validate", interrupted)
    started = time.monotonic()
    with listening(), pytest.raises(Stopped, match="after update 15 is saved"):
        run(tmp_path / "b")
    assert time.monotonic() - started < 4
    monkeypatch.setattr(train_module.Classification, "validate", validate)
    resumed = run(tmp_path / "b", resume=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(resumed, unbroken, strict=True))


def test_a_second_signal_leaves_at_once(tmp_path, monkeypatch):
    def signalled(run, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("still there")

    monkeypatch.setattr(train_module, "update", signalled)
    with listening(), pytest.raises(Stopped):
        run(tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")
def test_sigusr1_saves_and_goes_on(tmp_path, monkeypatch):
    do, saved = train_module.update, []

    def signalled(run, batch):
        saved.append((tmp_path / "a").exists())
        do(run, batch)
        if run.progress.update == 4:
            os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(train_module, "update", signalled)
    with listening():
        run(tmp_path / "a")
    assert saved[:5] == [False] * 4 + [True] and len(saved) == 30


def test_checkpoint_every_says_how_often_the_state_is_saved(tmp_path, monkeypatch):
    saves = []
    monkeypatch.setattr(train_module, "save_state", lambda path, *rest: saves.append(path))
    run(tmp_path / "a", checkpoint_every=1000)
    assert len(saves) == 2  # after each epoch
    run(tmp_path / "a", checkpoint_every=0)
    assert len(saves) == 2 + 30 + 2


def test_the_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with listening():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def command(*arguments, before=""):
    code = f"{before}\nimport runpy, sys\nsys.argv[0] = 'x'\nrunpy.run_module('minibert.finetune', run_name='__main__')"
    root = os.path.dirname(os.path.dirname(finetune.__file__))
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=root, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


ON_IMPORT = """
import importlib.abc, os, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("module", ["minibert.data", "torch", "minibert.model", "minibert.report"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_program_is_imported_leaves_no_traceback(tmp_path, module, number):
    before = ON_IMPORT.format(module=module, number=int(number))
    process = command("reviews", "--output", tmp_path / "run", before=before)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + number, "\nstopped\n")
    assert not (tmp_path / "run").exists()


def test_a_terminated_run_says_how_to_go_on_and_ends_as_if_unbroken(tiny_bert, tmp_path):
    data = two_classes(tmp_path / "mine.csv", (60, 60))
    arguments = [data, "--model", tiny_bert, "--max-length", "16", "--mode", "finetune", "--epochs", "4",
                 "--precision", "fp32"]  # fmt: skip
    finetune.main([*map(str, arguments), "--quiet", "--output", str(tmp_path / "unbroken")])
    stop = """
import os, signal
from minibert import train
do = train.update
def signalled(run, batch):
    do(run, batch)
    if run.progress.update == 9:
        os.kill(os.getpid(), signal.SIGTERM)
train.update = signalled
"""
    process = command(*arguments, "--output", tmp_path / "run", before=stop)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143 and "Traceback" not in errors
    assert errors.rstrip().endswith(
        "stopped: the state after update 9 is saved; the same command with --resume goes on"
    )
    (tmp_path / "run" / "work" / ".state.ab12cd_4.part").write_text("what a killed save left")
    finetune.main([*map(str, arguments), "--quiet", "--resume", "--output", str(tmp_path / "run")])
    for name in ("predictions.csv", "finetuned/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()
    logs = [(tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("run", "unbroken")]
    assert losses(map(json.loads, logs[0])) == losses(map(json.loads, logs[1]))
    assert not list((tmp_path / "run").rglob("*.part")) and not list((tmp_path / "run").rglob(".lock"))


def test_a_second_run_in_the_same_folder_is_refused(tiny_bert, tmp_path):
    data = two_classes(tmp_path / "mine.csv", (20, 20))
    with only_run_in(tmp_path / "run"), pytest.raises(UserError, match=f"run: process {os.getpid()} is writing here"):
        finetune.main([str(data), "--model", str(tiny_bert), "--max-length", "16", "--output", str(tmp_path / "run")])
    assert [path.name for path in (tmp_path / "run").iterdir()] == []


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = ("import sys, time; from minibert.plumbing.lock import only_run_in\n"
            "with only_run_in(sys.argv[1]): print('in', flush=True); time.sleep(60)")  # fmt: skip
    root = os.path.dirname(os.path.dirname(finetune.__file__))
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=root, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    with pytest.raises(UserError, match=f"process {process.pid} is writing here"), only_run_in(tmp_path):
        pass
    process.kill()
    process.wait()
    with only_run_in(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"process {os.getpid()}"


def test_weights_that_were_exchanged_between_two_parts_of_a_run_are_refused(tiny_bert, tmp_path, monkeypatch):
    data = two_classes(tmp_path / "mine.csv", (20, 20))
    arguments = [str(data), "--model", str(tiny_bert), "--max-length", "16", "--quiet", "--epochs", "1",
                 "--output", str(tmp_path / "run")]  # fmt: skip

    def killed(*anything):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("minibert.experiment.finetuned_row", killed)
        finetune.main(arguments)
    tensors = load_file(tiny_bert / "model.safetensors")
    tensors["bert.embeddings.LayerNorm.bias"] += 1e-3
    save_file(tensors, tiny_bert / "model.safetensors")
    with pytest.raises(UserError, match="the run began with other weights"):
        finetune.main([*arguments, "--resume"])


def test_only_our_own_leftovers_go_and_those_of_another_run_stay(tmp_path):
    inner = tmp_path / "other"
    inner.mkdir()
    ours, theirs, foreign = tmp_path / ".a.json.ab12cd_4.part", inner / ".a.json.ab12cd_4.part", tmp_path / ".x.part"
    for path in (ours, theirs, foreign, inner / ".lock"):
        path.write_text("")
    remove_leftovers(tmp_path)
    assert not ours.exists() and theirs.exists() and foreign.exists()
    (inner / ".lock").unlink()
    remove_leftovers(tmp_path)
    assert not theirs.exists()


def test_a_lock_whose_file_was_deleted_meanwhile_keeps_nobody_out_and_is_refused(tmp_path, monkeypatch):
    flock = lock_module.fcntl.flock

    def late(file, how):
        flock(file, how)
        (tmp_path / ".lock").unlink()  # what the run before does as it ends, between our opening and our locking

    monkeypatch.setattr(lock_module.fcntl, "flock", late)
    with pytest.raises(UserError, match="is writing here now"), only_run_in(tmp_path):
        pass


def test_a_run_on_a_cpu_leaves_the_gpu_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: pytest.fail("a GPU was touched"))
    model = torch.nn.Linear(2, 2)
    optimizer = AdamW(model.parameters(), lr=0.1)
    settings, scaler = TrainSettings(), torch.amp.GradScaler("cpu", enabled=False)
    save_state(tmp_path / "state", model, {}, optimizer, scaler, settings, Progress(), 1, torch.device("cpu"))
    assert (tmp_path / "state").is_file()
