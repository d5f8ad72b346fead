"""Texts and labels from anywhere, made fit to be shown: one line, no control characters, cut to a length.

What comes from data can hold anything: line breaks, escape sequences that would move a terminal's cursor, marks that
turn the direction of the rest of the page, a hundred accents on one letter, 100,000 characters. Escaping for HTML or
Markdown is the renderers' part; here a text becomes a short line that says what the data say.
"""

import unicodedata

ELLIPSIS = "…"
DIRECTIONS = set(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # they reorder what follows
MARKS = 3  # accents kept on one letter: more is decoration, and draws over the neighbouring lines


def legible(text, limit=300):
    """`text` as one line of at most `limit` characters; a longer one keeps its beginning and its end."""
    text = str(text)
    if len(text) > 8 * limit:  # only the ends can be shown, so only they are cleaned
        text = text[: 4 * limit] + text[-4 * limit :]
    text = clean(text)
    if len(text) <= limit:
        return text
    tail = (limit - 3) // 3
    head = limit - 3 - tail
    return f"{text[:head].rstrip()} {ELLIPSIS} {text[len(text) - tail :].lstrip()}" if limit >= 40 else cut(text, limit)


def clean(text):
    """White space as single spaces; no control characters, no marks of direction, few accents on a letter."""
    kept, marks = [], 0
    for character in " ".join(text.split()):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if character in DIRECTIONS or marks > MARKS:
            continue
        kept.append("\ufffd" if category in ("Cc", "Cs", "Cn", "Co") else character)
    return "".join(kept)


def cut(text, limit):
    """At most `limit` characters of the beginning."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + ELLIPSIS


def columns(text):
    """How many columns of a terminal the text takes: an East Asian character takes two, an accent none."""
    return sum(_columns(character) for character in text)


def fit(text, width):
    """`text` cut to at most `width` columns of a terminal."""
    if columns(text) <= width:
        return text
    kept, used = [], 1
    for character in text:
        used += _columns(character)
        if used > width:
            break
        kept.append(character)
    return "".join(kept) + ELLIPSIS


def left(text, width):
    """`text` in exactly `width` columns, at the left."""
    text = fit(text, width)
    return text + " " * (width - columns(text))


def right(text, width):
    """`text` in exactly `width` columns, at the right."""
    text = fit(text, width)
    return " " * (width - columns(text)) + text


def _columns(character):
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
