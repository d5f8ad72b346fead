"""Texts to be classified, as they come: from a file or a pipe of any length, a chunk at a time, in little memory.

Training refuses a file with a bad line in it; here the line is told with its number and the others go on, for 100,000
texts should not wait for one of them. Lines are bytes that end with a newline, as in `tables.py`.
"""

import csv
import io
import json
from itertools import islice
from typing import NamedTuple

from ..plumbing.files import UserError, check_file, shown
from .tables import FILE_TYPES, SURROGATES, problem_with, text_of_json

CHUNK = 1000  # texts: enough for batches of similar length
BLOCK = 2**16  # bytes: what a pipe holds
LONGEST = 10**7  # bytes of a line, or characters of a field: an open quote would swallow the rest of a file


class NewText(NamedTuple):
    """A text (or pair) to be classified, or what is wrong with it, in words."""

    number: int  # of its line, or its place among the arguments
    text: str
    pair: str | None = None
    problem: str | None = None


def texts_of_file(path, columns, pairs):
    """Lists of up to CHUNK `NewText`s of a .csv, .tsv or .jsonl file, or of any other file: a text a line.

    columns: what the columns are called, a `Columns`; pairs: whether pairs are wanted. UserError when the file cannot
    be read, or has no such column.
    """
    check_file(path)
    with open(path, "rb") as file:
        if path.suffix.lower() in (".csv", ".tsv"):
            yield from chunks(delimited_texts(path, file, columns, pairs))
        elif path.suffix.lower() in FILE_TYPES:
            yield from chunks(json_texts(lines_of(file), columns, pairs))
        else:
            yield from chunks(line_text(*line, pairs) for some in blocks_of_lines(file) for line in some)


def texts_of_stream(stream, pairs):
    """The same of the lines of a binary stream, in lists that are as long as what has come: a pipe need not end."""
    for lines in blocks_of_lines(stream):
        yield [line_text(*line, pairs) for line in lines]


def texts_of_list(texts, pairs):
    """The same of a list of texts, those of a command line."""
    yield from chunks(text_of_argument(number, text, pairs) for number, text in enumerate(texts, 1))


def text_of_argument(number, text, pairs):
    if not text.strip():
        return NewText(number, text, problem="is empty")
    if has_lone_surrogate(text):
        return NewText(number, text, problem="holds half a surrogate pair")
    return line_text(number, text.encode("utf-8", "surrogateescape"), pairs)


def chunks(texts):
    texts = iter(texts)
    while chunk := list(islice(texts, CHUNK)):
        yield chunk


def has_lone_surrogate(text):
    """Half a character, other than those with which Python stands for a byte that is not UTF-8."""
    return any(not "\udc80" <= letter <= "\udcff" for letter in SURROGATES.findall(text))


# ---- lines


def blocks_of_lines(stream):
    """Lists of (number, line without its end) of the lines that are not blank, as soon as they are there.

    A line that is longer than LONGEST is None: nobody meant it for a line, and memory is not to grow with it.
    """
    rest, number, too_long = b"", 0, False
    while block := stream.read1(BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        if too_long and lines:
            lines[0], too_long = None, False
        too_long = too_long or len(rest) > LONGEST
        rest = b"" if too_long else rest
        numbered = [(number + i, checked_line(number + i, line)) for i, line in enumerate(lines, 1)]
        number += len(lines)
        if numbered := [(i, line) for i, line in numbered if line is None or line.strip()]:
            yield numbered
    last = checked_line(number + 1, None if too_long else rest)
    if last is None or last.strip():
        yield [(number + 1, last)]


def checked_line(number, line):
    """A line without the byte-order mark that a file may begin with, and without a carriage return; None: too long."""
    if line is None or len(line) > LONGEST:
        return None
    return (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).rstrip(b"\r")


def lines_of(stream):
    for lines in blocks_of_lines(stream):
        yield from lines


def line_text(number, line, pairs):
    """The `NewText` of a line of bytes; of a pair, with a tab between its texts."""
    if line is None:
        return NewText(number, "", problem=f"is longer than {LONGEST:,} bytes")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return NewText(number, "", problem=f"not UTF-8 (byte 0x{line[error.start]:02x})")
    if "\0" in text:
        return NewText(number, "", problem="holds a NUL byte; is this a text file?")
    if not pairs:
        return NewText(number, text)
    parts = text.split("\t")
    if len(parts) != 2 or not all(part.strip() for part in parts):
        return NewText(number, text, problem="this classifier reads pairs; put one tab between the two texts")
    return NewText(number, *parts)


# ---- tables


def json_texts(lines, columns, pairs):
    """`NewText`s of a .jsonl file: an object a line."""
    for number, line in lines:
        read = line_text(number, line, False)
        try:
            values = None if read.problem else json.loads(read.text)
        except (ValueError, RecursionError) as error:
            yield read._replace(problem=f"not JSON ({getattr(error, 'msg', error)})")
            continue
        if read.problem:
            yield read
        elif not isinstance(values, dict):
            yield read._replace(problem="not an object {...}")
        else:
            yield table_text(number, {key: text_of_json(value) for key, value in values.items()}, columns, pairs)


def delimited_texts(path, file, columns, pairs):
    """`NewText`s of a .csv or .tsv file whose first line names the columns."""
    csv.field_size_limit(LONGEST)
    lines = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    tab = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    reader = csv.reader(lines, **({"strict": True} if path.suffix.lower() == ".csv" else tab))
    header, number = None, 1
    while True:
        start = number
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if header is None:
                raise UserError(f"{path}, line {start}: {error}; is a quote left open?") from None
            fields = None
            yield NewText(start, "", problem=f"{error}; is a quote left open?")
        number = reader.line_num + 1  # a quoted text may run over many lines: its first one names it
        if not fields:
            continue
        if header is None:
            header = [name.strip() for name in fields]
            wanted = {columns.text: "--text-column"} | ({columns.pair: "--pair-column"} if pairs else {})
            for name, flag in wanted.items():
                if header.count(name) != 1:
                    problem = "two columns are" if header.count(name) else "no column is"
                    known = f"; it has {', '.join(map(shown, header[:6]))}; name the right one with {flag}"
                    raise UserError(f"{path}, line {start}: {problem} called {shown(name)}{known}")
        elif len(fields) != len(header):
            yield NewText(start, "", problem=f"{len(fields)} columns, but the first line names {len(header)}")
        else:
            yield table_text(start, dict(zip(header, fields, strict=True)), columns, pairs)


def table_text(number, values, columns, pairs):
    """The `NewText` of a row {column: value}."""
    wanted = {columns.text: "--text-column"} | ({columns.pair: "--pair-column"} if pairs else {})
    problem = problem_with(values, wanted)
    if not problem and pairs and values.get(columns.pair) is None:
        problem = f"has no {columns.pair}, but this classifier reads pairs"
    texts = [values[name] for name in wanted if isinstance(values.get(name), str)]
    if any(SURROGATES.search(text) for text in texts):
        problem = "not UTF-8, or half a surrogate pair"
    elif any("\0" in text for text in texts):
        problem = "holds a NUL byte; is this a text file?"
    if problem:
        return NewText(number, "", problem=problem)
    return NewText(number, values[columns.text], values[columns.pair] if pairs else None)
