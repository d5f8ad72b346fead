"""TODO"""

import numpy as np

from .. import metrics
from .tables import TITLES


def collapse_warning(name, predictions, label_names):
    """A line when all predictions are one class, else None."""
    classes = np.unique(predictions)
    if len(classes) > 1:
        return None
    return (
        f"WARNING: the {TITLES[name]} classifier predicts {label_names[classes[0]]!r} for every text. It learned "
        "nothing beyond the majority. Likely causes: a learning rate too high (the encoder was destroyed) or too "
        "low, too few updates, classes so uneven that --class-weights balanced is needed."
    )


def difference_line(labels, frozen, finetuned):
    """The paired bootstrap of fine-tuned minus frozen accuracy, in words."""
    difference, low, high = metrics.paired_bootstrap(labels, frozen, finetuned)
    if low <= 0 <= high:
        verdict = "the test set cannot tell them apart"
    else:
        verdict = f"{'fine-tuning' if difference > 0 else 'the frozen encoder'} is ahead"
    return (
        f"fine-tuned minus frozen: {100 * difference:+.2f} points of accuracy, "
        f"95% interval {100 * low:+.2f} to {100 * high:+.2f} (paired bootstrap over test texts): {verdict}"
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
        lines.append(
            f"fine-tuned, seed {seed}: epoch {result['best_epoch']} "
            f"(validation accuracy {result['validation_accuracy']:.4f})"
        )
    return "\n".join(lines)


def markdown(title, facts, sections):
    """report.md: a list of facts, then (heading, preformatted text) sections."""
    lines = [f"# {title}", ""] + [f"- {fact}" for fact in facts]
    for heading, text in sections:
        lines += ["", f"## {heading}", "", "```", text, "```"]
    return "\n".join(lines) + "\n"
