"""The distillation itself: teacher and student on the same batches, in the loop of `train.py`."""

from collections import Counter
from dataclasses import dataclass

import torch
from tqdm import tqdm

from ..batch import sorted_batches
from ..evaluate import EVALUATION_TOKENS
from ..head import Classifier, pool
from ..plumbing.device import autocast, to_device
from ..plumbing.resume import read_update
from ..train import TrainSettings, Validation, train
from .losses import hidden_loss, logit_loss, relation_loss


@dataclass(frozen=True, kw_only=True)
class DistillSettings(TrainSettings):
    """Everything that decides what a distillation computes."""

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
    """Teacher and student on the same tokens: `losses(batch)` is a dict of scalar tensors, one for each of `names`.

    layers: the teacher's layers that the student's stand for. kept: [V] the teacher's ids of the student's vocabulary.
    """

    def __init__(self, teacher, student, layers, kept, settings, device):
        self.teacher, self.student = Watched(teacher.to(device)), Watched(student.to(device))
        self.layers, self.settings, self.device = layers, settings, device
        self.kept = torch.tensor(kept, device=device)
        self.names = settings.losses.split(",")

    def losses(self, batch):
        """batch: (input_ids, attention_mask, token_type_ids), [B, T] each, in the student's ids."""
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


class Imitation:
    """A distillation as `train.train` takes an objective. It chooses no epoch: the last weights are kept."""

    dropout = False  # the target is exact, and the noise would only blur it

    def __init__(self, distillation, examples, held_out):
        self.distillation, self.examples, self.held_out = distillation, examples, held_out

    def losses(self, model, part, batch):
        """The losses on a batch; `part` is all of it, because a distillation has no micro-batches."""
        return self.distillation.losses(self.examples.inputs(part))

    def validate(self, model):
        """A `Validation`: mean losses on the texts that are held out."""
        means = self.distillation.evaluate(self.held_out)
        sentence = "held-out " + ", ".join(f"{name} {loss:.4f}" for name, loss in means.items())
        return Validation({f"held_out_{name}": round(loss, 6) for name, loss in means.items()}, sentence)


def distill(distillation, examples, held_out, settings, checkpoint=None, resume=False, log=None, quiet=False):
    """Train the student in place; returns `Progress`. Its losses before the first update are logged, too."""
    distillation.teacher.model.eval().requires_grad_(False)
    student, objective = distillation.student.model.eval(), Imitation(distillation, examples, held_out)
    if not (resume and read_update(checkpoint)):
        before = objective.validate(student)
        if log:
            log({"epoch": 0, "update": 0} | before.record)
        if not quiet:
            tqdm.write(f"  before training: {before.sentence}")
    return train(student, examples, held_out, settings, distillation.device, checkpoint=checkpoint, resume=resume,
                 log=log, quiet=quiet, name="distilling", objective=objective)  # fmt: skip
