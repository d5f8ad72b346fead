"""What sections are made of. A section is (title, [blocks]); a block is a dict with a "kind":

    text      {"text"}                                      a paragraph
    lead      {"text"}                                      the sentence that says most
    list      {"items"}                                     short lines
    code      {"text"}                                      a command
    table     {"head", "rows", "note"}                      cells are str; the first column is a name
    picture   {"title", "svg", "how", "head", "rows"}       drawn, how to read it, and its numbers
    cases     {"cases"}                                     texts with what was said of them
    fold      {"title", "blocks", "open"}                   closed until it is opened, unless "open"
    checks    {"findings"}
    source    {"lines"}                                     lines of our own source, each with its file and number
    pieces    {"pieces"}                                    tokens in boxes, with their numbers below
    shaded    {"texts"}                                     words, each the darker the larger its share
    heads     {"layers", "names"}                           for each layer its (name, small picture), a row; and what
                                                            the large pictures share
    large     {"pictures"}                                  (name, picture) to which the small ones lead
"""

COLOURS = {"majority": "c-majority", "bag-of-words": "c-bag", "untrained": "c-untrained", "frozen": "c-frozen",
           "finetuned": "c-tuned", "ensemble": "c-ensemble"}  # fmt: skip
CLASS_COLOURS = ("c-1", "c-2", "c-3", "c-4", "c-5", "c-6")
TRAINED = ("bag-of-words", "frozen", "finetuned")


def paragraph(text):
    return {"kind": "text", "text": text}


def table(head, rows, note=""):
    return {"kind": "table", "head": head, "rows": rows, "note": note}


def picture(title, svg, how, head, rows):
    return {"kind": "picture", "title": title, "svg": svg, "how": how, "head": head, "rows": rows}


def fold(title, blocks, is_open=False):
    return {"kind": "fold", "title": title, "blocks": blocks, "open": is_open}


def source(lines, *names):
    """Of `trace.trace`'s lines those with these names, as far as this model has them."""
    return {"kind": "source", "lines": [lines[name] for name in names if name in lines]}


def percent(mean, std=None):
    """A share in %, with its spread."""
    if mean is None:
        return "undefined"
    return f"{100 * mean:.2f}" + (f" ± {100 * std:.2f}" if std is not None else "")


def plain(mean, std=None):
    """A number with four decimals, with its spread."""
    if mean is None:
        return "undefined"
    return f"{mean:.4f}" + (f" ± {std:.4f}" if std is not None else "")
