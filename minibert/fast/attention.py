"""TODO"""

import math

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .dropout import BLOCK, INTEGERS, draw_dropped


def attend(query, key, value, mask=None, dropout=0.0):
    """softmax(query key^T / sqrt(D) + mask) value, each probability dropped with probability `dropout`.

    query, key, value [B, H, T, D], mask [B, 1, 1, T] or None -> [B, H, T, D]
    """
    slow_backward = query.requires_grad and query.dtype == torch.bfloat16
    if query.device.type == "cpu" and (dropout or slow_backward):
        return CPUAttention.apply(query, key, value, mask, dropout)
    return functional.scaled_dot_product_attention(query, key, value, mask, dropout)


class CPUAttention(torch.autograd.Function):
    """`attend` with a backward pass of its own (Vaswani et al. 2017, equation 1, differentiated by hand).

    A probability is never negative, so its sign is free to say that it was dropped: one matrix [B * H, T, T] is kept
    for the backward pass, where autograd would keep the probabilities before dropout, those after, and the mask.
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
        of_value = signed.relu().transpose(-1, -2) @ gradient
        of_kept = gradient @ value.transpose(-1, -2)  # [B * H, T, T]
        of_probabilities = torch.ops.aten.threshold_backward(of_kept, signed, 0)  # 0 where dropped
        of_scores = torch._softmax_backward_data(of_probabilities, signed.abs(), -1, signed.dtype)
        of_query = (of_scores @ key).div_(math.sqrt(key.shape[-1]))
        of_key = of_scores.transpose(-1, -2) @ query  # which has been divided
        return *(part.unflatten(0, ctx.shape[:2]) for part in (of_query, of_key, of_value)), None, None


def sign_dropped(probabilities, p):
    """Make each number negative with probability p, in place: its first bit, as an integer's, becomes 1."""
    integers = INTEGERS[probabilities.element_size()]
    sign = torch.iinfo(integers).min
    for block, dropped in draw_dropped(probabilities.view(-1).view(integers).split(BLOCK), p):
        block |= dropped.mul_(sign)
