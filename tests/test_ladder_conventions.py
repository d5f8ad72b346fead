"""Published conventions are recognised as what they are: OTHER, with their name and source, and no failure.

The optimizers here are written as people write them: one class after torch.optim, one function, one in NumPy.
"""

import itertools
import json
import math

import ladder_torch
import numpy as np
import pytest
import torch
from ladder_tools import DTYPES, REFERENCES, RUNG, check, command, written

from minibert.parity.candidates import CONVENTIONS_OF
from minibert.parity.check import run_rung
from minibert.parity.conventions import CONVENTIONS
from minibert.parity.mistakes import MISTAKES


class AdamW(torch.optim.Optimizer):
    """As transformers had it: the efficient bias correction, decay after the step."""

    def __init__(self, params, lr, betas, eps, weight_decay, correct_bias=True):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings | {"correct_bias": correct_bias})

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"], state["m"], state["v"] = 0, torch.zeros_like(p.data), torch.zeros_like(p.data)
                beta1, beta2 = group["betas"]
                state["step"] += 1
                state["m"].mul_(beta1).add_(p.grad, alpha=1 - beta1)
                state["v"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
                size = group["lr"]
                if group["correct_bias"]:
                    size = size * math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
                self.move(p.data, state["m"], state["v"].sqrt().add_(group["eps"]), size, group)

    def move(self, p, m, root, size, group):
        p.addcdiv_(m, root, value=-size)
        p.add_(p, alpha=-group["lr"] * group["weight_decay"])


class DecayByStepSize(AdamW):
    def move(self, p, m, root, size, group):
        old = p.clone()
        p.addcdiv_(m, root, value=-size).add_(old, alpha=-size * group["weight_decay"])


class DecayByStepSizeAfter(AdamW):
    def move(self, p, m, root, size, group):
        p.addcdiv_(m, root, value=-size)
        p.mul_(1 - size * group["weight_decay"])


class DecayFirst(AdamW):
    def move(self, p, m, root, size, group):
        p.mul_(1 - group["lr"] * group["weight_decay"]).addcdiv_(m, root, value=-size)


def one(build):
    def adamw(parameter, gradients, lr, beta1, beta2, eps, weight_decay):
        given = [[gradient] for gradient in gradients]
        return several(build)([parameter], given, lr, beta1, beta2, eps, weight_decay)[0]

    return adamw


def several(build):
    def adamw_several(parameters, gradients, lr, beta1, beta2, eps, weight_decay):
        parameters = [torch.nn.Parameter(p.clone()) for p in parameters]
        optimizer, history = build(parameters, lr, (beta1, beta2), eps, weight_decay), []
        for row in gradients:
            for p, gradient in zip(parameters, row, strict=True):
                p.grad = None if gradient is None else gradient.clone()
            with torch.no_grad():
                optimizer.step()
            history.append([p.detach().clone() for p in parameters])
        return [torch.stack(steps) for steps in zip(*history, strict=True)]

    return adamw_several


def uncorrected(kind):
    return lambda *settings: kind(*settings, correct_bias=False)


GRID = {
    "transformers": (AdamW, ["folded-bias-correction", "decay-after-step"]),
    "decay first": (DecayFirst, ["folded-bias-correction"]),
    "one step size for both": (DecayByStepSize, ["folded-bias-correction", "decay-by-corrected-rate"]),
    "one step size for both, decay last": (
        DecayByStepSizeAfter, ["folded-bias-correction", "decay-after-step", "decay-by-corrected-rate"],
    ),
    "BERT's own": (uncorrected(DecayFirst), ["no-bias-correction"]),
    "transformers, uncorrected": (uncorrected(AdamW), ["no-bias-correction", "decay-after-step"]),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", GRID)
@pytest.mark.parametrize("rung", ["adamw", "adamw_several"])
def test_an_adamw_by_another_convention_is_other_and_named(rung, kind, dtype):
    build, names = GRID[kind]
    result = check(rung, (one if rung == "adamw" else several)(build), dtype=dtype)
    assert (result.status, result.conventions, result.mistakes) == ("OTHER", names, [])
    assert not result.failed
    steps = 50 if rung == "adamw" else 30
    assert result.note.startswith(f"lr 0.01, eps 1e-08: after {steps} steps off by ") and "% of the way" in result.note


def exact(decay):
    """m-hat and v-hat, and any way to decay."""

    def adamw(parameter, gradients, lr, beta1, beta2, eps, weight_decay):
        mean = square = torch.zeros_like(parameter)
        history = [parameter]
        for t, gradient in enumerate(gradients, 1):
            mean, square = mean + (1 - beta1) * (gradient - mean), beta2 * square + (1 - beta2) * gradient**2
            update = lr / (1 - beta1**t) * mean / ((square / (1 - beta2**t)).sqrt() + eps)
            history.append(decay(history[-1], update, lr * weight_decay))
        return torch.stack(history[1:])

    return adamw


@pytest.mark.parametrize("dtype", DTYPES)
def test_decay_before_the_step_and_from_the_old_weights_are_right_and_after_the_step_is_other(dtype):
    assert check("adamw", exact(lambda old, update, rate: old * (1 - rate) - update), dtype=dtype).status == "OK"
    assert check("adamw", exact(lambda old, update, rate: old - update - rate * old), dtype=dtype).status == "OK"
    result = check("adamw", exact(lambda old, update, rate: (old - update) * (1 - rate)), dtype=dtype)
    assert (result.status, result.conventions) == ("OTHER", ["decay-after-step"])


@pytest.mark.parametrize("rung", CONVENTIONS_OF)
def test_every_convention_that_a_rung_knows_is_recognised_when_made_in_torch(rung):
    for names in CONVENTIONS_OF[rung]:
        for dtype in DTYPES if rung != "adamw_several" else ["float32"]:
            ladder_torch.WRONG = " + ".join(names)
            try:
                result = run_rung(ladder_torch, RUNG[rung], REFERENCES, dtype)
            finally:
                ladder_torch.WRONG = None
            assert result.status == "OTHER", (names, dtype)
            assert set(result.conventions) == {name.partition("#")[0] for name in names}, (names, dtype)


def test_training_with_another_adamw_or_schedule_is_other_too():
    for name in ("folded-bias-correction + decay-after-step", "no-bias-correction", "schedule-of-bert"):
        ladder_torch.WRONG = name
        try:
            result = run_rung(ladder_torch, RUNG["train"], REFERENCES, "float32")
        finally:
            ladder_torch.WRONG = None
        assert (result.status, result.conventions) == ("OTHER", name.split(" + "))


class Broken:
    """Mistakes of people's optimizers, in transformers' convention."""

    class SignOfDecay(AdamW):
        def move(self, p, m, root, size, group):
            p.addcdiv_(m, root, value=-size)
            p.add_(p, alpha=group["lr"] * group["weight_decay"])

    class RateTwice(AdamW):
        def move(self, p, m, root, size, group):
            p.addcdiv_(m, root, value=-size)
            p.add_(p, alpha=-(group["lr"] ** 2) * group["weight_decay"])

    class Compounded(AdamW):
        def move(self, p, m, root, size, group):
            super().move(p, m, root, size, group)
            group["lr"] = size

    class NoDecay(AdamW):
        def move(self, p, m, root, size, group):
            p.addcdiv_(m, root, value=-size)

    class DecayWithoutRate(AdamW):
        def move(self, p, m, root, size, group):
            p.addcdiv_(m, root, value=-size)
            p.add_(p, alpha=-group["weight_decay"])


@pytest.mark.parametrize(
    "kind, name",
    [
        (Broken.SignOfDecay, "decay-sign"),
        (Broken.RateTwice, "decay-times-lr-squared"),
        (Broken.NoDecay, "decay-missing"),
        (Broken.DecayWithoutRate, "decay-without-lr"),
    ],
)
def test_a_mistake_in_another_convention_is_a_mistake_and_its_convention_is_said_beside_it(kind, name):
    result = check("adamw", one(kind))
    assert (result.status, result.mistakes) == ("DIFF", [name])
    assert "folded-bias-correction" in result.conventions


class ReturnsInTheLoop(AdamW):
    def step(self):
        for group in self.param_groups:
            everything = group["params"]
            group["params"] = everything[:1]
            super().step()
            group["params"] = everything
            return


class CountsCalls(AdamW):
    count = 0

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.count += 1
                    if self.state[p]:
                        self.state[p]["step"] = self.count - 1
                    else:
                        zero = torch.zeros_like(p.data)
                        self.state[p] = {"step": self.count - 1, "m": zero, "v": zero.clone()}
                    everything, group["params"] = group["params"], [p]
                    super().step()
                    group["params"] = everything


class OneState(AdamW):
    """`if len(self.state) == 0` where `self.state[p]` was meant."""

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state
                if len(state) == 0:
                    state["m"] = torch.zeros_like(p.data)
                state["m"].mul_(0.9).add_(p.grad, alpha=0.1)
                p.data.add_(state["m"], alpha=-group["lr"])


@pytest.mark.parametrize(
    "kind, status, name",
    [
        (ReturnsInTheLoop, "DIFF", "return-inside-the-loop"),
        (CountsCalls, "DIFF", "step-counted-for-each-parameter"),
        (OneState, "ERROR", "state-shared"),
    ],
)
def test_what_only_several_parameters_show(kind, status, name):
    assert check("adamw", one(kind)).mistakes != [name]
    result = check("adamw_several", several(kind))
    assert (result.status, result.mistakes) == (status, [name])


SCHEDULES = {
    "schedule-of-bert": lambda step, up, end: step / up if step < up else 1 - step / end,
    "schedule-noam": lambda step, up, end: 0.0 if step == 0 else min(step / up, math.sqrt(up / step)),
    "schedule-polynomial": lambda step, up, end: step / up if step < up else ((end - step) / (end - up)) ** 2,
    "schedule-cosine": lambda step, up, end: (
        step / up if step < up else 0.5 * (1 + math.cos(math.pi * (step - up) / (end - up)))
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_another_published_schedule_is_other(name):
    result = check("warmup_schedule", SCHEDULES[name])
    assert (result.status, result.conventions) == ("OTHER", [name])


def test_gelu_by_tanh_is_a_fault_in_bert_and_its_words_say_whose_it_is():
    result = check("gelu", lambda x: torch.nn.functional.gelu(x, approximate="tanh"))
    assert (result.status, result.mistakes) == ("DIFF", ["gelu-tanh"])
    assert "GPT-2" in MISTAKES["gelu-tanh"][0]


def figures(labels, predictions, classes, average):
    """Precision, recall and F1 averaged over the given classes, by counting."""
    rows, weights = [], []
    for c in classes:
        right = np.sum((labels == c) & (predictions == c))
        precision, recall = right / max(1, np.sum(predictions == c)), right / max(1, np.sum(labels == c))
        rows.append((precision, recall, 2 * precision * recall / (precision + recall) if right else 0.0))
        weights.append(np.sum(labels == c))
    return tuple(np.average(rows, axis=0, weights=weights if average == "weighted" else None))


CLASSES = {
    "all": (lambda labels, predictions, count: range(count), "OK", [], []),
    "those that occur, as in scikit-learn": (
        lambda labels, predictions, count: np.union1d(labels, predictions), "OTHER", ["classes-that-occur"], [],
    ),
    "up to the largest": (
        lambda labels, predictions, count: range(max(labels.max(), predictions.max()) + 1), "OTHER",
        ["classes-up-to-the-largest"], [],
    ),
    "those in the labels": (
        lambda labels, predictions, count: np.unique(labels), "DIFF", [], ["classes-absent-from-labels-skipped"],
    ),
    "those that were predicted": (
        lambda labels, predictions, count: np.unique(predictions), "DIFF", [], ["only-predicted-classes"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", CLASSES)
def test_over_which_classes_macro_averages_is_told_apart(which):
    classes, status, conventions, mistakes = CLASSES[which]

    def precision_recall_f1(labels, predictions, num_labels, average):
        chosen = classes(labels, predictions, num_labels) if average == "macro" else range(num_labels)
        return figures(labels, predictions, chosen, average)

    result = check("precision_recall_f1", precision_recall_f1, "numpy")
    assert (result.status, result.conventions, result.mistakes) == (status, conventions, mistakes)


# ---- the command

FILE = '''\
import math
import torch

def adamw(parameter, gradients, lr, beta1, beta2, eps, weight_decay):
    m = v = torch.zeros_like(parameter)
    steps = []
    for t, g in enumerate(gradients, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        alpha = lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        parameter = parameter - alpha * m / (v.sqrt() + eps)
        parameter = parameter - lr * weight_decay * parameter
        steps.append(parameter)
    return torch.stack(steps)
'''


def test_the_command_names_the_convention_and_its_source_and_only_strict_makes_it_fail(tmp_path, capsys):
    path = written(tmp_path / "mine.py", FILE)
    code, out, _ = command(capsys, path, "--rungs", "adamw")
    words = " ".join(out.split())
    assert code == 0 and "adamw OTHER" in words
    for name in ("folded-bias-correction", "decay-after-step"):
        what, source = CONVENTIONS[name]
        assert f"`{name}`: {what}. Source: {source}." in words
    assert words.endswith("1 of 1 rungs checked, 0 passed, 1 by another published convention")
    code, out, _ = command(capsys, path, "--rungs", "adamw", "--strict")
    assert code == 1 and "--strict: another convention than the rung asks for counts as failed" in out
    code, out, _ = command(capsys, path, "--rungs", "adamw", "--json")
    (row,) = json.loads(out)["rungs"]
    assert (code, row["status"], row["mistakes"]) == (0, "OTHER", [])
    assert row["conventions"] == ["folded-bias-correction", "decay-after-step"]


def test_the_command_tells_a_mistake_from_the_convention_beside_it(tmp_path, capsys):
    path = written(tmp_path / "mine.py", FILE.replace("parameter - lr", "parameter + lr"))
    code, out, _ = command(capsys, path, "--rungs", "adamw")
    words = " ".join(out.split())
    assert code == 1 and "looks like `decay-sign`" in words
    assert words.count("beside it, and no mistake: `") == 2 and "`decay-after-step`" in words


def test_conventions_have_words_and_none_is_told_by_the_same_numbers_as_another():
    assert all(what.strip() and source.strip() for what, source in CONVENTIONS.values())
    named = set(itertools.chain.from_iterable(itertools.chain.from_iterable(CONVENTIONS_OF.values())))
    assert {name.partition("#")[0] for name in named} == set(CONVENTIONS)
