"""The public data sets: their homes, how to know that the right file arrived, their sizes, and how to read them.

A reader takes the paths of the files (or of the one folder that holds them) and gives {"train": rows, ...}.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..plumbing.files import UserError
from .archive import read_reviews
from .download import Source
from .folders import read_label_folders
from .tables import Row, numbered_lines

REVIEWS = Path(__file__).parent / "reviews"  # the task that comes with the package
REVIEWS_GROUP = "difficulty"  # its column of kinds


def read_imdb(paths):
    """Large Movie Review Dataset (Maas et al. 2011): an aclImdb folder, or its .tar.gz, read without unpacking."""
    path = paths[0]
    if not path.is_dir():
        return read_reviews(path)
    parts = read_label_folders(path / "aclImdb" if (path / "aclImdb").is_dir() else path)
    if "test" not in parts:
        raise UserError(f"{path}: holds no test/LABEL/*.txt; is this aclImdb?")
    return {"train": parts["train"], "test": parts["test"]}


def read_imdb_stars(paths):
    """The same reviews, labelled with the stars that their writers gave: a file is called NUMBER_STARS.txt.

    There are 1 to 4 and 7 to 10 of them; the data set leaves out reviews that are neither good nor bad.
    """
    parts = read_imdb(paths)
    for part, rows in parts.items():
        for i, row in enumerate(rows):
            stars = re.fullmatch(r".*/[0-9]+_([0-9]{1,2})\.txt", row.id)
            if not stars:
                raise UserError(f"{paths[0]}: {row.id} has no stars in its name (NUMBER_STARS.txt)")
            rows[i] = row._replace(label=stars[1])
        parts[part] = rows
    return parts


def read_sms(paths):
    """SMS Spam Collection v.1 (Almeida et al. 2011): a line is `ham` or `spam`, a tab, the message."""
    path = paths[0] / "SMSSpamCollection" if paths[0].is_dir() else paths[0]
    rows = []
    for number, line in numbered_lines(path):
        label, tab, text = line.partition("\t")
        if not tab or label not in ("ham", "spam") or not text.strip():
            raise UserError(f"{path}, line {number}: expected `ham` or `spam`, a tab and a message")
        rows.append(Row(f"line {number}", text, None, label))
    if not rows:
        raise UserError(f"{path}: is empty")
    return {"train": rows}


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
        if not rows:
            raise UserError(f"{path}: has a header line and no rows")
    return parts


@dataclass(frozen=True)
class Corpus:
    """A public data set."""

    read: Callable  # paths -> {part: rows}
    splits: str  # where its parts come from, in words
    counts: dict  # part -> {label: texts}, as published
    sources: tuple  # of Source
    unit: str | None = None  # what the labels are numbers of


ACLIMDB = Source(
    "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    "aclImdb_v1.tar.gz",
    "md5:7c2ac02c03563afcf9b574c7e56c153a",
)
CORPORA = {
    "imdb": Corpus(
        read_imdb,
        "official train and test",
        {"train": {"neg": 12_500, "pos": 12_500}, "test": {"neg": 12_500, "pos": 12_500}},
        (ACLIMDB,),
    ),
    "imdb-stars": Corpus(
        read_imdb_stars,
        "official train and test",
        {
            "train": {"1": 5_100, "2": 2_284, "3": 2_420, "4": 2_696, "7": 2_496, "8": 3_009, "9": 2_263, "10": 4_732},
            "test": {"1": 5_022, "2": 2_302, "3": 2_541, "4": 2_635, "7": 2_307, "8": 2_850, "9": 2_344, "10": 4_999},
        },
        (ACLIMDB,),
        unit="stars",
    ),
    "sms-spam": Corpus(
        read_sms,
        "no official split",
        {"train": {"ham": 4_827, "spam": 747}},
        (
            Source(
                "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
                "SMSSpamCollection",
                "sha256:7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
                member="SMSSpamCollection",
            ),
        ),
    ),
    "mrpc": Corpus(
        read_mrpc,
        "official train and test",
        {"train": {"different": 1_323, "paraphrase": 2_753}, "test": {"different": 578, "paraphrase": 1_147}},
        (
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
    ),
}


def check_published_size(task, parts, path):
    """UserError when a local copy holds other counts than were published: a part of a data set is another task."""
    for part, wanted in CORPORA[task].counts.items():
        found = Counter(row.label for row in parts[part])
        if found != wanted:
            has, should = (
                ", ".join(f"{counts[label]:,} {label}" for label in sorted(counts)) for counts in (found, wanted)
            )
            raise UserError(
                f"{path}: its {part} set has {has}, the published one {should}; "
                "is the copy whole? --sample takes a part of the data on purpose"
            )
