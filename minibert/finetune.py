"""`python -m minibert.finetune TASK`: both experiments on one task, beside their baselines, in one table.

Wires the files above together, and nothing else: read, encode, baselines, frozen, fine-tuned, report. Each part's
result is kept under OUTPUT/work as soon as it is there, so --resume repeats nothing. Next: `predict.py`.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from .batch import Examples, bucketed_batches, padding_fraction
from .config import read_config
from .data import TASKS, load_task
from .data.tables import FILE_TYPES, Columns
from .experiment import Job, bag_of_words_row, finetuned_row, frozen_poolings, frozen_row, majority_row
from .head import POOLINGS, resolve_head
from .load import load_encoder, load_tokenizer, new_classifier
from .plumbing.checkpoint import find_checkpoint
from .plumbing.command import Parser, number, run_command
from .plumbing.device import PRECISIONS, resolve_device, resolve_precision
from .plumbing.files import UserError, read_json, write_json
from .report.write import finish
from .tokenizer import TRUNCATIONS, check_vocabulary

MAX_SEED = 2**32 - 1
# What a task takes where nothing else is asked for; chosen on its validation texts.
DEFAULTS = {
    "model": "distilbert-base-uncased", "epochs": 3, "batch_size": 16, "lr": 5e-5, "pooling": None, "head": None,
}  # fmt: skip
TASK_DEFAULTS = {
    "reviews": {
        "model": "minibert-tiny", "epochs": 6, "batch_size": 32, "lr": 1e-4, "pooling": "mean", "head": "linear",
    },
}  # fmt: skip
# What may differ between a run and its --resume: nothing that decides a number.
FREE_ON_RESUME = ("output", "resume", "quiet", "dry_run")


def main(argv=None):
    options = parse(argv)
    say = (lambda *lines: None) if options.quiet else (lambda *lines: print(*lines, sep="\n", flush=True))
    device = resolve_device(options.device)
    precision, why = resolve_precision(options.precision, device)
    folder = Path(options.output or Path("runs") / (options.task if options.task in TASKS else Path(options.task).stem))
    settings = {key: value for key, value in vars(options).items() if key not in FREE_ON_RESUME}
    check_output(folder, settings, options)

    columns = Columns(options.text_column, options.pair_column, options.label_column, options.group_column)
    task = load_task(options.task, options.data, options.limit, options.test_limit, columns)
    names = task.train.label_names
    checkpoint = find_checkpoint(options.model)
    tokenizer = load_tokenizer(checkpoint)
    config = read_config(checkpoint)
    check_vocabulary(tokenizer, config, checkpoint)
    if options.max_length > config.max_position_embeddings:
        raise UserError(f"--max-length {options.max_length}: the model has {config.max_position_embeddings} positions")
    facts = [
        f"task: {task.name}; {len(task.train):,} train, {len(task.validation):,} validation, {len(task.test):,} test; "
        f"labels {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}",
        f"splits: {task.splits}",
        f"model: {options.model} ({config.model_type}, {config.num_hidden_layers} layers, width {config.hidden_size})",
        f"texts: at most {options.max_length} tokens, keeping the {options.truncation}",
        f"computing on {describe(device)} in {precision} ({why})",
    ]
    say(*facts)

    examples = {}
    for part in ("train", "validation", "test"):
        dataset = getattr(task, part)
        sequences = tokenizer.encode(dataset.texts, dataset.pairs, options.max_length, options.truncation)
        examples[part] = Examples(sequences, dataset.labels, tokenizer.pad_id)
    lengths = examples["train"].lengths
    padding = padding_fraction(lengths, bucketed_batches(lengths, options.batch_size, 0, 0))
    facts.append(
        f"training texts: {lengths.mean():.0f} tokens on average, {(lengths >= options.max_length).mean():.0%} fill "
        f"the limit; {padding:.1%} of each epoch is padding, after bucketing by length"
    )
    say(facts[-1])

    pooling, head = resolve_head(config.model_type, options.pooling, options.head)
    if options.mode in ("both", "frozen"):
        frozen_poolings(options, load_encoder(checkpoint))  # a bad checkpoint is refused before anything is written
    if options.mode in ("both", "finetune"):
        classifier = new_classifier(checkpoint, names, pooling, head, options.seeds[0])
        say(*account_lines(classifier))
    if options.dry_run:
        updates = -(-len(lengths) // options.batch_size) * options.epochs
        say(f"dry run: {updates:,} updates in {options.epochs} epochs would follow, for each seed; nothing was written")
        return 0
    if not (folder / "settings.json").is_file():
        write_json(folder / "settings.json", settings)

    job = Job(options, folder, task, examples, tokenizer, checkpoint, device, precision, say)
    results = {"majority": {}, "bag-of-words": {}, "frozen": {}, "finetuned": {}}
    for seed in options.seeds:
        results["majority"][seed] = job.once("majority", lambda: majority_row(job))
        results["bag-of-words"][seed] = job.once("bag-of-words", lambda: bag_of_words_row(job))
        if options.mode in ("both", "frozen"):
            results["frozen"][seed] = job.once(f"frozen-{seed}", lambda seed=seed: frozen_row(job, seed))
        if options.mode in ("both", "finetune"):
            results["finetuned"][seed] = job.once(
                f"finetuned-{seed}", lambda seed=seed: finetuned_row(job, seed, pooling, head)
            )
            job.checkpoint_path(seed).unlink(missing_ok=True)  # only now: a kill before loses nothing
    results = {name: by_seed for name, by_seed in results.items() if by_seed}
    finish(job, facts, results)
    return 0


def check_output(folder, settings, options):
    """Refuse to write over another run, and to resume one with other settings."""
    path = folder / "settings.json"
    if options.dry_run or not path.is_file():
        return
    if not options.resume:
        raise UserError(f"{folder} holds a run already: --resume goes on with it, --output DIR starts another")
    before = read_json(path)
    for key, value in settings.items():
        if key != "arguments" and before.get(key) != json.loads(json.dumps(value)):
            flag = "--" + key.replace("_", "-")
            raise UserError(f"{path}: the run was started with {flag} {before.get(key)}; --resume needs the same")


def account_lines(classifier):
    """What was loaded, and what will be trained."""
    account = classifier.encoder.account
    lines = [f"weights: {len(account.loaded)} tensors loaded, {len(account.ignored)} ignored, {len(account.new)} new"]
    lines += [f"  ignored {name}: {why}" for name, why in account.ignored.items()]
    lines += [f"  new {name}: {why}" for name, why in account.new.items()]
    table = classifier.parameter_table()
    return lines + ["trainable parameters: " + ", ".join(f"{name} {trainable:,}" for name, trainable, _ in table)]


def describe(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU cores"


def per_task(key):
    """A default that depends on the task, in words."""
    others = [f"{values[key]} for {task}" for task, values in TASK_DEFAULTS.items()]
    usual = DEFAULTS[key] or "the family's own"
    return f"(default: {', '.join([str(usual), *others])})"


def seed_list(text):
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 1,2,3") from None
    if len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r}: seeds are different numbers, 0 or more")
    return seeds


def parse(argv):
    parser = Parser(
        prog="python -m minibert.finetune",
        description="Classify text with a pretrained BERT or DistilBERT, once frozen and once fine-tuned, "
        "beside a majority and a bag-of-words baseline.",
    )
    add = parser.add_argument
    add("task", help=f"{', '.join(TASKS)}, a {'/'.join(FILE_TYPES)} file, or a folder with train and test in it")
    add("--model", metavar="ID|FOLDER", help=f"Hub id, folder of a checkpoint, or minibert-tiny {per_task('model')}")
    add("--data", metavar="PATH", help="local copy of a built-in task's data, instead of downloading it")
    add("--mode", choices=("both", "frozen", "finetune"), default="both", help="which experiments to run")
    add("--limit", type=number(int, 1), metavar="N", help="use only N texts for training and validation together")
    add("--test-limit", type=number(int, 1), metavar="N", help="use only N test texts")
    add("--text-column", default="text", help="of your own file: the column of texts")
    add("--pair-column", default="text_pair", help="of your own file: the column of second texts, if it has one")
    add("--label-column", default="label", help="of your own file: the column of labels")
    add("--group-column", help="of your own file: give accuracy for each value of this column, too")
    training = parser.add_argument_group("fine-tuning")
    add = training.add_argument
    add("--epochs", type=number(int, 1), help=f"passes over train, best on validation kept {per_task('epochs')}")
    add("--batch-size", type=number(int, 1), help=f"texts per update {per_task('batch_size')}")
    add("--micro-batch", type=number(int, 0), default=0, help="texts in memory at a time, 0 for all; same results")
    add("--lr", type=number(float, 0, 1, low_open=True), help=f"peak learning rate of the encoder {per_task('lr')}")
    add("--head-lr", type=number(float, 0, 1, low_open=True), default=5e-4, help="peak learning rate of the head")
    add("--weight-decay", type=number(float, 0, 1), default=0.01, help="decoupled, on matrices only")
    add("--warmup", type=number(float, 0, 1), default=0.1, help="share of the updates in which the rate rises")
    add("--patience", type=number(int, 0), default=0, help="stop after so many epochs without gain, 0 for never")
    add("--class-weights", choices=("none", "balanced"), default="none", help="balanced: rare classes weigh more")
    add("--seed", type=number(int, 0, MAX_SEED), default=0, help="of heads, dropout and the order of texts")
    add("--seeds", type=seed_list, metavar="A,B,C", help="run once for each and report mean and spread")
    model = parser.add_argument_group("text and head")
    add = model.add_argument
    add("--max-length", type=number(int, 5), default=256, help="tokens per text, special ones included")
    add("--truncation", choices=TRUNCATIONS, default="head", help="which part of a longer text is kept")
    add("--pooling", choices=POOLINGS, help=f"tokens to one vector; frozen tries all it has {per_task('pooling')}")
    add("--head", choices=("linear", "mlp", "native"), help=f"frozen tries linear and mlp {per_task('head')}")
    machine = parser.add_argument_group("machine and output")
    add = machine.add_argument
    add("--precision", choices=("auto", *PRECISIONS), default="auto", help="auto: bf16 where it is fast")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    add("--compile", action="store_true", help="torch.compile the model (on a CPU: no gain in bf16, needs g++)")
    add("--output", metavar="DIR", help="where the run is kept (default: runs/TASK)")
    add("--resume", action="store_true", help="go on with the run in --output")
    add("--dry-run", action="store_true", help="read and check everything, say what would run, write nothing")
    add("--quiet", action="store_true", help="print the final table only")
    options = parser.parse_args(argv)
    for key, value in (DEFAULTS | TASK_DEFAULTS.get(options.task, {})).items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    options.seeds = options.seeds or [options.seed]
    options.arguments = list(sys.argv[1:] if argv is None else argv)
    return options


if __name__ == "__main__":
    run_command(main)
