"""What every row of an experiment needs, read and checked before anything is computed or written: a `Job`."""

import functools
import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from .batch import bucketed_batches, padding_fraction
from .data import PARTS, Columns, balanced_weights, load_also_test, load_task
from .head import NATIVE, POOLINGS, resolve_head
from .load import read_encoder, read_tokenizer
from .plumbing import processes
from .plumbing.checkpoint import commit_of, find_checkpoint, weights_hash
from .plumbing.device import be_deterministic, resolve_device, resolve_precision
from .plumbing.files import UserError, one_line
from .tokenizer import check_vocabulary, check_windows, longest_in_windows


@dataclass
class Job:
    """What every row of an experiment needs. Options are those of `python -m minibert.finetune`."""

    options: object
    folder: Path  # where the run is kept
    task: object  # data.Task
    checkpoint: Path  # the pretrained model's folder
    tokenizer: object
    encoder: object  # the pretrained one; None when a training has changed it
    pooling: str  # of the fine-tuned classifier, and its head
    head: str
    device: torch.device
    precision: str
    why: str  # this precision
    examples: dict  # part -> Examples
    class_weights: object  # [C], or None
    facts: list  # what the run begins with, in lines for a person
    say: object  # prints lines, or does nothing
    features: dict | None = None  # `frozen_features`, once they are known
    track: object = lambda record: None  # shows a record of log.jsonl elsewhere, too: `plumbing.tracking`
    also: dict = field(default_factory=dict)  # name -> Dataset: further test sets

    def pretrained(self):
        """The pretrained encoder; it is read again only when a training has changed it."""
        if self.encoder is None:
            self.encoder = read_encoder(self.checkpoint)
        return self.encoder

    @property
    def label_names(self):
        return self.task.train.label_names

    @property
    def longest_read(self):
        """Tokens of the longest text that nothing is cut from."""
        limit, windows = self.options.max_length, self.options.windows
        return limit if windows == 1 else 2 + longest_in_windows(limit - 2, windows)

    def read(self, texts):
        """`Examples` of a `Dataset`, as the run reads texts."""
        options = self.options
        return self.tokenizer.examples(
            texts.texts, texts.pairs, texts.labels, options.max_length, options.truncation, options.windows
        )

    @functools.cached_property
    def learned_from(self):
        """The `Examples` that fine-tuning learns from: train, and validation, too, where nothing is left to choose."""
        if not self.options.refit:
            return self.examples["train"]
        return self.read(joined([self.task.train, self.task.validation]))

    def training_state(self, seed):
        """Where the state of an unfinished training lies."""
        return self.folder / "work" / f"finetuned-{seed}.safetensors"


# ---- reading and checking


def prepare(options, folder, say):
    """Read and check all that a run needs: a `Job`. Nothing is written. Raises UserError."""
    device = resolve_device(options.device)
    precision, why = resolve_precision(options.precision, device)
    check_precision(options)
    if options.deterministic:
        be_deterministic()
    options.quiet = options.quiet or not processes.is_first()  # one process shows progress bars, not all
    columns = Columns(options.text_column, options.pair_column, options.label_column, options.group_column)
    with processes.one_after_the_other():
        task = load_task(options.task, options.data, options.limit, options.test_limit, columns, options.sample)
        checkpoint = find_checkpoint(options.model, options.commit)
    tokenizer, encoder = read_tokenizer(checkpoint), read_encoder(checkpoint)
    check_vocabulary(tokenizer, encoder.config, checkpoint)
    check_fits(options, encoder)
    check_pairs(options, task, tokenizer, encoder)
    pooling, head = choose_head(options, encoder)
    balanced = options.class_weights == "balanced"
    class_weights = balanced_weights(task.train.labels, len(task.train.label_names)) if balanced else None
    job = Job(options, folder, task, checkpoint, tokenizer, encoder, pooling, head, device, precision, why, {},
              class_weights, [], say)  # fmt: skip
    job.also = {name: load_also_test(path, task.train, columns) for name, path in options.also_test}
    job.facts += describe(job) + describe_also(job)
    say(*job.facts)
    for part, texts in [*((part, getattr(task, part)) for part in PARTS), *job.also.items()]:
        job.examples[part] = job.read(texts)
    more = [describe_lengths(job), *describe_warmup(job), *describe_refit(job)]
    job.facts += more
    say(*more, *describe_weights(encoder.account))
    return job


def check_precision(options):
    """UserError for what rounded weights cannot do."""
    if options.precision == "int8" and options.mode != "frozen":
        raise UserError(
            "--precision int8: rounded weights cannot learn; add --mode frozen, or fine-tune in another precision and "
            "take int8 in predict"
        )
    if options.precision == "int8" and options.compile:
        raise UserError("--compile: not for the layers of --precision int8; leave it out")


def check_fits(options, encoder):
    """UserError for options that ask more of the encoder than it has."""
    longest, layers = encoder.config.longest, len(encoder.layers)
    if options.max_length > longest:
        what = f"windows of {options.max_length} tokens" if options.windows > 1 else options.max_length
        raise UserError(f"--max-length {what}: the model has {longest} positions")
    if options.freeze[1] > layers:
        raise UserError(f"--freeze {options.freeze[1]}: the model has {layers} layers")


def check_pairs(options, task, tokenizer, encoder):
    """UserError for pairs in windows, or whose second text is of a type that the encoder has no embedding for."""
    check_windows(options.windows, task.train.pairs)
    if task.train.pairs is not None and encoder.config.type_vocab_size == 1 and not tokenizer.is_roberta:
        raise UserError(f"{options.model}: knows one type of token, and its tokenizer gives the texts of a pair two")


def choose_head(options, encoder):
    """(pooling, head) of the fine-tuned classifier. UserError when they do not fit the encoder, or a frozen row's."""
    family = encoder.config.family
    try:
        pooling, head = resolve_head(family, options.pooling, options.head)
    except ValueError as error:
        fitting = f"use --pooling {NATIVE[family][0]}"
        raise UserError(f"--head {options.head} --pooling {options.pooling}: {error}; {fitting}") from None
    if options.mode in ("both", "frozen"):
        frozen_poolings(options, encoder)
    no_pooler = encoder.pooler is None and family != "bert"  # a BERT without one gets a fresh one
    if options.mode in ("both", "finetune") and pooling == "pooler" and no_pooler:
        raise UserError(f"--pooling pooler: this {family} encoder has no pooler; use --pooling cls or mean")
    return pooling, head


def frozen_poolings(options, encoder):
    """Which poolings to try on the frozen encoder: the one asked for, or all it has. Raises UserError."""
    if options.pooling:
        poolings = [options.pooling]
    elif options.head == "native":
        poolings = [NATIVE[encoder.config.family][0]]
    else:
        poolings = [pooling for pooling in POOLINGS if pooling != "pooler" or encoder.pooler is not None]
    if "pooler" in poolings and encoder.pooler is None:
        raise UserError(f"{options.model} has no pooler to freeze; use --pooling cls or mean")
    return poolings


def updates_of(job):
    """How many updates a fine-tuning takes."""
    texts = len(job.task.train) + (len(job.task.validation) if job.options.refit else 0)
    return -(-texts // job.options.batch_size) * job.options.epochs


def joined(datasets):
    """Several data sets of the same labels as one."""
    first = datasets[0]
    pairs = None if first.pairs is None else [pair for dataset in datasets for pair in dataset.pairs]
    texts, labels, ids = ([one for dataset in datasets for one in getattr(dataset, name)]
                          for name in ("texts", "labels", "ids"))  # fmt: skip
    return replace(first, texts=texts, labels=labels, ids=ids, pairs=pairs, groups=None)


def rests_on(job):
    """What a run's numbers rest on besides its options: the model's commit, and hashes of its weights and of all texts.

    The texts are those of the task and of further test sets, with their labels.
    """
    datasets = [job.task.train, job.task.validation, job.task.test, *job.also.values()]
    parts = [(part.texts, part.pairs, part.labels) for part in datasets]
    texts = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return {"commit": commit_of(job.checkpoint), "weights": weights_hash(job.encoder), "texts": texts}


# ---- in words


def describe(job):
    """Task, splits, model and machine, in lines for a person."""
    task, config, names = job.task, job.encoder.config, job.label_names
    commit = commit_of(job.checkpoint)
    return [
        f"task: {task.name}; {len(task.train):,} train, {len(task.validation):,} validation, {len(task.test):,} test; "
        f"labels {', '.join(one_line(name)[:40] for name in names[:8])}{', ...' if len(names) > 8 else ''}",
        f"splits: {task.splits}",
        f"model: {job.options.model} ({config.model_type}, {config.num_hidden_layers} layers, "
        f"width {config.hidden_size}{f'; commit {commit}' if commit else ''})",
        f"texts: at most {job.options.max_length} tokens, keeping the {job.options.truncation}"
        if job.options.windows == 1
        else f"texts: up to {job.options.windows} windows of {job.options.max_length} tokens, their vectors averaged; "
        "--truncation cuts nothing",
        f"computing on {device_name(job.device)} in {job.precision} ({job.why})",
    ]


def describe_also(job):
    """Further test sets, in lines; a text that stands in train, too, would flatter."""
    lines = []
    for (name, dataset), (_, path) in zip(job.also.items(), job.options.also_test, strict=True):
        seen = job.task.seen_in_training(dataset)
        note = f"; {seen:,} of them stand in train or validation" if seen else ""
        lines.append(f"also tested on {name}: {len(dataset):,} texts of {path}{note}")
    return lines


def describe_lengths(job):
    """How long the training texts are, in a line."""
    lengths, limit = job.examples["train"].lengths, job.options.max_length
    if job.options.windows > 1:
        count = sum(len(text) for text in job.examples["train"].windows)
        return f"training texts: {lengths.mean():.0f} tokens on average, in {count / len(lengths):.1f} windows"
    padding = padding_fraction(lengths, bucketed_batches(lengths, job.options.batch_size, 0, 0))
    return (
        f"training texts: {lengths.mean():.0f} tokens on average, {(lengths >= limit).mean():.0%} fill the limit; "
        f"{padding:.1%} of each epoch is padding, after bucketing by length"
    )


def describe_warmup(job):
    """A line where the rate would rise to the end: warmup in updates, on fewer texts than it was made for."""
    options = job.options
    total = updates_of(job)
    if options.mode == "frozen" or options.warmup < total:
        return []
    return [
        f"warmup: {options.warmup:,g} updates, but the training has {total:,}: the rate never reaches its peak; "
        "--warmup 0.1 takes a tenth of them"
    ]


def describe_refit(job):
    """A line where validation texts are learned, too."""
    if not job.options.refit:
        return []
    count = len(job.task.train) + len(job.task.validation)
    return [f"fine-tuning learns from train and validation, {count:,} texts, and keeps its last epoch"]


def device_name(device):
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    count = torch.get_num_threads()
    return f"{count} CPU core{'s' if count > 1 else ''}"


def describe_weights(account):
    """What became of the checkpoint's tensors, in lines."""
    lines = [f"weights: {len(account.loaded)} tensors loaded, {len(account.ignored)} ignored"]
    return lines + [f"  ignored {name}: {why}" for name, why in account.ignored.items()]


def describe_training(classifier):
    """What starts fresh, and how many parameters will be trained, in lines."""
    account, table = classifier.encoder.account, classifier.parameter_table()
    lines = [f"  new {name}: {why}" for name, why in account.new.items()]
    return lines + ["  trainable parameters: " + ", ".join(f"{name} {trainable:,}" for name, trainable, _ in table)]
