"""A BERT with one matrix for query, key and value whose rows lie head by head, as in a course on deep learning."""

import plain_bert
from torch import nn


class Attention(plain_bert.Attention):
    def __init__(self, width, heads):
        super().__init__(width, heads)
        del self.query, self.key, self.value
        self.qkv_proj = nn.Linear(width, 3 * width)

    def project(self, x):
        return self.qkv_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2).chunk(3, dim=-1)


class Layer(plain_bert.Layer):
    attention_class = Attention


class ByHeads(plain_bert.Bert):
    layer_class = Layer


class OneLayer(Layer):
    def __init__(self, d_model, nhead, dim_feedforward):
        super().__init__(d_model, nhead, dim_feedforward)
