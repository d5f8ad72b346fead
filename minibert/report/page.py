"""Sections as one HTML file that stands by itself: no script, no request, nothing to install, for screen and paper.

The policy in its head forbids everything but its own style sheet, so that even a text which escaped the escaping could
do nothing. All words pass through `escape`.
"""

import html
import re

from .legible import legible
from .sections import data_sections, run_sections
from .style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
BADGES = {"found": ("found", "look"), "clear": ("clear", "clear"), "left out": ("out", "left out")}


def render_run(record):
    """The page of a run, from `gather.gather`'s record."""
    first, *_ = record["facts"]
    return render(f"{record['task']}, classified twice", [first.removeprefix("task: "), f"model {record['model']}"],
                  run_sections(record))  # fmt: skip


def render_data(record):
    """The page of a data set alone, from a `write_data.gather_exploration` record."""
    return render(f"{record['task']}: the data", record["facts"], data_sections(record))


def render(title, facts, sections):
    """A whole page. facts: lines under the title; sections: as in `blocks`."""
    title = legible(title, 120)  # a task may be called by its file's name
    links = "".join(f'<a href="#{anchor(name)}">{escape(name)}</a>' for name, _ in sections)
    body = "".join(
        f'<section id="{anchor(name)}"><h2>{escape(name)}</h2>{render_blocks(blocks)}</section>'
        for name, blocks in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.strip()}</style></head>\n<body><header><h1>{escape(title)}</h1>"
        f'<p class="sub">{" · ".join(map(escape, facts))}</p><nav aria-label="Sections">{links}</nav></header>\n'
        f"<main>{body}</main>\n<footer>Made by minibert. The numbers of every picture stand under it.</footer>"
        "</body></html>\n"
    )


def render_blocks(blocks):
    """Blocks in their order; pictures that follow one another share a grid."""
    parts, figures = [], []
    for block in [*blocks, None]:
        if block and block["kind"] == "picture":
            figures.append(render_picture(block))
            continue
        if figures:
            parts.append(f'<div class="figures">{"".join(figures)}</div>')
            figures = []
        if block:
            parts.append(RENDERERS[block["kind"]](block))
    return "".join(parts)


def render_picture(block):
    numbers = render_table({"head": block["head"], "rows": block["rows"], "note": ""})
    return (
        f"<figure><h3>{escape(block['title'])}</h3>{block['svg']}<figcaption><p "
        f'class="how">{escape(block["how"])}</p>'
        f"</figcaption><details><summary>Numbers</summary>{numbers}</details></figure>"
    )


def render_table(block):
    """Columns of numbers stand at the right; a table with words in it is set at the left."""
    kind = ' class="words"' if any(is_words(cell) for row in block["rows"] for cell in row[1:]) else ""
    head = "".join(f'<th scope="col">{inline(cell)}</th>' for cell in block["head"])
    rows = "".join(
        f'<tr><th scope="row">{inline(row[0])}</th>{"".join(f"<td>{inline(cell)}</td>" for cell in row[1:])}</tr>'
        for row in block["rows"]
    )
    note = f'<p class="note">{marked(block["note"])}</p>' if block["note"] else ""
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="table"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def is_words(cell):
    return not re.fullmatch(r"[-+±\d.,% e:to]*|undefined", cell)


def render_checks(block):
    items = []
    for one in sorted(block["findings"], key=lambda one: list(BADGES).index(one["status"])):
        kind, badge = BADGES[one["status"]]
        shown = f"<span>{escape(one['shown'])}</span>" if one["shown"] else ""
        advice = one["advice"] if one["status"] == "found" else ""
        advice = f'<p class="advice">What to do: {marked(advice)}</p>' if advice else ""
        items.append(f'<li class="{kind}"><span class="badge">{badge}</span><div><h3>{escape(one["name"])}{shown}</h3>'
                     f"<p>{escape(one['sentence'])}</p>{advice}</div></li>")  # fmt: skip
    return f'<ul class="checks">{"".join(items)}</ul>'


def render_cases(block):
    return "".join(render_case(case) for case in block["cases"])


def render_case(case):
    """A text, and above it what was said of it."""
    said = [inline(case["id"]), f"gold <b>{inline(case['gold'])}</b>"]
    if "guess" in case:
        said.append(f'perhaps <b class="wrong">{inline(case["guess"])}</b>')
        said.append(f"its label gets {case['p_gold']:.3f}")
    if "predicted" in case:
        wrong = ' class="wrong"' if case["predicted"] != case["gold"] else ""
        said.append(f"predicted <b{wrong}>{inline(case['predicted'])}</b> with {case['p_predicted']:.3f}")
    if "frozen" in case:
        wrong = ' class="wrong"' if case["frozen"] != case["gold"] else ""
        said.append(f"frozen says <b{wrong}>{inline(case['frozen'])}</b>")
    if case.get("cut"):
        said.append("was cut")
    text = f'<p class="text" dir="auto">{words_of(case)}</p>'
    if "pair" in case and not case.get("words"):
        text += f'<p class="text" dir="auto">{escape(case["pair"])}</p>'
    return f'<div class="case"><p class="said">{" · ".join(said)}</p>{text}</div>'


def words_of(case):
    """The text; where an explanation came with it, the words that decided are shaded by their share."""
    if not case.get("words"):
        return escape(case["text"])
    most = max(abs(weight) for _, weight in case["words"]) or 1
    return "".join(shade(word, weight / most) for word, weight in case["words"])


def shade(word, share):
    """A word, with the space before it, in the colour of its share of the largest one, -1 to 1."""
    if abs(share) < 0.15:
        return escape(word)
    colour = "more" if share > 0 else "less"
    style = "" if share > 0 else "text-decoration:underline dotted;"
    style += f"background:color-mix(in srgb,var(--{colour}) {round(60 * abs(share))}%,transparent)"
    space = " " * word.startswith(" ")
    return f'{space}<span style="{style}">{escape(word.strip())}</span>'


def render_source(block):
    lines = "".join(
        f"<p><span>{escape(line['file'])}, line {line['line']}</span><code>{escape(line['code'])}</code></p>"
        for line in block["lines"]
    )
    return f'<div class="source">{lines}</div>'


def render_pieces(block):
    boxes = "".join(
        f"<li><b>{inline(one['piece'])}</b><span>{escape(one['numbers'])}</span></li>" for one in block["pieces"]
    )
    return f'<ul class="pieces">{boxes}</ul>'


def render_shaded(block):
    """All texts on one scale, so that their words can be compared."""
    most = max((abs(share) for words in block["texts"] for _, share in words), default=0) or 1
    texts = []
    for words in block["texts"]:
        shares = [[" " + word, share / most] for word, share in words]
        texts.append(f'<p class="text" dir="auto">{"".join(shade(word, share) for word, share in shares)}</p>')
    return f'<div class="case shaded">{"".join(texts)}</div>'


def render_heads(block):
    rows = [block["names"]]
    for number, pictures in enumerate(block["layers"], 1):
        maps = "".join(f'<a href="#{anchor(name)}">{svg}</a>' for name, svg in pictures)
        rows.append(f"<p>layer {number}</p><div>{maps}</div>")
    return f'<div class="heads">{"".join(rows)}</div>'


def render_large(block):
    figures = "".join(
        f'<figure id="{anchor(name)}"><h3>{escape(name)}</h3><div class="scroll" tabindex="0" role="group" '
        f'aria-label="picture">{svg}</div></figure>'
        for name, svg in block["pictures"]
    )
    return f'<div class="figures wide">{figures}</div>'


def render_fold(block):
    is_open = " open" if block.get("open") else ""
    summary = f"<summary>{escape(block['title'])}</summary>"
    return f'<details class="fold"{is_open}>{summary}{render_blocks(block["blocks"])}</details>'


def escape(text):
    """Text from anywhere, as text in HTML."""
    return html.escape(str(text))


def inline(text):
    """A cell or a name: its direction stays its own."""
    text = str(text)
    return escape(text) if text.isascii() else f"<bdi>{escape(text)}</bdi>"


def marked(text):
    """Our own sentence; what stands between backticks is code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def anchor(name):
    """What a link to a section or a picture of this name ends in."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


RENDERERS = {
    "text": lambda block: f"<p>{marked(block['text'])}</p>",
    "lead": lambda block: f'<p class="lead">{escape(block["text"])}</p>',
    "list": lambda block: f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in block['items'])}</ul>",
    "code": lambda block: f"<pre><code>{escape(block['text'])}</code></pre>",
    "table": render_table,
    "cases": render_cases,
    "fold": render_fold,
    "checks": render_checks,
    "source": render_source,
    "pieces": render_pieces,
    "shaded": render_shaded,
    "heads": render_heads,
    "large": render_large,
}
