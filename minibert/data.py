"""Texts, labels and honest splits: the tasks, and a user's own files.

A built-in task is fetched from its public home, checked against a known checksum and kept in the cache; `data`
names a local copy instead. Official test sets stay test sets. Where a split has to be made, it is decided by a
hash of each text: the same on every machine, and copies of one text never end up on both sides.
Next: `batch.py`, which groups encoded texts for the model.
"""

import csv
import hashlib
import http.client
import io
import json
import re
import ssl
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from .files import UserError, atomic_path, cache_folder, read_text

TASKS = ("reviews", "imdb", "sms-spam", "mrpc")
FILE_TYPES = (".csv", ".tsv", ".jsonl")
HELD_OUT = 0.2  # the share of train that becomes validation, and of a data set without official split, test
SURROGATES = re.compile("[\ud800-\udfff]")  # half a character, which JSON can spell and UTF-8 cannot
UNLABELLED = "unsup"  # aclImdb's folder of reviews without labels
REVIEWS = Path(__file__).parent / "reviews"  # the task that comes with the package
REVIEWS_GROUP = "difficulty"  # its column of kinds


@dataclass(frozen=True)
class Source:
    """A file on the web, and how to know that the right one arrived."""

    url: str
    file: str  # its name in the cache
    checksum: str  # "md5:..." or "sha256:..." of that file
    member: str = ""  # the file is this member of the zip archive at `url`


SOURCES = {
    "imdb": (
        Source(
            "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
            "aclImdb_v1.tar.gz",
            "md5:7c2ac02c03563afcf9b574c7e56c153a",
        ),
    ),
    "sms-spam": (
        Source(
            "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
            "SMSSpamCollection",
            "sha256:7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
            member="SMSSpamCollection",
        ),
    ),
    "mrpc": (
        Source(
            "https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_train.txt",
            "msr_paraphrase_train.txt",
            "sha256:f3d26d73bb3510032f80836e2e81cf32c71863f8dd6151aa80a125c2c799a557",
        ),
        Source(
            "https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_test.txt",
            "msr_paraphrase_test.txt",
            "sha256:51a1f197d8786712d2f0d97700f5be653b7488a96cde00e158159350d23e3d90",
        ),
    ),
}


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


@dataclass(frozen=True)
class Dataset:
    """N texts (or pairs) with their classes."""

    texts: list
    labels: list  # class indices into label_names
    label_names: list
    ids: list  # what names each text to a person: a file, or a line number
    pairs: list | None = None  # second texts
    groups: list | None = None  # what kind of text each one is, where the data say

    def __len__(self):
        return len(self.texts)

    def select(self, indices):
        return Dataset(
            [self.texts[i] for i in indices],
            [self.labels[i] for i in indices],
            self.label_names,
            [self.ids[i] for i in indices],
            None if self.pairs is None else [self.pairs[i] for i in indices],
            None if self.groups is None else [self.groups[i] for i in indices],
        )

    def class_counts(self):
        """[C] texts of each class."""
        counts = Counter(self.labels)
        return [counts[label] for label in range(len(self.label_names))]


@dataclass(frozen=True)
class Task:
    """Three data sets with the same label names. Choices are made on validation; test is looked at once."""

    name: str
    train: Dataset
    validation: Dataset
    test: Dataset
    splits: str  # where the three come from, in words


def load_task(task, data=None, limit=None, test_limit=None, columns=None):
    """A `Task` by name (see TASKS), from a .csv/.tsv/.jsonl file, or from a folder.

    data: a local copy of a built-in task. A folder holds train/ and test/ with a sub-folder of .txt files per
    label (as aclImdb does), or train.csv, test.csv and perhaps validation.csv (or .tsv, .jsonl). `reviews` is bundled.
    limit, test_limit: keep this many texts, spread over the classes, of train + validation and of test.
    Raises UserError.
    """
    columns = columns or Columns()
    if task == "reviews":
        parts, splits = read_folder(Path(data or REVIEWS), replace(columns, group=columns.group or REVIEWS_GROUP))
    elif task in TASKS:
        paths = [Path(data)] if data else [fetch(source, task) for source in SOURCES[task]]
        parts, splits = {"imdb": read_imdb, "sms-spam": read_sms, "mrpc": read_mrpc}[task](paths)
    elif data:
        raise UserError(f"--data goes with {', '.join(TASKS)}; {task!r} is none of them")
    elif Path(task).is_dir():
        parts, splits = read_folder(Path(task), columns)
    elif Path(task).suffix in FILE_TYPES:
        parts, splits = {"train": read_table(Path(task), columns)}, f"{Path(task).name}"
    else:
        raise UserError(f"{task!r} is no task ({', '.join(TASKS)}), no {'/'.join(FILE_TYPES)} file and no folder")
    if columns.group and parts["train"][0].group is None:
        raise UserError(f"--group-column {columns.group}: {task} has no columns")
    parts = {name: to_dataset(rows, label_names(parts["train"]), name) for name, rows in parts.items()}
    if "test" not in parts:
        parts["train"], parts["test"] = split(parts["train"], "test")
        splits += f"; test is {HELD_OUT:.0%} of it, stratified, fixed by a hash of each text"
    if limit:
        parts["train"] = take(parts["train"], limit, "limit")
    if "validation" not in parts:
        parts["train"], parts["validation"] = split(parts["train"], "validation")
        splits += f"; validation is {HELD_OUT:.0%} of train, stratified, fixed by a hash of each text"
    if test_limit:
        parts["test"] = take(parts["test"], test_limit, "limit")
    if len([count for count in parts["train"].class_counts() if count]) < 2:
        raise UserError(f"{task}: all training texts have one label; a classifier needs at least two")
    for name, part in parts.items():
        if not len(part):
            raise UserError(f"{task}: the {name} set is empty; too few texts ({len(parts['train'])} to train on)")
    return Task(Path(task).stem if task not in TASKS else task, splits=splits, **parts)


# ---- the built-in tasks: each reader gives {"train": rows, ...} and says in words what the splits are


def read_imdb(paths):
    """Large Movie Review Dataset (Maas et al. 2011): an aclImdb folder, or its .tar.gz, read without unpacking."""
    path = paths[0]
    splits = "official train and test"
    if path.is_dir():
        return read_label_folders(path / "aclImdb" if (path / "aclImdb").is_dir() else path), splits
    rows = {"train": [], "test": []}
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in tqdm(archive, desc="reading reviews", unit=" files", leave=False, disable=None):
                folders = member.name.split("/")
                if len(folders) == 4 and folders[1] in rows and folders[2] in ("neg", "pos") and member.isfile():
                    try:
                        text = archive.extractfile(member).read().decode("utf-8")
                    except UnicodeDecodeError:
                        raise UserError(f"{path}: {member.name} is not UTF-8") from None
                    rows[folders[1]].append(Row("/".join(folders[1:]), text, None, folders[2]))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a whole aclImdb archive ({error})") from None
    for name, part in rows.items():
        if not part:
            raise UserError(f"{path}: holds no {name}/neg and {name}/pos reviews; is this aclImdb?")
        part.sort()  # an archive's order is an accident
    return rows, splits


def read_sms(paths):
    """SMS Spam Collection v.1 (Almeida et al. 2011): a line is `ham` or `spam`, a tab, the message."""
    path = paths[0] / "SMSSpamCollection" if paths[0].is_dir() else paths[0]
    rows = []
    for number, line in numbered_lines(path):
        label, tab, text = line.partition("\t")
        if not tab or label not in ("ham", "spam") or not text.strip():
            raise UserError(f"{path}, line {number}: expected `ham` or `spam`, a tab and a message")
        rows.append(Row(f"line {number}", text, None, label))
    return {"train": rows}, "no official split"


def read_mrpc(paths):
    """Microsoft Research Paraphrase Corpus (Dolan and Brockett 2005), official train and test; quotes are literal."""
    if len(paths) == 1:
        paths = [paths[0] / f"msr_paraphrase_{part}.txt" for part in ("train", "test")]
    parts = {}
    for part, path in zip(("train", "test"), paths, strict=True):
        rows = parts[part] = []
        for number, line in list(numbered_lines(path))[1:]:  # the first line names the columns
            fields = line.split("\t")
            if len(fields) != 5 or fields[0] not in ("0", "1") or not (fields[3].strip() and fields[4].strip()):
                raise UserError(f"{path}, line {number}: expected 5 columns, the first 0 or 1, the last two texts")
            label = "paraphrase" if fields[0] == "1" else "different"
            rows.append(Row(f"{fields[1]}-{fields[2]}", fields[3], fields[4], label))
    return parts, "official train and test"


# ---- a user's own files


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


# ---- from rows to data sets


def label_names(rows):
    """The labels in order: by value if all are whole numbers, else by name."""
    names = {row.label for row in rows}
    numeric = all(re.fullmatch(r"-?\d{1,18}", name) for name in names)
    return sorted(names, key=int) if numeric else sorted(names)


def to_dataset(rows, names, part):
    """A `Dataset`; a label that training never saw is an error, because no model could be right about it."""
    index = {name: number for number, name in enumerate(names)}
    unseen = next((row for row in rows if row.label not in index), None)
    if unseen:
        raise UserError(f"{part} set, {unseen.id}: label {unseen.label!r} does not occur in the training set")
    return Dataset(
        [row.text for row in rows],
        [index[row.label] for row in rows],
        names,
        [row.id for row in rows],
        None if rows[0].pair is None else [row.pair for row in rows],
        None if rows[0].group is None else [row.group for row in rows],
    )


def hashed_order(dataset, purpose):
    """For each class, its indices in an order fixed by a hash of purpose and text; copies of a text are adjacent."""
    order = [[] for _ in dataset.label_names]
    for i, text in enumerate(dataset.texts):
        pair = "" if dataset.pairs is None else dataset.pairs[i]
        key = hashlib.sha256(f"{purpose}\0{text}\0{pair}".encode()).digest()
        order[dataset.labels[i]].append((key, i))
    return [sorted(of_class) for of_class in order]


def split(dataset, purpose):
    """(rest, held out): HELD_OUT of each class, whole groups of identical texts at a time, original order kept.

    A text with two labels goes where its first class sends it. No class is held out whole.
    """
    order, held_out = hashed_order(dataset, purpose), set()  # of hashes
    for of_class in order:
        wanted = round(HELD_OUT * len(of_class))
        for taken, (key, _) in enumerate(of_class):
            if key not in held_out and (taken >= wanted or key == of_class[-1][0]):
                break
            held_out.add(key)
    held_out = {i for of_class in order for key, i in of_class if key in held_out}
    rest = [i for i in range(len(dataset)) if i not in held_out]
    return dataset.select(rest), dataset.select(sorted(held_out))


def take(dataset, count, purpose):
    """About `count` texts, each class in its share (at least one), original order kept."""
    share = count / len(dataset)
    if share >= 1:
        return dataset
    kept = []
    for of_class in hashed_order(dataset, purpose):
        kept += [i for _, i in of_class[: max(1, round(share * len(of_class)))]]
    return dataset.select(sorted(kept))


# ---- downloads


def fetch(source, task):
    """The path of a `Source` in the cache; downloaded, checked and put there in one step if it is not yet."""
    path = cache_folder() / source.file
    if path.is_file():
        return path
    instead = "give a local copy with --data, or try `reviews`, which needs no network"
    with atomic_path(path) as temporary:
        try:
            download(source.url, temporary, source.file)
            content = temporary.read_bytes()
            if source.member:
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    content = archive.read(source.member)  # one named member, never a path from the archive
                temporary.write_bytes(content)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            reason = getattr(error, "reason", error)
            raise UserError(f"{task} could not be fetched from {source.url} ({reason}); {instead}") from error
        except (zipfile.BadZipFile, KeyError) as error:
            raise UserError(f"{source.url}: holds no {source.member} ({error}); {instead}") from error
        algorithm, wanted = source.checksum.split(":")
        got = hashlib.new(algorithm, content).hexdigest()
        if got != wanted:
            raise UserError(f"{source.url}: wrong {algorithm} ({got}, not {wanted}); nothing was kept; {instead}")
    return path


def download(url, path, name):
    """Copy a web file to `path` with a progress bar. Raises URLError or ConnectionError when it cannot be had whole."""
    request = urllib.request.Request(url, headers={"User-Agent": "minibert"})
    with urllib.request.urlopen(request, timeout=60) as response, open(path, "wb") as file:
        size = int(response.headers.get("Content-Length") or 0)
        with tqdm(total=size or None, desc=name, unit="B", unit_scale=True, disable=None) as bar:
            while chunk := response.read(1 << 20):
                file.write(chunk)
                bar.update(len(chunk))
        if size and file.tell() != size:
            raise ConnectionError(f"the transfer broke off at {file.tell():,} of {size:,} bytes")
