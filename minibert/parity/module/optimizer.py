"""A learner's optimizer on the ladder: the rungs `adamw` and `adamw_several`, from a class like torch.optim's."""

import inspect

import torch
from torch import nn

from ...plumbing.files import UserError
from .words import plain

NAMES = {  # the ladder's word: what people call it
    "lr": "lr learningrate alpha steplr stepsize",
    "betas": "betas beta b",
    "beta1": "beta1 b1",
    "beta2": "beta2 b2",
    "eps": "eps epsilon e adameps adamepsilon",
    "weight_decay": "weightdecay wd decay lambda weightdecayrate l2",
}
WORDS = {name: word for word, names in NAMES.items() for name in names.split()}


class Optimizer:
    """The two rungs for one class."""

    def __init__(self, optimizer_class, given=None):
        self.optimizer_class, self.given = optimizer_class, given or {}
        self.parameters = list(inspect.signature(optimizer_class).parameters.values())
        self.notes = self.unset() + self.left_alone()

    def unset(self):
        """A note where a setting is passed to no argument: it is the class's own that is judged."""
        taken = {WORDS.get(plain(parameter.name)) for parameter in self.parameters[1:]}
        covered = {"beta1", "beta2"} if "betas" in taken else {"betas"}
        names = [name for name in NAMES if name not in taken | covered]
        words = f"{self.optimizer_class.__name__} takes no {' and no '.join(names)}: its own is judged"
        return [words] if names else []

    def left_alone(self):
        """A note on numbers above 0 that the ladder does not set, such as a norm to which gradients are clipped."""
        numbers = [f"{p.name}={p.default}" for p in self.parameters[1:] if type(p.default) in (int, float)
                   and p.default > 0 and plain(p.name) not in WORDS and p.name not in self.given]  # fmt: skip
        words = f"{self.optimizer_class.__name__} keeps its own "
        return [f"{words}{one}; another value: --config-arg {one.partition('=')[0]}=VALUE" for one in numbers]

    def build(self, parameters, settings):
        """The learner's optimizer for these parameters."""
        arguments = {}
        for number, parameter in enumerate(self.parameters):
            word = WORDS.get(plain(parameter.name))
            if parameter.name in self.given:
                arguments[parameter.name] = self.given[parameter.name]
            elif number == 0:
                continue
            elif word == "betas":
                arguments[parameter.name] = (settings["beta1"], settings["beta2"])
            elif word:
                arguments[parameter.name] = settings[word]
            elif parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                raise UserError(
                    f"{self.optimizer_class.__name__} takes `{parameter.name}`; say: --config-arg {parameter.name}="
                )
        if any("named" in first.name for first in self.parameters[:1]):
            parameters = [(f"layer.{number}.weight", parameter) for number, parameter in enumerate(parameters)]
        return self.optimizer_class(parameters, **arguments)

    def adamw(self, parameter, gradients, lr, beta1, beta2, eps, weight_decay):
        rows = [[gradient] for gradient in gradients]
        return self.adamw_several([parameter], rows, lr, beta1, beta2, eps, weight_decay)[0]

    def adamw_several(self, parameters, gradients, lr, beta1, beta2, eps, weight_decay):
        settings = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay}
        own = [nn.Parameter(parameter.detach().clone()) for parameter in parameters]
        optimizer, steps = self.build(own, settings), []
        for row in gradients:
            for parameter, gradient in zip(own, row, strict=True):
                parameter.grad = None if gradient is None else gradient.clone()
            optimizer.step()
            steps.append([parameter.detach().clone() for parameter in own])
        return [torch.stack(history) for history in zip(*steps, strict=True)]
