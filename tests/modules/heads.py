"""A BERT whose heads are modules of their own, with a configuration object, in the style of a book on transformers."""

from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    hidden_size: int = 768
    num_attention_heads: int = 12
    num_hidden_layers: int = 12
    intermediate_size: int = 3072
    vocab_size: int = 30522
    max_position_embeddings: int = 512
    hidden_dropout_prob: float = 0.1


def scaled_dot_product_attention(query, key, value, mask=None):
    scores = torch.bmm(query, key.transpose(1, 2)) / sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(mask == 0, float("-inf"))
    return F.dropout(F.softmax(scores, dim=-1), 0.1, training=torch.is_grad_enabled() and Head.train_now).bmm(value)


class Head(nn.Module):
    train_now = False

    def __init__(self, embed_dim, head_dim):
        super().__init__()
        self.q = nn.Linear(embed_dim, head_dim)
        self.k = nn.Linear(embed_dim, head_dim)
        self.v = nn.Linear(embed_dim, head_dim)

    def forward(self, hidden_state, mask):
        Head.train_now = self.training
        return scaled_dot_product_attention(self.q(hidden_state), self.k(hidden_state), self.v(hidden_state), mask)


class MultiHeadAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        head_dim = config.hidden_size // config.num_attention_heads
        self.heads = nn.ModuleList([Head(config.hidden_size, head_dim) for _ in range(config.num_attention_heads)])
        self.output_linear = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_state, mask):
        return self.output_linear(torch.cat([head(hidden_state, mask) for head in self.heads], dim=-1))


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.linear_1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.linear_2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.gelu = nn.GELU()

    def forward(self, x):
        return self.linear_2(self.gelu(self.linear_1(x)))


class EncoderLayer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.layer_norm_1 = nn.LayerNorm(config.hidden_size, eps=1e-12)
        self.layer_norm_2 = nn.LayerNorm(config.hidden_size, eps=1e-12)
        self.attention = MultiHeadAttention(config)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x, mask=None):
        x = self.layer_norm_1(x + self.dropout(self.attention(x, mask)))
        return self.layer_norm_2(x + self.dropout(self.feed_forward(x)))


class Embeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.token_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=1e-12)
        self.dropout = nn.Dropout()

    def forward(self, input_ids):
        positions = torch.arange(input_ids.size(1), dtype=torch.long).unsqueeze(0)
        return self.dropout(self.layer_norm(self.token_embeddings(input_ids) + self.position_embeddings(positions)))


class TransformerEncoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList([EncoderLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x, mask=None):
        """mask: [B, 1, T]"""
        x = self.embeddings(x)
        for layer in self.layers:
            x = layer(x, mask)
        return x
