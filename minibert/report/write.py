"""What a run leaves and prints: metrics.json, predictions.csv, report.html, report.md, and a short answer in the
terminal.
"""

import csv
import io
import textwrap

from ..plumbing.files import csv_text, read_json, write_text
from . import card, compact_json, markdown, page, tables, words
from .checks import summary
from .gather import gather

FILES = ("metrics.json", "predictions.csv", "report.html", "report.md")


def write_report(job, results, features=None, explained=None):
    """Write the report of a finished run into its folder, and print the answer.

    job: `job.Job`; results: {row: {seed: result}}; features: {part: [N, E] NumPy} of the frozen encoder; without
    them two checks are left out; explained: as `gather.gather` takes it.
    """
    record, probabilities = gather(job, results, features, explained)
    folder = job.folder
    write_text(folder / "metrics.json", compact_json.dump(record))
    write_predictions(folder / "predictions.csv", job.task.test, probabilities)
    write_text(folder / "report.html", page.render_run(record))
    write_text(folder / "report.md", markdown.render_run(record))
    if (folder / "finetuned" / "config.json").is_file():
        write_card(folder, record)
    print_answer(record)
    saved = [f"{name}/" for name in ("frozen", "finetuned") if name in results]
    print(f"saved in {folder}: {', '.join([*FILES, *saved])}")


def write_card(folder, record):
    """finetuned/README.md, the model's card."""
    (architecture,) = read_json(folder / "finetuned" / "config.json")["architectures"]
    commit = read_json(folder / "settings.json").get("commit")
    native = architecture.endswith("ForSequenceClassification")
    write_text(folder / "finetuned" / "README.md", card.model_card(record, commit, native))


def print_answer(record):
    """The tables, the comparison in a sentence, and what the checks found."""
    shown = [("test set", tables.result_table(record["rows"], record["seeds"]))]
    if record["unit"]:
        line = tables.error_line(record["rows"], record["unit"])
        shown.append(("how far off", textwrap.fill(line, tables.WIDTH)))
    if record["also_tests"]:
        shown.append(("also tested on", tables.group_table(tables.accuracies_on(record["also_tests"]))))
    if "groups" in record:
        shown.append((f"test set by {record['group_column']}", tables.group_table(record["groups"])))
    best = record["best"]
    matrix = words.kept_row(record, best)["confusion"]
    heading = f"Confusion matrix of {tables.TITLES[best]}, {words.why_best(record)}"
    shown.append((heading, tables.confusion_table(matrix, record["labels"])))
    for title, text in shown:
        print("", title, text, sep="\n")
    print()
    for note in record["notes"]:
        print(textwrap.fill(note, tables.WIDTH))
    if record["difference"]:
        print(words.difference_words(record["difference"]).replace(" (", "\n("))
    print("", summary(record["checks"]), sep="\n")
    found = tables.check_lines(record["checks"])
    if found:
        print(found)


def write_predictions(path, test, probabilities):
    """predictions.csv: text id, gold label, and for each experiment the prediction and the score of every label.

    A label that a spreadsheet would run as a formula has an apostrophe in front.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    experiments = [name for name in ("frozen", "finetuned") if name in probabilities]
    header = ["id", "gold"]
    for name in experiments:
        header += [name, *(f"{name}_score_{label}" for label in test.label_names)]
    writer.writerow(header)
    predictions = {name: probabilities[name].argmax(1) for name in experiments}
    for i in range(len(test)):
        row = [csv_text(test.ids[i]), csv_text(test.label_names[test.labels[i]])]
        for name in experiments:
            row += [csv_text(test.label_names[predictions[name][i]]), *probabilities[name][i].tolist()]
        writer.writerow(row)
    write_text(path, text.getvalue())
