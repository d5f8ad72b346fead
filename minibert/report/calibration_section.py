"""Whether probabilities can be believed: reliability, calibration error, temperature."""

from . import pictures
from .blocks import COLOURS, picture, table
from .gather_errors import interval
from .tables import TITLES


def calibration_blocks(record):
    """A reliability picture for each classifier, and the table of errors and temperatures."""
    told = record["calibration"]
    if not told:
        return []
    blocks = [reliability(name, one) for name, one in told.items()]
    rows = [
        [TITLES[name], f"{100 * one['error']:.2f}", f"{100 * one['low']:.2f} to {100 * one['high']:.2f}",
         f"{100 * one['chance']:.2f}", "" if one["temperature"] is None else f"{one['temperature']:.2f}",
         f"{one['log_loss']:.4f}", "" if one["log_loss_after"] is None else f"{one['log_loss_after']:.4f}"]
        for name, one in told.items()
    ]  # fmt: skip
    head = ["", "calibration error, points", "95% interval", "chance", "temperature", "log loss", "after"]
    blocks.append(table(head, rows, (
        "Expected calibration error over 15 bins; a perfectly calibrated classifier would stay under `chance` in 95 "
        "of 100 such test sets. The temperature is fitted on validation: logits divided by it give the log loss "
        "`after`, without changing one prediction. Above 1 it cools an overconfident classifier."
    )))  # fmt: skip
    return blocks


def reliability(name, told):
    """Accuracy against confidence, of one classifier."""
    total = sum(one["texts"] for one in told["table"])
    points, rows = [], []
    for one in told["table"]:
        low, high = interval(round(one["accuracy"] * one["texts"]), one["texts"])
        points.append({"x": one["confidence"], "y": one["accuracy"], "low": low, "high": high,
                       "share": one["texts"] / total})  # fmt: skip
        figures = (f"{one['confidence']:.3f}", f"{one['accuracy']:.3f}", f"{low:.3f} to {high:.3f}")
        rows.append([*figures, f"{one['texts']:,}"])
    title = f"Reliability, {TITLES[name]}"
    series = [{"name": "", "colour": COLOURS[name], "points": points}]
    description = "Accuracy against mean confidence, in bins of confidence."
    drawn = pictures.scatter(title, description, series, "confidence", "accuracy")
    how = (
        "A point is a bin of test texts of like confidence, as large as its share, with the 95% interval of its "
        "accuracy. On the diagonal confidence is earned; below it the classifier is surer than it is right."
    )
    return picture(title, drawn, how, ["confidence", "accuracy", "95% interval", "texts"], rows)
