"""Linear layers in whole numbers of 8 bits: what a processor multiplies fastest, and what it costs to round that far.

A number becomes one of 255 levels: x is stored as round(x / step), from -127 to 127, with a step for each group of
numbers, such that the largest of the group becomes 127. The groups decide how much is lost. A step is as coarse as the
largest number of its group is large: one outlier of 50 among numbers of about 1 leaves the others 5 levels. So groups
are small: each row of the weights (an output channel) has its own step, computed once, and each row of the activations
(a token) has its own, computed when it comes. An outlier spoils its own token, and a token's numbers do not depend on
its neighbours in the batch, nor on padding.

With both rounded, an output is a sum of products of whole numbers, exact in 32 bits, times the two steps:

    sum_k x[m, k] w[n, k]  ~  step[m] step[n] sum_k x'[m, k] w'[n, k]

Steps along k would not come out of the sum: this is why rows and output channels have steps, and input features have
none. Rounding moves a number by up to half a step, evenly: by step / sqrt(12) on average (root mean square). These
errors are as often up as down, and grow in the sum only as its square root does: `expected_error` is their spread.

What is rounded: the six matrices of each encoder layer, and what they multiply. The rest stays as it is. Embeddings are
looked up, not multiplied; LayerNorm, softmax, GELU and the sums around the layers are little work, and rounding would
add up in them; pooler and head see one vector per text, which takes no time, and are where the answer is decided.
Nothing here learns: rounding has no slope, so no gradient comes through.

Sources: Jacob et al. 2018 (whole-number products), Dettmers et al. 2022 (LLM.int8: a step for each row and channel, and
what outliers do), Yao et al. 2022 (ZeroQuant: a step for each token, when it comes).
"""

import torch
from torch import nn

from .. import model
from ..plumbing.device import cpu_has
from .attention import attend

LEVELS = 127  # on each side of 0; -128 is left out, so that x and -x round alike
NO_GRADIENT = "int8 layers are for inference: rounding has no slope, so no gradient comes through"
BLOCK = 512  # rows that go through the feed-forward network together, and stay in the processor's cache


class Int8Linear(nn.Module):
    """A trained nn.Linear with its weights rounded: [..., in_features] -> [..., out_features], for inference only.

    levels [out_features, in_features] int8 and steps [out_features] are the weights.
    """

    def __init__(self, linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        levels, steps = round_rows(linear.weight.detach().float())
        bias = torch.zeros(self.out_features) if linear.bias is None else linear.bias.detach().float()
        self.register_buffer("levels", levels)
        self.register_buffer("steps", steps.squeeze(1))
        self.register_buffer("bias", bias)
        self.packed = None  # the levels in the order in which the processor wants them

    def __getstate__(self):
        return {**self.__dict__, "packed": None}  # only the library can read it; a copy packs its own

    def forward(self, x):
        return self.multiply(*round_rows(x.flatten(0, -2))).unflatten(0, x.shape[:-1])

    def train(self, mode=True):
        if mode:
            raise ValueError(f"{NO_GRADIENT}; train the model before it is quantised")
        return super().train(mode)

    def multiply(self, levels, steps):
        """Of rounded rows: levels [M, in_features] int8, steps [M, 1] -> float32 [M, out_features]."""
        if has_fused_product():
            sums = self.fused_product(levels)
        else:
            sums = torch._int_mm(levels, self.levels.t()) * self.steps
        return torch.addcmul(self.bias, sums, steps, out=sums)

    def fused_product(self, levels):
        """sum_k levels[m, k] self.levels[n, k] self.steps[n], float32 [M, out_features], in one pass.

        Processors multiply bytes without a sign by bytes with one. So 128 is added to the levels, which is the same as
        turning their first bit round, and the library takes 128 times each channel's sum away again.
        """
        if self.packed is None:
            self.packed = torch.ops.onednn.qlinear_prepack(self.levels, None)
            self.no_shift = torch.zeros(self.out_features, dtype=torch.int64)
        shifted = levels.view(torch.uint8) ^ 128
        return torch.ops.onednn.qlinear_pointwise(
            shifted, 1.0, 128, self.packed, self.steps, self.no_shift, None, 1.0, 0, torch.float32, "none", [], ""
        )  # fmt: skip


def round_rows(x):
    """Each row to levels of its own step: [M, K] -> levels [M, K] int8, steps [M, 1] float32, x ~ levels * steps.

    Raises ValueError where a gradient is wanted.
    """
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError(NO_GRADIENT)
    x = x.float()
    largest = torch.maximum(x.amax(1, keepdim=True), x.amin(1, keepdim=True).neg_())
    steps = largest.div_(LEVELS).clamp_(min=torch.finfo(torch.float32).tiny)  # a row of zeros stays one
    return (x / steps).round_().to(torch.int8), steps


def has_fused_product():
    """Whether this CPU multiplies bytes in one instruction (VNNI), and PyTorch has a product that ends in floats.

    Without the instruction the library would add up in 16 bits, which can overflow.
    """
    return cpu_has("vnni") and hasattr(torch.ops.onednn, "qlinear_pointwise")


def plain_linear(x, weight, bias):
    """What `Int8Linear` computes, slowly and step by step: x [M, K], weight [N, K], bias [N] -> [M, N]."""
    x_steps = x.abs().amax(1, keepdim=True) / LEVELS  # [M, 1]: a step for each row
    weight_steps = weight.abs().amax(1, keepdim=True) / LEVELS  # [N, 1]: and for each output channel
    x_levels = (x / x_steps).round().to(torch.int32)
    weight_levels = (weight / weight_steps).round().to(torch.int32)
    sums = x_levels @ weight_levels.t()  # [M, N], exact
    return sums * x_steps * weight_steps.t() + bias


def expected_error(x, weight):
    """How far rounding moves an output, root mean square: x [M, K], weight [N, K] -> [M, N].

    The error of a sum is sum_k (error of x) w + x (error of w); each error has a spread of step / sqrt(12).
    """
    x_steps, weight_steps = (part.abs().amax(1, keepdim=True) / LEVELS for part in (x, weight))
    of_x = x_steps * weight.norm(dim=1)  # [M, N]
    of_weight = x.norm(dim=1, keepdim=True) * weight_steps.t()
    return (of_x.square() + of_weight.square()).div(12).sqrt()


class Attention(model.Attention):
    """`model.Attention` in int8: query, key and value share their rounded input. It forms no probabilities to return.

    softmax and its two products stay in floats: in bf16 where the CPU has instructions for it, else in fp32. What else
    a layer does stays in fp32 everywhere: in bf16 it would move half the memory, and lose that time again in casts.
    """

    def forward(self, hidden, mask=None):
        rows = round_rows(hidden.flatten(0, -2))
        parts = [part.multiply(*rows).view_as(hidden) for part in (self.query, self.key, self.value)]
        dtype = torch.bfloat16 if multiplies_bf16() else torch.float32
        query, key, value = (self.split_heads(part).to(dtype) for part in parts)  # [B, H, T, D]
        context = attend(query, key, value, None if mask is None else mask.float())
        return self.output(context.transpose(1, 2).flatten(2)).to(hidden.dtype), None


class FeedForward(model.FeedForward):
    """`model.FeedForward` in int8, a block of rows after the other: what lies between the layers stays in the cache."""

    def forward(self, hidden):
        rows = hidden.flatten(0, -2)
        blocks = [self.contract(self.activation(self.expand(block))) for block in rows.split(BLOCK)]
        return torch.cat(blocks).view_as(hidden).to(hidden.dtype)


def multiplies_bf16():
    """Whether this CPU has instructions for bf16 products."""
    return cpu_has("avx512_bf16")
