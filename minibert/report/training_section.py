"""How the training went: curves by epoch and by update."""

from . import pictures, words
from .blocks import paragraph, percent, picture, plain, table

DASHED = {"training_loss", "validation_f1"}
CURVES = {"training_loss": "train", "validation_loss": "validation", "validation_accuracy": "accuracy",
          "validation_f1": "macro F1"}  # fmt: skip


def training_blocks(record):
    """Curves by epoch and by update; nothing where nothing was fine-tuned."""
    training = record["training"]
    if not training or not training["updates"]:
        return []
    blocks = [paragraph("Chosen on validation: " + "; ".join(record["chosen"]) + "."), *trials(record)]
    if training["epochs"]:  # --refit leaves nothing to validate on
        blocks.append(by_epoch(training, ("training_loss", "validation_loss"), "Loss by epoch", "cross-entropy, nats",
                      "Both should fall. When training loss (dashed) keeps falling while validation loss rises, the "
                      "classifier grows surer, not better."))  # fmt: skip
        blocks.append(by_epoch(training, ("validation_accuracy", "validation_f1"), "Accuracy and macro F1 by epoch",
                      "share, validation",
                      "On validation texts. The epoch with the highest accuracy is kept. Where F1 (dashed) lies well "
                      "below accuracy, small classes are neglected."))  # fmt: skip
    for key, title, unit, how in (
        ("loss", "Training loss by update", "cross-entropy, nats",
         "A noisy fall is healthy; a rise that stays, or a flat line at the start, asks for another learning rate."),
        ("learning_rate", "Learning rate by update", "learning rate, encoder",
         "It rises during warmup, while AdamW's averages are still young, and then falls to 0 in a straight line."),
        ("gradient_norm", "Gradient norm by update", "L2 norm, before clipping",
         "Above the clipping limit (--max-norm, 1 unless set) updates are scaled down. Single peaks are harmless; "
         "growth that lasts foretells divergence."),
    ):  # fmt: skip
        blocks.append(by_update(training, key, title, unit, how))
    return blocks


def trials(record):
    """A table of the sweep that chose the settings, if there was one."""
    if not record["sweep"]:
        return []
    rows = []
    for one in sorted(record["sweep"], key=lambda one: (not one["chosen"], -one["epochs"], -one["accuracy"])):
        fate = "chosen" if one["chosen"] else "dropped" if one["dropped_after"] else ""
        rows.append([one["trial"], percent(one["accuracy"]), plain(one["loss"]), f"{one['epochs']} of {one['of']}",
                     f"{one['seconds']:,.0f}", fate])  # fmt: skip
    note = (
        f"{len(rows)} settings tried on validation texts, accuracy in % of the best epoch that was trained. The worse "
        "half was dropped after 1, 2, 4, ... epochs, so the figures of dropped trials are not their last word. The "
        "best of many tries looks better on validation than it is; the test figures above are not touched by that."
    )
    return [table(["trial", "accuracy", "loss", "epochs", "seconds", ""], rows, note)]


def by_epoch(training, keys, title, unit, how):
    """Curves over epochs: thin lines for seeds, a thick one for their mean."""
    series, numbers = [], {}
    seeds = training["epochs"]
    for key, colour in zip(keys, ("c-bag", "c-tuned") if "loss" in keys[0] else ("c-tuned", "c-frozen"), strict=True):
        runs = [{record["epoch"]: record[key] for record in records if record.get(key) is not None}
                for records in seeds.values()]  # fmt: skip
        if len(runs) > 1:
            series += [{"name": "", "colour": colour, "x": list(run), "y": list(run.values()), "thin": True}
                       for run in runs if run]  # fmt: skip
        epochs = sorted({epoch for run in runs for epoch in run})
        means = [words.mean_of([run[epoch] for run in runs if epoch in run]) for epoch in epochs]
        if epochs:
            series.append({"name": CURVES[key], "colour": colour, "x": epochs, "y": means, "dots": True,
                           "dashed": key in DASHED})  # fmt: skip
        for epoch, mean in zip(epochs, means, strict=True):
            numbers.setdefault(epoch, {})[key] = mean
    how += f" Thin lines are the {len(seeds)} seeds, the thick one is their mean." if len(seeds) > 1 else ""
    rows = [[str(epoch), *(plain(found.get(key)) for key in keys)] for epoch, found in sorted(numbers.items())]
    last = max(numbers, default=1)
    return picture(
        title, pictures.lines(title, f"{title}: {' and '.join(CURVES[key] for key in keys)}.", series, "epoch", unit,
                              (1 if last > 1 else 0, max(last, 1))),
        how, ["epoch", *(CURVES[key] for key in keys)], rows,
    )  # fmt: skip


def by_update(training, key, title, unit, how):
    """A curve over updates, a thin line for each seed."""
    seeds = training["updates"]
    if key == "learning_rate":  # the same for all
        seeds = dict([next(iter(seeds.items()))])
    series = [
        {"name": "", "colour": "c-tuned", "x": [record["update"] for record in records],
         "y": [record[key] for record in records], "thin": len(seeds) > 1}
        for records in seeds.values()
    ]  # fmt: skip
    longest = max(seeds.values(), key=len)
    if len(seeds) > 1:
        at = {}  # update -> values of the seeds that have it
        for record in (record for records in seeds.values() for record in records):
            at.setdefault(record["update"], []).append(record[key])
        means = [(update, words.mean_of(values)) for update, values in sorted(at.items())]
        series.append({"name": "", "colour": "c-tuned", "x": [x for x, _ in means], "y": [y for _, y in means]})
        how += f" Thin lines are the {len(seeds)} seeds."
    step = max(1, len(longest) // 12)
    rows = [[f"{record['update']:,}", f"{record[key]:.4g}"] for record in longest[::step]]
    return picture(title, pictures.lines(title, f"{title}.", series, "update", unit), how, ["update", unit], rows)
