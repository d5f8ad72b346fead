"""Nothing right is turned away: other implementations, other forms of an answer, other right formulas."""

import math
import time

import ladder_torch
import numpy as np
import pytest
import torch
from ladder_tools import DTYPES, EACH_RUNG, EXAMPLE, REFERENCES, check, leaves
from torch.nn import functional

from minibert.parity import adapter
from minibert.parity.check import run_ladder
from minibert.parity.learner import load_implementation
from minibert.parity.rungs import RUNGS


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", ["numpy", "torch", "minibert fused", "minibert plain"])
def test_a_right_implementation_passes_all_rungs(place, dtype, monkeypatch):
    monkeypatch.setattr(adapter, "FAST", place != "minibert plain")
    module = {"numpy": None, "torch": ladder_torch}.get(place, adapter) or load_implementation(EXAMPLE)
    start = time.perf_counter()
    results = run_ladder(module, REFERENCES, dtype=dtype)
    assert [result for result in results if result.status != "OK"] == []
    assert time.perf_counter() - start < 20


def is_float(value):
    return torch.is_tensor(value) and value.is_floating_point()


def needs_gradient(value):
    return value.detach().clone().requires_grad_() if is_float(value) else value


FORMS = {
    "NumPy arrays": lambda x: x.detach().numpy() if torch.is_tensor(x) else x,
    "Python lists": lambda x: x.tolist() if torch.is_tensor(x) else x,
    "float64 for float32": lambda x: x.double() if is_float(x) else x,
    "tensors that require grad": needs_gradient,
    "lists of tensors that require grad": lambda x: list(needs_gradient(x)) if is_float(x) and x.dim() else x,
    "not contiguous": lambda x: x.mT.contiguous().mT if is_float(x) and x.dim() > 1 else x,
}


@pytest.mark.parametrize("form", FORMS)
@EACH_RUNG
def test_right_answers_pass_in_any_form(rung, form):
    function = getattr(ladder_torch, rung.name)
    result = check(rung.name, lambda *arguments: leaves(function(*arguments), FORMS[form]))
    assert result.status == "OK", result


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if "list" in rung.returns or "(" in rung.returns[:1]])
def test_a_tuple_is_as_good_as_a_list(rung):
    def turned(value):
        if isinstance(value, (list, tuple)):
            return {list: tuple, tuple: list}[type(value)](map(turned, value))
        return value

    function = getattr(ladder_torch, rung.name)
    assert check(rung.name, lambda *arguments: turned(function(*arguments))).status == "OK"


def attention(penalty):
    """By einsum, the query scaled before, and a number added to blocked scores."""

    def attention_probabilities(query, key, attention_mask):
        scores = torch.einsum("bhqd,bhkd->bhqk", query / math.sqrt(query.shape[-1]), key)
        blocked = attention_mask[:, None, None, :] == 0
        return (scores + torch.zeros_like(scores).masked_fill(blocked, penalty(query.dtype))).softmax(-1)

    return attention_probabilities


def attention_by_torch(hidden, attention_mask, weights, config):
    def linear(x, name):
        return functional.linear(x, weights[f"attention.{name}.weight"], weights[f"attention.{name}.bias"])

    heads, allowed = (config["num_attention_heads"], -1), attention_mask[:, None, None, :].bool()
    three = (linear(hidden, f"self.{n}").unflatten(-1, heads).transpose(1, 2) for n in ("query", "key", "value"))
    context = functional.scaled_dot_product_attention(*three, allowed)
    return linear(context.transpose(1, 2).flatten(2), "output.dense")


THREE = [f"attention.self.{name}" for name in ("query", "key", "value")]


def joined(weights):
    """Query's, key's and value's weights in one matrix [3 E, E], and their biases [3 E]."""
    return (torch.cat([weights[f"{name}.{kind}"] for name in THREE]) for kind in ("weight", "bias"))


def attention_in_one_product(hidden, attention_mask, weights, config):
    """One product for query, key and value, and einsum for the rest, heads last."""
    heads = config["num_attention_heads"]
    query, key, value = functional.linear(hidden, *joined(weights)).unflatten(-1, (3, heads, -1)).unbind(2)
    scores = torch.einsum("bqhd,bkhd->bqkh", query, key) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(attention_mask[:, None, :, None] == 0, -math.inf)
    context = torch.einsum("bqkh,bkhd->bqhd", scores.softmax(2), value).flatten(2)
    return functional.linear(context, weights["attention.output.dense.weight"], weights["attention.output.dense.bias"])


def attention_by_multihead(hidden, attention_mask, weights, config):
    module = torch.nn.MultiheadAttention(config["hidden_size"], config["num_attention_heads"], batch_first=True)
    weight, bias = joined(weights)
    module.to(hidden.dtype).load_state_dict({
        "in_proj_weight": weight, "in_proj_bias": bias, "out_proj.weight": weights["attention.output.dense.weight"],
        "out_proj.bias": weights["attention.output.dense.bias"],
    })  # fmt: skip
    return module.eval()(hidden, hidden, hidden, key_padding_mask=attention_mask == 0)[0]


def layer_norm_by_hand(x, weight, bias, eps):
    mean = x.sum(-1, keepdim=True) / x.shape[-1]
    return (x - mean) * torch.rsqrt(((x - mean) ** 2).mean(-1, keepdim=True) + eps) * weight + bias


def adamw(decay):
    def function(parameter, gradients, lr, beta1, beta2, eps, weight_decay):
        mean = square = torch.zeros_like(parameter)
        history = [parameter]
        for t, gradient in enumerate(gradients, 1):
            mean, square = mean + (1 - beta1) * (gradient - mean), beta2 * square + (1 - beta2) * gradient**2
            update = lr / (1 - beta1**t) * mean / ((square / (1 - beta2**t)).sqrt() + eps)
            history.append(decay(history[-1], update, lr * weight_decay))
        return torch.stack(history[1:])

    return function


def clip_without_guard(gradients, max_norm):
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    return [gradient / max(1, norm / max_norm) for gradient in gradients]


def roc_auc_by_ranks(labels, scores):
    ranks = np.array([(scores < score).sum() + ((scores == score).sum() + 1) / 2 for score in scores])
    ones = labels.sum()
    return (ranks[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones))


def roc_auc_by_trapezoids(labels, scores):
    limits = [np.inf, *sorted(set(scores), reverse=True)]
    right = np.array([(scores[labels == 1] >= limit).mean() for limit in limits])
    wrong = np.array([(scores[labels == 0] >= limit).mean() for limit in limits])
    return float((np.diff(wrong) * (right[1:] + right[:-1]) / 2).sum())


VARIANTS = {
    "mask of -1e4": ("attention_probabilities", attention(lambda dtype: -1e4), "torch"),
    "mask of the least number": ("attention_probabilities", attention(lambda dtype: torch.finfo(dtype).min), "torch"),
    "mask of -infinity": ("attention_probabilities", attention(lambda dtype: -math.inf), "torch"),
    "scaled_dot_product_attention": ("multi_head_attention", attention_by_torch, "torch"),
    "query, key and value in one product": ("multi_head_attention", attention_in_one_product, "torch"),
    "nn.MultiheadAttention": ("multi_head_attention", attention_by_multihead, "torch"),
    "layer norm by hand": ("layer_norm", layer_norm_by_hand, "torch"),
    "layer norm by torch": (
        "layer_norm", lambda x, weight, bias, eps: functional.layer_norm(x, weight.shape, weight, bias, eps), "torch",
    ),
    "gelu by erf": ("gelu", lambda x: x * torch.special.ndtr(x), "torch"),
    "gelu by math.erf": ("gelu", lambda x: [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()], "numpy"),
    "gelu by torch": ("gelu", functional.gelu, "torch"),
    "gelu by nn.GELU": ("gelu", torch.nn.GELU(), "torch"),
    "mean pooling by matmul": (
        "mean_pooling", lambda h, mask: (mask[:, None] @ h)[:, 0] / np.count_nonzero(mask, 1)[:, None], "numpy",
    ),
    "decay first": ("adamw", adamw(lambda old, update, rate: old * (1 - rate) - update), "torch"),
    "decay last, of the old parameter": ("adamw", adamw(lambda old, update, rate: old - update - rate * old), "torch"),
    "schedule by min": ("warmup_schedule", lambda step, up, end: min(step / up, (end - step) / (end - up)), "torch"),
    "clipping without 1e-6": ("clip_gradients", clip_without_guard, "torch"),
    "AUROC by ranks": ("roc_auc", roc_auc_by_ranks, "numpy"),
    "AUROC by trapezoids": ("roc_auc", roc_auc_by_trapezoids, "numpy"),
    "sets of names": ("parameter_groups", lambda names: list(map(set, ladder_torch.parameter_groups(names))), "torch"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_another_right_way_passes(variant, dtype):
    rung, function, arrays = VARIANTS[variant]
    result = check(rung, function, arrays, dtype=dtype)
    assert result.status == "OK", result
