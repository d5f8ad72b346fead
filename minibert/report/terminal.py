"""Which words decided, and where a head looks, on a terminal: in colours, or with marks where there are none.

The texts come from anywhere: what could move a cursor or turn the writing round is left out, and what is long is cut.
"""

import os
import sys

from .legible import clean, columns, cut, fit, left

WIDTH = 80
STRENGTHS = (0.1, 0.3, 0.6)  # of the largest share: from here a word gets one, two, three marks
#             for the label       against it: backgrounds under black letters, from light to strong
COLOURS = {"+": (224, 217, 210), "-": (153, 117, 75)}
MOST_WORDS = 5  # listed for a label, and against it
SHADES = ((0.75, "█"), (0.5, "▓"), (0.25, "▒"), (0.1, "░"), (0.05, "·"), (0, " "))
TOKEN = 14  # columns of a token's name


def in_colour(stream=None):
    """Whether to colour what goes to this stream: a terminal, unless NO_COLOR is set (no-color.org)."""
    stream = stream or sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def answer(label, probability, texts, width=WIDTH):
    """A line for a text that was classified, as wide as a terminal."""
    start = f"{left(clean(label), 16)} {probability:.4f}  "
    return start + fit(clean(" | ".join(text[: 8 * width] for text in texts)), width - columns(start))


def explanation(record, text, pair=None, colour=False):
    """`explain.explain`'s record of a text, as lines."""
    shares = [abs(word[1]) for word in record["words"] + (record["pair_words"] or [])]
    most = max(shares, default=0) or 1
    lines = painted(text, record["words"], most, colour)
    if pair is not None:
        lines += painted(pair, record["pair_words"], most, colour)
    label = cut(clean(record["label"]), 40)
    for sign, title in ((1, f"for {label}:"), (-1, "against it:")):
        found = heaviest(record["words"] + (record["pair_words"] or []), sign)
        if found:
            lines += wrapped(["  " + title, *found], indent="    ")
    care = "" if record["error"] < 0.01 else ": read them with care"
    sentence = (
        f"logit of {label} {record['logit']:+.2f}, and {record['baseline_logit']:+.2f} with {record['padding']} for "
        f"every word; the shares add up to the difference within {record['error']:.2%} ({record['steps']} steps{care})"
    )
    first, *others = sentence.split(" ")
    lines += wrapped([f"  {first}", *others])
    special = [f"{token} {share:+.2f}".replace("+0.00", "0") for token, share in record["special"]]
    lines += wrapped(["  special tokens apart: " + ", ".join(special[:6])])
    return lines


def heaviest(words, sign):
    """The words with the largest shares of a sign, as text with commas."""
    chosen = sorted((word for word in words if word[1] * sign > 0), key=lambda word: -abs(word[1]))[:MOST_WORDS]
    shown = [f"{named(word[0])} {word[1]:+.2f}" for word in chosen if abs(word[1]) >= 0.005]
    return [one + ("," if i < len(shown) - 1 else "") for i, one in enumerate(shown)]


def named(word):
    """A word in a list; punctuation in quotes, or the list could not be read."""
    word = cut(clean(word), 30)
    return word if any(letter.isalnum() for letter in word) else f"'{word}'"


def painted(text, words, most, colour):
    """The text in lines, its words marked by their shares; what was not read is left out."""
    units, place = [], 0
    for word, share, start, end in words:
        gap = text[place:start]
        if gap.strip():
            units.append("[…]")
        shown = mark(cut(clean(word), 60), share / most, colour)
        if not gap and units:
            units[-1] = (*units[-1], shown) if isinstance(units[-1], tuple) else (units[-1], shown)
        else:
            units.append(shown)
        place = end
    if text[place:].strip():
        units.append("[…]")
    return wrapped(["  " + units[0] if isinstance(units[0], str) else ("  ", *units[0]), *units[1:]]) if units else []


def mark(word, strength, colour):
    """A word with its sign and its strength, in colour or in brackets."""
    level = sum(abs(strength) >= limit for limit in STRENGTHS)
    if not level:
        return word
    sign = "+" if strength > 0 else "-"
    return f"\x1b[30;48;5;{COLOURS[sign][level - 1]}m{word}\x1b[0m" if colour else f"[{sign * level} {word}]"


def wrapped(units, width=WIDTH, indent="  "):
    """Units, each a text or several that belong together, in lines of at most `width` columns."""
    lines, used = [""], 0
    for unit in units:
        unit = "".join(unit)
        size = columns(plain(unit))
        if used and used + 1 + size > width:
            lines.append(indent)
            used = len(indent)
        elif used:
            lines[-1] += " "
            used += 1
        lines[-1] += unit
        used += size
    return lines


def plain(text):
    """The text without our own colours."""
    parts = text.split("\x1b[")
    return parts[0] + "".join(part.partition("m")[2] for part in parts[1:])


def attention_map(record):
    """`{"layer", "head", "tokens": [T], "weights": [T][T]}` as lines: a row for each token that takes."""
    tokens = [cut(clean(token), TOKEN) for token in record["tokens"]]
    room = WIDTH - (4 + TOKEN + 2) - (TOKEN + 10)
    lines = [f"  layer {record['layer']}, head {record['head']}: what each token takes from the others"]
    if len(tokens) > room:
        lines.append(f"  the first {room} of {len(tokens)} tokens; --format jsonl has them all")
    shown = range(min(len(tokens), room))
    lines.append(" " * (4 + TOKEN + 2) + "".join(str((i + 1) % 10) for i in shown))
    for i in shown:
        row = record["weights"][i]
        best = max(range(len(row)), key=row.__getitem__)
        cells = "".join(next(shade for limit, shade in SHADES if row[j] >= limit) for j in shown)
        lines.append(f"{i + 1:>3} {left(tokens[i], TOKEN)} |{cells}| {row[best]:.2f} from {fit(tokens[best], TOKEN)}")
    return [*lines, "  · from 0.05, ░ 0.10, ▒ 0.25, ▓ 0.50, █ 0.75 of 1"]
