"""BERT's forward pass in NumPy, right or with known mistakes in it: what an answer is compared with when it is wrong.

`Known(wrong).layer(...)` answers a rung as a learner would who makes the mistakes in `wrong`, names of
`mistakes.py`. A name may end in #VARIANT: the same mistake, made in another way with another outcome. Nothing here is
taken for right: right answers are stored, and come from transformers. `seen` keeps the tensors that dropout might be
applied to (for `listening.py`); those whose names stand in `dropped` are multiplied by DROP, as the ladder's dropout
does. Everything is float64. Letters of the shapes as in `rungs.py`.
"""

import math

import numpy as np

DROP = 1.5  # what the ladder's dropout multiplies with, in place of dropping at random

erf = np.frompyfunc(math.erf, 1, 1)

BERT_WORDS = {  # DistilBERT's word: BERT's
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
    "transformer.layer.": "encoder.layer.",
}
EPS = {"eps-1e-5": 1e-5, "eps-1e-6": 1e-6, "eps-1e-12": 1e-12}
PROJECTIONS = ("attention.self.query", "attention.self.key", "attention.self.value")
EXCHANGED = {"query-key-swapped": (1, 0, 2), "query-value-swapped": (2, 1, 0), "key-value-swapped": (0, 2, 1)}
WITHOUT_BIAS = {  # bias-missing#VARIANT: where
    "projections": PROJECTIONS,
    "attention": (*PROJECTIONS, "attention.output.dense"),
}
FIRST, SECOND = "attention.output.LayerNorm", "output.LayerNorm"


def in_bert_words(weights):
    """The same weights under BERT's names."""
    renamed = {}
    if not any("_lin." in name for name in weights):  # BERT's own, as most often
        return weights
    for name, array in weights.items():
        for theirs, ours in BERT_WORDS.items():
            name = name.replace(theirs, ours) if theirs in name else name
        renamed[name] = array
    return renamed


def softmax(x, axis=-1):
    with np.errstate(invalid="ignore"):  # a row that is blocked by -inf throughout becomes NaN, as it does in PyTorch
        powers = np.exp(x - x.max(axis, keepdims=True))
        return powers / powers.sum(axis, keepdims=True)


class Known:
    """The rungs of the forward pass, as made by someone who makes the mistakes in `wrong`."""

    def __init__(self, wrong=(), dropped=(), distilbert=False):
        self.wrong = {name.partition("#")[0]: name.partition("#")[2] for name in wrong}
        self.dropped = dropped
        self.distilbert = distilbert
        self.seen = {}

    def place(self, name, x):
        """Remember what dropout might be applied to here, and apply it if it is asked for."""
        self.seen.setdefault(name, x)
        return x * DROP if name in self.dropped else x

    # ---- small functions

    def layer_norm(self, x, weight, bias, eps):
        wrong = self.wrong
        axis = 1 if "normalised-over-tokens" in wrong else -1
        if "normalised-over-everything" in wrong:
            axis = tuple(range(1, x.ndim))
        eps = next((value for name, value in EPS.items() if name in wrong), eps)
        centred = x if "mean-not-subtracted" in wrong else x - x.mean(axis, keepdims=True)
        variance = (centred**2).mean(axis, keepdims=True)
        if "unbiased-variance" in wrong:
            size = np.size(x) // np.size(variance)
            variance = variance * size / (size - 1)
        spread = np.sqrt(variance) + eps if "eps-outside-root" in wrong else np.sqrt(variance + eps)
        normal = centred / (variance + eps if "divided-by-variance" in wrong else spread)
        if "no-scale-and-shift" in wrong:
            return normal
        return normal * weight + (0 if "no-shift" in wrong else bias)

    def gelu(self, x):
        wrong = self.wrong
        if "gelu-tanh" in wrong:
            return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        if "gelu-sigmoid" in wrong:
            return x / (1 + np.exp(-1.702 * x))
        if "silu" in wrong:
            return x / (1 + np.exp(-x))
        if "relu" in wrong:
            return np.maximum(x, 0)
        if "activation-missing" in wrong:
            return x
        root = 1 if "gelu-without-root" in wrong else math.sqrt(2)
        return 0.5 * x * (1 + erf(x / root).astype(np.float64))

    def linear(self, x, weights, name):
        weight = weights[name + ".weight"]
        if "weights-untransposed" in self.wrong and weight.shape[0] == weight.shape[1]:
            weight = weight.T
        if "bias-missing" in self.wrong and name in WITHOUT_BIAS.get(self.wrong["bias-missing"], (name,)):
            return x @ weight.T
        return x @ weight.T + weights[name + ".bias"]

    def norm(self, x, weights, name, eps):
        return self.layer_norm(x, weights[name + ".weight"], weights[name + ".bias"], eps)

    # ---- embeddings

    def positions(self, input_ids, mask, table):
        """BERT's position ids [B, T]."""
        wrong, plain = self.wrong, np.broadcast_to(np.arange(input_ids.shape[1]), input_ids.shape)
        if "positions-off-by-one" in wrong:
            return plain + 1
        if "positions-count-real-tokens" in wrong:
            return np.maximum(mask.cumsum(1) - 1, 0)
        if "positions-from-table-end" in wrong:
            return plain + len(table) - input_ids.shape[1]
        return plain * (0 if "positions-all-0" in wrong else 1)

    def roberta_positions(self, input_ids, mask, pad):
        """RoBERTa's position ids [B, T]: from pad + 1, padding skipped."""
        wrong, plain = self.wrong, np.broadcast_to(np.arange(input_ids.shape[1]), input_ids.shape)
        if "positions-of-bert" in wrong:
            return plain
        if "positions-count-padding" in wrong:
            return plain + pad + 1
        if "positions-not-shifted" in wrong:
            return np.maximum(mask.cumsum(1) - 1, 0)
        if "positions-off-by-one" in wrong:
            return mask.cumsum(1) * mask + pad + (1 if self.wrong["positions-off-by-one"] == "ahead" else -1)
        return mask.cumsum(1) * mask + pad

    def embeddings(self, input_ids, types, mask, weights, config, eps):
        wrong = self.wrong
        hidden = weights["embeddings.word_embeddings.weight"][input_ids]
        hidden = self.place("word vectors", hidden)
        if "embeddings-scaled" in wrong:
            hidden = hidden * math.sqrt(hidden.shape[-1])
        table = weights["embeddings.position_embeddings.weight"]
        if config.get("model_type") == "roberta":
            rows = self.roberta_positions(input_ids, mask, config["pad_token_id"])
        else:
            rows = self.positions(input_ids, mask, table)
        if "positions-missing" not in wrong:
            hidden = hidden + table[rows]
        if "embeddings.token_type_embeddings.weight" in weights and "token-types-missing" not in wrong:
            table = weights["embeddings.token_type_embeddings.weight"]
            types = np.zeros_like(input_ids) if types is None or "token-types-all-0" in wrong else types
            hidden = hidden + table[np.ones_like(types) if "token-types-all-1" in wrong else types]
        hidden = self.place("sum of the embeddings", hidden)
        if "embeddings-without-layer-norm" not in wrong:
            hidden = self.norm(hidden, weights, "embeddings.LayerNorm", eps)
        return self.place("embeddings", hidden)

    def bert_embeddings(self, input_ids, token_type_ids, attention_mask, weights, config):
        return self.embeddings(input_ids, token_type_ids, attention_mask, weights, config, config["layer_norm_eps"])

    bert_embeddings_dropout = bert_embeddings

    def roberta_embeddings(self, input_ids, attention_mask, weights, config):
        return self.embeddings(input_ids, None, attention_mask, weights, config, config["layer_norm_eps"])

    def distilbert_embeddings(self, input_ids, attention_mask, weights, config):
        return self.embeddings(input_ids, None, attention_mask, weights, config, 1e-12)

    # ---- attention

    def scale(self, query):
        """What scores are divided by."""
        heads, length, width = query.shape[1:]
        divisors = {
            "scaled-by-hidden-size": math.sqrt(heads * width), "not-scaled": 1, "scaled-twice": width,
            "scaled-by-length": math.sqrt(length), "scaled-by-heads": math.sqrt(heads),
            "scale-multiplied": 1 / math.sqrt(width), "scaled-after-softmax": 1,
        }  # fmt: skip
        return next((value for name, value in divisors.items() if name in self.wrong), math.sqrt(width))

    def masked(self, scores, mask):
        """Scores [B, H, T, T] with padded keys blocked."""
        wrong = self.wrong
        if "no-mask" in wrong or "mask-after-softmax" in wrong:
            return scores
        real = mask[:, None, None, :] == 1
        if "mask-multiplied" in wrong:
            return scores * (np.where(real, 0.0, -1e4) if wrong["mask-multiplied"] == "additive" else real)
        if "mask-added-as-it-is" in wrong:
            return scores + real
        if "mask-inverted" in wrong:
            real = ~real
        if "mask-on-queries" in wrong:
            real = real.swapaxes(-1, -2) & (real if wrong["mask-on-queries"] == "too" else True)
        variant = "".join(wrong.values())
        if "added" in variant:
            return scores + np.where(real, 0.0, -1e4)
        infinite = any(way in variant for way in ("infinite", "zeros", "too"))
        return np.where(real, scores, -np.inf if infinite else -1e4)

    def attention_probabilities(self, query, key, attention_mask):
        wrong = self.wrong
        if "query-key-swapped" in wrong:
            query, key = key, query
        scores = self.place("scores", query @ key.swapaxes(-1, -2))
        scores = self.place("scaled scores", scores / self.scale(query))
        scores = self.place("masked scores", self.masked(scores, attention_mask))
        if "no-softmax" in wrong:
            return self.place("probabilities", scores)
        axes = {"softmax-over-queries": -2, "softmax-over-heads": 1, "softmax-over-batch": 0}
        probabilities = softmax(scores, next((axis for name, axis in axes.items() if name in wrong), -1))
        if "zeros" in wrong.values():
            probabilities = np.where(np.isnan(probabilities), 0.0, probabilities)
        if "scaled-after-softmax" in wrong:
            probabilities = probabilities / math.sqrt(query.shape[-1])
        if "mask-after-softmax" in wrong:
            probabilities = probabilities * (attention_mask[:, None, None, :] == 1)
        return self.place("probabilities", probabilities)

    def split(self, x, heads):
        """[B, T, E] -> [B, H, T, D]."""
        batch, length, width = x.shape
        if "one-head" in self.wrong:
            heads = 1
        if "heads-split-by-reshape" in self.wrong:
            return x.reshape(batch, heads, length, width // heads)
        if "heads-interleaved" in self.wrong:
            return x.reshape(batch, length, width // heads, heads).transpose(0, 3, 1, 2)
        return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)

    def attend(self, hidden, mask, weights, config):
        wrong = self.wrong
        if "batch-and-tokens-swapped" in wrong:
            hidden = hidden.swapaxes(0, 1)
            mask = mask.T if wrong["batch-and-tokens-swapped"] == "masked" else np.ones(hidden.shape[:2], dtype=int)
        names = list(PROJECTIONS)
        for exchange, order in EXCHANGED.items():
            if exchange in wrong:
                names = [names[i] for i in order]
        heads = config["n_heads"] if "n_heads" in config else config["num_attention_heads"]
        hidden = self.place("layer's input", hidden)
        projected = [self.linear(hidden, weights, name) for name in names]
        projected = [self.place(word, x) for word, x in zip(("query", "key", "value"), projected, strict=True)]
        query, key, value = (self.split(x, heads) for x in projected)
        inner = Known(self.names() - {"query-key-swapped"}, self.dropped)
        inner.seen = self.seen
        probabilities = inner.attention_probabilities(query, key, mask)
        if "probabilities-transposed" in wrong:
            probabilities = probabilities.swapaxes(-1, -2)
        context = probabilities @ value
        if "heads-not-transposed-back" not in wrong:
            context = context.transpose(0, 2, 3, 1) if "heads-interleaved" in wrong else context.transpose(0, 2, 1, 3)
        context = self.place("context", context.reshape(hidden.shape))
        if "no-output-projection" not in wrong:
            context = self.linear(context, weights, "attention.output.dense")
        return context.swapaxes(0, 1) if "batch-and-tokens-swapped" in wrong else context

    def names(self):
        return {f"{name}#{variant}" if variant else name for name, variant in self.wrong.items()}

    def multi_head_attention(self, hidden, attention_mask, weights, config):
        return self.attend(hidden, attention_mask, in_bert_words(weights), config)

    # ---- layers and encoders

    def feed_forward(self, hidden, weights, config):
        wrong = self.wrong
        expanded = self.place("feed-forward before its activation", self.linear(hidden, weights, "intermediate.dense"))
        if "activation-at-the-end" not in wrong:
            expanded = self.gelu(expanded)
        output = self.linear(self.place("inside the feed-forward", expanded), weights, "output.dense")
        return self.gelu(output) if "activation-at-the-end" in wrong or "activation-twice" in wrong else output

    def one_layer(self, hidden, mask, weights, config, eps):
        wrong = self.wrong
        first, second = (SECOND, FIRST) if "layer-norms-exchanged" in wrong else (FIRST, SECOND)
        second = first if "one-layer-norm-for-both" in wrong else second

        def norm(x, name, place, missing=""):
            return self.place(place, x if missing in wrong else self.norm(x, weights, name, eps))

        def attention(x):
            return self.place("attention output", self.attend(x, mask, weights, config))

        def forward(x):
            return self.place("feed-forward output", self.feed_forward(x, weights, config))

        if "pre-norm" in wrong:
            hidden = self.place("first sum", hidden + attention(norm(hidden, first, "before attention")))
            return self.place("second sum", hidden + forward(norm(hidden, second, "before the feed-forward")))
        if "layer-norm-before-residual" in wrong:
            hidden = hidden + norm(attention(hidden), first, "after the first LayerNorm")
            return hidden + norm(forward(hidden), second, "after the second LayerNorm")
        start, attended = hidden, attention(hidden)
        hidden = self.place("first sum", attended if "no-attention-residual" in wrong else hidden + attended)
        hidden = norm(hidden, first, "after the first LayerNorm", "first-layer-norm-missing")
        worked = forward(hidden)
        if "residual-from-layer-input" in wrong:
            hidden = start
        total = self.place("second sum", worked if "no-feed-forward-residual" in wrong else hidden + worked)
        return norm(total, second, "after the second LayerNorm", "second-layer-norm-missing")

    def layer(self, hidden, attention_mask, weights, config):
        eps = config.get("layer_norm_eps", 1e-12)
        return self.one_layer(hidden, attention_mask, in_bert_words(weights), config, eps)

    distilbert_layer = bert_layer_dropout = distilbert_layer_dropout = layer

    def layers(self, hidden, mask, weights, config):
        """The L + 1 arrays [B, T, E] of an encoder, one after the other: what goes into the first layer comes first."""
        wrong, weights = self.wrong, in_bert_words(weights)
        count = config["n_layers"] if "n_layers" in config else config["num_hidden_layers"]
        order = list(range(count))
        if "layers-reversed" in wrong:
            order = order[::-1]
        if "one-layer-repeated" in wrong:
            order = [0] * count
        if "last-layer-missing" in wrong:
            order[-1] = None
        yield hidden
        for number in order:
            if number is not None:
                start = f"encoder.layer.{number}."
                own = {name.removeprefix(start): array for name, array in weights.items() if name.startswith(start)}
                hidden = self.one_layer(hidden, mask, own, config, config.get("layer_norm_eps", 1e-12))
            yield hidden

    def bert_states(self, input_ids, attention_mask, token_type_ids, weights, config):
        start = self.bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config)
        return self.layers(start, attention_mask, weights, config)

    def roberta_states(self, input_ids, attention_mask, weights, config):
        start = self.roberta_embeddings(input_ids, attention_mask, weights, config)
        return self.layers(start, attention_mask, weights, config)

    def distilbert_states(self, input_ids, attention_mask, weights, config):
        start = self.distilbert_embeddings(input_ids, attention_mask, weights, config)
        return self.layers(start, attention_mask, weights, config)

    def bert_encoder(self, *arguments, **named):
        return list(self.bert_states(*arguments, **named))

    def roberta_encoder(self, *arguments, **named):
        return list(self.roberta_states(*arguments, **named))

    def distilbert_encoder(self, *arguments, **named):
        return list(self.distilbert_states(*arguments, **named))

    # ---- pooling and heads

    def first_token(self, hidden, attention_mask):
        """The vector [B, E] that speaks for the text."""
        wrong = self.wrong
        if "pooler-reads-last-token" in wrong:
            return hidden[:, -1]
        if "pooler-reads-second-token" in wrong:
            return hidden[:, 1]
        if "pooler-reads-mean" in wrong:
            padded = wrong["pooler-reads-mean"] == "padded"
            return hidden.mean(1) if padded else self.mean_pooling(hidden, attention_mask)
        if "pooler-reads-maximum" in wrong:
            return hidden.max(1)
        return hidden[:, 0]

    def pooler(self, hidden, attention_mask, weights):
        first = self.place("first token", self.first_token(hidden, attention_mask))
        if "pooler-without-dense" not in self.wrong:
            first = self.place("pooler before its tanh", self.linear(first, weights, "pooler.dense"))
        return first if "pooler-without-tanh" in self.wrong else np.tanh(first)

    def mean_pooling(self, hidden, attention_mask):
        wrong, real = self.wrong, attention_mask[:, :, None].astype(np.float64)
        if "mean-over-all-positions" in wrong:
            return hidden.mean(1)
        if "first-token-for-mean" in wrong:
            return hidden[:, 0]
        if "maximum-for-mean" in wrong:
            return np.where(real == 1, hidden, -np.inf).max(1)
        if "sum-for-mean" in wrong:
            return (hidden * real).sum(1)
        if "sum-divided-by-length" in wrong:
            return (hidden * real).mean(1)
        if "mean-divided-by-tokens-only" in wrong:
            return hidden.sum(1) / real.sum(1)
        if "mean-without-cls" in wrong:
            hidden, real = hidden[:, 1:], real[:, 1:]
        return (hidden * real).sum(1) / real.sum(1)

    def logits(self, x, weights, name):
        logits = self.place("logits", self.linear(x, weights, name))
        return softmax(logits) if "softmax-on-logits" in self.wrong else logits

    def bert_head(self, hidden, attention_mask, weights):
        without = "classifier-without-pooler" in self.wrong
        pooled = hidden[:, 0] if without else self.pooler(hidden, attention_mask, weights)
        pooled = self.place("pooled vector", pooled)
        return self.logits(pooled, weights, "classifier")

    bert_head_dropout = bert_head

    def small_head(self, hidden, attention_mask, weights, dense, output, right):
        """First token, a linear layer, an activation, logits: DistilBERT's head and RoBERTa's."""
        wrong = self.wrong
        x = self.place("first token", self.first_token(hidden, attention_mask))
        if "head-without-dense" not in wrong:
            x = self.place("head before its activation", self.linear(x, weights, dense))
        chosen = {
            "head-without-relu": lambda x: x, "head-without-tanh": lambda x: x, "head-tanh-for-relu": np.tanh,
            "head-gelu": self.gelu, "head-relu-for-tanh": lambda x: np.maximum(x, 0),
        }  # fmt: skip
        x = next((function for name, function in chosen.items() if name in wrong), right)(x)
        return self.logits(self.place("head's hidden vector", x), weights, output)

    def distilbert_head(self, hidden, attention_mask, weights):
        return self.small_head(
            hidden, attention_mask, weights, "pre_classifier", "classifier", lambda x: np.maximum(x, 0)
        )

    distilbert_head_dropout = distilbert_head

    def roberta_head(self, hidden, attention_mask, weights):
        return self.small_head(hidden, attention_mask, weights, "classifier.dense", "classifier.out_proj", np.tanh)

    roberta_head_dropout = roberta_head
