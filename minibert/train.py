"""The training loop: forward -> loss -> backward -> clip -> step -> schedule, validation, and exact resume.

It knows nothing about BERT. `examples` has `lengths` [N], `labels` [N] and `inputs(indices)`, a tuple of tensors; the
objective says what is learned. The same loop fine-tunes an encoder, fits a head on stored features and distills.
"""

import contextlib
import math
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from . import metrics
from .batch import bucketed_batches
from .evaluate import predict
from .metrics import softmax
from .optim import AdamW, clip_gradients, linear_warmup, make_dense, parameter_groups
from .plumbing import processes
from .plumbing.device import autocast, to_device
from .plumbing.files import UserError
from .plumbing.resume import Progress, load_state, save_state
from .plumbing.signals import REQUESTS, Stopped, finish_first, leave_at_once

LOG_EVERY = 10  # updates
CHECKPOINT_EVERY = 300  # seconds
ESTIMATE_AFTER = 30  # updates, then a long job says how long it will take


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides what a training run computes."""

    epochs: int = 3
    batch_size: int = 16  # texts that one update sees
    micro_batch: int = 0  # texts that memory holds at a time (0: all); the same gradient, but for dropout's draws
    lr: float = 5e-5
    head_lr: float | None = None  # None: as lr
    layer_decay: float = 1.0  # a layer's rate, as a factor of the rate of the layer above it
    weight_decay: float = 0.01
    warmup: float = 0.1  # below 1 a share of all updates, else so many updates
    max_norm: float = 1.0  # of all gradients together (0: no clipping)
    label_smoothing: float = 0.0  # the share of a label that is spread over all classes
    patience: int = 0  # epochs without gain on validation before stopping (0: never stop early)
    precision: str = "fp32"
    seed: int = 0


# ---- what is learned


class Validation(NamedTuple):
    """What an objective says of the model after an epoch. Without an accuracy the last weights are the best."""

    record: dict  # for the log
    sentence: str  # for a person
    accuracy: float | None = None
    loss: float = 0.0


class Classification:
    """Cross-entropy, each text weighted by its class; the best epoch is the most accurate one on validation.

    Any other objective has the same attributes and methods.
    """

    dropout = True  # the model learns in train mode
    uses_all_parameters = True  # each one gets a gradient from every batch

    def __init__(self, examples, validation, settings, device, class_weights=None):
        self.examples, self.validation = examples, validation
        self.device, self.precision, self.label_smoothing = device, settings.precision, settings.label_smoothing
        self.weights = torch.ones(len(examples))  # [N]
        if class_weights is not None:
            self.weights = torch.as_tensor(class_weights, dtype=torch.float32)[examples.labels]

    def losses(self, model, part, batch, weight=1.0):
        """What the examples `part` (indices, some of those in `batch`) add to the batch's loss: {name: scalar tensor}.

        Each part is divided by the whole batch's weight, not by its own: so the sum of the parts' gradients is the
        gradient of the full batch, also for a short last batch. weight: 0 for a process that got nothing of the batch
        and only takes part, else 1.
        """
        *inputs, labels, weights = to_device(
            (*self.examples.inputs(part), self.examples.labels[part], self.weights[part]), self.device
        )
        with autocast(self.device, self.precision):
            logits = model(*inputs)
        losses = functional.cross_entropy(
            logits.float(), labels, reduction="none", label_smoothing=self.label_smoothing
        )
        return {"loss": weight * (losses * weights).sum() / self.weights[batch].sum().item()}

    def validate(self, model):
        """A `Validation` of the model, which is left in eval mode."""
        logits, labels = predict(model, self.validation, self.device, self.precision), self.validation.labels.numpy()
        predicted = logits.argmax(1)
        accuracy, loss = metrics.accuracy(labels, predicted), metrics.log_loss(labels, softmax(logits))
        f1 = metrics.precision_recall_f1(labels, predicted, "macro", logits.shape[1])[2]
        record = {"validation_accuracy": accuracy, "validation_f1": round(f1, 6), "validation_loss": round(loss, 6)}
        return Validation(record, f"validation accuracy {accuracy:.4f}, loss {loss:.4f}", accuracy, loss)


class Unvalidated(Classification):
    """The same where no text is left to validate on: the last epoch is kept."""

    def validate(self, model):
        return Validation({}, "not validated")


# ---- the loop


def train(model, examples, validation, settings, device, class_weights=None, checkpoint=None, resume=False, log=None,
          quiet=False, name="training", objective=None, checkpoint_every=None, stop_after=None):  # fmt: skip
    """Train `model` in place and leave it with the weights of its best epoch on `validation`. Returns `Progress`.

    class_weights: [C] factors for each class's loss, or None. checkpoint: a path to keep the run's state in, every
    `checkpoint_every` seconds (300), after each epoch, and when a signal asks for it. resume: go on from that state; on
    CPU the result is bit for bit that of an uninterrupted run. log: called with a dict every few updates and after each
    epoch. objective: `Classification`, or another one. stop_after: after so many epochs of the schedule, stop for now.
    Raises UserError when the loss is not finite, and Stopped when a signal ends the training.
    """
    torch.manual_seed(processes.own_seed(settings.seed))  # dropout; the batches have a generator of their own
    model.to(device)
    objective = objective or Classification(examples, validation, settings, device, class_weights)
    run = Run(model, examples, objective, settings, device, checkpoint, log, quiet, checkpoint_every)
    if resume:
        run.load()
    with run.show(name), finish_first() if checkpoint else contextlib.nullcontext():
        while run.progress.epoch < min(settings.epochs, stop_after or settings.epochs):
            model.train(objective.dropout)
            for batch in run.rest_of_epoch():
                update(run, batch)
                run.tell()
                run.answer()
            validate(run)
            run.answer(save=True)
    if run.best:
        model.load_state_dict(run.best)
    model.eval()
    return run.progress


def update(run, batch):
    """One step of the optimizer on the examples `batch` (indices), as many of them at a time as memory holds.

    Several processes share the batch; one that gets nothing of it takes part with a loss of weight 0.
    """
    settings = run.settings
    scale = linear_warmup(run.progress.update, run.warmup_updates, run.total_updates)
    run.rate = settings.lr * scale
    for group, peak in zip(run.optimizer.param_groups, run.peak_rates, strict=True):
        group["lr"] = peak * scale

    mine = processes.own_part(batch, run.examples.lengths)
    weight = 1.0 if mine else 0.0
    mine = mine or batch[:1]
    micro_batch = settings.micro_batch or len(mine)
    losses = Counter()
    for start in range(0, len(mine), micro_batch):
        with processes.without_exchange(run.losses, start + micro_batch < len(mine)):
            parts = run.losses(mine[start : start + micro_batch], batch, weight)
            run.scaler.scale(sum(parts.values()) * processes.count()).backward()  # the exchange takes the mean
        losses.update({name: loss.detach() for name, loss in parts.items()})
    make_dense(run.parameters)
    run.scaler.unscale_(run.optimizer)  # clipping has to see the gradients' true size
    run.norm = clip_gradients(run.parameters, settings.max_norm or math.inf)
    run.scaler.step(run.optimizer)  # left out when fp16 overflowed; the scale then shrinks
    run.scaler.update()
    run.optimizer.zero_grad()

    run.recent.append(losses)
    run.progress.batch += 1
    run.progress.update += 1
    run.bar.update(len(batch))


def validate(run):
    """End an epoch: keep the weights if they are the best on validation, stop if there was no gain for too long."""
    progress = run.progress
    try:
        with leave_at_once() if processes.count() == 1 else contextlib.nullcontext():
            found = run.objective.validate(run.model)
    except Stopped as stop:
        run.stop(stop.signal)
    if found.accuracy is not None and (found.accuracy, -found.loss) > (progress.best_accuracy, -progress.best_loss):
        progress.best_accuracy, progress.best_loss, progress.best_epoch = found.accuracy, found.loss, progress.epoch
        run.best = {key: tensor.detach().cpu().clone() for key, tensor in run.model.state_dict().items()}
    progress.epoch, progress.batch = progress.epoch + 1, 0
    progress.seconds = time.monotonic() - run.started
    if run.log and found.record:
        seconds = {"seconds": round(progress.seconds, 1)}
        run.log({"epoch": progress.epoch, "update": progress.update} | found.record | seconds)
    if not run.quiet:
        tqdm.write(f"  epoch {progress.epoch}: {found.sentence}")
    without_gain = progress.epoch - 1 - progress.best_epoch
    if found.accuracy is not None and run.settings.patience and without_gain >= run.settings.patience:
        progress.epoch = run.settings.epochs


class Losses(nn.Module):
    """An objective's losses as a module, because what keeps several processes in step wraps a module's forward."""

    def __init__(self, objective, model):
        super().__init__()
        self.objective, self.model = objective, model
        self.uses_all_parameters = objective.uses_all_parameters

    def forward(self, part, batch, weight):
        return self.objective.losses(self.model, part, batch, weight)


class Run:
    """What a training run consists of, and where it stands."""

    def __init__(self, model, examples, objective, settings, device, checkpoint, log, quiet, checkpoint_every):
        self.model, self.examples, self.objective = model, examples, objective
        self.settings, self.device, self.checkpoint, self.log, self.quiet = settings, device, checkpoint, log, quiet
        self.checkpoint_every = CHECKPOINT_EVERY if checkpoint_every is None else checkpoint_every
        self.losses = processes.in_step(Losses(objective, model))
        groups = parameter_groups(
            model, settings.lr, settings.weight_decay, settings.head_lr, layer_decay=settings.layer_decay
        )
        self.optimizer = AdamW(groups, fused=True)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.peak_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.total_updates = -(-len(examples) // settings.batch_size) * settings.epochs
        self.warmup_updates = warmup_updates(settings.warmup, self.total_updates)
        self.progress, self.best = Progress(), {}  # the best epoch's weights
        self.recent, self.norm, self.rate = [], None, 0.0  # losses since the last look; the last update's norm and rate
        self.started = self.saved = time.monotonic()

    def rest_of_epoch(self):
        """The batches that the epoch still has to see; how many it has in all is kept in `batches`."""
        batches = bucketed_batches(
            self.examples.lengths, self.settings.batch_size, self.settings.seed, self.progress.epoch
        )
        self.batches = len(batches)
        return batches[self.progress.batch :]

    def show(self, name):
        """A progress bar, to be used as a context."""
        done = self.progress.epoch * len(self.examples) + self.progress.batch * self.settings.batch_size
        total = self.settings.epochs * len(self.examples)
        self.bar = tqdm(total=total, initial=done, desc=name, unit=" texts", disable=self.quiet or None)
        return self.bar

    def tell(self):
        """After an update: now and then look at the losses, write the log, and say how long it will take."""
        progress = self.progress
        if progress.update % LOG_EVERY == 0 or progress.batch == self.batches:
            means = check_losses(self.recent, progress)
            self.recent.clear()
            self.bar.set_postfix({name: f"{mean:.3f}" for name, mean in means.items()}, refresh=False)
            if self.log:
                norm = self.norm.item()  # in fp16 it may overflow; then the update is left out
                self.log({"epoch": progress.epoch + 1, "update": progress.update, **means, "learning_rate": self.rate,
                          "gradient_norm": norm if math.isfinite(norm) else None})  # fmt: skip
        if progress.update == ESTIMATE_AFTER and not self.quiet:
            announce_length((time.monotonic() - self.started) / ESTIMATE_AFTER * self.total_updates, self.device)

    def answer(self, save=False):
        """Save if `save` says so, a signal asks for it or it is time to; stop if a signal asks for that."""
        save = save or REQUESTS.save or time.monotonic() - self.saved > self.checkpoint_every
        # Processes have to agree, or some would wait for the others for ever: one exchange for both questions.
        stop, save = divmod(processes.largest_of_all(2 * REQUESTS.stop + save), 2)
        if stop:
            self.stop(stop)
        if save:
            REQUESTS.save = False
            self.save()

    def stop(self, number):
        """Save, and raise Stopped. The weights are those after the last update."""
        self.save()
        processes.wait_for_all()  # one that left earlier would have the others ended
        where = f"the state after update {self.progress.update:,} is saved" if self.checkpoint else ""
        raise Stopped(number, f"{where}; the same command with --resume goes on" if where else "")

    def save(self):
        """Keep the run's state in its checkpoint, if it has one."""
        self.saved = time.monotonic()
        self.progress.seconds = self.saved - self.started
        self.progress.recent = [
            {name: float(processes.sum_over_all(loss.clone())) for name, loss in losses.items()}
            for losses in self.recent
        ]
        if self.checkpoint is not None and processes.is_first():
            save_state(self.checkpoint, self.model, self.best, self.optimizer, self.scaler, self.settings,
                       self.progress, len(self.examples), self.device)  # fmt: skip

    def load(self):
        """Go on from the checkpoint, if there is one."""
        if self.checkpoint is not None and Path(self.checkpoint).is_file():
            self.progress, self.best = load_state(self.checkpoint, self.model, self.optimizer, self.scaler,
                                                  self.settings, len(self.examples), self.device,
                                                  (lambda line: None) if self.quiet else tqdm.write)  # fmt: skip
            self.started -= self.progress.seconds
            self.recent = [
                {name: torch.tensor(loss if processes.is_first() else 0.0, device=self.device)
                 for name, loss in losses.items()} for losses in self.progress.recent
            ]  # fmt: skip
            if not processes.is_first():  # the state holds the first one's generator: the others go on from fresh ones
                torch.manual_seed(processes.own_seed(self.settings.seed) + self.progress.update)


def warmup_updates(warmup, total):
    """In how many of `total` updates the rate rises. warmup: a share of them below 1, else their number."""
    return round(warmup * total) if warmup < 1 else round(warmup)


def check_losses(losses, progress):
    """{name: the mean of the last updates' losses}; UserError when one is not finite.

    losses: a list of {name: scalar tensor}. They are looked at a few at a time, because a GPU has to be waited for.
    """
    means = {}
    for name in losses[0]:
        called = name if name == "loss" else f"{name} loss"
        values = processes.sum_over_all(torch.stack([loss[name] for loss in losses])).tolist()
        for i, value in enumerate(values):
            if not np.isfinite(value):
                raise UserError(
                    f"the {called} became {value} in epoch {progress.epoch + 1}, "
                    f"update {progress.update - len(values) + 1 + i}; "
                    "try a smaller --lr, more --warmup or --precision fp32"
                )
        means[name] = sum(values) / len(values)
    return means


def announce_length(seconds, device):
    """Say how long a job will take if that is more than five minutes, and which flag makes it shorter."""
    if seconds > 300:
        hint = "; --limit 2000 gives a first answer sooner" if device.type == "cpu" else ""
        tqdm.write(f"  training will take about {seconds / 60:.0f} minutes here{hint}")
