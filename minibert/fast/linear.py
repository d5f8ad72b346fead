"""TODO"""

import contextlib

import torch
from torch import nn
from torch.autograd.function import once_differentiable

LARGE = 2**22  # numbers; what is larger is rather computed twice than kept


class Linear(nn.Linear):
    """f(x) W^T + b: [..., in_features] -> [..., out_features]. f is `activation`, or nothing: then it is nn.Linear.

    The layer wants f itself so that a large f(x) need not be kept: the backward pass has x, and computes it again.
    """

    def forward(self, x, activation=None):
        own_way = x.device.type == "cpu" and has_own_way() and not torch.compiler.is_compiling()
        if activation is not None and not (own_way and x.numel() > LARGE):
            x, activation = activation(x), None
        if not own_way:
            return super().forward(x)
        return CPULinear.apply(*(part.to(torch.bfloat16) for part in (x, self.weight, self.bias)), activation)


def has_own_way():
    """Whether autocast asks for bf16 on the CPU, and the CPU's library has products for it."""
    asked = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return asked and torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


class CPULinear(torch.autograd.Function):
    """The same with a backward pass of its own: each factor of the product gets the gradient times the other."""

    @staticmethod
    def forward(ctx, x, weight, bias, activation=None):
        ctx.save_for_backward(x, weight)
        ctx.activation = activation
        if activation is not None:
            x = activation(x)
        return product(x.flatten(0, -2), weight.t(), bias).unflatten(0, x.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        if ctx.activation is not None:
            before = x.detach().requires_grad_()
            with torch.enable_grad():
                x = ctx.activation(before)
        rows = gradient.flatten(0, -2)  # [M, out_features]
        of_x = product(rows, weight).view(x.shape) if ctx.needs_input_grad[0] else None
        of_weight = rows.t() @ x.flatten(0, -2) if ctx.needs_input_grad[1] else None
        of_bias = rows.sum(0) if ctx.needs_input_grad[2] else None
        if ctx.activation is not None and of_x is not None:
            (of_x,) = torch.autograd.grad(x, before, of_x)
        return of_x, of_weight, of_bias, None


def product(a, b, bias=None):
    """a b + bias: [M, K], [K, N] and [N] or None -> [M, N]."""
    if leaves_a_thread_idle(len(a), b.shape[1]):
        result = a.new_empty(len(a), b.shape[1])
        half = -(-len(a) // 2)
        for rows, target in zip(a.split(half), result.split(half), strict=True):
            if bias is None:
                torch.mm(rows, b, out=target)
            else:
                torch.addmm(bias, rows, b, out=target)
        return result
    if bias is None:
        return a @ b
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")  # adds the bias as it writes


def leaves_a_thread_idle(rows, columns):
    """Whether a product of this shape would run in one of two threads, at half the speed.

    oneDNN 3.12 (in PyTorch 2.13) does that with two threads and no other number, for as many rows as columns, up to
    1.7 times as many. Each half of the rows then gets both threads. Measured for widths like BERT's 768; where there
    are fewer columns than 640, or more than 1024, halving gains nothing.
    """
    return torch.get_num_threads() == 2 and 640 <= columns <= 1024 and columns <= rows < 1.7 * columns


@contextlib.contextmanager
def cast_once(model):
    """Within it the linear layers of `model` hold bf16 weights, if that is what they compute with: while nothing
    learns, one cast serves all batches. (autocast keeps its casts too, but for PyTorch's own layers only.)"""
    layers = [layer for layer in model.modules() if isinstance(layer, Linear)] if has_own_way() else []
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    kept = [parameter.data for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.data = parameter.data.to(torch.bfloat16)
        yield
    finally:
        for parameter, data in zip(parameters, kept, strict=True):
            parameter.data = data
