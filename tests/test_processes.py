"""Several processes do what one does: the same batches, losses and weights, and each text counts once.

Each test starts a job under torchrun, on CPUs (gloo). The tiny models have no dropout, so that the numbers can agree.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_finetune import two_classes
from test_train import CPU, tiny_classifier, token_examples

import minibert
from minibert import finetune
from minibert import predict as predict_command
from minibert.distill import __main__ as distill
from minibert.evaluate import predict
from minibert.plumbing import processes
from minibert.plumbing.files import UserError, read_json
from minibert.train import TrainSettings, train

ROOT = Path(minibert.__file__).parent.parent
SETTINGS = TrainSettings(epochs=2, batch_size=8, lr=1e-3, seed=3)
WEIGHTS = [0.4, 1.7]  # of the classes

# A key's bias moves all scores of a query alike: its gradient is 0, and what Adam makes of it is rounding.
NO_GRADIENT = (".key.bias", ".k_lin.bias")


@pytest.fixture(autouse=True)
def one_thread():
    """As many threads here as in each process of a job: another number rounds otherwise, and choices turn on that."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def torchrun(count, *arguments, environment=()):
    """A finished job: `torchrun --nproc-per-node COUNT ARGUMENTS`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", **dict(environment)}
    return subprocess.run([*command, *map(str, arguments)], cwd=ROOT, env=os.environ | settings, text=True,
                          capture_output=True, timeout=240)  # fmt: skip


def without_dropout(classifier):
    for part in classifier.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return classifier


def learn(settings, path=None, resume=False):
    """[losses of the log], the weights, and the logits of 21 other texts, of a training on 37 texts."""
    records, classifier = [], without_dropout(tiny_classifier())
    data = token_examples(37), token_examples(13, seed=1)
    train(classifier, *data, settings, CPU, WEIGHTS, log=records.append, quiet=True, checkpoint=path, resume=resume)
    named = classifier.named_parameters()
    weights = torch.cat([p.detach().flatten() for name, p in named if "key.bias" not in name])  # see `NO_GRADIENT`
    return [r["loss"] for r in records if "loss" in r], weights, predict(classifier, token_examples(21, seed=2), CPU)


def worker(folder):
    """What each process of `test_training_...` runs: every case of CASES, kept by the first one."""
    with processes.together(CPU):
        found = {}
        for name, settings in CASES.items():
            losses, weights, logits = learn(settings)
            found[name] = (losses, weights.tolist(), logits.tolist())
        shares = [processes.own_part(list(range(10)), np.arange(10) + 1) for _ in range(1)]
        found["told"] = processes.tell({"rank": processes.rank()})
        found["largest"] = processes.largest_of_all(processes.rank() + 5)
        (folder / f"share-{processes.rank()}.json").write_text(json.dumps(shares[0]))
        if processes.is_first():
            (folder / "found.json").write_text(json.dumps(found))


CASES = {
    "plain": SETTINGS,  # the last batch of an epoch has 5 texts
    "micro": replace(SETTINGS, micro_batch=2),
    "tiny batches": replace(SETTINGS, batch_size=2, epochs=1),  # the last batch has one text: not one for each process
    "fp16": replace(SETTINGS, precision="fp16", epochs=1),
}


@pytest.mark.parametrize("count", [2, 3])
def test_training_and_predicting_give_what_one_process_gives(tmp_path, count):
    done = torchrun(count, Path(__file__), tmp_path)
    assert done.returncode == 0, done.stderr[:4000]  # what torchrun itself says comes last
    found = read_json(tmp_path / "found.json")
    for name, settings in CASES.items():
        losses, weights, logits = learn(settings)
        limit = 2e-3 if name == "fp16" else 1e-5
        np.testing.assert_allclose(found[name][0], losses, atol=limit, rtol=0)
        np.testing.assert_allclose(found[name][1], weights, atol=limit, rtol=0)
        np.testing.assert_allclose(found[name][2], logits, atol=limit, rtol=0)
    assert found["told"] == {"rank": 0} and found["largest"] == 5 + count - 1
    shares = [json.loads((tmp_path / f"share-{i}.json").read_text()) for i in range(count)]
    assert sorted(sum(shares, [])) == list(range(10))
    tokens = [sum(index + 1 for index in share) for share in shares]
    assert max(tokens) - min(tokens) <= 2


def run_arguments(data, model, output, *more):
    return [str(part) for part in (data, "--model", model, "--output", output, "--max-length", "16", "--epochs", "2",
                                   "--precision", "fp32", "--quiet", *more)]  # fmt: skip


@pytest.fixture
def still_bert(tiny_bert):
    """The tiny BERT, which has no dropout, with a head that has none either."""
    config = read_json(tiny_bert / "config.json") | {"classifier_dropout": 0.0}
    (tiny_bert / "config.json").write_text(json.dumps(config))
    return tiny_bert


def difference(one, two):
    """The largest between two classifiers' weights."""
    one, two = (load_file(folder / "model.safetensors") for folder in (one, two))
    assert one.keys() == two.keys()
    return max((one[name] - two[name]).abs().max().item() for name in one if not name.endswith(NO_GRADIENT))


def test_a_whole_run_leaves_the_same_files_and_talks_once(still_bert, tmp_path):
    data = two_classes(tmp_path / "mine.csv", (30, 21))
    finetune.main(run_arguments(data, still_bert, tmp_path / "one"))
    done = torchrun(2, "-m", "minibert.finetune", *run_arguments(data, still_bert, tmp_path / "two"),
                    environment={"MINIBERT_CACHE": str(tmp_path / "cache")})  # fmt: skip
    assert done.returncode == 0, done.stderr[:4000]  # what torchrun itself says comes last
    assert done.stdout.count("saved in ") == 1 and done.stdout.count("majority ") == 1
    names = [{str(path.relative_to(run)) for path in run.rglob("*")} for run in (tmp_path / "one", tmp_path / "two")]
    assert names[0] == names[1]
    for part in ("frozen", "finetuned"):
        assert difference(tmp_path / "one" / part, tmp_path / "two" / part) <= 1e-5
    rows = [read_json(tmp_path / run / "metrics.json")["rows"] for run in ("one", "two")]
    for name in rows[0]:
        assert rows[0][name]["confusion"] == rows[1][name]["confusion"]
    assert read_json(tmp_path / "two" / "settings.json")["machine"]["processes"] == 2


def test_a_stopped_run_goes_on_with_another_number_of_processes(still_bert, tmp_path):
    data = two_classes(tmp_path / "mine.csv", (30, 21))
    more = ["--mode", "finetune", "--batch-size", "4"]
    finetune.main(run_arguments(data, still_bert, tmp_path / "unbroken", *more))
    stopper = tmp_path / "stopper.py"
    stopper.write_text(
        "import os, runpy, signal, sys\nfrom minibert import train\ndo = train.update\n"
        "def signalled(run, batch):\n    do(run, batch)\n"
        "    if run.progress.update == 9 and os.environ['RANK'] == '0':\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "train.update = signalled\nrunpy.run_module('minibert.finetune', run_name='__main__')\n"
    )
    arguments = run_arguments(data, still_bert, tmp_path / "run", *more)
    done = torchrun(2, stopper, *arguments)
    assert done.returncode != 0
    assert "stopped: the state after update 9 is saved; the same command with --resume goes on" in done.stderr
    done = torchrun(3, "-m", "minibert.finetune", *arguments, "--resume")
    assert done.returncode == 0, done.stderr[:4000]  # what torchrun itself says comes last
    assert difference(tmp_path / "unbroken" / "finetuned", tmp_path / "run" / "finetuned") <= 1e-5


@pytest.mark.parametrize("losses", ["hidden,relations", "logits"])
def test_a_distillation_gives_the_student_that_one_process_gives(still_bert, tmp_path, losses):
    lines = [f"the film number {i} was {'un' * (i % 3)}affable" for i in range(41)]
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    common = [still_bert, tmp_path / "text.txt", "--layers", 1, "--epochs", 2, "--batch-size", 8, "--precision", "fp32",
              "--full-precision", "--losses", losses, "--quiet"]  # fmt: skip
    common = [str(part) for part in common]
    distill.main([*common, "--output", str(tmp_path / "one")])
    done = torchrun(3, "-m", "minibert.distill", *common, "--output", tmp_path / "three")
    assert done.returncode == 0, done.stderr[:4000]  # what torchrun itself says comes last
    assert difference(tmp_path / "one", tmp_path / "three") <= 1e-5
    logs = [[json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
            for run in ("one", "three")]  # fmt: skip
    for one, three in zip(*logs, strict=True):
        assert one.keys() == three.keys()
        assert all(one[key] == pytest.approx(three[key], abs=1e-5) for key in one if key != "seconds")


@pytest.mark.parametrize("how", ["raise UserError('a bad disk')", "os._exit(3)"])
def test_one_failing_process_ends_all_within_seconds(still_bert, tmp_path, how):
    data = two_classes(tmp_path / "mine.csv", (30, 21))
    breaker = tmp_path / "breaker.py"
    breaker.write_text(
        "import os, runpy\nfrom minibert import train\nfrom minibert.plumbing.files import UserError\n"
        "do = train.update\n"
        f"def failing(run, batch):\n    if os.environ['RANK'] == '1': {how}\n    do(run, batch)\n"
        "train.update = failing\nrunpy.run_module('minibert.finetune', run_name='__main__')\n"
    )
    started = time.monotonic()
    done = torchrun(2, breaker, *run_arguments(data, still_bert, tmp_path / "run", "--mode", "finetune"))
    assert done.returncode != 0 and time.monotonic() - started < 60
    if "UserError" in how:
        assert "error: a bad disk" in done.stderr
    assert "minibert/train.py" not in done.stderr  # no traceback of ours


def test_a_command_that_is_one_process_says_so(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="predict runs in one process; start it without torchrun"):
        processes.refuse("predict")
    with pytest.raises(UserError, match="predict runs in one process; start it without torchrun"):
        predict_command.main(["runs/nothing", "a text"])


if __name__ == "__main__":
    worker(Path(sys.argv[1]))


def test_more_processes_than_gpus_are_told_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="no GPU, for there are 2; .*--nproc"):
        processes.own_gpu()


@pytest.mark.parametrize(("size", "why"), [("2", "RANK is not: .*torchrun"), ("two", "no number"), ("0", "no number")])
def test_a_world_size_that_torchrun_has_not_set_is_told(size, why, monkeypatch):
    for name in processes.SET_BY_TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(UserError, match=why), processes.together(torch.device("cpu")):
        pass


def test_an_empty_world_size_is_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "")
    assert processes.asked_for() == 1
