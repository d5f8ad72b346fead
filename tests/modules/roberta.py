"""A RoBERTa of its own names, whose LayerNorms have RoBERTa's eps, and one whose eps nothing outside can reach."""

import plain_bert
from torch import nn
from torch.nn import functional


class Layer(plain_bert.Layer):
    eps = 1e-5


class Roberta(nn.Module):
    layer_class, eps = Layer, 1e-5

    def __init__(self, vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size,
                 max_position_embeddings, num_labels):  # fmt: skip
        super().__init__()
        self.word = nn.Embedding(vocab_size, hidden_size)
        self.position = nn.Embedding(max_position_embeddings, hidden_size)
        self.token_type, self.norm = nn.Embedding(1, hidden_size), nn.LayerNorm(hidden_size, eps=self.eps)
        self.layers = nn.ModuleList(
            self.layer_class(hidden_size, num_attention_heads, intermediate_size) for _ in range(num_hidden_layers)
        )
        self.drop = nn.Dropout(0.1)
        self.first, self.second = nn.Linear(hidden_size, hidden_size), nn.Linear(hidden_size, num_labels)

    def forward(self, input_ids):
        mask = (input_ids != 1).long()
        x = self.word(input_ids) + self.position(mask.cumsum(1) * mask + 1) + self.token_type.weight[0]
        x = self.drop(self.norm(x))
        for layer in self.layers:
            x = layer(x, mask)
        first = self.drop(self.first(self.drop(x[:, 0])).tanh())
        return x, self.second(first)


class BertsEpsRoberta(Roberta):
    eps = 1e-12

    class layer_class(plain_bert.Layer):
        eps = 1e-12


class OwnNorm(nn.LayerNorm):
    def forward(self, x):
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, 1e-5)


class FixedRoberta(Roberta):
    class layer_class(Layer):
        def __init__(self, width, heads, inner):
            super().__init__(width, heads, inner)
            self.ln1, self.ln2 = OwnNorm(width), OwnNorm(width)
            self.ln1.eps = self.ln2.eps = None
