"""What the student should match, as numbers: hidden states, relations between tokens, class probabilities.

Each loss is 0 when the student does what the teacher does, and none of them needs a label. The sums are computed in
fp32 or better, also where a model computes in half precision.

Where several processes share a batch, what a loss is divided by belongs to the whole batch: so the sum of the
processes' losses is the batch's. weight: 0 for a process that got nothing of the batch and only takes part, else 1.
"""

import math

import torch
from torch.nn import functional

from ..model import additive_mask
from ..plumbing import processes


def hidden_loss(student, teacher, attention_mask, weight=1.0):
    """Squared distance of hidden states, relative to the teacher's squared length: a mean over the layers.

    student, teacher: lists of [B, T, E], in pairs. 0 is a perfect match; a student that answers 0 everywhere scores 1.
    Padding is left out. TinyBERT, eq. 8, but relative, so that no layer counts more because its numbers are larger.
    """
    real = attention_mask.unsqueeze(-1).float()  # [B, T, 1]
    losses = []
    for ours, theirs in zip(student, teacher, strict=True):
        theirs = theirs.float()
        length = processes.sum_over_all((theirs.square() * real).sum() * weight)
        losses.append(((ours.float() - theirs).square() * real).sum() * weight / length)
    return torch.stack(losses).mean()


def relation_loss(student, teacher, attention_mask, num_heads, weight=1.0):
    """KL divergence (in nats) between two models' relations: a mean over real tokens, heads and kinds of relation.

    student, teacher: lists of [B, T, E], in pairs (queries, keys, values). A relation is softmax(X X^T / sqrt(D)),
    taken within each head: for each token a distribution over the text's tokens that says which of them it resembles.
    MiniLMv2, eq. 1 and 2.
    """
    mask = additive_mask(attention_mask, torch.float32)  # [B, 1, 1, T], or None
    real = attention_mask[:, None, :].float()  # [B, 1, T]
    tokens = processes.sum_over_all(real.sum() * weight)
    losses = []
    for ours, theirs in zip(student, teacher, strict=True):
        ours, theirs = log_relation(ours, mask, num_heads), log_relation(theirs, mask, num_heads)  # [B, H, T, T]
        divergence = (theirs.exp() * (theirs - ours)).sum(-1)  # [B, H, T]
        losses.append((divergence * real).sum() * weight / (tokens * num_heads))
    return torch.stack(losses).mean()


def log_relation(x, mask, num_heads):
    """The logarithm of a relation: x [B, T, E] -> [B, H, T, T]. mask: additive, [B, 1, 1, T] or None."""
    x = x.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # [B, T, E] -> [B, H, T, D]
    scores = (x / math.sqrt(x.shape[-1])) @ x.transpose(-1, -2)  # [B, H, T, T]
    return (scores.float() if mask is None else scores + mask).log_softmax(dim=-1)


def logit_loss(student, teacher, temperature, weight=1.0):
    """KL divergence between softened class probabilities [B, C], times temperature^2 (Hinton et al. 2015, section 2).

    The factor keeps the size of the gradient when the temperature changes.
    """
    ours = (student.float() / temperature).log_softmax(-1)
    theirs = (teacher.float() / temperature).log_softmax(-1)
    texts = processes.sum_over_all(ours.new_tensor(len(ours)) * weight)
    return functional.kl_div(ours, theirs, reduction="sum", log_target=True) * weight / texts * temperature**2
