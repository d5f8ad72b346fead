"""Linear layers, whose matrix products are half of all the work, and how a CPU with bf16 instructions does them faster.

Under bf16 autocast on such a CPU, PyTorch writes the bias into the whole output before it multiplies, and casts the
weights again for every batch, also where nothing learns. Our layers avoid both there; everywhere else they are
nn.Linear.
"""

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
        in_bf16 = x.device.type == "cpu" and self.bias is not None and autocasts_to_bf16()
        in_bf16 = in_bf16 and not torch.compiler.is_compiling()
        if activation is not None and not (in_bf16 and x.numel() > LARGE):
            x, activation = activation(x), None
        if not in_bf16:
            return super().forward(x)
        return CPULinear.apply(x.to(torch.bfloat16), *self.weights_in_bf16(), activation)

    def weights_in_bf16(self):
        """The weight and the bias in bf16. In evaluation they are cast once, and again only when they have changed."""
        weights = (self.weight, self.bias)
        if self.training or torch.is_grad_enabled():
            self.casts = None  # a step may follow, and an optimizer's fused kernel does not count as a new version
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


def autocasts_to_bf16():
    """Whether autocast asks for bf16 on the CPU, and the CPU's library has products for it."""
    asked = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return asked and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


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
        grad_x = (rows @ weight).view(x.shape) if ctx.needs_input_grad[0] else None
        grad_weight = rows.t() @ x.flatten(0, -2) if ctx.needs_input_grad[1] else None
        grad_bias = rows.sum(0) if ctx.needs_input_grad[2] else None
        if ctx.activation is not None and grad_x is not None:
            (grad_x,) = torch.autograd.grad(x, before, grad_x)
        return grad_x, grad_weight, grad_bias, None


def multiply(rows, weight, bias):
    """rows weight^T + bias: [M, in_features], [out_features, in_features], [out_features] -> [M, out_features]."""
    if rows.dtype != torch.bfloat16:
        return functional.linear(rows, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")  # adds the bias as it writes
