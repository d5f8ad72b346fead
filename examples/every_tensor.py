# %% [markdown]
# # From two files to hidden states, with every tensor accounted for
#
# A pretrained model is two files: `config.json` says what shape it has, `model.safetensors` holds its numbers under
# names. This lesson reads them with `json` and `safetensors`, computes what the model computes in a few dozen lines,
# and keeps a list of every tensor that it used.
#
# Why the list matters: a converted model that leaves a tensor out, or takes one for another, often still runs and is
# silently worse. "It loads" proves nothing. "Each tensor is used once, none is left, and the output is the same" does.
#
# Sources: Devlin et al. 2019 (BERT, arXiv 1810.04805), Sanh et al. 2019 (DistilBERT, arXiv 1910.01108). In minibert,
# `names.py` is the table of names and `load.py` does the loading.

# %%
import json
import math
import re
from collections import Counter

import torch
from drawing import save
from safetensors.torch import load_file

import minibert
from minibert.plumbing.checkpoint import find_checkpoint
from minibert.report.pictures import bars

folder = find_checkpoint("minibert-tiny")  # comes with minibert
config = json.loads((folder / "config.json").read_text())
tensors = load_file(folder / "model.safetensors")

E, H, F = config["dim"], config["n_heads"], config["hidden_dim"]  # DistilBERT's words for what BERT calls hidden_size,
layers, V = config["n_layers"], config["vocab_size"]  # num_attention_heads, intermediate_size, num_hidden_layers
print(f"{config['model_type']}: {layers} layers, {E} numbers a token, {H} heads, {F} inner neurons, {V:,} pieces")
print(f"{len(tensors)} tensors, {sum(t.numel() for t in tensors.values()):,} numbers, stored as "
      f"{' and '.join(sorted({str(t.dtype).removeprefix('torch.') for t in tensors.values()}))}")  # fmt: skip

# %% [markdown]
# ## The whole encoder
#
# `take` hands out a tensor and makes a note. All the rest is the paper: B texts, T tokens, E numbers each.

# %%
taken = Counter()


def take(name):
    """The tensor of that name, as 32-bit numbers; a KeyError if the file has none."""
    taken[name] += 1
    return tensors[name].float()


def linear(x, name):
    """x W^T + b, for the last axis."""
    return x @ take(f"{name}.weight").T + take(f"{name}.bias")


def layer_norm(x, name):
    """Mean 0 and variance 1 for each token, then scaled and shifted. DistilBERT's epsilon is 1e-12, by its code."""
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred**2).mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + 1e-12) * take(f"{name}.weight") + take(f"{name}.bias")


def gelu(x):
    """x times the share of a standard normal distribution that lies below x."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def attention(x, mask, name):
    """x [B, T, E], mask [B, T] -> [B, T, E]: section 3.2 of Vaswani et al. 2017."""
    B, T, _ = x.shape
    query, key, value = (
        linear(x, f"{name}.{which}").view(B, T, H, E // H).transpose(1, 2)  # [B, H, T, E / H]
        for which in ("q_lin", "k_lin", "v_lin")
    )
    scores = query @ key.transpose(2, 3) / math.sqrt(E // H)  # [B, H, T, T]
    scores = scores.masked_fill(mask[:, None, None, :] == 0, -30000.0)
    mixed = scores.softmax(dim=-1) @ value
    return linear(mixed.transpose(1, 2).reshape(B, T, E), f"{name}.out_lin")


def encode(ids, mask):
    """Token ids [B, T], mask [B, T] -> hidden states [B, T, E]."""
    word, position = take("embeddings.word_embeddings.weight"), take("embeddings.position_embeddings.weight")
    x = layer_norm(word[ids] + position[: ids.shape[1]], "embeddings.LayerNorm")
    for number in range(layers):
        name = f"transformer.layer.{number}"
        x = layer_norm(x + attention(x, mask, f"{name}.attention"), f"{name}.sa_layer_norm")
        inner = gelu(linear(x, f"{name}.ffn.lin1"))
        x = layer_norm(x + linear(inner, f"{name}.ffn.lin2"), f"{name}.output_layer_norm")
    return x


# %% [markdown]
# ## Run it, beside the model
#
# Two texts of different length, so that padding is part of the test. Only real tokens are compared: what an encoder
# puts out at padding means nothing.

# %%
texts = ["A wonderful, unhurried film.", "Dull."]
batch = minibert.load_tokenizer("minibert-tiny")(texts)
ours = encode(batch.input_ids, batch.attention_mask)
with torch.no_grad():
    model = minibert.load_encoder("minibert-tiny")(batch.input_ids, batch.attention_mask)
real = batch.attention_mask == 1
error = (ours - model)[real].abs().max().item()
print(f"\nhidden states {list(ours.shape)}; the largest difference on the {int(real.sum())} real tokens is {error:.0e}")

# %% [markdown]
# ## The account
#
# One line for each kind of tensor; `#` is a layer's number.

# %%
kinds = {}
for name in taken:
    kinds.setdefault(re.sub(r"\.\d+\.", ".#.", name), []).append(tensors[name])
print(f"\n{'name':44} {'count':>5}  {'shape':12} {'numbers':>10}")
for kind, some in kinds.items():
    shape = " x ".join(map(str, some[0].shape))
    print(f"{kind:44} {len(some):5}  {shape:12} {sum(t.numel() for t in some):10,}")
left = sorted(set(tensors) - set(taken))
print("left over:", ", ".join(left) or "none")

# %% [markdown]
# ## Where the numbers are
#
# The shape alone says how many there must be. So a count is a second, independent check that nothing is missing; and
# it gives the published size of models whose files we do not even have: Devlin et al. (section 3) say 110 million for
# BERT-base, Sanh et al. (table 3) 66 million for DistilBERT.


# %%
def count(V, E, F, layers, positions=512, types=0, pooler=False):
    """{part: parameters} of an encoder of that shape. A matrix n x m comes with m biases, LayerNorm with 2 E."""
    return {
        "word embeddings": V * E,
        "position embeddings": positions * E,
        "token types, pooler": types * E + pooler * (E + 1) * E,
        "attention": layers * 4 * (E + 1) * E,
        "feed-forward": layers * ((E + 1) * F + (F + 1) * E),
        "LayerNorm": (1 + 2 * layers) * 2 * E,
    }


tiny = count(V, E, F, layers, config["max_position_embeddings"])
distilbert = count(30522, 768, 3072, 6)
bert = count(30522, 768, 3072, 12, types=2, pooler=True)
print(f"\n{'':20} {'minibert-tiny':>14} {'DistilBERT':>14} {'BERT-base':>14}")
for part in tiny:
    print(f"{part:20} {tiny[part]:14,} {distilbert[part]:14,} {bert[part]:14,}")
totals = [sum(model.values()) for model in (tiny, distilbert, bert)]
print(f"{'all':20} " + " ".join(f"{total:14,}" for total in totals))

save("every_tensor", bars(
    "Where an encoder's parameters are",
    "Bars: each part's share of all parameters, in percent, for minibert-tiny and for BERT-base. Word embeddings take "
    f"{tiny['word embeddings'] / totals[0]:.0%} of the small model and {bert['word embeddings'] / totals[2]:.0%} of "
    "the large one, where the feed-forward layers have half.",
    list(tiny),
    [{"name": f"{name}, {sum(model.values()) / 1e6:.1f} million", "colour": colour,
      "values": [100 * part / sum(model.values()) for part in model.values()]}
     for name, colour, model in (("minibert-tiny", "c-1", tiny), ("BERT-base", "c-2", bert))],
    form="{:.1f}%",
))  # fmt: skip

# %%
claims = {
    f"no tensor of the file is left over, and none is used twice: {len(taken)} of {len(tensors)}":
        not left and set(taken.values()) == {1},
    f"none is missing: {totals[0]:,} numbers, as many as the shape asks for":
        sum(tensors[name].numel() for name in taken) == totals[0],
    f"the hidden states are the model's: {error:.0e} apart, 1e-5 allowed": error < 1e-5,
    f"the same count gives DistilBERT's 66 million ({totals[1] / 1e6:.1f}) and BERT-base's 110 ({totals[2] / 1e6:.1f})":
        round(totals[1] / 1e6) == 66 and round(totals[2] / 1e7) == 11,
}  # fmt: skip
print("\nWhat this showed")
for claim, holds in claims.items():
    assert holds, claim
    print("-", claim)
