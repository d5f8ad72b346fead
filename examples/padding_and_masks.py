# %% [markdown]
# # What padding and masks do, and five ways to get them wrong
#
# Texts of a batch have different lengths and a tensor has one, so short texts are filled up with `[PAD]`. The mask says
# which positions are real. If it works, nobody can tell that there was padding: a text gets the same answer alone and
# among long neighbours. If it does not, nothing crashes, and answers depend on who shares the batch.
#
# The best-known figures for it are in Hugging Face's course (chapter 2, "Handling multiple sequences"), made with
# `distilbert-base-uncased-finetuned-sst-2-english`. Two tokens alone have the logits 0.5803 and -0.4125. Padded to
# three without a mask they have **1.3373 and -1.2163**, wrong on purpose. With the mask it is 0.5803 and -0.4125 again.
#
# Here we do the same with a bundled model, then break the mask in the ways that are found in real code.

# %%
import math

import torch
from drawing import save

import minibert
from minibert.baselines import fit_logistic
from minibert.batch import collate
from minibert.data import load_task
from minibert.report.pictures import lines

encoder = minibert.load_encoder("minibert-tiny", fast=False)
tokenizer = minibert.load_tokenizer("minibert-tiny")

# %% [markdown]
# ## The right way, and five wrong ones
#
# All are variations of one function, `attend` in `minibert/model.py`: query, key, value [B, H, T, D], and a mask
# [B, 1, 1, T] with 0 for a token and -30000 for padding. The fifth is about what comes after the encoder.


# %%
def attend(query, key, value, mask):
    """The mask goes to the *keys*, *before* the softmax: padding gets a share of 0, and the others still sum to 1."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    shares = (scores + mask).softmax(dim=-1)
    return shares @ value, shares


def all_ones(query, key, value, mask):
    """A mask that says "all real". It is what one gets by making it from the padded ids, or by forgetting it."""
    return attend(query, key, value, torch.zeros_like(mask))


def on_queries(query, key, value, mask):
    """Transposed by mistake: [B, 1, T, 1]. It lowers all scores of a padded query, and none of a real one."""
    return attend(query, key, value, mask.transpose(-1, -2))


def added_after(query, key, value, mask):
    """Added to the shares, not to the scores: padding then counts -30000 times."""
    _, shares = attend(query, key, value, torch.zeros_like(mask))
    return (shares + mask) @ value, shares + mask


def zeroed_after(query, key, value, mask):
    """The shares of padding set to 0 after the softmax: those that are left no longer sum to 1."""
    _, shares = attend(query, key, value, torch.zeros_like(mask))
    shares = shares.masked_fill(mask < 0, 0.0)
    return shares @ value, shares


def mean_of_tokens(hidden, mask):
    """hidden [B, T, E], mask [B, T] -> [B, E]: the average over real tokens."""
    return (hidden * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def mean_of_all(hidden, mask):
    """The average over all positions, what the encoder put out at padding included."""
    return hidden.mean(dim=1)


#   what is done: attention, pooling
WAYS = {
    "right": (attend, mean_of_tokens),
    "all-ones mask": (all_ones, mean_of_tokens),
    "mask on queries": (on_queries, mean_of_tokens),
    "mask added after softmax": (added_after, mean_of_tokens),
    "shares zeroed after softmax": (zeroed_after, mean_of_tokens),
    "mean over padding": (attend, mean_of_all),
}


@torch.no_grad()
def vectors(batch, way="right"):
    """A padded `Batch` [B, T] -> one vector for each text, [B, E]."""
    attention, pool = WAYS[way]
    for layer in encoder.layers:
        layer.attention.attend = attention
    return pool(encoder(batch.input_ids, batch.attention_mask), batch.attention_mask)


# %% [markdown]
# ## Answers
#
# To see when an *answer* changes we need a classifier: logistic regression on the vectors of 240 of the bundled
# reviews, each read alone, so that no padding is involved. (It is not a good classifier, and need not be.)

# %%
LENGTH = 48  # tokens read of each text: keeps the lesson short
task = load_task("reviews")
sequences = tokenizer.encode(task.train.texts[:240], max_length=LENGTH)
features = torch.cat([vectors(collate([sequence])) for sequence in sequences])
mean, spread = features.mean(0), features.std(0).clamp(min=1e-6)
weight, bias = fit_logistic((features - mean) / spread, torch.tensor(task.train.labels[:240]), 2, l2=0.1)


def logits(features):
    """[B, E] -> [B]: above 0 for positive, below for negative."""
    scores = (features - mean) / spread @ weight.T + bias
    return scores[:, 1] - scores[:, 0]


# %% [markdown]
# ## One text, more and more padding
#
# The same review, padded as if ever longer texts were in its batch.

# %%
text = "A dull film."
sequence = tokenizer.encode([text])
alone = len(sequence[0].ids)
lengths = [alone + extra for extra in (0, 1, 2, 4, 8, 16, 32, 64, 100)]
curves = {way: [logits(vectors(collate(sequence, length=n), way)).item() for n in lengths] for way in WAYS}

print(f'"{text}" ({alone} tokens): its logit with ... positions of padding')
print(f"{'':28}" + "".join(f"{n - alone:>8}" for n in lengths[::2]))
for way, values in curves.items():
    print(f"{way:28}" + "".join(f"{value:8.2f}" for value in values[::2]))

save("padding_and_masks", lines(
    "One text's logit as padding is added",
    "Lines over the number of padded positions. With the right mask the logit stays where it is; with each of the "
    "mistakes it moves as padding is added.",
    [{"name": way, "colour": colour, "x": [n - alone for n in lengths], "y": curves[way], "dashed": way == "right"}
     for way, colour in zip(("right", "all-ones mask", "shares zeroed after softmax", "mean over padding"),
                            ("ink", "c-2", "c-3", "c-1"), strict=True)],
    "positions of padding", "logit: above 0 is positive",
))  # fmt: skip

# %% [markdown]
# Two lines of the table are the same: a mask on the queries is *no mask at all*. It takes 30000 from all the scores of
# a padded query alike, and what is taken from all alike cancels in the softmax; real queries do not feel it. And the
# mask that is added after the softmax gives huge numbers, which LayerNorm at once scales down to their usual size:
# nothing overflows, nothing warns, and what is left of the text is its length.

# %%
praise, blame = (
    logits(vectors(collate(tokenizer.encode([text]), length=10), "mask added after softmax")).item()
    for text in ("A wonderful film.", "A dull film.")
)
print(f"\nmask added after softmax, 4 positions of padding: A wonderful film. {praise:.3f}, A dull film. {blame:.3f}")

# %% [markdown]
# ## Many texts: how often is the answer another?
#
# 64 test reviews, each alone, and in batches of 16 whose longest text has 128 tokens.

# %%
sequences = tokenizer.encode(task.test.texts[:64], max_length=LENGTH)
single = logits(torch.cat([vectors(collate([sequence])) for sequence in sequences]))
moved, changed = {}, {}
for way in WAYS:
    batches = [collate(sequences[start : start + 16], length=128) for start in range(0, 64, 16)]
    batched = logits(torch.cat([vectors(batch, way) for batch in batches]))
    moved[way] = (batched - single).abs().max().item()
    changed[way] = ((batched > 0) != (single > 0)).float().mean().item()
print(f"\n{'':28} {'largest change of a logit':>26} {'answers changed':>17}")
for way in WAYS:
    print(f"{way:28} {moved[way]:26.2g} {changed[way]:17.1%}")

# %%
apart = max(abs(a - b) for a, b in zip(curves["all-ones mask"], curves["mask on queries"], strict=True))
claims = {
    f"with the right mask a text gets the same logit alone and in a batch: {moved['right']:.0e} apart, 1e-4 allowed":
        moved["right"] < 1e-4,
    "and not one answer changes": changed["right"] == 0,
    f"an all-ones mask changes {changed['all-ones mask']:.0%} of the answers": changed["all-ones mask"] > 0.05,
    f"a mask on the queries is no mask: {apart:.0e} from all ones, 1e-3 allowed": apart < 1e-3,
    f"a mask added after the softmax changes {changed['mask added after softmax']:.0%}, and every number is finite":
        changed["mask added after softmax"] > 0.05 and math.isfinite(moved["mask added after softmax"]),
    f"it sees no difference between praise and blame: {praise:.3f} and {blame:.3f}": abs(praise - blame) < 0.01,
    f"a mean over padding changes {changed['mean over padding']:.0%}, though the mask is right":
        changed["mean over padding"] > 0.05,
}  # fmt: skip
print("\nWhat this showed")
for claim, holds in claims.items():
    assert holds, claim
    print("-", claim)
