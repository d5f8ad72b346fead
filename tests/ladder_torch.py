"""Every rung of the parity ladder in plain PyTorch, with one mistake at a time on request: set `WRONG` to its name.

`make/make_ladder.py` takes the stored outputs of the known mistakes from here; the tests run it through the ladder,
right and wrong, in float32 and float64. Not written to be read as a lesson: `examples/my_bert_numpy.py` is.
"""

import math
import unicodedata

import torch
from torch.nn import functional

from minibert.parity.mistakes import MISTAKES

WRONG = None  # a name in MISTAKES, or NAME#VARIANT: the same mistake, made in another way

VARIANTS = (
    "mask-inverted#additive",  # -1e4 added to scores, not put in their place: differs where a row is all blocked
    "softmax-over-queries#additive",
    "decay-on-biases#but-not-of-layer-norm",
)


def wrong(name):
    assert name.split("#")[0] in MISTAKES, name
    return WRONG is not None and name == (WRONG if "#" in name else WRONG.split("#")[0])


def wordpiece(text, pair, vocabulary, max_length):
    table = {piece: i for i, piece in enumerate(vocabulary)}
    sequences = [words_to_pieces(basic_words(part), table) for part in (text, pair) if part is not None]
    special = 2 if pair is None else 3
    room = max_length - special
    if wrong("truncation-loses-sep"):
        room = 10**6
    first_shorter = pair is not None and len(sequences[0]) <= len(sequences[1])  # decides ties, as in tokenizers
    while sum(map(len, sequences)) > room:
        first, second = len(sequences[0]), len(sequences[1]) if pair else 0
        longer = 0 if first > second or (first == second and first_shorter) else 1
        sequences[longer] = sequences[longer][:-1]
    ids = [table["[CLS]"], *sequences[0], table["[SEP]"]]
    types = [0] * len(ids)
    if pair is not None:
        second = sequences[1] + ([] if wrong("second-sep-missing") else [table["[SEP]"]])
        ids += second
        types += [0 if wrong("pair-types-all-0") else 1] * len(second)
    return ids[:max_length], types[:max_length]


def basic_words(text):
    if not wrong("not-lowercased"):
        text = text.lower()
    if not wrong("accents-kept"):
        text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    spaced = ""
    for c in text:
        ascii_mark = 33 <= ord(c) <= 47 or 58 <= ord(c) <= 64 or 91 <= ord(c) <= 96 or 123 <= ord(c) <= 126
        mark = ascii_mark or unicodedata.category(c).startswith("P")
        chinese = 0x4E00 <= ord(c) <= 0x9FFF
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
            piece = next((p for end in ends if (p := ("##" if start else "") + word[start:end]) in table), None)
            if piece is None:
                pieces = (pieces if wrong("partial-unknown") else []) + [table["[UNK]"]]
                break
            pieces.append(table[piece])
            start += len(piece) - (2 if start else 0)
        ids += pieces
    return ids


def layer_norm(x, weight, bias, eps):
    axis = 1 if wrong("normalised-over-tokens") else -1
    eps = 1e-5 if wrong("eps-1e-5") else 1e-6 if wrong("eps-1e-6") else eps
    centred = x - x.mean(axis, keepdim=True)
    variance = x.var(axis, correction=1 if wrong("unbiased-variance") else 0, keepdim=True)
    if wrong("layer-norm-gradient-incomplete"):
        centred, variance = x - x.mean(axis, keepdim=True).detach(), variance.detach()
    spread = variance.sqrt() + eps if wrong("eps-outside-root") else (variance + eps).sqrt()
    normal = centred / spread
    return normal if wrong("no-scale-and-shift") else normal * weight + bias


def gelu(x):
    if wrong("gelu-tanh"):
        return functional.gelu(x, approximate="tanh")
    if wrong("gelu-sigmoid"):
        return x * torch.sigmoid(1.702 * x)
    if wrong("relu"):
        return x.relu()
    if wrong("activation-missing"):
        return x
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def linear(x, weights, name):
    weight, bias = weights[name + ".weight"], weights[name + ".bias"]
    if wrong("weights-untransposed") and weight.shape[0] == weight.shape[1]:
        weight = weight.T
    if wrong("bias-missing"):
        return x @ weight.T
    return x @ weight.T + (bias.detach() + 0 * bias if wrong("bias-gradient-missing") else bias)


def norm(x, weights, name, eps):
    return layer_norm(x, weights[name + ".weight"], weights[name + ".bias"], eps)


def embed(input_ids, token_type_ids, attention_mask, weights, eps):
    words = weights["embeddings.word_embeddings.weight"]
    if wrong("repeated-tokens-overwrite"):  # the last occurrence alone passes its gradient on
        rows = words[input_ids]
        flat = input_ids.flatten().tolist()
        last = torch.tensor([i == len(flat) - 1 - flat[::-1].index(token) for i, token in enumerate(flat)])
        hidden = torch.where(last.view(*input_ids.shape, 1), rows, rows.detach())
    else:
        hidden = words[input_ids]
    if wrong("embeddings-scaled"):
        hidden = hidden * math.sqrt(hidden.shape[-1])
    table, length = weights["embeddings.position_embeddings.weight"], input_ids.shape[1]
    positions = torch.arange(length).expand_as(input_ids)
    if wrong("positions-off-by-one"):
        positions = positions + 1
    if wrong("positions-count-real-tokens"):
        positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    if wrong("positions-from-table-end"):
        positions = positions + len(table) - length
    if not wrong("positions-missing"):
        hidden = hidden + table[positions]
    if token_type_ids is not None and not wrong("token-types-missing"):
        types = torch.ones_like(token_type_ids) if wrong("token-types-all-1") else token_type_ids
        hidden = hidden + weights["embeddings.token_type_embeddings.weight"][types]
    return hidden if wrong("embeddings-without-layer-norm") else norm(hidden, weights, "embeddings.LayerNorm", eps)


def bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config):
    return embed(input_ids, token_type_ids, attention_mask, weights, config["layer_norm_eps"])


def distilbert_embeddings(input_ids, attention_mask, weights, config):
    return embed(input_ids, None, attention_mask, weights, 1e-12)


def attention_probabilities(query, key, attention_mask, dropout=None):
    if wrong("query-key-swapped"):
        query, key = key, query
    heads, width = query.shape[1], query.shape[-1]
    scale = {"scaled-by-hidden-size": heads * width, "not-scaled": 1, "scaled-twice": width**2}.get(WRONG, width)
    scores = query @ key.transpose(-1, -2) / math.sqrt(scale)
    if dropout and wrong("dropout-before-softmax"):
        scores = dropout(scores)
    blocked = (attention_mask == (1 if wrong("mask-inverted") else 0))[:, None, None, :]
    if wrong("mask-on-queries"):
        blocked = blocked.transpose(-1, -2)
    if not (wrong("no-mask") or wrong("mask-after-softmax")):
        scores = scores - 1e4 * blocked if "#additive" in str(WRONG) else scores.masked_fill(blocked, -1e4)
    axis = -2 if wrong("softmax-over-queries") else -1
    probabilities = scores.softmax(axis)
    if wrong("softmax-gradient-elementwise"):
        constant = probabilities.detach()
        slope = constant * (1 - constant)
        probabilities = constant + slope * (scores - scores.detach())
    if wrong("mask-after-softmax"):
        probabilities = probabilities.masked_fill(blocked, 0)
    if dropout and not (wrong("dropout-before-softmax") or wrong("no-dropout-on-probabilities")):
        probabilities = dropout(probabilities)
    return probabilities


def split(x, heads):
    batch, length, width = x.shape
    if wrong("heads-split-by-reshape"):
        return x.reshape(batch, heads, length, width // heads)
    return x.reshape(batch, length, heads, width // heads).transpose(1, 2)


def attend(hidden, mask, weights, heads, names, dropout=None):
    query, key, value, output = names
    if WRONG == "query-value-swapped":
        query, value = value, query
    query, key, value = (split(linear(hidden, weights, name), heads) for name in (query, key, value))
    context = attention_probabilities(query, key, mask, dropout) @ value
    if not wrong("heads-not-transposed-back"):
        context = context.transpose(1, 2)
    context = context.reshape(hidden.shape)
    return context if wrong("no-output-projection") else linear(context, weights, output)


BERT_NAMES = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
DISTILBERT_NAMES = ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin")


def multi_head_attention(hidden, attention_mask, weights, config):
    return attend(hidden, attention_mask, weights, config["num_attention_heads"], BERT_NAMES)


def feed_forward(hidden, weights, config):
    return linear(gelu(linear(hidden, weights, "intermediate.dense")), weights, "output.dense")


def run_layer(hidden, attention, forward, first_norm, second_norm, dropout=None, dropout_after_attention=True):
    """One layer from its two functions and its two LayerNorms."""
    drop = dropout or (lambda x: x)
    drop_attention = drop if dropout_after_attention else (lambda x: x)
    if wrong("no-dropout-after-attention"):
        drop_attention = lambda x: x  # noqa: E731
    if wrong("dropout-after-attention"):
        drop_attention = drop
    if wrong("layer-norms-exchanged"):
        first_norm, second_norm = second_norm, first_norm
    if wrong("pre-norm"):
        hidden = hidden + drop_attention(attention(first_norm(hidden)))
        return hidden + drop(forward(second_norm(hidden)))
    if wrong("layer-norm-before-residual"):
        hidden = hidden + first_norm(drop_attention(attention(hidden)))
        return hidden + second_norm(drop(forward(hidden)))
    if wrong("dropout-after-layer-norm"):
        hidden = drop_attention(first_norm(hidden + attention(hidden)))
        return drop(second_norm(hidden + forward(hidden)))
    attended = drop_attention(attention(hidden))
    hidden = first_norm(attended if wrong("no-attention-residual") else hidden + attended)
    forwarded = drop(forward(hidden))
    return second_norm(forwarded if wrong("no-feed-forward-residual") else hidden + forwarded)


def layer(hidden, attention_mask, weights, config, dropout=None):
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    return run_layer(
        hidden,
        lambda x: attend(x, attention_mask, weights, heads, BERT_NAMES, dropout),
        lambda x: feed_forward(x, weights, config),
        lambda x: norm(x, weights, "attention.output.LayerNorm", eps),
        lambda x: norm(x, weights, "output.LayerNorm", eps),
        dropout,
    )


bert_layer_dropout = layer


def distilbert_layer_dropout(hidden, attention_mask, weights, config, dropout=None):
    return run_layer(
        hidden,
        lambda x: attend(x, attention_mask, weights, config["n_heads"], DISTILBERT_NAMES, dropout),
        lambda x: linear(gelu(linear(x, weights, "ffn.lin1")), weights, "ffn.lin2"),
        lambda x: norm(x, weights, "sa_layer_norm", 1e-12),
        lambda x: norm(x, weights, "output_layer_norm", 1e-12),
        dropout,
        dropout_after_attention=False,
    )


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
        states.append(distilbert_layer_dropout(states[-1], attention_mask, part, config))
    if wrong("last-layer-missing"):
        states[-1] = states[-2]
    return states


def pooler(hidden, attention_mask, weights):
    first = hidden[:, 0]
    if wrong("pooler-reads-last-token"):
        first = hidden[:, -1]
    if wrong("pooler-reads-mean"):
        first = mean_pooling(hidden, attention_mask)
    pooled = linear(first, weights, "pooler.dense")
    return pooled if wrong("pooler-without-tanh") else pooled.tanh()


def mean_pooling(hidden, attention_mask):
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    if wrong("mean-over-all-positions"):
        return hidden.mean(1)
    if wrong("sum-divided-by-length"):
        return (hidden * weights).sum(1) / hidden.shape[1]
    if wrong("mean-without-cls"):
        hidden, weights = hidden[:, 1:], weights[:, 1:]
    return (hidden * weights).sum(1) / weights.sum(1)


def bert_head(hidden, attention_mask, weights):
    pooled = hidden[:, 0] if wrong("classifier-without-pooler") else pooler(hidden, attention_mask, weights)
    return linear(pooled, weights, "classifier")


def distilbert_head(hidden, attention_mask, weights):
    dense = linear(hidden[:, 0], weights, "pre_classifier")
    if not wrong("head-without-relu"):
        dense = dense.tanh() if wrong("head-tanh-for-relu") else dense.relu()
    return linear(dense, weights, "classifier")


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


def adam_step(parameter, gradient, mean, square, t, lr, beta1, beta2, eps, decay):
    if wrong("l2-instead-of-decoupled"):
        gradient, decay = gradient + decay * parameter, 0.0
    parameter = parameter - (1 if wrong("decay-without-lr") else lr) * decay * parameter
    mean = beta1 * mean + (1 - beta1) * gradient
    square = beta2 * square + (1 - beta2) * gradient**2
    if wrong("bias-correction-off-by-one"):
        t = t + 1
    c1, c2 = (1, 1) if wrong("no-bias-correction") else (1 - beta1**t, 1 - beta2**t)
    root = (square / c2 + eps).sqrt() if wrong("eps-inside-root") else (square / c2).sqrt() + eps
    return parameter - lr * (mean / c1) / root, mean, square


def adamw(parameter, gradients, lr, beta1, beta2, eps, weight_decay):
    mean, square, result = torch.zeros_like(parameter), torch.zeros_like(parameter), []
    for t, gradient in enumerate(gradients, 1):
        parameter, mean, square = adam_step(parameter, gradient, mean, square, t, lr, beta1, beta2, eps, weight_decay)
        result.append(parameter)
    return torch.stack(result)


def warmup_schedule(step, warmup_steps, total_steps):
    if wrong("schedule-off-by-one"):
        step = step + 1
    if step < warmup_steps and not wrong("no-warmup"):
        return step / warmup_steps
    if wrong("no-decay"):
        return 1.0
    if wrong("no-warmup"):
        return (total_steps - step) / total_steps
    done = (step - warmup_steps) / (total_steps - warmup_steps)
    if wrong("cosine-decay"):
        return 0.5 * (1 + math.cos(math.pi * done))
    if wrong("never-reaches-zero"):
        return 1 - (step - warmup_steps) / total_steps
    return max(0.0, 1 - done)


def clip_gradients(gradients, max_norm):
    norms = [gradient.norm() for gradient in gradients]
    if wrong("not-clipped"):
        return [gradient.clone() for gradient in gradients]
    if wrong("clipped-by-value"):
        return [gradient.clamp(-max_norm, max_norm) for gradient in gradients]
    if wrong("clipped-per-tensor"):
        return [g * min(1.0, max_norm / (n + 1e-6)) for g, n in zip(gradients, norms, strict=True)]
    factor = max_norm / (torch.stack(norms).norm() + 1e-6)
    return [gradient * (factor if wrong("always-scaled") else min(1.0, factor)) for gradient in gradients]


def accuracy(labels, predictions):
    return (labels == predictions).double().mean()


def confusion_matrix(labels, predictions, num_labels):
    matrix = torch.zeros(num_labels, num_labels, dtype=torch.float64)
    matrix.index_put_((labels, predictions), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
    if wrong("confusion-normalised"):
        matrix = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
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
    if wrong("macro-for-weighted"):
        average = "macro"
    if wrong("weighted-for-macro"):
        average = "weighted"
    shares = torch.full((num_labels,), 1 / num_labels, dtype=torch.float64) if average == "macro" else true / true.sum()
    precision, recall, f1 = ((values * shares).sum() for values in (precision, recall, f1))
    if wrong("f1-of-averages"):
        f1 = 2 * precision * recall / (precision + recall)
    return (recall, precision, f1) if wrong("precision-recall-swapped") else (precision, recall, f1)


def roc_auc(labels, scores):
    scores = scores.double()
    if wrong("auroc-from-hard-labels"):
        scores = (scores > 0.5).double()
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
    state = {name: (torch.zeros_like(weight), torch.zeros_like(weight)) for name, weight in weights.items()}
    losses = []
    for i, batch in enumerate(batches):
        loss, gradients = loss_and_gradients(
            batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], batch["labels"], weights, config
        )
        losses.append(loss)
        gradients = dict(zip(gradients, clip_gradients(list(gradients.values()), max_norm), strict=True))
        rate = lr * (1 if wrong("schedule-ignored") else warmup_schedule(i, warmup_steps, len(batches)))
        t = i + 1
        if wrong("optimizer-state-reset"):
            t, state = 1, {name: (torch.zeros_like(w), torch.zeros_like(w)) for name, w in weights.items()}
        for name in weights:
            decay = weight_decay if name in decayed else 0.0
            weights[name], *state[name] = adam_step(
                weights[name], gradients[name], *state[name], t, rate, 0.9, 0.999, 1e-8, decay
            )
    return torch.stack(losses)
