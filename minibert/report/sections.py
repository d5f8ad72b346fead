"""A run's report in words, pictures and tables: from its plain record to sections of `blocks`.

Sections stand in the order in which a person asks.
"""

from .answer_section import answer_blocks
from .blocks import fold, paragraph, table
from .calibration_section import calibration_blocks
from .class_section import class_blocks
from .data_section import data_section
from .error_section import error_blocks
from .tables import TITLES
from .training_section import training_blocks


def run_sections(record):
    """The sections of a run's page, in the order in which a person asks."""
    sections = [
        ("Answer", answer_blocks(record)),
        ("Which classes?", class_blocks(record)),
        ("Training", training_blocks(record)),
        ("The data", data_section(record["data"])),
        ("Errors", error_blocks(record)),
        ("Can its probabilities be believed?", calibration_blocks(record)),
        ("Checks", check_blocks(record)),
        ("How it was made", made_blocks(record)),
    ]
    return [(title, blocks) for title, blocks in sections if blocks]


def data_sections(record):
    """The sections of a page about the data alone."""
    return [("The data", data_section(record["data"])), ("Checks", [{"kind": "checks", "findings": record["checks"]}])]


def check_blocks(record):
    """All findings, and the texts behind them."""
    blocks = [{"kind": "checks", "findings": record["checks"]}]
    suspected = record["label_errors"]
    for part in ("test", "train"):
        found = suspected.get(part)
        if found and found["worst"]:
            title = f"Suspected label errors in {part}: the worst {len(found['worst'])} of {found['suspected']:,}"
            blocks.append(fold(title, [{"kind": "cases", "cases": found["worst"]}]))
    near = record["near_copies"]
    if near and near["texts"]:
        rows = [[one["test"], one["text"], one["train"], one["other"]] for one in near["examples"]]
        found = table(["test", "its text", "train", "its text"], rows,
                      "Near copies: the frozen features point the same way, and most words are shared.")  # fmt: skip
        blocks.append(fold(f"Near copies: {near['texts']:,}", [found]))
    return blocks


def made_blocks(record):
    """What repeats the run: command, facts, versions, seconds, settings."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    facts = [*record["facts"], f"versions: {versions}; {machine['system']}"]
    seconds = [
        [TITLES[name], ", ".join(f"{one:,.0f}" for one in values)] for name, values in machine["seconds"].items()
    ]
    rows = [[key, str(value)] for key, value in record["settings"].items()]
    return [
        paragraph("The command that repeats it:"),
        {"kind": "code", "text": record["command"]},
        {"kind": "list", "items": facts},
        fold("Seconds by part, each seed", [table(["part", "seconds"], seconds)]),
        fold("All settings", [table(["setting", "value"], rows)]),
    ]
