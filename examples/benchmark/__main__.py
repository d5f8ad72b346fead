"""minibert beside transformers on the same work: `python examples/benchmark --data aclImdb_v1.tar.gz`.

Every measurement runs in a process of its own, warm-up first and outside the clock, and the two sides take turns
(A B A B ...), so that a machine that slows down slows both. What is printed is the median and the range, and the
ratio of the medians. Both sides get the same weights (DistilBERT's shape, random numbers: speed does not depend on
them), batch size, dropout and optimizer settings, texts drawn from the same set, and the same precision where PARTS
does not say otherwise; what each job does exactly stands in `jobs.py`. What is minibert's own, such as sorted
texts and kept memory, is on. A part whose library or data is missing is skipped, and the report says why. The other
side comes with `pip install 'minibert[reference]'`.

On a GPU, `--device cuda` adds the whole IMDb job, and training eager, compiled and unpadded.
"""

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch
from tqdm import tqdm

from minibert.config import EncoderConfig
from minibert.data import load_task
from minibert.head import Classifier
from minibert.load import load_tokenizer, save_classifier
from minibert.model import Encoder, initialize
from minibert.plumbing.checkpoint import find_checkpoint
from minibert.plumbing.command import Parser, number, run_command
from minibert.plumbing.device import resolve_device
from minibert.plumbing.files import UserError, write_json

SHAPES = {
    "distilbert": dict(
        vocab_size=30522, hidden_size=768, num_hidden_layers=6, num_attention_heads=12, intermediate_size=3072
    ),
    "tiny": dict(vocab_size=30522, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128),
}

# part: (what, the measurement that is minibert's, the other side's, at least this ratio)
PARTS = {
    "finetune-default": (
        "fine-tuning, IMDb <= 256 tokens, batch 16, against the Trainer as tutorials run it (fp32, padded to 256)",
        dict(side="minibert", work="finetune"),
        dict(side="trainer", work="finetune", precision="fp32", padded=True),
        5.0,
    ),
    "finetune-best": (
        "the same, against the Trainer at its best (bf16, grouped by length)",
        dict(side="minibert", work="finetune"),
        dict(side="trainer", work="finetune"),
        1.5,
    ),
    "finetune-micro": (
        "fine-tuning, IMDb <= 256 tokens, the same updates with 8 texts in memory at a time (--micro-batch 8)",
        dict(side="minibert", work="finetune", micro_batch=8),
        dict(side="trainer", work="finetune"),
        1.5,
    ),
    "finetune-512": (
        "fine-tuning, IMDb <= 512 tokens, batch 16, against the Trainer at its best",
        dict(side="minibert", work="finetune", max_length=512),
        dict(side="trainer", work="finetune", max_length=512),
        1.5,
    ),
    "finetune-sms": (
        "fine-tuning, SMS spam, batch 16, against the Trainer at its best",
        dict(side="minibert", work="finetune", task="sms-spam", more=3),
        dict(side="trainer", work="finetune", task="sms-spam", more=3),
        1.5,
    ),
    "frozen": (
        "the whole frozen experiment, against 3 epochs of the Trainer (at its best) with a frozen body",
        dict(side="minibert", work="frozen"),
        dict(side="trainer", work="frozen"),
        10.0,
    ),
    "inference": (
        "inference from text to label, IMDb <= 256 tokens, against the pipeline, batch 32",
        dict(side="minibert", work="inference"),
        dict(side="pipeline", work="inference"),
        1.5,
    ),
    "inference-compiled": (
        "the same with torch.compile on minibert's side, compiling not counted",
        dict(side="minibert", work="inference", variant="compile"),
        dict(side="pipeline", work="inference"),
        1.5,
    ),
}
MEMORY_PARTS = ("finetune-best", "finetune-micro")  # whose peak memory has a figure to reach
EXTRA_PARTS = ("start-up", "shapes", "gpu")


def main():
    options = parse()
    resolve_device(options.device)  # one clear line if it is not there
    print_setting(options)
    wanted = options.only or [*PARTS, *EXTRA_PARTS]
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    try:
        prepare(folder, options)
        run = Runner(folder, options, wanted)
        rate = run(dict(work="matmul"))
        run.say(f"matrix product of 4096 x 4096: bf16 {giga(rate['bf16'])} GFLOP/s, fp32 {giga(rate['fp32'])} GFLOP/s")
        rows = []
        for part in wanted:
            if part in PARTS:
                rows += compare(run, part, rate)
        if "start-up" in wanted:
            rows += start_up(run)
        if "shapes" in wanted:
            rows += shapes(run)
        print_table(rows)  # before the GPU's part, which may still fail
        if "gpu" in wanted:
            print(*gpu(run, rate), sep="\n")
        run.bar.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Runner:
    """Runs jobs, each in a fresh process of `jobs.py`, under one progress bar."""

    def __init__(self, folder, options, wanted):
        self.options = options
        self.common = {"folder": str(folder), "device": options.device, "batch_size": 16, "max_length": 256}
        self.common |= {"task": "imdb", "precision": "auto", "texts": options.texts, "test_texts": options.test_texts}
        jobs = 1 + 2 * options.rounds * sum(part in PARTS for part in wanted)
        jobs += 4 * options.rounds * ("shapes" in wanted)
        jobs += (3 * options.rounds + 1) * ("gpu" in wanted and options.device == "cuda")
        self.bar = tqdm(total=jobs, unit=" runs", disable=None)

    def __call__(self, job):
        program = Path(__file__).with_name("jobs.py")
        command = [sys.executable, program, json.dumps({"side": "minibert", **self.common, **job})]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
            raise UserError(f"{job} failed with exit code {done.returncode}: {reason}")
        self.bar.update()
        return json.loads(done.stdout.splitlines()[-1])

    def say(self, text):
        tqdm.write(text)
        sys.stdout.flush()


def environment():
    """minibert from this checkout, nothing from the network, no chatter, one GPU for each side."""
    root = str(Path(__file__).resolve().parents[2])
    quiet = {"PYTHONPATH": root, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    return {"CUDA_VISIBLE_DEVICES": "0", **os.environ, **quiet}


def compare(run, part, rate):
    """The two sides of one part in turn: rows of the table."""
    what, ours, theirs, target = PARTS[part]
    asked = f">= {target:g} x"
    run.say(f"\n{part}: {what}")
    missing = why_not(ours, run.options)
    if missing:
        run.say(f"  skipped: {missing}")
        return [(part, "skipped", "", "", asked)]
    missing = why_not(theirs, run.options)
    jobs = [ours] if missing else [ours, theirs]
    results = [[] for _ in jobs]
    for turn in range(run.options.rounds):
        for job, seen in zip(jobs, results, strict=True):
            seen.append(run(job))
            run.say(f"  {turn + 1} {job['side']:9} {describe(seen[-1], rate)}")
    title = f"{part}, {results[0][0]['unit']}"
    if missing:
        run.say(f"  skipped the other side: {missing}")
        return [(title, show(results[0], "rate"), "", "skipped", asked)]
    rows = [(title, *side_by_side(results, "rate"), asked)]
    rows.append(
        (f"{part}: peak memory, GB", *side_by_side(results, "peak"), "<= 0.8 x" if part in MEMORY_PARTS else "")
    )
    if part == "finetune-best":
        shares = [f"{middle(seen, 'flops') / middle(seen, 'seconds') / rate['bf16']:.0%}" for seen in results]
        rows.append((f"{part}: share of the matrix-product rate", *shares, "", ">= 45%"))
    return rows


def start_up(run):
    """Wall time of fresh interpreters: an import, and the first prediction."""
    model = str(Path(run.common["folder"]) / "model")
    programs = {
        "torch": "import torch",
        "minibert": "import torch, minibert",
        "first, minibert": f"import minibert; minibert.load_classifier({model!r}).predict(['a fine film'])",
    }
    if importlib.util.find_spec("transformers"):
        programs["first, pipeline"] = (
            f"from transformers import pipeline; pipeline('text-classification', {model!r})(['a fine film'])"
        )
    results = {name: [] for name in programs}
    for turn in range(run.options.rounds + 1):
        for name, program in programs.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=environment())
            if turn:  # the first turn brings the files into the system's cache
                results[name].append({"seconds": time.perf_counter() - started})
    added = middle(results["minibert"], "seconds") - middle(results["torch"], "seconds")
    rows = [("import minibert beyond import torch, s", f"{added:.2f}", "", "", "<= 0.3")]
    if "first, pipeline" in results:
        sides = results["first, minibert"], results["first, pipeline"]
        rows.append(("start to first prediction, s", *side_by_side(sides, "seconds"), ""))
    return rows


def shapes(run):
    """What a token costs in training; it should hardly depend on the shape of the batch."""
    rows = []
    for title, *two in (
        ("us per token: 16 x 512 and 64 x 128", (16, 512), (64, 128)),
        ("us per token: 8 x 128 and 64 x 128", (8, 128), (64, 128)),
    ):
        results = [[], []]
        for _ in range(run.options.rounds):
            for shape, seen in zip(two, results, strict=True):
                seen.append({"cost": 1e6 / run(dict(work="shape", shape=shape))["rate"]})
        rows.append((title, *side_by_side(results, "cost"), "<= 1.5 x"))
    return rows


def gpu(run, rate):
    """The whole IMDb job and the table of eager, compiled and unpadded training: lines to print."""
    if run.options.device != "cuda":
        return ["\ngpu: skipped, --device is cpu"]
    lines = [f"\ntraining, IMDb <= 256 tokens, batch 32\n{'':10}{'tokens/s':>12}{'of bf16 rate':>14}{'peak GB':>10}"]
    for variant in ("eager", "compile", "unpadded"):
        if variant == "unpadded" and not importlib.util.find_spec("torch.nn.attention.varlen"):
            lines.append("unpadded  skipped: it needs PyTorch 2.10")
            continue
        seen = [run(dict(work="finetune", variant=variant, batch_size=32)) for _ in range(run.options.rounds)]
        share = middle(seen, "flops") / middle(seen, "seconds") / rate["bf16"]
        lines.append(f"{variant:10}{middle(seen, 'rate'):>12,.0f}{share:>14.0%}{middle(seen, 'peak'):>10.2f}")
    whole = run(dict(work="whole", batch_size=32))
    lines.append(f"whole job: 3 epochs of {whole['texts']:,} texts in {whole['training']:.1f} s")
    lines.append(f"with the evaluation of {whole['test_texts']:,} texts in {whole['seconds']:.1f} s")
    return lines


def why_not(job, options):
    """Why a job cannot run here, or None."""
    for library in ("transformers", "accelerate"):
        if job["side"] != "minibert" and not importlib.util.find_spec(library):
            return f"{library} is not installed (pip install 'minibert[reference]')"
    if job.get("variant") == "compile" and options.device == "cpu" and not shutil.which("g++"):
        return "torch.compile needs a C++ compiler (g++) on a CPU"
    return None


def middle(results, key):
    return median(result[key] for result in results)


def side_by_side(results, key):
    """Both sides' median and range, and the ratio of the medians."""
    ours, theirs = results
    return show(ours, key), show(theirs, key), f"{middle(ours, key) / middle(theirs, key):.2f} x"


def show(results, key):
    values = sorted(result[key] for result in results)
    text = f"{median(values):.4g}"
    return text if len(values) == 1 else f"{text} ({values[0]:.4g} to {values[-1]:.4g})"


def giga(operations):
    return f"{operations / 1e9:,.0f}"


def describe(result, rate):
    """One measurement in a line."""
    text = f"{result['rate']:8.1f} {result['unit']}   {result['seconds']:6.1f} s   peak {result['peak']:.2f} GB"
    if "padding" in result:
        text += f"   padding {result['padding']:5.1%}"
    if "flops" in result:
        speed = result["flops"] / result["seconds"]
        text += f"   {giga(speed)} GFLOP/s, {speed / rate['bf16']:.0%} of the bf16 rate"
    return text


def print_table(rows):
    rows = [("work", "minibert", "other", "ratio", "asked"), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    rows.insert(1, tuple("-" * width for width in widths))
    print()
    for row in rows:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")


def print_setting(options):
    names = [platform.platform(), f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    if importlib.util.find_spec("transformers"):
        names.append(f"transformers {version('transformers')}")
    names.append(f"{torch.get_num_threads()} CPU threads, {torch.backends.cpu.get_cpu_capability()}")
    if options.device == "cuda":
        names.append(torch.cuda.get_device_name())
    print(", ".join(names))
    print(f"shape {options.shape}, {options.texts} training texts, {options.rounds} rounds; medians (and ranges)")


def prepare(folder, options):
    """What both sides read: texts with labels, and a checkpoint with its tokenizer, in `folder`."""
    for task, source in {"imdb": options.data, "sms-spam": options.sms_data}.items():
        if source is None:
            print(f"{task}: no data given, the bundled reviews stand in for it")
        loaded = load_task(task, source) if source else load_task("reviews")
        parts = {"train": (loaded.train, loaded.validation), "test": (loaded.test,)}
        values = {
            part: [[text for one in those for text in one.texts], [label for one in those for label in one.labels]]
            for part, those in parts.items()
        }
        write_json(folder / f"{task}.json", values)
        if len(values["train"][0]) < 4 * options.texts:
            print(f"{task}: only {len(values['train'][0])} texts, so the Trainer sorts fewer together than minibert")
    torch.manual_seed(0)
    config = EncoderConfig(
        "distilbert", max_position_embeddings=512, type_vocab_size=0, classifier_dropout=0.2, **SHAPES[options.shape]
    )
    classifier = Classifier(Encoder(config), ["negative", "positive"], "cls", "mlp")
    initialize(classifier, config.initializer_range)
    save_classifier(classifier, folder / "model")
    load_tokenizer(find_checkpoint(options.tokenizer)).save(folder / "model")


def parse():
    parser = Parser(prog="python examples/benchmark", description="minibert beside transformers, on the same work.")
    add = parser.add_argument
    add("--data", metavar="PATH", help="IMDb: aclImdb_v1.tar.gz or a folder (default: the bundled reviews)")
    add("--sms-data", metavar="PATH", help="the SMS Spam Collection (default: the bundled reviews)")
    add("--tokenizer", metavar="ID|FOLDER", default="minibert-tiny", help="whose vocabulary reads the texts")
    add("--shape", choices=SHAPES, default="distilbert", help="the model's shape")
    add("--texts", type=number(int, 16, 800), default=240, help="training texts")
    add("--test-texts", type=number(int, 1), default=2000, help="texts for inference")
    add("--rounds", type=number(int, 1), default=3, help="turns of each side")
    add("--only", nargs="+", choices=[*PARTS, *EXTRA_PARTS], metavar="PART",
        help=f"some parts only, of {', '.join([*PARTS, *EXTRA_PARTS])}")  # fmt: skip
    add("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: on a GPU")
    add("--quick", action="store_true", help="a smoke run: tiny shape, 64 texts, one round")
    options = parser.parse_args()
    if options.quick:
        options.shape, options.texts, options.test_texts, options.rounds = "tiny", 64, 64, 1
    return options


if __name__ == "__main__":
    run_command(main)
