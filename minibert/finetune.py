"""`python -m minibert.finetune TASK`: both experiments on one task, beside their baselines, in one table.

Options in; `experiment.py` computes and `report/` tells.
"""

import argparse
import json
import sys
from pathlib import Path

from .plumbing.command import Parser, number, run_command
from .plumbing.files import UserError, read_json, remove_leftovers, shown, write_json
from .plumbing.lock import only_run_in
from .recipes import DEFAULTS, TASK_DEFAULTS

MAX_SEED = 2**32 - 1

# What may differ between a run and its --resume: nothing that decides a number.
FREE_ON_RESUME = ("output", "resume", "quiet", "dry_run", "checkpoint_every")


def main(argv=None):
    """Run the command; returns its exit code."""
    options = parse(argv)
    from .experiment import new_training, prepare, run_rows, vectors_of_texts, weights_hash  # late, for --help
    from .plumbing.resume import machine
    from .report import write_report

    say = (lambda *lines: None) if options.quiet else (lambda *lines: print(*lines, sep="\n", flush=True))
    folder = Path(options.output)
    settings = {key: value for key, value in vars(options).items() if key not in FREE_ON_RESUME}
    if not options.dry_run:
        check_output(folder, settings, options.resume)
    job = prepare(options, folder, say)
    if options.dry_run:
        if options.mode in ("both", "finetune"):
            new_training(job, options.seeds[0])
        updates = -(-len(job.examples["train"]) // options.batch_size) * options.epochs
        say(f"dry run: {updates:,} updates in {options.epochs} epochs would follow, for each seed; nothing was written")
        return 0
    with only_run_in(folder):
        check_output(folder, settings, options.resume)  # again: another run may have come and gone
        remove_leftovers(folder)
        keep_settings(folder, settings | {"weights": weights_hash(job.encoder), "machine": machine()}, say)
        results = run_rows(job)
        write_report(job, results, vectors_of_texts(job, results))
    return 0


def check_output(folder, settings, resume):
    """Refuse to write over another run, and to resume one with other settings."""
    path = folder / "settings.json"
    if not path.is_file():
        return
    if not resume:
        raise UserError(f"{folder} holds a run already: --resume goes on with it, --output DIR starts another")
    before = read_json(path)
    words = before.get("arguments")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{path}: arguments is {shown(words)}; expected the words of a command line")
    for key, value in settings.items():
        if key != "arguments" and before.get(key) != json.loads(json.dumps(value)):
            flag = "--" + key.replace("_", "-")
            raise UserError(f"{path}: the run began with {flag} {shown(before.get(key))}; --resume needs the same")


def keep_settings(folder, settings, say):
    """Write settings.json; or, where a run began already, refuse other weights and tell of another machine."""
    path = folder / "settings.json"
    if not path.is_file():
        write_json(path, settings)
        return
    before = read_json(path)
    if before.get("weights") != settings["weights"]:
        raise UserError(f"{path}: the run began with other weights than {settings['model']} holds now; "
                        "start another with --output")  # fmt: skip
    if before.get("machine") != settings["machine"]:
        say(f"the run began on {shown(before.get('machine'))}, and goes on on {settings['machine']}: "
            "its last bits will differ from an unbroken run's")  # fmt: skip


# ---- the command line


def parse(argv):
    """The options of a command line, with the task's defaults filled in."""
    from .data import TASKS  # late: an interrupt is answered once the command runs

    parser = Parser(
        prog="python -m minibert.finetune",
        description="Classify text with a pretrained BERT or DistilBERT, once frozen and once fine-tuned, "
        "beside a majority and a bag-of-words baseline.",
    )
    add_data_options(parser)
    parser.add_argument(
        "--mode", choices=("both", "frozen", "finetune"), default="both", help="which experiments to run"
    )
    add_training_options(parser.add_argument_group("fine-tuning"))
    add_text_options(parser.add_argument_group("text and head"))
    add_machine_options(parser.add_argument_group("machine and output"))
    options = parser.parse_args(argv)
    for key, value in (DEFAULTS | TASK_DEFAULTS.get(options.task, {})).items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    options.seeds = options.seeds or [options.seed]
    task = options.task if options.task in TASKS else Path(options.task).stem
    options.output = options.output or str(Path("runs") / task)
    options.arguments = list(sys.argv[1:] if argv is None else argv)
    return options


def add_data_options(parser):
    from .data import FILE_TYPES, TASKS

    add = parser.add_argument
    add("task", help=f"{', '.join(TASKS)}, a {'/'.join(FILE_TYPES)} file, or a folder with train and test in it")
    add("--model", metavar="ID|FOLDER", help=f"Hub id, folder of a checkpoint, or minibert-tiny {per_task('model')}")
    add("--data", metavar="PATH", help="local copy of a built-in task's data, instead of downloading it")
    add("--sample", action="store_true", help="--data is a part of the published data set on purpose")
    add("--limit", type=number(int, 1), metavar="N", help="use only N texts for training and validation together")
    add("--test-limit", type=number(int, 1), metavar="N", help="use only N test texts")
    add("--text-column", default="text", help="of your own file: the column of texts")
    add("--pair-column", default="text_pair", help="of your own file: the column of second texts, if it has one")
    add("--label-column", default="label", help="of your own file: the column of labels")
    add("--group-column", help="of your own file: give accuracy for each value of this column, too")


def add_training_options(group):
    add = group.add_argument
    add("--epochs", type=number(int, 1), help=f"passes over train, best on validation kept {per_task('epochs')}")
    add("--batch-size", type=number(int, 1), help=f"texts per update {per_task('batch_size')}")
    add("--micro-batch", type=number(int, 0), default=0, help="texts in memory at a time, 0 for all; same results")
    add("--lr", type=number(float, 0, 1, low_open=True), help=f"peak learning rate of the encoder {per_task('lr')}")
    add("--head-lr", type=number(float, 0, 1, low_open=True), default=5e-4, help="peak learning rate of the head")
    add("--weight-decay", type=number(float, 0, 1), default=0.01, help="decoupled, on matrices only")
    add("--warmup", type=number(float, 0, 1), default=0.1, help="share of the updates in which the rate rises")
    add("--patience", type=number(int, 0), default=0, help="stop after so many epochs without gain, 0 for never")
    add("--class-weights", choices=("none", "balanced"), default="none", help="balanced: rare classes weigh more")
    add("--seed", type=number(int, 0, MAX_SEED), default=0, help="of heads, dropout and the order of texts")
    add("--seeds", type=seed_list, metavar="A,B,C", help="run once for each and report mean and spread")


def add_text_options(group):
    add, poolings = group.add_argument, ("cls", "mean", "pooler")
    add("--max-length", type=number(int, 5), default=256, help="tokens per text, special ones included")
    add("--truncation", choices=("head", "tail", "head+tail"), default="head", help="the part of a longer text to keep")
    add("--pooling", choices=poolings, help=f"tokens to one vector; frozen tries all it has {per_task('pooling')}")
    add("--head", choices=("linear", "mlp", "native"), help=f"frozen tries linear and mlp {per_task('head')}")


def add_machine_options(group):
    add = group.add_argument
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="auto: bf16 where it is fast")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    add("--compile", action="store_true", help="torch.compile the model (on a CPU: no gain in bf16, needs g++)")
    add("--output", metavar="DIR", help="where the run is kept (default: runs/TASK)")
    add("--resume", action="store_true", help="go on with the run in --output")
    add("--checkpoint-every", type=number(float, 0), default=300.0, metavar="SECONDS", help="between saves")
    add("--dry-run", action="store_true", help="read and check everything, say what would run, write nothing")
    add("--quiet", action="store_true", help="print the final table only")


def per_task(key):
    """A default that depends on the task, in words."""
    others = [f"{values[key]} for {task}" for task, values in TASK_DEFAULTS.items()]
    usual = DEFAULTS[key] or "the family's own"
    return f"(default: {', '.join([str(usual), *others])})"


def seed_list(text):
    """An argparse type: "1,2,3" -> [1, 2, 3], all different."""
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 1,2,3") from None
    if len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text!r}: seeds are different numbers, 0 or more")
    return seeds


if __name__ == "__main__":
    run_command(main)
