"""Four pictures serve a whole report: bars, lines, a heat map, and points along a diagonal. Each is one SVG element.

They are drawn at the size at which they are read, 360 units wide, so that a letter is as large on a telephone as on a
wide screen. Colours are variables of the page's style (`style.py`), so that light and dark, screen and paper need no
second picture. `role="img"`, a title and a description say to a screen reader what the others see; the numbers
themselves stand in a table beside the picture, which is the page's part.
"""

import html
import math

from .legible import columns, fit

WIDTH = 360
LETTER = 5.9  # units that a letter of the 11-unit font takes, on average
WIDE = 6.6  # the same in the widest of the fonts that browsers choose, for what must not be cut off
PLAIN_CELLS = 12  # classes up to which a heat map has room for names and counts
LEVELS = 10  # steps of a heat map's colour


def bars(title, description, names, series, high=None, form="{:.3g}"):
    """Horizontal bars: for each of `names` a group, with one bar for each of `series`.

    series: [{"name", "colour" (or a list of them, one for each of `names`), "values": [a number or None for each name],
    "intervals": [(low, high) or None, ...]}]; intervals may be absent. All numbers lie between 0 and `high` (None: the
    largest one).
    """
    values = [value for one in series for value in one["values"] if value is not None]
    values += [end for one in series for ends in one.get("intervals") or () if ends for end in ends]
    high = high or max(values, default=0) or 1
    thick = 16 if len(series) == 1 else 11
    gap = 6 if len(series) == 1 else 10
    start = min(136, 14 + WIDE * max(columns(name) for name in names))
    stop = WIDTH - 46  # room for the value behind the longest bar
    parts, top = legend(series) if len(series) > 1 else ([], 4)
    for row, name in enumerate(names):
        y = top + row * (thick * len(series) + gap)
        middle = y + thick * len(series) / 2 + 4
        parts.append(text(start - 6, middle, fit(name, int((start - 10) / WIDE)), "end"))
        for number, one in enumerate(series):
            value = one["values"][row]
            if value is None:
                continue
            ends = (one.get("intervals") or [None] * len(names))[row]
            colour = one["colour"] if isinstance(one["colour"], str) else one["colour"][row]
            parts += _bar(colour, value, ends, start, stop, y + number * thick, thick, high, form)
    height = top + len(names) * (thick * len(series) + gap)
    parts.append(line(start, top - 2, start, height - gap + 4, "axis"))
    return svg(title, description, height, parts)


def _bar(colour, value, ends, start, stop, y, thick, high, form):
    scale = (stop - start) / high
    parts = [
        f'<rect x="{start:.1f}" y="{y + 1:.1f}" width="{max(0.5, value * scale):.1f}" height="{thick - 2}" rx="1.5" '
        f'fill="var(--{colour})"/>'
    ]
    after = value
    if ends:
        y_middle = y + thick / 2
        left, right = start + ends[0] * scale, start + ends[1] * scale
        parts.append(line(left, y_middle, right, y_middle, "whisker"))
        parts += [line(x, y_middle - 3, x, y_middle + 3, "whisker") for x in (left, right)]
        after = ends[1]
    parts.append(text(start + max(value, after) * scale + 5, y + thick / 2 + 3.5, form.format(value), kind="small"))
    return parts


def lines(title, description, series, x_name, y_name, x_range=None, y_range=None, marks=(), diagonal=False):
    """Curves on common axes.

    series: [{"name" ("" keeps it out of the legend), "colour", "x": [..], "y": [..], "thin", "dashed", "dots"}].
    marks: [(x, words)], upright dashed lines. diagonal: draw y = x as well.
    """
    plot = _Plot(series, x_name, y_name, x_range, y_range)
    parts = plot.parts
    if diagonal:
        parts.append(line(plot.x(plot.x_range[0]), plot.y(plot.y_range[0]), plot.x(plot.x_range[1]),
                          plot.y(plot.y_range[1]), "guide"))  # fmt: skip
    for x, words in marks:
        if plot.x_range[0] <= x <= plot.x_range[1]:
            at_left = plot.x(x) > WIDTH * 0.6
            parts.append(line(plot.x(x), plot.top, plot.x(x), plot.bottom, "mark"))
            parts.append(text(plot.x(x) + (-4 if at_left else 4), plot.top + 9, words, "end" if at_left else "start"))
    for one in series:
        pairs = list(zip(one["x"], one["y"], strict=True))
        points = " ".join(f"{plot.x(x):.1f},{plot.y(y):.1f}" for x, y in pairs)
        style = "thin" if one.get("thin") else "curve"
        dashes = ' stroke-dasharray="5 3"' if one.get("dashed") else ""
        parts.append(f'<polyline class="{style}" points="{points}" stroke="var(--{one["colour"]})"{dashes}/>')
        if one.get("dots") or len(pairs) == 1:
            parts += [_dot(plot, x, y, 2.6, one["colour"]) for x, y in pairs]
    return svg(title, description, plot.height, parts)


def scatter(title, description, series, x_name, y_name):
    """Points in the unit square beside the diagonal y = x, where a perfect answer would lie.

    series: [{"name", "colour", "points": [{"x", "y", "low", "high" (an interval of y, or None), "share"}]}]; the area
    of a point grows with its share (0 to 1).
    """
    plot = _Plot(series, x_name, y_name, (0, 1), (0, 1), height=270)
    parts = plot.parts
    parts.append(line(plot.x(0), plot.y(0), plot.x(1), plot.y(1), "guide"))
    for one in series:
        path = " ".join(f"{plot.x(point['x']):.1f},{plot.y(point['y']):.1f}" for point in one["points"])
        parts.append(f'<polyline class="thin" points="{path}" stroke="var(--{one["colour"]})"/>')
        for point in one["points"]:
            x = plot.x(point["x"])
            if point.get("low") is not None:
                parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{plot.y(point["low"]):.1f}" '
                             f'y2="{plot.y(point["high"]):.1f}" stroke="var(--{one["colour"]})"/>')  # fmt: skip
            parts.append(_dot(plot, point["x"], point["y"], 2.2 + 7 * math.sqrt(point["share"]), one["colour"]))
    return svg(title, description, plot.height, parts)


def heat_map(title, description, counts, names):
    """A confusion matrix [C][C], gold classes as rows; a cell is as dark as its share of its row.

    Up to 12 classes have their names and counts in the picture; of more, only their numbers stand at the edges.
    """
    classes = len(counts)
    plain = classes <= PLAIN_CELLS
    margin = min(98, 16 + WIDE * max(columns(name) for name in names)) if plain else 34
    size = min(64.0, (WIDTH - margin - 6) / classes)
    top = 20
    across = size * classes
    parts = [text(margin, 11, "gold ↓   predicted →", kind="small")]
    parts += _cells(counts, margin, top, size, plain)
    parts.append(f'<rect class="box" x="{margin:.1f}" y="{top}" width="{across:.1f}" height="{across:.1f}"/>')
    height = top + across + 4
    if plain:
        room = max(3, int(size / LETTER))
        turned = any(columns(name) > room for name in names)
        for i, name in enumerate(names):
            parts.append(text(margin - 6, top + (i + 0.5) * size + 4, fit(name, int((margin - 10) / WIDE)), "end"))
            x = margin + (i + 0.5) * size
            if turned:
                words = text(0, 4, fit(name, 14), "end")
                parts.append(f'<g transform="translate({x:.1f} {top + across + 6:.1f}) rotate(-60)">{words}</g>')
            else:
                parts.append(text(x, top + across + 14, name, "middle"))
        height += 0.87 * LETTER * min(14, max(map(columns, names))) + 10 if turned else 14
    else:
        for i in [0, *range(9, classes, 10)]:
            parts.append(text(margin - 5, top + (i + 0.5) * size + 4, str(i + 1), "end", "small"))
            parts.append(text(margin + (i + 0.5) * size, top + across + 12, str(i + 1), "middle", "small"))
        height += 14
    return svg(title, description, height, parts)


def _cells(counts, margin, top, size, plain):
    """The squares, all of one darkness as one path; with room, their counts."""
    levels, words = [[] for _ in range(LEVELS + 1)], []
    for row, values in enumerate(counts):
        total = sum(values) or 1
        for column, value in enumerate(values):
            share = value / total
            x, y = margin + column * size, top + row * size
            if value:
                levels[max(1, math.ceil(share * LEVELS))].append(f"M{x:.1f} {y:.1f}h{size:.2f}v{size:.2f}h-{size:.2f}z")
            if plain and (value or len(counts) <= 6):
                kind = "cell hot" if share > 0.55 else "cell"
                words.append(text(x + size / 2, y + size / 2 + 4, f"{value:,}", "middle", kind))
    paths = [
        f'<path d="{"".join(cells)}" fill="var(--heat)" fill-opacity="{level / LEVELS:.2f}"/>'
        for level, cells in enumerate(levels)
        if cells
    ]
    return paths + words


class _Plot:
    """Axes with their ticks and names, and the way from a number to a place."""

    def __init__(self, series, x_name, y_name, x_range=None, y_range=None, height=220):
        self.parts, top = legend(series) if sum(bool(one.get("name")) for one in series) > 1 else ([], 4)
        self.top, self.height = top + 18, top + height
        self.bottom = self.height - 34
        xs = [x for one in series for x in one.get("x", ())]
        ys = [y for one in series for y in one.get("y", ())]
        self.x_range, x_ticks = _range(xs, x_range, whole=all(isinstance(x, int) for x in xs) and bool(xs))
        self.y_range, y_ticks = _range(ys, y_range)
        y_words = [number(tick) for tick in y_ticks]
        self.start = 12 + LETTER * max(map(len, y_words))
        self.stop = WIDTH - 10
        self.parts.append(text(2, top + 9, y_name, kind="small"))
        self.parts.append(text((self.start + self.stop) / 2, self.height - 4, x_name, "middle", "small"))
        for tick, words in zip(y_ticks, y_words, strict=True):
            self.parts.append(line(self.start, self.y(tick), self.stop, self.y(tick), "grid"))
            self.parts.append(text(self.start - 5, self.y(tick) + 3.5, words, "end", "small"))
        for tick in x_ticks:
            self.parts.append(line(self.x(tick), self.bottom, self.x(tick), self.bottom + 4, "axis"))
            words = number(tick)
            middle = min(self.x(tick), WIDTH - 1 - LETTER * len(words) / 2)
            self.parts.append(text(middle, self.bottom + 15, words, "middle", "small"))
        self.parts.append(line(self.start, self.bottom, self.stop, self.bottom, "axis"))

    def x(self, value):
        low, high = self.x_range
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def y(self, value):
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)


def _range(values, given, whole=False):
    """((low, high), ticks) that hold all values; whole: ticks at whole numbers only."""
    low, high = given or (min(values, default=0), max(values, default=1))
    if low == high:
        low, high = (low - 1, high + 1) if low else (0, 1)
    step = nice_step(low, high)
    step = max(1, round(step)) if whole else step
    if not given:
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first = math.ceil(low / step - 1e-9)
    return (low, high), [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def nice_step(low, high, about=5):
    """A round number (1, 2 or 5 times a power of ten) that divides low to high into about so many parts."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)


def number(value):
    """A tick's number, short: 2,500, 0.25, 5e-05."""
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value):,}"
    return f"{value:.3g}"


def legend(series):
    """(marks and names in as many lines as they need, the height below them)."""
    parts, x, y, seen = [], 2, 5, set()
    for one in series:
        name = fit(one.get("name") or "", 36)
        if not name or name in seen:
            continue
        seen.add(name)
        width = 16 + LETTER * columns(name) + 14
        if x + width - 14 > WIDTH and x > 2:
            x, y = 2, y + 16
        if one.get("dashed"):
            parts.append(f'<line x1="{x}" x2="{x + 12}" y1="{y + 1}" y2="{y + 1}" class="curve" '
                         f'stroke="var(--{one["colour"]})" stroke-dasharray="5 3"/>')  # fmt: skip
        else:
            parts.append(f'<rect x="{x}" y="{y - 4}" width="10" height="10" rx="2" fill="var(--{one["colour"]})"/>')
        parts.append(text(x + 16, y + 5, name))
        x = round(x + width, 1)
    return parts, y + 16


def text(x, y, words, anchor="start", kind=""):
    """A line of text, escaped."""
    anchor = "" if anchor == "start" else f' text-anchor="{anchor}"'
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{anchor}{kind}>{html.escape(words)}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def _dot(plot, x, y, radius, colour):
    return f'<circle cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}" r="{radius:.1f}" fill="var(--{colour})"/>'


def svg(title, description, height, parts):
    """The whole picture, with its words for those who do not see it."""
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {math.ceil(height)}" class="picture"><title>{html.escape(title)}</title>'
        f"<desc>{html.escape(description)}</desc>{''.join(parts)}</svg>"
    )
