"""BERTs that want their mask in other forms than most do; each once more with a ReLU, which is a mistake."""

from plain_bert import Attention, Bert, Layer
from torch.nn import functional


class BlockedAttention4(Attention):
    def block(self, scores, mask):
        return scores.masked_fill(mask, -1e9)


class BlockedAttention2(Attention):
    def block(self, scores, mask):
        return scores.masked_fill(mask[:, None, None, :], -1e9)


class AddedAttention4(Attention):
    def block(self, scores, mask):
        return scores + mask


class AddedAttention2(Attention):
    def block(self, scores, mask):
        return scores + mask[:, None, None, :]


class Padded(Bert):
    def forward(self, input_ids, padding_mask, token_type_ids):
        return super().forward(input_ids, padding_mask, token_type_ids)


class Blocked4(Padded):
    class layer_class(Layer):
        attention_class = BlockedAttention4


class Blocked2(Padded):
    class layer_class(Layer):
        attention_class = BlockedAttention2


class Added4(Bert):
    class layer_class(Layer):
        attention_class = AddedAttention4


class Added2(Bert):
    class layer_class(Layer):
        attention_class = AddedAttention2


class InvertedAttention(Attention):
    def block(self, scores, mask):
        return scores.masked_fill(mask[:, None, None, :].bool(), -1e9)


class InvertedLayer(Layer):
    attention_class = InvertedAttention


class Inverted(Bert):
    layer_class = InvertedLayer


class InvertedAttention4(Attention):
    def block(self, scores, mask):
        return scores.masked_fill(mask.bool(), -1e9)


class InvertedLayer4(Layer):
    attention_class = InvertedAttention4

    def __init__(self, d_model, nhead, dim_feedforward):
        super().__init__(d_model, nhead, dim_feedforward)

    def forward(self, hidden, input_mask):
        return super().forward(hidden, input_mask)


class InvertedByOwnName(Padded):
    layer_class = InvertedLayer


class Blocked4Relu(Blocked4):
    class layer_class(Blocked4.layer_class):
        activation = staticmethod(functional.relu)


class Blocked2Relu(Blocked2):
    class layer_class(Blocked2.layer_class):
        activation = staticmethod(functional.relu)


class Added4Relu(Added4):
    class layer_class(Added4.layer_class):
        activation = staticmethod(functional.relu)


class Added2Relu(Added2):
    class layer_class(Added2.layer_class):
        activation = staticmethod(functional.relu)
