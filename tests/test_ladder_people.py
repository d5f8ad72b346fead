"""Layers and optimizers as people write them: PyTorch's own layer, two well-known teaching codes, a course's optimizer.

Everything that such a file does differently from BERT is named at once, as many mistakes as there are.
"""

import math
import textwrap

import numpy as np
import pytest
import torch
from ladder_tools import check
from torch import nn
from torch.nn import functional

QKV = [f"attention.self.{name}" for name in ("query", "key", "value")]
PARTS = {
    "self_attn.out_proj": "attention.output.dense", "linear1": "intermediate.dense", "linear2": "output.dense",
    "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm",
}  # fmt: skip


def by_torch(masked=True, training=False, **settings):
    """A function for the rungs `layer` and `bert_layer_dropout` from nn.TransformerEncoderLayer."""

    def layer(hidden, attention_mask, weights, config, dropout=None):
        module = nn.TransformerEncoderLayer(
            config["hidden_size"], config["num_attention_heads"], config["intermediate_size"],
            **({"activation": "gelu", "layer_norm_eps": 1e-12, "batch_first": True} | settings),
        ).to(hidden.dtype)  # fmt: skip
        joined = {
            f"self_attn.in_proj_{kind}": torch.cat([weights[f"{name}.{kind}"] for name in QKV])
            for kind in ("weight", "bias")
        }
        named = {f"{a}.{kind}": weights[f"{b}.{kind}"] for a, b in PARTS.items() for kind in ("weight", "bias")}
        module.load_state_dict(joined | named)
        return module.train(training)(hidden, src_key_padding_mask=attention_mask == 0 if masked else None)

    return layer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("settings", [{}, {"training": True, "dropout": 0.0}], ids=["fast path", "slow path"])
def test_torchs_own_layer_is_right_with_gelu_berts_eps_and_the_batch_first(settings, dtype):
    result = check("layer", by_torch(**settings), dtype=dtype)
    assert result.status == "OK", result


@pytest.mark.parametrize(
    "settings, mistakes",
    [
        ({"activation": "relu", "layer_norm_eps": 1e-5}, {"relu", "eps-1e-5"}),  # what it does when nothing is said
        ({"layer_norm_eps": 1e-5}, {"eps-1e-5"}),
        ({"norm_first": True}, {"pre-norm"}),
        ({"masked": False}, {"no-mask"}),
        ({"batch_first": False, "masked": False}, {"batch-and-tokens-swapped"}),
        (
            {"batch_first": False, "masked": False, "activation": "relu", "layer_norm_eps": 1e-5},
            {"batch-and-tokens-swapped", "relu", "eps-1e-5"},
        ),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else None,
)
def test_what_torchs_own_layer_does_by_default_is_named(settings, mistakes):
    result = check("layer", by_torch(**settings))
    assert [set(explanation.split(" + ")) for explanation in result.mistakes] == [mistakes]


def test_torchs_own_layer_drops_inside_the_feed_forward_too():
    result = check("bert_layer_dropout", by_torch(training=True))
    assert (result.status, result.mistakes) == ("DIFF", ["dropout-inside-feed-forward"])


class StdNorm(nn.Module):
    """LayerNorm by torch.std, whose variance is unbiased, with eps outside: copied far and wide."""

    def __init__(self, weight, bias, eps=1e-6):
        super().__init__()
        self.weight, self.bias, self.eps = weight, bias, eps

    def forward(self, x):
        return self.weight * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps) + self.bias


def teaching_code(activation, norm_first, norm=StdNorm, last_dropout=False):
    """A layer of the kind that many learned from; one LayerNorm, one activation and one order of your choice."""

    def layer(hidden, attention_mask, weights, config, dropout=lambda x: x):
        batch, length, width = hidden.shape
        heads = config["num_attention_heads"]

        def linear(x, name):
            return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

        def normed(x, name):
            return norm(weights[f"{name}.weight"], weights[f"{name}.bias"])(x)

        def attention(x):
            query, key, value = (linear(x, name).view(batch, length, heads, -1).transpose(1, 2) for name in QKV)
            scores = query @ key.transpose(-2, -1) / math.sqrt(width // heads)
            mask = (attention_mask > 0).unsqueeze(1).repeat(1, length, 1).unsqueeze(1)
            context = dropout(scores.masked_fill(mask == 0, -1e9).softmax(-1)) @ value
            return linear(context.transpose(1, 2).reshape(batch, length, width), "attention.output.dense")

        def forward(x):
            return linear(dropout(activation(linear(x, "intermediate.dense"))), "output.dense")

        for work, name in ((attention, "attention.output.LayerNorm"), (forward, "output.LayerNorm")):
            if norm_first:
                hidden = hidden + dropout(work(normed(hidden, name)))
            else:
                hidden = normed(hidden + dropout(work(hidden)), name)
        return dropout(hidden) if last_dropout else hidden

    return layer


def tanh_gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def torch_norm(weight, bias):
    return lambda x: functional.layer_norm(x, weight.shape, weight, bias)


STD = {"unbiased-variance", "eps-outside-root", "eps-1e-6"}
TEACHING = {
    "BERT with a std norm, tanh GELU, pre-norm": (teaching_code(tanh_gelu, True, last_dropout=True),
                                                  {*STD, "gelu-tanh", "pre-norm"}, {"dropout-on-sum"}),
    "the 2017 Transformer, pre-norm": (teaching_code(functional.relu, True), {*STD, "relu", "pre-norm"}, set()),
    "the 2017 Transformer, post-norm": (teaching_code(functional.relu, False), {*STD, "relu"}, set()),
    "exact GELU, a std norm": (teaching_code(functional.gelu, False), STD, set()),
    "tanh GELU, nn.LayerNorm as it is": (teaching_code(tanh_gelu, False, torch_norm), {"gelu-tanh", "eps-1e-5"}, set()),
}  # fmt: skip


@pytest.mark.parametrize("which", TEACHING)
def test_all_that_a_teaching_code_does_differently_is_named_at_once(which):
    layer, mistakes, more = TEACHING[which]
    (explanation,) = check("layer", layer).mistakes
    assert set(explanation.split(" + ")) == mistakes
    (explanation,) = check("bert_layer_dropout", layer).mistakes
    dropped = {name for name in explanation.split(" + ") if "dropout" in name}
    assert dropped == {"dropout-inside-feed-forward", *more}  # BERT does not drop there


# ---- a course's optimizer: its skeleton is given, what is between is what students write

SKELETON = '''\
class AdamW(torch.optim.Optimizer):
    def __init__(self, params, lr, betas, eps, weight_decay):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))
        self.t = 0

    def step(self, closure=None):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            eps, decay, running = group["eps"], group["weight_decay"], group["lr"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                grad, state, alpha = p.grad.data, self.state[p], group["lr"]
{body}
'''
START = """\
if len(state) == 0:
    state["step"], state["m"], state["v"] = 0, torch.zeros_like(p.data), torch.zeros_like(p.data)
state["step"] += 1
t = state["step"]
"""
AVERAGES = """\
state["m"] = beta1 * state["m"] + (1 - beta1) * grad
state["v"] = beta2 * state["v"] + (1 - beta2) * grad**2
"""
EFFICIENT = """\
alpha_t = alpha * math.sqrt(1 - beta2**t) / (1 - beta1**t)
p.data -= alpha_t * state["m"] / (state["v"].sqrt() + eps)
"""
DECAY = "p.data -= alpha * decay * p.data\n"
HATS = 'm_hat, v_hat = state["m"] / (1 - beta1**t), state["v"] / (1 - beta2**t)\n'
UPDATES = START + AVERAGES
STEP = UPDATES + EFFICIENT
FOLDED, LAST, BY_RATE = "folded-bias-correction", "decay-after-step", "decay-by-corrected-rate"


def by_course(body):
    """The rung `adamw_several` from the lines of the loop."""
    space = {"torch": torch, "math": math}
    exec(SKELETON.format(body=textwrap.indent(body, " " * 16)), space)

    def adamw_several(parameters, gradients, lr, beta1, beta2, eps, weight_decay):
        parameters = [nn.Parameter(p.clone()) for p in parameters]
        optimizer, history = space["AdamW"](parameters, lr, (beta1, beta2), eps, weight_decay), []
        for row in gradients:
            for p, gradient in zip(parameters, row, strict=True):
                p.grad = None if gradient is None else gradient.clone()
            optimizer.step()
            history.append([p.detach().clone() for p in parameters])
        return [torch.stack(steps) for steps in zip(*history, strict=True)]

    return adamw_several


COURSE = {
    "as the course asks": (STEP + DECAY, [], [FOLDED, LAST]),
    "decay by alpha_t": (STEP + DECAY.replace("alpha *", "alpha_t *"), [], [FOLDED, LAST, BY_RATE]),
    "hats": (UPDATES + HATS + "p.data -= alpha * m_hat / (v_hat.sqrt() + eps)\n" + DECAY, [], [LAST]),
    "hats, decay inside": (
        UPDATES + HATS + "p.data -= alpha * (m_hat / (v_hat.sqrt() + eps) + decay * p.data)\n", [], [],
    ),
    "in place": (
        START + 'state["m"].mul_(beta1).add_(grad, alpha=1 - beta1)\n'
        'state["v"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)\n' + EFFICIENT + DECAY, [], [FOLDED, LAST],
    ),
    "no decay": (STEP, ["decay-missing"], [FOLDED]),
    "decay not assigned": (STEP + DECAY.replace("-=", "-"), ["decay-missing"], [FOLDED]),
    "decay without alpha": (STEP + DECAY.replace("alpha * ", ""), ["decay-without-lr"], [FOLDED, LAST]),
    "decay added": (STEP + DECAY.replace("-=", "+="), ["decay-sign"], [FOLDED, LAST]),
    "decay of the gradient": (STEP + DECAY.replace("p.data\n", "grad\n"), ["decay-of-gradient"], [FOLDED]),
    "L2": (START + "grad = grad + decay * p.data\n" + AVERAGES + EFFICIENT, ["l2-instead-of-decoupled"], [FOLDED]),
    "alpha squared": (
        STEP + DECAY.replace("alpha *", "alpha * alpha *"), ["decay-times-lr-squared"], [FOLDED, LAST],
    ),
    "the group's rate overwritten": (
        STEP + DECAY + 'group["lr"] = alpha_t\n', ["learning-rate-compounded"], [LAST],
    ),
    "alpha kept over parameters": (
        UPDATES + EFFICIENT.replace("alpha *", "running *").replace("alpha_t", "running") + DECAY,
        ["rate-compounded-over-parameters"], [LAST],
    ),
    "self.t": (
        UPDATES.replace('state["step"] += 1\nt = state["step"]', "self.t += 1\nt = self.t") + EFFICIENT + DECAY,
        ["step-counted-for-each-parameter"], [FOLDED, LAST],
    ),
    "nothing stored": (
        UPDATES.replace('state["m"] = beta1', 'm = beta1').replace('state["v"] = beta2', 'v = beta2')
        + EFFICIENT.replace('state["m"]', "m").replace('state["v"]', "v") + DECAY,
        ["moments-not-stored"], [FOLDED, LAST],
    ),
    "the step not stored": (
        UPDATES.replace('state["step"] += 1\nt = state["step"]', 't = state["step"] + 1') + EFFICIENT + DECAY,
        ["step-count-stuck"], [FOLDED, LAST],
    ),
    "the first step only sets up": (
        UPDATES.replace('(p.data)\nstate["step"]', '(p.data)\n    continue\nstate["step"]')
        + EFFICIENT + DECAY, ["first-gradient-dropped"], [FOLDED, LAST],
    ),
    "hats stored": (
        UPDATES + HATS + "p.data -= alpha * m_hat / (v_hat.sqrt() + eps)\n" + DECAY
        + 'state["m"], state["v"] = m_hat, v_hat\n', ["corrected-moments-stored"], [LAST],
    ),
    "the root in place": (
        UPDATES + EFFICIENT.replace("sqrt()", "sqrt_()") + DECAY, ["square-overwritten"], [FOLDED, LAST],
    ),
    "betas exchanged": (
        UPDATES + EFFICIENT.replace("2**t", "3**t").replace("1**t", "2**t").replace("3**t", "1**t") + DECAY,
        ["betas-swapped-in-correction"], [FOLDED, LAST],
    ),
    "no root in the correction": (
        UPDATES + EFFICIENT.replace("math.sqrt", "") + DECAY, ["correction-without-root"], [LAST],
    ),
    "eps inside": (
        UPDATES + EFFICIENT.replace('(state["v"].sqrt() + eps)', '(state["v"] + eps).sqrt()') + DECAY,
        ["eps-inside-root"], [FOLDED, LAST],
    ),
    "alpha twice": (UPDATES + EFFICIENT.replace("-= ", "-= alpha * ") + DECAY, ["learning-rate-twice"], [FOLDED, LAST]),
}  # fmt: skip


@pytest.mark.parametrize("which", COURSE)
def test_what_students_write_into_the_courses_optimizer_is_named(which):
    body, mistakes, conventions = COURSE[which]
    result = check("adamw_several", by_course(body))
    assert (result.mistakes, result.conventions) == (mistakes, conventions), result
    assert result.status == ("DIFF" if mistakes else "OTHER" if conventions else "OK")


def by_curve(order):
    """AUROC from the curve, one text after the other."""

    def roc_auc(labels, scores):
        found = labels[order(scores)]
        true, false = found.cumsum(0) / found.sum(), (1 - found).cumsum(0) / (1 - found).sum()
        return torch.trapezoid(torch.as_tensor(true, dtype=torch.float64), torch.as_tensor(false, dtype=torch.float64))

    return roc_auc


ORDERS = {
    "torch.argsort": (lambda scores: torch.argsort(scores, descending=True), "torch"),
    "a stable torch.sort": (lambda scores: torch.sort(scores, descending=True, stable=True)[1], "torch"),
    "np.argsort of the negative": (lambda scores: np.argsort(-scores), "numpy"),
    "np.argsort turned round": (lambda scores: np.argsort(scores)[::-1], "numpy"),
    "sorted": (lambda scores: sorted(range(len(scores)), key=lambda i: -scores[i]), "numpy"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("which", ORDERS)
def test_ties_in_whatever_order_a_sort_left_them_are_named(which, dtype):
    order, arrays = ORDERS[which]
    result = check("roc_auc", by_curve(order), arrays, dtype=dtype)
    assert (result.status, result.mistakes) == ("DIFF", ["ties-in-order-of-appearance"])
