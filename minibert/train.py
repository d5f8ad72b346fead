"""The training loop: forward -> loss -> backward -> clip -> step -> schedule, evaluation, and exact resume.

It knows nothing about BERT. `model(*inputs)` gives logits [B, C]; `examples` has `lengths` [N], `labels` [N] and
`inputs(indices)`, a tuple of tensors. The same loop fine-tunes an encoder and fits a head on stored features.
Next: `frozen.py`, which does the latter.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from tqdm import tqdm

from . import metrics
from .batch import bucketed_batches
from .evaluate import predict
from .fast.embedding import touched_rows
from .metrics import softmax
from .optim import AdamW, clip_divisor, complete, linear_warmup, parameter_groups
from .plumbing.device import autocast, to_device
from .plumbing.files import UserError
from .plumbing.resume import Progress, load_state, save_state

LOG_EVERY = 10  # updates
CHECKPOINT_EVERY = 300  # seconds
ESTIMATE_AFTER = 30  # updates, then a long job says how long it will take


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides what a training run computes."""

    epochs: int = 3
    batch_size: int = 16  # texts that one update sees
    micro_batch: int = 0  # texts that memory holds at a time (0: all of them); changes memory, not results
    lr: float = 5e-5
    head_lr: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of all updates
    max_norm: float = 1.0  # of all gradients together
    patience: int = 0  # epochs without gain on validation before stopping (0: never stop early)
    precision: str = "fp32"
    seed: int = 0


def train(model, examples, validation, settings, device, class_weights=None, checkpoint=None, resume=False, log=None,
          quiet=False, name="training"):  # fmt: skip
    """Train `model` in place and leave it with the weights of its best epoch on `validation`. Returns `Progress`.

    class_weights: [C] factors for each class's loss, or None. checkpoint: a path to keep the run's state in.
    resume: go on from that state; on CPU the result is bit for bit that of an uninterrupted run.
    log: called with a dict every few updates and after each epoch.
    Raises UserError when the loss is not finite.
    """
    torch.manual_seed(settings.seed)  # dropout; the batches have a generator of their own
    model.to(device)
    optimizer = AdamW(parameter_groups(model, settings.lr, settings.weight_decay, settings.head_lr), fused=True)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    peak_rates = [group["lr"] for group in optimizer.param_groups]
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    updates_per_epoch = -(-len(examples) // settings.batch_size)
    total_updates = updates_per_epoch * settings.epochs
    warmup_updates = round(settings.warmup * total_updates)
    micro_batch = settings.micro_batch or settings.batch_size
    example_weights = torch.ones(len(examples))
    if class_weights is not None:
        example_weights = torch.as_tensor(class_weights, dtype=torch.float32)[examples.labels]

    progress, best = Progress(), {}
    if resume and checkpoint is not None and Path(checkpoint).is_file():
        progress, best = load_state(checkpoint, model, optimizer, scaler, settings, len(examples), device)
    saved = time.monotonic()
    started = saved - progress.seconds
    done = progress.epoch * len(examples) + progress.batch * settings.batch_size
    bar = tqdm(total=settings.epochs * len(examples), initial=done, desc=name, unit=" texts", disable=quiet or None)
    recent = []
    with bar, touched_rows(model, device.type == "cpu" and micro_batch < settings.batch_size):
        while progress.epoch < settings.epochs:
            model.train()
            batches = bucketed_batches(examples.lengths, settings.batch_size, settings.seed, progress.epoch)
            while progress.batch < len(batches):
                window = batches[progress.batch]
                scale = linear_warmup(progress.update, warmup_updates, total_updates)
                for group, peak in zip(optimizer.param_groups, peak_rates, strict=True):
                    group["lr"] = peak * scale

                # Every part of the window is divided by the whole window's weight, not by its own: so the sum
                # of the parts' gradients is the gradient of the full batch, a short last window included.
                window_weight = example_weights[window].sum().item()
                window_loss = 0.0
                for start in range(0, len(window), micro_batch):
                    part = window[start : start + micro_batch]
                    *inputs, labels, weights = to_device(
                        (*examples.inputs(part), examples.labels[part], example_weights[part]), device
                    )
                    with autocast(device, settings.precision):
                        logits = model(*inputs)
                    losses = functional.cross_entropy(logits.float(), labels, reduction="none")
                    loss = (losses * weights).sum() / window_weight
                    scaler.scale(loss).backward()
                    window_loss = window_loss + loss.detach()
                complete(parameters)
                scaler.unscale_(optimizer)  # clipping has to see the gradients' true size
                divisor, norm = clip_divisor(parameters, settings.max_norm)
                scaler.step(optimizer, divisor=divisor)  # left out when fp16 overflowed; the scale then shrinks
                scaler.update()
                optimizer.zero_grad()

                progress.batch += 1
                progress.update += 1
                bar.update(len(window))
                recent.append(window_loss)
                if progress.update % LOG_EVERY == 0 or progress.batch == len(batches):
                    mean_loss = check_losses(recent, progress)
                    recent.clear()
                    bar.set_postfix(loss=f"{mean_loss:.3f}", refresh=False)
                    if log:
                        log({"epoch": progress.epoch + 1, "update": progress.update, "loss": mean_loss,
                             "learning_rate": peak_rates[0] * scale, "gradient_norm": norm.item()})  # fmt: skip
                    now = time.monotonic()
                    if checkpoint is not None and now - saved > CHECKPOINT_EVERY:
                        saved, progress.seconds = now, now - started
                        save_state(checkpoint, model, best, optimizer, scaler, settings, progress, len(examples))
                if progress.update == ESTIMATE_AFTER and not quiet:
                    announce_length((time.monotonic() - started) / ESTIMATE_AFTER * total_updates, device)

            logits = predict(model, validation, device, settings.precision)
            accuracy = metrics.accuracy(validation.labels.numpy(), logits.argmax(1))
            loss = metrics.log_loss(validation.labels.numpy(), softmax(logits))
            if (accuracy, -loss) > (progress.best_accuracy, -progress.best_loss):
                progress.best_accuracy, progress.best_loss, progress.best_epoch = accuracy, loss, progress.epoch
                best = {key: tensor.detach().cpu().clone() for key, tensor in model.state_dict().items()}
            progress.epoch, progress.batch = progress.epoch + 1, 0
            progress.seconds = time.monotonic() - started
            if log:
                log({"epoch": progress.epoch, "update": progress.update, "validation_accuracy": accuracy,
                     "validation_loss": round(loss, 6), "seconds": round(progress.seconds, 1)})  # fmt: skip
            if not quiet:
                tqdm.write(f"  epoch {progress.epoch}: validation accuracy {accuracy:.4f}, loss {loss:.4f}")
            without_gain = progress.epoch - 1 - progress.best_epoch
            if settings.patience and without_gain >= settings.patience:
                progress.epoch = settings.epochs
            if checkpoint is not None:
                save_state(checkpoint, model, best, optimizer, scaler, settings, progress, len(examples))
    model.load_state_dict(best)
    model.eval()
    return progress


def announce_length(seconds, device, flags="--limit 2000 --test-limit 2000"):
    if seconds > 300:
        hint = f"; {flags} gives a first answer sooner" if device.type == "cpu" else ""
        tqdm.write(f"  training will take about {seconds / 60:.0f} minutes here{hint}")


def check_losses(losses, progress):
    """The mean of the last updates' losses. They are looked at a few at a time: each look stalls a GPU."""
    losses = torch.stack(losses).tolist()
    for i, loss in enumerate(losses):
        if not np.isfinite(loss):
            update = progress.update - len(losses) + 1 + i
            raise UserError(
                f"the loss became {loss} in epoch {progress.epoch + 1}, update {update}; "
                "try a smaller --lr, more --warmup or --precision fp32"
            )
    return sum(losses) / len(losses)
