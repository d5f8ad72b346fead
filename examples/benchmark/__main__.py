"""minibert beside its peers on the same work: `python examples/benchmark --data aclImdb_v1.tar.gz`.

Every measurement runs in a process of its own, warm-up first and outside the clock, and the sides take turns
(A B A B ...), so that a machine that slows down slows all. What is printed is the median and the range, and the
ratio of the medians; at the end, what was asked for and whether it was reached. All sides get the same weights, batch
size, dropout and optimizer settings, texts drawn from the same set, and the same precision where `parts.py` does not
say otherwise; what each job does exactly stands in `jobs.py`. Weights are random numbers in DistilBERT's or MiniLM's
shape, for speed does not depend on them; with `--classifier RUN/finetuned`, the inference parts beside ONNX Runtime and
OpenVINO (`peers.py`) read that classifier instead, and its accuracy is shown beside its speed.

What is minibert's own, such as sorted texts and kept memory, is on. A part whose library or data is missing is skipped,
and the report says why. The other sides come with `pip install -e '.[deploy,reference]'`.

On a GPU, `--device cuda` adds the whole IMDb job, and training eager, compiled, as CUDA graphs and unpadded.
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

import torch
from parts import EXTRA_PARTS, PARTS
from peers import NEEDS
from tables import (
    at_least,
    at_most,
    describe,
    describe_rates,
    middle,
    share_of_rate,
    show,
    side_by_side,
    summary,
    table,
)
from tqdm import tqdm

from minibert.config import EncoderConfig
from minibert.data import load_task
from minibert.head import NATIVE, Classifier
from minibert.load import load_tokenizer, read_classifier, save_classifier
from minibert.model import Encoder, initialize
from minibert.plumbing.checkpoint import find_checkpoint
from minibert.plumbing.command import Parser, number, run_command
from minibert.plumbing.device import resolve_device, resolve_precision
from minibert.plumbing.files import UserError, write_json

DISTILBERT = dict(model_type="distilbert", type_vocab_size=0, classifier_dropout=0.2)
SHAPES = {
    "distilbert": dict(
        **DISTILBERT, hidden_size=768, num_hidden_layers=6, num_attention_heads=12, intermediate_size=3072
    ),
    "minilm": dict(
        model_type="bert", type_vocab_size=2, hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
        intermediate_size=1536,
    ),
    "tiny": dict(**DISTILBERT, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128),
}  # fmt: skip
HELP = "import sys, runpy; sys.argv = ['x', '--help']; runpy.run_module('minibert.finetune', run_name='__main__')"
REVIEWS_SECONDS = {"fp32": 90}
INT8_LOSS = 0.003  # of accuracy, at most


def main():
    options = parse()
    device = resolve_device(options.device)  # one clear line if it is not there
    options.resolved, _ = resolve_precision(options.precision, device)
    print_setting(options)
    wanted = options.only or [*PARTS, *EXTRA_PARTS]
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    try:
        prepare(folder, options)
        run = Runner(folder, options, wanted)
        rate = run(dict(work="matmul"))
        run.say(describe_rates(rate))
        rows, figures, seen = [], [], {}
        for part in wanted:
            if part in PARTS:
                new, reached = compare(run, part, rate, seen)
                rows, figures = rows + new, figures + reached
        figures += accuracy_of_int8(seen)
        for part, measure in (("reviews", reviews), ("start-up", start_up), ("shapes", shapes)):
            if part in wanted:
                new, reached = measure(run)
                rows, figures = rows + new, figures + reached
        # the GPU's part comes after the tables, for it may still fail
        show_tables(rows, figures, options)
        if "gpu" in wanted:
            lines, reached = gpu(run, rate)
            print(*lines, *summary(reached), sep="\n")
        run.bar.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Runner:
    """Runs jobs, each in a fresh process of `jobs.py`, under one progress bar."""

    def __init__(self, folder, options, wanted):
        self.options, self.prepared = options, set()
        self.common = {"folder": str(folder), "device": options.device, "batch_size": 16, "max_length": 256}
        self.common |= {"task": "imdb", "precision": options.precision, "model": "model"}
        self.common |= {"texts": options.texts, "test_texts": options.test_texts}
        jobs = 1 + options.rounds * sum(1 + len(PARTS[part].others) for part in wanted if part in PARTS)
        jobs += 4 * options.rounds * ("shapes" in wanted)
        jobs += (len(GPU_ROWS) * options.rounds + 2) * ("gpu" in wanted and options.device == "cuda")
        self.bar = tqdm(total=jobs, unit=" runs", disable=None)

    def __call__(self, job):
        job = {"side": "minibert", **self.common, **job}
        if job.pop("classifier", False) and self.options.classifier:
            job["model"] = "classifier"
        self.make_file(job)
        result = self.process(job)
        self.bar.update()
        return result

    def make_file(self, job):
        """What a peer reads, once, in a process of its own."""
        key = (job["side"], job["precision"] == "int8", job["model"])
        if job["side"] in {side for side, _ in NEEDS} and key not in self.prepared:
            seconds = self.process({**job, "work": "prepare"})["seconds"]
            self.prepared.add(key)
            self.say(f"    {job['side']}'s {job['precision']} file was made in {seconds:.0f} s")

    def process(self, job):
        program = Path(__file__).with_name("jobs.py")
        command = [sys.executable, program, json.dumps(job)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment())
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["killed"])[-1]
            raise UserError(f"{job} failed with exit code {done.returncode}: {reason}")
        return json.loads(done.stdout.splitlines()[-1])

    def say(self, text):
        tqdm.write(text)
        sys.stdout.flush()


def environment():
    """minibert from this checkout, nothing from the network, no chatter, one GPU for each side."""
    root = str(Path(__file__).resolve().parents[2])
    quiet = {"PYTHONPATH": root, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    return {"CUDA_VISIBLE_DEVICES": "0", **os.environ, **quiet}


def compare(run, part, rate, seen):
    """The sides of one part in turn: (rows of the table, figures of the summary). Results are added to `seen`."""
    asked = PARTS[part]
    least = asked.asked(run.options.resolved)
    shown = f">= {least:g} x" if least else ""
    run.say(f"\n{part}: {asked.what}")
    missing = why_not(asked.ours, run.options)
    if missing:
        run.say(f"  skipped: {missing}")
        return [(part, "skipped", "", "", shown)], []
    reasons = [why_not(job, run.options) for job in asked.others]
    jobs = [asked.ours, *(job for job, missing in zip(asked.others, reasons, strict=True) if not missing)]
    results = [[] for _ in jobs]
    for turn in range(run.options.rounds):
        for job, result in zip(jobs, results, strict=True):
            result.append(run(job))
            run.say(f"  {turn + 1} {job['side']:11} {describe(result[-1], rate)}")
    seen[part], rows, figures = results[0], [], []
    title = f"{part}, {results[0][0]['unit']}"
    for job, missing in zip(asked.others, reasons, strict=True):
        if missing:
            run.say(f"  skipped the other side: {missing}")
            rows.append((title, show(results[0], "rate"), f"{job['side']}: skipped", "skipped", shown))
    for job, theirs in zip(jobs[1:], results[1:], strict=True):
        new, reached = beside(part, results[0], theirs, job["side"], least, rate)
        rows, figures = rows + new, figures + reached
    return rows, figures


def beside(part, ours, theirs, side, least, rate):
    """minibert's results beside one other side's: (rows, figures)."""
    asked, shown = PARTS[part], f">= {least:g} x" if least else ""
    mine, other, ratio = side_by_side((ours, theirs), "rate")
    rows = [(f"{part}, {ours[0]['unit']}", mine, f"{side} {other}", ratio, shown)]
    figures = []
    if least:
        figures.append(at_least(part, side, least, middle(ours, "rate") / middle(theirs, "rate")))
    if asked.ours["work"] != "inference":  # of the peers' processes, part is what reads the model
        bound = f"<= {asked.memory:g} x" if asked.memory else ""
        rows.append((f"{part}: peak memory, GB", *side_by_side((ours, theirs), "peak"), bound))
    if asked.memory:
        used = middle(ours, "peak") / middle(theirs, "peak")
        figures.append(at_most(f"{part}: peak memory", side, asked.memory, used, " x"))
    precision = ours[0]["precision"]
    if asked.share and rate[precision]:
        share, goal = share_of_rate(ours, rate), asked.share[precision]
        title = f"{part}: share of the {precision} rate"
        rows.append((title, f"{share:.0%}", f"{share_of_rate(theirs, rate):.0%}", "", f">= {goal:.0%}"))
        figures.append(at_least(title, "matrix products", goal, share, "%"))
    if "accuracy" in ours[0] and PARTS[part].ours.get("classifier"):
        shares = [f"{middle(results, 'accuracy'):.2%}" for results in (ours, theirs)]
        rows.append((f"{part}: accuracy", shares[0], f"{side} {shares[1]}", "", ""))
    return rows, figures


def accuracy_of_int8(seen):
    """minibert's int8 beside its fp32 on the same texts, if both were measured on a trained classifier: figures."""
    parts = [seen.get(part) for part in ("imdb-fp32", "imdb-int8")]
    if not all(part and "accuracy" in part[0] for part in parts):
        return []
    exact, rounded = (middle(part, "accuracy") for part in parts)
    return [at_most("imdb-int8: accuracy lost", "fp32", 100 * INT8_LOSS, 100 * (exact - rounded), " points")]


def reviews(run):
    """Wall time of `python -m minibert.finetune reviews`, with nothing in the cache: (rows, figures)."""
    precision, seconds = run.options.resolved, []
    for _ in range(run.options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "minibert.finetune", "reviews", "--precision", precision, "--output"]
            started = time.perf_counter()
            subprocess.run([*command, f"{folder}/run"], check=True, capture_output=True,
                           env={**environment(), "MINIBERT_CACHE": f"{folder}/cache"})  # fmt: skip
            seconds.append({"seconds": time.perf_counter() - started})
    most = REVIEWS_SECONDS.get(precision)
    title = f"python -m minibert.finetune reviews, {precision}, s"
    rows = [(title, show(seconds, "seconds"), "", "", f"< {most}" if most else "")]
    return rows, [at_most(title, "", most, middle(seconds, "seconds"), " s")] if most else []


def start_up(run):
    """Wall time of fresh interpreters: an import, a help text, and the first prediction: (rows, figures)."""
    model = str(Path(run.common["folder"]) / "model")
    programs = {
        "--help": HELP,
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
    usage = middle(results["--help"], "seconds")
    rows = [
        ("import minibert beyond import torch, s", f"{added:.2f}", "", "", "<= 0.3"),
        ("python -m minibert.finetune --help, s", f"{usage:.2f}", "", "", "<= 0.5"),
    ]
    if "first, pipeline" in results:
        sides = results["first, minibert"], results["first, pipeline"]
        rows.append(("start to first prediction, s", *side_by_side(sides, "seconds"), ""))
    return rows, [at_most("python -m minibert.finetune --help", "", 0.5, usage, " s")]


def shapes(run):
    """What a token costs in training; it should hardly depend on the shape of the batch: (rows, figures)."""
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
    return rows, []


GPU_ROWS = (  # variant, batch size, what it would show
    ("eager", 32, "each operation is a launch of its own"),
    ("compile", 32, "fewer, fused operations"),
    ("graphs", 32, "compiled, and one launch replays all of a pass: nothing left to wait for"),
    ("unpadded", 32, "no padding; and no dropout of attention weights, which its kernel lacks"),
    ("eager", 128, "four times the work for each launch"),
    ("compile", 128, "the same, fused"),
)


def gpu(run, rate):
    """The table of ways to train, and the whole IMDb job: (lines, figures)."""
    if run.options.device != "cuda":
        return ["\ngpu: skipped, --device is cpu"], []
    head = ("training, IMDb <= 256 tokens", "batch", "tokens/s", "of the rate", "peak GB", "why")
    rows, shares = [], []
    for variant, batch, reason in GPU_ROWS:
        if variant == "unpadded" and not importlib.util.find_spec("torch.nn.attention.varlen"):
            rows.append((variant, str(batch), "skipped", "", "", "it needs PyTorch 2.10"))
            continue
        job = dict(work="finetune", variant=variant, batch_size=batch)
        seen = [run(job) for _ in range(run.options.rounds)]
        shares.append(share_of_rate(seen, rate))
        speed, peak = f"{middle(seen, 'rate'):,.0f}", f"{middle(seen, 'peak'):.2f}"
        rows.append((variant, str(batch), speed, f"{shares[-1]:.0%}", peak, reason))
    lines, whole = ["", *table(head, rows)], {}
    for variant in ("eager", "compile"):
        result = whole[variant] = run(dict(work="whole", batch_size=32, variant=variant))
        lines.append(f"whole job, {variant}: 3 epochs of {result['texts']:,} texts in {result['training']:.1f} s")
        lines.append(f"  with the evaluation of {result['test_texts']:,} texts in {result['seconds']:.1f} s")
    fastest = min(result["seconds"] for result in whole.values())
    return lines, [
        at_most("whole IMDb job, GPU", "", 20, fastest, " s"),
        at_least("its training loop", "matrix products", 0.4, max(shares), "%"),
    ]


def why_not(job, options):
    """Why a job cannot run here, or None."""
    side, precision = job["side"], job.get("precision")
    libraries = {"trainer": ("transformers", "accelerate"), "pipeline": ("transformers",)}.get(side, ())
    extra = "reference"
    if (side, precision) in NEEDS:
        libraries, extra = NEEDS[side, precision], "deploy,reference"
    for library in libraries:
        if not importlib.util.find_spec(library):
            return f"{library} is not installed (pip install -e '.[{extra}]')"
    if job.get("variant") == "compile" and options.device == "cpu" and not shutil.which("g++"):
        return "torch.compile needs a C++ compiler (g++) on a CPU"
    if options.device != "cpu" and "classifier" in job:
        return "these are rows of a CPU"
    if precision == "bf16" and resolve_precision("auto", torch.device("cpu"))[0] != "bf16":
        return "this CPU has no bf16 instructions"
    return None


def show_tables(rows, figures, options):
    print("", *table(("work", "minibert", "other", "ratio", "asked"), rows), sep="\n")
    if figures:
        print(f"\nwhat was asked, in {options.resolved}, on {cpu_name()}", *summary(figures), sep="\n")


def cpu_name():
    """The processor, as the system calls it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def print_setting(options):
    names = [platform.platform(), f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    if importlib.util.find_spec("transformers"):
        names.append(f"transformers {version('transformers')}")
    names += [f"{name} {version(name)}" for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]
    names.append(f"{cpu_name()}, {torch.get_num_threads()} CPU threads, {torch.backends.cpu.get_cpu_capability()}")
    if options.device == "cuda":
        names.append(torch.cuda.get_device_name())
    print(", ".join(names))
    print(f"shape {options.shape}, {options.texts} training texts, {options.rounds} rounds; medians (and ranges)")
    print(f"training in {options.resolved}, whose targets apply")


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
        write_json(folder / f"{task}.json", values | {"label_names": loaded.train.label_names})
        if len(values["train"][0]) < 4 * options.texts:
            print(f"{task}: only {len(values['train'][0])} texts, so the Trainer sorts fewer together than minibert")
    torch.manual_seed(0)
    config = EncoderConfig(vocab_size=30522, max_position_embeddings=512, **SHAPES[options.shape])
    classifier = Classifier(Encoder(config), ["negative", "positive"], *NATIVE[config.family])
    initialize(classifier, config.initializer_range)
    save_classifier(classifier, folder / "model")
    load_tokenizer(find_checkpoint(options.tokenizer)).save(folder / "model")
    if options.classifier:
        read_classifier(options.classifier)  # one clear line if it is none
        shutil.copytree(options.classifier, folder / "classifier")


def parse():
    parser = Parser(prog="python examples/benchmark", description="minibert beside its peers, on the same work.")
    add = parser.add_argument
    add("--data", metavar="PATH", help="IMDb: aclImdb_v1.tar.gz or a folder (default: the bundled reviews)")
    add("--sms-data", metavar="PATH", help="the SMS Spam Collection (default: the bundled reviews)")
    add("--tokenizer", metavar="ID|FOLDER", default="minibert-tiny", help="whose vocabulary reads the texts")
    add("--shape", choices=SHAPES, default="distilbert", help="the model's shape")
    add("--classifier", metavar="FOLDER", help="a finished run's finetuned/: accuracy beside speed (imdb-*, sms-*)")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="of training and of start-up")
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
