"""Attention of raw parameters: the biases beside its matrices are called as people call them."""

import plain_bert
import torch
from torch import nn
from torch.nn import functional


class Attention(plain_bert.Attention):
    matrices, biases = "Wq Wk Wv Wo".split(), "bq bk bv bo".split()

    def __init__(self, width, heads):
        nn.Module.__init__(self)
        self.heads, self.drop = heads, nn.Dropout(0.1)
        for matrix, bias in zip(self.matrices, self.biases, strict=True):
            setattr(self, matrix, nn.Parameter(torch.randn(width, width) * 0.02))
            setattr(self, bias, nn.Parameter(torch.zeros(width)))

    def linear(self, number, x):
        return functional.linear(x, getattr(self, self.matrices[number]), getattr(self, self.biases[number]))

    def project(self, x):
        return (self.linear(number, x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for number in range(3))

    def out(self, x):
        return self.linear(3, x)


class InFront(plain_bert.Bert):
    class layer_class(plain_bert.Layer):
        attention_class = Attention


class BehindAttention(Attention):
    matrices, biases = "q_w k_w v_w o_w".split(), "q_b k_b v_b o_b".split()


class Behind(plain_bert.Bert):
    class layer_class(plain_bert.Layer):
        attention_class = BehindAttention


class OddAttention(Attention):
    biases = "shift1 shift2 shift3 shift4".split()


class Odd(plain_bert.Bert):
    class layer_class(plain_bert.Layer):
        attention_class = OddAttention


class NoneAttention(Attention):
    def __init__(self, width, heads):
        super().__init__(width, heads)
        for bias in self.biases:
            delattr(self, bias)

    def linear(self, number, x):
        return functional.linear(x, getattr(self, self.matrices[number]))


class Without(plain_bert.Bert):
    class layer_class(plain_bert.Layer):
        attention_class = NoneAttention
