"""Layers that are called in other ways than layer(x, mask)."""

import plain_bert


class Layer(plain_bert.Layer):
    def __init__(self, d_model, nhead, dim_feedforward):
        super().__init__(d_model, nhead, dim_feedforward)


class ByKeyword(Layer):
    """In the manner of PyTorch's own layer."""

    def forward(self, src, src_mask=None, src_key_padding_mask=None):
        assert src_mask is None
        return super().forward(src, (~src_key_padding_mask).long())


class Swapped(Layer):
    def forward(self, mask, x):
        return super().forward(x, mask)


class ByPlace(Layer):
    def forward(self, *both):
        return super().forward(*both)


class PositionalOnly(Layer):
    def forward(self, hidden, m=None, /):
        return super().forward(hidden, m)
