"""How good is a run's list of suspected label errors? Compare it with labels that people looked at.

    python examples/label_errors.py RUN imdb_label_errors.csv

RUN is the folder of a run on IMDb. The answer key has a row for each of 1,310 test reviews that confident learning once
put in doubt and that five people then judged (Northcutt et al. 2021, arXiv 2103.14749), with the columns `id` and
`votes_given`, how many of the five agree with the given label. A label counts as wrong where fewer than three do: that
is so for 725. Nobody judged the other 23,690 reviews, so the precision printed here is the least that it can be.
"""

import csv
from pathlib import Path

from minibert.plumbing.command import Parser, run_command
from minibert.plumbing.files import UserError, read_json

MAJORITY = 3  # of five votes


def compare(listed, votes):
    """What a list of ids is worth: (judged, wrong, precision, precision among the judged, recall).

    votes: {id: votes for the given label}, of the reviews that people judged.
    """
    wrong = {name for name, agreeing in votes.items() if agreeing < MAJORITY}
    judged = [name for name in listed if name in votes]
    found = [name for name in judged if name in wrong]
    return len(judged), len(found), len(found) / len(listed), len(found) / max(1, len(judged)), len(found) / len(wrong)


def main(argv=None):
    parser = Parser(prog="python examples/label_errors.py", description="How good is a list of suspected label errors?")
    parser.add_argument("run", type=Path, help="folder of a run on IMDb")
    parser.add_argument("key", type=Path, help="the answer key, a .csv file")
    options = parser.parse_args(argv)
    try:
        listed = read_json(options.run / "metrics.json")["label_errors"]["test"]["ids"]
    except KeyError:
        raise UserError(f"{options.run}: this run lists no suspected label errors of its test set") from None
    listed = [name.removesuffix(".txt") for name in listed]
    with options.key.open(encoding="utf-8", newline="") as file:
        votes = {row["id"]: int(row["votes_given"]) for row in csv.DictReader(file)}
    for count in (50, len(listed)):
        judged, wrong, precision, among, recall = compare(listed[:count], votes)
        print(f"the worst {min(count, len(listed)):,}: people judged {judged:,}, and found {wrong:,} wrong; precision "
              f"at least {precision:.1%}, {among:.1%} of the judged; recall {recall:.1%}")  # fmt: skip


if __name__ == "__main__":
    run_command(main)
