"""The sentences of a report: who won and by how much, what was chosen, and when not to believe a figure."""

import statistics

import numpy as np

from .tables import TITLES

SHORT = {"majority": "the majority", "bag-of-words": "the bag of words", "untrained": "the untrained encoder",
         "frozen": "the frozen encoder", "finetuned": "the fine-tuned encoder",
         "ensemble": "the ensemble of fine-tuned encoders"}  # fmt: skip
FEW = 10  # texts


def answer(record):
    """What a person wants to know first: [sentences]."""
    accuracy = {name: row.get("mean", row)["accuracy"] for name, row in record["rows"].items()}
    lead = record["lead"]
    first, second = SHORT[lead["first"]], SHORT[lead["second"]]
    seeds = record["seeds"]
    several = len(seeds) > 1 and "mean" in record["rows"][lead["first"]]
    over = f", mean over {len(seeds)} seeds" if several else ""
    right = f"{100 * accuracy[lead['first']]:.1f}% of {record['test_texts']:,} test texts{over}"
    gap = f"{100 * (accuracy[lead['first']] - accuracy[lead['second']]):.1f}"
    interval = f"95% interval {100 * lead['low']:+.1f} to {100 * lead['high']:+.1f}"
    if lead["low"] > 0:
        sentences = [f"{capital(first)} wins: right on {right}, {gap} points ahead of {second} ({interval})."]
    else:
        sentences = [
            f"No clear winner: {first} ({100 * accuracy[lead['first']]:.1f}% right) and {second} "
            f"({100 * accuracy[lead['second']]:.1f}%) cannot be told apart on {record['test_texts']:,} test "
            f"texts{over} (difference {gap} points, {interval})."
        ]
    if record["difference"] and {lead["first"], lead["second"]} != {"frozen", "finetuned"}:
        sentences.append(capital(difference_words(record["difference"])))
    order = sorted(accuracy, key=lambda name: -accuracy[name])
    figures = ", ".join(f"{SHORT[name]} {100 * accuracy[name]:.1f}%" for name in order)
    return [*sentences, f"Accuracy of all: {figures}."]


def difference_words(difference):
    """Fine-tuned minus frozen in a sentence. difference: as `gather.Run.difference` has it."""
    low, high = 100 * difference["low"], 100 * difference["high"]
    if low <= 0 <= high:
        verdict = "this test set cannot tell them apart"
    else:
        verdict = "fine-tuning is ahead" if low > 0 else "the frozen encoder is ahead"
    over = "over test texts and seeds" if difference["seeds"] > 1 else "paired bootstrap over test texts"
    return (
        f"fine-tuned minus frozen: {100 * difference['points']:+.2f} points of accuracy, 95% interval {low:+.1f} to "
        f"{high:+.1f} ({over}): {verdict}."
    )


def notes(record, run):
    """Warnings, and which seed's predictions were kept: [lines]."""
    lines = [collapse_warning(name, run.predictions[name], record["labels"]) for name in run.predictions
             if name not in ("majority", "untrained") and len(np.unique(run.labels)) > 1]  # fmt: skip
    lines = [line for line in lines if line]
    if len(record["seeds"]) > 1:
        chosen = ("frozen",) if record["refit"] else ("frozen", "finetuned")
        which = ", ".join(f"{TITLES[name]} seed {record['kept'][name]}" for name in chosen if name in record["kept"])
        kept = [f"those of the seed best on validation ({which})"] if which else []
        kept += [f"those of the first fine-tuned one (seed {record['kept']['finetuned']})"] if record["refit"] else []
        lines.append(f"Predictions and weights kept: {', and '.join(kept)}.")
    return lines


def why_best(record):
    """Why the figures of one row are shown where there is room for one."""
    return "which learned from the validation texts, too" if record["refit"] else "best on validation"


def collapse_warning(name, predictions, label_names):
    """A line when all predictions are one class, else None; of a few texts they may well be."""
    classes = np.unique(predictions)
    if len(classes) > 1 or len(predictions) < FEW:
        return None
    causes = "classes so uneven that --class-weights balanced is needed, or too few texts"
    if name in ("finetuned", "ensemble"):
        causes = (
            "a learning rate too high (the encoder was destroyed) or too low, too few updates, classes so uneven that "
            "--class-weights balanced is needed"
        )
    return (
        f"WARNING: the {TITLES[name]} classifier predicts {label_names[classes[0]]!r} for every text. It learned "
        f"nothing beyond the majority. Likely causes: {causes}."
    )


def choices(results, kept):
    """What was chosen on validation, a line per experiment; `kept` names the seed of each row."""
    lines = []
    for name in ("bag-of-words", "frozen"):
        if name in results:
            best = results[name][kept[name]]["tried"][0]
            what = ", ".join(str(best[key]) for key in ("pooling", "head", "setting") if key in best)
            lines.append(f"{name}: {what} (validation accuracy {best['accuracy']:.4f})")
    for seed, result in results.get("finetuned", {}).items():
        if "best_epoch" in result:
            lines.append(
                f"fine-tuned, seed {seed}: epoch {result['best_epoch']} "
                f"(validation accuracy {result['validation_accuracy']:.4f})"
            )
    return lines


def seeds_line(seeds):
    """How many seeds a figure rests on."""
    if len(seeds) == 1:
        return f"one seed ({seeds[0]}): how far another would differ is not known"
    return f"mean ± standard deviation over seeds {', '.join(map(str, seeds))}"


def kept_row(record, name):
    """The figures of a row's kept seed."""
    row = record["rows"][name]
    seeds = row.get("per_seed")
    if not seeds:
        return row
    return seeds.get(record["kept"][name]) or seeds[str(record["kept"][name])]


def capital(text):
    return text[:1].upper() + text[1:]


def mean_of(values):
    return statistics.mean(values) if values else None
