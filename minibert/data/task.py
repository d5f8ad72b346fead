"""One task from wherever its texts are: a built-in data set, a person's own file or a folder."""

import os
from dataclasses import replace
from pathlib import Path

from ..plumbing.files import UserError, shown
from .corpora import CORPORA, REVIEWS, REVIEWS_GROUP, check_published_size
from .dataset import Task, label_names, to_dataset
from .download import local_copies
from .folders import read_folder, read_labels
from .splits import hold_out, stratified_subset
from .tables import FILE_TYPES, Columns, read_table

TASKS = ("reviews", *CORPORA)


def load_task(task, data=None, limit=None, test_limit=None, columns=None, sample=False):
    """A `Task` by name (see TASKS), from a .csv/.tsv/.jsonl file, or from a folder.

    A folder holds train/, test/ and perhaps validation/ with a sub-folder of .txt files per label (as aclImdb does), or
    train.csv, test.csv and perhaps validation.csv (or .tsv, .jsonl).

    data: a local copy of a built-in task; of `reviews`, which comes with the package, a folder of the same form.
    limit, test_limit: keep about this many texts, spread over the classes, of train + validation and of test.
    columns: what the columns of a person's own file are called, a `Columns`.
    sample: `data` holds a part of the published data set on purpose; without this, a part is refused.

    Time and memory grow with the number of rows and no faster; a row takes its text and less than 1,000 bytes.
    Raises UserError.
    """
    columns = columns or Columns()
    parts, splits = read_parts(task, data, columns, sample)
    if columns.group and parts["train"][0].group is None:
        raise UserError(f"--group-column {columns.group}: {task} has no columns")
    names = label_names(parts["train"])
    where = data or task
    parts = {part: to_dataset(rows, names, f"{where}, {part} set") for part, rows in parts.items()}
    if "test" not in parts:
        parts["train"], parts["test"] = hold_out(parts["train"], "test")
        splits += f"; test is {share_of('test', parts)} of it, stratified, fixed by a hash of each text"
    if limit:
        parts["train"] = stratified_subset(parts["train"], limit, "limit")
    if "validation" not in parts:
        parts["train"], parts["validation"] = hold_out(parts["train"], "validation")
        splits += f"; validation is {share_of('validation', parts)} of train, stratified, fixed by a hash of each text"
    if test_limit:
        parts["test"] = stratified_subset(parts["test"], test_limit, "limit")
    check_enough(where, parts)
    unit = CORPORA[task].unit if task in CORPORA else None
    return Task(task if task in TASKS else name_of(task), splits=splits, unit=unit, **parts)


def name_of(path):
    """What a person's own file or folder is called: "mine" for data/mine.csv, and its own name for "." and ".."."""
    return Path(os.path.abspath(path)).stem


def share_of(part, parts):
    """How much of what was train has become this part, as text: about HELD_OUT, as copies of a text go together."""
    return f"{len(parts[part]) / (len(parts[part]) + len(parts['train'])):.0%}"


def load_also_test(path, train, columns=None):
    """A `Dataset` that what learns from `train` is tested on, too: another domain, or texts made to be hard.

    path: a .csv/.tsv/.jsonl file with columns as in `load_task`, or a folder of LABEL/*.txt. Raises UserError.
    """
    path, columns, names = Path(path), replace(columns or Columns(), group=None), train.label_names
    if not path.is_dir() and path.suffix.lower() not in FILE_TYPES:
        raise UserError(f"{path}: --also-test takes a {'/'.join(FILE_TYPES)} file or a folder of LABEL/*.txt")
    rows = read_labels(path, path.parent) if path.is_dir() else read_table(path, columns)
    if (rows[0].pair is None) != (train.pairs is None):
        raise UserError(f"{path}: {columns.pair} is here or in the training set, but not in both")
    unknown = next((row for row in rows if row.label not in names), None)
    if unknown:
        raise UserError(
            f"{path}, {unknown.id}: label {shown(unknown.label)} is none of the task's ({', '.join(names[:20])})"
        )
    return to_dataset(rows, names, str(path))


def read_parts(task, data, columns, sample):
    """({"train": rows, and perhaps "validation" and "test"}, where the parts come from in words)."""
    if task == "reviews":
        return read_folder(Path(data or REVIEWS), replace(columns, group=columns.group or REVIEWS_GROUP))
    if task in CORPORA:
        corpus = CORPORA[task]
        if data:
            parts = corpus.read([Path(data)])
            if not sample:
                check_published_size(task, parts, data)
        else:
            with local_copies(corpus.sources, task) as paths:
                parts = corpus.read(paths)
        return parts, corpus.splits
    if data:
        raise UserError(f"--data goes with {', '.join(TASKS)}; {shown(task)} is none of them")
    if task and Path(task).is_dir():
        return read_folder(Path(task), columns)
    if Path(task).suffix.lower() in FILE_TYPES:
        return {"train": read_table(Path(task), columns)}, Path(task).name
    raise UserError(f"{shown(task)} is no task ({', '.join(TASKS)}), no {'/'.join(FILE_TYPES)} file and no folder")


def check_enough(where, parts):
    """UserError unless every part holds a text and training knows two classes."""
    if sum(count > 0 for count in parts["train"].class_counts()) < 2:
        raise UserError(f"{where}: all training texts have one label; a classifier needs at least two")
    for name, part in parts.items():
        if not len(part):
            raise UserError(f"{where}: the {name} set is empty; too few texts ({len(parts['train'])} to train on)")
