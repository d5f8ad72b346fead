"""A BERT out of PyTorch's own encoder layers."""

import torch
from torch import nn


class MyBert(nn.Module):
    def __init__(self, vocab_size, d_model, num_layers, nhead, dim_feedforward, max_len=512, n_segments=2, dropout=0.1):
        super().__init__()
        self.tok = nn.Embedding(vocab_size, d_model)
        self.pos = nn.Embedding(max_len, d_model)
        self.seg = nn.Embedding(n_segments, d_model)
        self.norm = nn.LayerNorm(d_model, eps=1e-12)
        self.drop = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            d_model, nhead, dim_feedforward, dropout, activation="gelu", batch_first=True, layer_norm_eps=1e-12
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)

    def forward(self, input_ids, attention_mask, token_type_ids):
        positions = torch.arange(input_ids.shape[1])
        x = self.drop(self.norm(self.tok(input_ids) + self.pos(positions) + self.seg(token_type_ids)))
        return self.encoder(x, src_key_padding_mask=attention_mask == 0)


class TimeFirst(MyBert):
    """The same with tokens before texts inside."""

    def __init__(self, vocab_size, d_model, num_layers, nhead, dim_feedforward, max_len=512, dropout=0.1):
        super().__init__(vocab_size, d_model, num_layers, nhead, dim_feedforward, max_len, 2, dropout)
        layer = nn.TransformerEncoderLayer(
            d_model, nhead, dim_feedforward, dropout, activation="gelu", layer_norm_eps=1e-12
        )
        self.encoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)

    def forward(self, src, src_key_padding_mask, segments):
        x = self.tok(src) + self.pos(torch.arange(src.shape[1])) + self.seg(segments)
        x = self.drop(self.norm(x)).transpose(0, 1)
        return self.encoder(x, src_key_padding_mask=src_key_padding_mask).transpose(0, 1)
