"""`--track`: what goes into log.jsonl, shown in somebody else's dashboard, too. log.jsonl stays the truth.

Nothing leaves the machine, and nobody is asked for an account: TensorBoard writes into the run's folder, trackio keeps
its runs where it always does, Weights & Biases is put into its offline mode unless WANDB_MODE says otherwise.
"""

import contextlib
import importlib.util
import os

from .files import UserError

TRACKERS = ("tensorboard", "trackio", "wandb")


def check_tracker(kind):
    """UserError when `kind` is asked for and its package is not there."""
    if kind and importlib.util.find_spec(kind) is None:
        extra = "pip install -e '.[track]'" if kind != "wandb" else "pip install wandb"
        raise UserError(f"--track {kind}: the package {kind} is not installed; {extra}")


@contextlib.contextmanager
def tracking(kind, folder, settings):
    """Within it: a function that shows a record {"seed", "update", name: number}; it does nothing when `kind` is None.

    folder: the run's; settings: JSON values that a dashboard shows beside the curves.
    """
    if not kind:
        yield lambda record: None
        return
    check_tracker(kind)
    log, close = {"tensorboard": tensorboard, "trackio": trackio, "wandb": wandb}[kind](folder, settings)

    def show(record):
        seed, update = record["seed"], record["update"]
        numbers = {key: value for key, value in record.items() if key not in ("seed", "update")}
        log({f"seed {seed}/{key}": value for key, value in numbers.items() if isinstance(value, (int, float))}, update)

    try:
        yield show
    finally:
        close()


# ---- one adapter each: (log(numbers, update), close())


def tensorboard(folder, settings):
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder / "tensorboard")
    writer.add_text("settings", "\n".join(f"    {key}: {value}" for key, value in settings.items()))

    def log(numbers, update):
        for name, value in numbers.items():
            writer.add_scalar(name, value, update)

    return log, writer.close


def trackio(folder, settings):
    import trackio as library

    library.init("minibert", name=folder.name, config=plain(settings), resume="allow", embed=False,
                 auto_log_gpu=False, auto_log_cpu=False)  # fmt: skip
    return (lambda numbers, update: library.log(numbers, step=update)), library.finish


def wandb(folder, settings):
    os.environ.setdefault("WANDB_MODE", "offline")
    import wandb as library

    run = library.init(project="minibert", name=folder.name, dir=str(folder), config=plain(settings))
    return (lambda numbers, update: run.log({**numbers, "update": update})), run.finish


def plain(settings):
    """Settings with lists as text: dashboards compare numbers and texts."""
    return {key: str(value) if isinstance(value, (list, tuple, dict)) else value for key, value in settings.items()}
