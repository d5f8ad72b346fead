# %% [markdown]
# # Attention by hand, number by number
#
# "Attention" is four steps of arithmetic: compare, scale, turn into shares, mix. Here one sentence goes through the
# first layer of a real, pretrained encoder, and every step is written out for one word of it, "good" in "The film was
# not good". At the end our numbers are held against the model's own.
#
# What to look for: how does "good" get to know that "not" stands before it?
#
# Source: Vaswani et al. 2017, "Attention is all you need" (arXiv 1706.03762), sections 3.2.1 and 3.2.2. The same lines
# as a module: `Attention` in `minibert/model.py`.

# %%
import math

import torch
from drawing import grid, save

import minibert

# 64-bit numbers: a difference is then a mistake, and not rounding. `fast=False` gives the layers as the paper has them.
encoder = minibert.load_encoder("minibert-tiny", fast=False, dtype=torch.float64)
tokenizer = minibert.load_tokenizer("minibert-tiny")
weights = encoder.state_dict()
config = encoder.config
H = config.num_attention_heads  # heads
E = config.hidden_size  # numbers in a token's vector
D = E // H  # numbers of it that one head works with

# %% [markdown]
# ## 1. Tokens
#
# Our sentence shares its batch with a longer one. A batch is a rectangle, so ours is filled up with `[PAD]`, and the
# mask says so: 1 for a token, 0 for padding.

# %%
batch = tokenizer(["The film was not good", "It was short, and I liked it"])
ids, mask = batch.input_ids[0], batch.attention_mask[0]  # both [T]
tokens = [tokenizer.backend.id_to_token(number) for number in ids.tolist()]
T = len(tokens)

print("token ", *(f"{token:>6}" for token in tokens))
print("id    ", *(f"{number:6}" for number in ids.tolist()))
print("mask  ", *(f"{number:6}" for number in mask.tolist()))

# %% [markdown]
# ## 2. Embeddings
#
# A token's first vector is the sum of two rows out of two tables: what the token is, and where it stands. (BERT adds a
# third one, which text of a pair the token belongs to; this model, a DistilBERT, has none.) LayerNorm then gives each
# vector mean 0 and variance 1, and two learned vectors stretch and shift the result.


# %%
def layer_norm(x, name):
    """x [T, E] -> [T, E]: each row less its mean, divided by its spread, then scaled and shifted."""
    mean = x.mean(dim=-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
    normal = (x - mean) / torch.sqrt(variance + config.layer_norm_eps)
    return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def numbers(vector):
    """The first four numbers of a vector, for printing."""
    return " ".join(f"{x:+.4f}" for x in vector[:4].tolist()) + " ..."


word = weights["embeddings.word.weight"][ids]  # [T, E]
position = weights["embeddings.position.weight"][:T]  # [T, E]
hidden = layer_norm(word + position, "embeddings.norm")

good, no = tokens.index("good"), tokens.index("not")
print(f"\nthe vector of 'good' (the first 4 of {E} numbers)")
print(f"  word {ids[good]:>4}    {numbers(word[good])}")
print(f"  position {good}   {numbers(position[good])}")
print(f"  LayerNorm    {numbers(hidden[good])}")

# %% [markdown]
# ## 3. Query, key and value
#
# Three learned matrices turn each vector into three others: the *query* says what this token looks for, the *key* what
# it can be found by, the *value* what it hands over. Each head works with its own 32 of the 384 numbers. We follow head
# 6 of the 12.

# %%
HEAD = 6
part = slice((HEAD - 1) * D, HEAD * D)


def linear(x, name):
    """x W^T + b."""
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


query, key, value = (linear(hidden, f"layers.0.attention.{name}") for name in ("query", "key", "value"))  # [T, E] each
q, k, v = query[:, part], key[:, part], value[:, part]  # [T, D] each: this head's share
print(f"\nin head {HEAD} (the first 4 of {D} numbers)")
print(f"  query of 'good'  {numbers(q[good])}")
print(f"  key of 'not'     {numbers(k[no])}")
print(f"  value of 'not'   {numbers(v[no])}")

# %% [markdown]
# ## 4. Scores, scale, mask, softmax
#
# How well does a key answer a query? Multiply them number by number and add up. A sum of 32 products spreads more than
# one of them does, about sqrt(32) times; dividing by that keeps the next step gentle. Padding then gets a score far
# below all others. Softmax takes e to the power of each score and divides by the sum: shares that add up to 1.

# %%
products = q[good] * k[no]  # [D]
first = " ".join(f"{x:+.3f}" for x in products[:3].tolist())
print(f"\n'good' asks 'not': {first} ... ({D} products) = {products.sum():.3f}")

scores = q @ k.T  # [T, T]: row = who asks, column = who is asked
scaled = scores / math.sqrt(D)
masked = scaled.masked_fill(mask == 0, -30000.0)
powers = torch.exp(masked)
shares = powers / powers.sum(dim=-1, keepdim=True)

print(f"\n'good' asks    score  / sqrt({D})    masked   e to that     share")
for number, token in enumerate(tokens):
    score, small, blocked, power, share = (x[good, number] for x in (scores, scaled, masked, powers, shares))
    print(f"  {token:8}  {score:9.3f} {small:11.3f} {blocked:10.3f} {power:11.4f} {share:9.4f}")

# %% [markdown]
# Why the mask comes *before* the softmax: the shares of the real tokens then still add up to 1. Why a large negative
# number: e to the power of -30000 is exactly 0, so padding cannot be felt at all.
#
# ## 5. The mix, all heads, and the rest of the layer
#
# What "good" takes home from this head is the mean of all values, weighted by the shares. The heads' results are laid
# side by side, mixed by one more matrix, and *added* to what the token was before; LayerNorm follows. Then a small
# network treats each token by itself and is added in the same way.

# %%
mixed = sum(shares[good, number] * v[number] for number in range(T))  # [D]
print(f"\n'good' takes home    {numbers(mixed)}")

contexts, all_shares = [], []
for head in range(H):
    part = slice(head * D, (head + 1) * D)
    of_head = (query[:, part] @ key[:, part].T / math.sqrt(D)).masked_fill(mask == 0, -30000.0).softmax(dim=-1)
    all_shares.append(of_head)
    contexts.append(of_head @ value[:, part])
attended = linear(torch.cat(contexts, dim=1), "layers.0.attention.output")  # [T, E]
after = layer_norm(hidden + attended, "layers.0.attention_norm")

x = linear(after, "layers.0.feed_forward.expand")
x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))  # GELU: x times the share of a normal distribution that lies below x
output = layer_norm(after + linear(x, "layers.0.feed_forward.contract"), "layers.0.feed_forward_norm")

# %% [markdown]
# ## 6. The picture: one head, all tokens
#
# A row shows where one token looks. Nothing in the code says "left", yet in this head each word looks mostly at what
# stands on its left: a position's vector is in every query and key, and training found a use for it. This is the answer
# to our question: in this head "good" takes half of its mix from "not".

# %%
names = [token for token, real in zip(tokens, mask.tolist(), strict=True) if real]
save("attention_by_hand", grid(
    f"Where each token looks: layer 1, head {HEAD}, of minibert-tiny",
    "A table of shares. Each row is a token that asks, each column a token that is asked; the row of 'good' gives "
    f"{shares[good, no]:.2f} to 'not'. Padding, in the last columns, gets nothing.",
    shares[mask == 1].tolist(), names, tokens, corner="row looks at column",
))  # fmt: skip

# %%
with torch.no_grad():
    states, attentions = encoder(*batch, return_all=True, return_attention=True)
real = mask == 1  # what a layer puts out at padding means nothing, and nobody reads it
model_shares = attentions[0][0]  # [H, T, T]
errors = {
    "embeddings": (hidden - states[0][0])[real].abs().max(),
    "shares": (torch.stack(all_shares) - model_shares)[:, real].abs().max(),
    "output": (output - states[1][0])[real].abs().max(),
}
left = shares.tril(-1).sum(dim=1)
right = shares.triu(1).sum(dim=1)
unscaled = scores.masked_fill(mask == 0, -30000.0).softmax(dim=-1)[good, no]

claims = {
    f"our embeddings are the model's: they differ by {errors['embeddings']:.0e} at most": errors["embeddings"] < 1e-10,
    f"so are the shares of all {H} heads: {errors['shares']:.0e} at most": errors["shares"] < 1e-10,
    f"so is the whole layer's output: {errors['output']:.0e} at most": errors["output"] < 1e-10,
    "each token's shares add up to 1": torch.allclose(shares.sum(dim=1), torch.ones(T, dtype=torch.float64)),
    "padding gets a share of exactly 0": bool((shares[:, mask == 0] == 0).all()),
    f"'good' gives 'not' the largest share, {shares[good, no]:.2f}": shares[good].argmax() == no,
    f"without the division by sqrt({D}) it would be {unscaled:.2f}: hardly a mix any more": unscaled > 0.9,
    "in this head every word gives more to its left than to its right": (left > right)[1 : good + 1].all(),
}
print("\nWhat this showed")
for claim, holds in claims.items():
    assert holds, claim
    print("-", claim)
