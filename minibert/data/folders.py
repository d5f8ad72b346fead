"""A folder whose train and test sets are told apart by its own names: sub-folders of texts, or one table each."""

from tqdm import tqdm

from ..plumbing.files import UserError, read_text, shown
from .dataset import PARTS
from .tables import FILE_TYPES, Row, read_table

UNLABELLED = "unsup"  # aclImdb's folder of reviews without labels


def read_folder(folder, columns):
    """({part: rows}, in words where the parts come from) of either kind of folder.

    train/LABEL/*.txt and perhaps validation/ and test/ like it, or train.csv and perhaps validation.csv and test.csv
    (or .tsv, .jsonl). Raises UserError, which names the file.
    """
    if (folder / "train").is_dir():
        parts = read_label_folders(folder)
        return parts, f"the folder's own {', '.join(parts)}"
    check_names(folder, FILE_TYPES)
    parts = {}
    for part in PARTS:
        found = [folder / f"{part}{suffix}" for suffix in FILE_TYPES if (folder / f"{part}{suffix}").is_file()]
        if len(found) > 1:
            raise UserError(f"{folder}: {found[0].name} and {found[1].name}: which one?")
        if found:
            parts[part] = read_table(found[0], columns)
            if "train" in parts:
                check_like_train(parts, part, found[0], columns)
    if "train" not in parts:
        raise UserError(f"{folder}: holds neither train/LABEL/*.txt nor train.csv, train.tsv or train.jsonl")
    return parts, f"the folder's own {', '.join(parts)}"


def check_like_train(parts, part, path, columns):
    """UserError when a part has a label that train has not, or pairs where train has single texts."""
    labels = {row.label for row in parts["train"]}
    unseen = next((row for row in parts[part] if row.label not in labels), None)
    if unseen:
        raise UserError(f"{path}, {unseen.id}: label {shown(unseen.label)} does not occur in the training set")
    if (parts[part][0].pair is None) != (parts["train"][0].pair is None):
        raise UserError(f"{path}: {columns.pair} is here or in the training set, but not in both")


def check_names(folder, endings):
    """UserError for what seems to be a part of the data and would be passed over. endings: of those that are read."""
    for path in sorted(folder.iterdir()):
        name, ending = (path.name, "") if path.is_dir() else (path.stem, path.suffix)
        is_a_kind = path.is_dir() or ending.lower() in FILE_TYPES
        is_a_part = name.lower() in (*PARTS, "dev", "val", "valid")
        if is_a_kind and is_a_part and not (name in PARTS and ending in endings):
            raise UserError(f"{path}: is not read; parts are called train, validation and test, and all of them are "
                            "folders of label folders, or tables")  # fmt: skip


def read_label_folders(folder):
    """{"train": rows, perhaps "validation": rows, "test": rows} of a folder with train/LABEL/*.txt."""
    check_names(folder, ("",))
    return {
        part: read_labels(folder / part, folder) for part in PARTS if part == "train" or (folder / part).is_dir()
    }  # fmt: skip


def text_files(folder):
    """The paths of its LABEL/*.txt, sorted. Raises OSError: `Path.glob` would pass over a folder that is locked.

    aclImdb's reviews without labels are left out. UserError for a file that is no text, but for hidden ones.
    """
    if not folder.is_dir():
        return []
    labels = {path.name: path for path in folder.iterdir() if path.is_dir() and not is_hidden(path)}
    if labels.keys() == {"neg", "pos", UNLABELLED}:
        del labels[UNLABELLED]
    paths = sorted(path for label in labels.values() for path in label.iterdir() if not is_hidden(path))
    other = next((path for path in paths if path.suffix.lower() != ".txt"), None)
    if other:
        raise UserError(f"{other}: a label's folder holds .txt files only; rename it, or keep it elsewhere")
    return paths


def is_hidden(path):
    return path.name.startswith(".")


def read_labels(folder, root):
    """Rows of a folder with LABEL/*.txt; what names each text is its path within `root`."""
    rows = []
    for path in tqdm(text_files(folder), desc=f"reading {folder.name}", leave=False, disable=None):
        text = read_text(path)
        if not text.strip():
            raise UserError(f"{path}: is empty")
        rows.append(Row(path.relative_to(root).as_posix(), text, None, path.parent.name))
    if not rows:
        raise UserError(f"{folder}: no LABEL/*.txt files in it")
    return rows
