"""TODO"""


from dataclasses import replace
from pathlib import Path

from ..plumbing.files import UserError
from .corpora import REVIEWS, REVIEWS_GROUP, SOURCES, fetch, read_imdb, read_mrpc, read_sms
from .dataset import HELD_OUT, Task, label_names, split, take, to_dataset
from .tables import FILE_TYPES, Columns, read_folder, read_table

TASKS = ("reviews", "imdb", "sms-spam", "mrpc")


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
