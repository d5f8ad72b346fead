"""Everything that a run's page shows, as one plain record: `gather`. It is also the run's metrics.json.

JSON values only. Rows are "majority", "bag-of-words", "untrained", "frozen", "finetuned" and "ensemble" (whose one
result stands under the first seed), as far as the run has them; C classes,
in the order of `labels`; what is said of one classifier is said of the row's kept seed, the best on validation.

    task, model, seeds, command, facts, settings    what was run, as the command line and `finetune` tell it
    labels        [C] names, made legible           test_texts   their number;   pairs   whether they are pairs
    rows          {row: figures of `metrics.score`, seconds, trainable_parameters; with several seeds
                  {"per_seed", "mean", "std"}};  of more than 50 classes `confusion` is {"classes", "cells":
                  [[gold, predicted, count]]}
    kept          {row: seed}                       best         the row that is best on validation
    refit         whether fine-tuning learned from the validation texts, too: then it is called best
    answer        sentences                         notes        warnings and how sure the comparison is
    intervals     {row: [low, high]} of accuracy    difference   fine-tuned minus frozen, as `Run.difference` has it
    lead          the same for the two most accurate rows, with their names: {"first", "second", ...}
    chosen        what validation decided, lines    groups       {group: {"texts", row: accuracy}}, and group_column
    unit          what the labels are numbers of, or None;   rows then hold mean_absolute_error
    also_tests    {name: {"texts", "seen" (of them, in training), "rows": as above}}, further test sets
    roc           {row: {"x": [P], "y": [P]}}       training     {"epochs", "updates": {seed: [records of log.jsonl]}}
    sweep         `sweep.row_of` each trial, or None
    data          `data_facts.gather_data`'s record
    errors        `gather_errors.gather_errors`'s record
    calibration   {row: {"error", "low", "high", "chance", "too_sure", "table", "temperature", "log_loss",
                  "log_loss_after"}}
    label_errors  {"test", "train": {"texts", "suspected", "expected" (of right labels), "worst": [cases], "ids": of
                  all}};  train only where features are known
    near_copies   {"texts", "examples"}, or None where features are not known
    checks        findings of `checks`              machine      {"versions", "hardware", "precision", "seconds"}
"""

import importlib.metadata
import platform
import shlex

import numpy as np

from .. import metrics
from ..baselines import one_text_each
from ..data import PARTS
from ..data.corpora import REVIEWS_GROUP
from ..plumbing.files import UserError, read_json
from ..plumbing.resume import read_log
from . import calibration, copies, label_errors, tables, words
from .data_facts import gather_data
from .gather_checks import gather_checks
from .gather_errors import gather_errors, interval, make_case
from .legible import legible

MOST_CLASSES = 50  # whose confusion matrix is stored and shown whole
WORST = 50  # suspected label errors listed
MOST_IDS = 2000  # ... and named
UPDATES = 150  # points of a curve by update
LOGGED = ("loss", "learning_rate", "gradient_norm")  # of an update, in log.jsonl
VALIDATED = ("validation_accuracy", "validation_loss")  # of an epoch
CURVE = 81  # points of an ROC curve


def gather(job, results, features=None, explained=None):
    """The record of a run and the arrays for predictions.csv: (record, {row: probabilities [N, C]}).

    job: `job.Job`; results: {row: {seed: result}}; features: {part: [N, E] NumPy} of the frozen encoder; without
    them two checks are left out. explained: {index of a test text: [[word, weight]]}, why the classifier whose errors
    are shown answers so, or None.
    """
    test, names = job.task.test, [legible(name, 80) for name in job.label_names]
    run = Run(job, results)
    sequences = {part: job.examples[part].sequences for part in PARTS}
    data, texts = gather_data(
        job.task, sequences, job.tokenizer, job.longest_read, job.options.truncation, run.heavy_words()
    )
    record = {"task": job.task.name, "model": job.options.model, "seeds": job.options.seeds, "rows": run.rows()}
    record |= {"labels": names, "test_texts": len(test), "pairs": test.pairs is not None}
    record |= {"kept": run.kept, "best": run.best, "refit": job.options.refit}
    record |= {"facts": [legible(fact, 400) for fact in job.facts], "command": command(job), "settings": settings(job)}
    record |= {"chosen": words.choices(results, run.kept), "difference": run.difference("frozen", "finetuned")}
    record["lead"] = run.lead()
    record["intervals"] = {
        name: interval(int((predicted == run.labels).sum()), len(test)) for name, predicted in run.predictions.items()
    }
    if test.groups is not None:
        by_seed = {
            name: [np.array(result["probabilities"]).argmax(1) for result in of_row.values()]
            for name, of_row in results.items()
        }
        record["groups"] = tables.by_group(run.labels, [legible(group, 40) for group in test.groups], by_seed)
        record["group_column"] = job.options.group_column or REVIEWS_GROUP
    record["unit"] = job.task.unit
    record["also_tests"] = run.also_tests()
    record["roc"] = {
        name: roc_curve(run.labels, values) for name, values in run.probabilities.items() if name != "majority"
    }
    record["training"] = gather_training(job.folder / "log.jsonl") if "finetuned" in results else None
    sweep = job.folder / "sweep.json"
    record["sweep"] = read_json(sweep)["trials"] if sweep.is_file() else None
    record["data"] = data
    record["errors"] = gather_errors(run, texts["lengths"]["test"], job.longest_read, explained or {})
    record["calibration"] = {
        name: gather_calibration(run, name) for name in ("bag-of-words", "frozen", "finetuned") if name in results
    }
    record["label_errors"] = gather_label_errors(run, record["calibration"], features)
    near = gather_near_copies(run, texts["across"], features)
    record["near_copies"] = near and {key: near[key] for key in ("texts", "examples")}
    record["checks"] = gather_checks(run, record, texts, near)
    record["answer"], record["notes"] = words.answer(record), words.notes(record, run)
    record["machine"] = machine(job, results)
    return record, run.probabilities


class Run:
    """A job with its results, and what is read off them again and again."""

    def __init__(self, job, results):
        self.job, self.results, self.task = job, results, job.task
        seeds = job.options.seeds
        self.kept = {
            name: max(by_seed, key=lambda seed: (by_seed[seed].get("validation_accuracy", 0), -seeds.index(seed)))
            for name, by_seed in results.items()
        }
        self.best = max(results, key=lambda name: self.result(name).get("validation_accuracy", 0))
        if job.options.refit and "finetuned" in results:  # it has learned from what would have judged it
            self.best = "finetuned"
        self.probabilities = {name: np.array(self.result(name)["probabilities"]) for name in results}
        self.predictions = {name: values.argmax(1) for name, values in self.probabilities.items()}
        self.labels = np.array(job.task.test.labels)
        self.label_names = [legible(name, 80) for name in job.label_names]

    def result(self, name):
        return self.results[name][self.kept[name]]

    def heavy_words(self):
        """The words that weigh most in the bag of words, or None where that is not known."""
        tried = self.result("bag-of-words").get("tried") or [{}]
        return set(tried[0]["words"]) if tried[0].get("words") else None

    def rows(self):
        """{row: figures}, those of several seeds with mean and spread."""
        rows = {
            name: tables.combine({seed: compact(result["row"]) for seed, result in by_seed.items()})
            for name, by_seed in self.results.items()
        }
        for name in ("majority", "bag-of-words"):  # no seed enters them
            rows[name] = compact(next(iter(self.results[name].values()))["row"])
        return rows

    def also_tests(self):
        """{name: {"texts", "seen" (of them, in training), "rows"}} of further test sets."""
        return {
            legible(name, 40): {
                "texts": len(dataset), "seen": self.task.seen_in_training(dataset), "rows": self.rows_on(name)
            }
            for name, dataset in self.job.also.items()
        }  # fmt: skip

    def rows_on(self, name):
        """{row: figures} on a further test set, those of several seeds with mean and spread."""
        rows = {
            row: tables.combine({seed: compact(result["also"][name]["row"]) for seed, result in of_row.items()})
            for row, of_row in self.results.items()
        }
        return rows | {row: rows[row].get("mean", rows[row]) for row in ("majority", "bag-of-words")}

    def difference(self, one, other):
        """Accuracy of `other` minus that of `one`: {"points", "low", "high", "seeds", "spread"}, as shares; None when
        one of them is missing.

        With several seeds, of their means: the interval is that of the seed that is kept, laid around them, and wider
        by what the mean of so few seeds leaves open (Student's t; the two doubts add up as their squares). spread: the
        standard deviation over seeds, None for one.
        """
        if not {one, other} <= set(self.predictions):
            return None
        points, low, high = bootstrap(self.labels, self.predictions[one], self.predictions[other])
        gaps = np.subtract(self.accuracies(other), self.accuracies(one))  # of a row that no seed enters, with its one
        means, seeds = float(gaps.mean()), len(gaps)
        spread = float(gaps.std(ddof=1)) if seeds > 1 else None
        doubt = metrics.student_t(seeds - 1) * spread / seeds**0.5 if seeds > 1 else 0.0
        low, high = means - float(np.hypot(points - low, doubt)), means + float(np.hypot(high - points, doubt))
        return {"points": means, "low": max(low, -1.0), "high": min(high, 1.0), "seeds": seeds, "spread": spread}

    def lead(self):
        """How far the most accurate row is ahead of the second (means over seeds decide which they are)."""
        order = sorted(self.results, key=lambda name: -float(np.mean(self.accuracies(name))))
        return {"first": order[0], "second": order[1]} | self.difference(order[1], order[0])

    def accuracies(self, name):
        """[accuracy of each seed]."""
        return [result["row"]["accuracy"] for result in self.results[name].values()]


def bootstrap(labels, one, other):
    """`metrics.paired_bootstrap`, also where all the texts that tell the two apart speak for one of them.

    Draws of such texts know of no other outcome, and would be sure after the first. So one more text is made up for
    each side: then it takes six of them and none against to leave luck out, as an exact sign test does.
    """
    outcome = (other == labels).astype(int) - (one == labels)
    points, low, high = metrics.paired_bootstrap(labels, one, other)
    if outcome.any() and not (outcome.min() < 0 < outcome.max()):
        labels, one, other = np.append(labels, [0, 0]), np.append(one, [0, 1]), np.append(other, [1, 0])
        _, low, high = metrics.paired_bootstrap(labels, one, other)
    return points, min(low, points), max(high, points)


def compact(row):
    """A row whose confusion matrix, if it has more than 50 classes, is a list of its cells that are not 0."""
    matrix = np.array(row["confusion"])
    if len(matrix) <= MOST_CLASSES:
        return row
    cells = [[int(i), int(j), int(matrix[i, j])] for i, j in zip(*np.nonzero(matrix), strict=True)]
    return row | {"confusion": {"classes": len(matrix), "cells": cells}}


def roc_curve(labels, probabilities):
    """{"x": [P] false positive rates, "y": [P] true positive rates}; of several classes the mean of one against the
    rest.
    """
    grid, curves = np.linspace(0, 1, CURVE) ** 2, []  # close together where good classifiers differ
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    for label in classes:
        inside = labels == label
        if not inside.any() or inside.all():
            continue
        order = np.argsort(-probabilities[:, label], kind="stable")
        scores = probabilities[order, label]
        last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)  # equal scores pass together
        found, false = np.cumsum(inside[order])[last], np.cumsum(~inside[order])[last]
        curves.append(np.interp(grid, np.append(0, false / false[-1]), np.append(0, found / found[-1])))
    if not curves:
        return None
    return {"x": grid.round(4).tolist(), "y": np.mean(curves, axis=0).round(4).tolist()}


def gather_training(path):
    """{"epochs": {seed: [validation records]}, "updates": {seed: [training records]}}, long runs thinned out."""
    epochs, updates = {}, {}
    for record in read_log(path):
        kind, names = (epochs, VALIDATED) if "validation_loss" in record else (updates, LOGGED)
        absent = next((name for name in ("seed", *names) if name not in record), None)
        if absent or kind is epochs and not np.isfinite(list(record.values())).all():
            problem = f"has no {absent}" if absent else "holds a number that is not finite"
            raise UserError(f"{path}: the line of update {record['update']} {problem}; delete this line")
        kind.setdefault(str(record.pop("seed")), []).append(record)
    for seed, records in epochs.items():
        for record in records:
            losses = [one["loss"] for one in updates.get(seed, ()) if one["epoch"] == record["epoch"]]
            record["training_loss"] = round(float(np.mean(losses)), 6) if losses else None
    width = -(-max(map(len, updates.values()), default=1) // UPDATES)  # one for all, so that seeds stay side by side
    return {"epochs": epochs, "updates": {seed: thin_out(records, width) for seed, records in updates.items()}}


def thin_out(records, width):
    """Means of `width` neighbours, at the last one's update. Overflows of fp16 are left out."""
    groups = [records[i : i + width] for i in range(0, len(records), width)]
    finite = [[one for one in group if all(one[key] is not None and np.isfinite(one[key]) for key in LOGGED)]
              for group in groups]  # fmt: skip
    groups = [group for group in finite if group]
    return [
        {"update": group[-1]["update"]} | {key: float(f"{np.mean([one[key] for one in group]):.5g}") for key in LOGGED}
        for group in groups
    ]


def gather_calibration(run, name):
    """How far the probabilities of a row can be believed, and the temperature that mends them."""
    labels, probabilities = run.labels, run.probabilities[name]
    found = calibration.expected_error(labels, probabilities)
    found |= {"table": calibration.reliability(labels, probabilities), "temperature": None, "log_loss_after": None}
    found["log_loss"] = metrics.log_loss(labels, probabilities)
    validation = run.result(name).get("validation_probabilities")
    if validation is not None:
        found["temperature"] = calibration.fit_temperature(run.task.validation.labels, np.array(validation))
    if found["temperature"]:
        cooled = calibration.apply_temperature(probabilities, found["temperature"])
        found["log_loss_after"] = metrics.log_loss(labels, cooled)
    return found


def gather_label_errors(run, calibrated, features):
    """Suspected labels of test, by the best trained row, and of train, by five folds on the frozen features."""
    name = "finetuned" if "finetuned" in run.results else run.best
    temperature = calibrated.get(name, {}).get("temperature")
    probabilities = calibration.apply_temperature(run.probabilities[name], temperature)
    record = {"row": name, "test": list_suspects(run.task.test, probabilities, run.label_names)}
    if features is not None:
        train, num_labels = run.task.train, len(run.label_names)
        out_of_fold = label_errors.out_of_fold(features["train"], train.labels, num_labels, copies.keys(train))
        record["train"] = list_suspects(train, out_of_fold, run.label_names)
    return record


def list_suspects(part, probabilities, names):
    found = label_errors.suspects(part.labels, probabilities)
    worst = [
        make_case(part, i, names, guess=names[best], p_gold=probabilities[i, part.labels[i]], limit=240)
        for i, best in found[:WORST]
    ]
    ids = [legible(part.ids[i], 60) for i, _ in found[:MOST_IDS]]
    expected = round(label_errors.expected_suspects(part.labels, probabilities), 1)
    return {"texts": len(part), "suspected": len(found), "expected": expected, "worst": worst, "ids": ids}


def gather_near_copies(run, across, features):
    """{"texts", "examples", "test"}; None where there are no features. test: {test index: index in train +
    validation}.
    """
    if features is None:
        return None
    task = run.task
    test_texts, texts = one_text_each(task.test), one_text_each(task.train) + one_text_each(task.validation)
    ids = task.train.ids + task.validation.ids
    others = np.concatenate([features["train"], features["validation"]])
    found = copies.near(features["test"], others, test_texts, texts, across)
    examples = [
        {"test": legible(task.test.ids[i], 60), "train": legible(ids[j], 60), "text": legible(test_texts[i], 160),
         "other": legible(texts[j], 160)}
        for i, j in list(found.items())[:10]
    ]  # fmt: skip
    return {"texts": len(found), "examples": examples, "test": found}


def command(job):
    """The command line that repeats the run."""
    arguments = read_json(job.folder / "settings.json")["arguments"]
    return shlex.join(["python", "-m", "minibert.finetune", *arguments])


def settings(job):
    """The options that decide a number: settings.json's, and after a sweep those of the trial that it chose."""
    kept = read_json(job.folder / "settings.json")
    given = {key: value for key, value in vars(job.options).items() if value is not None}
    return {key: given.get(key, value) for key, value in kept.items() if key != "arguments"}


def machine(job, results):
    """Versions, hardware, and seconds of every row."""
    versions = {"python": platform.python_version()}
    for package in ("minibert", "torch", "tokenizers", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed as a package"
    seconds = {name: [result["row"]["seconds"] for result in by_seed.values()] for name, by_seed in results.items()}
    seconds |= {name: seconds[name][:1] for name in seconds if name not in ("frozen", "finetuned")}
    hardware = next((fact for fact in job.facts if fact.startswith("computing on ")), "")
    return {"versions": versions, "hardware": hardware.removeprefix("computing on "),
            "system": f"{platform.system()} {platform.machine()}", "seconds": seconds}  # fmt: skip
