"""`python -m minibert.finetune TASK`: both experiments on one task, beside their baselines, in one table.

Wires the files above together, and nothing else: read, encode, baselines, frozen, fine-tuned, report. Each part's
result is kept under OUTPUT/work as soon as it is there, so --resume repeats nothing. Next: `predict.py`.
"""

import argparse
import csv
import hashlib
import io
import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from . import baselines, metrics, report
from .batch import Examples, bucketed_batches, padding_fraction
from .config import read_config
from .data import FILE_TYPES, REVIEWS_GROUP, TASKS, Columns, load_task
from .files import Parser, UserError, number, read_json, run_command, write_json, write_text
from .frozen import class_weights, encode, fit_heads
from .head import NATIVE, POOLINGS, Classifier, new_classifier, resolve_head, save_classifier
from .load import find_checkpoint, load_encoder
from .tokenizer import TRUNCATIONS, check_vocabulary, load_tokenizer
from .train import (
    PRECISIONS,
    Log,
    TrainSettings,
    predict,
    read_update,
    resolve_device,
    resolve_precision,
    softmax,
    train,
)

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


class Job:
    """What every part of a run needs, and the memory of the parts that are done."""

    def __init__(self, options, folder, task, examples, tokenizer, checkpoint, device, precision, say):
        self.options, self.folder, self.task, self.examples = options, folder, task, examples
        self.tokenizer, self.checkpoint, self.device, self.precision = tokenizer, checkpoint, device, precision
        self.say = say
        self.names = task.train.label_names
        parts = [(part.texts, part.pairs, part.labels) for part in (task.train, task.validation, task.test)]
        self.data = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        balanced = options.class_weights == "balanced"
        self.class_weights = class_weights(task.train.labels, len(self.names)) if balanced else None
        self.work = folder / "work"

    def once(self, key, compute):
        """`compute()`, or what it returned before. The result is a dict of JSON values."""
        path = self.work / f"{key}.json"
        if path.is_file():
            result = read_json(path)
            if result.get("data", self.data) != self.data:
                raise UserError(f"{path}: {self.task.name}'s texts have changed since; start another run with --output")
            return result
        result = compute() | {"data": self.data}
        write_json(path, result)
        return result

    def checkpoint_path(self, seed):
        return self.work / f"finetuned-{seed}.safetensors"

    def result(self, probabilities, seconds, trainable, **more):
        row = report.score(self.task.test.labels, probabilities, self.names, seconds, trainable)
        return {"row": row, "probabilities": np.round(probabilities, 9).tolist(), **more}

    def keep_best(self, name, seed, validation_accuracy, classifier):
        """Save the classifier unless an earlier seed did better on validation."""
        for earlier in self.options.seeds[: self.options.seeds.index(seed)]:
            if read_json(self.work / f"{name}-{earlier}.json")["validation_accuracy"] >= validation_accuracy:
                return
        folder = self.folder / name
        extra = {"max_length": self.options.max_length, "truncation": self.options.truncation, "seed": seed}
        extra["pairs"] = self.task.train.pairs is not None
        save_classifier(classifier, folder, extra)
        self.tokenizer.save(folder)


def majority_row(job):
    started = time.monotonic()
    probabilities = baselines.majority(job.task.train.labels, len(job.names), len(job.task.test))
    return job.result(probabilities, time.monotonic() - started, 0)


def bag_of_words_row(job):
    job.say("", "bag of words")
    started = time.monotonic()
    probabilities, parameters, tried = baselines.bag_of_words(job.task, job.class_weights, job.options.quiet)
    job.say(f"  chosen on validation: {tried[0]['setting']}, accuracy {tried[0]['accuracy']:.4f}")
    return job.result(
        probabilities, time.monotonic() - started, parameters, tried=tried, validation_accuracy=tried[0]["accuracy"]
    )


def frozen_poolings(options, encoder):
    """Which poolings to try on the frozen encoder: the one asked for, or all it has. Raises UserError."""
    if options.pooling:
        poolings = [options.pooling]
    elif options.head == "native":
        poolings = [NATIVE[encoder.config.model_type][0]]
    else:
        poolings = [pooling for pooling in POOLINGS if pooling != "pooler" or encoder.pooler is not None]
    if "pooler" in poolings and encoder.pooler is None:
        raise UserError(f"{options.model} has no pooler to freeze; use --pooling cls or mean")
    return poolings


def frozen_row(job, seed):
    """Encode each text once, fit heads on train, choose on validation, score on test."""
    job.say("", f"frozen encoder, seed {seed}")
    started = time.monotonic()
    options = job.options
    encoder = load_encoder(job.checkpoint)
    poolings = frozen_poolings(options, encoder)
    if options.compile:
        encoder.compile(dynamic=True)
    native_head = NATIVE[encoder.config.model_type][1]
    heads = {None: ("linear", "mlp"), "native": (native_head,)}.get(options.head, (options.head,))
    features, encoded = {}, 0
    for part, examples in job.examples.items():
        features[part], count = encode(
            encoder, examples, poolings, job.device, job.precision, quiet=options.quiet, name=f"encoding {part}"
        )
        encoded += count
    total = sum(len(examples) for examples in job.examples.values())
    job.say(f"  encoded {encoded:,} of {total:,} texts" + ("" if encoded else "; all features were in the cache"))
    pooling, head_name, head, tried = fit_heads(
        features["train"], features["validation"], job.task.train.labels, job.task.validation.labels, len(job.names),
        heads, job.class_weights, seed, options.quiet,
    )  # fmt: skip
    best = tried[0]
    job.say(
        f"  chosen on validation: {pooling} pooling, {head_name} head, {best['setting']}, "
        f"accuracy {best['accuracy']:.4f}"
    )
    with torch.inference_mode():
        probabilities = softmax(head(features["test"][pooling]).numpy())
    classifier = Classifier(encoder.cpu(), job.names, pooling, head_name)
    classifier.head.load_state_dict(head.state_dict())
    job.keep_best("frozen", seed, best["accuracy"], classifier)
    trainable = sum(parameter.numel() for parameter in head.parameters())
    return job.result(
        probabilities, time.monotonic() - started, trainable, tried=tried, validation_accuracy=best["accuracy"]
    )


def finetuned_row(job, seed, pooling, head):
    """Train encoder and head together, keep the best epoch on validation, score on test."""
    job.say("", f"fine-tuning, seed {seed}")
    options = job.options
    settings = replace(train_settings(options, job.precision), seed=seed)
    classifier = new_classifier(job.checkpoint, job.names, pooling, head, seed)
    if options.compile:
        classifier.compile(dynamic=True)
    checkpoint = job.checkpoint_path(seed)
    done = read_update(checkpoint)
    log = Log(job.folder / "log.jsonl", keep=lambda line: line["seed"] != seed or line["update"] <= done)
    if done:
        job.say(f"  going on after update {done:,}")
    progress = train(
        classifier, job.examples["train"], job.examples["validation"], settings, job.device, job.class_weights,
        checkpoint, True, lambda record: log({"seed": seed, **record}), options.quiet, "fine-tuning",
    )  # fmt: skip
    started = time.monotonic()
    logits = predict(
        classifier, job.examples["test"], job.device, job.precision, quiet=options.quiet, name="predicting test"
    )
    seconds = progress.seconds + time.monotonic() - started
    job.say(f"  kept epoch {progress.best_epoch + 1}: validation accuracy {progress.best_accuracy:.4f}")
    job.keep_best("finetuned", seed, progress.best_accuracy, classifier.cpu())
    return job.result(
        softmax(logits), seconds, classifier.parameter_table()[-1][1],
        best_epoch=progress.best_epoch + 1, validation_accuracy=progress.best_accuracy,
    )  # fmt: skip


def finish(job, facts, results):
    """Everything that a run leaves, from the parts' results {row: {seed: result}}."""
    seeds = job.options.seeds
    saved = [name for name in ("frozen", "finetuned") if name in results]
    rows = {name: report.combine({seed: r["row"] for seed, r in by_seed.items()}) for name, by_seed in results.items()}
    for name in ("majority", "bag-of-words"):  # no seed enters them
        rows[name] = next(iter(results[name].values()))["row"]
    table = report.result_table(rows, seeds)
    kept = {
        name: max(by_seed, key=lambda seed: (by_seed[seed].get("validation_accuracy", 0), -seeds.index(seed)))
        for name, by_seed in results.items()
    }
    probabilities = {name: np.array(results[name][kept[name]]["probabilities"]) for name in results}
    predictions = {name: values.argmax(1) for name, values in probabilities.items()}
    labels = np.array(job.task.test.labels)
    best = max(results, key=lambda name: results[name][kept[name]].get("validation_accuracy", 0))
    best_row = results[best][kept[best]]["row"]
    notes = [report.collapse_warning(name, predictions[name], job.names) for name in predictions if name != "majority"]
    notes = [note for note in notes if note]
    if "frozen" in predictions and "finetuned" in predictions:
        notes.append(report.difference_line(labels, predictions["frozen"], predictions["finetuned"]))
    if len(seeds) > 1:
        which = ", ".join(f"{report.TITLES[name]} seed {seed}" for name, seed in kept.items() if name in saved)
        notes.append(f"predictions and weights kept: those of the seed best on validation ({which})")
    confusion = report.confusion_table(best_row["confusion"], job.names)
    heading = f"Confusion matrix of {report.TITLES[best]}, best on validation"
    choices = report.choices(results, kept)

    values = {"task": job.task.name, "model": job.options.model, "seeds": seeds, "rows": rows}
    tables = [("test set", table)]
    if job.task.test.groups is not None:
        by_seed = {
            name: [np.array(result["probabilities"]).argmax(1) for result in results[name].values()] for name in results
        }
        values["groups"] = report.by_group(labels, job.task.test.groups, by_seed)
        column = job.options.group_column or REVIEWS_GROUP
        tables.append((f"test set by {column}", report.group_table(values["groups"])))
    tables.append((heading, confusion))
    write_json(job.folder / "metrics.json", values)
    write_predictions(job.folder / "predictions.csv", job.task.test, probabilities, predictions)
    per_class = metrics.classification_report(labels, predictions[best], job.names)
    sections = [*tables[:-1], (heading, f"{confusion}\n\n{per_class}"), ("Chosen on validation", choices)]
    command = shlex.join(["python", "-m", "minibert.finetune", *read_json(job.folder / "settings.json")["arguments"]])
    title = f"{job.task.name}, classified twice"
    write_text(job.folder / "report.md", report.markdown(title, [*facts, f"command: `{command}`", *notes], sections))
    for title, text in tables:
        print("", title, text, sep="\n")
    print("", *notes, sep="\n")
    print(f"saved in {job.folder}: metrics.json, predictions.csv, report.md, {', '.join(f'{name}/' for name in saved)}")


def write_predictions(path, test, probabilities, predictions):
    """predictions.csv: text id, gold label, and for each experiment the prediction and the score of every label."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    experiments = [name for name in ("frozen", "finetuned") if name in predictions]
    header = ["id", "gold"]
    for name in experiments:
        header += [name, *(f"{name}_score_{label}" for label in test.label_names)]
    writer.writerow(header)
    for i in range(len(test)):
        row = [test.ids[i], test.label_names[test.labels[i]]]
        for name in experiments:
            row += [test.label_names[predictions[name][i]], *probabilities[name][i].tolist()]
        writer.writerow(row)
    write_text(path, text.getvalue())


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


def train_settings(options, precision):
    return TrainSettings(
        epochs=options.epochs,
        batch_size=options.batch_size,
        micro_batch=options.micro_batch,
        lr=options.lr,
        head_lr=options.head_lr,
        weight_decay=options.weight_decay,
        warmup=options.warmup,
        patience=options.patience,
        precision=precision,
    )


# ---- the command line


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
