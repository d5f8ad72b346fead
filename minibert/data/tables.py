"""A person's own .csv, .tsv or .jsonl file, read row by row.

What cannot be right is refused with its file, line and field: a row that is dropped in silence, or a column that is
shifted by a stray comma, would be trained on and believed.
"""

import csv
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from ..plumbing.files import UserError, read_text, shown

FILE_TYPES = (".csv", ".tsv", ".jsonl")
LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as the csv module wants them: whole, with their ends
SURROGATES = re.compile("[\ud800-\udfff]")  # half a character, which JSON can spell and UTF-8 cannot


@dataclass(frozen=True)
class Columns:
    """What a user's own file calls its columns (the keys of a .jsonl file)."""

    text: str = "text"
    pair: str = "text_pair"  # optional second text
    label: str = "label"
    group: str | None = None  # optional: results are also given for each value of this column


class Row(NamedTuple):
    """One text (or pair) as its file has it."""

    id: str  # what names it to a person: a file, or a line number
    text: str
    pair: str | None
    label: str
    group: str | None = None


def read_table(path, columns):
    """Rows of a .csv (quotes as in RFC 4180), .tsv (quotes are literal) or .jsonl file with named columns.

    UserError names the file, the line and the field.
    """
    text = read_text(path)
    if not text.strip():
        raise UserError(f"{path}: is empty")
    read_rows = read_jsonl if path.suffix.lower() == ".jsonl" else read_delimited
    wanted = {columns.text: "--text-column", columns.pair: "--pair-column", columns.label: "--label-column"}
    if len(wanted) < 3:
        raise UserError(f"{path}: {', '.join(wanted.values())}: a text, its pair and its label stand in three columns")
    if columns.group:
        wanted[columns.group] = "--group-column"
    rows, shared = [], {}
    for number, values in read_rows(path, text):
        problem = problem_with(values, wanted)
        if problem:
            raise UserError(f"{path}, line {number}: {problem}")
        label, group = values[columns.label].strip(), values[columns.group].strip() if columns.group else None
        label, group = shared.setdefault(label, label), shared.setdefault(group, group)  # one copy for all rows
        rows.append(Row(f"line {number}", values[columns.text], values.get(columns.pair), label, group))
    if not rows:
        raise UserError(f"{path}: has a header line and no rows")
    if len({row.pair is None for row in rows}) > 1:
        raise UserError(f"{path}: some rows have a {columns.pair} and some have none")
    return rows


def problem_with(values, wanted):
    """What is wrong with the fields of a row, in words, or None. wanted: {column: the flag that names it}."""
    for name, flag in wanted.items():
        value = values.get(name)
        if value is None:
            if name == Columns.pair:
                continue  # nobody asked for a second text
            found = ", ".join(map(shown, list(values)[:6])) + (", ..." if len(values) > 6 else "")
            return f"no column {shown(name)}, but {found}; name the right one with {flag}"
        if not isinstance(value, str) or SURROGATES.search(value):
            return f"{name} is not text"
        if not value.strip():
            return f"{name} is empty"
    return None


def read_delimited(path, text):
    """(line number, {column: value}) of a .csv or .tsv text whose first line names the columns."""
    csv.field_size_limit(sys.maxsize)  # the default refuses texts of more than 131,072 characters
    lines = (match[0] for match in LINES.finditer(text))
    if path.suffix.lower() == ".csv":
        reader = csv.reader(lines, strict=True)
    else:
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    header, start = None, 1
    try:
        for fields in reader:
            number, start = start, reader.line_num + 1  # a quoted text may run over many lines: name its first
            if not fields:
                continue
            if header is None:
                header = [name.strip() for name in fields]
                named = Counter(filter(None, header))  # a spreadsheet leaves empty columns without a name
                for name, times in named.most_common(1):
                    if times > 1:
                        raise UserError(f"{path}, line {number}: two columns are called {shown(name)}")
            elif len(fields) != len(header):
                raise UserError(f"{path}, line {number}: {len(fields)} columns, but the first line names {len(header)}")
            else:
                yield number, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: {error}; is a quote left open?") from None


def read_jsonl(path, text):
    """(line number, {key: text}) of a .jsonl text: an object a line, whose label may be a number."""
    for number, line in numbered(text):
        try:
            values = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error.msg})") from None
        except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists that nest too deep
            raise UserError(f"{path}, line {number}: not JSON that can be read ({error})") from None
        if not isinstance(values, dict):
            raise UserError(f"{path}, line {number}: not an object {{...}}")
        yield number, {key: text_of_json(value) for key, value in values.items()}


def text_of_json(value):
    """A number as it is written, and "" for null. A text stays what it is, and so does a list or an object."""
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (int, float)) else value


def numbered_lines(path):
    """(line number, line) of a text file's lines that are not blank."""
    for number, line in numbered(read_text(path)):
        yield number, line.rstrip("\r")


def numbered(text):
    """(line number, line) of the lines that are not blank. Only a newline ends a line: a text may hold U+2028."""
    for number, match in enumerate(re.finditer(r"[^\n]*\n|[^\n]+", text), 1):
        line = match[0].removesuffix("\n")
        if line.strip():
            yield number, line
