"""The same sections as Markdown, with the same words: report.md, for people and programs that read files.

A picture becomes the table of its numbers. What comes from data is written so that Markdown takes none of it for its
own.
"""

import re

from .sections import data_sections, run_sections

MOST_ROWS = 30  # of a picture's numbers
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def render_run(record):
    """report.md of a run."""
    return render(f"{record['task']}, classified twice", record["facts"] + [f"command: {code(record['command'])}"],
                  run_sections(record), raw=[len(record["facts"])])  # fmt: skip


def render_data(record):
    """data.md: what `explore` found."""
    return render(f"{record['task']}: the data", record["facts"], data_sections(record))


def render(title, facts, sections, raw=()):
    """A whole file. raw: numbers of the facts that are Markdown already."""
    lines = [f"# {escape(title)}", ""]
    lines += [f"- {fact if number in raw else escape(fact)}" for number, fact in enumerate(facts)]
    for name, blocks in sections:
        lines += ["", f"## {name}", *render_blocks(blocks, 3)]
    return "\n".join(lines) + "\n"


def render_blocks(blocks, level):
    lines = []
    for block in blocks:
        lines += ["", *RENDERERS[block["kind"]](block, level)]
    return lines


def render_table(block, level=3):
    width = len(block["head"])
    lines = [row_line(block["head"]), "|" + "---|" * width]
    lines += [row_line(row) for row in block["rows"]]
    return lines + (["", marked(block["note"])] if block.get("note") else [])


def row_line(cells):
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"


def render_picture(block, level):
    rows = block["rows"][:MOST_ROWS]
    more = len(block["rows"]) - len(rows)
    note = f"{block['how']}" + (f" ({more} more rows are in report.html.)" if more else "")
    return [
        f"{'#' * level} {escape(block['title'])}",
        "",
        *render_table({"head": block["head"], "rows": rows, "note": note}),
    ]


def render_checks(block, level):
    lines = []
    for one in block["findings"]:
        advice = f" What to do: {one['advice']}" if one["status"] == "found" and one["advice"] else ""
        mark = {"found": "**look**", "clear": "clear", "left out": "left out"}[one["status"]]
        lines.append(f"- {mark}: {escape(one['name'])}: {escape(one['sentence'])}{advice}")
    return lines


def render_cases(block, level):
    """A line for each text, with what was said of it."""
    lines = []
    for case in block["cases"]:
        said = [f"{escape(case['id'])}: gold {escape(case['gold'])}"]
        if "guess" in case:
            said.append(f"perhaps {escape(case['guess'])}, its label gets {case['p_gold']:.3f}")
        if "predicted" in case:
            said.append(f"predicted {escape(case['predicted'])} with {case['p_predicted']:.3f}")
        if "frozen" in case:
            said.append(f"frozen says {escape(case['frozen'])}")
        if case.get("cut"):
            said.append("was cut")
        if case.get("words"):
            heaviest = sorted(case["words"], key=lambda word: -abs(word[1]))[:5]
            shown = " ".join(escape(f"{word.strip()} ({weight:+.2f})") for word, weight in heaviest)
            said.append(f"decided by {shown}")
        pair = f" / {escape(case['pair'])}" if "pair" in case else ""
        lines.append(f"- {', '.join(said)}: {escape(case['text'])}{pair}")
    return lines


def render_fold(block, level):
    return [f"{'#' * level} {escape(block['title'])}", *render_blocks(block["blocks"], level + 1)]


def escape(text):
    """Text from anywhere, on one line, as text in Markdown."""
    return SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def marked(text):
    """Our own sentence: what stands between backticks stays code."""
    return "`".join(part if number % 2 else escape(part) for number, part in enumerate(text.split("`")))


def code(text):
    """A command as code, whatever backticks are in it."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if len(fence) > 1 else ""
    return f"{fence}{space}{text}{space}{fence}"


RENDERERS = {
    "text": lambda block, level: [escape(block["text"])],
    "lead": lambda block, level: [f"**{escape(block['text'])}**"],
    "list": lambda block, level: [f"- {escape(item)}" for item in block["items"]],
    "code": lambda block, level: [f"    {' '.join(block['text'].split())}"],
    "table": render_table,
    "picture": render_picture,
    "cases": render_cases,
    "fold": lambda block, level: [
        f"{'#' * level} {escape(block['title'])}",
        *render_blocks(block["blocks"], level + 1),
    ],
    "checks": render_checks,
}
