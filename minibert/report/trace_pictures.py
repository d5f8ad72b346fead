"""The pictures of a sentence's way through the model: what each head looks at, and vectors as rows of colours.

A head's cells are drawn once, small; the large picture with its pieces' names uses the same cells again, so that a
model of 144 heads makes a page that a telephone can open. Colours are the style's variables, as in `pictures.py`.
"""

import html
import math

from .legible import clean, columns, fit
from .pictures import LEVELS, WIDE, WIDTH, svg, text

ROOM = 12  # units for a piece's name in a large picture: the height of its letters
LARGEST_CELL = 34
LONGEST_PIECE = 12  # letters of a piece's name beside a picture


def piece_name(piece, longest=LONGEST_PIECE):
    """A piece as it is shown: BERT's ## and RoBERTa's mark of a space (\u0120, \u2581) stay, for they belong to it."""
    return fit(clean(piece), longest)


def head_map(weights, name):
    """The small picture of one head. weights: [T][T], a row for each piece that looks; name: "layer 1, head 2".

    A weight is as dark as its square root, so that small ones can be seen, too.
    """
    side, levels = len(weights), {}
    for row, values in enumerate(weights):
        steps, start = [round(LEVELS * math.sqrt(value)) for value in values], 0
        for column in range(1, side + 1):  # neighbours of the same darkness are one stroke
            if column == side or steps[column] != steps[start]:
                levels.setdefault(steps[start], []).append(f"M{start} {row}h{column - start}")
                start = column
    cells = "".join(
        f'<path d="{"".join(levels[level])}" stroke-opacity="{level / LEVELS:.1f}"/>'
        for level in sorted(levels)
        if level
    )
    return (
        f'<svg role="img" viewBox="0 0 {side} {side}" class="picture"><title>{html.escape(name)}</title>'
        f'<g id="{cells_id(name)}" class="cells"><g transform="translate(0 .5)">{cells}</g></g></svg>'
    )


def cells_id(name):
    return "cells-" + name.replace(" ", "-").replace(",", "")


def layout(names):
    """(margin for the names, side of a cell) of a large picture, in units."""
    margin = 8 + WIDE * max(map(columns, names))
    return margin, min(LARGEST_CELL, max(ROOM, (WIDTH - margin - 4) / len(names)))


def map_names(pieces):
    """The pieces' names as all large pictures of a text use them, at rows and columns; itself not seen."""
    names = [piece_name(piece) for piece in pieces]
    margin, cell = layout(names)
    parts = []
    for i, one in enumerate(names):
        middle = margin + (i + 0.5) * cell
        parts.append(text(margin - 4, middle + 4, one, "end"))
        parts.append(f'<g transform="translate({middle + 4:.1f} {margin - 4:.1f}) rotate(-90)">{text(0, 0, one)}</g>')
    defined = f'<defs><g id="names" class="names">{"".join(parts)}</g></defs>'
    return f'<svg class="picture" style="width:0;height:0" aria-hidden="true">{defined}</svg>'


def large_map(name, pieces):
    """The same head with the pieces' names at its rows (who takes) and columns (from whom)."""
    names = [piece_name(piece) for piece in pieces]
    margin, cell = layout(names)
    side = cell * len(names)
    place = f'x="{margin:.1f}" y="{margin:.1f}" width="{side:.1f}" height="{side:.1f}"'
    width, height = math.ceil(margin + side + 4), math.ceil(margin + side + 4)
    return (
        f'<svg role="img" viewBox="0 0 {width} {height}" class="picture" style="width:{width}px">'
        f'<title>{html.escape(name)}</title><use href="#names"/>'
        f'<use href="#{cells_id(name)}" transform="translate({margin:.1f} {margin:.1f}) scale({cell:.2f})"/>'
        f'<rect class="box" {place}/></svg>'
    )


def strips(title, description, rows):
    """Vectors as rows of colours, one cell for each number: orange above 0, blue below, white at 0.

    rows: [(name, numbers)]; all are coloured on one scale, whose end is the 98th hundredth of the numbers' sizes, so
    that a single large one does not bleach all others, and on which a colour grows with the number's square root.
    """
    sizes = sorted(abs(value) for _, values in rows for value in values)
    most = sizes[min(len(sizes) - 1, int(0.98 * len(sizes)))] or 1
    margin = 8 + WIDE * max(columns(name) for name, _ in rows)
    cell = (WIDTH - margin - 2) / max(len(values) for _, values in rows)
    high, parts = 15, []
    for number, (name, values) in enumerate(rows):
        y = 4 + number * (high + 3)
        parts.append(text(margin - 5, y + 11, name, "end"))
        levels = {}
        for column, value in enumerate(values):
            level = round(LEVELS * math.sqrt(min(1, abs(value) / most)))
            if level:
                run = f"M{margin + column * cell:.1f} {y}h{cell:.2f}v{high}h-{cell:.2f}z"
                levels.setdefault((value > 0, level), []).append(run)
        for (is_more, level), runs in sorted(levels.items()):
            colour = "more" if is_more else "less"
            parts.append(f'<path d="{"".join(runs)}" fill="var(--{colour})" fill-opacity="{level / LEVELS:.1f}"/>')
    return svg(title, description, 4 + len(rows) * (high + 3), parts)
