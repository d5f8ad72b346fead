"""What are disputed labels worth? A run on IMDb, beside labels that people looked at.

    python examples/label_errors.py RUN imdb_label_errors.csv

RUN is the folder of a run on IMDb. The answer key has a row for each of 1,310 test reviews that confident learning once
put in doubt and that five people then judged (Northcutt et al. 2021, arXiv 2103.14749), with the columns `id` and
`votes_given`, how many of the five agree with the given label. A label counts as wrong where fewer than three do: that
is so for 725. Two questions:

* How good is the run's own list of suspected label errors? Nobody judged the other 23,690 reviews, so the precision
  printed here is the least that it can be.
* How right is each row of the run without those 725? And averages of rows: of all seeds, and of the fine-tuned encoder
  with the bag of words, which err in different places.
"""

import csv
import re
import statistics
from pathlib import Path

import numpy as np

from minibert.plumbing.command import Parser, run_command
from minibert.plumbing.files import UserError, read_checked_json, read_json

MAJORITY = 3  # of five votes


def compare(listed, votes):
    """What a list of ids is worth: (judged, wrong, precision, precision among the judged, recall).

    votes: {id: votes for the given label}, of the reviews that people judged.
    """
    wrong = {name for name, agreeing in votes.items() if agreeing < MAJORITY}
    judged = [name for name in listed if name in votes]
    found = [name for name in judged if name in wrong]
    precision, among, recall = (len(found) / max(1, len(of_these)) for of_these in (listed, judged, wrong))
    return len(judged), len(found), precision, among, recall


def answers_of(run):
    """{row: [probabilities [N, C] for each seed]} of a run's test texts, with what averages of rows would answer."""
    answers = {}
    for path in sorted((run / "work").glob("*.json")):
        row = re.fullmatch(r"(bag-of-words|frozen|finetuned)(-\d+)?", path.stem)
        if row:
            answers.setdefault(row[1], []).append(np.array(read_checked_json(path)["probabilities"]))
    tuned, bag = answers.get("finetuned", []), answers.get("bag-of-words", [])
    if len(tuned) > 1:
        answers["finetuned, averaged"] = [np.mean(tuned, axis=0)]
    if tuned and bag:
        answers["finetuned + bag-of-words"] = [(one + bag[0]) / 2 for one in tuned]
    if len(tuned) > 1 and bag:
        answers["all of these"] = [(np.mean(tuned, axis=0) + bag[0]) / 2]
    return answers


def read_test(run):
    """(ids, [N] indices of the given labels) of a run's test texts."""
    labels = read_json(run / "metrics.json")["labels"]
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["id"].removesuffix(".txt") for row in rows], np.array([labels.index(row["gold"]) for row in rows])


def read_key(path):
    """{id: votes for the given label} of an answer key. UserError when it is none."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if not {"id", "votes_given"} <= set(rows.fieldnames or ()):
            raise UserError(f"{path}: an answer key has the columns id and votes_given")
        found = [(row["id"], row["votes_given"]) for row in rows]
    wrong = next((name for name, votes in found if votes not in ("0", "1", "2", "3", "4", "5")), None)
    if wrong is not None:
        raise UserError(f"{path}: votes_given of {wrong} is no number of votes, 0 to 5")
    return {name: int(votes) for name, votes in found}


def show_rows(answers, gold, disputed):
    """Each row's accuracy in %, mean and spread over seeds: on all texts, without the disputed ones, and on those."""
    print(f"\n{'accuracy, %':26}{'all':>16}{f'without {disputed.sum():,}':>16}{'on those':>16}")
    for row, seeds in answers.items():
        cells = []
        for of_texts in (np.ones(len(gold), dtype=bool), ~disputed, disputed):
            values = [100 * (one.argmax(1) == gold)[of_texts].mean() for one in seeds]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        print(f"{row:26}" + "".join(f"{cell:>16}" for cell in cells))


def main(argv=None):
    parser = Parser(prog="python examples/label_errors.py", description="What are disputed labels worth?")
    parser.add_argument("run", type=Path, help="folder of a run on IMDb")
    parser.add_argument("key", type=Path, help="the answer key, a .csv file")
    options = parser.parse_args(argv)
    listed = read_json(options.run / "metrics.json").get("label_errors", {}).get("test", {}).get("ids")
    if not listed:
        raise UserError(f"{options.run}: this run lists no suspected label errors of its test set")
    listed, votes = [name.removesuffix(".txt") for name in listed], read_key(options.key)
    for count in (50, len(listed)):
        judged, wrong, precision, among, recall = compare(listed[:count], votes)
        print(f"the worst {min(count, len(listed)):,}: people judged {judged:,}, and found {wrong:,} wrong; precision "
              f"at least {precision:.1%}, {among:.1%} of the judged; recall {recall:.1%}")  # fmt: skip
    ids, gold = read_test(options.run)
    disputed = np.array([votes.get(name, MAJORITY) < MAJORITY for name in ids])
    if disputed.any():
        show_rows(answers_of(options.run), gold, disputed)


if __name__ == "__main__":
    run_command(main)
