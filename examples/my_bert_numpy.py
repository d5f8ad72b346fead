"""BERT in one file of NumPy: each rung of the parity ladder, forward and backward, from text to training.

    python -m minibert.parity examples/my_bert_numpy.py

Read it from top to bottom: each function needs only those before it. There is no autograd here, so a function that
training passes through has its derivative written out beside it, as NAME_backward. All of these work alike: they take
d_output, how fast the loss grows with each number of the output; then the inputs of the forward function, from which
they compute again what they need (slower than remembering it, and nothing to keep track of). They return the same
rates for the input, and put those for the weights into the dict `gradients`. Shapes:

    B  texts     T  tokens          E  hidden size = H * D      V  vocabulary     S  steps
    H  heads     D  width of one    F  intermediate size        C  classes        N  elements

No array that is handed in is ever changed, and float32 stays float32: the only constants are Python's own numbers,
which take on the precision of the array that they meet.
"""

import math
import string
import unicodedata

import numpy as np

ARRAYS = "numpy"  # what the ladder shall hand over

# Text to numbers

CHINESE = (  # the blocks whose characters are words by themselves; no spaces are written between them
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


def stands_alone(character):
    """Is this character a word of its own? Punctuation is (for BERT, $ + < = > ^ ` | ~ too), and so is Chinese."""
    if character in string.punctuation or unicodedata.category(character).startswith("P"):
        return True
    return any(first <= ord(character) <= last for first, last in CHINESE)


def split_words(text):
    """Lowercase, take off accents, drop what cannot be seen, and cut at spaces and punctuation."""
    spaced = ""
    for character in unicodedata.normalize("NFD", text.lower()):  # NFD takes é apart: an e, then an accent (Mn)
        kind = unicodedata.category(character)
        invisible = kind in ("Cc", "Cf", "Co") and character not in "\t\n\r"
        if kind == "Mn" or invisible or character == "\ufffd":
            continue
        spaced += f" {character} " if stands_alone(character) else character
    return spaced.split()


def split_pieces(word, vocabulary):
    """Spell a word with the longest piece that fits, then the longest for the rest. One gap, and all is unknown."""
    if len(word) > 100:
        return ["[UNK]"]
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def wordpiece(text, pair, vocabulary, max_length):
    """[CLS] text [SEP], and for a pair more: its second text [SEP], of token type 1."""
    number = {piece: i for i, piece in enumerate(vocabulary)}
    first = [piece for word in split_words(text) for piece in split_pieces(word, number)]
    second = [piece for word in split_words(pair or "") for piece in split_pieces(word, number)]
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


# The small functions that everything is made of


def standardise(x, eps):
    """Shift and scale each token's vector to mean 0 and deviation 1; also returns the deviation, [B, T, 1]."""
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)  # eps: a vector of equal numbers has none
    return centred / deviation, deviation


def layer_norm(x, weight, bias, eps):
    normal, _ = standardise(x, eps)  # [B, T, E]
    return normal * weight + bias


def norm(x, weights, name, config):
    """layer_norm with the weights of that name."""
    return layer_norm(x, weights[name + ".weight"], weights[name + ".bias"], config["layer_norm_eps"])


def norm_backward(d_output, x, weights, name, config, gradients):
    normal, deviation = standardise(x, config["layer_norm_eps"])
    gradients[name + ".weight"] = (d_output * normal).sum((0, 1))  # every token used the same weight: shares add up
    gradients[name + ".bias"] = d_output.sum((0, 1))
    # The output does not notice when all of x is shifted or stretched: both directions have to leave the gradient.
    d_normal = d_output * weights[name + ".weight"]  # [B, T, E]
    shift = d_normal.mean(-1, keepdims=True)
    stretch = normal * (d_normal * normal).mean(-1, keepdims=True)
    return (d_normal - shift - stretch) / deviation


erf = np.vectorize(math.erf, otypes=[np.float64])  # NumPy has no erf; Python's is exact, though one number at a time


def normal_cdf(x):
    """The probability that a standard normal number is less than x."""
    return 0.5 * (1 + erf(x / math.sqrt(2)).astype(x.dtype))


def gelu(x):
    return x * normal_cdf(x)


def gelu_backward(d_output, x):
    density = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)  # the derivative of normal_cdf
    return d_output * (normal_cdf(x) + x * density)


def softmax(x):
    """Positive numbers with sum 1 along the last axis. Less their largest first, or exp would overflow."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def softmax_backward(d_output, output):
    """From the output, not the input. Each number pushes all the others down, hence the sum."""
    return output * (d_output - (d_output * output).sum(-1, keepdims=True))


def linear(x, weights, name):
    """[..., in] -> [..., out]. PyTorch stores a weight as [out, in]."""
    return x @ weights[name + ".weight"].T + weights[name + ".bias"]


def linear_backward(d_output, x, weights, name, gradients):
    weight = weights[name + ".weight"]  # [out, in]
    d_rows, rows = d_output.reshape(-1, weight.shape[0]), x.reshape(-1, weight.shape[1])  # all tokens in one list
    gradients[name + ".weight"] = d_rows.T @ rows
    gradients[name + ".bias"] = d_rows.sum(0)
    return d_output @ weight


# Embeddings

WORDS = "embeddings.word_embeddings.weight"  # [V, E]
POSITIONS = "embeddings.position_embeddings.weight"  # [longest text, E]
TYPES = "embeddings.token_type_embeddings.weight"  # [2, E]


def summed_embeddings(input_ids, token_type_ids, attention_mask, weights):
    """What the token is, where it stands and in which text of a pair: three rows of three tables, added up."""
    positions = np.arange(input_ids.shape[1])  # [T]: the same for every text, padded or not
    return weights[WORDS][input_ids] + weights[POSITIONS][positions] + weights[TYPES][token_type_ids]


def bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config):
    summed = summed_embeddings(input_ids, token_type_ids, attention_mask, weights)  # [B, T, E]
    return norm(summed, weights, "embeddings.LayerNorm", config)


def bert_embeddings_dropout(input_ids, token_type_ids, attention_mask, weights, config, dropout):
    """In train mode: dropout comes last, after LayerNorm."""
    return dropout(bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config))


def lookup_backward(d_output, indices, table):
    """To each row of the table what all of its uses ask for: `+=` would count a token that occurs twice only once."""
    gradient = np.zeros_like(table)
    np.add.at(gradient, indices, d_output)
    return gradient


def bert_embeddings_backward(d_output, input_ids, token_type_ids, attention_mask, weights, config, gradients):
    """Token ids are no numbers to be moved, so this returns nothing."""
    summed = summed_embeddings(input_ids, token_type_ids, attention_mask, weights)
    d_summed = norm_backward(d_output, summed, weights, "embeddings.LayerNorm", config, gradients)
    gradients[WORDS] = lookup_backward(d_summed, input_ids, weights[WORDS])
    gradients[POSITIONS] = lookup_backward(d_summed.sum(0), np.arange(input_ids.shape[1]), weights[POSITIONS])
    gradients[TYPES] = lookup_backward(d_summed, token_type_ids, weights[TYPES])


def bert_config(config):
    """DistilBERT's config.json in BERT's words. Its epsilon is fixed in the code and not in the file."""
    return {
        "num_attention_heads": config["n_heads"],
        "num_hidden_layers": config["n_layers"],
        "layer_norm_eps": 1e-12,
    }


def distilbert_embeddings(input_ids, attention_mask, weights, config):
    """BERT's without token types."""
    summed = weights[WORDS][input_ids] + weights[POSITIONS][: input_ids.shape[1]]  # [B, T, E]
    return norm(summed, weights, "embeddings.LayerNorm", bert_config(config))


def roberta_embeddings(input_ids, attention_mask, weights, config):
    """As BERT's, but positions are counted from pad_token_id + 1, and padding is not counted."""
    pad = config["pad_token_id"]
    real = (input_ids != pad).astype(np.int64)  # [B, T]
    positions = real.cumsum(1) * real + pad
    words, places = weights[WORDS][input_ids], weights[POSITIONS][positions]  # [B, T, E] each
    return norm(words + places + weights[TYPES][0], weights, "embeddings.LayerNorm", config)  # all are of one type


# Attention


def attention_probabilities(query, key, attention_mask):
    """How much of each key's token every query's token takes in: [B, H, T, T]."""
    # A product of D terms spreads by sqrt(D). Undone, or the softmax would put everything on one token.
    scores = query @ key.swapaxes(2, 3) / math.sqrt(query.shape[3])
    # exp(-30000) is exactly 0: no query sees padding. Infinity would make a text of nothing but padding NaN.
    scores = scores + np.where(attention_mask[:, None, None, :] == 1, 0, -30000).astype(scores.dtype)
    return softmax(scores)


def attention_probabilities_backward(d_output, query, key, attention_mask):
    """Returns d_query and d_key. The mask, a constant that was added, has no part in it."""
    d_scores = softmax_backward(d_output, attention_probabilities(query, key, attention_mask))
    d_products = d_scores / math.sqrt(query.shape[3])
    return d_products @ key, d_products.swapaxes(2, 3) @ query


def split_heads(x, config):
    """[B, T, E] -> [B, H, T, D]. The features are cut into heads, not the tokens: hence reshape, then transpose."""
    batch, length, width = x.shape
    heads = config["num_attention_heads"]
    return x.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)


def merge_heads(x):
    """[B, H, T, D] -> [B, T, E]: undoes split_heads, and each is the other's derivative."""
    batch, heads, length, width = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * width)


PROJECTIONS = ("attention.self.query", "attention.self.key", "attention.self.value")


def keep(x):
    """What dropout is when nobody trains."""
    return x


def multi_head_attention(hidden, attention_mask, weights, config, dropout=keep):
    """Every head compares tokens by D features of its own; what they gather is put side by side and mixed."""
    query, key, value = (split_heads(linear(hidden, weights, name), config) for name in PROJECTIONS)  # [B, H, T, D]
    probabilities = dropout(attention_probabilities(query, key, attention_mask))  # [B, H, T, T]
    context = merge_heads(probabilities @ value)  # [B, T, E]
    return linear(context, weights, "attention.output.dense")


def multi_head_attention_backward(d_output, hidden, attention_mask, weights, config, gradients):
    query, key, value = (split_heads(linear(hidden, weights, name), config) for name in PROJECTIONS)
    probabilities = attention_probabilities(query, key, attention_mask)
    context = merge_heads(probabilities @ value)
    d_context = linear_backward(d_output, context, weights, "attention.output.dense", gradients)
    d_context = split_heads(d_context, config)  # [B, H, T, D]
    d_value = probabilities.swapaxes(2, 3) @ d_context
    d_probabilities = d_context @ value.swapaxes(2, 3)  # [B, H, T, T]
    d_query, d_key = attention_probabilities_backward(d_probabilities, query, key, attention_mask)
    d_projected = zip(PROJECTIONS, (d_query, d_key, d_value), strict=True)
    # hidden was read three times, so three rates add up
    return sum(linear_backward(merge_heads(d), hidden, weights, name, gradients) for name, d in d_projected)


# Layers


def feed_forward(hidden, weights, config):
    """[B, T, E] -> [B, T, F] -> [B, T, E], each token by itself."""
    inner = gelu(linear(hidden, weights, "intermediate.dense"))
    return linear(inner, weights, "output.dense")


def feed_forward_backward(d_output, hidden, weights, config, gradients):
    expanded = linear(hidden, weights, "intermediate.dense")  # [B, T, F]
    d_inner = linear_backward(d_output, gelu(expanded), weights, "output.dense", gradients)
    d_expanded = gelu_backward(d_inner, expanded)
    return linear_backward(d_expanded, hidden, weights, "intermediate.dense", gradients)


def layer(hidden, attention_mask, weights, config, dropout=keep):
    """Attention, then feed-forward; each is added to what it has read, and the sum normalised (post-norm)."""
    attended = multi_head_attention(hidden, attention_mask, weights, config, dropout)
    hidden = norm(hidden + dropout(attended), weights, "attention.output.LayerNorm", config)
    worked = feed_forward(hidden, weights, config)
    return norm(hidden + dropout(worked), weights, "output.LayerNorm", config)


def layer_backward(d_output, hidden, attention_mask, weights, config, gradients):
    """From the last line of `layer` up to its first. A sum hands what it gets to both of its terms."""
    first_sum = hidden + multi_head_attention(hidden, attention_mask, weights, config)
    middle = norm(first_sum, weights, "attention.output.LayerNorm", config)
    second_sum = middle + feed_forward(middle, weights, config)

    d_second = norm_backward(d_output, second_sum, weights, "output.LayerNorm", config, gradients)
    d_middle = d_second + feed_forward_backward(d_second, middle, weights, config, gradients)
    d_first = norm_backward(d_middle, first_sum, weights, "attention.output.LayerNorm", config, gradients)
    return d_first + multi_head_attention_backward(d_first, hidden, attention_mask, weights, config, gradients)


# Whole encoders


def layer_weights(weights, number):
    """One layer's weights, without the beginning that they have in common."""
    start = f"encoder.layer.{number}."
    return {name.removeprefix(start): array for name, array in weights.items() if name.startswith(start)}


def all_layers(hidden, attention_mask, weights, config):
    """L + 1 arrays [B, T, E]: what goes into the first layer, and what comes out of each."""
    states = [hidden]
    for number in range(config["num_hidden_layers"]):
        states.append(layer(states[-1], attention_mask, layer_weights(weights, number), config))
    return states


def bert_encoder(input_ids, attention_mask, token_type_ids, weights, config):
    hidden = bert_embeddings(input_ids, token_type_ids, attention_mask, weights, config)
    return all_layers(hidden, attention_mask, weights, config)


BERT_NAMES = {  # DistilBERT's word: BERT's
    "transformer.layer": "encoder.layer",
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
    "pre_classifier": "pooler.dense",
}


def bert_name(name, table):
    """Replace each of the table's words that occurs in the name."""
    for theirs, ours in table.items():
        name = name.replace(theirs, ours)
    return name


def roberta_encoder(input_ids, attention_mask, weights, config):
    """Other embeddings, the same layers."""
    return all_layers(roberta_embeddings(input_ids, attention_mask, weights, config), attention_mask, weights, config)


def distilbert_layer(hidden, attention_mask, weights, config):
    """BERT's layer under other names."""
    renamed = {bert_name(name, BERT_NAMES): array for name, array in weights.items()}
    return layer(hidden, attention_mask, renamed, bert_config(config))


def distilbert_encoder(input_ids, attention_mask, weights, config):
    """The same layers under other names."""
    hidden = distilbert_embeddings(input_ids, attention_mask, weights, config)
    renamed = {bert_name(name, BERT_NAMES): array for name, array in weights.items()}
    return all_layers(hidden, attention_mask, renamed, bert_config(config))


# From tokens to classes


def pooler(hidden, attention_mask, weights):
    """The first token, [CLS], speaks for the text: [B, T, E] -> [B, E]."""
    return np.tanh(linear(hidden[:, 0], weights, "pooler.dense"))


def pooler_backward(d_output, hidden, attention_mask, weights, gradients):
    d_dense = d_output * (1 - pooler(hidden, attention_mask, weights) ** 2)  # tanh' = 1 - tanh^2
    d_hidden = np.zeros_like(hidden)  # nobody reads the other tokens of the last layer
    d_hidden[:, 0] = linear_backward(d_dense, hidden[:, 0], weights, "pooler.dense", gradients)
    return d_hidden


def mean_pooling(hidden, attention_mask):
    """The mean over real tokens: [B, T, E] -> [B, E]."""
    real = attention_mask[:, :, None].astype(hidden.dtype)  # [B, T, 1]; whole numbers would turn float32 into float64
    return (hidden * real).sum(1) / real.sum(1)


def bert_head(hidden, attention_mask, weights, dropout=keep):
    """[B, T, E] -> logits [B, C]."""
    return linear(dropout(pooler(hidden, attention_mask, weights)), weights, "classifier")


def bert_head_backward(d_output, hidden, attention_mask, weights, gradients):
    pooled = pooler(hidden, attention_mask, weights)
    d_pooled = linear_backward(d_output, pooled, weights, "classifier", gradients)
    return pooler_backward(d_pooled, hidden, attention_mask, weights, gradients)


def distilbert_head(hidden, attention_mask, weights, dropout=keep):
    """As BERT's, with ReLU in place of tanh."""
    dense = linear(hidden[:, 0], weights, "pre_classifier")  # [B, E]
    return linear(dropout(np.maximum(dense, 0)), weights, "classifier")


def roberta_head(hidden, attention_mask, weights, dropout=keep):
    """As BERT's under other names; in train mode the first token is dropped, too."""
    dense = linear(dropout(hidden[:, 0]), weights, "classifier.dense")
    return linear(dropout(np.tanh(dense)), weights, "classifier.out_proj")


# Loss and gradients


def cross_entropy(logits, labels):
    """How surprised the model is by the right answers, on average; and d_logits."""
    shifted = logits - logits.max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))  # [B, C]
    right = np.eye(logits.shape[1], dtype=logits.dtype)[labels]  # [B, C]: 1 at the right answer
    loss = -(log_probabilities * right).sum(-1).mean()
    d_logits = (np.exp(log_probabilities) - right) / len(labels)  # what it says, less what it should say
    return loss, d_logits


def loss_and_gradients(input_ids, attention_mask, token_type_ids, labels, weights, config):
    """Once through the model and all the way back."""
    states = bert_encoder(input_ids, attention_mask, token_type_ids, weights, config)
    logits = bert_head(states[-1], attention_mask, weights)
    loss, d_logits = cross_entropy(logits, labels)
    gradients = {}
    d_hidden = bert_head_backward(d_logits, states[-1], attention_mask, weights, gradients)
    for number in reversed(range(config["num_hidden_layers"])):
        own, inside = layer_weights(weights, number), {}
        d_hidden = layer_backward(d_hidden, states[number], attention_mask, own, config, inside)
        gradients |= {f"encoder.layer.{number}.{name}": gradient for name, gradient in inside.items()}
    bert_embeddings_backward(d_hidden, input_ids, token_type_ids, attention_mask, weights, config, gradients)
    return loss, gradients


# Train mode


def bert_layer_dropout(hidden, attention_mask, weights, config, dropout):
    """Three places: the probabilities, and what attention and feed-forward give, before it is added."""
    return layer(hidden, attention_mask, weights, config, dropout)


def distilbert_layer_dropout(hidden, attention_mask, weights, config, dropout):
    """Two places: DistilBERT adds what attention gives as it is. Otherwise line for line `layer`."""
    weights, config = {bert_name(name, BERT_NAMES): array for name, array in weights.items()}, bert_config(config)
    gathered = multi_head_attention(hidden, attention_mask, weights, config, dropout)
    hidden = norm(hidden + gathered, weights, "attention.output.LayerNorm", config)
    return norm(hidden + dropout(feed_forward(hidden, weights, config)), weights, "output.LayerNorm", config)


bert_head_dropout, distilbert_head_dropout, roberta_head_dropout = bert_head, distilbert_head, roberta_head


# Optimisation


def parameter_groups(names):
    """Weight decay is for matrices. A bias or a LayerNorm only sets a level or a scale: 0 is no better than others."""
    decayed, not_decayed = [], []
    for name in names:
        spared = name.endswith(".bias") or "LayerNorm" in name or "layer_norm" in name
        (not_decayed if spared else decayed).append(name)
    return decayed, not_decayed


def adamw_step(parameter, gradient, mean, square, step, lr, beta1, beta2, eps, weight_decay):
    """One update, the first being step 1. Returns the new parameter, mean and square."""
    parameter = parameter - lr * weight_decay * parameter  # not by way of the gradient: there it would be rescaled
    mean = beta1 * mean + (1 - beta1) * gradient  # running averages: of the gradient,
    square = beta2 * square + (1 - beta2) * gradient**2  # and of its square
    # Both began with 0. Divided by the share that is not from then, they are true averages from the first step.
    true_mean = mean / (1 - beta1**step)
    true_square = square / (1 - beta2**step)
    return parameter - lr * true_mean / (np.sqrt(true_square) + eps), mean, square


def adamw(parameter, gradients, lr, beta1, beta2, eps, weight_decay):
    """[N], [S, N] -> [S, N]."""
    mean = square = np.zeros_like(parameter)
    history = []
    for step, gradient in enumerate(gradients, 1):
        settings = (step, lr, beta1, beta2, eps, weight_decay)
        parameter, mean, square = adamw_step(parameter, gradient, mean, square, *settings)
        history.append(parameter)
    return np.stack(history)


def adamw_several(parameters, gradients, lr, beta1, beta2, eps, weight_decay):
    """Each parameter has averages and a count of its own; one without a gradient waits. List of [S, ...]."""
    state = [(np.zeros_like(parameter), np.zeros_like(parameter), 0) for parameter in parameters]
    parameters, histories = list(parameters), [[] for _ in parameters]
    for given in gradients:
        for i, gradient in enumerate(given):
            if gradient is not None:
                mean, square, step = state[i]
                settings = (step + 1, lr, beta1, beta2, eps, weight_decay)
                parameters[i], mean, square = adamw_step(parameters[i], gradient, mean, square, *settings)
                state[i] = mean, square, step + 1
            histories[i].append(parameters[i])
    return [np.stack(history) for history in histories]


def warmup_schedule(step, warmup_steps, total_steps):
    """Straight up to 1, then straight down to 0."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (total_steps - step) / max(1, total_steps - warmup_steps))


def clip_gradients(gradients, max_norm):
    """One factor for all of them: their joint norm shrinks, their direction stays."""
    total = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
    factor = min(1.0, max_norm / (total + 1e-6))  # 1e-6: PyTorch's guard against 0 / 0
    return [gradient * factor for gradient in gradients]


# Metrics


def accuracy(labels, predictions):
    return float((labels == predictions).mean())


def confusion_matrix(labels, predictions, num_labels):
    """How often each class (row) was taken for each class (column)."""
    matrix = np.zeros((num_labels, num_labels), dtype=np.int64)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def ratio(top, bottom):
    """top / bottom, and 0 where bottom is 0."""
    return np.where(bottom == 0, 0.0, top / np.maximum(bottom, 1))


def precision_recall_f1(labels, predictions, num_labels, average):
    matrix = confusion_matrix(labels, predictions, num_labels)
    right, predicted, actual = np.diag(matrix), matrix.sum(0), matrix.sum(1)  # [C] each
    precision = ratio(right, predicted)  # how far a prediction of the class can be trusted
    recall = ratio(right, actual)  # how much of the class was found
    f1 = ratio(2 * right, predicted + actual)  # the harmonic mean of both
    shares = actual if average == "weighted" else np.ones(num_labels)
    return tuple(float(np.average(figure, weights=shares)) for figure in (precision, recall, f1))


def roc_auc(labels, scores):
    """How often a 1 scores above a 0, over all pairs of the two; a tie counts half."""
    ones, zeros = scores[labels == 1][:, None], scores[labels == 0][None, :]
    wins, ties = (ones > zeros).mean(), (ones == zeros).mean()
    return float(wins + ties / 2)


# Checkpoints

NOT_OURS = (  # heads of pretraining and question answering, and a table of 0, 1, 2, ...
    "cls.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "qa_outputs.", "embeddings.position_ids",
)  # fmt: skip


def map_weight_names(names):
    """Any BERT's or DistilBERT's names in today's BERT's words; None for what a classifier has no use for."""
    result = []
    for name in names:
        name = name.removeprefix("bert.").removeprefix("distilbert.")
        if name.startswith(NOT_OURS):
            result.append(None)
            continue
        if name.endswith((".gamma", ".beta")):  # LayerNorm in checkpoints that came from TensorFlow
            name = name.replace(".gamma", ".weight").replace(".beta", ".bias")
        result.append(bert_name(name, BERT_NAMES))
    return result


# All of it together


def train(batches, weights, config, lr, warmup_steps, weight_decay, max_norm):
    """The loss of each batch before the update that it leads to: [20]."""
    decayed, _ = parameter_groups(list(weights))
    averages = {name: (np.zeros_like(array), np.zeros_like(array)) for name, array in weights.items()}
    losses = []
    for step, batch in enumerate(batches):
        inputs = (batch["input_ids"], batch["attention_mask"], batch["token_type_ids"], batch["labels"])
        loss, gradients = loss_and_gradients(*inputs, weights, config)
        losses.append(loss)
        clipped = dict(zip(gradients, clip_gradients(list(gradients.values()), max_norm), strict=True))
        rate = lr * warmup_schedule(step, warmup_steps, len(batches))
        updated = {}
        for name, array in weights.items():
            settings = (step + 1, rate, 0.9, 0.999, 1e-8, weight_decay if name in decayed else 0.0)
            updated[name], *averages[name] = adamw_step(array, clipped[name], *averages[name], *settings)
        weights = updated  # a new dict: the one that was handed in stays as it was
    return np.array(losses)
