"""The distillation itself: teacher and student on the same batches, in the loop of `train.py`.

That loop asks an objective what is learned. `Imitation` is one: its losses compare what the two models compute.
"""

from collections import Counter
from dataclasses import dataclass

import torch
from tqdm import tqdm

from ..batch import sorted_batches
from ..evaluate import EVALUATION_TOKENS
from ..head import Classifier, pool
from ..plumbing import processes
from ..plumbing.device import autocast, to_device
from ..plumbing.resume import read_progress
from ..train import TrainSettings, Validation, train
from .losses import hidden_loss, logit_loss, relation_loss


@dataclass(frozen=True, kw_only=True)
class DistillSettings(TrainSettings):
    """Everything that decides what a distillation computes. `losses`: names among LOSSES, with commas between them."""

    layers: int
    intermediate_size: int
    vocab_size: int
    initialization: str = "teacher"  # or "random"
    losses: str = "hidden,relations"
    temperature: float = 2.0
    batch_size: int = 32
    max_length: int = 128
    lr: float = 1e-3
    warmup: float = 0.05
    text: str = ""  # a hash of teacher, vocabulary and texts, so that a run never goes on with others


class Watched:
    """A model whose forward pass shows everything that a distillation compares. `model`: Encoder or Classifier."""

    def __init__(self, model):
        self.model = model
        self.encoder = model.encoder if isinstance(model, Classifier) else model
        self.relations = {}  # what the last forward pass gave
        attention = self.encoder.layers[-1].attention
        for name in ("query", "key", "value"):
            getattr(attention, name).register_forward_hook(self.keep(name))

    def keep(self, name):
        """A forward hook that keeps a layer's output under `name`."""

        def hook(module, inputs, output):
            self.relations[name] = output

        return hook

    def __call__(self, input_ids, attention_mask, token_type_ids=None):
        """input_ids, attention_mask, token_type_ids: [B, T] as `Encoder.forward` takes them.

        Returns (every hidden state [B, T, E], the embeddings first; query, key and value [B, T, E] of the last layer;
        logits [B, C], or None of an encoder).
        """
        states = self.encoder(input_ids, attention_mask, token_type_ids, return_all=True)
        logits = None
        if isinstance(self.model, Classifier):
            pooled = pool(states[-1], attention_mask, self.model.pooling, self.encoder.pooler)
            logits = self.model.head(pooled)
        relations = [self.relations.pop(name) for name in ("query", "key", "value")]
        return states, relations, logits


class Distillation:
    """Teacher and student on the same tokens.

    layers: the teacher's layers that the student's stand for. kept: [V] the teacher's ids of the student's vocabulary.
    """

    def __init__(self, teacher, student, layers, kept, settings, device):
        self.teacher, self.student = Watched(teacher.to(device)), Watched(student.to(device))
        self.layers, self.settings, self.device = layers, settings, device
        self.kept = torch.tensor(kept, device=device)
        self.names = settings.losses.split(",")

    def losses(self, batch, weight=1.0):
        """How far the student is from the teacher: {name: scalar tensor}, for each loss that was asked for.

        batch: (input_ids, attention_mask, token_type_ids), [B, T] each, in the student's ids. weight: see `losses.py`.
        """
        ids, mask, types = to_device(batch, self.device)
        with autocast(self.device, self.settings.precision):
            with torch.no_grad():
                states, relations, logits = self.teacher(self.kept[ids], mask, types)
            student_states, student_relations, student_logits = self.student(ids, mask)
            losses = {}
            if "hidden" in self.names:
                targets = [states[layer + 1] for layer in self.layers]
                losses["hidden"] = hidden_loss(student_states[1:], targets, mask, weight)
            if "relations" in self.names:
                heads = self.student.encoder.config.num_attention_heads
                losses["relations"] = relation_loss(student_relations, relations, mask, heads, weight)
            if "logits" in self.names:
                losses["logits"] = logit_loss(student_logits, logits, self.settings.temperature, weight)
        return losses

    @torch.inference_mode()
    def evaluate(self, examples):
        """Mean losses over these examples: {name: float}. The texts of a batch count alike."""
        sums = Counter()
        for batch in sorted_batches(examples.lengths, EVALUATION_TOKENS[self.device.type]):
            for name, loss in self.losses(examples.inputs(batch)).items():
                sums[name] += loss.item() * len(batch)
        return {name: sums[name] / len(examples) for name in self.names}


class Imitation:
    """A distillation as an objective of `train.train`. It finds no epoch the best: the last weights are kept."""

    dropout = False  # the target is exact, and noise would only blur it

    def __init__(self, distillation, examples, held_out):
        self.distillation, self.examples, self.held_out = distillation, examples, held_out
        has_head = isinstance(distillation.student.model, Classifier)
        self.uses_all_parameters = not has_head or "logits" in distillation.names

    def losses(self, model, part, batch, weight=1.0):
        """The losses on a batch of examples: {name: scalar tensor}. `part` is all that this process has of it."""
        return self.distillation.losses(self.examples.inputs(part), weight)

    def validate(self, model):
        """A `Validation`: mean losses on the texts that are held out."""
        with processes.alone():  # a few texts: each process computes them all
            means = self.distillation.evaluate(self.held_out)
        sentence = "held-out " + ", ".join(f"{name} {loss:.4f}" for name, loss in means.items())
        return Validation({f"held_out_{name}": round(loss, 6) for name, loss in means.items()}, sentence)


def distill(distillation, examples, held_out, checkpoint=None, resume=False, log=None, quiet=False,
            checkpoint_every=None):  # fmt: skip
    """Train the student in place, and leave it in eval mode; returns `Progress`.

    examples, held_out: `Examples` in the student's ids. checkpoint, checkpoint_every, resume, log: as `train.train`
    takes them. What the student scores on `held_out` before it has learned anything is logged as epoch 0.
    Raises UserError when a loss is not finite, and ValueError for settings that make no sense here.
    """
    settings = distillation.settings
    if settings.micro_batch or settings.patience:  # these losses are no sums over texts, and no epoch is the best
        raise ValueError("a distillation takes each batch whole and every epoch: micro_batch and patience have to be 0")
    distillation.teacher.model.eval().requires_grad_(False)
    student, objective = distillation.student.model.eval(), Imitation(distillation, examples, held_out)
    if not (resume and read_progress(checkpoint).update):
        before = objective.validate(student)
        if log:
            log({"epoch": 0, "update": 0} | before.record)
        if not quiet:
            tqdm.write(f"  before training: {before.sentence}")
    return train(student, examples, held_out, settings, distillation.device, checkpoint=checkpoint, resume=resume,
                 log=log, quiet=quiet, name="distilling", objective=objective,
                 checkpoint_every=checkpoint_every)  # fmt: skip
