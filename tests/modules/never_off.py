"""BERTs that drop in evaluation, too, outside of their layers."""

from plain_bert import Bert
from torch.nn import functional


class Before(Bert):
    def forward(self, input_ids, attention_mask, token_type_ids):
        x = functional.dropout(self.emb(input_ids, token_type_ids), 0.5)
        for layer in self.layers:
            x = layer(x, attention_mask)
        return x


class Behind(Bert):
    def forward(self, input_ids, attention_mask, token_type_ids):
        return functional.dropout(super().forward(input_ids, attention_mask, token_type_ids), 0.5)
