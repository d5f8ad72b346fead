"""Attention without its large matrices: what each token gathers, sparing of time and memory.

PyTorch's fused kernel never stores the T x T probabilities, and serves everywhere but on a CPU in two cases. In
training it knows no dropout there (PyTorch would fall back on a slow path), and in bf16 its backward pass is slow;
`CPUAttention` has a backward pass of its own, which needs one of those matrices. And in bf16 without AMX instructions
its products are slower than oneDNN's, so that the plain steps, a few texts at a time, are ahead where nothing learns.
"""

import functools
import math

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .. import model
from ..plumbing.device import cpu_has
from .dropout import BLOCK, INTEGERS, draw_dropped

CACHED = 2**21  # scores that a processor's cache holds in bf16
BACKWARD_BYTES = 2**21  # for each thread, of each of the four matrices that the backward pass makes at a time


class Attention(model.Attention):
    """`model.Attention` that never forms the probabilities: it returns None in their place."""

    def forward(self, hidden, mask=None):
        if torch.is_autocast_enabled(hidden.device.type):  # cast once; query, key and value would each make a copy
            hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        return super().forward(hidden, mask)

    def attend(self, query, key, value, mask):
        return attend(query, key, value, mask, self.dropout.p if self.training else 0.0), None


def attend(query, key, value, mask=None, dropout=0.0):
    """softmax(query key^T / sqrt(D) + mask) value, each probability dropped with probability `dropout`.

    query, key, value [B, H, T, D], mask [B, 1, 1, T] or None -> [B, H, T, D]
    """
    on_cpu = query.device.type == "cpu"
    if mask is not None and on_cpu and not mask.any():  # no padding; a GPU would have to stop and wait for the answer
        mask = None
    if on_cpu and query.dtype == torch.bfloat16 and not (dropout or query.requires_grad or has_amx()):
        return in_plain_steps(query, key, value, mask)
    slow_backward = query.requires_grad and query.dtype == torch.bfloat16
    if on_cpu and (dropout or slow_backward):
        return CPUAttention.apply(query, key, value, mask, dropout)
    return functional.scaled_dot_product_attention(query, key, value, mask, dropout)


@functools.cache
def has_amx():
    """Whether the CPU multiplies whole tiles in bf16."""
    return cpu_has("amx_tile")


def in_plain_steps(query, key, value, mask):
    """`attend` as `model.Attention` spells it out, a few texts at a time: their scores stay in the cache."""
    texts, heads, length, _ = query.shape
    at_a_time = max(1, CACHED // (heads * length**2))
    if texts > at_a_time:
        masks = [None] * -(-texts // at_a_time) if mask is None else mask.split(at_a_time)
        parts = zip(*(part.split(at_a_time) for part in (query, key, value)), masks, strict=True)
        return torch.cat([in_plain_steps(*part) for part in parts])
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)  # [B, H, T, T]
    if mask is not None:
        scores += mask.to(scores.dtype)
    return scores.softmax(dim=-1) @ value


class CPUAttention(torch.autograd.Function):
    """`attend` with its backward pass written out (Vaswani et al. 2017, equation 1, differentiated by hand).

    A probability is never negative, so its sign is free to say that it was dropped: one matrix [B * H, T, T] is kept
    for the backward pass, where autograd would keep the probabilities before dropout, those after it, and the mask.
    """

    @staticmethod
    def forward(ctx, query, key, value, mask, dropout):
        ctx.shape, ctx.dropout = query.shape, dropout
        query, key, value = (part.flatten(0, 1) for part in (query, key, value))  # [B * H, T, D]
        query = query / math.sqrt(query.shape[-1])
        scores = query @ key.transpose(-1, -2)  # [B * H, T, T]
        if mask is not None:
            scores.unflatten(0, ctx.shape[:2]).add_(mask.to(scores.dtype))
        signed = scores.softmax(dim=-1)
        if dropout:
            sign_dropped(signed, dropout)
        ctx.save_for_backward(query, key, value, signed)
        context = signed.relu() @ value
        return context.mul_(1 / (1 - dropout)).unflatten(0, ctx.shape[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        query, key, value, signed = ctx.saved_tensors
        gradient = gradient.flatten(0, 1) / (1 - ctx.dropout)  # [B * H, T, D]
        # Its matrices of T x T are needed at once and never again: some heads at a time, they stay in the cache.
        size = BACKWARD_BYTES * torch.get_num_threads()
        heads = max(1, size // (signed[0].numel() * signed.element_size()))
        blocks = zip(*(part.split(heads) for part in (query, key, value, signed, gradient)), strict=True)
        of_blocks = [gradients_of_heads(*block) for block in blocks]
        gradients = (torch.cat(parts).unflatten(0, ctx.shape[:2]) for parts in zip(*of_blocks, strict=True))
        return *gradients, None, None


def gradients_of_heads(query, key, value, signed, gradient):
    """Those of `CPUAttention`'s query, key and value, for N heads of any texts.

    query (divided already), key, value, gradient [N, T, D], signed [N, T, T] -> three tensors [N, T, D]
    """
    grad_value = signed.relu().transpose(-1, -2) @ gradient
    grad_kept = gradient @ value.transpose(-1, -2)  # [N, T, T]
    grad_probabilities = torch.ops.aten.threshold_backward(grad_kept, signed, 0)  # 0 where dropped
    grad_scores = torch._softmax_backward_data(grad_probabilities, signed.abs(), -1, signed.dtype)
    grad_query = (grad_scores @ key).div_(math.sqrt(key.shape[-1]))
    grad_key = grad_scores.transpose(-1, -2) @ query
    return grad_query, grad_key, grad_value


def sign_dropped(probabilities, p):
    """Make each number negative with probability p, in place: its first bit, read as an integer's, becomes 1."""
    integers = INTEGERS[probabilities.element_size()]
    sign = torch.iinfo(integers).min
    for block, dropped in draw_dropped(probabilities.view(-1).view(integers).split(BLOCK), p):
        block |= dropped.mul_(sign)
