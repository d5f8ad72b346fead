"""Every rung of the parity ladder in plain PyTorch, with one mistake at a time on request: set `WRONG` to its name.

`make/make_ladder.py` takes the stored outputs of the known mistakes from here; the tests run it through the ladder,
right and wrong, in float32 and float64. Not written to be read as a lesson: `examples/my_bert_numpy.py` is.
"""

import math
import unicodedata

import torch
from torch.nn import functional

from minibert.parity.conventions import CONVENTIONS
from minibert.parity.mistakes import MISTAKES

# A name in MISTAKES or CONVENTIONS, or NAME#VARIANT, the same mistake made in another way; joined by " + ", several.
WRONG = None

VARIANTS = (
    "mask-inverted#added",  # -1e4 added to scores, not put in their place: differs where a row is all blocked
    "mask-inverted#infinite",
    "mask-inverted#zeros",  # as PyTorch's scaled_dot_product_attention: a row that is all blocked takes in nothing
    "mask-on-queries#zeros",
    "mask-on-queries#too",  # keys and queries, by -inf: padding becomes NaN
    "softmax-over-queries#added",
    "softmax-over-queries#infinite",
    "mask-multiplied#additive",
    "bias-missing#projections",
    "bias-missing#attention",
    "batch-and-tokens-swapped#masked",
    "positions-off-by-one#ahead",
    "pooler-reads-mean#padded",
    "first-gradient-dropped#and-not-counted",
    "nothing-updated#but-decayed",
    "square-overwritten#with-eps",
    "correction-without-root#of-the-square",
    "softmax-over-heads#added",
    "schedule-polynomial#end",
    "ties-in-order-of-appearance#reversed",
    "only-first-truncated#still-too-long",  # where the other text would have to give way, too
    "only-second-truncated#still-too-long",
    "truncated-at-front#of-a-pair",
    "special-tokens-not-counted#third",  # the second [SEP] alone
    "pair-types-from-first-sep#of-one-text-too",
    "pair-types-from-first-sep#counted",  # as many [SEP] as there are up to here
    "gradients-not-zeroed#before-clipping",
    "biases-and-norms-frozen#not-zeroed",  # as the optimizer does not know them; their gradients count in the norm
    "zero-division#of-counts",  # F1 from the counts, not from precision and recall
    "decay-on-biases#but-not-of-layer-norm",
)


def wrong(*names):
    """Is one of these mistakes to be made?"""
    made = WRONG.split(" + ") if WRONG else []
    for name in names:
        assert name.split("#")[0] in MISTAKES | CONVENTIONS, name
    return any(name in (one if "#" in name else one.split("#")[0] for one in made) for name in names)


def wordpiece(text, pair, vocabulary, max_length):
    table = {piece: i for i, piece in enumerate(vocabulary)}
    sequences = [words_to_pieces(basic_words(part), table) for part in (text, pair) if part is not None]
    truncate(sequences, max_length)
    if wrong("special-tokens-missing"):
        return sum(sequences, []), [number for number, pieces in enumerate(sequences) for _ in pieces]
    ids = [table["[CLS]"], *sequences[0], table["[SEP]"]]
    types = [0] * len(ids)
    if wrong("pair-types-from-first-sep#of-one-text-too") or (pair and wrong("pair-types-from-first-sep")):
        types[-1] = 1
    if pair is not None:
        second = sequences[1] + ([] if wrong("second-sep-missing") else [table["[SEP]"]])
        ids += second
        types += [0 if wrong("pair-types-all-0") else 1] * len(second)
    if wrong("pair-types-from-first-sep#counted"):
        types = [ids[: i + 1].count(table["[SEP]"]) for i in range(len(ids))]
    if wrong("padded-to-max-length"):
        ids, types = ([*row, *[0] * (max_length - len(row))] for row in (ids, types))
    return (ids[:max_length], types[:max_length]) if wrong("truncation-loses-sep") else (ids, types)


def truncate(sequences, max_length):
    """Shorten one sequence, or two, until they fit."""
    special = 1 + len(sequences)
    if wrong("special-tokens-not-counted"):
        special = 2 if wrong("special-tokens-not-counted#third") else 0
    room = 10**6 if wrong("truncation-loses-sep", "not-truncated") else max_length - special
    front = wrong("truncated-at-front") and (len(sequences) == 2 or not wrong("truncated-at-front#of-a-pair"))
    first_shorter = len(sequences) == 2 and len(sequences[0]) <= len(sequences[1])  # decides ties, as in tokenizers
    while sum(map(len, sequences)) > room:
        lengths = [*map(len, sequences), 0]
        longer = 0 if lengths[0] > lengths[1] or (lengths[0] == lengths[1] and first_shorter) else 1
        for chosen, name in enumerate(("only-first-truncated", "only-second-truncated")):
            if wrong(name) and len(sequences) == 2:
                longer = chosen
                if not sequences[chosen] and wrong(f"{name}#still-too-long"):
                    return
                longer = chosen if sequences[chosen] else 1 - chosen
        sequences[longer] = sequences[longer][1:] if front else sequences[longer][:-1]


def basic_words(text):
    if not wrong("not-lowercased"):
        text = text.lower()
    if not wrong("accents-kept"):
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    spaced = ""
    for c in text:
        ascii_mark = 33 <= ord(c) <= 47 or 58 <= ord(c) <= 64 or 91 <= ord(c) <= 96 or 123 <= ord(c) <= 126
        mark = ascii_mark or unicodedata.category(c).startswith("P")
        chinese = 0x4E00 <= ord(c) <= 0x9FFF and not wrong("cjk-not-split")
        spaced += f" {c} " if (mark and not wrong("punctuation-not-split")) or chinese else c
    return spaced.split()


def words_to_pieces(words, table):
    ids = []
    for word in words:
        pieces, start = [], 0
        while start < len(word):
            ends = range(len(word), start, -1)
            if wrong("shortest-piece-first"):
                ends = reversed(ends)
            start_mark = "" if wrong("hashes-missing") or not start else "##"
            piece = next((p for end in ends if (p := start_mark + word[start:end]) in table), None)
            if piece is None:
                pieces = (pieces if wrong("partial-unknown") else []) + [table["[UNK]"]]
                break
            pieces.append(table[piece])
            start += len(piece) - len(start_mark)
        ids += pieces
    return ids


def layer_norm(x, weight, bias, eps):
    axis = (1,) if wrong("normalised-over-tokens") else (-1,)
    if wrong("normalised-over-everything"):
        axis = tuple(range(1, x.dim()))
    for name, value in (("eps-1e-5", 1e-5), ("eps-1e-6", 1e-6), ("eps-1e-12", 1e-12)):
        eps = value if wrong(name) else eps
    centred = x - x.mean(axis, keepdim=True)
    variance = x.var(axis, correction=1 if wrong("unbiased-variance") else 0, keepdim=True)
    if wrong("mean-not-subtracted"):
        centred, variance = x, (x**2).mean(axis, keepdim=True)
        if wrong("unbiased-variance"):
            variance = variance * (x.numel() / variance.numel()) / (x.numel() / variance.numel() - 1)
    if wrong("layer-norm-gradient-incomplete"):
        centred, variance = x - x.mean(axis, keepdim=True).detach(), variance.detach()
    spread = variance.sqrt() + eps if wrong("eps-outside-root") else (variance + eps).sqrt()
    normal = centred / (variance + eps if wrong("divided-by-variance") else spread)
    if wrong("no-scale-and-shift"):
        return normal
    return normal * weight if wrong("no-shift") else normal * weight + bias


def gelu(x):
    if wrong("gelu-tanh"):
        return functional.gelu(x, approximate="tanh")
    if wrong("gelu-sigmoid"):
        return x * torch.sigmoid(1.702 * x)
    if wrong("relu"):
        return x.relu()
    if wrong("silu"):
        return functional.silu(x)
    if wrong("activation-missing"):
        return x
    return 0.5 * x * (1 + torch.erf(x / (1 if wrong("gelu-without-root") else math.sqrt(2))))


def linear(x, weights, name):
    weight, bias = weights[name + ".weight"], weights[name + ".bias"]
    if wrong("weights-untransposed") and weight.shape[0] == weight.shape[1]:
        weight = weight.T
    if wrong("bias-missing#projections", "bias-missing#attention"):
        projection = name.endswith(("self.query", "self.key", "self.value", "q_lin", "k_lin", "v_lin"))
        last = wrong("bias-missing#attention") and name.endswith(("attention.output.dense", "out_lin"))
        if projection or last:
            return functional.linear(x, weight)
    elif wrong("bias-missing"):
        return x @ weight.T
    return x @ weight.T + (bias.detach() + 0 * bias if wrong("bias-gradient-missing") else bias)


def norm(x, weights, name, eps):
    return layer_norm(x, weights[name + ".weight"], weights[name + ".bias"], eps)


def roberta_positions(input_ids, attention_mask, pad):
    plain = torch.arange(input_ids.shape[1]).expand_as(input_ids)
    if wrong("positions-of-bert"):
        return plain
    if wrong("positions-count-padding"):
        return plain + pad + 1
    real = (input_ids != pad).long()
    counted = real.cumsum(1)
    if wrong("positions-not-shifted"):
        return (counted - 1).clamp(min=0)
    if wrong("positions-off-by-one#ahead"):
        return counted * real + pad + 1
    if wrong("positions-off-by-one"):
        return counted * real + pad - 1
    return counted * real + pad


def embed(input_ids, token_type_ids, attention_mask, weights, eps, dropout=None, roberta_pad=None):
    drop = dropout or (lambda x: x)
    words = weights["embeddings.word_embeddings.weight"]
    if wrong("repeated-tokens-overwrite"):  # the last occurrence alone passes its gradient on
        rows = words[input_ids]
        flat = input_ids.flatten().tolist()
        last = torch.tensor([i == len(flat) - 1 - flat[::-1].index(token) for i, token in enumerate(flat)])
        hidden = torch.where(last.view(*input_ids.shape, 1), rows, rows.detach())
    else:
        hidden = words[input_ids]
    if wrong("dropout-on-word-vectors"):
        hidden = drop(hidden)
    if wrong("embeddings-scaled"):
        hidden = hidden * math.sqrt(hidden.shape[-1])
    table, length = weights["embeddings.position_embeddings.weight"], input_ids.shape[1]
    positions = torch.arange(length).expand_as(input_ids)
    if roberta_pad is not None:
        positions = roberta_positions(input_ids, attention_mask, roberta_pad)
    elif wrong("positions-off-by-one"):
        positions = positions + 1
    if wrong("positions-all-0"):
        positions = positions * 0
    if wrong("positions-count-real-tokens"):
        positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    if wrong("positions-from-table-end"):
        positions = positions + len(table) - length
    if not wrong("positions-missing"):
        hidden = hidden + table[positions]
    if token_type_ids is not None and not wrong("token-types-missing"):
        types = torch.ones_like(token_type_ids) if wrong("token-types-all-1") else token_type_ids
        types = torch.zeros_like(token_type_ids) if wrong("token-types-all-0") else types
        hidden = hidden + weights["embeddings.token_type_embeddings.weight"][types]
    if wrong("dropout-before-layer-norm"):
        hidden = drop(hidden)
    if not wrong("embeddings-without-layer-norm"):
        hidden = norm(hidden, weights, "embeddings.LayerNorm", eps)
    if wrong("dropout-before-layer-norm", "dropout-on-word-vectors", "no-dropout-after-embeddings"):
        return hidden
    return drop(drop(hidden)) if wrong("dropout-twice") else drop(hidden)


def bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config, dropout=None):
    return embed(input_ids, token_type_ids, attention_mask, weights, config["layer_norm_eps"], dropout)


bert_embeddings_dropout = bert_embeddings


def roberta_embeddings(input_ids, attention_mask, weights, config):
    types, pad = torch.zeros_like(input_ids), config["pad_token_id"]
    return embed(input_ids, types, attention_mask, weights, config["layer_norm_eps"], None, pad)


def distilbert_embeddings(input_ids, attention_mask, weights, config):
    return embed(input_ids, None, attention_mask, weights, 1e-12)


SCALES = {
    "scaled-by-hidden-size": lambda heads, length, width: math.sqrt(heads * width),
    "not-scaled": lambda heads, length, width: 1.0,
    "scaled-after-softmax": lambda heads, length, width: 1.0,
    "scaled-twice": lambda heads, length, width: width,
    "scaled-by-length": lambda heads, length, width: math.sqrt(length),
    "scaled-by-heads": lambda heads, length, width: math.sqrt(heads),
    "scale-multiplied": lambda heads, length, width: 1 / math.sqrt(width),
}


def block(scores, attention_mask):
    """Padded keys blocked, or what some take for it."""
    if wrong("no-mask", "mask-after-softmax"):
        return scores
    if wrong("mask-multiplied#additive"):
        return scores * ((1.0 - attention_mask[:, None, None, :].to(scores.dtype)) * -10000.0)
    if wrong("mask-multiplied"):
        return scores * attention_mask[:, None, None, :]
    if wrong("mask-added-as-it-is"):
        return scores + attention_mask[:, None, None, :]
    blocked = (attention_mask == (1 if wrong("mask-inverted") else 0))[:, None, None, :]
    if wrong("mask-on-queries"):
        blocked = blocked.transpose(-1, -2) | (blocked if wrong("mask-on-queries#too") else False)
    if "#added" in str(WRONG):
        return scores - 1e4 * blocked
    if "#zeros" in str(WRONG) or wrong("mask-on-queries#too"):
        return scores.masked_fill(blocked, -math.inf)
    return scores.masked_fill(blocked, -math.inf if "#infinite" in str(WRONG) else -1e4)


def attention_probabilities(query, key, attention_mask, dropout=None):
    drop = dropout or (lambda x: x)
    if wrong("query-key-swapped"):
        query, key = key, query
    heads, length, width = query.shape[1:]
    scale = next((divisor(heads, length, width) for n, divisor in SCALES.items() if wrong(n)), math.sqrt(width))
    scores = query @ key.transpose(-1, -2) / scale
    if wrong("dropout-before-softmax"):
        scores = drop(scores)
    scores = block(scores, attention_mask)
    if wrong("dropout-on-masked-scores"):
        scores = drop(scores)
    axis = -2 if wrong("softmax-over-queries") else 1 if wrong("softmax-over-heads") else -1
    axis = 0 if wrong("softmax-over-batch") else axis
    probabilities = scores if wrong("no-softmax") else scores.softmax(axis)
    if "#zeros" in str(WRONG) and not wrong("no-softmax"):
        nothing = (scores == -math.inf).all(axis, keepdim=True)
        probabilities = scores.masked_fill(nothing, 0).softmax(axis).masked_fill(nothing, 0)
    if wrong("scaled-after-softmax"):
        probabilities = probabilities / math.sqrt(width)
    if wrong("softmax-gradient-elementwise"):
        constant = probabilities.detach()
        slope = constant * (1 - constant)
        probabilities = constant + slope * (scores - scores.detach())
    if wrong("mask-after-softmax"):
        probabilities = probabilities.masked_fill(attention_mask[:, None, None, :] == 0, 0)
    if wrong("dropout-before-softmax", "dropout-on-masked-scores", "no-dropout-on-probabilities", "no-dropout-at-all"):
        return probabilities
    return drop(drop(probabilities)) if wrong("dropout-twice") else drop(probabilities)


def split(x, heads):
    batch, length, width = x.shape
    if wrong("one-head"):
        heads = 1
    if wrong("heads-split-by-reshape"):
        return x.reshape(batch, heads, length, width // heads)
    if wrong("heads-interleaved"):
        return x.reshape(batch, length, width // heads, heads).permute(0, 3, 1, 2)
    return x.reshape(batch, length, heads, width // heads).transpose(1, 2)


def attend(hidden, mask, weights, heads, names, dropout=None):
    if wrong("batch-and-tokens-swapped"):
        hidden = hidden.transpose(0, 1)
        mask = mask.T if wrong("batch-and-tokens-swapped#masked") else torch.ones(hidden.shape[:2], dtype=torch.long)
    drop = dropout or (lambda x: x)
    query, key, value, output = names
    if wrong("query-value-swapped"):
        query, value = value, query
    if wrong("key-value-swapped"):
        key, value = value, key
    if wrong("dropout-on-layer-input"):
        hidden = drop(hidden)
    three = [linear(hidden, weights, name) for name in (query, key, value)]
    if wrong("dropout-on-projections"):
        three = [drop(x) for x in three]
    query, key, value = (split(x, heads) for x in three)
    probabilities = attention_probabilities(query, key, mask, dropout)
    if wrong("probabilities-transposed"):
        probabilities = probabilities.mT
    context = probabilities @ value
    if not wrong("heads-not-transposed-back"):
        context = context.permute(0, 2, 3, 1) if wrong("heads-interleaved") else context.transpose(1, 2)
    context = context.reshape(hidden.shape)
    if wrong("dropout-before-dense"):
        context = drop(context)
    context = context if wrong("no-output-projection") else linear(context, weights, output)
    return context.transpose(0, 1) if wrong("batch-and-tokens-swapped") else context


BERT_NAMES = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
DISTILBERT_NAMES = ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin")


def multi_head_attention(hidden, attention_mask, weights, config):
    return attend(hidden, attention_mask, weights, config["num_attention_heads"], BERT_NAMES)


def forward_block(hidden, weights, first, second, drop):
    inner = linear(hidden, weights, first)
    if not wrong("activation-at-the-end"):
        inner = gelu(inner)
    if wrong("dropout-inside-feed-forward"):
        inner = drop(inner)
    output = linear(inner, weights, second)
    return gelu(output) if wrong("activation-at-the-end", "activation-twice") else output


def feed_forward(hidden, weights, config):
    return forward_block(hidden, weights, "intermediate.dense", "output.dense", lambda x: x)


def run_layer(hidden, attention, forward, first_norm, second_norm, dropout=None, dropout_after_attention=True):
    """One layer from its two functions and its two LayerNorms."""
    drop = dropout or (lambda x: x)
    drop_attention = drop if dropout_after_attention else (lambda x: x)
    drop_sum = drop if wrong("dropout-on-sum") else (lambda x: x)
    if dropout and wrong("dropout-result-unused"):

        def drop(x):
            dropout(x)
            return x

    if wrong("no-dropout-after-attention", "dropout-before-dense", "no-dropout-at-all", "dropout-on-sum"):
        drop_attention = lambda x: x  # noqa: E731
    if wrong("no-dropout-after-feed-forward", "dropout-inside-feed-forward", "no-dropout-at-all", "dropout-on-sum"):
        drop = lambda x: x  # noqa: E731
    if wrong("dropout-after-attention"):
        drop_attention = drop
    if wrong("layer-norms-exchanged"):
        first_norm, second_norm = second_norm, first_norm
    if wrong("one-layer-norm-for-both"):
        second_norm = first_norm
    if wrong("pre-norm"):
        hidden = hidden + drop_attention(attention(first_norm(hidden)))
        return hidden + drop(forward(second_norm(hidden)))
    if wrong("layer-norm-before-residual"):
        hidden = hidden + first_norm(drop_attention(attention(hidden)))
        return hidden + second_norm(drop(forward(hidden)))
    if wrong("dropout-after-layer-norm"):
        hidden = drop_attention(first_norm(hidden + attention(hidden)))
        return drop(second_norm(hidden + forward(hidden)))
    start, attended = hidden, drop_attention(attention(hidden))
    hidden = drop_sum(attended if wrong("no-attention-residual") else hidden + attended)
    hidden = hidden if wrong("first-layer-norm-missing") else first_norm(hidden)
    forwarded = drop(forward(hidden))
    base = start if wrong("residual-from-layer-input") else hidden
    total = drop_sum(forwarded if wrong("no-feed-forward-residual") else base + forwarded)
    return total if wrong("second-layer-norm-missing") else second_norm(total)


def layer(hidden, attention_mask, weights, config, dropout=None):
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    drop = dropout or (lambda x: x)
    return run_layer(
        hidden,
        lambda x: attend(x, attention_mask, weights, heads, BERT_NAMES, dropout),
        lambda x: forward_block(x, weights, "intermediate.dense", "output.dense", drop),
        lambda x: norm(x, weights, "attention.output.LayerNorm", eps),
        lambda x: norm(x, weights, "output.LayerNorm", eps),
        dropout,
    )


bert_layer_dropout = layer


def distilbert_layer(hidden, attention_mask, weights, config, dropout=None):
    drop = dropout or (lambda x: x)
    return run_layer(
        hidden,
        lambda x: attend(x, attention_mask, weights, config["n_heads"], DISTILBERT_NAMES, dropout),
        lambda x: forward_block(x, weights, "ffn.lin1", "ffn.lin2", drop),
        lambda x: norm(x, weights, "sa_layer_norm", 1e-12),
        lambda x: norm(x, weights, "output_layer_norm", 1e-12),
        dropout,
        dropout_after_attention=False,
    )


distilbert_layer_dropout = distilbert_layer


def below(weights, prefix):
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def layer_order(count):
    order = list(range(count))
    if wrong("layers-reversed"):
        order = order[::-1]
    if wrong("one-layer-repeated"):
        order = [0] * count
    return order


def bert_encoder(input_ids, attention_mask, token_type_ids, weights, config):
    states = [bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config)]
    for i in layer_order(config["num_hidden_layers"]):
        states.append(layer(states[-1], attention_mask, below(weights, f"encoder.layer.{i}."), config))
    if wrong("last-layer-missing"):
        states[-1] = states[-2]
    return states


def distilbert_encoder(input_ids, attention_mask, weights, config):
    states = [distilbert_embeddings(input_ids, attention_mask, weights, config)]
    for i in layer_order(config["n_layers"]):
        part = below(weights, f"transformer.layer.{i}.")
        states.append(distilbert_layer(states[-1], attention_mask, part, config))
    if wrong("last-layer-missing"):
        states[-1] = states[-2]
    return states


def roberta_encoder(input_ids, attention_mask, weights, config):
    states = [roberta_embeddings(input_ids, attention_mask, weights, config)]
    for i in layer_order(config["num_hidden_layers"]):
        states.append(layer(states[-1], attention_mask, below(weights, f"encoder.layer.{i}."), config))
    if wrong("last-layer-missing"):
        states[-1] = states[-2]
    return states


def first_token(hidden, attention_mask):
    if wrong("pooler-reads-last-token"):
        return hidden[:, -1]
    if wrong("pooler-reads-second-token"):
        return hidden[:, 1]
    if wrong("pooler-reads-mean#padded"):
        return hidden.mean(1)
    if wrong("pooler-reads-mean"):
        return mean_pooling(hidden, attention_mask)
    if wrong("pooler-reads-maximum"):
        return hidden.amax(1)
    return hidden[:, 0]


def pooler(hidden, attention_mask, weights, drop=lambda x: x):
    pooled = first_token(hidden, attention_mask)
    if wrong("dropout-on-first-token"):
        pooled = drop(pooled)
    if not wrong("pooler-without-dense"):
        pooled = linear(pooled, weights, "pooler.dense")
    if wrong("dropout-before-activation"):
        pooled = drop(pooled)
    return pooled if wrong("pooler-without-tanh") else pooled.tanh()


def mean_pooling(hidden, attention_mask):
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    if wrong("mean-over-all-positions"):
        return hidden.mean(1)
    if wrong("sum-divided-by-length"):
        return (hidden * weights).sum(1) / hidden.shape[1]
    if wrong("first-token-for-mean"):
        return hidden[:, 0]
    if wrong("maximum-for-mean"):
        return hidden.masked_fill(weights == 0, -math.inf).amax(1)
    if wrong("sum-for-mean"):
        return (hidden * weights).sum(1)
    if wrong("mean-divided-by-tokens-only"):
        return hidden.sum(1) / weights.sum(1)
    if wrong("mean-without-cls"):
        hidden, weights = hidden[:, 1:], weights[:, 1:]
    return (hidden * weights).sum(1) / weights.sum(1)


ELSEWHERE_IN_A_HEAD = ("dropout-before-activation", "dropout-on-logits", "no-dropout-at-all", "no-dropout-in-head")


def logits_of(x, weights, name, drop):
    logits = linear(x, weights, name)
    if wrong("dropout-on-logits"):
        logits = drop(logits)
    return logits.softmax(-1) if wrong("softmax-on-logits") else logits


def bert_head(hidden, attention_mask, weights, dropout=None):
    drop = dropout or (lambda x: x)
    if wrong("classifier-without-pooler"):
        pooled = hidden[:, 0]
    else:
        pooled = pooler(hidden, attention_mask, weights, drop)
    if not wrong(*ELSEWHERE_IN_A_HEAD, "dropout-on-first-token"):
        pooled = drop(pooled)
    return logits_of(pooled, weights, "classifier", drop)


bert_head_dropout = bert_head


def small_head(x, weights, dense, output, activation, drop, drops_first=False):
    if wrong("dropout-on-first-token") or (drops_first and not wrong("no-dropout-on-first-token", "no-dropout-at-all")):
        x = drop(x)
    if not wrong("head-without-dense"):
        x = linear(x, weights, dense)
    if wrong("dropout-before-activation"):
        x = drop(x)
    if wrong("head-tanh-for-relu"):
        activation = torch.tanh
    if wrong("head-relu-for-tanh"):
        activation = torch.relu
    if wrong("head-gelu"):
        activation = gelu
    if not wrong("head-without-relu", "head-without-tanh"):
        x = activation(x)
    if not wrong(*ELSEWHERE_IN_A_HEAD, *([] if drops_first else ["dropout-on-first-token"])):
        x = drop(x)
    return logits_of(x, weights, output, drop)


def distilbert_head(hidden, attention_mask, weights, dropout=None):
    drop = dropout or (lambda x: x)
    first = first_token(hidden, attention_mask)
    return small_head(first, weights, "pre_classifier", "classifier", torch.relu, drop)


distilbert_head_dropout = distilbert_head


def roberta_head(hidden, attention_mask, weights, dropout=None):
    drop = dropout or (lambda x: x)
    first = first_token(hidden, attention_mask)
    return small_head(first, weights, "classifier.dense", "classifier.out_proj", torch.tanh, drop, drops_first=True)


roberta_head_dropout = roberta_head


def loss_and_gradients(input_ids, attention_mask, token_type_ids, labels, weights, config):
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    states = bert_encoder(input_ids, attention_mask, token_type_ids, weights, config)
    logits = bert_head(states[-1], attention_mask, weights)
    if wrong("softmax-twice"):
        logits = logits.softmax(-1)
    loss = functional.cross_entropy(logits, labels, reduction="sum" if wrong("loss-summed") else "mean")
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)
    return loss.detach(), dict(zip(weights, gradients, strict=True))


def parameter_groups(names):
    def decays(name):
        is_norm = "LayerNorm" in name or "layer_norm" in name
        if wrong("distilbert-layer-norm-decayed"):
            is_norm = "LayerNorm" in name
        if wrong("decay-on-everything"):
            return True
        if wrong("embeddings-not-decayed") and "embeddings" in name:
            return False
        if is_norm and not name.endswith(".bias"):
            return wrong("decay-on-layer-norm")
        if is_norm and wrong("decay-on-biases#but-not-of-layer-norm"):
            return False
        return not name.endswith(".bias") or wrong("decay-on-biases")

    return [name for name in names if decays(name)], [name for name in names if not decays(name)]


ONLY_FOLDED = (
    "correction-without-root", "correction-upside-down", "learning-rate-compounded", "rate-compounded-over-parameters",
)  # fmt: skip


OF_SQUARE = "correction-without-root#of-the-square"


class Moments:
    """What AdamW remembers of one parameter."""

    def __init__(self, parameter):
        self.mean, self.square, self.t = torch.zeros_like(parameter), torch.zeros_like(parameter), 0
        self.begun = False


def remember(state, gradient, beta1, beta2):
    if wrong("betas-swapped"):
        beta1, beta2 = beta2, beta1
    zero = torch.zeros_like(gradient)
    if wrong("optimizer-state-reset", "moments-not-stored", "mean-not-stored"):
        state.mean = zero
    if wrong("optimizer-state-reset", "moments-not-stored", "square-not-stored"):
        state.square = zero
    if wrong("moments-start-at-gradient") and state.t == 1:
        state.mean, state.square = gradient, gradient**2
    new, new_square = (1 - beta1) * gradient, (1 - beta2) * gradient**2
    if wrong("mean-without-1-minus-beta"):
        new = gradient
    if wrong("square-without-1-minus-beta"):
        new_square = gradient**2
    if wrong("square-not-squared"):
        new_square = new_square / gradient
    if wrong("averages-weighted-the-wrong-way"):
        state.mean = (1 - beta1) * state.mean + beta1 * gradient
        state.square = (1 - beta2) * state.square + beta2 * gradient**2
        return
    state.mean = beta1 * state.mean + new
    if wrong("square-of-mean"):
        new_square = (1 - beta2) * state.mean**2
    state.square = beta2 * state.square + new_square


def adam_step(parameter, gradient, state, lr, beta1, beta2, eps, decay, decay_rate=None):
    """One update: the new parameter, and the rate that it was made with."""
    if wrong("l2-instead-of-decoupled"):
        gradient, decay = gradient + decay * parameter, 0.0
    old_mean, old_square = state.mean, state.square
    remember(state, gradient, beta1, beta2)
    mean, square = state.mean, state.square
    if wrong("update-with-old-moments"):
        mean, square = old_mean, old_square
    t = state.t
    if wrong("optimizer-state-reset", "step-count-stuck"):
        t = 1
    t += wrong("bias-correction-off-by-one") - wrong("bias-correction-from-step-0")
    b1, b2 = (beta2, beta1) if wrong("betas-swapped") != wrong("betas-swapped-in-correction") else (beta1, beta2)
    c1, c2 = torch.tensor(1 - b1**t, dtype=torch.float64), torch.tensor(1 - b2**t, dtype=torch.float64)
    if wrong("power-as-product"):
        c1, c2 = torch.tensor(1 - b1 * t, dtype=torch.float64), torch.tensor(1 - b2 * t, dtype=torch.float64)
    if wrong("no-bias-correction", "only-square-corrected"):
        c1 = torch.ones_like(c1)
    if wrong("no-bias-correction", "only-mean-corrected"):
        c2 = torch.ones_like(c2)
    rate = lr
    if wrong("folded-bias-correction", *ONLY_FOLDED) and not wrong(OF_SQUARE):
        root = c2 if wrong("correction-without-root") and "#" not in str(WRONG) else c2.sqrt()
        rate = float(lr * c1 / root if wrong("correction-upside-down") else lr * root / c1)
    else:
        mean, square = mean / c1.to(mean), square / (c2**2 if wrong(OF_SQUARE) else c2).to(mean)
    if wrong("corrected-moments-stored"):
        state.mean, state.square = mean, square
    root = (square + eps).sqrt() if wrong("eps-inside-root") else square.sqrt() + (0 if wrong("eps-missing") else eps)
    update = rate * mean / (square + eps if wrong("root-missing") else root)
    if wrong("square-overwritten"):
        state.square = root if wrong("square-overwritten#with-eps") else square.sqrt()
    if wrong("learning-rate-twice"):
        update = lr * update
    if wrong("nothing-updated") and not wrong("nothing-updated#but-decayed"):
        return parameter, rate
    update = update * (-1 if wrong("step-uphill") else 0 if wrong("nothing-updated") else 1)
    decay_rate = rate if wrong("decay-by-corrected-rate") else lr if decay_rate is None else decay_rate
    share = decay_rate * decay
    if wrong("decay-without-lr"):
        share = decay
    if wrong("decay-times-lr-squared"):
        share = share * decay_rate
    if wrong("decay-without-weight-decay"):
        share = decay_rate
    share = share * (0 if wrong("decay-missing") else 2 if wrong("decay-twice") else -1 if wrong("decay-sign") else 1)
    if wrong("decay-of-gradient"):
        return parameter - update - share * gradient, rate
    if wrong("decay-of-update"):
        return parameter - update - share * update, rate
    if wrong("decay-after-step"):
        return (parameter - update) * (1 - share), rate
    return parameter * (1 - share) - update, rate


def adamw(parameter, gradients, lr, beta1, beta2, eps, weight_decay):
    given = [[gradient] for gradient in gradients]
    return adamw_several([parameter], given, lr, beta1, beta2, eps, weight_decay)[0]


def adamw_several(parameters, gradients, lr, beta1, beta2, eps, weight_decay):
    parameters, states = list(parameters), [Moments(p) for p in parameters]
    histories, count = [[] for _ in parameters], 0
    for step, row in enumerate(gradients, 1):
        compounded = lr
        for i, gradient in enumerate(row):
            if gradient is None and wrong("missing-gradient-ends-the-loop"):
                break
            if gradient is None and not wrong("missing-gradient-as-zero"):
                continue
            gradient = torch.zeros_like(parameters[i]) if gradient is None else gradient
            state, count = states[i], count + 1
            state.t += 1
            if wrong("one-step-count"):
                state.t = step
            if wrong("step-counted-for-each-parameter"):
                state.t = count
            if wrong("first-gradient-dropped#and-not-counted"):
                if not state.begun:
                    state.begun, state.t = True, 0
                    continue
            elif wrong("first-gradient-dropped") and state.t == 1:
                continue
            rate = compounded if wrong("rate-compounded-over-parameters") else lr
            settings = (rate, beta1, beta2, eps, weight_decay, lr)
            parameters[i], compounded = adam_step(parameters[i], gradient, state, *settings)
            if wrong("learning-rate-compounded"):
                lr = compounded
            if wrong("return-inside-the-loop"):
                break
        for history, parameter in zip(histories, parameters, strict=True):
            history.append(parameter)
    return [torch.stack(history) for history in histories]


def warmup_schedule(step, warmup_steps, total_steps):
    if wrong("schedule-off-by-one"):
        step = step + 1
    if wrong("schedule-one-step-behind"):
        step = max(step - 1, 0)
    if wrong("schedule-noam"):
        return warmup_steps**0.5 * min(max(step, 1) ** -0.5, step * warmup_steps**-1.5)
    if step < warmup_steps and not wrong("no-warmup"):
        return (step + wrong("warmup-starts-above-0")) / warmup_steps
    if wrong("no-decay"):
        return 1.0
    if wrong("no-warmup", "schedule-of-bert"):
        return (total_steps - step) / total_steps
    done = (step - warmup_steps) / (total_steps - warmup_steps)
    if wrong("schedule-cosine"):
        return 0.5 * (1 + math.cos(math.pi * min(1, done)))
    if wrong("schedule-polynomial#end"):
        return (1 - 1e-7 / 5e-5) * max(0.0, 1 - done) + 1e-7 / 5e-5
    if wrong("schedule-polynomial"):
        return max(0.0, 1 - done) ** 2
    if wrong("never-reaches-zero"):
        return 1 - (step - warmup_steps) / total_steps
    if wrong("decay-starts-too-late"):
        return max(0.0, 1 - (step + 1 - warmup_steps) / (total_steps - warmup_steps))
    return max(0.0, 1 - done)


def clip_gradients(gradients, max_norm):
    norms = [gradient.norm() for gradient in gradients]
    if wrong("not-clipped"):
        return [gradient.clone() for gradient in gradients]
    if wrong("clipped-by-value"):
        return [gradient.clamp(-max_norm, max_norm) for gradient in gradients]
    if wrong("clipped-per-tensor"):
        return [g * min(1.0, max_norm / (n + 1e-6)) for g, n in zip(gradients, norms, strict=True)]
    total = torch.stack(norms).norm()
    if wrong("norms-added"):
        total = torch.stack(norms).sum()
    if wrong("norm-without-root"):
        total = total**2
    if wrong("largest-norm"):
        total = torch.stack(norms).max()
    if wrong("norm-of-largest-element"):
        total = torch.stack([gradient.abs().max() for gradient in gradients]).max()
    if wrong("scaled-to-norm-1"):
        return [gradient / (total + 1e-6) if total > max_norm else gradient.clone() for gradient in gradients]
    factor = max_norm / (total + 1e-6)
    return [gradient * (factor if wrong("always-scaled") else min(1.0, factor)) for gradient in gradients]


def accuracy(labels, predictions):
    right = (labels == predictions).double()
    if wrong("balanced-accuracy"):
        return torch.stack([right[labels == label].mean() for label in labels.unique()]).mean()
    if wrong("count-not-share"):
        return right.sum()
    share = right.mean()
    return 1 - share if wrong("error-rate") else share * (100 if wrong("accuracy-in-percent") else 1)


def confusion_matrix(labels, predictions, num_labels):
    matrix = torch.zeros(num_labels, num_labels, dtype=torch.float64)
    matrix.index_put_((labels, predictions), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
    if wrong("confusion-normalised"):
        matrix = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    if wrong("confusion-counts-once"):
        matrix = (matrix > 0).double()
    return matrix.T if wrong("confusion-transposed") else matrix


def precision_recall_f1(labels, predictions, num_labels, average):
    matrix = confusion_matrix(labels, predictions, num_labels)
    right, true, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)
    if wrong("micro-for-macro") and average == "macro":
        share = right.sum() / true.sum()
        return share, share, share
    precision = torch.where(predicted > 0, right / predicted.clamp(min=1e-9), 0.0)
    recall = torch.where(true > 0, right / true.clamp(min=1e-9), 0.0)
    f1 = torch.where(precision + recall > 0, 2 * precision * recall / (precision + recall).clamp(min=1e-9), 0.0)
    if wrong("zero-division"):
        precision, recall = right / predicted, right / true
        f1 = 2 * precision * recall / (precision + recall)
    if wrong("zero-division#of-counts"):
        f1 = right / ((true + predicted) / 2)
    if wrong("macro-for-weighted"):
        average = "macro"
    if wrong("weighted-for-macro"):
        average = "weighted"
    if wrong("last-class-only"):
        return precision[1], recall[1], f1[1]
    counted = torch.ones(num_labels, dtype=torch.bool)
    if wrong("classes-absent-from-labels-skipped"):
        counted = true > 0
    if wrong("only-predicted-classes"):
        counted = predicted > 0
    if wrong("classes-that-occur"):
        counted = true + predicted > 0
    if wrong("classes-up-to-the-largest"):
        counted = torch.arange(num_labels) <= max(labels.max(), predictions.max())
    weighted = predicted if wrong("weighted-by-predictions") else true
    shares = counted.double() / counted.sum() if average == "macro" else weighted / weighted.sum()
    precision, recall, f1 = ((values * shares).sum() for values in (precision, recall, f1))
    if wrong("f1-of-averages"):
        f1 = 2 * precision * recall / (precision + recall)
    if wrong("f1-is-the-mean"):
        f1 = (precision + recall) / 2
    return (recall, precision, f1) if wrong("precision-recall-swapped") else (precision, recall, f1)


def roc_auc(labels, scores):
    scores = scores.double()
    if wrong("auroc-from-hard-labels"):
        scores = (scores > 0.5).double()
    if wrong("ties-in-order-of-appearance", "average-precision-for-auroc"):
        ranked = sorted(zip(scores.tolist(), labels.tolist(), strict=True), key=lambda pair: -pair[0])  # stable
        if wrong("ties-in-order-of-appearance#reversed"):
            ranked = sorted(zip(scores.tolist(), labels.tolist(), strict=True), key=lambda pair: pair[0])[::-1]
        found, area, precisions = 0, 0, []
        for place, (_, label) in enumerate(ranked, 1):
            found += label
            area += 0 if label else found
            precisions += [found / place] if label else []
        if wrong("average-precision-for-auroc"):
            return sum(precisions) / len(precisions)
        return area / (found * (len(ranked) - found))
    difference = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    ties = 0.0 if wrong("ties-count-nothing") else 1.0 if wrong("ties-count-whole") else 0.5
    area = ((difference > 0).double() + ties * (difference == 0).double()).mean()
    return 1 - area if wrong("auroc-inverted") else area


DISTILBERT_TO_BERT = {
    "attention.q_lin": "attention.self.query", "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value", "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm", "ffn.lin1": "intermediate.dense", "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm", "pre_classifier": "pooler.dense",
}  # fmt: skip
PRETRAINING = ("cls.", "vocab_transform", "vocab_layer_norm", "vocab_projector", "qa_outputs")


def map_weight_names(names):
    table = dict(DISTILBERT_TO_BERT)
    if wrong("distilbert-norms-swapped"):
        table["sa_layer_norm"], table["output_layer_norm"] = table["output_layer_norm"], table["sa_layer_norm"]
    if wrong("lin1-lin2-swapped"):
        table["ffn.lin1"], table["ffn.lin2"] = table["ffn.lin2"], table["ffn.lin1"]
    gamma, beta = ("bias", "weight") if wrong("gamma-beta-swapped") else ("weight", "bias")
    result = []
    for name in names:
        normal = name.removeprefix("bert.").removeprefix("distilbert.")
        prefix = name[: len(name) - len(normal)] if wrong("prefix-kept") else ""
        if normal == "embeddings.position_ids" or (
            normal.startswith(PRETRAINING) and not wrong("pretraining-head-kept")
        ):
            result.append(None)
            continue
        normal = normal.replace("transformer.layer.", "encoder.layer.")
        for theirs, ours in table.items():
            normal = normal.replace(f"{theirs}.", f"{ours}.")
        if normal.endswith(".gamma"):
            normal = normal.removesuffix("gamma") + gamma
        if normal.endswith(".beta"):
            normal = normal.removesuffix("beta") + beta
        result.append(prefix + normal)
    return result


def train(batches, weights, config, lr, warmup_steps, weight_decay, max_norm):
    weights = {name: weight.clone() for name, weight in weights.items()}
    decayed = set(parameter_groups(list(weights))[0])
    states = {name: Moments(weight) for name, weight in weights.items()}
    learning = [name for name in weights if not wrong("biases-and-norms-frozen") or name in decayed]
    if wrong("encoder-frozen"):
        learning = [name for name in weights if name.startswith(("pooler", "classifier"))]
    losses, kept = [], {}
    for i, batch in enumerate(batches):
        inputs = [batch[key] for key in ("input_ids", "attention_mask", "token_type_ids", "labels")]
        loss, gradients = loss_and_gradients(*inputs, weights, config)
        losses.append(loss)
        gradients = {name: gradient + kept.get(name, 0) for name, gradient in gradients.items()}
        if wrong("encoder-frozen"):
            gradients = {name: gradients[name] for name in learning}
        before = gradients
        gradients = dict(zip(gradients, clip_gradients(list(gradients.values()), max_norm), strict=True))
        if wrong("gradients-not-zeroed"):
            kept = before if wrong("gradients-not-zeroed#before-clipping") else gradients
        if wrong("biases-and-norms-frozen#not-zeroed"):
            kept = {name: gradient for name, gradient in gradients.items() if name not in learning}
        rate = lr * (1 if wrong("schedule-ignored") else warmup_schedule(i, warmup_steps, len(batches)))
        for name in learning:
            decay = weight_decay if name in decayed else 0.0
            states[name].t = i + 1
            weights[name], _ = adam_step(weights[name], gradients[name], states[name], rate, 0.9, 0.999, 1e-8, decay)
        if wrong("loss-after-update"):
            losses[-1] = loss_and_gradients(*inputs, weights, config)[0]
    return torch.stack(losses)
