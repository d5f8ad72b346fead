"""The encoder: token ids in, one vector per token out. This is all of BERT, DistilBERT, RoBERTa and ELECTRA.

One architecture serves all four families. DistilBERT is BERT without token types and without pooler, and without
dropout after the attention's output. RoBERTa and ELECTRA are BERT trained in another way; all that RoBERTa changes here
is how positions are counted. One legend names the axes of every tensor in this file:

    B  texts in the batch       H  attention heads                E  hidden_size = H * D
    T  tokens in a text         D  width of one head              F  intermediate_size

Sources: Vaswani et al. 2017, arXiv 1706.03762 (attention, section 3); Devlin et al. 2019, arXiv 1810.04805 (BERT);
Sanh et al. 2019, arXiv 1910.01108 (DistilBERT); Liu et al. 2019, arXiv 1907.11692 (RoBERTa); Clark et al. 2020,
arXiv 2003.10555 (ELECTRA).
"""

import math

import torch
from torch import nn
from torch.nn import functional

ACTIVATIONS = {
    "gelu": functional.gelu,  # x * Phi(x) with the exact normal CDF, as BERT was trained
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),  # differs by up to 5e-4: never mix them up
    "relu": functional.relu,
}


class Embeddings(nn.Module):
    """What a token is, where it stands, and which text of a pair it belongs to: three vectors, added.

    input_ids [B, T], token_type_ids [B, T] or None (all 0) -> [B, T, E]
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        # The vectors of padding learn nothing (padding_idx): no token that counts ever looks at them.
        skipped = config.pad_token_id if config.positions_skip_padding else None
        self.word = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.position = nn.Embedding(config.max_position_embeddings, config.hidden_size, padding_idx=skipped)
        self.token_type = None
        if config.type_vocab_size:
            self.token_type = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids, token_type_ids=None):
        length = input_ids.shape[1]
        if length > self.config.longest:
            raise ValueError(
                f"a sequence of {length} tokens is longer than the model's {self.config.longest} positions"
            )
        positions = torch.arange(length, device=input_ids.device)  # [T]: every text starts at position 0
        if self.config.positions_skip_padding:
            positions = positions_of_tokens(input_ids, self.config.pad_token_id)  # [B, T]
        hidden = self.word(input_ids) + self.position(positions)  # [B, T, E]
        if self.token_type is not None:
            if token_type_ids is None:
                token_type_ids = torch.zeros_like(input_ids)
            hidden = hidden + self.token_type(token_type_ids)
        return self.dropout(self.norm(hidden))


def positions_of_tokens(input_ids, pad_token_id):
    """RoBERTa's positions, [B, T] -> [B, T]: tokens count up from pad_token_id + 1, padding stays at pad_token_id.

    Its authors' library kept one row of every table for padding. A text of 3 tokens, padded to 5, with padding as
    token 1: 2, 3, 4, 1, 1. Whoever counts from 0 reads rows shifted by two: nothing fails, and every vector is a little
    wrong.
    """
    is_token = (input_ids != pad_token_id).long()
    return pad_token_id + is_token.cumsum(dim=1) * is_token


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., section 3.2): each token gathers from all the tokens that it may see.

    hidden [B, T, E], mask [B, 1, 1, T] or None -> output [B, T, E], probabilities [B, H, T, T]
    """

    def __init__(self, config):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_width = config.hidden_size // config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, hidden, mask=None):
        query = self.split_heads(self.query(hidden))  # [B, H, T, D]
        key = self.split_heads(self.key(hidden))  # [B, H, T, D]
        value = self.split_heads(self.value(hidden))  # [B, H, T, D]
        context, probabilities = self.attend(query, key, value, mask)  # [B, H, T, D], [B, H, T, T]
        context = context.transpose(1, 2).flatten(2)  # [B, T, H, D] -> [B, T, E]
        return self.output(context), probabilities

    def attend(self, query, key, value, mask):
        """softmax(query key^T / sqrt(D)) value, equation 1."""
        # A dot product of D terms has a spread of sqrt(D); dividing by it keeps the softmax out of saturation.
        scores = (query / math.sqrt(self.head_width)) @ key.transpose(-1, -2)  # [B, H, T, T]
        if mask is not None:
            scores = scores + mask  # padded keys, before the softmax: their weight becomes exactly 0
        probabilities = self.dropout(scores.softmax(dim=-1))  # before dropout, each query's row sums to 1
        return probabilities @ value, probabilities

    def split_heads(self, x):
        return x.unflatten(-1, (self.num_heads, self.head_width)).transpose(1, 2)  # [B, T, E] -> [B, H, T, D]


class FeedForward(nn.Module):
    """The same two-layer network applied to each token by itself: [B, T, E] -> [B, T, F] -> [B, T, E]."""

    def __init__(self, config):
        super().__init__()
        self.expand = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.contract = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden):
        return self.contract(self.activation(self.expand(hidden)))


class Layer(nn.Module):
    """Attention, then feed-forward, each added to its input and normalised.

    hidden [B, T, E], mask [B, 1, 1, T] or None -> hidden [B, T, E], attention probabilities [B, H, T, T]

    Post-norm: LayerNorm comes after the addition, as in the 2017 Transformer. Later models normalise first, which
    trains deeper stacks more easily, but BERT's weights only make sense in the order in which they were trained.
    """

    def __init__(self, config):
        super().__init__()
        self.attention = Attention(config)
        self.attention_dropout = nn.Dropout(config.hidden_dropout_prob if config.dropout_after_attention else 0.0)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_dropout = nn.Dropout(config.hidden_dropout_prob)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden, mask=None):
        attended, probabilities = self.attention(hidden, mask)
        hidden = self.attention_norm(hidden + self.attention_dropout(attended))
        hidden = self.feed_forward_norm(hidden + self.feed_forward_dropout(self.feed_forward(hidden)))
        return hidden, probabilities


class Pooler(nn.Module):
    """BERT's summary of a text: the first token's vector through a dense layer and tanh, [B, T, E] -> [B, E].

    Pretrained on next-sentence prediction. The other families were trained without that task; where one of their
    checkpoints has a pooler all the same, a later training put it there, or it is as random as it began.
    """

    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden):
        return torch.tanh(self.dense(hidden[:, 0]))


class Encoder(nn.Module):
    """Embeddings, then `num_hidden_layers` layers. `pooler` is a module or None; `head.py` calls it, not `forward`.

    has_pooler: True or False, or None for what the family has.
    """

    def __init__(self, config, has_pooler=None):
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        if has_pooler is None:
            has_pooler = config.family == "bert"
        self.pooler = Pooler(config) if has_pooler else None

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, return_all=False, return_attention=False):
        """input_ids [B, T] int64, attention_mask [B, T] (1 = a token, 0 = padding; None = no padding),
        token_type_ids [B, T] (None = all 0).

        Returns the last layer's output [B, T, E]. With return_all, a tuple of every state instead: the embeddings, then
        each layer's output. With return_attention, a pair: that, and a tuple of each layer's attention probabilities
        [B, H, T, T] (after dropout in train mode).
        Outputs at padded positions are meaningless: mask them out of whatever comes next.
        """
        hidden = self.embeddings(input_ids, token_type_ids)
        mask = additive_mask(attention_mask, hidden.dtype)
        states, attentions = [], []  # only what is asked for: the rest may be freed as soon as its layer is done
        for layer in self.layers:
            if return_all:
                states.append(hidden)
            hidden, probabilities = layer(hidden, mask)
            if return_attention:
                attentions.append(probabilities)
        if None in attentions:  # the layers have been replaced by others, which return None for them
            raise ValueError("these layers never form the attention probabilities; load the encoder with fast=False")
        result = (*states, hidden) if return_all else hidden
        return (result, tuple(attentions)) if return_attention else result


def additive_mask(attention_mask, dtype):
    """[B, T] of 1 and 0 -> [B, 1, 1, T] of 0 and -30000, to be added to the scores of every head and query.

    exp(-30000) is exactly 0 in every precision. The usual choices overflow somewhere: float32's most negative number
    is -inf in float16, float16's own leaves no room for a negative score, and a row of nothing but -inf (a text that is
    all padding) makes the softmax NaN.
    """
    if attention_mask is None:
        return None
    blocked = attention_mask[:, None, None, :] == 0
    return torch.zeros(blocked.shape, dtype=dtype, device=blocked.device).masked_fill(blocked, -30000.0)


def initialize(module, std):
    """Fresh weights as BERT draws them: N(0, std) for matrices, 0 for biases, 1 and 0 for LayerNorm."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=std)
            if isinstance(part, nn.Linear):
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
