"""How the benchmark shows its measurements: a line for each, a table of all, and what was asked beside what came."""

from statistics import median
from typing import NamedTuple


class Figure(NamedTuple):
    """One row of the summary: something that was asked for."""

    work: str
    against: str
    asked: str
    measured: str
    reached: bool


def at_least(work, against, least, measured, unit=" x"):
    """A `Figure` for a number that should be large. unit: " x", or "%" for a share in [0, 1]."""
    return Figure(work, against, f">= {number(least, unit)}", number(measured, unit), measured >= least)


def at_most(work, against, most, measured, unit):
    """A `Figure` for a number that should be small."""
    return Figure(work, against, f"<= {number(most, unit)}", number(measured, unit), measured <= most)


def number(value, unit):
    return f"{value:.0%}" if unit == "%" else f"{value:.3g}{unit}"


def middle(results, key):
    return median(result[key] for result in results)


def side_by_side(results, key):
    """Both sides' median and range, and the ratio of the medians."""
    ours, theirs = results
    return show(ours, key), show(theirs, key), f"{middle(ours, key) / middle(theirs, key):.2f} x"


def show(results, key):
    values = sorted(result[key] for result in results)
    text = f"{median(values):.4g}"
    return text if len(values) == 1 else f"{text} ({values[0]:.4g} to {values[-1]:.4g})"


def giga(operations):
    return f"{operations / 1e9:,.0f}"


def share_of_rate(results, rate):
    """How much of the machine's rate for matrix products in the precision that was used, in [0, 1]; None: unknown."""
    machine = rate[results[0]["precision"]]
    return middle(results, "flops") / middle(results, "seconds") / machine if machine else None


def describe(result, rate):
    """One measurement in a line."""
    text = f"{result['rate']:8.1f} {result['unit']}   {result['seconds']:6.1f} s   peak {result['peak']:.2f} GB"
    if "padding" in result:
        text += f"   padding {result['padding']:5.1%}"
    if "accuracy" in result:
        text += f"   accuracy {result['accuracy']:.2%}"
    if "flops" in result:
        text += f"   {giga(result['flops'] / result['seconds'])} GFLOP/s"
        share = share_of_rate([result], rate)
        text += "" if share is None else f", {share:.0%} of the {result['precision']} rate"
    return text


def describe_rates(rate):
    """The machine's rates in a line."""
    known = [f"{name} {giga(rate[name])} GFLOP/s" for name in ("bf16", "fp16", "fp32", "int8") if rate.get(name)]
    return f"matrix product of 4096 x 4096: {', '.join(known)}"


def table(head, rows):
    """The lines of a table."""
    rows = [tuple(head), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    rows.insert(1, tuple("-" * width for width in widths))
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]


def summary(figures):
    """What was asked, and whether it was reached: lines."""
    rows = [(*figure[:4], "reached" if figure.reached else "not reached") for figure in figures]
    return table(("work", "against", "asked", "measured", ""), rows) if rows else []
