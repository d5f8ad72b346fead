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
    more: tuple = ()  # (old, new) of further places in the file


def broken(mistake):
    """The text of my_bert_numpy.py with this mistake in it."""
    source = SOURCE.read_text(encoding="utf-8")
    for old, new in ((mistake.old, mistake.new), *mistake.more):
        found = source.count(old)
        assert found == 1, f"{mistake.rung}, {mistake.name}: its text occurs {found} times in {SOURCE.name}: {old}"
        source = source.replace(old, new)
    return source


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

JOINED = """\
    types = [i for i, part in enumerate(parts) for _ in part]
    return ids, types
"""
LONGER = "(first if len(first) + shorter > len(second) else second).pop()"

CENTRED = "    centred = x - x.mean(-1, keepdims=True)\n"
DEVIATION = "    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)"

POSITIONS = "positions = np.arange(input_ids.shape[1])"

ROBERTA_POSITIONS = "positions = real.cumsum(1) * real + pad"
MASK_COMMENT = (
    "    # exp(-30000) is exactly 0: no query sees padding. Infinity would make a text of nothing but padding NaN.\n"
)
SPLIT = "return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)"
MERGE = '''def merge_heads(x):
    """[B, H, T, D] -> [B, T, E]: undoes split_heads, and each is the other's derivative."""
    batch, heads, length, width = x.shape
    return x.transpose(0, 2, 1, 3)'''
ATTENTION_START = (
    '    """Every head compares tokens by D features of its own; what they gather is put side by side and mixed."""\n'
)
PROJECTED = (
    "    query, key, value = (split_heads(linear(hidden, weights, name), config) for name in PROJECTIONS)"
    "  # [B, H, T, D]\n"
)
CONTEXT = "    context = merge_heads(probabilities @ value)  # [B, T, E]"
ATTENTION_END = 'return linear(context, weights, "attention.output.dense")'
FORWARD = """\
    inner = gelu(linear(hidden, weights, "intermediate.dense"))
    return linear(inner, weights, "output.dense")
"""
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
BERT_HEAD = 'linear(dropout(pooler(hidden, attention_mask, weights)), weights, "classifier")'

SPARED = 'spared = name.endswith(".bias") or "LayerNorm" in name or "layer_norm" in name'

COMMENT_1 = "  # not by way of the gradient"
ADAM_RESULT = "    return parameter - lr * true_mean / (np.sqrt(true_square) + eps), mean, square\n"
FOLDED = (
    "    rate = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)\n"
    "    return parameter - rate * mean / (np.sqrt(square) + eps), mean, square\n"
)
ADAMW_LOOP = """\
        settings = (step, lr, beta1, beta2, eps, weight_decay)
        parameter, mean, square = adamw_step(parameter, gradient, mean, square, *settings)
        history.append(parameter)
"""
SEVERAL_STEP = """\
                settings = (step + 1, lr, beta1, beta2, eps, weight_decay)
                parameters[i], mean, square = adamw_step(parameters[i], gradient, mean, square, *settings)
"""
DECAY = "    parameter = parameter - lr * weight_decay * parameter"
TRUE_MEAN = "    true_mean = mean / (1 - beta1**step)\n"
TRUE_SQUARE = "    true_square = square / (1 - beta2**step)\n"

NORM_OF_ALL = "total = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))"
AUROC = """\
    ones, zeros = scores[labels == 1][:, None], scores[labels == 0][None, :]
    wins, ties = (ones > zeros).mean(), (ones == zeros).mean()
    return float(wins + ties / 2)
"""

UP = "        return step / warmup_steps\n"
DOWN = "    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))"

FACTOR = "min(1.0, max_norm / (total + 1e-6))"
CLIPPED = "[gradient * factor for gradient in gradients]"

SHARES = '    shares = actual if average == "weighted" else np.ones(num_labels)'
AVERAGES = "    return tuple(float(np.average(figure, weights=shares)) for figure in (precision, recall, f1))"

TRANSLATED = "bert_name(name, BERT_NAMES))\n    return result"

BATCHES = "    for step, batch in enumerate(batches):\n"
LOSS = """\
        loss, gradients = loss_and_gradients(*inputs, weights, config)
        losses.append(loss)
"""
UPDATED = "        weights = updated  # a new dict: the one that was handed in stays as it was\n"
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
        "accents-kept",
        "wordpiece",
        ACCENTS,
        ACCENTS.replace('unicodedata.normalize("NFD", text.lower())', "text.lower()").replace('kind == "Mn" or ', ""),
    ),
    Mistake(
        "punctuation-not-split",
        "wordpiece",
        '    if character in string.punctuation or unicodedata.category(character).startswith("P"):\n'
        "        return True\n",
        "",
    ),
    Mistake(
        "shortest-piece-first",
        "wordpiece",
        "range(len(word), start, -1)",
        "range(start + 1, len(word) + 1)",
    ),
    Mistake(
        "partial-unknown",
        "wordpiece",
        '        else:\n            return ["[UNK]"]',
        '        else:\n            return [*pieces, "[UNK]"]',
    ),
    Mistake("truncation-loses-sep", "wordpiece", CUT_AND_JOIN, JOIN_AND_CUT),
    Mistake(
        "pair-types-all-0",
        "wordpiece",
        "types = [i for i, part in enumerate(parts) for _ in part]",
        "types = [0 for _ in ids]",
    ),
    Mistake("second-sep-missing", "wordpiece", 'parts.append([*second, "[SEP]"])', "parts.append(second)"),
    # ---- layer_norm
    Mistake(
        "unbiased-variance",
        "layer_norm",
        "(centred**2).mean(-1, keepdims=True)",
        "(centred**2).sum(-1, keepdims=True) / (x.shape[-1] - 1)",
    ),
    Mistake("eps-1e-5", "layer_norm", DEVIATION, DEVIATION.replace("eps", "1e-5")),
    Mistake("eps-1e-6", "layer_norm", DEVIATION, DEVIATION.replace("eps", "1e-6")),
    Mistake("eps-outside-root", "layer_norm", DEVIATION, DEVIATION.replace(" + eps)", ") + eps")),
    Mistake("no-scale-and-shift", "layer_norm", "return normal * weight + bias", "return normal"),
    Mistake(
        "normalised-over-tokens",
        "layer_norm",
        CENTRED + DEVIATION,
        (CENTRED + DEVIATION).replace("mean(-1,", "mean(1,"),
    ),
    # ---- gelu
    Mistake(
        "gelu-tanh",
        "gelu",
        "return x * normal_cdf(x)",
        "return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))",
    ),
    Mistake("gelu-sigmoid", "gelu", "return x * normal_cdf(x)", "return x / (1 + np.exp(-1.702 * x))"),
    Mistake("relu", "gelu", "return x * normal_cdf(x)", "return np.maximum(x, 0)"),
    # ---- bert_embeddings
    Mistake("token-types-missing", "bert_embeddings", " + weights[TYPES][token_type_ids]", ""),
    Mistake("token-types-all-1", "bert_embeddings", "weights[TYPES][token_type_ids]", "weights[TYPES][1]"),
    Mistake("positions-off-by-one", "bert_embeddings", POSITIONS, POSITIONS + " + 1"),
    Mistake(
        "positions-count-real-tokens",
        "bert_embeddings",
        POSITIONS,
        "positions = attention_mask.cumsum(1) - attention_mask",
    ),
    Mistake("positions-from-table-end", "bert_embeddings", POSITIONS, "positions = np.arange(-input_ids.shape[1], 0)"),
    Mistake(
        "embeddings-without-layer-norm",
        "bert_embeddings",
        'return norm(summed, weights, "embeddings.LayerNorm", config)\n\n\ndef bert_embeddings_dropout',
        "return summed\n\n\ndef bert_embeddings_dropout",
    ),
    Mistake("positions-missing", "bert_embeddings", " + weights[POSITIONS][positions]", ""),
    Mistake(
        "embeddings-scaled",
        "bert_embeddings",
        "weights[WORDS][input_ids] + weights[POSITIONS][positions]",
        "weights[WORDS][input_ids] * math.sqrt(weights[WORDS].shape[1]) + weights[POSITIONS][positions]",
    ),
    # ---- attention_probabilities
    Mistake(
        "scaled-by-hidden-size",
        "attention_probabilities",
        PRODUCTS,
        "query @ key.swapaxes(2, 3) / math.sqrt(query.shape[1] * query.shape[3])",
    ),
    Mistake("not-scaled", "attention_probabilities", PRODUCTS, "query @ key.swapaxes(2, 3)"),
    Mistake("scaled-twice", "attention_probabilities", PRODUCTS, "query @ key.swapaxes(2, 3) / query.shape[3]"),
    Mistake("no-mask", "attention_probabilities", MASKING, ""),
    # In a text without padding this blocks all keys alike, which to an added number is the same as blocking none.
    Mistake("mask-inverted", "attention_probabilities", MASKING, MASKING.replace("== 1", "== 0")),
    Mistake(  # as PyTorch's scaled_dot_product_attention has it: a row that is blocked throughout takes in nothing
        "mask-inverted",
        "attention_probabilities",
        MASKING + "    return softmax(scores)",
        "    blocked = attention_mask[:, None, None, :] == 1\n"
        "    scores = np.where(blocked, -30000, scores).astype(scores.dtype)\n"
        "    return softmax(scores) * ~blocked",
    ),
    Mistake(
        "mask-after-softmax",
        "attention_probabilities",
        MASKING + "    return softmax(scores)",
        "    return softmax(scores) * attention_mask[:, None, None, :].astype(scores.dtype)",
    ),
    # In place of the scores: added along the queries, a mask would have no effect.
    Mistake(
        "mask-on-queries",
        "attention_probabilities",
        MASKING,
        "    scores = np.where(attention_mask[:, None, :, None] == 1, scores, -30000).astype(scores.dtype)\n",
    ),
    Mistake(
        "softmax-over-queries",
        "attention_probabilities",
        "return softmax(scores)",
        "return softmax(scores.swapaxes(2, 3)).swapaxes(2, 3)",
    ),
    Mistake(
        "query-key-swapped",
        "attention_probabilities",
        PRODUCTS,
        "key @ query.swapaxes(2, 3) / math.sqrt(query.shape[3])",
    ),
    # ---- multi_head_attention
    Mistake(
        "heads-split-by-reshape",
        "multi_head_attention",
        "return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)",
        "return x.reshape(batch, heads, length, width // heads)",
    ),
    Mistake(
        "heads-not-transposed-back",
        "multi_head_attention",
        "return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * width)",
        "return x.reshape(batch, length, heads * width)",
    ),
    Mistake(
        "query-key-swapped",
        "multi_head_attention",
        '"attention.self.query", "attention.self.key", "attention.self.value")',
        '"attention.self.key", "attention.self.query", "attention.self.value")',
    ),
    Mistake(
        "query-value-swapped",
        "multi_head_attention",
        '"attention.self.query", "attention.self.key", "attention.self.value")',
        '"attention.self.value", "attention.self.key", "attention.self.query")',
    ),
    # Where the weight is square: elsewhere the shapes would not fit, and nobody makes the mistake for long.
    Mistake(
        "weights-untransposed",
        "multi_head_attention",
        'x @ weights[name + ".weight"].T',
        'x @ (w if (w := weights[name + ".weight"]).shape[0] == w.shape[1] else w.T)',
    ),
    Mistake("bias-missing", "multi_head_attention", '.T + weights[name + ".bias"]', ".T"),
    Mistake(  # in attention's four matrices, where some libraries have none unless asked
        "bias-missing",
        "multi_head_attention",
        'return x @ weights[name + ".weight"].T + weights[name + ".bias"]',
        'product = x @ weights[name + ".weight"].T\n'
        '    return product if "attention" in name else product + weights[name + ".bias"]',
    ),
    Mistake(
        "no-output-projection",
        "multi_head_attention",
        'return linear(context, weights, "attention.output.dense")',
        "return context",
    ),
    # ---- feed_forward
    Mistake(
        "activation-missing",
        "feed_forward",
        'gelu(linear(hidden, weights, "intermediate.dense"))',
        'linear(hidden, weights, "intermediate.dense")',
    ),
    # ---- layer
    Mistake("pre-norm", "layer", LAYER, PRE_NORM),
    Mistake("no-attention-residual", "layer", "norm(hidden + dropout(attended),", "norm(dropout(attended),"),
    Mistake("no-feed-forward-residual", "layer", "norm(hidden + dropout(worked),", "norm(dropout(worked),"),
    Mistake("layer-norm-before-residual", "layer", LAYER, NORM_BEFORE_RESIDUAL),
    Mistake("layer-norms-exchanged", "layer", LAYER, NORMS_EXCHANGED),
    # ---- bert_encoder
    # Keys and queries: padding is NaN after the first layer, where it is not compared, and in the second its keys are.
    Mistake(
        "mask-on-queries",
        "bert_encoder",
        MASKING,
        "    real = (attention_mask[:, None, None, :] * attention_mask[:, None, :, None]) == 1\n"
        "    scores = np.where(real, scores, -np.inf).astype(scores.dtype)\n",
    ),
    Mistake("last-layer-missing", "bert_encoder", ALL_LAYERS, LAST_LAYER_MISSING),
    Mistake(
        "layers-reversed",
        "bert_encoder",
        'in range(config["num_hidden_layers"]):',
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
        "classifier-without-pooler",
        "bert_head",
        BERT_HEAD,
        'linear(dropout(hidden[:, 0]), weights, "classifier")',
    ),
    # ---- loss_and_gradients
    Mistake(
        "loss-summed",
        "loss_and_gradients",
        "    loss = -(log_probabilities * right).sum(-1).mean()\n"
        "    d_logits = (np.exp(log_probabilities) - right) / len(labels)",
        "    loss = -(log_probabilities * right).sum()\n    d_logits = np.exp(log_probabilities) - right",
    ),
    Mistake(
        "softmax-twice",
        "loss_and_gradients",
        "    loss, d_logits = cross_entropy(logits, labels)",
        "    loss, d_probabilities = cross_entropy(softmax(logits), labels)\n"
        "    d_logits = softmax_backward(d_probabilities, softmax(logits))",
    ),
    Mistake(
        "repeated-tokens-overwrite",
        "loss_and_gradients",
        "    gradients[WORDS] = lookup_backward(d_summed, input_ids, weights[WORDS])\n",
        "    gradients[WORDS] = np.zeros_like(weights[WORDS])\n    gradients[WORDS][input_ids] += d_summed\n",
    ),
    Mistake(
        "layer-norm-gradient-incomplete",
        "loss_and_gradients",
        "(d_normal - shift - stretch) / deviation",
        "d_normal / deviation",
    ),
    Mistake(
        "softmax-gradient-elementwise",
        "loss_and_gradients",
        "output * (d_output - (d_output * output).sum(-1, keepdims=True))",
        "output * (1 - output) * d_output",
    ),
    Mistake("bias-gradient-missing", "loss_and_gradients", "d_rows.sum(0)", "np.zeros_like(d_rows[0])"),
    # ---- bert_layer_dropout, distilbert_layer_dropout
    Mistake(
        "no-dropout-after-attention",
        "bert_layer_dropout",
        "hidden + dropout(attended)",
        "hidden + attended",
    ),
    Mistake(
        "no-dropout-on-probabilities",
        "bert_layer_dropout",
        PROBABILITIES,
        "    probabilities = attention_probabilities(query, key, attention_mask)",
    ),
    Mistake(
        "dropout-before-softmax",
        "bert_layer_dropout",
        PROBABILITIES,
        f"    scores = dropout({PRODUCTS})\n" + MASKING + "    probabilities = softmax(scores)",
    ),
    Mistake("dropout-after-layer-norm", "bert_layer_dropout", LAYER, DROPOUT_LAST),
    Mistake("dropout-after-attention", "distilbert_layer_dropout", "hidden + gathered", "hidden + dropout(gathered)"),
    # ---- parameter_groups
    Mistake(
        "decay-on-biases",
        "parameter_groups",
        SPARED,  # LayerNorm's too
        'spared = not name.endswith(".bias") and ("LayerNorm" in name or "layer_norm" in name)',
    ),
    Mistake("decay-on-layer-norm", "parameter_groups", SPARED, 'spared = name.endswith(".bias")'),
    Mistake("decay-on-everything", "parameter_groups", SPARED, "spared = False"),
    Mistake(
        "distilbert-layer-norm-decayed",
        "parameter_groups",
        SPARED,
        'spared = name.endswith(".bias") or "LayerNorm" in name',
    ),
    Mistake("embeddings-not-decayed", "parameter_groups", SPARED, SPARED + ' or "embeddings" in name'),
    # ---- adamw
    Mistake("l2-instead-of-decoupled", "adamw", DECAY, "    gradient = gradient + weight_decay * parameter"),
    Mistake("decay-without-lr", "adamw", DECAY, "    parameter = parameter - weight_decay * parameter"),
    Mistake(
        "bias-correction-off-by-one",
        "adamw",
        TRUE_MEAN + TRUE_SQUARE,
        (TRUE_MEAN + TRUE_SQUARE).replace("**step", "**(step + 1)"),
    ),
    Mistake("eps-inside-root", "adamw", "(np.sqrt(true_square) + eps)", "np.sqrt(true_square + eps)"),
    # ---- warmup_schedule
    Mistake(
        "schedule-off-by-one",
        "warmup_schedule",
        "    if step < warmup_steps:\n" + UP,
        "    step = step + 1\n    if step < warmup_steps:\n" + UP,
    ),
    Mistake(
        "never-reaches-zero",
        "warmup_schedule",
        DOWN,
        "    return max(0.0, (total_steps + warmup_steps - step) / max(1, total_steps))",
    ),
    Mistake(
        "no-warmup",
        "warmup_schedule",
        "    if step < warmup_steps:\n" + UP + DOWN,
        "    return max(0.0, (total_steps - step) / max(1, total_steps))",
    ),
    Mistake("no-decay", "warmup_schedule", DOWN, "    return 1.0"),
    # ---- clip_gradients
    Mistake("clipped-by-value", "clip_gradients", CLIPPED, "[np.clip(g, -max_norm, max_norm) for g in gradients]"),
    Mistake(
        "clipped-per-tensor",
        "clip_gradients",
        CLIPPED,
        "[g * min(1.0, max_norm / (math.sqrt(float((g**2).sum())) + 1e-6)) for g in gradients]",
    ),
    Mistake("always-scaled", "clip_gradients", FACTOR, "max_norm / (total + 1e-6)"),
    Mistake("not-clipped", "clip_gradients", FACTOR, "1.0"),
    # ---- metrics
    Mistake("confusion-transposed", "confusion_matrix", "(labels, predictions), 1)", "(predictions, labels), 1)"),
    Mistake(
        "confusion-normalised",
        "confusion_matrix",
        "    return matrix\n",
        "    return ratio(matrix, matrix.sum(1, keepdims=True))\n",
    ),
    Mistake("macro-for-weighted", "precision_recall_f1", SHARES, "    shares = np.ones(num_labels)"),
    Mistake("weighted-for-macro", "precision_recall_f1", SHARES, "    shares = actual"),
    Mistake(
        "micro-for-macro",
        "precision_recall_f1",
        SHARES,
        '    if average == "macro":\n        return (float(right.sum() / matrix.sum()),) * 3\n' + SHARES,
    ),
    Mistake(
        "f1-of-averages",
        "precision_recall_f1",
        AVERAGES,
        "    p, r = (float(np.average(figure, weights=shares)) for figure in (precision, recall))\n"
        "    return p, r, 2 * p * r / (p + r) if p + r else 0.0",
    ),
    Mistake(
        "precision-recall-swapped",
        "precision_recall_f1",
        AVERAGES,
        AVERAGES.replace("precision, recall", "recall, precision"),
    ),
    Mistake(
        "auroc-from-hard-labels",
        "roc_auc",
        "    ones, zeros = scores",
        "    scores = (scores > 0.5).astype(scores.dtype)\n    ones, zeros = scores",
    ),
    Mistake("ties-count-nothing", "roc_auc", "float(wins + ties / 2)", "float(wins)"),
    Mistake("ties-count-whole", "roc_auc", "float(wins + ties / 2)", "float(wins + ties)"),
    Mistake("auroc-inverted", "roc_auc", "(ones > zeros)", "(ones < zeros)"),
    # ---- map_weight_names
    Mistake(
        "gamma-beta-swapped",
        "map_weight_names",
        'replace(".gamma", ".weight").replace(".beta", ".bias")',
        'replace(".gamma", ".bias").replace(".beta", ".weight")',
    ),
    Mistake(
        "distilbert-norms-swapped",
        "map_weight_names",
        TRANSLATED,
        TRANSLATED.replace(
            "BERT_NAMES",
            'BERT_NAMES | {"sa_layer_norm": "output.LayerNorm", "output_layer_norm": "attention.output.LayerNorm"}',
        ),
    ),
    Mistake(
        "lin1-lin2-swapped",
        "map_weight_names",
        TRANSLATED,
        TRANSLATED.replace("BERT_NAMES", 'BERT_NAMES | {"ffn.lin1": "output.dense", "ffn.lin2": "intermediate.dense"}'),
    ),
    Mistake(
        "prefix-kept",
        "map_weight_names",
        '        name = name.removeprefix("bert.").removeprefix("distilbert.")\n        if name.startswith(NOT_OURS):',
        '        if name.removeprefix("bert.").removeprefix("distilbert.").startswith(NOT_OURS):',
    ),
    Mistake(
        "pretraining-head-kept",
        "map_weight_names",
        '"cls.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "qa_outputs.", ',
        "",
    ),
    # ---- train
    Mistake("schedule-ignored", "train", "rate = lr * warmup_schedule(step, warmup_steps, len(batches))", "rate = lr"),
    Mistake("decay-on-everything", "train", "weight_decay if name in decayed else 0.0", "weight_decay"),
    Mistake("optimizer-state-reset", "train", UPDATES, UPDATES_FROM_NOTHING),
    # ---- wordpiece
    Mistake("hashes-missing", "wordpiece", '("##" if start else "") + word[start:end]', "word[start:end]"),
    Mistake(
        "cjk-not-split",
        "wordpiece",
        "return any(first <= ord(character) <= last for first, last in CHINESE)",
        "return False",
    ),
    Mistake(
        "special-tokens-missing",
        "wordpiece",
        'parts = [["[CLS]", *first, "[SEP]"]]',
        "parts = [[*first]]\n    pair, second = (None, second) if pair is None else (None, parts.append(second))",
    ),
    Mistake("not-truncated", "wordpiece", "> room:", "> 10**6:"),
    Mistake("only-first-truncated", "wordpiece", LONGER, "(first or second).pop()"),
    Mistake("only-second-truncated", "wordpiece", LONGER, "(second or first).pop()"),
    Mistake("truncated-at-front", "wordpiece", LONGER, LONGER.replace("pop()", "pop(0)")),
    Mistake("special-tokens-not-counted", "wordpiece", "max_length - (2 if pair is None else 3)", "max_length - 2"),
    Mistake(
        "padded-to-max-length",
        "wordpiece",
        JOINED,
        JOINED.replace("ids, types\n", "[row + [0] * (max_length - len(row)) for row in (ids, types)]\n"),
    ),
    Mistake(
        "pair-types-from-first-sep",
        "wordpiece",
        JOINED,
        JOINED.replace("    return", "    types[len(first) + 1] = int(pair is not None)\n    return"),
    ),
    # ---- train
    Mistake(
        "gradients-not-zeroed",
        "train",
        LOSS,
        LOSS + "        gradients = {name: gradients[name] + left.get(name, 0) for name in gradients}\n",
        (
            (BATCHES, "    left = {}\n" + BATCHES),
            (UPDATED, UPDATED + "        left = clipped\n"),
        ),
    ),
    Mistake(
        "loss-after-update",
        "train",
        LOSS,
        LOSS.replace("        losses.append(loss)\n", ""),
        ((UPDATED, UPDATED + "        losses.append(loss_and_gradients(*inputs, weights, config)[0])\n"),),
    ),
    Mistake(
        "encoder-frozen",
        "train",
        LOSS,
        LOSS + '        gradients = {n: g for n, g in gradients.items() if n.startswith(("pooler", "classifier"))}\n',
        (
            (
                UPDATES,
                UPDATES.replace("{}", "dict(weights)").replace(
                    "            settings",
                    "            if name not in clipped:\n                continue\n            settings",
                ),
            ),
        ),
    ),
    Mistake(
        "biases-and-norms-frozen",
        "train",
        UPDATED,
        "        weights = {n: updated[n] if n in decayed else array for n, array in weights.items()}\n",
    ),
    # ---- layer_norm
    Mistake("no-shift", "layer_norm", "return normal * weight + bias", "return normal * weight"),
    Mistake(
        "mean-not-subtracted",
        "layer_norm",
        CENTRED + DEVIATION,
        CENTRED.replace("x - x.mean(-1, keepdims=True)", "x") + DEVIATION,
    ),
    Mistake(
        "divided-by-variance",
        "layer_norm",
        "return centred / deviation, deviation",
        "return centred / deviation**2, deviation",
    ),
    Mistake(
        "normalised-over-everything",
        "layer_norm",
        CENTRED + DEVIATION,
        (CENTRED + DEVIATION).replace("mean(-1,", "mean((1, 2),"),
    ),
    # ---- gelu
    Mistake("silu", "gelu", "return x * normal_cdf(x)", "return x / (1 + np.exp(-x))"),
    Mistake("gelu-without-root", "gelu", "return x * normal_cdf(x)", "return x * normal_cdf(x * math.sqrt(2))"),
    # ---- bert_embeddings, roberta_embeddings
    Mistake("token-types-all-0", "bert_embeddings", "weights[TYPES][token_type_ids]", "weights[TYPES][0]"),
    Mistake("positions-all-0", "bert_embeddings", POSITIONS, POSITIONS + " * 0"),
    Mistake(
        "positions-of-bert",
        "roberta_embeddings",
        ROBERTA_POSITIONS,
        "positions = np.arange(input_ids.shape[1])",
    ),
    Mistake(
        "positions-count-padding",
        "roberta_embeddings",
        ROBERTA_POSITIONS,
        "positions = np.arange(input_ids.shape[1]) + pad + 1",
    ),
    Mistake(
        "positions-not-shifted",
        "roberta_embeddings",
        ROBERTA_POSITIONS,
        "positions = np.maximum(real.cumsum(1) - 1, 0)",
    ),
    Mistake("positions-off-by-one", "roberta_embeddings", ROBERTA_POSITIONS, ROBERTA_POSITIONS + " + 1"),
    # RoBERTa's eps is 1e-5; whoever has BERT's written into the code shows it there first.
    Mistake(
        "eps-1e-12",
        "roberta_embeddings",
        'name + ".bias"], config["layer_norm_eps"])\n\n\ndef norm_backward',
        'name + ".bias"], 1e-12)\n\n\ndef norm_backward',
    ),
    # ---- attention_probabilities
    Mistake("scaled-by-length", "attention_probabilities", PRODUCTS, PRODUCTS.replace("shape[3]", "shape[2]")),
    Mistake("scaled-by-heads", "attention_probabilities", PRODUCTS, PRODUCTS.replace("shape[3]", "shape[1]")),
    Mistake("scale-multiplied", "attention_probabilities", PRODUCTS, PRODUCTS.replace(" / ", " * ")),
    Mistake(
        "scaled-after-softmax",
        "attention_probabilities",
        PRODUCTS + "\n" + MASK_COMMENT + MASKING + "    return softmax(scores)",
        "query @ key.swapaxes(2, 3)\n"
        + MASK_COMMENT
        + MASKING
        + "    return softmax(scores) / math.sqrt(query.shape[3])",
    ),
    Mistake(
        "mask-multiplied",
        "attention_probabilities",
        MASKING,
        "    scores = scores * attention_mask[:, None, None, :].astype(scores.dtype)\n",
    ),
    Mistake(
        "mask-added-as-it-is",
        "attention_probabilities",
        MASKING,
        "    scores = scores + attention_mask[:, None, None, :].astype(scores.dtype)\n",
    ),
    Mistake(
        "no-softmax",
        "attention_probabilities",
        MASKING + "    return softmax(scores)",
        MASKING.replace("-30000", "-10000") + "    return scores",
    ),
    Mistake(
        "softmax-over-heads",
        "attention_probabilities",
        "return softmax(scores)",
        "return softmax(scores.swapaxes(1, 3)).swapaxes(1, 3)",
    ),
    Mistake(
        "softmax-over-batch",
        "attention_probabilities",
        "return softmax(scores)",
        "return softmax(scores.swapaxes(0, 3)).swapaxes(0, 3)",
    ),
    # ---- multi_head_attention
    Mistake(
        "heads-interleaved",
        "multi_head_attention",
        SPLIT + "\n\n\n" + MERGE,
        "return x.reshape(batch, length, width // heads, heads).transpose(0, 3, 1, 2)\n\n\n"
        + MERGE.replace("transpose(0, 2, 1, 3)", "transpose(0, 2, 3, 1)"),
    ),
    Mistake("one-head", "multi_head_attention", 'heads = config["num_attention_heads"]', "heads = 1"),
    Mistake(
        "key-value-swapped",
        "multi_head_attention",
        '"attention.self.query", "attention.self.key", "attention.self.value")',
        '"attention.self.query", "attention.self.value", "attention.self.key")',
    ),
    Mistake(
        "probabilities-transposed",
        "multi_head_attention",
        CONTEXT,
        CONTEXT.replace("(prob", "(prob").replace("probabilities @", "probabilities.swapaxes(2, 3) @"),
    ),
    Mistake(
        "batch-and-tokens-swapped",
        "multi_head_attention",
        ATTENTION_START,
        ATTENTION_START + "    hidden, attention_mask = hidden.swapaxes(0, 1), np.ones_like(attention_mask.T)\n",
        ((ATTENTION_END, ATTENTION_END + ".swapaxes(0, 1)"),),
    ),
    # ---- feed_forward
    Mistake(
        "activation-at-the-end",
        "feed_forward",
        FORWARD,
        '    inner = linear(hidden, weights, "intermediate.dense")\n'
        '    return gelu(linear(inner, weights, "output.dense"))\n',
    ),
    Mistake(
        "activation-twice",
        "feed_forward",
        FORWARD,
        '    inner = gelu(linear(hidden, weights, "intermediate.dense"))\n'
        '    return gelu(linear(inner, weights, "output.dense"))\n',
    ),
    # ---- layer
    Mistake(
        "one-layer-norm-for-both", "layer", LAYER, LAYER.replace('"output.LayerNorm"', '"attention.output.LayerNorm"')
    ),
    Mistake(
        "first-layer-norm-missing",
        "layer",
        LAYER,
        LAYER.replace(
            'norm(hidden + dropout(attended), weights, "attention.output.LayerNorm", config)',
            "hidden + dropout(attended)",
        ),
    ),
    Mistake(
        "second-layer-norm-missing",
        "layer",
        LAYER,
        LAYER.replace(
            'norm(hidden + dropout(worked), weights, "output.LayerNorm", config)', "hidden + dropout(worked)"
        ),
    ),
    Mistake(
        "residual-from-layer-input",
        "layer",
        LAYER,
        "    start = hidden\n" + LAYER.replace("norm(hidden + dropout(worked)", "norm(start + dropout(worked)"),
    ),
    # ---- pooling and heads
    Mistake("pooler-reads-second-token", "pooler", POOLED, POOLED.replace("hidden[:, 0]", "hidden[:, 1]")),
    Mistake("pooler-reads-maximum", "pooler", POOLED, POOLED.replace("hidden[:, 0]", "hidden.max(1)")),
    Mistake("pooler-without-dense", "pooler", POOLED, "np.tanh(hidden[:, 0])"),
    Mistake("first-token-for-mean", "mean_pooling", MEAN, "    return hidden[:, 0]"),
    Mistake("maximum-for-mean", "mean_pooling", MEAN, "    return np.where(real > 0, hidden, -np.inf).max(1)"),
    Mistake("sum-for-mean", "mean_pooling", MEAN, "    return (hidden * real).sum(1)"),
    Mistake("mean-divided-by-tokens-only", "mean_pooling", MEAN, "    return hidden.sum(1) / real.sum(1)"),
    Mistake(
        "softmax-on-logits",
        "bert_head",
        BERT_HEAD,
        f"softmax({BERT_HEAD})",
    ),
    Mistake(
        "head-without-dense",
        "distilbert_head",
        'dense = linear(hidden[:, 0], weights, "pre_classifier")',
        "dense = hidden[:, 0]",
    ),
    Mistake("head-gelu", "distilbert_head", RELU, "gelu(dense)"),
    Mistake("head-without-tanh", "roberta_head", "dropout(np.tanh(dense))", "dropout(dense)"),
    Mistake("head-relu-for-tanh", "roberta_head", "dropout(np.tanh(dense))", "dropout(np.maximum(dense, 0))"),
    # ---- dropout
    Mistake(
        "no-dropout-after-feed-forward",
        "bert_layer_dropout",
        "hidden + dropout(worked)",
        "hidden + worked",
    ),
    Mistake(
        "no-dropout-at-all",
        "bert_layer_dropout",
        "return layer(hidden, attention_mask, weights, config, dropout)",
        "return layer(hidden, attention_mask, weights, config)",
    ),
    Mistake(
        "dropout-on-masked-scores",
        "bert_layer_dropout",
        PROBABILITIES,
        f"    scores = {PRODUCTS}\n" + MASKING + "    probabilities = softmax(dropout(scores))",
    ),
    Mistake(
        "dropout-inside-feed-forward",
        "bert_layer_dropout",
        LAYER,
        LAYER.replace("dropout(worked)", "worked").replace(
            "worked = feed_forward(hidden, weights, config)",
            'worked = linear(dropout(gelu(linear(hidden, weights, "intermediate.dense"))), weights, "output.dense")',
        ),
    ),
    Mistake(
        "dropout-before-dense",
        "bert_layer_dropout",
        'return linear(context, weights, "attention.output.dense")\n',
        'return linear(dropout(context), weights, "attention.output.dense")\n',
        (("dropout(attended)", "attended"),),
    ),
    Mistake(
        "dropout-on-sum",
        "bert_layer_dropout",
        LAYER,
        LAYER.replace("hidden + dropout(attended)", "dropout(hidden + attended)").replace(
            "hidden + dropout(worked)", "dropout(hidden + worked)"
        ),
    ),
    Mistake(
        "dropout-on-projections",
        "bert_layer_dropout",
        PROJECTED + PROBABILITIES,
        PROJECTED.replace(
            "(split_heads(linear(hidden, weights, name), config)",
            "(split_heads(dropout(linear(hidden, weights, name)), config)",
        )
        + PROBABILITIES,
    ),
    Mistake(
        "dropout-on-layer-input",
        "bert_layer_dropout",
        ATTENTION_START,
        ATTENTION_START + "    hidden = dropout(hidden)\n",
    ),
    Mistake(
        "dropout-twice",
        "bert_layer_dropout",
        "hidden + dropout(worked)",
        "hidden + dropout(dropout(worked))",
    ),
    Mistake(
        "dropout-result-unused",
        "bert_layer_dropout",
        LAYER,
        LAYER.replace("    return norm", "    dropout(worked)\n    return norm").replace(
            "hidden + dropout(worked)", "hidden + worked"
        ),
    ),
    Mistake(
        "no-dropout-after-embeddings",
        "bert_embeddings_dropout",
        "return dropout(bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config))",
        "return bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config)",
    ),
    Mistake(
        "dropout-before-layer-norm",
        "bert_embeddings_dropout",
        "return dropout(bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config))",
        "summed = dropout(summed_embeddings(input_ids, token_type_ids, attention_mask, weights))\n"
        '    return norm(summed, weights, "embeddings.LayerNorm", config)',
    ),
    Mistake(
        "dropout-on-word-vectors",
        "bert_embeddings_dropout",
        "return dropout(bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config))",
        "words = dropout(weights[WORDS][input_ids]) - weights[WORDS][input_ids]\n"
        "    words = words + summed_embeddings(input_ids, token_type_ids, attention_mask, weights)\n"
        '    return norm(words, weights, "embeddings.LayerNorm", config)',
    ),
    Mistake("dropout-on-logits", "bert_head_dropout", BERT_HEAD, f"dropout({BERT_HEAD.replace('dropout(', '(')})"),
    Mistake(
        "dropout-on-first-token",
        "bert_head_dropout",
        BERT_HEAD,
        BERT_HEAD.replace(
            "dropout(pooler(hidden, attention_mask, weights))",
            "pooler(np.concatenate([dropout(hidden[:, 0])[:, None], hidden[:, 1:]], 1), attention_mask, weights)",
        ),
    ),
    Mistake(
        "dropout-before-activation",
        "distilbert_head_dropout",
        "dropout(np.maximum(dense, 0))",
        "np.maximum(dropout(dense), 0)",
    ),
    Mistake("no-dropout-in-head", "roberta_head_dropout", "dropout(np.tanh(dense))", "np.tanh(dense)"),
    Mistake(
        "no-dropout-on-first-token", "roberta_head_dropout", "linear(dropout(hidden[:, 0]), w", "linear(hidden[:, 0], w"
    ),
    Mistake(
        "dropout-elsewhere",
        "distilbert_head_dropout",
        "return linear(dropout(np.maximum(dense, 0))",
        "dropout(dense[:, :3])\n    return linear(dropout(np.maximum(dense, 0))",
    ),
    # ---- called twice
    Mistake(
        "different-each-time",
        "feed_forward",
        FORWARD,
        FORWARD.replace("return linear(", "return np.random.default_rng().random() + linear("),
    ),
    # ---- adamw
    Mistake("decay-sign", "adamw", DECAY, DECAY.replace("parameter - lr", "parameter + lr")),
    Mistake("decay-times-lr-squared", "adamw", DECAY, DECAY.replace("lr *", "lr * lr *")),
    Mistake("decay-missing", "adamw", DECAY + COMMENT_1, "    pass" + COMMENT_1),
    Mistake("decay-twice", "adamw", DECAY, DECAY + "\n" + DECAY),
    Mistake("decay-of-gradient", "adamw", DECAY, DECAY.replace("decay * parameter", "decay * gradient")),
    Mistake("decay-without-weight-decay", "adamw", DECAY, DECAY.replace(" * weight_decay", "")),
    Mistake(
        "decay-of-update",
        "adamw",
        ADAM_RESULT,
        ADAM_RESULT.replace(
            "return parameter - lr * true_mean / (np.sqrt(true_square) + eps)",
            "parameter = parameter / (1 - lr * weight_decay)\n"
            "    return parameter - (1 + lr * weight_decay) * lr * true_mean / (np.sqrt(true_square) + eps)",
        ),
    ),
    Mistake(
        "bias-correction-from-step-0",
        "adamw",
        TRUE_MEAN + TRUE_SQUARE,
        (TRUE_MEAN + TRUE_SQUARE)
        .replace("**step", "**(step - 1)")
        .replace("mean / (1", "mean / np.float64(1")
        .replace("square / (1", "square / np.float64(1"),
    ),
    Mistake("step-count-stuck", "adamw", TRUE_MEAN + TRUE_SQUARE, (TRUE_MEAN + TRUE_SQUARE).replace("**step", "")),
    Mistake("only-mean-corrected", "adamw", TRUE_SQUARE, "    true_square = square\n"),
    Mistake("only-square-corrected", "adamw", TRUE_MEAN, "    true_mean = mean\n"),
    Mistake(
        "betas-swapped-in-correction",
        "adamw",
        TRUE_MEAN + TRUE_SQUARE,
        (TRUE_MEAN + TRUE_SQUARE).replace("beta1", "beta").replace("beta2", "beta1").replace("beta**", "beta2**"),
    ),
    Mistake("betas-swapped", "adamw", DECAY, DECAY + "\n    beta1, beta2 = beta2, beta1"),
    Mistake(
        "correction-without-root",
        "adamw",
        TRUE_MEAN + TRUE_SQUARE + ADAM_RESULT,
        FOLDED.replace("math.sqrt(1 - beta2**step)", "(1 - beta2**step)"),
    ),
    Mistake(
        "correction-upside-down",
        "adamw",
        TRUE_MEAN + TRUE_SQUARE + ADAM_RESULT,
        FOLDED.replace(
            "math.sqrt(1 - beta2**step) / (1 - beta1**step)", "(1 - beta1**step) / math.sqrt(1 - beta2**step)"
        ),
    ),
    Mistake(
        "learning-rate-compounded",
        "adamw",
        ADAMW_LOOP,
        ADAMW_LOOP.replace(
            "        history.append",
            "        lr = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)\n        history.append",
        )
        .replace(
            "        settings = (step, lr,",
            "        corrected = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)\n"
            "        settings = (10**9, corrected,",
        )
        .replace("weight_decay)\n        parameter", "weight_decay * lr / corrected)\n        parameter"),
    ),
    Mistake("eps-missing", "adamw", "(np.sqrt(true_square) + eps)", "np.sqrt(true_square)"),
    Mistake("root-missing", "adamw", "(np.sqrt(true_square) + eps)", "(true_square + eps)"),
    Mistake(
        "optimizer-state-reset",
        "adamw",
        ADAMW_LOOP,
        ADAMW_LOOP.replace("settings = (step,", "mean = square = np.zeros_like(parameter)\n        settings = (1,"),
    ),
    Mistake(
        "moments-not-stored",
        "adamw",
        ADAMW_LOOP,
        ADAMW_LOOP.replace("settings =", "mean = square = np.zeros_like(parameter)\n        settings ="),
    ),
    Mistake(
        "mean-not-stored",
        "adamw",
        ADAMW_LOOP,
        ADAMW_LOOP.replace("settings =", "mean = np.zeros_like(parameter)\n        settings ="),
    ),
    Mistake(
        "square-not-stored",
        "adamw",
        ADAMW_LOOP,
        ADAMW_LOOP.replace("settings =", "square = np.zeros_like(parameter)\n        settings ="),
    ),
    Mistake(
        "moments-start-at-gradient",
        "adamw",
        ADAMW_LOOP,
        ADAMW_LOOP.replace(
            "settings =", "if step == 1:\n            mean, square = gradient, gradient**2\n        settings ="
        ),
    ),
    Mistake("mean-without-1-minus-beta", "adamw", "beta1 * mean + (1 - beta1) * gradient", "beta1 * mean + gradient"),
    Mistake("square-without-1-minus-beta", "adamw", "(1 - beta2) * gradient**2", "gradient**2"),
    Mistake(
        "averages-weighted-the-wrong-way",
        "adamw",
        DECAY,
        DECAY + "\n    beta1, beta2 = 1 - beta1, 1 - beta2",
        ((TRUE_MEAN + TRUE_SQUARE, "    beta1, beta2 = 1 - beta1, 1 - beta2\n" + TRUE_MEAN + TRUE_SQUARE),),
    ),
    Mistake("square-of-mean", "adamw", "(1 - beta2) * gradient**2", "(1 - beta2) * mean**2"),
    Mistake("square-not-squared", "adamw", "(1 - beta2) * gradient**2", "(1 - beta2) * gradient"),
    Mistake(
        "update-with-old-moments",
        "adamw",
        DECAY,
        DECAY + "\n    old, old_square = mean, square",
        (
            (
                TRUE_MEAN + TRUE_SQUARE,
                (TRUE_MEAN + TRUE_SQUARE).replace("= mean", "= old").replace("= square", "= old_square"),
            ),
        ),
    ),
    Mistake(
        "first-gradient-dropped",
        "adamw",
        ADAMW_LOOP,
        ADAMW_LOOP.replace(
            "        settings =",
            "        if step == 1:\n            history.append(parameter)\n            continue\n        settings =",
        ),
    ),
    Mistake("learning-rate-twice", "adamw", "parameter - lr * true_mean", "parameter - lr * lr * true_mean"),
    Mistake(
        "corrected-moments-stored",
        "adamw",
        TRUE_MEAN + TRUE_SQUARE,
        TRUE_MEAN + TRUE_SQUARE + "    mean, square = true_mean, true_square\n",
    ),
    Mistake(
        "square-overwritten",
        "adamw",
        TRUE_MEAN + TRUE_SQUARE + ADAM_RESULT,
        FOLDED.replace("np.sqrt(square)", "square").replace("    return", "    square = np.sqrt(square)\n    return"),
    ),
    Mistake(
        "power-as-product",
        "adamw",
        TRUE_MEAN + TRUE_SQUARE,
        (TRUE_MEAN + TRUE_SQUARE).replace("**step", " * step"),
    ),
    Mistake("step-uphill", "adamw", "parameter - lr * true_mean", "parameter + lr * true_mean"),
    Mistake(
        "nothing-updated",
        "adamw",
        ADAMW_LOOP,
        ADAMW_LOOP.replace("        parameter, mean", "        _, mean"),
    ),
    # ---- adamw_several
    Mistake(
        "step-counted-for-each-parameter",
        "adamw_several",
        SEVERAL_STEP,
        SEVERAL_STEP.replace("step + 1, lr", "count, lr").replace(
            "                settings", "                count += 1\n                settings"
        ),
        (("    parameters, histories =", "    count = 0\n    parameters, histories ="),),
    ),
    Mistake(
        "rate-compounded-over-parameters",
        "adamw_several",
        SEVERAL_STEP,
        SEVERAL_STEP.replace(
            "                settings = (step + 1, lr, beta1, beta2, eps, weight_decay)",
            "                used = rate * math.sqrt(1 - beta2 ** (step + 1)) / (1 - beta1 ** (step + 1))\n"
            "                settings = (10**9, used, beta1, beta2, eps, weight_decay * lr / used)\n"
            "                rate = used",
        ),
        (("    for given in gradients:\n", "    for given in gradients:\n        rate = lr\n"),),
    ),
    Mistake(
        "return-inside-the-loop", "adamw_several", "if gradient is not None:", "if gradient is not None and i == 0:"
    ),
    Mistake(
        "missing-gradient-as-zero",
        "adamw_several",
        "            if gradient is not None:\n",
        "            gradient = np.zeros_like(parameters[i]) if gradient is None else gradient\n            if True:\n",
    ),
    Mistake(
        "missing-gradient-ends-the-loop",
        "adamw_several",
        "if gradient is not None:",
        "if all(g is not None for g in given[: i + 1]):",
    ),
    # ---- warmup_schedule
    Mistake(
        "schedule-one-step-behind",
        "warmup_schedule",
        "    if step < warmup_steps:\n" + UP,
        "    step = max(step - 1, 0)\n    if step < warmup_steps:\n" + UP,
    ),
    Mistake("warmup-starts-above-0", "warmup_schedule", UP, UP.replace("step /", "(step + 1) /")),
    Mistake(
        "decay-starts-too-late",
        "warmup_schedule",
        DOWN,
        DOWN.replace("(total_steps - step)", "(total_steps - step - 1)"),
    ),
    # ---- clip_gradients
    Mistake(
        "norms-added", "clip_gradients", NORM_OF_ALL, "total = sum(math.sqrt(float((g**2).sum())) for g in gradients)"
    ),
    Mistake("norm-without-root", "clip_gradients", NORM_OF_ALL, NORM_OF_ALL.replace("math.sqrt", "")),
    Mistake(
        "largest-norm", "clip_gradients", NORM_OF_ALL, "total = max(math.sqrt(float((g**2).sum())) for g in gradients)"
    ),
    Mistake(
        "norm-of-largest-element", "clip_gradients", NORM_OF_ALL, "total = max(float(abs(g).max()) for g in gradients)"
    ),
    Mistake("scaled-to-norm-1", "clip_gradients", FACTOR, "1 / (total + 1e-6) if total > max_norm else 1.0"),
    # ---- metrics
    Mistake("error-rate", "accuracy", "float((labels == predictions).mean())", "float((labels != predictions).mean())"),
    Mistake(
        "accuracy-in-percent",
        "accuracy",
        "float((labels == predictions).mean())",
        "100 * float((labels == predictions).mean())",
    ),
    Mistake(
        "count-not-share", "accuracy", "float((labels == predictions).mean())", "float((labels == predictions).sum())"
    ),
    Mistake(
        "balanced-accuracy",
        "accuracy",
        "float((labels == predictions).mean())",
        "float(np.mean([(predictions[labels == c] == c).mean() for c in set(labels.tolist())]))",
    ),
    Mistake(
        "confusion-counts-once",
        "confusion_matrix",
        "np.add.at(matrix, (labels, predictions), 1)",
        "matrix[labels, predictions] = 1",
    ),
    Mistake("classes-absent-from-labels-skipped", "precision_recall_f1", "np.ones(num_labels)", "(actual > 0)"),
    Mistake("only-predicted-classes", "precision_recall_f1", "np.ones(num_labels)", "(predicted > 0)"),
    Mistake("weighted-by-predictions", "precision_recall_f1", SHARES, SHARES.replace("actual", "predicted")),
    Mistake(
        "f1-is-the-mean",
        "precision_recall_f1",
        AVERAGES,
        "    p, r = (float(np.average(figure, weights=shares)) for figure in (precision, recall))\n"
        "    return p, r, (p + r) / 2",
    ),
    Mistake(
        "zero-division",
        "precision_recall_f1",
        "    f1 = ratio(2 * right, predicted + actual)",
        "    precision, recall = right / predicted, right / actual\n"
        "    f1 = 2 * precision * recall / (precision + recall)",
    ),
    Mistake(  # with F1 from the counts
        "zero-division",
        "precision_recall_f1",
        "    f1 = ratio(2 * right, predicted + actual)",
        "    precision, recall, f1 = right / predicted, right / actual, 2 * right / (predicted + actual)",
    ),
    Mistake("last-class-only", "precision_recall_f1", AVERAGES, "    return precision[1], recall[1], f1[1]"),
    Mistake(
        "ties-in-order-of-appearance",
        "roc_auc",
        AUROC,
        "    ranked = labels[np.argsort(-scores, kind='stable')]\n"
        "    return float(ranked.cumsum()[ranked == 0].mean() / ranked.sum())\n",
    ),
    Mistake(
        "average-precision-for-auroc",
        "roc_auc",
        AUROC,
        "    ranked = labels[np.argsort(-scores, kind='stable')]\n"
        "    return float((ranked.cumsum() / np.arange(1, len(ranked) + 1))[ranked == 1].mean())\n",
    ),
)
