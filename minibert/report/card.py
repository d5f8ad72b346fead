"""The model card of a fine-tuned classifier, as the Hub shows it: `finetuned/README.md`, from metrics.json's record.

Its head, which programs read, is made by `huggingface_hub`'s own classes. It says what the run knows and nothing else:
a licence, for instance, is its owner's to give. Nothing of this machine (folders, the command's paths) enters it.
"""

import re
import shlex
from pathlib import PurePath

from . import tables, words
from .checks import summary
from .markdown import code, escape, render_table

#   key in a row            the Hub's name of the metric
METRICS = (
    ("accuracy",            "accuracy"),
    ("f1_macro",            "f1"),
    ("precision_macro",     "precision"),
    ("recall_macro",        "recall"),
    ("auroc",               "roc_auc"),
    ("mcc",                 "matthews_correlation"),
)  # fmt: skip
#   our task     where the Hub has its data, and which part of it
DATASETS = {
    "imdb": ("stanfordnlp/imdb", None),
    "sms-spam": ("ucirvine/sms_spam", None),
    "mrpc": ("nyu-mll/glue", "mrpc"),
}  # fmt: skip
PRIVATE = ("--output", "--track", "--checkpoint-every", "--push")  # options that decide no number
PRIVATE_FLAGS = ("--resume", "--quiet")


def model_card(record, commit=None, opens_in_transformers=False):
    """The whole file, as text.

    record: `gather.gather`'s; commit: of the pretrained model, where it came from the Hub; opens_in_transformers:
    whether the head is the family's own.
    """
    from huggingface_hub import ModelCard, ModelCardData  # late: it is slow to import, and the page has no use for it

    base = record["model"] if commit else None
    name = f"{PurePath(record['model']).name}-{record['task']}"
    data = ModelCardData(
        model_name=name, base_model=base, pipeline_tag="text-classification", tags=["minibert"],
        library_name="transformers" if opens_in_transformers else "minibert",
        datasets=[DATASETS[record["task"]][0]] if record["task"] in DATASETS else None,
        metrics=[theirs for ours, theirs in METRICS], eval_results=eval_results(record),
    )  # fmt: skip
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body(record, name, base, commit, opens_in_transformers)}"))


def eval_results(record):
    """The fine-tuned classifier's figures on the test set, as `EvalResult`s. Those that are undefined are left out."""
    from huggingface_hub import EvalResult

    row = words.kept_row(record, "finetuned")
    dataset, config = DATASETS.get(record["task"], (record["task"], None))
    return [
        EvalResult(
            task_type="text-classification", dataset_type=dataset, dataset_name=record["task"], dataset_config=config,
            dataset_split="test", metric_type=theirs, metric_name=ours.replace("_", " "), metric_value=row[ours],
        )
        for ours, theirs in METRICS
        if row.get(ours) is not None
    ]  # fmt: skip


def body(record, name, base, commit, opens_in_transformers):
    """What a person reads."""
    source = f"`{record['model']}` at commit `{commit[:12]}`" if base else code(PurePath(record["model"]).name)
    labels = ", ".join(escape(label) for label in record["labels"][:20])
    more = f" and {len(record['labels']) - 20} more" if len(record["labels"]) > 20 else ""
    lines = [
        f"# {escape(name)}",
        "",
        f"A text classifier, fine-tuned from {source} with minibert, which wrote this card.",
        f"Labels: {labels}{more}.",
    ]
    lines += ["", "## Use", "", *usage(record, opens_in_transformers)]
    lines += ["", f"## Results on {record['test_texts']:,} test texts", "", *results(record)]
    lines += ["", "## Limits", "", *limits(record)]
    facts = [fact for fact in record["facts"] if not fact.startswith(("model: ", "computing on "))]
    lines += ["", "## Training", "", *(f"- {escape(fact)}" for fact in facts)]
    lines += [f"- command: {code(public_command(record['command']))}", ""]
    lines += ["The licence is not stated here: it depends on the pretrained model, on the data and on its owner.", ""]
    return "\n".join(lines)


def results(record):
    """Every row of the run: a figure says little without those that it has to beat."""
    rows = []
    for name, row in record["rows"].items():
        mean, std = row.get("mean", row), row.get("std", {})
        rows.append([tables.TITLES[name], *(figure(mean.get(key), std.get(key)) for key, _, _ in tables.SCALARS)])
    note = f"{words.capital(words.seeds_line(record['seeds']))}."
    if len(record["seeds"]) > 1:
        seed, accuracy = record["kept"]["finetuned"], words.kept_row(record, "finetuned")["accuracy"]
        why = "the first" if record["refit"] else "the best on validation"
        note += f" These weights are those of seed {seed}, {why}: accuracy {accuracy:.4f}."
    table = render_table({"head": ["", *(title for _, title, _ in tables.SCALARS)], "rows": rows})
    return [*table, "", note, "", *(f"- {escape(line)}" for line in record["answer"])]


def figure(mean, std):
    if mean is None:
        return "undefined"
    return f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}"


def limits(record):
    """What the run's checks put in doubt."""
    found = [one for one in record["checks"] if one["status"] == "found"]
    lines = [f"{summary(record['checks'])}{':' if found else '.'}", ""]
    lines += [f"- {escape(one['name'])}: {escape(one['sentence'])}" for one in found] + ([""] if found else [])
    return [*lines, "On other kinds of text, or in other languages, its figures are not known."]


def usage(record, opens_in_transformers):
    """How to load it, in both libraries where both can."""
    lines = ["```python", "import minibert", "", 'classifier = minibert.load_classifier("FOLDER or ORG/NAME")']
    pairs = record["pairs"]
    second = ', ["its second text"]' if pairs else ""
    lines += [f'classifier.predict(["a text"]{second})', "```"]
    if not opens_in_transformers:
        return [*lines, "", "Its head is minibert's own: transformers opens the encoder alone."]
    lines += ["", "or, with the same logits,", "", "```python", "import transformers", ""]
    asked = '{"text": "a text", "text_pair": "its second text"}' if pairs else '"a text"'
    lines += [f'transformers.pipeline("text-classification", model="FOLDER or ORG/NAME")({asked})', "```"]
    limit = record["settings"].get("max_length")
    note = f"It was trained on texts of at most {limit} tokens, keeping the {record['settings'].get('truncation')}."
    if (record["settings"].get("windows") or 1) > 1:
        note += " It reads longer texts in several windows, which transformers does not."
    return [*lines, "", note]


def public_command(command):
    """The command line without what belongs to one machine: paths become names, and folders for output go."""
    kept, parts = [], iter(shlex.split(command))
    for part in parts:
        option, equals, _ = part.partition("=")
        if option in PRIVATE:
            if not equals:
                next(parts, None)
        elif part not in PRIVATE_FLAGS:
            kept.append(without_folders(part))
    return shlex.join(kept)


def without_folders(word):
    """A path's last part, also after `NAME=`; a Hub id, or any other word, as it is."""
    name, equals, value = word.rpartition("=")
    is_path = value.startswith(("/", "~", "./", "../")) or value.count("/") > 1 or re.search(r"\\|^[A-Za-z]:", value)
    last = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return f"{name}{equals}{last if is_path else value}"
