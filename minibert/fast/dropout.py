"""Dropout, and how a CPU takes its random decisions fast: 116 million for one update of DistilBERT on 16 x 256 tokens.

On a GPU that is one kernel of PyTorch. On a CPU PyTorch draws one Bernoulli number at a time; here one draw decides
four numbers, and the work is done in blocks that stay in the processor's cache.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

BLOCK = 2**18  # numbers
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


class Dropout(nn.Dropout):
    """Set each number to 0 with probability p and scale the rest by 1 / (1 - p), in train mode only; any shape.

    The expectation stays what it was, so nothing has to be rescaled in eval mode (Srivastava et al. 2014).
    """

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return functional.dropout(x, self.p)
        return CPUDropout.apply(x, self.p)


class CPUDropout(torch.autograd.Function):
    """The same. Backwards the gradient is dropped where the number was; one byte is kept for each number."""

    @staticmethod
    def forward(ctx, x, p):
        mask = draw_mask(x.numel(), p)
        ctx.save_for_backward(mask)
        ctx.p = p
        return apply_mask(x, mask, p)

    @staticmethod
    def backward(ctx, gradient):
        (mask,) = ctx.saved_tensors
        return apply_mask(gradient, mask, ctx.p), None


def draw_dropped(blocks, p):
    """Decide for every number of `blocks`, integer tensors [n], n at most BLOCK, which are dropped.

    Yields each block with its decisions, [n] of the block's type: 1 with probability p (to within 1 / 65536), else 0.
    """
    seed = torch.randint(2**63 - 1, ()).item()  # so that torch's seed, and a checkpoint's state, decide the rest
    generator = np.random.PCG64DXSM(seed)  # faster than torch's own
    threshold = round(p * 65536) - 32768
    for block in blocks:
        draws = generator.random_raw(-(-len(block) // 4)).view(np.int16)[: len(block)]  # each in -32768 ... 32767
        yield block, torch.lt(torch.from_numpy(draws), threshold, out=torch.empty_like(block))


def draw_mask(count, p):
    """What is dropped, [count] int8: 0 with probability p, else -1, whose bits are all 1."""
    mask = torch.empty(count, dtype=torch.int8)
    for block, dropped in draw_dropped(mask.split(BLOCK), p):
        torch.sub(dropped, 1, out=block)
    return mask


def apply_mask(x, mask, p):
    """x / (1 - p) where the mask has -1, else 0; any shape.

    The numbers meet the mask as integers: all their bits pass, or none. Multiplying by booleans would take much longer.
    """
    integers = INTEGERS[x.element_size()]
    result = torch.empty(x.shape, dtype=x.dtype)
    blocks = (x.reshape(-1), mask, result.view(-1))
    for source, passes, target in zip(*(tensor.split(BLOCK) for tensor in blocks), strict=True):
        torch.mul(source, 1 / (1 - p), out=target)
        target.view(integers).bitwise_and_(passes.to(integers))
    return result
