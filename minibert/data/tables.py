"""TODO"""

import csv
import io
import json
import re
import sys
from dataclasses import dataclass
from typing import NamedTuple

from tqdm import tqdm

from ..plumbing.files import UserError, read_text

FILE_TYPES = (".csv", ".tsv", ".jsonl")
SURROGATES = re.compile("[\ud800-\udfff]")  # half a character, which JSON can spell and UTF-8 cannot
UNLABELLED = "unsup"  # aclImdb's folder of reviews without labels


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


def read_folder(folder, columns):
    """train/LABEL/*.txt and test/LABEL/*.txt, or train.csv, test.csv and perhaps validation.csv."""
    if (folder / "train").is_dir():
        return read_label_folders(folder), "the folder's own train and test"
    parts = {}
    for name in ("train", "validation", "test"):
        found = [folder / f"{name}{suffix}" for suffix in FILE_TYPES if (folder / f"{name}{suffix}").is_file()]
        if len(found) > 1:
            raise UserError(f"{folder}: {found[0].name} and {found[1].name}: which one?")
        if found:
            rows = parts[name] = read_table(found[0], columns)
            labels = {row.label for row in parts.get("train", rows)}
            unseen = next((row for row in rows if row.label not in labels), None)
            if unseen:
                raise UserError(f"{found[0]}, {unseen.id}: label {unseen.label!r} does not occur in the training set")
            if (rows[0].pair is None) != (parts.get("train", rows)[0].pair is None):
                raise UserError(f"{found[0]}: {columns.pair} is here or in the training set, but not in both")
    if "train" not in parts:
        raise UserError(f"{folder}: holds neither train/LABEL/*.txt nor train.csv, train.tsv or train.jsonl")
    return parts, f"the folder's own {', '.join(parts)}"


def read_label_folders(folder):
    """{"train": rows, "test": rows} of a folder with train/LABEL/*.txt and perhaps test/LABEL/*.txt."""
    parts = {}
    for part in ("train", "test"):
        if not (folder / part).is_dir() and part == "test":
            continue
        rows = parts[part] = []
        for path in tqdm(sorted((folder / part).glob("*/*.txt")), desc=f"reading {part}", leave=False, disable=None):
            if path.parent.name != UNLABELLED:
                text = read_text(path)
                if not text.strip():
                    raise UserError(f"{path}: is empty")
                rows.append(Row(str(path.relative_to(folder)), text, None, path.parent.name))
        if not rows:
            raise UserError(f"{folder / part}: no LABEL/*.txt files in it")
    return parts


def read_table(path, columns):
    """Rows of a .csv (quotes as in RFC 4180), .tsv (quotes are literal) or .jsonl file with named columns.

    UserError names the file, the line and the field.
    """
    text = read_text(path)
    if not text.strip():
        raise UserError(f"{path}: is empty")
    reader = read_jsonl if path.suffix == ".jsonl" else read_delimited
    wanted = {columns.text: "--text-column", columns.pair: "--pair-column", columns.label: "--label-column"}
    if columns.group:
        wanted[columns.group] = "--group-column"
    rows = []
    for number, values in reader(path, text):
        where = f"{path}, line {number}"
        for name, flag in wanted.items():
            if name not in values and name == Columns.pair:
                continue  # nobody asked for a second text
            if name not in values:
                found = ", ".join(map(repr, values))
                raise UserError(f"{where}: no column {name!r}, but {found}; name the right one with {flag}")
            if not isinstance(values[name], str) or SURROGATES.search(values[name]):
                raise UserError(f"{where}: {name} is not text")
            if not values[name].strip():
                raise UserError(f"{where}: {name} is empty")
        label, group = values[columns.label].strip(), values[columns.group].strip() if columns.group else None
        rows.append(Row(f"line {number}", values[columns.text], values.get(columns.pair), label, group))
    if not rows:
        raise UserError(f"{path}: has a header line and no rows")
    if len({row.pair is None for row in rows}) > 1:
        raise UserError(f"{path}: some rows have a {columns.pair} and some have none")
    return rows


def read_delimited(path, text):
    """(line number, {column: value}) of a .csv or .tsv text whose first line names the columns."""
    csv.field_size_limit(sys.maxsize)  # the default refuses texts of more than 131,072 characters
    if path.suffix == ".csv":
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    else:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    header, start = None, 1
    try:
        for fields in reader:
            number, start = start, reader.line_num + 1  # a quoted text may run over many lines: name its first
            if not fields:
                continue
            if header is None:
                header = [name.strip() for name in fields]
                twice = next((name for name in header if header.count(name) > 1), None)
                if twice is not None:
                    raise UserError(f"{path}, line {number}: two columns are called {twice!r}")
            elif len(fields) != len(header):
                raise UserError(f"{path}, line {number}: {len(fields)} columns, but the first line names {len(header)}")
            else:
                yield number, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: {error}; is a quote left open?") from None


def read_jsonl(path, text):
    """(line number, {key: text}) of a .jsonl text: an object a line, whose label may be a number."""
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a text may hold U+2028 and its like
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not JSON ({getattr(error, 'msg', error)})") from None
        if not isinstance(values, dict):
            raise UserError(f"{path}, line {number}: not an object {{...}}")
        yield number, {key: _as_text(value) for key, value in values.items()}


def _as_text(value):
    """A number is the text that it is written as; null is no text; the rest (lists, objects) stays what it is."""
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (int, float)) else value


def numbered_lines(path):
    """(line number, line) of a text file's lines that are not blank; only newlines end a line."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, line.rstrip("\r")
