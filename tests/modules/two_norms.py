"""Layers whose two LayerNorms are counted from 0."""

from plain_bert import Attention, Bert, Layer
from torch import nn
from torch.nn import functional


class Sublayer(nn.Module):
    """A residual connection, in the style of an annotated Transformer."""

    def __init__(self, width):
        super().__init__()
        self.norm, self.drop = nn.LayerNorm(width, eps=1e-12), nn.Dropout(0.1)

    def forward(self, x, work):
        return self.norm(x + self.drop(work(x)))


class SublayersLayer(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.self_attn, self.w_1, self.w_2 = Attention(width, heads), nn.Linear(width, inner), nn.Linear(inner, width)
        self.sublayer = nn.ModuleList(Sublayer(width) for _ in range(2))

    def forward(self, x, mask):
        x = self.sublayer[0](x, lambda x: self.self_attn(x, mask))
        return self.sublayer[1](x, lambda x: self.w_2(functional.gelu(self.w_1(x))))


class Sublayers(Bert):
    layer_class = SublayersLayer


class ListLayer(Layer):
    def __init__(self, width, heads, inner):
        super().__init__(width, heads, inner)
        del self.ln1, self.ln2
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-12) for _ in range(2))

    def forward(self, x, mask):
        x = self.norms[0](x + self.drop(self.attn(x, mask)))
        return self.norms[1](x + self.drop(self.down(self.activation(self.up(x)))))


class NormList(Bert):
    layer_class = ListLayer


class SecondFirst(Bert):
    """The second one is defined first: what they are called decides."""

    class layer_class(Layer):
        def __init__(self, width, heads, inner):
            super().__init__(width, heads, inner)
            ln1 = self.ln1
            del self.ln1
            self.ln1 = ln1
