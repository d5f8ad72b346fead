"""A DistilBERT that has its parameters' names from there, and its own name from nowhere."""

import torch
from plain_bert import Attention
from torch import nn
from torch.nn import functional


class SelfAttention(Attention):
    def __init__(self, width, heads):
        nn.Module.__init__(self)
        self.heads, self.drop = heads, nn.Dropout(0.1)
        self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(width, width) for _ in range(4))

    def project(self, x):
        parts = self.q_lin, self.k_lin, self.v_lin
        return (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)

    def out(self, x):
        return self.out_lin(x)


class FeedForward(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.lin1, self.lin2, self.drop = nn.Linear(width, inner), nn.Linear(inner, width), nn.Dropout(0.1)

    def forward(self, x):
        return self.drop(self.lin2(functional.gelu(self.lin1(x))))


class Block(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.attention, self.sa_layer_norm = SelfAttention(width, heads), nn.LayerNorm(width, eps=1e-12)
        self.ffn, self.output_layer_norm = FeedForward(width, inner), nn.LayerNorm(width, eps=1e-12)

    def forward(self, x, mask):
        x = self.sa_layer_norm(x + self.attention(x, mask))
        return self.output_layer_norm(x + self.ffn(x))


class Embeddings(nn.Module):
    def __init__(self, vocabulary, width, length):
        super().__init__()
        self.word_embeddings, self.position_embeddings = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.LayerNorm, self.dropout = nn.LayerNorm(width, eps=1e-12), nn.Dropout(0.1)

    def forward(self, ids):
        summed = self.word_embeddings(ids) + self.position_embeddings(torch.arange(ids.shape[1]))
        return self.dropout(self.LayerNorm(summed))


class Encoder(nn.Module):
    def __init__(self, vocab_size, dim, n_layers, n_heads, hidden_dim, max_position_embeddings):
        super().__init__()
        self.embeddings, self.transformer = Embeddings(vocab_size, dim, max_position_embeddings), nn.Module()
        self.transformer.layer = nn.ModuleList(Block(dim, n_heads, hidden_dim) for _ in range(n_layers))

    def forward(self, input_ids, attention_mask):
        x = self.embeddings(input_ids)
        for block in self.transformer.layer:
            x = block(x, attention_mask)
        return x
