"""The training loop: what it computes, what it survives, and what it refuses."""

import json
import math
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from minibert import train as train_module
from minibert.batch import Examples, Sequence, bucketed_batches, padded_length, padding_fraction, sorted_batches
from minibert.config import EncoderConfig
from minibert.evaluate import predict
from minibert.fast import accelerate, touched_rows
from minibert.fast.dropout import Dropout
from minibert.frozen import Features
from minibert.head import Classifier
from minibert.metrics import softmax
from minibert.model import Encoder, initialize
from minibert.plumbing.device import resolve_device, resolve_precision, to_device
from minibert.plumbing.files import UserError
from minibert.plumbing.resume import Log, read_progress
from minibert.train import TrainSettings, train

CPU = torch.device("cpu")
TINY = EncoderConfig("distilbert", 50, 16, 2, 2, 24, 12, type_vocab_size=0)


def tiny_classifier(seed=0):
    torch.manual_seed(seed)
    classifier = Classifier(accelerate(Encoder(TINY)), ["no", "yes"], "cls", "mlp")
    initialize(classifier, 0.2)
    return classifier


def token_examples(count=37, seed=0):
    """Texts of 3 to 12 tokens whose label is whether the second token is even."""
    random = np.random.default_rng(seed)
    sequences = [random.integers(5, 50, random.integers(3, 13)).astype(np.int32) for _ in range(count)]
    return Examples([Sequence(ids, len(ids)) for ids in sequences], [int(ids[1] % 2) for ids in sequences])


def cloud(count=200, seed=0):
    """Two overlapping clouds of points in four dimensions."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    points = random.normal(size=(count, 4)) + labels[:, None]
    return Features(torch.tensor(points, dtype=torch.float32), labels)


def line():
    torch.manual_seed(0)
    return nn.Linear(4, 2)


# Batches


def test_every_text_is_in_exactly_one_batch_of_an_epoch():
    lengths = np.random.default_rng(0).integers(3, 100, 2311)
    batches = bucketed_batches(lengths, 16, seed=1, epoch=2)
    assert sorted(i for batch in batches for i in batch) == list(range(2311))
    assert len(batches) == math.ceil(2311 / 16)


def test_epochs_and_seeds_differ_and_the_same_pair_repeats():
    lengths = np.arange(100)
    first = bucketed_batches(lengths, 8, 0, 0)
    assert first == bucketed_batches(lengths, 8, 0, 0)
    assert first != bucketed_batches(lengths, 8, 0, 1) and first != bucketed_batches(lengths, 8, 1, 0)


def test_bucketing_pads_a_fraction_of_what_random_batches_pad():
    lengths = np.random.default_rng(0).integers(10, 257, 4000)
    order = np.random.default_rng(1).permutation(4000)
    random_batches = [order[i : i + 16].tolist() for i in range(0, 4000, 16)]
    assert padding_fraction(lengths, random_batches) > 0.4
    batches = bucketed_batches(lengths, 16, 0, 0)
    to_the_longest = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert 1 - lengths.sum() / to_the_longest < 0.05
    assert padding_fraction(lengths, batches) < 0.05 + 7.5 / lengths.mean()  # rounding up adds 7.5 tokens on average


def test_padding_fraction_by_hand():
    assert padding_fraction([4, 2], [[0, 1]]) == 0.25  # 8 positions, 6 tokens
    assert padding_fraction([3, 8, 100], [[0], [1]]) == 1 - 11 / 12


@pytest.mark.parametrize("longest, length", [(1, 2), (8, 8), (9, 10), (63, 64), (65, 80), (256, 256), (289, 300)])
def test_batches_are_padded_to_few_lengths_and_never_beyond_the_longest_text(longest, length):
    assert padded_length(longest, limit=300) == length
    examples = Examples([Sequence(list(range(n)), n) for n in (longest, 1, 300)], [0, 0, 0])
    assert [part.shape for part in examples.inputs([1, 0])] == [(2, length)] * 3
    assert examples.inputs([0, 2]).input_ids.shape == (2, 300)


def test_evaluation_starts_with_the_longest_and_fills_a_budget_of_tokens():
    assert sorted_batches([24, 72, 40, 16], 80) == [[1], [2, 0], [3]]
    assert sorted_batches([20, 72, 37, 9], 80) == [[1], [2, 0], [3]]  # 72, 40 and 16 tokens a row
    assert sorted_batches([24, 72, 40, 16], 9) == [[1], [2], [0], [3]]  # longer than the budget: alone
    assert sorted_batches([1] * 5, 3) == [[0, 1, 2], [3, 4]]  # none is padded beyond the longest of all


def test_every_text_is_evaluated_once_whatever_the_budget():
    lengths = np.random.default_rng(0).integers(1, 300, 500)
    for tokens in (1, 256, 8192):
        batches = sorted_batches(lengths, tokens)
        assert sorted(i for batch in batches for i in batch) == list(range(500))
        assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= tokens for batch in batches)


# What one update computes


@pytest.mark.parametrize("micro_batch", [1, 3, 4, 16])
def test_micro_batches_give_the_full_batch_update_short_last_window_included(micro_batch):
    # 37 texts in windows of 16: 16, 16 and 5; parts of 3 and 4 leave short ends inside windows, too.
    results = []
    for size in (0, micro_batch):
        classifier = tiny_classifier()
        for module in classifier.modules():
            if isinstance(module, Dropout) or hasattr(module, "p"):
                module.p = 0.0
        settings = TrainSettings(epochs=2, batch_size=16, micro_batch=size, lr=1e-2)
        weights = [0.3, 2.0]
        train(classifier.double(), token_examples(), token_examples(9), settings, CPU, weights, quiet=True)
        results.append(torch.cat([p.detach().flatten() for p in classifier.parameters()]))
    assert (results[0] - results[1]).abs().max() < 1e-6  # the loss itself is computed in fp32


@pytest.mark.parametrize("sparse", [True, False])
def test_micro_batches_gather_the_rows_of_the_embeddings_that_they_touch(monkeypatch, sparse):
    seen, whole = [], train_module.make_dense

    def make_dense(parameters):
        seen.append(sum(p.grad.is_sparse for p in parameters))
        whole(parameters)
        assert not any(p.grad.is_sparse for p in parameters)
        if len(seen) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_module, "make_dense", make_dense)
    classifier = tiny_classifier()
    settings = TrainSettings(epochs=1, batch_size=8, micro_batch=4)
    with pytest.raises(KeyboardInterrupt), touched_rows(classifier, sparse):
        train(classifier, token_examples(21), token_examples(9), settings, CPU, quiet=True)
    embeddings = [part for part in classifier.modules() if isinstance(part, nn.Embedding)]
    assert seen == [len(embeddings) * sparse] * 2
    assert not any(part.sparse for part in embeddings)  # another optimizer could not use such gradients


def test_class_weights_move_the_decision_towards_the_heavy_class():
    settings = TrainSettings(epochs=20, lr=0.05)
    shares = []
    for weights in (None, [0.05, 1.0]):
        model = line()
        train(model, cloud(), cloud(seed=1), settings, CPU, weights, quiet=True)
        shares.append(predict(model, cloud(seed=1), CPU).argmax(1).mean())
    assert shares[1] > shares[0] + 0.1


def test_the_kept_weights_are_those_of_the_best_epoch():
    model, seen = line(), []
    validation = cloud(40, seed=2)

    def log(record):
        if "validation_loss" in record:
            seen.append((record["validation_accuracy"], predict(model, validation, CPU)))

    progress = train(model, cloud(), validation, TrainSettings(epochs=8, lr=0.5), CPU, log=log, quiet=True)
    accuracies = [accuracy for accuracy, _ in seen]
    assert progress.best_accuracy == max(accuracies) and min(accuracies) < max(accuracies)
    np.testing.assert_array_equal(predict(model, validation, CPU), seen[progress.best_epoch][1])


def test_early_stopping_waits_for_patience_epochs_without_gain(monkeypatch):
    accuracies = iter([0.5, 0.7, 0.6, 0.6, 0.6, 0.9])
    monkeypatch.setattr(train_module.metrics, "accuracy", lambda labels, predictions: next(accuracies))
    settings = TrainSettings(epochs=50, patience=3)
    progress = train(line(), cloud(), cloud(30, seed=3), settings, CPU, quiet=True)
    assert (progress.best_epoch, progress.best_accuracy) == (1, 0.7)
    assert next(accuracies) == 0.9  # epochs 3, 4 and 5 brought nothing; the sixth never ran


def test_predictions_come_back_in_the_order_of_the_texts(monkeypatch):
    monkeypatch.setattr("minibert.evaluate.EVALUATION_TOKENS", {"cpu": 30})  # several batches
    classifier, examples = tiny_classifier().eval(), token_examples(21)
    together = predict(classifier, examples, CPU)
    for i in (0, 7, 20):
        alone = classifier(*examples.inputs([i])).detach().numpy()[0]
        np.testing.assert_allclose(together[i], alone, atol=1e-5)


def test_predictions_in_bf16_cast_each_weight_once(monkeypatch):
    monkeypatch.setattr("minibert.evaluate.EVALUATION_TOKENS", {"cpu": 30})  # several batches
    classifier, cast_biases = tiny_classifier(), []

    class Casts(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten._to_copy.default and args[0].ndim == 1:
                cast_biases.append(args[0].shape)
            return function(*args, **(kwargs or {}))

    with Casts():
        predict(classifier, token_examples(21), CPU, "bf16")
    assert len(cast_biases) == sum(isinstance(part, nn.Linear) for part in classifier.modules())


# Memory and devices


def run_code(code):
    """What a fresh Python prints for `code`: a process keeps its allocator's settings, and its limits, to its end."""
    environment = os.environ | {"PYTHONPATH": str(Path(train_module.__file__).parent.parent)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


ALLOCATE = """
import torch
from pathlib import Path
from minibert.plumbing.memory import keep_freed_memory
{}

def resident():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) // 1024

before = resident()
block = torch.ones(2**24)  # 64 MiB
del block
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
@pytest.mark.parametrize("call, low, high", [("keep_freed_memory()", 60, 80), ("", -10, 10)])
def test_freed_memory_is_kept_when_asked_for(call, low, high):
    assert low <= int(run_code(ALLOCATE.format(call))) <= high


HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
@pytest.mark.skipif(not HUGE_PAGES.is_file() or "[never]" in HUGE_PAGES.read_text(), reason="no large pages here")
def test_kept_memory_is_advised_to_lie_in_large_pages():
    code = """
import re, torch
from pathlib import Path
from minibert.plumbing.memory import keep_freed_memory
keep_freed_memory()
address = torch.ones(2**24).data_ptr()
for part in re.split(r"(?m)^(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text())[1:]:
    first, last = (int(end, 16) for end in part.split()[0].split("-"))
    if first <= address < last:
        print(part.split("VmFlags:")[1])
"""
    assert "hg" in run_code(code).split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
def test_a_system_that_has_no_such_large_block_to_give_is_left_as_it_is():
    code = """
import os, resource, torch
from minibert.plumbing.memory import keep_freed_memory
limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
keep_freed_memory()
print(int(torch.ones(2**24).sum()))
"""
    assert int(run_code(code)) == 2**24


def test_on_a_cpu_tensors_stay_what_they_are():
    tensors = [torch.ones(2), torch.zeros(3)]
    assert all(a is b for a, b in zip(to_device(tensors, CPU), tensors, strict=True))


@pytest.mark.gpu
def test_a_gpu_gets_the_tensors():
    moved = to_device([torch.arange(5)], torch.device("cuda"))
    assert moved[0].is_cuda and moved[0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_a_compiled_classifier_predicts_the_same_under_the_same_names():
    torch.manual_seed(0)
    encoder, examples = Encoder(replace(TINY, num_hidden_layers=1)), token_examples(9)
    classifier = Classifier(encoder, ["no", "yes"], "cls", "mlp")
    eager, names = predict(classifier, examples, CPU), list(classifier.state_dict())
    classifier.compile(dynamic=True)
    np.testing.assert_allclose(predict(classifier, examples, CPU), eager, atol=1e-5)
    assert list(classifier.state_dict()) == names
    train(classifier, examples, examples, TrainSettings(epochs=1), CPU, quiet=True)
    assert np.abs(predict(classifier, examples, CPU) - eager).max() > 1e-6


# Precision


def test_bf16_and_fp16_with_loss_scaling_learn_as_fp32_does():
    losses = {}
    for precision in ("fp32", "bf16", "fp16"):
        losses[precision] = []
        log = losses[precision].append
        settings = TrainSettings(epochs=3, batch_size=8, lr=1e-3, precision=precision)
        train(tiny_classifier(), token_examples(64), token_examples(20, 1), settings, CPU, log=log, quiet=True)
    final = {name: records[-1]["validation_loss"] for name, records in losses.items()}
    assert final["bf16"] != final["fp32"] and final["fp16"] != final["fp32"]  # the setting reached the forward pass
    assert abs(final["bf16"] - final["fp32"]) < 0.05 and abs(final["fp16"] - final["fp32"]) < 0.05


def test_auto_precision_on_a_cpu_is_bf16_only_with_bf16_instructions(monkeypatch):
    for supported, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda s=supported: s, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda s=supported: s, raising=False)
        assert resolve_precision("auto", CPU)[0] == expected
    assert resolve_precision("fp16", CPU)[0] == "fp16"


def test_asking_for_cuda_where_there_is_none_is_one_clear_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="--device cpu"):
        resolve_device("cuda")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(bad):
    examples = cloud()
    examples.vectors[123] = bad
    update = next(i for i, batch in enumerate(bucketed_batches(examples.lengths, 16, 0, 0), 1) if 123 in batch)
    with pytest.raises(UserError, match=f"epoch 1, update {update};"):
        train(line(), examples, cloud(), TrainSettings(epochs=1), CPU, quiet=True)


def test_softmax_survives_large_logits():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0], [-2000.0, 0.0]])), [[0.5, 0.5], [0.0, 1.0]])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_hundred_epochs_leave_no_memory_and_no_open_files_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    seen = []

    def look(record):
        if "seconds" in record:
            resident = int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1024
            seen.append((resident, len(os.listdir("/proc/self/fd"))))

    settings = TrainSettings(epochs=200, batch_size=16)
    train(tiny_classifier(), token_examples(32), token_examples(8), settings, CPU, log=look, quiet=True,
          checkpoint=tmp_path / "a.safetensors")  # fmt: skip
    assert len(seen) == 200
    assert seen[-1][0] - seen[50][0] < 8  # MB
    assert seen[-1][1] == seen[50][1]


# Checkpoint and resume


class Killed(BaseException):
    pass


@pytest.mark.parametrize("kill_at", [20, 25, 30, 45])  # within the first epoch, at its end, in the second, the last
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_killed_run_resumes_to_bit_identical_weights(tmp_path, monkeypatch, kill_at, precision):
    monkeypatch.setattr(train_module, "CHECKPOINT_EVERY", 0)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # 50 states: the disk need not keep them
    settings = TrainSettings(epochs=2, batch_size=8, micro_batch=5, lr=1e-3, precision=precision, seed=3)
    data = token_examples(200), token_examples(40, 1)
    unbroken = tiny_classifier()
    expected = train(unbroken, *data, settings, CPU, checkpoint=tmp_path / "a.safetensors", quiet=True)

    def kill(record):
        if record["update"] >= kill_at:
            raise Killed

    with pytest.raises(Killed):
        train(tiny_classifier(), *data, settings, CPU, checkpoint=tmp_path / "b.safetensors", log=kill, quiet=True)
    assert 0 < read_progress(tmp_path / "b.safetensors").update < 50
    torch.rand(7)  # whatever else drew random numbers meanwhile
    resumed = tiny_classifier(seed=9)  # its own first weights must not matter
    progress = train(resumed, *data, settings, CPU, checkpoint=tmp_path / "b.safetensors", resume=True, quiet=True)
    assert progress.best_epoch == expected.best_epoch and progress.best_loss == expected.best_loss
    for (name, mine), theirs in zip(resumed.named_parameters(), unbroken.parameters(), strict=True):
        assert torch.equal(mine, theirs), name


def test_a_checkpoint_of_another_run_is_refused_and_names_the_setting(tmp_path):
    path = tmp_path / "c.safetensors"
    train(line(), cloud(), cloud(), TrainSettings(epochs=1, lr=1e-3), CPU, checkpoint=path, quiet=True)
    with pytest.raises(UserError, match="lr = 0.001, not 0.002"):
        train(line(), cloud(), cloud(), TrainSettings(epochs=1, lr=2e-3), CPU, checkpoint=path, resume=True, quiet=True)
    with pytest.raises(UserError, match="number of training texts = 200, not 100"):
        train(line(), cloud(100), cloud(), TrainSettings(epochs=1, lr=1e-3), CPU, checkpoint=path, resume=True)


def test_a_log_drops_half_a_line_and_what_will_be_written_again(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"epoch": 1, "update": 10}\n{"epoch": 1, "update": 20}\n{"epoch": 1, "upda')
    log = Log(path, keep=lambda record: record["update"] <= 10)
    log({"epoch": 1, "update": 11})
    updates = [json.loads(text)["update"] for text in path.read_text().splitlines()]
    assert updates == [10, 11]


@pytest.mark.gpu
def test_training_on_a_gpu_in_bf16_learns():
    device = torch.device("cuda")
    settings = TrainSettings(epochs=20, batch_size=16, lr=3e-3, precision="bf16")
    progress = train(tiny_classifier(), token_examples(300), token_examples(60), settings, device, quiet=True)
    assert progress.best_accuracy > 0.6
