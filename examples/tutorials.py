"""The commands of tutorials.md: claims that tutorials on BERT make, and what shows how far each of them carries.

    python examples/tutorials.py arguments        which of their arguments transformers still takes (needs transformers)
    python examples/tutorials.py auroc RUN        AUROC from scores and from predicted labels, of a finished run
    python examples/tutorials.py selection        what choosing on the test set adds to a score
    python examples/tutorials.py epochs RUN       "no overfitting": loss and accuracy on validation, epoch by epoch
    python examples/tutorials.py cleaning         lower case and strip, before a tokenizer that does both

A RUN is the folder that `python -m minibert.finetune` leaves. Each function returns the numbers that it prints, and
tests/test_tutorials.py holds tutorials.md to them.
"""

import inspect
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from minibert import metrics
from minibert.data import load_task
from minibert.plumbing.command import Parser, run_command
from minibert.plumbing.files import UserError, read_json
from minibert.plumbing.resume import read_log

# ---- arguments that are gone

#   where, the tutorials' word, a value, today's word
OLD_WORDS = (
    ("TrainingArguments", "evaluation_strategy", "epoch", "eval_strategy"),
    ("TrainingArguments", "overwrite_output_dir", True, "leave it out"),
    ("TrainingArguments", "warmup_ratio", 0.1, "warmup_steps=0.1: below 1 it is a share"),
    ("TrainingArguments", "group_by_length", True, 'train_sampling_strategy="group_by_length"'),
    ("TrainingArguments", "logging_dir", "logs", "the environment's TENSORBOARD_LOGGING_DIR"),
    ("TrainingArguments", "no_cuda", True, "use_cpu"),
    ("Trainer", "tokenizer", None, "processing_class"),
    ("transformers", "AdamW", None, "torch.optim.AdamW"),
    ("tokenizer", "encode_plus", None, "call the tokenizer: tokenizer(text)"),
    ("tokenizer", "batch_encode_plus", None, "call the tokenizer: tokenizer(texts)"),
)


def arguments():
    """Try each old word on the installed transformers: {word: whether it is still taken}."""
    try:
        import transformers
    except ImportError:
        raise UserError("this asks transformers, which is not installed: pip install transformers") from None
    found = {}
    print(f"transformers {transformers.__version__}")
    for where, word, value, today in OLD_WORDS:
        if where == "TrainingArguments":
            found[word] = word in inspect.signature(transformers.TrainingArguments).parameters
        elif where == "Trainer":
            found[word] = word in inspect.signature(transformers.Trainer).parameters
        else:
            owner = transformers if where == "transformers" else transformers.PreTrainedTokenizerFast
            found[word] = hasattr(owner, word)
        shown = f"{where}({word}={value!r})" if where == "TrainingArguments" else f"{where}: {word}"
        print(f"{shown:<48}{'still there' if found[word] else f'gone; today: {today}'}")
    return found


# ---- AUROC from predicted labels


def auroc(run):
    """{row: (accuracy, AUROC from scores, AUROC from predicted labels)} of a run with two classes."""
    rows = read_json(Path(run) / "metrics.json")["rows"]
    found = {}
    print(f"{'':<14}{'accuracy':>10}{'from scores':>13}{'from labels':>13}")
    for name, row in rows.items():
        per_seed = list(row.get("per_seed", {"": row}).values())
        figures = [(one["accuracy"], one["auroc"], from_labels(one["confusion"])) for one in per_seed]
        found[name] = tuple(mean(column) for column in zip(*figures, strict=True))
        print(f"{name:<14}{found[name][0]:>10.2%}{found[name][1]:>13.4f}{found[name][2]:>13.4f}")
    return found


def from_labels(confusion):
    """AUROC of the predicted classes as if they were scores. confusion: two rows true, two columns predicted."""
    cells = np.array(confusion)
    if cells.shape != (2, 2):
        raise UserError(f"a run with two classes is needed; this one has {len(cells)}")
    truth, predicted = (np.repeat(axis.flatten(), cells.flatten()) for axis in np.indices((2, 2)))
    return metrics.roc_auc(truth, predicted)


# ---- choosing on the test set

TRIES = (3, 10, 50)  # epochs, seeds, learning rates: whatever was tried
TEXTS = (500, 1000, 5000, 25000)
HEADS = 40
SPLITS = 2000


def selection():
    """How much the best of many scores on the same test texts flatters: among equals, then among real classifiers.

    Returns ({(texts, tries): points}, (mean accuracy of all heads; of the best one on half of the test texts, on that
    half; of the same one on the other half; on the other half, of the one that is best on validation)).
    """
    print("Equally good classifiers, each right 85 times in 100, and wrong on texts of its own.")
    print("The best one's test accuracy, less what it is worth, in points:\n")
    print(f"{'test texts':>12}" + "".join(f"{f'best of {tries}':>12}" for tries in TRIES))
    points = {}
    for texts in TEXTS:
        for tries in TRIES:
            points[texts, tries] = flattery(texts, tries)
        print(f"{texts:>12,}" + "".join(f"{points[texts, tries]:>12.2f}" for tries in TRIES))
    validation, test = real_heads()
    chosen = choose(validation, test)
    print(f"\n{HEADS} heads on the frozen minibert-tiny, which differ by their seed, {SPLITS:,} random halves of the "
          f"{test.shape[1]} test texts:")  # fmt: skip
    whose = ("all heads, on average", "the best on one half, on that half", "the same, on the other half",
             "the best on validation, on the other half")  # fmt: skip
    for what, value in zip(whose, chosen, strict=True):
        print(f"  {what:<42}{value:>8.2%}")
    return points, chosen


def flattery(texts, tries, accuracy=0.85, times=4000):
    """By how many points the best of `tries` equal classifiers beats their accuracy on a test set, on average."""
    right = np.random.default_rng(0).binomial(texts, accuracy, size=(times, tries))
    return 100 * (right.max(1).mean() / texts - accuracy)


def real_heads():
    """Which texts each of HEADS MLP heads gets right: bool [HEADS, validation texts], bool [HEADS, test texts]."""
    from minibert.evaluate import predict
    from minibert.frozen import CPU, Features, encode, fit_candidates
    from minibert.load import load_encoder, load_tokenizer

    task, tokenizer, encoder = load_task("reviews"), load_tokenizer("minibert-tiny"), load_encoder("minibert-tiny")
    sets = {}
    for part in ("train", "validation", "test"):
        texts = getattr(task, part)
        examples = tokenizer.examples(texts.texts, None, texts.labels, 256)
        vectors = encode(encoder, examples, ["mean"], CPU, name=f"encoding {part}")[0]["mean"]
        sets[part] = Features(vectors, texts.labels)
    center, spread = sets["train"].vectors.mean(0), sets["train"].vectors.std(0).clamp(min=1e-6)
    for of_part in sets.values():
        of_part.vectors = (of_part.vectors - center) / spread
    right = {"validation": [], "test": []}
    for seed in range(HEADS):
        [(_, _, head)] = fit_candidates(sets["train"], sets["validation"], 2, ("mlp",), None, seed)
        for part, rows in right.items():
            rows.append(predict(head, sets[part], CPU).argmax(1) == sets[part].labels.numpy())
    return np.array(right["validation"]), np.array(right["test"])


def choose(validation, test):
    """Mean accuracies over random halves of the test texts: see `selection`. validation, test: bool [heads, texts]."""
    random, rows = np.random.default_rng(0), []
    by_validation = validation.mean(1).argmax()
    for _ in range(SPLITS):
        order = random.permutation(test.shape[1])
        one, other = np.array_split(order, 2)
        best = test[:, one].mean(1).argmax()
        rows.append((test[best, one].mean(), test[best, other].mean(), test[by_validation, other].mean()))
    return test.mean(), *np.mean(rows, axis=0)


# ---- "no overfitting"


def epochs(run):
    """{seed: [(validation loss, validation accuracy) of each epoch]} of a run's fine-tuning."""
    found = {}
    for record in read_log(Path(run) / "log.jsonl"):
        if "validation_loss" in record:
            found.setdefault(record["seed"], []).append((record["validation_loss"], record["validation_accuracy"]))
    if not found:
        raise UserError(f"{run}/log.jsonl: no epoch of a fine-tuning is finished there")
    count = max(map(len, found.values()))
    print(f"{'validation loss':<18}" + "".join(f"{f'epoch {i}':>10}" for i in range(1, count + 1)))
    for seed, by_epoch in found.items():
        print(f"{f'  seed {seed}':<18}" + "".join(f"{loss:>10.3f}" for loss, _ in by_epoch))
    print("validation accuracy")
    for seed, by_epoch in found.items():
        print(f"{f'  seed {seed}':<18}" + "".join(f"{accuracy:>10.2%}" for _, accuracy in by_epoch))
    rising = sum(by_epoch[-1][0] > min(by_epoch)[0] for by_epoch in found.values())
    last = [by_epoch[-1][1] for by_epoch in found.values()]
    print(f"the loss ends above its lowest value for {rising} of {len(found)} seeds")
    if len(last) > 1:
        spread = f"{min(last):.2%} to {max(last):.2%}, standard deviation {stdev(last):.2%}"
        print(f"accuracy after the last epoch, by the seed alone: {spread}")
    return found


# ---- cleaning


def cleaning():
    """(texts, texts whose token ids change when they are lowercased and stripped first)."""
    from minibert.load import load_tokenizer

    task, tokenizer = load_task("reviews"), load_tokenizer("minibert-tiny")
    texts = [text for part in (task.train, task.validation, task.test) for text in part.texts]
    texts += [f"  {text.upper()} \n" for text in texts]
    before, after = tokenizer.encode(texts), tokenizer.encode([text.lower().strip() for text in texts])
    changed = sum(a.ids.tolist() != b.ids.tolist() for a, b in zip(before, after, strict=True))
    print(f"{len(texts):,} texts, half of them in capitals with spaces around; token ids differ in {changed} of them")
    return len(texts), changed


COMMANDS = {"arguments": arguments, "auroc": auroc, "selection": selection, "epochs": epochs, "cleaning": cleaning}
OF_A_RUN = ("auroc", "epochs")


def main():
    parser = Parser(prog="python examples/tutorials.py", description="The commands of tutorials.md.")
    parser.add_argument("command", choices=tuple(COMMANDS))
    parser.add_argument("run", nargs="?", help=f"a finished run's folder, for {' and '.join(OF_A_RUN)}")
    options = parser.parse_args()
    if (options.run is not None) != (options.command in OF_A_RUN):
        problem = "takes nothing else" if options.run else "of which run? Give its folder"
        raise UserError(f"{options.command}: {problem}")
    COMMANDS[options.command](*[options.run] if options.run else [])
    return 0


if __name__ == "__main__":
    run_command(main)
