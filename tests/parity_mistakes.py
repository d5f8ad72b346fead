"""Well-known mistakes, each as one edit to examples/my_bert_numpy.py: `broken(mistake)` is the file with it.

`old` stands in the file exactly once; `new` in its place makes just that mistake and leaves the rest right. `rung` is
the first of the ladder that must notice; most mistakes spoil later rungs as well. A name is what `minibert.parity`
calls the mistake, and two rungs may share it. `ladder_torch.py` makes the same mistakes in PyTorch, with autograd;
here the arrays are NumPy's and the gradients by hand, so that each can check the other.
"""

from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "examples" / "my_bert_numpy.py"


@dataclass(frozen=True)
class Mistake:
    name: str
    rung: str
    old: str
    new: str


def broken(mistake):
    """The text of my_bert_numpy.py with this mistake in it."""
    source = SOURCE.read_text(encoding="utf-8")
    found = source.count(mistake.old)
    assert found == 1, f"{mistake.rung}, {mistake.name}: its text occurs {found} times in {SOURCE.name}: {mistake.old}"
    return source.replace(mistake.old, mistake.new)


# Lines of the file that more than one mistake takes as its place.

CUT_AND_JOIN = """\
    room = max_length - (2 if pair is None else 3)  # what the special tokens leave
    shorter = len(first) <= len(second)  # in a tie the text that was shorter gives way, as Hugging Face has it
    while len(first) + len(second) > room:
        (first if len(first) + shorter > len(second) else second).pop()
    parts = [["[CLS]", *first, "[SEP]"]]
    if pair is not None:
        parts.append([*second, "[SEP]"])
    ids = [number[piece] for part in parts for piece in part]
    types = [i for i, part in enumerate(parts) for _ in part]
    return ids, types
"""
JOIN_AND_CUT = """\
    parts = [["[CLS]", *first, "[SEP]"]]
    if pair is not None:
        parts.append([*second, "[SEP]"])
    ids = [number[piece] for part in parts for piece in part]
    types = [i for i, part in enumerate(parts) for _ in part]
    return ids[:max_length], types[:max_length]
"""

ACCENTS = """\
    for character in unicodedata.normalize("NFD", text.lower()):  # NFD takes é apart: an e, then an accent (Mn)
        kind = unicodedata.category(character)
        invisible = kind in ("Cc", "Cf", "Co") and character not in "\\t\\n\\r"
        if kind == "Mn" or invisible"""

CENTRED = "    centred = x - x.mean(-1, keepdims=True)\n"
DEVIATION = "    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)"

POSITIONS = "positions = np.arange(input_ids.shape[1])"

PRODUCTS = "query @ key.swapaxes(2, 3) / math.sqrt(query.shape[3])"
MASKING = "    scores = scores + np.where(attention_mask[:, None, None, :] == 1, 0, -30000).astype(scores.dtype)\n"
PROBABILITIES = "    probabilities = dropout(attention_probabilities(query, key, attention_mask))"

LAYER = """\
    attended = multi_head_attention(hidden, attention_mask, weights, config, dropout)
    hidden = norm(hidden + dropout(attended), weights, "attention.output.LayerNorm", config)
    worked = feed_forward(hidden, weights, config)
    return norm(hidden + dropout(worked), weights, "output.LayerNorm", config)
"""
PRE_NORM = """\
    normal = norm(hidden, weights, "attention.output.LayerNorm", config)
    hidden = hidden + dropout(multi_head_attention(normal, attention_mask, weights, config, dropout))
    normal = norm(hidden, weights, "output.LayerNorm", config)
    return hidden + dropout(feed_forward(normal, weights, config))
"""
NORM_BEFORE_RESIDUAL = """\
    attended = multi_head_attention(hidden, attention_mask, weights, config, dropout)
    hidden = hidden + norm(dropout(attended), weights, "attention.output.LayerNorm", config)
    worked = feed_forward(hidden, weights, config)
    return hidden + norm(dropout(worked), weights, "output.LayerNorm", config)
"""
NORMS_EXCHANGED = """\
    attended = multi_head_attention(hidden, attention_mask, weights, config, dropout)
    hidden = norm(hidden + dropout(attended), weights, "output.LayerNorm", config)
    worked = feed_forward(hidden, weights, config)
    return norm(hidden + dropout(worked), weights, "attention.output.LayerNorm", config)
"""
DROPOUT_LAST = """\
    attended = multi_head_attention(hidden, attention_mask, weights, config, dropout)
    hidden = dropout(norm(hidden + attended, weights, "attention.output.LayerNorm", config))
    worked = feed_forward(hidden, weights, config)
    return dropout(norm(hidden + worked, weights, "output.LayerNorm", config))
"""

ALL_LAYERS = """\
    for number in range(config["num_hidden_layers"]):
        states.append(layer(states[-1], attention_mask, layer_weights(weights, number), config))
    return states
"""
# The last state comes twice, so that the list has its full length: a shorter one gives itself away by its shape.
LAST_LAYER_MISSING = """\
    for number in range(config["num_hidden_layers"] - 1):
        states.append(layer(states[-1], attention_mask, layer_weights(weights, number), config))
    return [*states, states[-1]]
"""

POOLED = 'np.tanh(linear(hidden[:, 0], weights, "pooler.dense"))'
MEAN = "    return (hidden * real).sum(1) / real.sum(1)"
RELU = "np.maximum(dense, 0)"

SPARED = 'spared = name.endswith(".bias") or "LayerNorm" in name or "layer_norm" in name'

DECAY = "    parameter = parameter - lr * weight_decay * parameter"
TRUE_MEAN = "    true_mean = mean / (1 - beta1**step)\n"
TRUE_SQUARE = "    true_square = square / (1 - beta2**step)\n"

UP = "        return step / warmup_steps\n"
DOWN = "    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))"

FACTOR = "min(1.0, max_norm / (total + 1e-6))"
CLIPPED = "[gradient * factor for gradient in gradients]"

SHARES = '    shares = actual if average == "weighted" else np.ones(num_labels)'
AVERAGES = "    return tuple(float(np.average(figure, weights=shares)) for figure in (precision, recall, f1))"

TRANSLATED = "bert_name(name, BERT_NAMES))\n    return result"

UPDATES = """\
        updated = {}
        for name, array in weights.items():
            settings = (step + 1, rate,"""
UPDATES_FROM_NOTHING = """\
        updated = {}
        averages = {name: (np.zeros_like(array), np.zeros_like(array)) for name, array in weights.items()}
        for name, array in weights.items():
            settings = (1, rate,"""


MISTAKES = (
    # ---- wordpiece
    Mistake("not-lowercased", "wordpiece", "text.lower()", "text"),
    Mistake(
        "accents-kept", "wordpiece", ACCENTS,
        ACCENTS.replace('unicodedata.normalize("NFD", text.lower())', "text.lower()").replace('kind == "Mn" or ', ""),
    ),
    Mistake(
        "punctuation-not-split", "wordpiece",
        '    if character in string.punctuation or unicodedata.category(character).startswith("P"):\n'
        "        return True\n",
        "",
    ),
    Mistake(
        "shortest-piece-first", "wordpiece", "range(len(word), start, -1)", "range(start + 1, len(word) + 1)",
    ),
    Mistake(
        "partial-unknown", "wordpiece",
        '        else:\n            return ["[UNK]"]', '        else:\n            return [*pieces, "[UNK]"]',
    ),
    Mistake("truncation-loses-sep", "wordpiece", CUT_AND_JOIN, JOIN_AND_CUT),
    Mistake(
        "pair-types-all-0", "wordpiece", "types = [i for i, part in enumerate(parts) for _ in part]",
        "types = [0 for _ in ids]",
    ),
    Mistake("second-sep-missing", "wordpiece", 'parts.append([*second, "[SEP]"])', "parts.append(second)"),
    # ---- layer_norm
    Mistake(
        "unbiased-variance", "layer_norm", "(centred**2).mean(-1, keepdims=True)",
        "(centred**2).sum(-1, keepdims=True) / (x.shape[-1] - 1)",
    ),
    Mistake("eps-1e-5", "layer_norm", DEVIATION, DEVIATION.replace("eps", "1e-5")),
    Mistake("eps-1e-6", "layer_norm", DEVIATION, DEVIATION.replace("eps", "1e-6")),
    Mistake("eps-outside-root", "layer_norm", DEVIATION, DEVIATION.replace(" + eps)", ") + eps")),
    Mistake("no-scale-and-shift", "layer_norm", "return normal * weight + bias", "return normal"),
    Mistake(
        "normalised-over-tokens", "layer_norm",
        CENTRED + DEVIATION, (CENTRED + DEVIATION).replace("mean(-1,", "mean(1,"),
    ),
    # ---- gelu
    Mistake(
        "gelu-tanh", "gelu", "return x * normal_cdf(x)",
        "return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))",
    ),
    Mistake("gelu-sigmoid", "gelu", "return x * normal_cdf(x)", "return x / (1 + np.exp(-1.702 * x))"),
    Mistake("relu", "gelu", "return x * normal_cdf(x)", "return np.maximum(x, 0)"),
    # ---- bert_embeddings
    Mistake("token-types-missing", "bert_embeddings", " + weights[TYPES][token_type_ids]", ""),
    Mistake("token-types-all-1", "bert_embeddings", "weights[TYPES][token_type_ids]", "weights[TYPES][1]"),
    Mistake("positions-off-by-one", "bert_embeddings", POSITIONS, POSITIONS + " + 1"),
    Mistake(
        "positions-count-real-tokens", "bert_embeddings", POSITIONS,
        "positions = attention_mask.cumsum(1) - attention_mask",
    ),
    Mistake("positions-from-table-end", "bert_embeddings", POSITIONS, "positions = np.arange(-input_ids.shape[1], 0)"),
    Mistake(
        "embeddings-without-layer-norm", "bert_embeddings",
        'return norm(summed, weights, "embeddings.LayerNorm", config)', "return summed",
    ),
    Mistake("positions-missing", "bert_embeddings", " + weights[POSITIONS][positions]", ""),
    Mistake(
        "embeddings-scaled", "bert_embeddings", "weights[WORDS][input_ids] + weights[POSITIONS][positions]",
        "weights[WORDS][input_ids] * math.sqrt(weights[WORDS].shape[1]) + weights[POSITIONS][positions]",
    ),
    # ---- attention_probabilities
    Mistake(
        "scaled-by-hidden-size", "attention_probabilities", PRODUCTS,
        "query @ key.swapaxes(2, 3) / math.sqrt(query.shape[1] * query.shape[3])",
    ),
    Mistake("not-scaled", "attention_probabilities", PRODUCTS, "query @ key.swapaxes(2, 3)"),
    Mistake("scaled-twice", "attention_probabilities", PRODUCTS, "query @ key.swapaxes(2, 3) / query.shape[3]"),
    Mistake("no-mask", "attention_probabilities", MASKING, ""),
    # In a text without padding this blocks all keys alike, which to an added number is the same as blocking none.
    Mistake("mask-inverted", "attention_probabilities", MASKING, MASKING.replace("== 1", "== 0")),
    Mistake(
        "mask-after-softmax", "attention_probabilities", MASKING + "    return softmax(scores)",
        "    return softmax(scores) * attention_mask[:, None, None, :].astype(scores.dtype)",
    ),
    Mistake("mask-on-queries", "attention_probabilities", MASKING, MASKING.replace("None, None, :", "None, :, None")),
    Mistake(
        "softmax-over-queries", "attention_probabilities",
        "return softmax(scores)", "return softmax(scores.swapaxes(2, 3)).swapaxes(2, 3)",
    ),
    Mistake(
        "query-key-swapped", "attention_probabilities", PRODUCTS,
        "key @ query.swapaxes(2, 3) / math.sqrt(query.shape[3])",
    ),
    # ---- multi_head_attention
    Mistake(
        "heads-split-by-reshape", "multi_head_attention",
        "return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)",
        "return x.reshape(batch, heads, length, width // heads)",
    ),
    Mistake(
        "heads-not-transposed-back", "multi_head_attention",
        "return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * width)",
        "return x.reshape(batch, length, heads * width)",
    ),
    Mistake(
        "query-key-swapped", "multi_head_attention",
        '"attention.self.query", "attention.self.key", "attention.self.value")',
        '"attention.self.key", "attention.self.query", "attention.self.value")',
    ),
    Mistake(
        "query-value-swapped", "multi_head_attention",
        '"attention.self.query", "attention.self.key", "attention.self.value")',
        '"attention.self.value", "attention.self.key", "attention.self.query")',
    ),
    # Where the weight is square: elsewhere the shapes would not fit, and nobody makes the mistake for long.
    Mistake(
        "weights-untransposed", "multi_head_attention", 'x @ weights[name + ".weight"].T',
        'x @ (w if (w := weights[name + ".weight"]).shape[0] == w.shape[1] else w.T)',
    ),
    Mistake("bias-missing", "multi_head_attention", '.T + weights[name + ".bias"]', ".T"),
    Mistake(
        "no-output-projection", "multi_head_attention",
        'return linear(context, weights, "attention.output.dense")', "return context",
    ),
    # ---- feed_forward
    Mistake(
        "activation-missing", "feed_forward",
        'gelu(linear(hidden, weights, "intermediate.dense"))', 'linear(hidden, weights, "intermediate.dense")',
    ),
    # ---- layer
    Mistake("pre-norm", "layer", LAYER, PRE_NORM),
    Mistake("no-attention-residual", "layer", "norm(hidden + dropout(attended),", "norm(dropout(attended),"),
    Mistake("no-feed-forward-residual", "layer", "norm(hidden + dropout(worked),", "norm(dropout(worked),"),
    Mistake("layer-norm-before-residual", "layer", LAYER, NORM_BEFORE_RESIDUAL),
    Mistake("layer-norms-exchanged", "layer", LAYER, NORMS_EXCHANGED),
    # ---- bert_encoder
    Mistake("last-layer-missing", "bert_encoder", ALL_LAYERS, LAST_LAYER_MISSING),
    Mistake(
        "layers-reversed", "bert_encoder", 'in range(config["num_hidden_layers"]):',
        'in reversed(range(config["num_hidden_layers"])):',
    ),
    Mistake("one-layer-repeated", "bert_encoder", ALL_LAYERS, ALL_LAYERS.replace("weights, number", "weights, 0")),
    # ---- pooler
    Mistake("pooler-without-tanh", "pooler", POOLED, 'linear(hidden[:, 0], weights, "pooler.dense")'),
    Mistake("pooler-reads-last-token", "pooler", POOLED, POOLED.replace("hidden[:, 0]", "hidden[:, -1]")),
    Mistake(
        "pooler-reads-mean", "pooler", POOLED, POOLED.replace("hidden[:, 0]", "mean_pooling(hidden, attention_mask)")
    ),
    # ---- mean_pooling
    Mistake("mean-over-all-positions", "mean_pooling", MEAN, "    return hidden.mean(1)"),
    Mistake("sum-divided-by-length", "mean_pooling", MEAN, "    return (hidden * real).sum(1) / hidden.shape[1]"),
    Mistake("mean-without-cls", "mean_pooling", MEAN, "    hidden, real = hidden[:, 1:], real[:, 1:]\n" + MEAN),
    # ---- distilbert_head, bert_head
    Mistake("head-without-relu", "distilbert_head", RELU, "dense"),
    Mistake("head-tanh-for-relu", "distilbert_head", RELU, "np.tanh(dense)"),
    Mistake(
        "classifier-without-pooler", "bert_head", "linear(pooler(hidden, attention_mask, weights), weights,",
        "linear(hidden[:, 0], weights,",
    ),
    # ---- loss_and_gradients
    Mistake(
        "loss-summed", "loss_and_gradients",
        "    loss = -(log_probabilities * right).sum(-1).mean()\n"
        "    d_logits = (np.exp(log_probabilities) - right) / len(labels)",
        "    loss = -(log_probabilities * right).sum()\n"
        "    d_logits = np.exp(log_probabilities) - right",
    ),
    Mistake(
        "softmax-twice", "loss_and_gradients", "    loss, d_logits = cross_entropy(logits, labels)",
        "    loss, d_probabilities = cross_entropy(softmax(logits), labels)\n"
        "    d_logits = softmax_backward(d_probabilities, softmax(logits))",
    ),
    Mistake(
        "repeated-tokens-overwrite", "loss_and_gradients",
        "    gradients[WORDS] = lookup_backward(d_summed, input_ids, weights[WORDS])\n",
        "    gradients[WORDS] = np.zeros_like(weights[WORDS])\n    gradients[WORDS][input_ids] += d_summed\n",
    ),
    Mistake(
        "layer-norm-gradient-incomplete", "loss_and_gradients",
        "(d_normal - shift - stretch) / deviation", "d_normal / deviation",
    ),
    Mistake(
        "softmax-gradient-elementwise", "loss_and_gradients",
        "output * (d_output - (d_output * output).sum(-1, keepdims=True))", "output * (1 - output) * d_output",
    ),
    Mistake("bias-gradient-missing", "loss_and_gradients", "d_rows.sum(0)", "np.zeros_like(d_rows[0])"),
    # ---- bert_layer_dropout, distilbert_layer_dropout
    Mistake(
        "no-dropout-after-attention", "bert_layer_dropout", "hidden + dropout(attended)", "hidden + attended",
    ),
    Mistake(
        "no-dropout-on-probabilities", "bert_layer_dropout",
        PROBABILITIES, "    probabilities = attention_probabilities(query, key, attention_mask)",
    ),
    Mistake(
        "dropout-before-softmax", "bert_layer_dropout", PROBABILITIES,
        f"    scores = dropout({PRODUCTS})\n" + MASKING + "    probabilities = softmax(scores)",
    ),
    Mistake("dropout-after-layer-norm", "bert_layer_dropout", LAYER, DROPOUT_LAST),
    Mistake("dropout-after-attention", "distilbert_layer_dropout", "hidden + gathered", "hidden + dropout(gathered)"),
    # ---- parameter_groups
    Mistake(
        "decay-on-biases", "parameter_groups", SPARED,  # LayerNorm's too
        'spared = not name.endswith(".bias") and ("LayerNorm" in name or "layer_norm" in name)',
    ),
    Mistake("decay-on-layer-norm", "parameter_groups", SPARED, 'spared = name.endswith(".bias")'),
    Mistake("decay-on-everything", "parameter_groups", SPARED, "spared = False"),
    Mistake(
        "distilbert-layer-norm-decayed", "parameter_groups",
        SPARED, 'spared = name.endswith(".bias") or "LayerNorm" in name',
    ),
    Mistake("embeddings-not-decayed", "parameter_groups", SPARED, SPARED + ' or "embeddings" in name'),
    # ---- adamw
    Mistake("l2-instead-of-decoupled", "adamw", DECAY, "    gradient = gradient + weight_decay * parameter"),
    Mistake("decay-without-lr", "adamw", DECAY, "    parameter = parameter - weight_decay * parameter"),
    Mistake(
        "no-bias-correction", "adamw", TRUE_MEAN + TRUE_SQUARE, "    true_mean, true_square = mean, square\n"
    ),
    Mistake(
        "bias-correction-off-by-one", "adamw",
        TRUE_MEAN + TRUE_SQUARE, (TRUE_MEAN + TRUE_SQUARE).replace("**step", "**(step + 1)"),
    ),
    Mistake("eps-inside-root", "adamw", "(np.sqrt(true_square) + eps)", "np.sqrt(true_square + eps)"),
    # ---- warmup_schedule
    Mistake(
        "schedule-off-by-one", "warmup_schedule",
        "    if step < warmup_steps:\n" + UP, "    step = step + 1\n    if step < warmup_steps:\n" + UP,
    ),
    Mistake(
        "never-reaches-zero", "warmup_schedule",
        DOWN, "    return max(0.0, (total_steps + warmup_steps - step) / max(1, total_steps))",
    ),
    Mistake(
        "no-warmup", "warmup_schedule",
        "    if step < warmup_steps:\n" + UP + DOWN, "    return max(0.0, (total_steps - step) / max(1, total_steps))",
    ),
    Mistake("no-decay", "warmup_schedule", DOWN, "    return 1.0"),
    Mistake(
        "cosine-decay", "warmup_schedule", DOWN,
        "    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)\n"
        "    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))",
    ),
    # ---- clip_gradients
    Mistake("clipped-by-value", "clip_gradients", CLIPPED, "[np.clip(g, -max_norm, max_norm) for g in gradients]"),
    Mistake(
        "clipped-per-tensor", "clip_gradients", CLIPPED,
        "[g * min(1.0, max_norm / (math.sqrt(float((g**2).sum())) + 1e-6)) for g in gradients]",
    ),
    Mistake("always-scaled", "clip_gradients", FACTOR, "max_norm / (total + 1e-6)"),
    Mistake("not-clipped", "clip_gradients", FACTOR, "1.0"),
    # ---- metrics
    Mistake("confusion-transposed", "confusion_matrix", "(labels, predictions), 1)", "(predictions, labels), 1)"),
    Mistake(
        "confusion-normalised", "confusion_matrix",
        "    return matrix\n", "    return ratio(matrix, matrix.sum(1, keepdims=True))\n",
    ),
    Mistake("macro-for-weighted", "precision_recall_f1", SHARES, "    shares = np.ones(num_labels)"),
    Mistake("weighted-for-macro", "precision_recall_f1", SHARES, "    shares = actual"),
    Mistake(
        "micro-for-macro", "precision_recall_f1", SHARES,
        '    if average == "macro":\n        return (float(right.sum() / matrix.sum()),) * 3\n' + SHARES,
    ),
    Mistake(
        "f1-of-averages", "precision_recall_f1", AVERAGES,
        "    p, r = (float(np.average(figure, weights=shares)) for figure in (precision, recall))\n"
        "    return p, r, 2 * p * r / (p + r) if p + r else 0.0",
    ),
    Mistake(
        "precision-recall-swapped", "precision_recall_f1",
        AVERAGES, AVERAGES.replace("precision, recall", "recall, precision"),
    ),
    Mistake(
        "auroc-from-hard-labels", "roc_auc", "    ones, zeros = scores",
        "    scores = (scores > 0.5).astype(scores.dtype)\n    ones, zeros = scores",
    ),
    Mistake("ties-count-nothing", "roc_auc", "float(wins + ties / 2)", "float(wins)"),
    Mistake("ties-count-whole", "roc_auc", "float(wins + ties / 2)", "float(wins + ties)"),
    Mistake("auroc-inverted", "roc_auc", "(ones > zeros)", "(ones < zeros)"),
    # ---- map_weight_names
    Mistake(
        "gamma-beta-swapped", "map_weight_names", 'replace(".gamma", ".weight").replace(".beta", ".bias")',
        'replace(".gamma", ".bias").replace(".beta", ".weight")',
    ),
    Mistake(
        "distilbert-norms-swapped", "map_weight_names", TRANSLATED,
        TRANSLATED.replace("BERT_NAMES", 'BERT_NAMES | {"sa_layer_norm": "output.LayerNorm", '
                           '"output_layer_norm": "attention.output.LayerNorm"}'),
    ),
    Mistake(
        "lin1-lin2-swapped", "map_weight_names", TRANSLATED,
        TRANSLATED.replace("BERT_NAMES", 'BERT_NAMES | {"ffn.lin1": "output.dense", "ffn.lin2": "intermediate.dense"}'),
    ),
    Mistake(
        "prefix-kept", "map_weight_names",
        '        name = name.removeprefix("bert.").removeprefix("distilbert.")\n        if name.startswith(NOT_OURS):',
        '        if name.removeprefix("bert.").removeprefix("distilbert.").startswith(NOT_OURS):',
    ),
    Mistake(
        "pretraining-head-kept", "map_weight_names",
        '"cls.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "qa_outputs.", ', "",
    ),
    # ---- train
    Mistake("schedule-ignored", "train", "rate = lr * warmup_schedule(step, warmup_steps, len(batches))", "rate = lr"),
    Mistake("decay-on-everything", "train", "weight_decay if name in decayed else 0.0", "weight_decay"),
    Mistake("optimizer-state-reset", "train", UPDATES, UPDATES_FROM_NOTHING),
)  # fmt: skip
