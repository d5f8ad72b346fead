"""A BERT of the plainest kind, whose parts are exchanged one by one in the other files here."""

import math

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.drop = heads, nn.Dropout(0.1)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def project(self, x):
        """Query, key and value [B, H, T, D]."""
        return (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))

    def block(self, scores, mask):
        return scores.masked_fill(mask[:, None, None, :] == 0, -1e9)

    def forward(self, x, mask):
        query, key, value = self.project(x)
        scores = self.block(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]), mask)
        return self.out((self.drop(scores.softmax(-1)) @ value).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    attention_class, activation, eps = Attention, staticmethod(functional.gelu), 1e-12

    def __init__(self, width, heads, inner):
        super().__init__()
        self.attn, self.ln1 = self.attention_class(width, heads), nn.LayerNorm(width, eps=self.eps)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.ln2, self.drop = nn.LayerNorm(width, eps=self.eps), nn.Dropout(0.1)

    def forward(self, x, mask):
        x = self.ln1(x + self.drop(self.attn(x, mask)))
        return self.ln2(x + self.drop(self.down(self.activation(self.up(x)))))


class Embeddings(nn.Module):
    def __init__(self, vocabulary, width, length, types):
        super().__init__()
        self.word, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.token_type = nn.Embedding(types, width)
        self.norm, self.drop = nn.LayerNorm(width, eps=1e-12), nn.Dropout(0.1)

    def forward(self, ids, types, positions=None):
        positions = torch.arange(ids.shape[1]) if positions is None else positions
        return self.drop(self.norm(self.word(ids) + self.position(positions) + self.token_type(types)))


class Bert(nn.Module):
    layer_class = Layer

    def __init__(self, vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size,
                 max_position_embeddings, type_vocab_size):  # fmt: skip
        super().__init__()
        self.emb = Embeddings(vocab_size, hidden_size, max_position_embeddings, type_vocab_size)
        self.layers = nn.ModuleList(
            self.layer_class(hidden_size, num_attention_heads, intermediate_size) for _ in range(num_hidden_layers)
        )

    def forward(self, input_ids, attention_mask, token_type_ids):
        x = self.emb(input_ids, token_type_ids)
        for layer in self.layers:
            x = layer(x, attention_mask)
        return x


class PooledBert(Bert):
    def __init__(self, vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size,
                 max_position_embeddings, type_vocab_size):  # fmt: skip
        super().__init__(vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size,
                         max_position_embeddings, type_vocab_size)  # fmt: skip
        self.pooler = nn.Linear(hidden_size, hidden_size)

    def forward(self, input_ids, attention_mask, token_type_ids):
        x = super().forward(input_ids, attention_mask, token_type_ids)
        return x, self.pooler(x[:, 0]).tanh()
