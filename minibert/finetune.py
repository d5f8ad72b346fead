"""`python -m minibert.finetune TASK`: both experiments on one task, beside their baselines, in one table.

Options in; `job.py` reads and checks, `experiment.py` computes and `report/` tells.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from .plumbing.command import Parser, add_columns, number, run_command, warmup
from .plumbing.files import UserError, read_json, remove_leftovers, shown, write_json
from .plumbing.lock import only_run_in
from .plumbing.push import repository
from .plumbing.tracking import TRACKERS
from .recipes import DEFAULTS, RECIPES, TASK_DEFAULTS, defaults_of

MAX_SEED = 2**32 - 1

# What may differ between a run and its --resume: nothing that decides a number.
FREE_ON_RESUME = ("output", "resume", "quiet", "dry_run", "checkpoint_every", "track", "push")


def main(argv=None):
    """Run the command; returns its exit code."""
    options = parse(argv)
    from .plumbing import processes  # late: --help need not wait for PyTorch
    from .plumbing.device import resolve_device

    with processes.together(resolve_device(options.device)):
        return run(options, processes)


def run(options, processes):
    """One run, in one process or in several: the first one talks and writes. Returns the exit code."""
    from .experiment import explain_mistakes, run_rows, vectors_of_texts
    from .job import prepare, rests_on
    from .plumbing.push import check_push, push
    from .plumbing.resume import machine
    from .plumbing.tracking import check_tracker, tracking
    from .report import write_report
    from .sweep import make_trials, run_sweep

    talks = processes.is_first() and not options.quiet
    say = (lambda *lines: print(*lines, sep="\n", flush=True)) if talks else (lambda *lines: None)
    folder = Path(options.output)
    settings = {key: value for key, value in vars(options).items() if key not in FREE_ON_RESUME}
    if not options.dry_run:
        check_output(folder, settings, options.resume)
    options.commit = kept_commit(folder) if options.resume else None
    if options.recipe:
        say(f"recipe {options.recipe}: {RECIPES[options.recipe]}")
    if unused := unused_options(options):
        say(f"note: --mode frozen does not fine-tune, so nothing asks for {', '.join(unused)}")
    check_tracker(options.track)
    if options.push and processes.is_first():
        check_push(options.push)
    job = prepare(options, folder, say)
    trials = make_trials(job, parse)
    if options.dry_run:
        rehearse(job, trials, say)
        return 0
    if options.sweep:
        processes.refuse("--sweep")
    processes.wait_for_all()  # all have looked at the folder before the first one writes there
    if not processes.is_first():
        run_rows(job)
        return 0
    with only_run_in(folder):
        check_output(folder, settings, options.resume)  # again: another run may have come and gone
        remove_leftovers(folder)
        keep_settings(folder, settings | rests_on(job) | {"machine": machine(job.device)}, say)
        if trials:
            job = run_sweep(job, trials, say)
        with tracking(options.track, folder, settings) as job.track:
            results = run_rows(job)
        with processes.alone():
            write_report(job, results, vectors_of_texts(job, results), explain_mistakes(job, results))
            if options.push:
                say(f"uploaded: {push(folder / 'finetuned', options.push)}")
    return 0


def rehearse(job, trials, say):
    """--dry-run: say what would run, and make what can fail."""
    from .experiment import new_training
    from .job import updates_of

    options = job.options
    if trials:
        say(f"sweep: {len(trials)} trials would be tried", *(f"  {trial.name}" for trial in trials))
    if options.mode in ("both", "finetune"):
        new_training(job, options.seeds[0])
    count = f"{updates_of(job):,} updates in {options.epochs} epochs"
    say(f"dry run: {count} would follow, for each seed; nothing was written")


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
    try:
        json.dumps(before, allow_nan=False)
    except ValueError:
        raise UserError(f"{path}: holds NaN or infinity, which no option can be") from None
    for key, value in settings.items():
        if key != "arguments" and before.get(key) != json.loads(json.dumps(value)):
            flag = "--" + key.replace("_", "-")
            raise UserError(f"{path}: the run began with {flag} {shown(before.get(key))}; --resume needs the same")


def kept_commit(folder):
    """The commit of the model that the run began with, where it came from the Hub: `main` may have moved since."""
    path = folder / "settings.json"
    commit = read_json(path).get("commit") if path.is_file() else None
    return commit if isinstance(commit, str) and re.fullmatch("[0-9a-f]{40}", commit) else None


def keep_settings(folder, settings, say):
    """Write settings.json; or, where a run began already, refuse other weights or texts and tell of another machine."""
    path = folder / "settings.json"
    if not path.is_file():
        write_json(path, settings)
        return
    before = read_json(path)
    if before.get("weights") != settings["weights"]:
        raise UserError(f"{path}: the run began with other weights than {settings['model']} holds now; "
                        "start another with --output")  # fmt: skip
    if before.get("texts") != settings["texts"]:
        raise UserError(f"{path}: {settings['task']}'s texts have changed since; start another run with --output")
    if before.get("machine") != settings["machine"]:
        say(f"the run began on {shown(before.get('machine'))}, and goes on on {settings['machine']}: "
            "an unbroken run's result would be another")  # fmt: skip


# ---- the command line


def parse(argv):
    """The options of a command line, with the task's defaults filled in."""
    from .data import TASKS, name_of  # late: an interrupt is answered once the command runs

    parser = Parser(
        prog="python -m minibert.finetune",
        description="Classify text with a pretrained BERT or DistilBERT, once frozen and once fine-tuned, "
        "beside a majority and a bag-of-words baseline.",
    )
    add_data_options(parser)
    add_experiment_options(parser.add_argument_group("experiments"))
    add_training_options(parser.add_argument_group("fine-tuning"))
    add_sweep_options(parser.add_argument_group("search for settings"))
    add_text_options(parser.add_argument_group("text and head"))
    add_machine_options(parser.add_argument_group("machine and output"))
    first = Parser(add_help=False)  # what a recipe says becomes the defaults, so that whatever is typed overrides it
    first.add_argument("--recipe")
    recipe = RECIPES.get(first.parse_known_args(argv)[0].recipe)
    if recipe:
        parser.set_defaults(**recipe.options())
    options = parser.parse_args(argv)
    for key, value in defaults_of(options.task, options.model).items():
        native = key == "pooling" and options.head == "native"  # which brings its own
        if getattr(options, key) is None and not native:
            setattr(options, key, value)
    options.arguments = list(sys.argv[1:] if argv is None else argv)
    check_together(options, typed_in(options.arguments))
    options.seeds = options.seeds or [options.seed]
    task = options.task if options.task in TASKS else name_of(options.task)
    options.output = options.output or str(Path("runs") / task)
    return options


def typed_in(words):
    """The options that a person has typed, recipes and defaults aside."""
    words = words[: words.index("--")] if "--" in words else words
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def check_together(options, typed):
    """UserError for options that contradict each other, or of which one would do nothing. typed: see `typed_in`."""
    check_sample(options)
    if options.push and options.mode == "frozen":
        raise UserError(f"--push {options.push}: --mode frozen leaves no fine-tuned classifier to upload")
    if options.sweep_random and not options.sweep:
        raise UserError("--sweep-random: says how many trials of a --sweep to draw, and there is none")
    if options.sweep and options.mode == "frozen":
        raise UserError("--sweep: tries settings of fine-tuning; --mode frozen tries all its heads anyway")
    if options.refit and options.mode == "frozen":
        raise UserError("--refit: is about fine-tuning; --mode frozen needs its validation texts")
    if options.refit and options.sweep:
        raise UserError("--refit: leaves nothing for --sweep to choose by; run the sweep first, then its choice again")
    if options.refit and "--patience" in typed:
        raise UserError("--patience: asks validation when to stop, and --refit learns from it; give --epochs instead")
    if "--seed" in typed and options.seeds and not options.sweep_random:
        raise UserError("--seed: --seeds names all of them; leave one of the two out")
    names = [name for name, _ in options.also_test]
    if len(set(names)) != len(names):
        raise UserError(f"--also-test: {', '.join(names)}: each needs a name of its own")


def check_sample(options):
    if options.sample and not options.data:
        raise UserError("--sample: says that --data is a part of the published data set, and there is no --data")


def unused_options(options):
    """The options that were typed for a fine-tuning that --mode frozen leaves out, in --help's order."""
    if options.mode != "frozen":
        return []
    parser = argparse.ArgumentParser(add_help=False)
    add_training_options(parser)
    flags = [f"--{name.replace('_', '-')}" for name in vars(parser.parse_args([]))]
    typed = typed_in(options.arguments)
    return [flag for flag in flags if flag in typed]


def add_data_options(parser):
    from .data import FILE_TYPES, TASKS

    add = parser.add_argument
    add("task", help=f"{', '.join(TASKS)}, a {'/'.join(FILE_TYPES)} file, or a folder with train and test in it")
    add("--model", metavar="ID[@REVISION]|FOLDER",
        help="Hub id, perhaps with a branch, tag, commit or refs/pr/N; folder of a checkpoint; or minibert-tiny "
        + per_task("model"))  # fmt: skip
    add("--data", metavar="PATH", help="local copy of a built-in task's data, instead of downloading it")
    add("--sample", action="store_true", help="--data is a part of the published data set on purpose")
    add("--limit", type=number(int, 1), metavar="N",
        help="use only N texts for training and validation together; where a task has a validation set of its own, for "
        "training")  # fmt: skip
    add("--test-limit", type=number(int, 1), metavar="N", help="use only N test texts")
    add_columns(add)


def add_experiment_options(group):
    add = group.add_argument
    add("--group-column", help="of your own file: give accuracy for each value of this column, too")
    add("--recipe", choices=tuple(RECIPES), metavar="NAME",
        help=f"the settings of a tutorial, a paper or ours, for what is not given here: {', '.join(RECIPES)}; "
        "--dry-run prints them")  # fmt: skip
    add("--also-test", type=named_path, action="append", default=[], metavar="NAME=PATH",
        help="score all rows on this file (columns as of your own file) or folder of LABEL/*.txt, too: another domain, "
        "or texts made to be hard; may be given several times")  # fmt: skip
    add("--mode", choices=("both", "frozen", "finetune"), default="both", help="which experiments to run")
    add("--untrained", action="store_true",
        help="also score the pretrained encoder under a random head, which is what a checkpoint without a trained head "
        "gives")  # fmt: skip
    add("--class-weights", choices=("none", "balanced"), default="none", help="balanced: rare classes weigh more")
    add("--seed", type=number(int, 0, MAX_SEED), default=0, help="of heads, dropout and the order of texts")
    add("--seeds", type=seed_list, metavar="A,B,C", help="run once for each and report mean and spread")


def add_training_options(group):
    """What only fine-tuning asks for; see `unused_options`."""
    add = group.add_argument
    add("--epochs", type=number(int, 1), help=f"passes over train, best on validation kept {per_task('epochs')}")
    add("--batch-size", type=number(int, 1), help=f"texts per update {per_task('batch_size')}")
    add("--micro-batch", type=number(int, 0), default=0,
        help="texts in memory at a time, 0 for all; the same gradient, but for what dropout draws")  # fmt: skip
    add("--lr", type=number(float, 0, 1, low_open=True), help=f"peak learning rate of the encoder {per_task('lr')}")
    add("--head-lr", type=number(float, 0, 1, low_open=True), default=5e-4, help="peak learning rate of the head")
    add("--layer-decay", type=number(float, 0, 1, low_open=True), default=1.0, metavar="FACTOR",
        help="each layer's rate, as a factor of the rate above it; meant for few texts, which may unlearn what the "
        "lower layers know (0.95 is usual; it paid in none of our measurements, see RESULTS.md)")  # fmt: skip
    add("--weight-decay", type=number(float, 0, 1), default=0.01, help="decoupled, on matrices only; rarely decides")
    add("--warmup", type=warmup, default=0.1, metavar="SHARE|UPDATES",
        help="updates in which the rate rises, below 1 as a share of all; pays with high rates and large models, whose "
        "first steps would go astray")  # fmt: skip
    add("--max-norm", type=number(float, 0, 1e9), default=1.0, metavar="NORM",
        help="scale longer gradients down to this length, 0 for never; pays against single wild batches")  # fmt: skip
    add("--dropout", type=number(float, 0, 0.999), metavar="P",
        help="of the head, in place of the checkpoint's own; more pays where training texts are few and the head is "
        "large")  # fmt: skip
    add("--label-smoothing", type=number(float, 0, 0.999), default=0.0, metavar="SHARE",
        help="spread this share of each label over all classes; pays where labels are often wrong, or probabilities "
        "too sure")  # fmt: skip
    add("--freeze", type=frozen_parts, default=(False, 0), metavar="embeddings,N",
        help="leave the embeddings, or these and the N lowest layers, as they are; pays in time and memory, and with "
        "very few texts (default: all of it learns)")  # fmt: skip
    add("--patience", type=number(int, 0), default=0, metavar="EPOCHS",
        help="stop after so many epochs without gain on validation, 0 for never; pays in time: the best epoch is kept "
        "in any case")  # fmt: skip
    add("--refit", action="store_true",
        help="learn from the validation texts, too, for all --epochs, and keep the last one; pays with settings that "
        "an earlier run has chosen, most where labels are few")  # fmt: skip


def add_sweep_options(group):
    add = group.add_argument
    add("--sweep", nargs="+", metavar="NAME=A,B", default=[],
        help="try all combinations of these values of options, such as lr=2e-5,5e-5 epochs=2,3, on validation; half of "
        "the trials are dropped after 1, 2, 4, ... epochs, and the best one is trained on and tested once")  # fmt: skip
    add("--sweep-random", type=number(int, 1), metavar="N", help="try N of the combinations, drawn by --seed")


def add_text_options(group):
    add, poolings = group.add_argument, ("cls", "mean", "pooler")
    add("--max-length", type=number(int, 5), default=256, help="tokens per text, special ones included")
    add("--truncation", choices=("head", "tail", "head+tail"), default="head",
        help="the part of a longer text to keep; windows need none, they reach from its first token to its last")
    add("--windows", type=number(int, 1, 1000), default=1, metavar="N",
        help="read a longer text as up to N overlapping windows of --max-length tokens and average their vectors; pays "
        "where what decides may stand anywhere in a long text")  # fmt: skip
    add("--pooling", choices=poolings,
        help=f"tokens to one vector {per_task('pooling')}; where neither you nor the task names one, frozen tries all")
    add("--head", choices=("linear", "mlp", "native"),
        help=f"what stands on it {per_task('head')}; where nobody names one, frozen tries linear and mlp")


def add_machine_options(group):
    add = group.add_argument
    add("--precision", choices=("auto", "fp32", "bf16", "fp16", "int8"), default="auto",
        help="auto: bf16 where it is fast; int8, of --mode frozen on a CPU: encodes fastest where there are VNNI "
        "instructions, and rounds each vector by some per cent")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    add("--deterministic", action="store_true", help="on a GPU: only kernels whose bits repeat (a CPU's always do)")
    add("--compile", action="store_true", help="torch.compile the model (on a CPU: no gain in bf16, needs g++)")
    add("--output", metavar="DIR", help="where the run is kept (default: runs/TASK)")
    add("--resume", action="store_true", help="go on with the run in --output")
    add("--checkpoint-every", type=number(float, 0), default=300.0, metavar="SECONDS", help="between saves")
    add("--track", choices=TRACKERS,
        help="show log.jsonl in this dashboard, too; on this machine, without an account")  # fmt: skip
    add("--push", type=repository, metavar="ORG/NAME",
        help="upload finetuned/ with its card to the Hub when all is done; without this nothing is")  # fmt: skip
    add("--dry-run", action="store_true", help="read and check everything, say what would run, write nothing")
    add("--quiet", action="store_true", help="print the result only: its table, checks, and where it is")


def per_task(key):
    """A default that depends on the task, in words."""
    others = [f"{own[key]} for {task}" for task, own in TASK_DEFAULTS.items() if own[key] != DEFAULTS[key]]
    usual = DEFAULTS[key] or "the family's own"
    return f"(default: {', '.join([str(usual), *others])})"


def named_path(text):
    """An argparse type: "NAME=PATH" -> (name, path)."""
    from .data import PARTS

    name, equals, path = text.partition("=")
    if not (name.strip() and equals and path) or name in PARTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH with a name of its own")
    return name, path


def frozen_parts(text):
    """An argparse type: "embeddings", "4" or "embeddings,4" -> (whether embeddings are frozen, number of layers).

    Layers that learn under frozen ones would be odd, so a number alone freezes the embeddings, too.
    """
    parts = text.split(",")
    numbers = [part for part in parts if part != "embeddings"]
    if len(parts) - len(numbers) > 1 or len(numbers) > 1 or not all(part.isdecimal() for part in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not embeddings, a number of layers, or both with a comma")
    return True, int(numbers[0]) if numbers else 0


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
