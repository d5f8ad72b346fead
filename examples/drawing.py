"""The lessons' pictures: each is an SVG file that can be looked at on its own, in a light or a dark browser.

Bars, lines and points are the report's own (`minibert.report.pictures`); `grid` here draws a table of numbers as a heat
map. `save` gives a picture its colours and writes it.
"""

import math
import re
import sys
from pathlib import Path

from minibert.plumbing.files import UserError, write_text
from minibert.report.legible import columns as letters
from minibert.report.legible import fit
from minibert.report.pictures import LETTER, WIDE, WIDTH, svg, text
from minibert.report.style import STYLE

SHOWN = 480  # pixels across, where a page does not say otherwise: a letter is then as large as a page's
NARROW = 24  # a cell of fewer units has no room for its number


def save(name, picture):
    """Write a picture as NAME.svg, and say where it is.

    It goes into the folder named after `--pictures` on the command line, or else into `pictures` beside this file.
    """
    folder = Path(option("--pictures") or Path(__file__).parent / "pictures")
    try:
        write_text(folder / f"{name}.svg", on_its_own(picture))
    except UserError as error:
        stop(error)
    print(f"(picture: {folder / name}.svg)")


def option(name):
    """What stands after `name` on the command line, or behind its equals sign; None where it is not there."""
    for place, word in enumerate(sys.argv[1:], 2):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name:
            return sys.argv[place] if place < len(sys.argv) else stop(f"{name} wants a path after it")
    return None


def stop(message):
    """End with a line that says what to mend, and exit code 2."""
    print(message, file=sys.stderr)
    sys.exit(2)


option("--pictures")  # what is wrong with it is said before a lesson computes anything


def on_its_own(picture):
    """The text of an SVG file: a picture with the colours, the paper and the letters that a report's page has."""
    height = int(re.search(r'viewBox="0 0 \d+ (\d+)"', picture)[1])
    colours = STYLE.split("*{")[0].strip()  # the variables, light and dark
    rules = "\n".join(line for line in STYLE.splitlines() if line.startswith(".picture "))
    look = (
        f"{colours}\nsvg{{max-width:100%;height:auto;background:var(--paper);"
        f'font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}}\n{rules}'
    )
    size = f'xmlns="http://www.w3.org/2000/svg" width="{SHOWN}" height="{math.ceil(height * SHOWN / WIDTH)}"'
    picture = picture.replace("<svg ", f"<svg {size} ", 1)
    picture = picture.replace(f'viewBox="0 0 {WIDTH} {height}"', f'viewBox="-8 -8 {WIDTH + 16} {height + 16}"')
    return picture.replace("</desc>", f"</desc><style>\n{look}\n</style>", 1).replace("><", ">\n<") + "\n"


def grid(title, description, values, rows, columns, high=1.0, form="{:.2f}", corner=""):
    """A heat map of values [len(rows)][len(columns)] between 0 and `high`: the larger, the darker.

    rows, columns: names. corner: what the two are, in a few words. A value of None is an empty cell.
    """
    margin = min(120, 16 + WIDE * max(map(letters, rows)))
    size = min(40.0, (WIDTH - margin - 6) / len(columns))
    tall = min(size, 30.0)
    turned = any(WIDE * letters(name) > size for name in columns)
    room = 14 + (0.9 * LETTER * min(14, max(map(letters, columns))) if turned else 0)
    top = room + (16 if corner else 4)
    parts = [text(2, 11, corner, kind="small")] if corner else []
    for number, name in enumerate(columns):
        x = margin + (number + 0.5) * size
        if turned:
            parts.append(f'<g transform="translate({x:.1f} {top - 5:.1f}) rotate(-60)">{text(0, 4, fit(name, 14))}</g>')
        else:
            parts.append(text(x, top - 6, name, "middle"))
    for row, name in enumerate(rows):
        y = top + row * tall
        parts.append(text(margin - 6, y + tall / 2 + 4, fit(name, int((margin - 10) / WIDE)), "end"))
        for column, value in enumerate(values[row]):
            if value is None:
                continue
            x, share = margin + column * size, max(0.0, min(1.0, value / high))
            parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{size:.1f}" height="{tall:.1f}" '
                         f'fill="var(--heat)" fill-opacity="{share:.2f}"/>')  # fmt: skip
            if size >= NARROW:
                kind = "cell hot" if share > 0.55 else "cell"
                parts.append(text(x + size / 2, y + tall / 2 + 4, form.format(value), "middle", kind))
    across, down = size * len(columns), tall * len(rows)
    parts.append(f'<rect class="box" x="{margin:.1f}" y="{top:.1f}" width="{across:.1f}" height="{down:.1f}"/>')
    return svg(title, description, top + down + 4, parts)
