"""TODO"""

import hashlib
import json
import time
from dataclasses import replace

import numpy as np
import torch

from . import baselines, metrics
from .data.dataset import class_weights
from .evaluate import predict
from .frozen import encode, fit_heads
from .head import NATIVE, POOLINGS, Classifier
from .load import load_encoder, new_classifier, save_classifier
from .metrics import softmax
from .plumbing.files import UserError, read_json, write_json
from .plumbing.resume import Log, read_update
from .train import TrainSettings, train


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
        row = metrics.score(self.task.test.labels, probabilities, self.names, seconds, trainable)
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
