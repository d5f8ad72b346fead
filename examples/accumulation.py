# %% [markdown]
# # Accumulation equals the full batch, until you average wrongly
#
# When a batch does not fit into memory, it is cut into micro-batches: run each, add up the gradients, take one step.
# The sum of the gradients *is* the gradient of the sum, so this costs time and changes nothing. But a loss is a mean,
# and the mean of means is not the mean when the parts differ in size.
#
# For years much training code, transformers' Trainer included, took the mean of means, until it was mended in October
# 2024 (huggingface/transformers pull request 34191). Here both ways are run on one model and the same texts, and the
# gradients compared.
#
# In minibert the right way is two lines of `Classification.losses` in `train.py`.

# %%
import numpy as np
import torch
from drawing import save
from torch.nn import functional

import minibert
from minibert.batch import Examples
from minibert.data import load_task
from minibert.load import put_head
from minibert.report.pictures import bars
from minibert.train import Classification, TrainSettings

# 64-bit numbers, so that a difference is not rounding; eval mode, so that dropout draws nothing.
tokenizer = minibert.load_tokenizer("minibert-tiny")
encoder = minibert.load_encoder("minibert-tiny", fast=False, dtype=torch.float64)
model = put_head(encoder, ["negative", "positive"], "cls", "mlp").double().eval()

# %% [markdown]
# ## Ten texts of different lengths
#
# As in an epoch's last batch, or on a day when ten is what there is. In micro-batches of 4 they make 4 + 4 + 2.

# %%
task = load_task("reviews")
some = np.linspace(0, len(task.train) - 1, 10).astype(int)
examples = Examples(tokenizer.encode([task.train.texts[i] for i in some], max_length=48),
                    [task.train.labels[i] for i in some])  # fmt: skip
everything = list(range(10))
lengths = examples.lengths.tolist()
print("tokens of each text:", *lengths)

# %% [markdown]
# ## Two losses
#
# One number for each *text*, as in classification; or one for each *token*, as in language models. The second one here
# asks every token's output for the token itself, by comparing it with all word embeddings: a toy, but its gradient is
# as real as any.


# %%
def text_losses(part):
    """[texts]: cross-entropy of each text's label."""
    batch = examples.inputs(part)
    return functional.cross_entropy(model(*batch), examples.labels[part], reduction="none")


def token_losses(part):
    """[real tokens of these texts]: cross-entropy of each token, read off its own output."""
    ids, mask, _ = examples.inputs(part)
    scores = encoder(ids, mask) @ encoder.embeddings.word.weight.T  # [B, T, V]
    return functional.cross_entropy(scores[mask == 1], ids[mask == 1], reduction="none")


# %% [markdown]
# ## Three ways to add up
#
# The right way divides each part by what the *whole* batch holds. So it has to be counted before the first backward
# pass: that is all there is to know.


# %%
def sum_over_all(losses, total, parts):
    return losses.sum() / total


def mean_of_means(losses, total, parts):
    return losses.mean() / parts


def mean_of_four_means(losses, total, parts):
    """Made for windows of four micro-batches; an epoch's last window may have fewer."""
    return losses.mean() / 4


def gradient(losses, parts, way):
    """(the gradient of all parameters as one vector, the loss), accumulated over the parts."""
    model.zero_grad()
    texts = [i for part in parts for i in part]
    total = len(texts) if losses is text_losses else sum(lengths[i] for i in texts)
    added = 0.0
    for part in parts:
        loss = way(losses(part), total, len(parts))
        loss.backward()
        added += loss.item()
    return flat(), added


def flat():
    """All gradients as one vector; a parameter that took no part has zeros."""
    return torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in model.parameters()])


def cut(texts, size=4):
    """Micro-batches of at most so many texts."""
    return [texts[start : start + size] for start in range(0, len(texts), size)]


# %% [markdown]
# ## Side by side
#
# The error is the length of the difference of two gradients, as a share of the right one's length.

# %%
#   what it is, loss, micro-batches, way
CASES = (
    ("texts, 4 + 4 + 2", text_losses, cut(everything), sum_over_all),
    ("texts, 4 + 4", text_losses, cut(everything[:8]), mean_of_means),
    ("texts, 4 + 4 + 2", text_losses, cut(everything), mean_of_means),
    ("texts, 4 + 4 of a window of 16", text_losses, cut(everything[:8]), mean_of_four_means),
    ("tokens, 4 + 4 + 2 texts", token_losses, cut(everything), sum_over_all),
    ("tokens, 4 + 4 texts", token_losses, cut(everything[:8]), mean_of_means),
    ("tokens, 4 + 4 + 2 texts", token_losses, cut(everything), mean_of_means),
)
print(f"\n{'':32} {'added up as':20} {'gradient off by':>15} {'loss':>8} {'full batch':>10}")
errors = {}
for what, losses, parts, way in CASES:
    right, full = gradient(losses, [sum(parts, [])], sum_over_all)
    ours, loss = gradient(losses, parts, way)
    error = ((ours - right).norm() / right.norm()).item()
    errors[what, way] = error
    shown = f"{error:.0e}" if error < 1e-6 else f"{error:.1%}"
    print(f"{what:32} {way.__name__.replace('_', ' '):20} {shown:>15} {loss:8.4f} {full:10.4f}")

# %% [markdown]
# How to read it:
#
# * *Texts, 4 + 4*: the mean of means is right as long as all parts have the same size. So a test with round numbers
#   passes, and the mistake waits for the last batch.
# * *Texts, 4 + 4 + 2*: the last two texts count twice as much as the others.
# * *4 + 4 of a window of 16*: the direction is right, the length is half. Adam's step hardly depends on the length, so
#   nobody notices; clipping and plain SGD do depend on it.
# * *Tokens*: parts of as many texts have different numbers of tokens, so here even 4 + 4 is wrong, in every step of
#   every epoch: a token of a part with short texts counts more than others. This is the case of the pull request.
#
# The picture shows the cause: what one text counts in the loss.

# %%
share = [100 / 3 / len(part) for part in cut(everything) for _ in part]
save("accumulation", bars(
    "What each of ten texts counts, in micro-batches of 4 + 4 + 2",
    "Bars: each text's share of the loss in percent. Summed over all, each has 10%; by the mean of means the first "
    "eight have 8.3% and the last two 16.7%.",
    [f"text {i + 1}" for i in everything],
    [{"name": "sum over all", "colour": "c-1", "values": [10.0] * 10},
     {"name": "mean of means", "colour": "c-2", "values": share}],
    form="{:.1f}%",
))  # fmt: skip

# %% [markdown]
# ## minibert's own loop
#
# The same ten texts through the objective that `python -m minibert.finetune` trains with.

# %%
objective = Classification(examples, None, TrainSettings(), torch.device("cpu"))
right, _ = gradient(text_losses, [everything], sum_over_all)
model.zero_grad()
for part in cut(everything):
    objective.losses(model, part, everything)["loss"].backward()
own = ((flat() - right).norm() / right.norm()).item()
print(f"\nminibert, 4 + 4 + 2: gradient off by {own:.0e} (it computes the loss in 32 bits)")

# %%
means, four = errors["texts, 4 + 4 + 2", mean_of_means], errors["texts, 4 + 4 of a window of 16", mean_of_four_means]
tokens = errors["tokens, 4 + 4 texts", mean_of_means]
sums = max(error for (_, way), error in errors.items() if way is sum_over_all)
claims = {
    f"divided by the whole batch, 4 + 4 + 2 gives the full batch's gradient: off by {sums:.0e}, 1e-10 allowed":
        sums < 1e-10,
    f"so does minibert's loop: {own:.0e}, 1e-6 allowed": own < 1e-6,
    "the mean of means is right for equal parts of a loss per text": errors["texts, 4 + 4", mean_of_means] < 1e-10,
    f"with a short last part it is off by {means:.0%}": means > 0.05,
    f"a window that is not full gives a gradient too short by {four:.0%}": abs(four - 0.5) < 1e-10,
    f"with a loss per token it is wrong for parts of equally many texts, too: off by {tokens:.1%}": tokens > 0.005,
}  # fmt: skip
print("\nWhat this showed")
for claim, holds in claims.items():
    assert holds, claim
    print("-", claim)
