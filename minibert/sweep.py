"""`--sweep lr=2e-5,5e-5 epochs=2,3`: try settings on validation, and drop the worse half again and again.

Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): all trials train for one epoch of their schedule,
the better half goes on to two, the better half of those to four, and so on. Trials are ordinary trainings that stop
and go on, so nothing is computed twice, and a killed sweep goes on, too. Test texts are never looked at here: the
winner's training is finished, and `experiment.py` takes it from there. Halving is a bet: a setting that starts slowly,
with a long schedule or a low rate, may be dropped before it would have won.
"""

import itertools
import random
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from .baselines import by_validation_accuracy
from .data import balanced_weights
from .experiment import finetune
from .job import check_fits, check_pairs, choose_head, prepare
from .load import read_encoder
from .plumbing.files import UserError, read_json, read_text, write_json, write_text
from .plumbing.resume import read_log

TEXT_KEYS = ("max-length", "truncation", "windows")  # these change the texts, so they have to be encoded again
KEYS = (
    "lr", "head-lr", "epochs", "batch-size", "layer-decay", "weight-decay", "warmup", "max-norm", "dropout",
    "label-smoothing", "patience", "freeze", "class-weights", "pooling", "head", *TEXT_KEYS,
)  # fmt: skip
MOST_TRIALS = 200


@dataclass
class Trial:
    """One choice of settings, and how far its training has come."""

    name: str
    words: list  # the settings as words of a command line
    options: object  # all options of the command, with these settings
    folder: Path
    epochs: list = field(default_factory=list)  # [accuracy, loss] on validation after each epoch that was trained
    finished: bool = False
    seconds: float = 0.0
    dropped_after: int | None = None  # epochs

    @property
    def state(self):
        return self.folder / "work" / f"finetuned-{self.options.seeds[0]}.safetensors"

    def best(self, budget=None):
        """{"accuracy", "loss"} of the best epoch, of the first `budget` ones or of all so far."""
        accuracy, loss = max(self.epochs[:budget], key=lambda epoch: (epoch[0], -epoch[1]))
        return {"accuracy": accuracy, "loss": loss}


# ---- which trials


def parse_grid(words):
    """["lr=2e-5,5e-5", "epochs=2,3"] -> {"lr": ["2e-5", "5e-5"], "epochs": ["2", "3"]}. Raises UserError."""
    grid = {}
    for word in words:
        key, equals, values = word.partition("=")
        key = key.strip().replace("_", "-").removeprefix("--")
        if key not in KEYS:
            raise UserError(f"--sweep {word}: {key!r} cannot be swept; choose from {', '.join(KEYS)}")
        values = [value.strip() for value in values.split(",")]
        if not equals or "" in values or len(set(values)) < len(values) or key in grid:
            raise UserError(f"--sweep {word}: expected NAME=VALUE,VALUE,... with each name and each value once")
        grid[key] = values
    return grid


def make_trials(job, parse):
    """The `Trial`s of a job's options, all of which fit its encoder and texts; [] without a sweep. Raises UserError.

    parse: words of a command line -> options, with all their checks.
    """
    options, encoder = job.options, job.encoder
    if not options.sweep:
        return []
    grid = parse_grid(options.sweep)
    if options.windows > 1 and "truncation" in grid and "windows" not in grid:
        raise UserError(f"--sweep truncation: --windows {options.windows} cuts no text; leave one of the two out")
    choices = list(itertools.islice(itertools.product(*grid.values()), 10**6))
    if options.sweep_random and options.sweep_random < len(choices):
        choices = random.Random(options.seed).sample(choices, options.sweep_random)
    if len(choices) > MOST_TRIALS:
        raise UserError(
            f"--sweep: {len(choices):,} trials are more than {MOST_TRIALS}; --sweep-random 20 tries 20 of them"
        )
    given, trials = options.arguments, []
    end = given.index("--") if "--" in given else len(given)  # what stands behind it is no option
    for number, values in enumerate(choices, 1):
        words = [f"--{key}={value}" for key, value in zip(grid, values, strict=True)]
        name = " ".join(f"{key}={value}" for key, value in zip(grid, values, strict=True))
        folder = Path(options.output) / "sweep" / f"{number:03}_{re.sub(r'[^a-zA-Z0-9.=+-]', '_', name)}"
        of_trial = parse([*given[:end], *words, *given[end:]])
        of_trial.commit = options.commit
        check_fits(of_trial, encoder)
        check_pairs(of_trial, job.task, job.tokenizer, encoder)
        choose_head(of_trial, encoder)
        trials.append(Trial(name, words, of_trial, folder))
    return trials


def job_of(base, trial, folder, say):
    """The trial's job in `folder`. Texts that are the same as the base's are not encoded again."""
    changed = {word.split("=")[0].removeprefix("--") for word in trial.words}
    if changed & set(TEXT_KEYS):
        return prepare(trial.options, folder, say)
    encoder, task = read_encoder(base.checkpoint), base.task
    check_fits(trial.options, encoder)
    pooling, head = choose_head(trial.options, encoder)
    balanced = trial.options.class_weights == "balanced"
    class_weights = balanced_weights(task.train.labels, len(base.label_names)) if balanced else None
    return replace(base, options=trial.options, folder=folder, encoder=encoder, pooling=pooling, head=head,
                   class_weights=class_weights, say=say, facts=list(base.facts), features=None)  # fmt: skip


# ---- halving


def budgets(longest):
    """After how many epochs to halve: 1, 2, 4, ... and the longest schedule."""
    return [*itertools.takewhile(lambda epochs: epochs < longest, (2**i for i in range(30))), longest]


def run_sweep(base, trials, say):
    """Run all trials as far as halving lets them, print their table, and return the winner's job, its training done.

    base: the `job.Job` of the command. Raises UserError, and Stopped when a signal ends it.
    """
    say("", f"sweep: {len(trials)} trials, chosen on validation, the worse half dropped after 1, 2, 4, ... epochs")
    alive = trials
    for budget in budgets(max(trial.options.epochs for trial in trials)):
        for trial in alive:
            go_on(base, trial, budget)
            say(f"  {trial.name}: {trial.best(budget)['accuracy']:.4f} after {min(budget, len(trial.epochs))} epochs")
        alive = sorted(alive, key=lambda trial: by_validation_accuracy(trial.best(budget)), reverse=True)
        if all(trial.finished and len(trial.epochs) <= budget for trial in alive):  # --resume knows of later epochs
            break
        for trial in alive[(len(alive) + 1) // 2 :]:
            trial.dropped_after = budget
            trial.state.unlink(missing_ok=True)
        alive = alive[: (len(alive) + 1) // 2]
    winner, *others = alive
    for trial in others:
        trial.state.unlink(missing_ok=True)
    table = [row_of(trial, trial is winner) for trial in trials]
    write_json(base.folder / "sweep.json", {"trials": table})
    say("", trial_table(table))
    hand_over(winner, base.folder)
    job = job_of(base, winner, base.folder, say)
    job.facts.append(f"chosen by a sweep of {len(trials)} trials, on validation: {winner.name}")
    return job


def go_on(base, trial, budget):
    """Train a trial until it has `budget` epochs behind it or is finished; what is known of it already is read."""
    path = trial.folder / "trial.json"
    if path.is_file():
        kept = read_json(path)
        trial.epochs, trial.finished, trial.seconds = kept["epochs"], kept["finished"], kept["seconds"]
    if trial.finished or len(trial.epochs) >= budget:
        return
    job = job_of(base, trial, trial.folder, lambda *lines: None)
    _, progress = finetune(job, trial.options.seeds[0], stop_after=budget)
    records = read_log(trial.folder / "log.jsonl")
    trial.epochs = [[one["validation_accuracy"], one["validation_loss"]] for one in records if "validation_loss" in one]
    trial.finished, trial.seconds = progress.epoch >= trial.options.epochs, round(progress.seconds, 1)
    write_json(path, {"epochs": trial.epochs, "finished": trial.finished, "seconds": trial.seconds})


def hand_over(winner, folder):
    """Make the winner's finished training the run's own."""
    target = folder / "work" / winner.state.name
    if winner.state.is_file():
        write_text(folder / "log.jsonl", read_text(winner.folder / "log.jsonl"))
        target.parent.mkdir(parents=True, exist_ok=True)
        winner.state.replace(target)


# ---- what came of it


def row_of(trial, is_winner):
    """A trial as JSON values."""
    return {
        "trial": trial.name, **trial.best(), "epochs": len(trial.epochs), "of": trial.options.epochs,
        "seconds": trial.seconds, "dropped_after": trial.dropped_after, "chosen": is_winner,
    }  # fmt: skip


def trial_table(rows):
    """All trials, best first, as text."""
    width = max(len("trial"), *(len(row["trial"]) for row in rows)) + 2
    lines = [f"{'trial':<{width}}{'accuracy':>9}{'loss':>9}{'epochs':>9}{'seconds':>9}"]

    def order(row):
        return row["chosen"], row["dropped_after"] is None, row["epochs"], *by_validation_accuracy(row)

    for row in sorted(rows, key=order, reverse=True):
        epochs = f"{row['epochs']} of {row['of']}"
        mark = "  chosen" if row["chosen"] else "  dropped" if row["dropped_after"] else ""
        lines.append(f"{row['trial']:<{width}}{row['accuracy']:>9.4f}{row['loss']:>9.4f}{epochs:>9}"
                     f"{row['seconds']:>9.0f}{mark}")  # fmt: skip
    return "\n".join(lines)
