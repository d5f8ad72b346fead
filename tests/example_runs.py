"""Finished runs without any training: a task, and classifiers whose probabilities are made up."""

import json
from types import SimpleNamespace

import numpy as np

from minibert import metrics
from minibert.batch import Examples
from minibert.data.dataset import Dataset, Task
from minibert.metrics import softmax

WORDS = "the film is good bad a story of people and play book song fine dull it was with many scenes".split()


def some_texts(count, seed):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=random.integers(4, 30))) + f" {seed}x{i}" for i in range(count)]


def make_task(sizes=(200, 60, 100), names=("no", "yes"), texts=some_texts, pairs=False, groups=False):
    """A `Task` of texts without meaning, classes in turn."""
    parts = []
    for number, size in enumerate(sizes):
        labels = [i % len(names) for i in range(size)]
        parts.append(Dataset(
            texts(size, number), labels, list(names),
            [f"line {i + 1}" for i in np.random.default_rng(9).permutation(size)],
            pairs=texts(size, number + 10) if pairs else None,
            groups=[f"kind {i % 3}" for i in range(size)] if groups else None,
        ))  # fmt: skip
    return Task("example", *parts, splits="made up")


def make_probabilities(labels, classes, skill, seed, sure=1.0):
    """[N, C] of a classifier that is right the more often the greater its skill, and calibrated if `sure` is 1."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += skill
    calibrated = skill * logits  # of Gaussian scores: log p(x | gold) is skill times the score, but for a constant
    return softmax(calibrated * sure)


def make_run(folder, tokenizer, task, seeds=(0,), skills=(1.0, 1.5, 2.5), mode="both", max_length=24, sure=1.0):
    """(job, results) as a finished `finetune` has them; skills: of bag of words, frozen, fine-tuned."""
    names = task.train.label_names
    options = SimpleNamespace(seeds=list(seeds), model="a/model", max_length=max_length, truncation="head",
                              group_column=None, mode=mode, refit=False, windows=1)  # fmt: skip
    examples = {}
    for part in ("train", "validation", "test"):
        texts = getattr(task, part)
        examples[part] = Examples(tokenizer.encode(texts.texts, texts.pairs, max_length, "head"), texts.labels)
    facts = [f"task: {task.name}; {len(task.train)} train", "computing on 2 CPU cores in fp32 (as asked)"]
    job = SimpleNamespace(
        options=options, longest_read=max_length, also={}, folder=folder, task=task, examples=examples,
        tokenizer=tokenizer, facts=facts, label_names=names,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps({"task": task.name, "arguments": ["example"]}), encoding="utf-8")
    results = {"majority": {}, "bag-of-words": {}, "frozen": {}, "finetuned": {}}
    for seed in seeds:
        shares = np.bincount(task.train.labels, minlength=len(names)) / len(task.train)
        results["majority"][seed] = make_result(task, np.tile(shares, (len(task.test), 1)), 0)
        for number, (name, skill) in enumerate(zip(("bag-of-words", "frozen", "finetuned"), skills, strict=True)):
            key = (number, 0 if name == "bag-of-words" else seed)
            test = make_probabilities(task.test.labels, len(names), skill, key, sure)
            validation = make_probabilities(task.validation.labels, len(names), skill, (*key, 1), sure)
            results[name][seed] = make_result(task, test, 1000, validation)
        results["finetuned"][seed]["best_epoch"] = 2
    wanted = {"both": ("frozen", "finetuned"), "frozen": ("frozen",), "finetune": ("finetuned",)}[mode]
    results = {name: of_row for name, of_row in results.items() if name in ("majority", "bag-of-words", *wanted)}
    write_log(folder, seeds)
    return job, results


def make_result(task, probabilities, parameters, validation=None):
    row = metrics.score(task.test.labels, probabilities, task.test.label_names)
    row |= {"seconds": 1.5, "trainable_parameters": parameters}
    result = {"row": row, "probabilities": probabilities.tolist()}
    if validation is not None:
        accuracy = metrics.accuracy(task.validation.labels, validation.argmax(1))
        result |= {"validation_probabilities": validation.tolist(), "validation_accuracy": accuracy}
        result["tried"] = [{"setting": "L2 1", "accuracy": accuracy, "loss": 0.5}]
    return result


def write_log(folder, seeds, losses=(0.6, 0.5, 0.495)):
    lines = []
    for seed in seeds:
        for epoch, loss in enumerate(losses, 1):
            lines += [{"seed": seed, "epoch": epoch, "update": 100 * (epoch - 1) + 10 * i, "loss": loss + 0.01 * i,
                       "learning_rate": 1e-4 / epoch, "gradient_norm": 1.0} for i in range(1, 11)]  # fmt: skip
            lines.append({"seed": seed, "epoch": epoch, "update": 100 * epoch, "validation_accuracy": 0.7,
                          "validation_f1": 0.69, "validation_loss": loss, "seconds": 3.0})  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text, encoding="utf-8")


def make_features(task, skill=2.0, width=8):
    """{part: [N, E]} in which the class can be read, as far as the skill goes."""
    features = {}
    for number, part in enumerate(("train", "validation", "test")):
        labels = np.array(getattr(task, part).labels)
        features[part] = np.random.default_rng(number + 50).normal(size=(len(labels), width)).astype(np.float32)
        features[part][np.arange(len(labels)), labels % width] += skill
    return features
