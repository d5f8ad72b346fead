"""BERTs whose forward takes its arguments in other orders, by other names, and more of them."""

import torch
from plain_bert import Bert
from torch.nn import functional


class Positions(Bert):
    def forward(self, input_ids, position_ids, attention_mask=None, token_type_ids=None):
        x = self.emb(input_ids, token_type_ids, position_ids)
        for layer in self.layers:
            x = layer(x, torch.ones_like(input_ids) if attention_mask is None else attention_mask)
        return x


class PositionsBetween(Positions):
    def forward(self, input_ids, token_type_ids, pos, attention_mask):
        return super().forward(input_ids, pos, attention_mask, token_type_ids)


class Labels(Bert):
    def forward(self, input_ids, attention_mask, labels, token_type_ids=None):
        x = super().forward(input_ids, attention_mask, token_type_ids)
        return functional.cross_entropy(x[:, 0, :6], labels), x


class PositionalOnly(Bert):
    def forward(self, input_ids, attention_mask, token_type_ids, /):
        return super().forward(input_ids, attention_mask, token_type_ids)


class Unknown(Bert):
    """What is required and has no known name comes before what is known."""

    def forward(self, words, attention_mask=None, token_type_ids=None, x=None):
        return super().forward(words, attention_mask, token_type_ids)
