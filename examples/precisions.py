# %% [markdown]
# # What bf16, fp16 and int8 do to the numbers
#
# A number kept in half as many bits takes half the memory, and often much less time. What is lost? Four things: numbers
# that lie between two neighbours (spacing), numbers that are too large or too small (range), small numbers added to a
# large one (sums), and in int8 everything that stands beside one large number (outliers). All four are shown here on
# real weights and gradients, and with them why training keeps its weights in fp32, and why an fp16 loss is multiplied
# by 65,536.
#
# Sources: Micikevicius et al. 2018, "Mixed precision training" (arXiv 1710.03740), section 3; Jacob et al. 2018 (arXiv
# 1712.05877), section 2, for int8; Dettmers et al. 2022, "LLM.int8()" (arXiv 2208.07339), for outliers.

# %%
import torch
from drawing import save

import minibert
from minibert.data import load_task
from minibert.load import put_head
from minibert.report.pictures import lines

KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# %% [markdown]
# ## 1. Spacing and range
#
# A floating-point number has an exponent (about how large it is) and a fraction (which number of about that size). bf16
# keeps the exponent of fp32 and most of its range, and cuts the fraction to two or three decimal digits. fp16 has a
# finer fraction and a small exponent: it ends at 65,504, and below 6e-8 comes 0.


# %%
def next_after(number, dtype):
    """The smallest larger number that this type can hold."""
    return torch.nextafter(torch.tensor(number, dtype=dtype), torch.tensor(torch.inf, dtype=dtype)).item()


at_70_000 = {name: torch.tensor(70_000.0).to(dtype) for name, dtype in KINDS.items()}
print(f"{'':6}{'after 1 comes':>16}{'after 300':>12}{'after 0':>10}{'largest':>10}{'70,000 is':>11}")
for name, dtype in KINDS.items():
    print(f"{name:6}{next_after(1.0, dtype):16.8f}{next_after(300.0, dtype):12.8g}{next_after(0.0, dtype):10.0e}"
          f"{torch.finfo(dtype).max:10.3g}{at_70_000[name].item():11,.0f}")  # fmt: skip

# %% [markdown]
# ## 2. Sums of many small numbers
#
# Ten thousand times 0.001 is 10. In bf16 the sum stops at 0.5: there the next number is 0.0039 away, and 0.501 is
# rounded back to 0.5, for ever.
#
# Training is such a sum: a weight plus many small steps. With AdamW the first step is as large as the learning rate. So
# how many of our encoder's weights would not move at all, if they were kept in 16 bits? This is why mixed precision
# keeps a "master copy" of the weights in fp32 and rounds only what goes into a matrix product (Micikevicius et al.,
# section 3.1), and why hardware that multiplies bf16 numbers adds up the products in fp32.

# %%
sums = {}
for name, dtype in KINDS.items():
    total, small = torch.tensor(0.0, dtype=dtype), torch.tensor(0.001, dtype=dtype)
    for _ in range(10_000):
        total = total + small
    sums[name] = total.item()
print("\n10,000 times 0.001:", ", ".join(f"{total:.4f} in {name}" for name, total in sums.items()))

encoder = minibert.load_encoder("minibert-tiny", fast=False)
weights = torch.cat([p.detach().flatten() for p in encoder.parameters() if p.ndim == 2])  # all matrices
kept = {name: weights.to(dtype) for name, dtype in KINDS.items()}
stuck = {name: ((w.float() - 2e-5).to(w.dtype) == w).float().mean().item() for name, w in kept.items()}
print("weights that a step of 2e-5 does not move:", ", ".join(f"{x:.1%} in {name}" for name, x in stuck.items()))

# %% [markdown]
# ## 3. Gradients that underflow, and the scaled loss
#
# The backward pass multiplies the loss's gradient down through the layers. When the classifier is sure and right, that
# gradient is small to begin with, and much of it falls below fp16's smallest number. Multiply the *loss* by a large
# number and every gradient grows by it; divide again in fp32, before the optimizer looks at them (section 3.2). A scale
# that is too large makes infinities: they are noticed, the update is left out, and the scale is halved.
#
# We count gradients that are not 0 in fp32 and become 0: with a fresh head, and after 30 updates, when eight short
# reviews are known by heart. (A hook rounds what each linear layer passes down, as fp16 hardware would.)

# %%
train, tokenizer = load_task("reviews").train, minibert.load_tokenizer("minibert-tiny")
short = [i for i, text in enumerate(train.texts) if len(text.split()) < 9]
chosen = [i for label in (0, 1) for i in [i for i in short if train.labels[i] == label][:4]]
batch = tokenizer([train.texts[i] for i in chosen])
labels = torch.tensor([train.labels[i] for i in chosen])
classifier = put_head(encoder, train.label_names, "mean", "linear", seed=0).eval()  # eval: no dropout
passed_down = {}


def round_gradient(module, gradients, _):
    return tuple(g if g is None else g.to(passed_down["dtype"]).float() for g in gradients)


for module in classifier.modules():
    if isinstance(module, torch.nn.Linear):
        module.register_full_backward_hook(round_gradient)


def gradients(dtype, scale=1.0):
    """(loss, all gradients as one fp32 vector), from a backward pass in this precision with the loss scaled."""
    passed_down["dtype"] = dtype
    classifier.zero_grad()
    loss = torch.nn.functional.cross_entropy(classifier(*batch), labels)
    (loss * scale).backward()
    return loss.item(), torch.cat([p.grad.to(dtype).float().flatten() / scale for p in classifier.parameters()])


def lost(true, dtype, scale=1.0):
    """Of the gradients that are not 0, how many become 0, in %."""
    return 100 * (gradients(dtype, scale)[1][true != 0] == 0).float().mean().item()


powers = (0, 4, 8, 16)
curves, losses, in_bf16_lost = [], [], []
for updates, when in ((0, "fresh head"), (30, "known by heart")):
    optimizer = minibert.optim.AdamW(classifier.parameters(), lr=3e-4, fused=True)
    for _ in range(updates):
        gradients(torch.float32)
        optimizer.step()
    loss, true = gradients(torch.float32)
    losses.append(loss)
    curves.append([lost(true, torch.float16, 2.0**power) for power in powers])
    in_bf16_lost.append(lost(true, torch.bfloat16))
    by_scale = ", ".join(f"{x:.2f}% at scale {2**p:,}" for p, x in zip(powers, curves[-1], strict=True))
    print(f"\n{when}, loss {loss:.4f}: lost in fp16 {by_scale}; in bf16, not scaled, {in_bf16_lost[-1]:.2f}%")
too_large = gradients(torch.float16, 2.0**30)[1]
fresh, sure = curves

save("precisions", lines(
    "Gradients that fp16 turns into 0, by the scale of the loss",
    f"Two falling curves. With a fresh head {fresh[0]:.1f}% of the gradients are lost without a scale; when the texts "
    f"are known by heart, {sure[0]:.0f}%. At 65,536 nearly none are.",
    [{"name": f"loss {loss:.4f}", "colour": colour, "x": list(powers), "y": curve, "dots": True}
     for loss, colour, curve in zip(losses, ("c-1", "c-2"), curves, strict=True)],
    "the loss is multiplied by 2 to the power of", "gradients lost, %", x_range=(0, 16),
))  # fmt: skip

# %% [markdown]
# ## 4. int8, and what one outlier does
#
# int8 has no exponent: the whole numbers from -127 to 127, times one scale that is kept apart. With one scale for a
# whole matrix, the largest number decides how coarse all others become. With one for each row (an output neuron's
# weights; of the input, a token's vector), an outlier spoils only its own row.


# %%
def int8(numbers, per_row):
    """(whole numbers from -127 to 127, scale): whole numbers * scale are the numbers, nearly."""
    largest = numbers.abs().amax(dim=1, keepdim=True) if per_row else numbers.abs().max()
    return (numbers / (largest / 127)).round(), largest / 127


def int8_product(x, matrix, per_row):
    """x @ matrix.T with both in int8. (Sums of 384 such products stay below 2^24: fp32 holds them exactly.)"""
    (a, a_scale), (b, b_scale) = int8(x, per_row), int8(matrix, per_row)
    return (a @ b.T) * a_scale * b_scale.flatten()


x = torch.randn(100, 384, generator=torch.Generator().manual_seed(0))
matrix = encoder.layers[0].attention.key.weight.detach()  # [384, 384]
spoilt = matrix.clone()
spoilt[7] *= 30  # one neuron of 384
others = torch.arange(384) != 7  # those that did not change: what becomes of them?
exact = (x.double() @ matrix.double().T)[:, others]
plain, outlier = "the matrix as it is", "one row 30 times as large"
int8_errors = {}
print(f"\n{'int8 product is off by':28}{'one scale':>11}{'a scale per row':>17}")
for name, some in ((plain, matrix), (outlier, spoilt)):
    for per_row in (False, True):
        wrong = int8_product(x, some, per_row)[:, others] - exact
        int8_errors[name, per_row] = (wrong.norm() / exact.norm()).item()
    print(f"{name:28}{int8_errors[name, False]:11.1%}{int8_errors[name, True]:17.1%}")

# %%
claims = {
    "after 300, fp16 goes on in steps of 0.25, bf16 of 2; at 70,000 fp16 is infinite, bf16 is not":
        [next_after(300.0, KINDS[name]) for name in ("fp16", "bf16")] == [300.25, 302] and at_70_000["fp16"].isinf()
        and at_70_000["bf16"].isfinite(),
    "a sum of 0.001s stops at 0.5 in bf16, at 4 in fp16, and comes to 10 in fp32":
        (sums["bf16"], sums["fp16"], round(sums["fp32"], 2)) == (0.5, 4, 10),
    f"most weights ({stuck['bf16']:.0%}) would not feel a step of 2e-5 if they were kept in bf16":
        stuck["bf16"] > 0.8 and stuck["fp32"] < 0.01,
    f"fp16 loses few gradients while the loss is large ({fresh[0]:.1f}%), and many when it is small ({sure[0]:.0f}%)":
        fresh[0] < 2 and sure[0] > 20,
    f"a loss times 65,536 saves them ({sure[3]:.2f}% are lost); too large a scale overflows, and can be seen to":
        max(fresh[3], sure[3]) < 0.5 and not too_large.isfinite().all(),
    f"bf16 needs no scale: {max(in_bf16_lost):.2f}% are lost": max(in_bf16_lost) < 0.1,
    f"one large row spoils an int8 product with one scale ({int8_errors[outlier, False]:.0%} off), and not one with a "
    f"scale per row ({int8_errors[outlier, True]:.1%})":
        int8_errors[outlier, False] > 0.15 and int8_errors[outlier, True] < 1.1 * int8_errors[plain, True] < 0.05,
}  # fmt: skip
print("\nWhat this showed")
for claim, holds in claims.items():
    assert holds, claim
    print("-", claim)
