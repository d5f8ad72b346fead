"""TODO"""

import csv
import io
import shlex

import numpy as np

from .. import metrics
from ..data.corpora import REVIEWS_GROUP
from ..plumbing.files import read_json, write_json, write_text
from . import tables, words


def write_report(job, results):
    """Everything that a run leaves, from the parts' results {row: {seed: result}}."""
    seeds = job.options.seeds
    facts = job.facts
    saved = [name for name in ("frozen", "finetuned") if name in results]
    rows = {
        name: tables.combine({seed: result["row"] for seed, result in by_seed.items()})
        for name, by_seed in results.items()
    }
    for name in ("majority", "bag-of-words"):  # no seed enters them
        rows[name] = next(iter(results[name].values()))["row"]
    table = tables.result_table(rows, seeds)
    kept = {
        name: max(by_seed, key=lambda seed: (by_seed[seed].get("validation_accuracy", 0), -seeds.index(seed)))
        for name, by_seed in results.items()
    }
    probabilities = {name: np.array(results[name][kept[name]]["probabilities"]) for name in results}
    predictions = {name: values.argmax(1) for name, values in probabilities.items()}
    labels = np.array(job.task.test.labels)
    best = max(results, key=lambda name: results[name][kept[name]].get("validation_accuracy", 0))
    best_row = results[best][kept[best]]["row"]
    notes = [words.collapse_warning(name, predictions[name], job.label_names) for name in predictions if name != "majority"]
    notes = [note for note in notes if note]
    if "frozen" in predictions and "finetuned" in predictions:
        notes.append(words.difference_line(labels, predictions["frozen"], predictions["finetuned"]))
    if len(seeds) > 1:
        which = ", ".join(f"{tables.TITLES[name]} seed {seed}" for name, seed in kept.items() if name in saved)
        notes.append(f"predictions and weights kept: those of the seed best on validation ({which})")
    confusion = tables.confusion_table(best_row["confusion"], job.label_names)
    heading = f"Confusion matrix of {tables.TITLES[best]}, best on validation"
    choices = words.choices(results, kept)

    values = {"task": job.task.name, "model": job.options.model, "seeds": seeds, "rows": rows}
    shown = [("test set", table)]
    if job.task.test.groups is not None:
        by_seed = {
            name: [np.array(result["probabilities"]).argmax(1) for result in results[name].values()] for name in results
        }
        values["groups"] = tables.by_group(labels, job.task.test.groups, by_seed)
        column = job.options.group_column or REVIEWS_GROUP
        shown.append((f"test set by {column}", tables.group_table(values["groups"])))
    shown.append((heading, confusion))
    write_json(job.folder / "metrics.json", values)
    write_predictions(job.folder / "predictions.csv", job.task.test, probabilities, predictions)
    per_class = metrics.classification_report(labels, predictions[best], job.label_names)
    sections = [*shown[:-1], (heading, f"{confusion}\n\n{per_class}"), ("Chosen on validation", choices)]
    command = shlex.join(["python", "-m", "minibert.finetune", *read_json(job.folder / "settings.json")["arguments"]])
    title = f"{job.task.name}, classified twice"
    write_text(job.folder / "report.md", words.markdown(title, [*facts, f"command: `{command}`", *notes], sections))
    for title, text in shown:
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
