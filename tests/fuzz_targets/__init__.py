"""What makes hostile input: changes to bytes, to texts and to JSON values. The targets are in the files beside."""

import json

from minibert.plumbing.files import one_line, shown

NAMED = set()  # what a message of the case may name beside the files in its folder: the words of its command line


def may_be_named(words):
    """Note the words of a case's command line, as messages show them."""
    for word in words:
        if word.strip():
            NAMED.update((one_line(word)[:70], shown(word).strip("'\"…")[:70]))
        else:
            NAMED.update((repr(word), "empty name"))
    NAMED.discard("")


NASTY_TEXTS = (
    "", " ", "\0", "\n", "\r", "\t", "\x1b[2J", "\u2028", "\ufeff", "\u202e", "\x7f", "😀", "e\u0301", "a" * 300,
    "a" * 100_000, "../../x", "/etc/passwd", "C:\\x", "nul", "%s%n", "{}", "{0.__class__}", "=1+1", "```", "<script>",
    "'; --", "NaN", "-0", "1e999", "0x10", "١٢", "[PAD]", "[CLS]", "\ud800", "true", "null", "label", "text",
)  # fmt: skip
NASTY_NUMBERS = (
    0, 1, -1, 2, 3, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63, 2**64, -(2**31), -(2**63), 10**30,
    0.5, -0.5, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
NASTY_BYTES = (
    b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\n", b"\r", b"\r\n", b'"', b'""', b",", b"\t", b"\\", b"{", b"}",
    b"[", b"]", b":", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"PK\x03\x04", b"\x1f\x8b", b"\x80\x04",
    b"0" * 20, b"9" * 20,
)  # fmt: skip


def nasty_value(random, depth=2):
    """A JSON value that is probably not what is wanted."""
    kind = random.randrange(8 if depth else 6)
    if kind < 2:
        return random.choice(NASTY_TEXTS)
    if kind < 4:
        return random.choice(NASTY_NUMBERS)
    if kind < 6:
        return random.choice((None, True, False, [], {}))
    values = [nasty_value(random, depth - 1) for _ in range(random.randrange(4))]
    return values if kind == 6 else {str(nasty_value(random, 0)): value for value in values}


def change_json(random, value, changes=1):
    """`value` with some of its parts, at any depth, replaced, removed, doubled or added. It is changed in place."""
    for _ in range(changes):
        parts = list(all_parts(value))
        if not parts:
            return nasty_value(random)
        holder, key = random.choice(parts)
        action = random.randrange(5)
        if action == 0:
            del holder[key]
        elif action == 1 and isinstance(holder, dict):
            holder[random.choice(NASTY_TEXTS)] = nasty_value(random)
        elif action == 2:
            holder[key] = random.choice(parts)[0]
            if not is_tree(value):
                holder[key] = None
        else:
            holder[key] = nasty_value(random)
    return value


def all_parts(value):
    """Every (list or dict, key) in a JSON value."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from all_parts(value[key])


def is_tree(value):
    """Whether a JSON value does not hold itself."""
    try:
        json.dumps(value)
    except (ValueError, RecursionError):
        return False
    return True


def json_text(random, value):
    """`value` as JSON text; now and then a text that a parser has trouble with."""
    kind = random.randrange(30)
    if kind == 0:
        return "[" * 100_000
    if kind == 1:
        return '{"a":' * 3000 + "1" + "}" * 3000
    if kind == 2:
        return json.dumps(value).replace("1", "1" * 5000, 1)
    if kind == 3:
        return json.dumps([value])
    if kind == 4:
        return json.dumps(nasty_value(random, 0))
    return json.dumps(value, ensure_ascii=random.random() < 0.5)


def write_json_text(random, path, value):
    """Write `json_text`, sometimes with damaged bytes."""
    content = json_text(random, value).encode("utf-8", "surrogatepass")
    if random.random() < 0.2:
        content = change_bytes(random, content)
    path.write_bytes(content)


def change_bytes(random, content, most=4):
    """`content` with up to `most` changes: cut, bits flipped, pieces removed, doubled, moved or replaced."""
    content = bytearray(content)
    for _ in range(random.randint(1, most)):
        first, last = sorted(random.randint(0, len(content)) for _ in range(2))
        action = random.randrange(8)
        if action == 0:
            del content[first:]
        elif action == 1:
            last = min(last, first + random.choice((1, 2, 8, 100)))
            del content[first:last]
        elif action == 2 and content:
            for _ in range(random.choice((1, 1, 8, 64))):
                content[random.randrange(len(content))] ^= 1 << random.randrange(8)
        elif action == 3:
            content[first:first] = random.choice(NASTY_BYTES)
        elif action == 4:
            content[first : first + 1] = random.choice(NASTY_BYTES)
        elif action == 5:
            content[first:first] = content[first : min(last, first + 1000)]
        elif action == 6:
            content[first:first] = random.randbytes(random.choice((1, 4, 100)))
        else:
            content[first:last] = bytes(min(last - first, 10_000))
    return bytes(content)
