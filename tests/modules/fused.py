"""A BERT in the style of small GPTs: one matrix for query, key and value, settings in a dict, training at the end."""

import no_such_library_for_plots as plots  # noqa: F401
import torch
import torch.nn as nn
import torch.nn.functional as F

cfg = {"n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 30522, "block_size": 512, "dropout": 0.1, "bias": True}


class LayerNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return self.gamma * (x - mean) / torch.sqrt(variance + 1e-12) + self.beta


class Attention(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.n_head, self.dropout = cfg["n_head"], cfg["dropout"]
        self.c_attn = nn.Linear(cfg["n_embd"], 3 * cfg["n_embd"])
        self.c_proj = nn.Linear(cfg["n_embd"], cfg["n_embd"])

    def forward(self, x, mask):
        B, T, C = x.size()
        q, k, v = (part.view(B, T, self.n_head, -1).transpose(1, 2) for part in self.c_attn(x).split(C, 2))
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=self.dropout if self.training else 0.0)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Block(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.attn, self.ln_1, self.ln_2 = Attention(cfg), LayerNorm(cfg["n_embd"]), LayerNorm(cfg["n_embd"])
        self.mlp = nn.Sequential(
            nn.Linear(cfg["n_embd"], 4 * cfg["n_embd"]), nn.GELU(), nn.Linear(4 * cfg["n_embd"], cfg["n_embd"])
        )
        self.drop = nn.Dropout(cfg["dropout"])

    def forward(self, x, mask):
        x = self.ln_1(x + self.drop(self.attn(x, mask)))
        return self.ln_2(x + self.drop(self.mlp(x)))


class BERT(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.wte = nn.Embedding(cfg["vocab_size"], cfg["n_embd"])
        self.wpe = nn.Parameter(torch.zeros(1, cfg["block_size"], cfg["n_embd"]))
        self.segment = nn.Embedding(3, cfg["n_embd"])
        self.ln_e = LayerNorm(cfg["n_embd"])
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg["n_layer"]))
        self.drop = nn.Dropout(cfg["dropout"])
        self.mlm = nn.Linear(cfg["n_embd"], cfg["vocab_size"])

    def forward(self, idx, segment_ids=None):
        x = self.wte(idx) + self.wpe[:, : idx.size(1)]
        if segment_ids is not None:
            x = x + self.segment(segment_ids)
        x = self.drop(self.ln_e(x))
        mask = (idx != 0)[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask)
        return self.mlm(x)


data = open("corpus.txt").read()
model = BERT(cfg)
while True:
    loss = model(data[:64])
