"""Linear layers, whose matrix products are half of all the work and more, and how a CPU does them faster.

PyTorch has two libraries for products on a CPU, and oneDNN does some of them better than it is asked to:

    in bf16   under autocast, PyTorch writes the bias into the whole output before it multiplies, and casts the weights
              again for every batch, also where nothing learns
    in fp32   PyTorch takes Intel's MKL, which leaves half of what it could do to CPUs of other makers unused

Our layers avoid all that; everywhere else they are nn.Linear.
"""

import functools
import platform
from pathlib import Path

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from .. import model

LARGE = 2**22  # numbers; a larger activation is computed twice, because keeping it would cost more


class Linear(nn.Linear):
    """f(x) W^T + b: [..., in_features] -> [..., out_features]. f is `activation`, or nothing: then it is nn.Linear.

    The layer takes f itself so that a large f(x) need not be kept: the backward pass has x, and computes it again.
    """

    casts = None  # (what the weights were, the same in bf16), while nothing learns

    def forward(self, x, activation=None):
        precision = None if self.bias is None else own_precision(x)
        if activation is not None and not (precision and x.numel() > LARGE):
            x, activation = activation(x), None
        if precision is None:
            return super().forward(x)
        weights = self.weights_in_bf16() if precision == torch.bfloat16 else (self.weight, self.bias)
        return CPULinear.apply(x.to(precision), *weights, activation)

    def weights_in_bf16(self):
        """The weight and the bias in bf16. In evaluation they are cast once, and again only when they have changed."""
        weights = (self.weight, self.bias)
        if self.training or torch.is_grad_enabled() or self.weight.is_inference():
            # A step may follow, and an optimizer's fused kernel does not count as a new version; weights that were
            # loaded in inference mode have no versions at all.
            self.casts = None
            return [weight.to(torch.bfloat16) for weight in weights]
        state = [(weight.data_ptr(), weight._version) for weight in weights]
        if self.casts is None or self.casts[0] != state:
            self.casts = state, [weight.to(torch.bfloat16) for weight in weights]
        return self.casts[1]

    def train(self, mode=True):
        self.casts = None
        return super().train(mode)


class FeedForward(model.FeedForward):
    """`model.FeedForward` that hands its activation to `contract`, which need not keep the result."""

    def forward(self, hidden):
        return self.contract(self.expand(hidden), self.activation)


def own_precision(x):
    """In which precision our products serve `x`, or None where PyTorch's own do."""
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not torch.backends.mkldnn.is_available():
        return None
    if torch.is_autocast_enabled("cpu"):
        in_bf16 = torch.get_autocast_dtype("cpu") == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return torch.bfloat16 if in_bf16 else None
    return torch.float32 if x.dtype == torch.float32 and mkl_is_slow() else None


@functools.cache
def mkl_is_slow():
    """Whether the CPU has AVX-512 but is not Intel's: MKL then takes its way for AVX2, of half the width."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkl.is_available():
        return False
    maker = platform.processor()  # names it on Windows
    if Path("/proc/cpuinfo").is_file():
        maker = Path("/proc/cpuinfo").read_text()
    return "AuthenticAMD" in maker


class CPULinear(torch.autograd.Function):
    """The same with its backward pass written out: each factor of a product gets the gradient times the other one."""

    @staticmethod
    def forward(ctx, x, weight, bias, activation=None):
        ctx.save_for_backward(x, weight)
        ctx.activation = activation
        if activation is not None:
            x = activation(x)
        return multiply(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        if ctx.activation is not None:
            before = x.detach().requires_grad_()
            with torch.enable_grad():
                x = ctx.activation(before)
        rows = gradient.flatten(0, -2)  # [M, out_features]
        grad_x = product(rows, weight).view(x.shape) if ctx.needs_input_grad[0] else None
        grad_weight = product(rows.t(), x.flatten(0, -2)) if ctx.needs_input_grad[1] else None
        grad_bias = rows.sum(0) if ctx.needs_input_grad[2] else None
        if ctx.activation is not None and grad_x is not None:
            (grad_x,) = torch.autograd.grad(x, before, grad_x)
        return grad_x, grad_weight, grad_bias, None


def product(left, right):
    """left right: [M, K], [K, N] -> [M, N]."""
    if left.dtype != torch.float32 or not left.numel():
        return left @ right  # in bf16 PyTorch takes oneDNN by itself
    return multiply(left, right.t())


def multiply(rows, weight, bias=None):
    """rows weight^T + bias: [M, in_features], [out_features, in_features], [out_features] -> [M, out_features]."""
    if rows.dtype == torch.float64:  # oneDNN has none
        return functional.linear(rows, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")  # adds the bias as it writes
