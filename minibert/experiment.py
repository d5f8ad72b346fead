"""One task, one checkpoint, four rows: majority, bag of words, frozen encoder, fine-tuned encoder.

Two more rows cost little: the untrained encoder, if asked for, and, with several seeds, their ensemble.

Each row's result is kept under OUTPUT/work as soon as it is there, so that --resume repeats nothing.
"""

import time
from dataclasses import replace

import numpy as np
import torch

from . import baselines, metrics
from .evaluate import predict
from .explain import FIRST_STEPS, explain
from .fast import quantize, touched_rows
from .frozen import encode, fit_heads
from .head import NATIVE, Classifier
from .job import describe_training, frozen_poolings, joined
from .load import put_head, read_classifier, read_encoder, save_classifier
from .metrics import softmax
from .plumbing import processes
from .plumbing.files import read_checked_json, write_checked_json
from .plumbing.resume import Log, read_progress
from .train import TrainSettings, Unvalidated, train

EXPLAINED = 12  # mistakes


def run_rows(job):
    """Compute every row that is not kept yet: {row: {seed: result}}."""
    options = job.options
    results = {"majority": {}, "bag-of-words": {}, "untrained": {}, "frozen": {}, "finetuned": {}}
    for seed in options.seeds:
        if processes.is_first():
            with processes.alone():
                results["majority"][seed] = keep(job, "majority", lambda: majority_row(job))
                results["bag-of-words"][seed] = keep(job, "bag-of-words", lambda: bag_of_words_row(job))
        if options.untrained:
            key = f"untrained-{seed}"
            results["untrained"][seed] = keep(job, key, lambda seed=seed: untrained_row(job, seed))
        if options.mode in ("both", "frozen"):
            results["frozen"][seed] = keep(job, f"frozen-{seed}", lambda seed=seed: frozen_row(job, seed))
        if options.mode in ("both", "finetune"):
            key = f"finetuned-{seed}"
            results["finetuned"][seed] = keep(job, key, lambda seed=seed: finetuned_row(job, seed))
            if processes.is_first():
                job.training_state(seed).unlink(missing_ok=True)  # only now: a kill before loses nothing
    if len(results["finetuned"]) > 1 and processes.is_first():
        results["ensemble"] = {options.seeds[0]: ensemble_row(job, list(results["finetuned"].values()))}
    return {name: by_seed for name, by_seed in results.items() if by_seed}


def keep(job, key, compute):
    """`compute()`, a dict of JSON values, or what it returned before.

    Of several processes all compute, the first one writes, and the others get nothing.
    """
    path = job.folder / "work" / f"{key}.json"
    if processes.tell(path.is_file()):
        return read_checked_json(path)
    result = compute()
    if not processes.is_first():
        return None
    write_checked_json(path, result)
    return result


def make_result(job, probabilities, seconds, trainable, validation=None, also=None, **more):
    """What is kept of a row: its figures on test, the probabilities behind them, and what was chosen on validation.

    probabilities [N, C] are those of the test set, `validation` those of the validation set, or None; `also` those of
    each further test set, by its name. seconds: what the row took; trainable: the parameters that it learned.
    """
    row = score_of(job, job.task.test, probabilities)
    row |= {"seconds": round(seconds, 1), "trainable_parameters": trainable}
    if also:
        more["also"] = {
            name: {"row": score_of(job, job.also[name], values), "probabilities": np.round(values, 9).tolist()}
            for name, values in also.items()
        }
    if validation is not None:
        more["validation_probabilities"] = np.round(validation, 9).tolist()
    return {"row": row, "probabilities": np.round(probabilities, 9).tolist(), **more}


def score_of(job, dataset, probabilities):
    """The figures of a data set's probabilities; where labels are numbers of something, how far off they are, too."""
    row = metrics.score(dataset.labels, probabilities, job.label_names)
    if job.task.unit:
        values = [float(name) for name in job.label_names]
        guesses = np.asarray(probabilities).argmax(1)
        row["mean_absolute_error"] = metrics.mean_absolute_error(dataset.labels, guesses, values)
    return row


def of_classifier(job, classifier, parts):
    """[probabilities of each part], and those of all further test sets by name; the classifier lies on the device."""
    found = {
        part: softmax(predict(classifier, job.examples[part], job.device, job.precision, job.options.quiet,
                              f"predicting {part}"))
        for part in (*parts, *job.also)
    }  # fmt: skip
    return [found[part] for part in parts], {name: found[name] for name in job.also}


def majority_row(job):
    """Always the biggest class."""
    started = time.monotonic()

    def shares(dataset):
        return baselines.majority(job.task.train.labels, len(job.label_names), len(dataset))

    also = {name: shares(dataset) for name, dataset in job.also.items()}
    return make_result(job, shares(job.task.test), time.monotonic() - started, 0, also=also)


def bag_of_words_row(job):
    """Logistic regression on words and pairs of words."""
    job.say("", "bag of words")
    started = time.monotonic()
    wide = replace(job.task, test=joined([job.task.test, *job.also.values()]))
    probabilities, parameters, tried = baselines.bag_of_words(wide, job.class_weights, job.options.quiet)
    ends = np.cumsum([len(job.task.test), *map(len, job.also.values())])
    probabilities, *others = np.split(probabilities, ends[:-1])
    also = dict(zip(job.also, others, strict=True))
    best = tried[0]
    job.say(f"  chosen on validation: {best['setting']}, accuracy {best['accuracy']:.4f}")
    seconds = time.monotonic() - started
    return make_result(
        job, probabilities, seconds, parameters, also=also, tried=tried, validation_accuracy=best["accuracy"]
    )


def untrained_row(job, seed):
    """The pretrained encoder under the random head that fine-tuning starts from: nobody should expect sense of it."""
    started = time.monotonic()
    classifier = put_head(read_encoder(job.checkpoint), job.label_names, job.pooling, job.head, seed)
    (probabilities,), also = of_classifier(job, classifier.to(job.device), ["test"])
    if not processes.is_first():
        return None
    return make_result(job, probabilities, time.monotonic() - started, 0, also=also)


def ensemble_row(job, members):
    """The mean of several fine-tuned classifiers' probabilities; it costs what all of them cost."""
    probabilities, validation = (
        np.mean([np.array(member[key]) for member in members], axis=0) if key in members[0] else None
        for key in ("probabilities", "validation_probabilities")
    )
    also = {
        name: np.mean([np.array(member["also"][name]["probabilities"]) for member in members], axis=0)
        for name in job.also
    }
    seconds, trainable = (sum(member["row"][key] for member in members) for key in ("seconds", "trainable_parameters"))
    return make_result(job, probabilities, seconds, trainable, validation, also)


def frozen_row(job, seed):
    """Encode each text once, fit heads on train, choose on validation, score on test."""
    job.say("", f"frozen encoder, seed {seed}")
    started = time.monotonic()
    features = frozen_features(job)
    if not processes.is_first():
        return None
    with processes.alone():
        return fit_frozen_row(job, seed, features, started)


def fit_frozen_row(job, seed, features, started):
    """The frozen row, from features. started: when its work began."""
    native_head = NATIVE[job.pretrained().config.family][1]
    heads = {None: ("linear", "mlp"), "native": (native_head,)}.get(job.options.head, (job.options.head,))
    pooling, head_name, head, tried = fit_heads(
        features["train"], features["validation"], job.task.train.labels, job.task.validation.labels,
        len(job.label_names), heads, job.class_weights, seed, job.options.quiet,
    )  # fmt: skip
    best = tried[0]
    job.say(
        f"  chosen on validation: {pooling} pooling, {head_name} head, {best['setting']}, "
        f"accuracy {best['accuracy']:.4f}"
    )
    with torch.inference_mode():
        found = {part: softmax(head(features[part][pooling]).numpy()) for part in ("validation", "test", *job.also)}
    encoder = job.pretrained().cpu()
    pooler = encoder.pooler
    classifier = Classifier(encoder, job.label_names, pooling, head_name)
    classifier.head.load_state_dict(head.state_dict())
    save_if_best(job, "frozen", seed, best["accuracy"], classifier)
    encoder.pooler = pooler  # a classifier loses a pooler that it has no use for; fine-tuning may have one
    trainable = sum(parameter.numel() for parameter in head.parameters())
    seconds = time.monotonic() - started
    return make_result(
        job, found["test"], seconds, trainable, found["validation"], {name: found[name] for name in job.also},
        tried=tried, validation_accuracy=best["accuracy"],
    )  # fmt: skip


def frozen_features(job):
    """{part: {pooling: [N, E]}}, from the cache where they are known."""
    if job.features:
        return job.features
    options, encoder = job.options, job.pretrained()
    if options.compile:
        encoder = read_encoder(job.checkpoint)  # another one: fine-tuning compiles its own
        encoder.compile(dynamic=True)
    if job.precision == "int8":
        encoder = quantize(read_encoder(job.checkpoint))  # another one: the classifier is saved with whole weights
    poolings = frozen_poolings(options, encoder)
    features, encoded = {}, 0
    for part, examples in job.examples.items():
        features[part], count = encode(
            encoder, examples, poolings, job.device, job.precision, quiet=options.quiet, name=f"encoding {part}"
        )
        encoded += count
    total = sum(len(examples) for examples in job.examples.values())
    job.say(f"  encoded {encoded:,} of {total:,} texts" + ("" if encoded else "; all features were in the cache"))
    job.features = features
    return features


def vectors_of_texts(job, results):
    """{part: [N, E] NumPy} of the pooling that the frozen row chose, for the report; None without a frozen row."""
    if "frozen" not in results:
        return None
    pooling = next(iter(results["frozen"].values()))["tried"][0]["pooling"]
    return {part: of_part[pooling].numpy() for part, of_part in frozen_features(job).items()}


def explain_mistakes(job, results):
    """{index of a test text: [[word, share]]} of the kept fine-tuned classifier's surest mistakes, for the report.

    Few steps are taken: the shares show which words decided, and the last per cent of each does not matter here.
    """
    by_seed = results.get("finetuned")
    if not by_seed:
        return {}
    # The seed whose classifier `save_if_best` kept.
    seed = max(by_seed, key=lambda seed: (by_seed[seed].get("validation_accuracy", 0), -job.options.seeds.index(seed)))

    def compute():
        job.say("", "which words decided in the surest mistakes")
        test, options = job.task.test, job.options
        probabilities = np.array(by_seed[seed]["probabilities"])
        chosen = metrics.surest_mistakes(test.labels, probabilities, EXPLAINED)
        classifier, _ = read_classifier(job.folder / "finetuned")
        wrong = test.select(chosen)
        records = explain(
            classifier.to(job.device), job.tokenizer, wrong.texts, wrong.pairs,
            [job.label_names[label] for label in probabilities[chosen].argmax(1)],
            options.max_length, options.truncation, options.windows, FIRST_STEPS,
        )  # fmt: skip
        words = [with_gaps(text, one["words"]) for text, one in zip(wrong.texts, records, strict=True)]
        if wrong.pairs is not None:
            for of_text, pair, one in zip(words, wrong.pairs, records, strict=True):
                of_text += [[" / ", 0.0], *with_gaps(pair, one["pair_words"])]
        return {"words": {str(i): of_text for i, of_text in zip(chosen, words, strict=True)}}

    return {int(i): words for i, words in keep(job, f"explained-{seed}", compute)["words"].items()}


def with_gaps(text, words):
    """[[word, share]] as they stand in the text: a space before each that has one, dots for what was not read."""
    placed, done = [], 0
    for word, share, start, end in words:
        gap = text[done:start]
        placed.append([(" … " if gap.strip() else " " if gap else "") + word, share])
        done = end
    return placed


def finetuned_row(job, seed):
    """Train encoder and head together, keep the best epoch on validation, score on test."""
    job.say("", f"fine-tuning, seed {seed}")
    classifier, progress = finetune(job, seed)
    started = time.monotonic()
    parts = ["test"] if job.options.refit else ["test", "validation"]
    (probabilities, *validation), also = of_classifier(job, classifier, parts)
    if not processes.is_first():
        return None
    seconds = progress.seconds + time.monotonic() - started
    chosen = {}
    if not job.options.refit:
        chosen = {"best_epoch": progress.best_epoch + 1, "validation_accuracy": progress.best_accuracy}
        job.say(f"  kept epoch {progress.best_epoch + 1}: validation accuracy {progress.best_accuracy:.4f}")
    save_if_best(job, "finetuned", seed, chosen.get("validation_accuracy"), classifier.cpu())
    trainable = classifier.parameter_table()[-1][1]
    return make_result(job, probabilities, seconds, trainable, *(validation or [None]), also, **chosen)


def finetune(job, seed, stop_after=None):
    """Train from where the job's kept state stands, or from the start: (classifier with its best weights, Progress).

    stop_after: stop for now after so many epochs of the schedule.
    """
    options = job.options
    classifier = new_training(job, seed)
    state = job.training_state(seed)
    done, log = read_progress(state), None
    if processes.is_first():
        write = Log(job.folder / "log.jsonl", keep=lambda record: record["seed"] != seed or done.knows(record))

        def log(record):
            write({"seed": seed, **record})
            job.track({"seed": seed, **record})

    if done.update:
        job.say(f"  going on after update {done.update:,}")
    micro_batches = job.device.type == "cpu" and 0 < options.micro_batch < options.batch_size
    examples, validation, settings = job.learned_from, job.examples["validation"], train_settings(job, seed)
    refit = Unvalidated(examples, validation, settings, job.device, job.class_weights) if options.refit else None
    with touched_rows(classifier, micro_batches and processes.count() == 1):  # the exchange wants whole gradients
        progress = train(
            classifier, examples, validation, settings, job.device, job.class_weights, state, True, log, options.quiet,
            "fine-tuning", refit, options.checkpoint_every, stop_after,
        )  # fmt: skip
    return classifier, progress


def new_training(job, seed):
    """The classifier that a fine-tuning starts from. It takes the pretrained encoder."""
    encoder, job.encoder = job.pretrained(), None
    classifier = put_head(encoder, job.label_names, job.pooling, job.head, seed, job.options.dropout)
    freeze(classifier.encoder, *job.options.freeze)
    if seed == job.options.seeds[0]:
        job.say(*describe_training(classifier))
    if job.options.compile:
        classifier.compile(dynamic=True)
    return classifier


def freeze(encoder, embeddings, layers):
    """Take the embeddings, if so wanted, and the lowest `layers` layers out of the training."""
    frozen = [encoder.embeddings] if embeddings else []
    for part in [*frozen, *encoder.layers[:layers]]:
        part.requires_grad_(False)


def train_settings(job, seed):
    """The options that decide what a fine-tuning computes, as `train.train` takes them."""
    options = job.options
    return TrainSettings(
        epochs=options.epochs,
        batch_size=options.batch_size,
        micro_batch=options.micro_batch,
        lr=options.lr,
        head_lr=options.head_lr,
        layer_decay=options.layer_decay,
        weight_decay=options.weight_decay,
        warmup=options.warmup,
        max_norm=options.max_norm,
        label_smoothing=options.label_smoothing,
        patience=options.patience,
        precision=job.precision,
        seed=seed,
    )


def save_if_best(job, name, seed, validation_accuracy, classifier):
    """Save the classifier unless an earlier seed did as well on validation. Without a validation the first is saved."""
    for earlier in job.options.seeds[: job.options.seeds.index(seed)]:
        kept = read_checked_json(job.folder / "work" / f"{name}-{earlier}.json")
        if validation_accuracy is None or kept["validation_accuracy"] >= validation_accuracy:
            return
    extra = {"max_length": job.options.max_length, "truncation": job.options.truncation, "seed": seed}
    extra["windows"] = job.options.windows
    extra["pairs"] = job.task.train.pairs is not None
    save_classifier(classifier, job.folder / name, extra)
    job.tokenizer.save(job.folder / name)
