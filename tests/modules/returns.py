"""BERTs, and layers, that give and take other things than one tensor."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from plain_bert import Bert, Layer, PooledBert
from torch import nn
from torch.nn import functional


class AList(Bert):
    """All hidden states, the embeddings first."""

    def forward(self, input_ids, attention_mask, token_type_ids):
        states = [self.emb(input_ids, token_type_ids)]
        for layer in self.layers:
            states.append(layer(states[-1], attention_mask))
        return states


class ATuple(AList):
    def forward(self, input_ids, attention_mask, token_type_ids):
        return tuple(super().forward(input_ids, attention_mask, token_type_ids))


class ADict(AList):
    def forward(self, input_ids, attention_mask, token_type_ids):
        return {"hidden_states": super().forward(input_ids, attention_mask, token_type_ids)}


class ALayerOfDicts(PooledBert):
    class layer_class(Layer):
        def forward(self, given, mask):
            return {"hidden": super().forward(given["hidden"] if isinstance(given, dict) else given, mask)}

    def forward(self, input_ids, attention_mask, token_type_ids):
        x = self.emb(input_ids, token_type_ids)
        for layer in self.layers:
            x = layer(x, attention_mask)
        return x["hidden"], self.pooler(x["hidden"][:, 0]).tanh()


class ALayerOfTuples(PooledBert):
    class layer_class(Layer):
        def forward(self, both):
            x, mask = both
            return super().forward(x, mask), mask

    def forward(self, input_ids, attention_mask, token_type_ids):
        x, _ = nn.Sequential(*self.layers)((self.emb(input_ids, token_type_ids), attention_mask))
        return x, self.pooler(x[:, 0]).tanh()


class Two(NamedTuple):
    hidden: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class TwoFields:
    hidden: torch.Tensor
    mask: torch.Tensor


class ALayerOfNamedTuples(PooledBert):
    class layer_class(Layer):
        kind = Two

        def forward(self, given):
            return self.kind(super().forward(given.hidden, given.mask), given.mask)

    def forward(self, input_ids, attention_mask, token_type_ids):
        given = self.layers[0].kind(self.emb(input_ids, token_type_ids), attention_mask)
        for layer in self.layers:
            given = layer(given)
        return given.hidden, self.pooler(given.hidden[:, 0]).tanh()


class ALayerOfDataclasses(ALayerOfNamedTuples):
    class layer_class(ALayerOfNamedTuples.layer_class):
        kind = TwoFields


@dataclass
class Output:
    hidden: torch.Tensor
    pooled: torch.Tensor


class WrongDataclass(PooledBert):
    """One LayerNorm too many at the end; the second token's vector pooled, without tanh."""

    def forward(self, input_ids, attention_mask, token_type_ids):
        x = Bert.forward(self, input_ids, attention_mask, token_type_ids)
        x = 3 * functional.layer_norm(x, x.shape[-1:])
        return Output(x, self.pooler(x[:, 1]))


class Box:
    def __init__(self, content):
        self.content = content


class Unknown(Bert):
    def forward(self, input_ids, attention_mask, token_type_ids):
        return Box(super().forward(input_ids, attention_mask, token_type_ids))
