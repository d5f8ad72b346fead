"""examples/benchmark/ runs, says what it skips, and its unpadded variant computes the same."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_train import tiny_classifier, token_examples

BENCHMARK = Path(__file__).parent.parent / "examples" / "benchmark"


def module(name):
    spec = importlib.util.spec_from_file_location(f"benchmark.{name}", BENCHMARK / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def benchmark():
    return module("__main__")


@pytest.fixture(scope="module")
def jobs():
    return module("jobs")


def run(*arguments):
    command = [sys.executable, BENCHMARK, *arguments]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARK.parents[1])}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_a_smoke_run_measures_minibert_and_skips_what_is_not_installed():
    done = run("--quick", "--only", "finetune-best", "inference", "gpu")
    assert done.returncode == 0, done.stderr
    rows = {line.split("|")[1].strip(): line.split("|")[2:5] for line in done.stdout.splitlines() if line[:1] == "|"}
    assert float(rows["finetune-best, tokens/s"][0]) > 0 and float(rows["inference, texts/s"][0]) > 0
    if importlib.util.find_spec("transformers") and importlib.util.find_spec("accelerate"):
        assert rows["finetune-best, tokens/s"][2].strip().endswith(" x")
    else:
        assert "skipped the other side:" in done.stdout and "is not installed" in done.stdout
        assert rows["finetune-best, tokens/s"][2].strip() == "skipped"
    assert "gpu: skipped, --device is cpu" in done.stdout


def test_a_wrong_path_is_one_clear_line():
    done = run("--quick", "--only", "inference", "--data", "nowhere.tar.gz")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "nowhere.tar.gz" in done.stderr and done.stderr.count("\n") == 1


def test_the_unpadded_variant_gives_the_same_logits(jobs):
    classifier = tiny_classifier().eval()
    inputs = token_examples().inputs(range(9))
    assert inputs.attention_mask.min() == 0
    with torch.no_grad():
        difference = jobs.Unpadded(classifier)(*inputs) - classifier(*inputs)
    assert difference.abs().max() < 1e-5


def test_the_work_of_a_training_step_by_hand(jobs, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text('{"dim": 4, "n_layers": 2, "hidden_dim": 8}')
    # Two layers of 4 * 4 * 4 + 2 * 4 * 8 = 128 weights: 6 operations for each weight and token; attention's two
    # products have 2 * 4 * n * n multiplications, 2 operations each, three times over for the backward pass.
    assert jobs.training_flops({"folder": tmp_path}, [3, 5]) == 2 * (6 * 128 * 8 + 12 * 4 * (9 + 25))


def test_medians_and_ranges_are_shown(benchmark):
    results = [{"rate": rate} for rate in (3.0, 1.0, 2.0)]
    assert benchmark.show(results, "rate") == "2 (1 to 3)"
