"""TODO"""

import math
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from ..batch import bucketed_batches, sorted_batches
from ..evaluate import EVALUATION_TOKENS
from ..head import Classifier, pool
from ..optim import AdamW, clip_divisor, linear_warmup, parameter_groups
from ..plumbing.device import autocast, to_device
from ..plumbing.files import UserError
from ..plumbing.resume import Progress, load_state, save_state
from ..train import CHECKPOINT_EVERY, ESTIMATE_AFTER, announce_length
from .losses import hidden_loss, logit_loss, relation_loss

LOG_EVERY = 50  # updates


@dataclass(frozen=True)
class DistillSettings:
    """Everything that decides what a distillation computes."""

    layers: int
    intermediate_size: int
    vocab_size: int
    initialization: str = "teacher"  # or "random"
    losses: str = "hidden,relations"
    temperature: float = 2.0
    epochs: int = 3
    batch_size: int = 32
    max_length: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    max_norm: float = 1.0
    precision: str = "fp32"
    seed: int = 0
    text: str = ""  # a hash of teacher, vocabulary and texts, so that --resume never goes on with others


class Watched:
    """A model, and everything of its forward pass that a distillation compares. `model`: Encoder or Classifier."""

    def __init__(self, model):
        self.model = model
        self.encoder = model.encoder if isinstance(model, Classifier) else model
        self.relations = {}
        attention = self.encoder.layers[-1].attention
        for name in ("query", "key", "value"):
            getattr(attention, name).register_forward_hook(self.keep(name))

    def keep(self, name):
        def hook(module, inputs, output):
            self.relations[name] = output

        return hook

    def __call__(self, input_ids, attention_mask, token_type_ids=None):
        """(every hidden state [B, T, E], embeddings first; query, key and value of the last layer; logits or None)"""
        states = self.encoder(input_ids, attention_mask, token_type_ids, return_all=True)
        logits = None
        if isinstance(self.model, Classifier):
            pooled = pool(states[-1], attention_mask, self.model.pooling, self.encoder.pooler)
            logits = self.model.head(pooled)
        relations = [self.relations.pop(name) for name in ("query", "key", "value")]
        return states, relations, logits


class Distillation:
    """Teacher and student on the same tokens: `losses(batch)` is a dict of scalar tensors, one for each of `names`."""

    def __init__(self, teacher, student, layers, kept, settings, device):
        self.teacher, self.student = Watched(teacher.to(device)), Watched(student.to(device))
        self.layers, self.settings, self.device = layers, settings, device
        self.kept = torch.tensor(kept, device=device)
        self.names = settings.losses.split(",")

    def losses(self, batch):
        ids, mask, types = to_device(batch, self.device)
        with autocast(self.device, self.settings.precision):
            with torch.no_grad():
                states, relations, logits = self.teacher(self.kept[ids], mask, types)
            student_states, student_relations, student_logits = self.student(ids, mask)
            losses = {}
            if "hidden" in self.names:
                targets = [states[layer + 1] for layer in self.layers]
                losses["hidden"] = hidden_loss(student_states[1:], targets, mask)
            if "relations" in self.names:
                heads = self.student.encoder.config.num_attention_heads
                losses["relations"] = relation_loss(student_relations, relations, mask, heads)
            if "logits" in self.names:
                losses["logits"] = logit_loss(student_logits, logits, self.settings.temperature)
        return losses

    @torch.inference_mode()
    def evaluate(self, examples):
        """Mean losses on texts that are not trained on, a dict of floats."""
        sums = Counter()
        for batch in sorted_batches(examples.lengths, EVALUATION_TOKENS[self.device.type]):
            for name, loss in self.losses(examples.inputs(batch)).items():
                sums[name] += loss.item() * len(batch)
        return {name: sums[name] / len(examples) for name in self.names}


def distill(distillation, examples, held_out, settings, checkpoint=None, resume=False, log=None, quiet=False):
    """Train the student in place; returns `Progress`. The loop of `train.py` with other losses.

    Dropout stays off (eval mode): the target is exact, and the noise would only blur it.
    """
    model, device = distillation.student.model.eval(), distillation.device
    distillation.teacher.model.eval().requires_grad_(False)
    optimizer = AdamW(parameter_groups(model, settings.lr, settings.weight_decay), fused=True)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    total_updates = -(-len(examples) // settings.batch_size) * settings.epochs
    warmup_updates = round(settings.warmup * total_updates)
    progress = Progress()
    if resume and checkpoint is not None and Path(checkpoint).is_file():
        progress, _ = load_state(checkpoint, model, optimizer, scaler, settings, len(examples), device)
    saved = time.monotonic()
    started = saved - progress.seconds
    done = progress.epoch * len(examples) + progress.batch * settings.batch_size
    recent = Counter()

    def judge():
        losses = distillation.evaluate(held_out)
        record = {"epoch": progress.epoch, "update": progress.update, "seconds": round(time.monotonic() - started, 1)}
        if log:
            log(record | {f"held_out_{name}": round(loss, 6) for name, loss in losses.items()})
        if not quiet:
            what = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            tqdm.write(f"  after epoch {progress.epoch}: held-out {what}")

    if progress.update == 0:
        judge()
    begun, first = time.monotonic(), progress.update
    total = settings.epochs * len(examples)
    with tqdm(total=total, initial=done, desc="distilling", unit=" texts", disable=quiet or None) as bar:
        while progress.epoch < settings.epochs:
            batches = bucketed_batches(examples.lengths, settings.batch_size, settings.seed, progress.epoch)
            while progress.batch < len(batches):
                scale = linear_warmup(progress.update, warmup_updates, total_updates)
                for group in optimizer.param_groups:
                    group["lr"] = settings.lr * scale
                losses = distillation.losses(examples.inputs(batches[progress.batch]))
                scaler.scale(sum(losses.values())).backward()
                scaler.unscale_(optimizer)
                divisor, _ = clip_divisor(parameters, settings.max_norm)
                scaler.step(optimizer, divisor=divisor)
                scaler.update()
                optimizer.zero_grad()

                progress.batch += 1
                progress.update += 1
                bar.update(len(batches[progress.batch - 1]))
                recent.update({name: loss.detach() for name, loss in losses.items()} | {"updates": 1})
                if progress.update % LOG_EVERY == 0 or progress.batch == len(batches):
                    means = {name: float(recent[name]) / recent["updates"] for name in losses}
                    recent.clear()
                    if not all(math.isfinite(mean) for mean in means.values()):
                        raise UserError(f"the loss is no longer finite at update {progress.update}; try a smaller --lr")
                    bar.set_postfix({name: f"{mean:.4f}" for name, mean in means.items()}, refresh=False)
                    if log:
                        record = {"epoch": progress.epoch + 1, "update": progress.update}
                        record |= {"learning_rate": settings.lr * scale}
                        log(record | {name: round(mean, 6) for name, mean in means.items()})
                    now = time.monotonic()
                    if checkpoint is not None and now - saved > CHECKPOINT_EVERY:
                        saved, progress.seconds = now, now - started
                        save_state(checkpoint, model, {}, optimizer, scaler, settings, progress, len(examples))
                if progress.update == ESTIMATE_AFTER and not quiet:
                    pace = (time.monotonic() - begun) / (ESTIMATE_AFTER - first)
                    announce_length(pace * total_updates, device, "--limit 2000")
            progress.epoch, progress.batch = progress.epoch + 1, 0
            progress.seconds = time.monotonic() - started
            judge()
            if checkpoint is not None:
                save_state(checkpoint, model, {}, optimizer, scaler, settings, progress, len(examples))
    return progress
