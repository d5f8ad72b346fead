"""A BERT that is told how long its texts are, and whose layers are numbered children, in the style of a textbook."""

import math

import torch
from torch import nn


class DotProductAttention(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries, keys, values, valid_lens):
        scores = torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(queries.shape[-1])
        blocked = torch.arange(keys.shape[1])[None, None, :] >= valid_lens[:, None, None]
        return torch.bmm(self.dropout(scores.masked_fill(blocked, -1e6).softmax(-1)), values)


class MultiHeadAttention(nn.Module):
    def __init__(self, num_hiddens, num_heads, dropout):
        super().__init__()
        self.num_heads, self.attention = num_heads, DotProductAttention(dropout)
        self.W_q, self.W_k = nn.Linear(num_hiddens, num_hiddens), nn.Linear(num_hiddens, num_hiddens)
        self.W_v, self.W_o = nn.Linear(num_hiddens, num_hiddens), nn.Linear(num_hiddens, num_hiddens)

    def split(self, x):
        return x.reshape(*x.shape[:2], self.num_heads, -1).transpose(1, 2).flatten(0, 1)

    def forward(self, x, valid_lens):
        lengths = valid_lens.repeat_interleave(self.num_heads)
        output = self.attention(self.split(self.W_q(x)), self.split(self.W_k(x)), self.split(self.W_v(x)), lengths)
        return self.W_o(output.unflatten(0, (-1, self.num_heads)).transpose(1, 2).flatten(2))


class AddNorm(nn.Module):
    def __init__(self, num_hiddens, dropout):
        super().__init__()
        self.dropout, self.ln = nn.Dropout(dropout), nn.LayerNorm(num_hiddens, eps=1e-12)

    def forward(self, x, y):
        return self.ln(self.dropout(y) + x)


class EncoderBlock(nn.Module):
    def __init__(self, num_hiddens, ffn_num_hiddens, num_heads, dropout):
        super().__init__()
        self.attention = MultiHeadAttention(num_hiddens, num_heads, dropout)
        self.addnorm1 = AddNorm(num_hiddens, dropout)
        self.dense1, self.dense2 = nn.Linear(num_hiddens, ffn_num_hiddens), nn.Linear(ffn_num_hiddens, num_hiddens)
        self.addnorm2 = AddNorm(num_hiddens, dropout)

    def forward(self, x, valid_lens):
        y = self.addnorm1(x, self.attention(x, valid_lens))
        return self.addnorm2(y, self.dense2(nn.functional.gelu(self.dense1(y))))


class BERTEncoder(nn.Module):
    def __init__(self, vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len=1000):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, num_hiddens)
        self.segment_embedding = nn.Embedding(2, num_hiddens)
        self.ln, self.dropout = nn.LayerNorm(num_hiddens, eps=1e-12), nn.Dropout(dropout)
        self.blks = nn.Sequential()
        for i in range(num_blks):
            self.blks.add_module(f"{i}", EncoderBlock(num_hiddens, ffn_num_hiddens, num_heads, dropout))
        self.pos_embedding = nn.Parameter(torch.randn(1, max_len, num_hiddens))

    def forward(self, tokens, segments, valid_lens):
        x = self.token_embedding(tokens) + self.segment_embedding(segments) + self.pos_embedding[:, : tokens.shape[1]]
        x = self.dropout(self.ln(x))
        for blk in self.blks:
            x = blk(x, valid_lens)
        return x
