"""Is the training right, and not only the forward pass? The same fine-tuning by minibert and by transformers' Trainer.

    python examples/beside_the_trainer.py mrpc --model FOLDER --seeds 3 --batch-size 32
    python examples/beside_the_trainer.py imdb --model FOLDER --limit 2000 --test-limit 5000 --seeds 3

Needs the extra [reference]. Both sides get the same weights, the same token ids, splits and settings, by default the
Trainer's: one learning rate for everything, no warmup, no decay, clipping at 1, batches at random, the last epoch. What
is left to differ is what no two programs share: the random numbers of heads, dropout and shuffling. So one seed on each
side compares nothing; several have a mean and a spread, and the difference of the means an interval.

Each of minibert's own ways can be asked for by itself, on both sides, to see what it does: `--head-lr 5e-4`,
`--warmup 0.1`, `--weight-decay 0.01`, `--batches sorted`, `--keep best`.
"""

import contextlib
import importlib.util
import math
import statistics
import sys
import tempfile
import time

import numpy as np
import torch
from tqdm import tqdm

from minibert import metrics
from minibert.batch import Examples, collate
from minibert.data import load_task
from minibert.evaluate import predict
from minibert.load import load_encoder, load_tokenizer, put_head
from minibert.metrics import softmax
from minibert.optim import parameter_groups
from minibert.plumbing.command import Parser, run_command
from minibert.plumbing.device import resolve_device, resolve_precision
from minibert.plumbing.files import UserError
from minibert.train import Classification, TrainSettings, Unvalidated, train

PARTS = ("train", "validation", "test")


# ---- minibert's side


class AtRandom(Examples):
    """Examples that do not say how long they are while batches are made, so that chance alone makes them."""

    def __init__(self, examples):
        self.__dict__ |= vars(examples)
        self.lengths = np.zeros(len(examples), dtype=int)

    def inputs(self, indices):
        return collate([self.sequences[i] for i in indices], self.pad_id)


def minibert(options, examples, label_names, settings, device):
    """{part: probabilities [N, C]} after one training."""
    classifier = put_head(load_encoder(options.model), label_names, seed=settings.seed)
    train_set = examples["train"] if options.batches == "sorted" else AtRandom(examples["train"])
    objective = (Classification if options.keep == "best" else Unvalidated)(
        train_set, examples["validation"], settings, device
    )
    train(classifier, train_set, examples["validation"], settings, device, quiet=True, objective=objective)
    return {part: softmax(predict(classifier, examples[part], device, settings.precision)) for part in PARTS[1:]}


# ---- transformers' side


def trainer(options, examples, label_names, settings, device):
    """The same by transformers' Trainer."""
    from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments, logging, set_seed

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    set_seed(settings.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        options.model, num_labels=len(label_names), dtype=torch.float32, ignore_mismatched_sizes=True
    )
    rows = {part: Rows(examples[part]) for part in PARTS}
    best = options.keep == "best"
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        arguments = TrainingArguments(
            folder, num_train_epochs=settings.epochs, per_device_train_batch_size=settings.batch_size,
            per_device_eval_batch_size=32, learning_rate=settings.lr, weight_decay=settings.weight_decay,
            warmup_steps=settings.warmup, lr_scheduler_type="linear", max_grad_norm=settings.max_norm,
            bf16=settings.precision == "bf16", use_cpu=device.type == "cpu", seed=settings.seed,
            save_strategy="epoch" if best else "no", eval_strategy="epoch" if best else "no", save_total_limit=1,
            load_best_model_at_end=best, metric_for_best_model="accuracy" if best else None, report_to=[],
            disable_tqdm=True, logging_strategy="no", remove_unused_columns=False,
            train_sampling_strategy="group_by_length" if options.batches == "sorted" else "random",
        )  # fmt: skip
        groups = parameter_groups(model, settings.lr, settings.weight_decay, settings.head_lr, head="classifier.")
        optimizer = torch.optim.AdamW(groups, lr=settings.lr)
        runner = Trainer(
            model, arguments, train_dataset=rows["train"], eval_dataset=rows["validation"],
            data_collator=rows["train"].collate, compute_metrics=accuracy_alone, optimizers=(optimizer, None),
        )  # fmt: skip
        runner.train()
        return {part: softmax(runner.predict(rows[part]).predictions) for part in PARTS[1:]}


class Rows(torch.utils.data.Dataset):
    """Encoded texts as the Trainer takes them. It sorts by the length of `input_ids`."""

    def __init__(self, examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, i):
        sequence = self.examples.sequences[i]
        return {"input_ids": sequence.ids, "sequence": sequence, "labels": int(self.examples.labels[i])}

    def collate(self, rows):
        batch = collate([row["sequence"] for row in rows], self.examples.pad_id)._asdict()
        return batch | {"labels": torch.tensor([row["labels"] for row in rows])}


def accuracy_alone(outcome):
    return {"accuracy": metrics.accuracy(outcome.label_ids, outcome.predictions.argmax(1))}


# ---- both


SIDES = {"minibert": minibert, "Trainer": trainer}


def measure(side, options, examples, task, settings, device):
    """{"validation accuracy": ..., ...} of one training, in points and seconds."""
    started = time.monotonic()
    probabilities = SIDES[side](options, examples, task.train.label_names, settings, device)
    row = {}
    for part in PARTS[1:]:
        labels, values = getattr(task, part).labels, probabilities[part]
        row[f"{part} accuracy"] = 100 * metrics.accuracy(labels, values.argmax(1))
        row[f"{part} AUROC"] = 100 * metrics.roc_auc(labels, values[:, 1] if values.shape[1] == 2 else values)
    return row | {"seconds": time.monotonic() - started}


def difference(ours, theirs):
    """(difference of the means, half of its 95% interval: Welch 1947, degrees of freedom rounded down)."""
    sides = (ours, theirs)
    parts = [statistics.variance(values) / len(values) for values in sides]
    doubts = [part**2 / (len(values) - 1) for part, values in zip(parts, sides, strict=True)]
    freedom = sum(parts) ** 2 / max(1e-12, sum(doubts))
    half = metrics.student_t(max(1, int(freedom))) * math.sqrt(sum(parts))
    return statistics.mean(ours) - statistics.mean(theirs), half


def show(rows):
    """Each side's mean and spread, and the difference with its interval."""
    names = next(iter(rows.values()))[0]
    print(f"\n{'':22}" + "".join(f"{side:>16}" for side in rows) + f"{'difference':>12}  95% interval")
    for name in names:
        columns = [[row[name] for row in of_side] for of_side in rows.values()]
        several = len(columns[0]) > 1
        cells = [f"{statistics.mean(c):.2f}" + (f" ± {statistics.stdev(c):.2f}" if several else "") for c in columns]
        line = f"{name:22}" + "".join(f"{cell:>16}" for cell in cells)
        if len(columns) == 2 and several and name != "seconds":
            mean, half = difference(*columns)
            line += f"{mean:>+12.2f}  {mean - half:+.2f} to {mean + half:+.2f}"
        print(line)


def main(argv=None):
    parser = Parser(
        prog="python examples/beside_the_trainer.py", description="The same fine-tuning by minibert and by the Trainer."
    )
    add = parser.add_argument
    add("task", help="as finetune takes it")
    add("--data", help="local copy of the task's data")
    add("--sample", action="store_true", help="--data is a part of the published data set on purpose")
    add("--model", required=True, help="a pretrained encoder that both sides can read: a folder or Hub id")
    add("--limit", type=int, help="use only so many texts for training and validation together")
    add("--test-limit", type=int, help="use only so many test texts")
    add("--seeds", type=int, default=3, help="how many")
    add("--sides", nargs="+", choices=list(SIDES), default=list(SIDES), help="who trains")
    add("--epochs", type=int, default=3, help="passes over train")
    add("--batch-size", type=int, default=16, help="texts in an update")
    add("--lr", type=float, default=5e-5, help="peak learning rate")
    add("--head-lr", type=float, help="of the head (default: --lr)")
    add("--warmup", type=float, default=0.0, help="share of the updates in which the rate rises")
    add("--weight-decay", type=float, default=0.0, help="decoupled, on matrices only")
    add("--max-length", type=int, default=256, help="tokens of a text")
    add("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="auto: bf16 where it is fast")
    add("--batches", choices=["random", "sorted"], default="random", help="sorted: texts of like length together")
    add("--keep", choices=["last", "best"], default="last", help="epoch, best on validation")
    options = parser.parse_args(argv)
    installed = all(importlib.util.find_spec(name) for name in ("transformers", "accelerate"))
    if "Trainer" in options.sides and not installed:
        raise UserError("the Trainer is not installed: pip install -e '.[reference]', or --sides minibert")

    device = resolve_device("auto")
    precision, _ = resolve_precision(options.precision, device)
    task = load_task(options.task, options.data, options.limit, options.test_limit, sample=options.sample)
    tokenizer = load_tokenizer(options.model)
    examples = {
        part: tokenizer.examples(texts.texts, texts.pairs, texts.labels, options.max_length)
        for part, texts in ((part, getattr(task, part)) for part in PARTS)
    }
    rows = {side: [] for side in options.sides}
    jobs = [(side, seed) for seed in range(options.seeds) for side in options.sides]
    for side, seed in tqdm(jobs, unit=" trainings"):
        settings = TrainSettings(
            epochs=options.epochs, batch_size=options.batch_size, lr=options.lr,
            head_lr=options.head_lr or options.lr, warmup=options.warmup, weight_decay=options.weight_decay,
            precision=precision, seed=seed,
        )  # fmt: skip
        row = measure(side, options, examples, task, settings, device)
        rows[side].append(row)
        tqdm.write(f"{side}, seed {seed}: " + ", ".join(f"{name} {value:.2f}" for name, value in row.items()))
    show(rows)


if __name__ == "__main__":
    run_command(main)
