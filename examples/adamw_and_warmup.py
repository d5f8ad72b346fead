# %% [markdown]
# # AdamW against Adam with L2, warmup, bias correction
#
# Everyone fine-tunes BERT with AdamW, a warmup and a bias correction, and few can say what each of the three does.
# Here each is taken away once: first where the effect can be computed by hand, then in a short, real fine-tuning. The
# numbers by hand are exact. In the real run some effects are plain, and some cannot be told from noise; that is said.
#
# Sources: Kingma and Ba 2015 (Adam, arXiv 1412.6980), algorithm 1 and section 3; Loshchilov and Hutter 2019 (AdamW,
# arXiv 1711.05101), algorithm 2; Mosbach et al. 2021 (arXiv 2006.04884) and Zhang et al. 2021 (arXiv 2006.05987), who
# found that BERT's own optimizer had left the bias correction out, and what that did.

# %%
import torch
from drawing import save

import minibert
from minibert.batch import bucketed_batches
from minibert.data import load_task
from minibert.evaluate import predict
from minibert.load import put_head
from minibert.metrics import accuracy, log_loss, softmax
from minibert.optim import AdamW, clip_gradients, linear_warmup, parameter_groups
from minibert.plumbing.device import autocast, resolve_precision
from minibert.report.pictures import lines

# %% [markdown]
# ## Adam in six lines
#
# Two running averages, of the gradient and of its square, both begun at 0. The step is mean / sqrt(square): it depends
# on the gradient's direction, and not on its size. Two switches: whether the averages are corrected for their start at
# 0, and whether the decay is decoupled (AdamW) or is added to the gradient (L2).

# %%
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def adam(weight, gradient_at, steps, rate, decay=0.0, corrected=True, decoupled=True):
    """The weight after each of so many steps, a list. gradient_at(step, weight), the first step being 1."""
    mean = square = 0.0
    path = []
    for t in range(1, steps + 1):
        gradient = gradient_at(t, weight) + (0 if decoupled else decay * weight)
        mean = BETA1 * mean + (1 - BETA1) * gradient
        square = BETA2 * square + (1 - BETA2) * gradient**2
        bias1, bias2 = (1 - BETA1**t, 1 - BETA2**t) if corrected else (1, 1)
        shrunk = weight * (1 - rate * decay) if decoupled else weight
        weight = shrunk - rate * (mean / bias1) / ((square / bias2) ** 0.5 + EPS)
        path.append(weight)
    return path


tensor = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
ours = AdamW([tensor], lr=0.01, weight_decay=0.1)
for t in range(1, 51):
    tensor.grad = torch.tensor([1.0 / t], dtype=torch.float64)
    ours.step()
difference = abs(tensor.item() - adam(1.0, lambda t, w: 1.0 / t, 50, 0.01, decay=0.1)[-1])
print(f"50 steps, by hand and by minibert.optim.AdamW: {difference:.0e} apart")

# %% [markdown]
# ## 1. Without bias correction the first step is 3.16 times too large
#
# After one step mean is 0.1 of the gradient, so a first step that is too *small* might be expected. But the square is
# 0.001 of its square, and the root of that is 0.03: 0.1 / 0.0316 = 3.16. It gets worse before it gets better, because
# the mean fills up in about ten steps and the square in about a thousand.


# %%
def too_large(t):
    """How many times step number t is as large without correction as with it, for any gradients at all."""
    return (1 - BETA1**t) / (1 - BETA2**t) ** 0.5


factors = {t: too_large(t) for t in range(1, 5001)}
worst = max(factors, key=factors.get)
shown = sorted({1, 2, 5, worst, 100, 1000, 5000})
print("\nstep, and how many times too large:", ", ".join(f"{t:,}: {factors[t]:.2f}" for t in shown))
plain, biased = (adam(0.0, lambda t, w: 1.0, 1, 1.0, corrected=corrected)[0] for corrected in (True, False))
print(f"a first step with rate 1 and gradient 1, by hand: {plain:.2f} corrected, {biased:.2f} not")

# %% [markdown]
# A warmup of 10% hides this: while the steps are 6 times too large, the rate is small. That is how BERT could do
# without the correction, and why leaving out *both* hurts most. In a fine-tuning of 100 updates all of them are too
# large.
#
# ## 2. Decay: decoupled, or through the gradient?
#
# Two weights that learn nothing: their gradients only swing, one by 100 and one by 0.01, up and down. Decay should
# shrink both alike, by (1 - rate * decay) a step, to 0.37 after 1,000 steps. As L2 in the gradient it is divided by the
# gradient's usual size, like everything else: the weight with large gradients keeps its size, the one with small ones
# is gone after 200 steps (Loshchilov and Hutter, section 2).

# %%
RATE, DECAY, STEPS = 0.01, 0.1, 1000
paths = {
    (name, size): adam(1.0, lambda t, w, size=size: size * (-1) ** t, STEPS, RATE, DECAY, decoupled=name == "AdamW")
    for name in ("AdamW", "Adam + L2") for size in (100.0, 0.01)
}  # fmt: skip
print(f"\nafter {STEPS:,} steps, from 1.0")
for (name, size), path in paths.items():
    print(f"  {name:10} gradients of +-{size:<6g} {path[-1]:.3f}")
every = list(range(0, STEPS, 20))
save("adamw_and_warmup", lines(
    "Two weights without a goal, under decay",
    "With AdamW both weights fall along the same curve, to 0.37 after 1,000 steps. With Adam and L2 the weight with "
    "large gradients stays at 1 and the one with small gradients drops to 0 at once.",
    [{"name": f"{name}, gradients of {size:g}", "colour": f"c-{1 + (name != 'AdamW')}", "dashed": size < 1,
      "x": [step + 1 for step in every], "y": [path[step] for step in every]} for (name, size), path in paths.items()],
    "steps", "weight", y_range=(0, 1.05),
))  # fmt: skip

# %% [markdown]
# ## 3. A short fine-tuning
#
# 960 reviews, 60 updates, the loop written out: as it should be, with another seed, and with each part taken away. How
# far has the encoder moved after the first updates, and what are loss and accuracy on validation texts at the end?
#
# For decay, look at the words that occur in none of the texts. Their gradient is 0, so all that moves them is decay.
# At the end, without bias correction the classifier stayed at chance here, for such steps are too large at this rate.
# Without warmup it came out between the two seeds: with so few runs nothing can be told, and so nothing is claimed.

# %%
TEXTS, BATCH, PEAK, WARMUP = 960, 16, 2e-4, 6
UPDATES = TEXTS // BATCH
precision, _ = resolve_precision("auto", torch.device("cpu"))
task, tokenizer = load_task("reviews"), minibert.load_tokenizer("minibert-tiny")
few = task.train.select(range(TEXTS))
train, validation = (tokenizer.examples(part.texts, None, part.labels, 32) for part in (few, task.validation))
seen = torch.zeros(9400, dtype=torch.bool)
for sequence in train.sequences:
    seen[torch.from_numpy(sequence.ids).long()] = True


def fine_tune(warmup=WARMUP, corrected=True, decoupled=True, seed=0):
    """{what is measured: a number} of one run."""
    torch.manual_seed(seed)
    classifier = put_head(minibert.load_encoder("minibert-tiny"), few.label_names, "mean", "linear", seed).train()
    words = classifier.encoder.embeddings.word.weight
    start = [p.detach().clone() for p in classifier.encoder.parameters()]
    optimizer = AdamW(parameter_groups(classifier, PEAK, 0.01 if decoupled else 0.0, head_lr=5 * PEAK), fused=True)
    peaks, found = [group["lr"] for group in optimizer.param_groups], {}
    for update, indices in enumerate(bucketed_batches(train.lengths, BATCH, seed, epoch=0)):
        factor = linear_warmup(update + 1, warmup, UPDATES + 1)  # counted from 1, so that the first update moves, too
        factor *= 1 if corrected else too_large(update + 1)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        with autocast(torch.device("cpu"), precision):
            logits = classifier(*train.inputs(indices))
        torch.nn.functional.cross_entropy(logits.float(), train.labels[indices]).backward()
        clip_gradients(list(classifier.parameters()), 1.0)
        if not decoupled:
            for p in classifier.parameters():
                if p.ndim == 2:
                    p.grad += 0.01 * p.detach()
        optimizer.step()
        optimizer.zero_grad()
        if update + 1 in (1, 6):
            moved = [(p - old).norm() for p, old in zip(classifier.encoder.parameters(), start, strict=True)]
            found[f"moved, {update + 1}"] = torch.stack(moved).norm().item()
    shift = (words.detach() - start[0])[~seen].norm() / start[0][~seen].norm()
    logits = predict(classifier, validation, torch.device("cpu"), precision)
    found["unseen words"] = shift.item()
    found["loss"] = log_loss(task.validation.labels, softmax(logits))
    found["accuracy"] = accuracy(task.validation.labels, logits.argmax(1))
    return found


runs = {}
print(f"\n{seen.sum():,} of 9,400 word pieces occur\n{'':26}{'moved after 1':>14}{'after 6':>9}{'unseen words':>14}"
      f"{'loss':>8}{'accuracy':>10}")  # fmt: skip
for name, change in {
    "as it should be": {}, "another seed": {"seed": 1}, "no warmup": {"warmup": 0},
    "no correction": {"corrected": False}, "neither": {"warmup": 0, "corrected": False},
    "L2 in place of decay": {"decoupled": False},
}.items():  # fmt: skip
    runs[name] = row = fine_tune(**change)
    print(f"{name:26}{row['moved, 1']:14.3f}{row['moved, 6']:9.3f}{row['unseen words']:14.4%}{row['loss']:8.3f}"
          f"{row['accuracy']:10.1%}", flush=True)  # fmt: skip

# %%
base = runs["as it should be"]
far = {name: row["moved, 1"] / base["moved, 1"] for name, row in runs.items()}
pulled = runs["L2 in place of decay"]["unseen words"] / base["unseen words"]
aside, by_l2 = ([paths[name, size][-1] for size in (100.0, 0.01)] for name in ("AdamW", "Adam + L2"))
claims = {
    f"six lines by hand are minibert.optim.AdamW: {difference:.0e} apart after 50 steps": difference < 1e-12,
    f"without bias correction the first step is {factors[1]:.2f} times too large, the {worst}th {factors[worst]:.2f} "
    "times": abs(biased / plain - 10**0.5) < 1e-6 and worst == 12 and round(factors[worst], 1) == 6.6,
    f"so it is in the encoder: after one update it has moved {far['no correction']:.2f} times as far":
        abs(far["no correction"] - 10**0.5) < 0.05,
    f"without warmup {far['no warmup']:.1f} times as far, without both {far['neither']:.1f} times":
        abs(far["no warmup"] / WARMUP - 1) < 0.05 and abs(far["neither"] / (WARMUP * 10**0.5) - 1) < 0.05,
    f"decoupled decay shrinks both weights alike, to {aside[0]:.2f}; L2 leaves one at {by_l2[0]:.2f}, the other at "
    f"{abs(by_l2[1]):.2f}": max(abs(x - 0.999**STEPS) for x in aside) < 0.05 and by_l2[0] > 0.99 and by_l2[1] < 0.05,
    f"in the encoder L2 moves the words that never occur {pulled:,.0f} times as far as AdamW's decay": pulled > 20,
}  # fmt: skip
print("\nWhat this showed")
for claim, holds in claims.items():
    assert holds, claim
    print("-", claim)
