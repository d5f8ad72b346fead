"""AdamW, the learning-rate schedule and gradient clipping, by hand.

    AdamW      Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1, with the decoupled weight decay of
               Loshchilov and Hutter 2019 (arXiv 1711.05101), algorithm 2
    schedule   linear warmup, then linear decay to zero, as BERT was fine-tuned (Devlin et al. 2019, appendix A)
    clipping   one factor for all gradients: Pascanu et al. 2013 (arXiv 1211.5063), section 3.2
"""

import re

import torch

BLOCK = 2**18  # numbers whose squares are added up at a time


class AdamW(torch.optim.Optimizer):
    """Adam with decoupled weight decay; interface and numbers of torch.optim.AdamW.

    Each parameter keeps two running averages: `mean` of its gradient and `square` of the gradient's square.
    The step is mean / sqrt(square): a direction whose size does not depend on the gradient's scale.

    Two paths, same numbers: `update` spells the arithmetic out, in eight passes over memory; with `fused`, a kernel of
    PyTorch does the same in one. `train.py` asks for that one.
    """

    fused = False  # here too, because a copied or unpickled optimizer keeps none of its other attributes

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fused=False):
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"{name} is {value}; expected 0 or more")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas are {betas}; expected two numbers in [0, 1)")
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))
        self.fused = fused

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient. Returns `closure()`, or None."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            for p in parameters:
                if not self.state[p]:
                    self.state[p] = {"step": 0, "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
                self.state[p]["step"] += 1
            gradients = [p.grad for p in parameters]
            means = [self.state[p]["mean"] for p in parameters]
            squares = [self.state[p]["square"] for p in parameters]
            steps = [self.state[p]["step"] for p in parameters]
            arithmetic = fused_update if self.fused else update
            arithmetic(parameters, gradients, means, squares, steps, **group)
        return loss


def update(parameters, gradients, means, squares, steps, *, lr, betas, eps, weight_decay, **_):
    """AdamW's arithmetic, in place on lists of tensors. The `_foreach` calls treat all of a list at once."""
    beta1, beta2 = betas
    # Decay acts on the weight itself. As an L2 term in the gradient it would be divided by sqrt(square), and the
    # weights with the largest gradients would decay least.
    torch._foreach_mul_(parameters, 1 - lr * weight_decay)
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)

    # Both averages start at 0; dividing by 1 - beta^t removes that bias from the first steps.
    roots = torch._foreach_sqrt(squares)
    torch._foreach_div_(roots, [(1 - beta2**t) ** 0.5 for t in steps])
    torch._foreach_add_(roots, eps)  # outside the root
    torch._foreach_addcdiv_(parameters, means, roots, [-lr / (1 - beta1**t) for t in steps])


def fused_update(parameters, gradients, means, squares, steps, *, lr, betas, eps, weight_decay, **_):
    """`update` in one pass over memory."""
    # The kernel reads each parameter's count from an fp32 tensor. Parameters share it, and it is filled on the device,
    # so that nothing waits.
    counts = {t: torch.full((), t, dtype=torch.float32, device=parameters[0].device) for t in set(steps)}
    torch._fused_adamw_(
        parameters, gradients, means, squares, [], [counts[t] for t in steps], lr=lr, beta1=betas[0], beta2=betas[1],
        eps=eps, weight_decay=weight_decay, amsgrad=False, maximize=False,
    )  # fmt: skip


def parameter_groups(model, lr, weight_decay, head_lr=None, head="head.", layer_decay=1.0):
    """AdamW's groups: body and head (names beginning with `head`) with their own rate, with and without decay.

    Matrices decay. Biases and LayerNorm's parameters, the only vectors in the model, do not: they set an
    offset or a scale, and pulling those to zero regularises nothing. Each parameter is in exactly one group.

    layer_decay: a layer's rate, as a factor of the rate of the layer above it; the top one learns at `lr`, embeddings
    one step below the lowest layer (Sun et al. 2019, arXiv 1905.05583, section 5.3.4).
    """
    groups = {}
    named = list(model.named_parameters())
    num_layers = max((layer_number(name) or 0 for name, _ in named), default=0)
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        part, rate = "body", lr
        if name.startswith(head):
            part, rate = "head", lr if head_lr is None else head_lr
        elif layer_decay != 1 and (number := layer_number(name)) is not None:
            part = f"layer {number}" if number else "embeddings"
            rate = lr * layer_decay ** (num_layers - number)
        decays = parameter.ndim >= 2
        group = groups.setdefault(
            (part, decays),
            {
                "name": f"{part}, {'decay' if decays else 'no decay'}",
                "params": [],
                "lr": rate,
                "weight_decay": weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def layer_number(name):
    """How high up a parameter stands, by its name: 0 for embeddings, 1 for the lowest layer; None elsewhere."""
    number = re.search(r"(?:^|\.)layers\.(\d+)\.", name)
    if number:
        return int(number[1]) + 1
    return 0 if re.search(r"(?:^|\.)embeddings\.", name) else None


def linear_warmup(step, warmup_steps, total_steps):
    """The learning rate's multiplier in [0, 1] for update number `step` (from 0): up to 1, then down to 0.

    A fresh head sends large, random gradients into a good encoder, and Adam's averages know nothing yet:
    small first steps keep the pretrained weights from being thrown about. As transformers'
    get_linear_schedule_with_warmup.
    """
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))


@torch.no_grad()
def clip_gradients(parameters, max_norm):
    """Divide all gradients by one number, so that their joint L2 norm is at most `max_norm`; returns the norm before.

    One number for all keeps the direction. As torch.nn.utils.clip_grad_norm_.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.tensor(0.0)
    if gradients[0].device.type == "cpu":
        # In blocks: over many million numbers in fp32, one sum of squares loses digits.
        blocks = [block for g in gradients for block in g.flatten().split(BLOCK)]
        norm = torch.stack([block.dot(block) for block in blocks]).sum().sqrt()
    else:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_div_(gradients, ((norm + 1e-6) / max_norm).clamp(min=1.0))
    return norm


def make_dense(parameters):
    """Turn sparse gradients, which hold only the rows that were touched, into whole ones: clipping wants them."""
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.to_dense()
