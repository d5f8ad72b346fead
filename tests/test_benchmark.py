"""examples/benchmark/ runs, says what it skips and what was reached, and its variants compute the same."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from programs import load_program
from test_train import tiny_classifier, token_examples

from minibert.load import save_classifier

BENCHMARK = Path(__file__).parent.parent / "examples" / "benchmark"
OPTIONS = SimpleNamespace(
    device="cpu", precision="auto", resolved="bf16", rounds=1, classifier=None, texts=64, test_texts=64
)


@pytest.fixture(scope="module")
def module():
    """Loads a file of the benchmark, whose neighbours it may import, by its name."""
    sys.path.insert(0, str(BENCHMARK))
    yield lambda name: load_program(BENCHMARK / f"{name}.py")
    sys.path.remove(str(BENCHMARK))


@pytest.fixture(scope="module")
def benchmark(module):
    return module("__main__")


@pytest.fixture(scope="module")
def tables(module):
    return module("tables")


@pytest.fixture(scope="module")
def jobs(module):
    return module("jobs")


def installed(*libraries):
    return all(importlib.util.find_spec(library) for library in libraries)


def run(*arguments):
    command = [sys.executable, BENCHMARK, *arguments]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARK.parents[1])}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def rows_of(text):
    """{first cell: the others} of all tables in a report."""
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line[:1] == "|"]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_a_smoke_run_measures_minibert_and_skips_what_is_not_installed():
    done = run("--quick", "--precision", "fp32", "--only", "finetune-best", "inference", "imdb-fp32", "gpu")
    assert done.returncode == 0, done.stderr
    rows = rows_of(done.stdout)
    assert float(rows["finetune-best, tokens/s"][0]) > 0 and float(rows["inference, texts/s"][0]) > 0
    if installed("transformers", "accelerate"):
        assert rows["finetune-best, tokens/s"][2].endswith(" x")
        assert rows["finetune-best"][3] in ("reached", "not reached")
    else:
        assert "skipped the other side: transformers is not installed" in done.stdout
        assert rows["finetune-best, tokens/s"][1:3] == ["trainer: skipped", "skipped"]
    for library in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        if not installed(library):
            assert f"skipped the other side: {library} is not installed" in done.stdout
            break
    else:
        assert rows["imdb-fp32, texts/s"][1].startswith("openvino ")  # the last of both
    assert "% of the fp32 rate" in done.stdout and "of the bf16 rate" not in done.stdout
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
    values = {"model_type": "distilbert", "vocab_size": 9, "dim": 4, "n_layers": 2, "n_heads": 2, "hidden_dim": 8}
    (tmp_path / "model/config.json").write_text(json.dumps(values | {"max_position_embeddings": 16}))
    # Two layers of 4 * 4 * 4 + 2 * 4 * 8 = 128 weights: 6 operations for each weight and token; attention's two
    # products have 2 * 4 * n * n multiplications, 2 operations each, three times over for the backward pass.
    assert jobs.training_flops({"folder": tmp_path, "model": "model"}, [3, 5]) == 2 * (6 * 128 * 8 + 12 * 4 * (9 + 25))


def test_medians_and_ranges_are_shown(tables):
    results = [{"rate": rate} for rate in (3.0, 1.0, 2.0)]
    assert tables.show(results, "rate") == "2 (1 to 3)"


def test_a_share_is_one_of_the_rate_in_the_precision_that_was_used(tables):
    rate = {"fp32": 100.0, "bf16": 400.0, "int8": None}
    for precision, share in (("fp32", 0.8), ("bf16", 0.2), ("int8", None)):
        assert tables.share_of_rate([{"flops": 160.0, "seconds": 2.0, "precision": precision}], rate) == share


def test_the_summary_says_what_was_asked_and_whether_it_was_reached(tables):
    figures = [
        tables.at_least("a", "b", 1.25, 1.251), tables.at_least("c", "", 0.85, 0.84, "%"),
        tables.at_most("d", "", 90, 90.5, " s"),
    ]  # fmt: skip
    rows = rows_of("\n".join(tables.summary(figures)))
    assert rows["a"] == ["b", ">= 1.25 x", "1.25 x", "reached"]
    assert rows["c"] == ["", ">= 85%", "84%", "not reached"]
    assert rows["d"] == ["", "<= 90 s", "90.5 s", "not reached"]


def test_the_targets_are_those_of_the_precision(module):
    parts = module("parts").PARTS
    assert [parts["finetune-best"].asked(precision) for precision in ("bf16", "fp32")] == [1.8, 1.25]
    assert [parts["finetune-sms"].asked(precision) for precision in ("bf16", "fp32")] == [1.5, 1.5]


class FakeRunner:
    """Answers every job at once with the same figures, and remembers the jobs."""

    def __init__(self, **options):
        self.options = SimpleNamespace(**(vars(OPTIONS) | options))
        self.jobs, self.lines = [], []

    def __call__(self, job):
        self.jobs.append(job)
        fast = 2.0 if job.get("side") == "minibert" else 1.0
        return dict(rate=fast, seconds=1 / fast, flops=3.0, unit="tokens/s", precision="bf16", peak=1.0, texts=4,
                    training=2.0, test_texts=4, accuracy=0.9)  # fmt: skip

    def say(self, line):
        self.lines.append(line)


def test_each_peer_has_a_row_of_its_own_and_what_is_missing_says_so(benchmark, monkeypatch):
    present = {"onnx", "onnxscript", "onnxruntime"}
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: name in present or None)
    run = FakeRunner()
    rows, figures = benchmark.compare(run, "imdb-int8", {"bf16": 9.0}, {})
    assert [job["side"] for job in run.jobs] == ["minibert", "onnxruntime"]
    assert [row[2] for row in rows] == ["openvino: skipped", "onnxruntime 1", "onnxruntime 90.00%"]
    assert "  skipped the other side: openvino is not installed (pip install -e '.[deploy,reference]')" in run.lines
    assert [(figure.against, figure.asked, figure.measured, figure.reached) for figure in figures] == [
        ("onnxruntime", ">= 1.1 x", "2 x", True)
    ]


@pytest.mark.parametrize("rounded, reached", [(0.8971, True), (0.896, False)])
def test_int8_may_lose_three_tenths_of_a_point(benchmark, rounded, reached):
    seen = {"imdb-fp32": [{"accuracy": 0.9}], "imdb-int8": [{"accuracy": rounded}]}
    (figure,) = benchmark.accuracy_of_int8(seen)
    assert figure.reached == reached
    random_weights = {part: [{"rate": 1.0}] for part in seen}  # are right by chance, which would say "reached"
    assert benchmark.accuracy_of_int8(random_weights) == []


def test_the_gpus_table_has_a_row_for_every_way_to_train_and_the_whole_job(benchmark, monkeypatch):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: True)
    run = FakeRunner(device="cuda")
    lines, figures = benchmark.gpu(run, {"bf16": 9.0})
    rows = rows_of("\n".join(lines))
    assert {"eager", "compile", "graphs", "unpadded"} < set(rows)
    assert [job["work"] for job in run.jobs] == ["finetune"] * len(benchmark.GPU_ROWS) + ["whole"] * 2
    assert [figure.asked for figure in figures] == ["<= 20 s", ">= 40%"]


def test_a_variant_is_compiled_as_its_name_says(jobs, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **how: asked.append(how))
    classifier = tiny_classifier()
    for variant in (None, "eager", "compile", "graphs"):
        assert jobs.variant_of(classifier, {"variant": variant}) is classifier
    assert asked == [{"dynamic": True}, {"mode": "reduce-overhead", "dynamic": False}]
    assert isinstance(jobs.variant_of(classifier, {"variant": "unpadded"}), jobs.Unpadded)


def test_what_each_machine_multiplies_is_measured_in_every_precision(jobs, monkeypatch):
    monkeypatch.setattr(jobs, "SLOW", float("inf"))  # the small product says enough
    rates = jobs.minibert_matmul({"device": "cpu"})
    assert all(rates[name] is None or rates[name] > 0 for name in ("fp32", "bf16", "int8")) and rates["fp32"] > 0


@pytest.mark.parametrize("side, library", [("onnxruntime", "onnxruntime"), ("openvino", "openvino")])
def test_a_peer_gives_the_same_logits_from_the_exported_file(module, tmp_path, side, library):
    for needed in ("onnx", "onnxscript", library):
        pytest.importorskip(needed)
    peers, classifier = module("peers"), tiny_classifier().eval()
    save_classifier(classifier, tmp_path)
    peers.prepare(tmp_path, side, "fp32", token_examples())
    session = peers.Session(classifier, tmp_path, side, "fp32").eval()
    inputs = token_examples().inputs(range(9))
    with torch.no_grad():
        assert (session(*inputs) - classifier(*inputs)).abs().max() < 1e-4
