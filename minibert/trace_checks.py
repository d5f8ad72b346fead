"""Do the parts of a trace add up? What the hooks of `trace.py` noted, held against itself by arithmetic in float64.

Three vectors have to add up to what LayerNorm was given, softmax rows to one, a weighted sum of the pooled vector's
numbers to the logits. A picture that fitted the model only roughly would fail here.
"""

import math

from torch.nn.functional import gelu

ALLOWED = 1e-5  # what float32 may miss, as a share of the largest number that takes part, or of 1 if that is larger


def check(calls, model, pooling, pooled, unheard):
    """[{"name", "difference": the largest one, "allowed"}]: the notes, held against each other in float64.

    unheard: what the model answers while nothing listens.
    """
    encoder = getattr(model, "encoder", model)
    found = [
        compared("listening changes nothing: the model's answer is the same without it",
                 [(calls["head" if encoder is not model else "encoder"].given, unheard)]),
        *check_embeddings(calls, encoder.embeddings),
        *(check_layers(calls, encoder) if len(encoder.layers) else ()),
        check_pooling(calls, encoder, pooling, pooled),
    ]  # fmt: skip
    return found + (check_head(calls, model) if encoder is not model else [])


def compared(name, pairs):
    """A check over pairs of tensors that should be equal."""
    difference, largest = 0.0, 1.0
    for ours, noted in pairs:
        gap = (ours.double() - noted.double()).abs().max().item()
        difference = math.inf if math.isnan(gap) else max(difference, gap)
        largest = max(largest, noted.abs().max().item())
    return {"name": name, "difference": difference, "allowed": ALLOWED * largest}


def normalised(norm, x):
    """LayerNorm by hand, in float64 (Ba et al. 2016, arXiv 1607.06450, equation 4)."""
    x = x.double()
    x = (x - x.mean(dim=-1, keepdim=True)) / (x.var(dim=-1, keepdim=True, correction=0) + norm.eps).sqrt()
    return x * norm.weight.double() + norm.bias.double()


def linear(layer, x):
    """A linear layer by hand, in float64."""
    return x.double() @ layer.weight.double().T + layer.bias.double()


def check_embeddings(calls, embeddings):
    """Word, position and type add up to what LayerNorm was given, and LayerNorm did what it should."""
    names = [name for name in ("word", "position", "token_type") if f"encoder.embeddings.{name}" in calls]
    norm = calls["encoder.embeddings.norm"]
    added = sum(calls[f"encoder.embeddings.{name}"].given.double() for name in names)
    return [
        compared(f"embeddings: {' + '.join(names).replace('_', ' ')} are the sum", [(added, norm.taken)]),
        compared("embeddings: LayerNorm of the sum, by hand", [(normalised(embeddings.norm, norm.taken), norm.given)]),
    ]


def check_layers(calls, encoder):
    """Attention again from queries, keys and values; both sums; both LayerNorms; and that no layer is skipped."""
    rows, weights, contexts, sums, norms, joints = [], [], [], [], [], []
    before = calls["encoder.embeddings"].given
    for i, layer in enumerate(encoder.layers):
        called = {name: calls[f"encoder.layers.{i}.{name}"] for name, _ in layer.named_modules() if name}
        probabilities = called["attention"].given[1]
        query, key, value = (layer.attention.split_heads(called[f"attention.{name}"].given).double()
                             for name in ("query", "key", "value"))  # fmt: skip
        by_hand = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(dim=-1)
        gathered = (probabilities.double() @ value).transpose(1, 2).flatten(2)
        rows.append((probabilities.double().sum(dim=-1), probabilities.new_ones(probabilities.shape[:-1])))
        weights.append((by_hand, probabilities))
        contexts.append((gathered, called["attention.output"].taken))
        joints.append((before, calls[f"encoder.layers.{i}"].taken))
        for norm, start, added in (
            ("attention_norm", calls[f"encoder.layers.{i}"].taken, called["attention"].given[0]),
            ("feed_forward_norm", called["attention_norm"].given, called["feed_forward"].given),
        ):
            sums.append((start.double() + added.double(), called[norm].taken))
            norms.append((normalised(getattr(layer, norm), called[norm].taken), called[norm].given))
        before = calls[f"encoder.layers.{i}"].given[0]
    return [
        compared("attention: every row of every head sums to 1", rows),
        compared("attention: softmax(query key / square root of the head's width), by hand", weights),
        compared("attention: what each head gathers is its weights times the values", contexts),
        compared("layers: what enters + what attention or feed-forward adds is the sum", sums),
        compared("layers: LayerNorm of each sum, by hand", norms),
        compared("layers: each one starts where the one before ended", joints),
    ]


def check_pooling(calls, encoder, pooling, pooled):
    """The pooled vector again, from the last layer's output."""
    hidden = calls["encoder"].given
    by_hand = hidden.double().mean(dim=1) if pooling == "mean" else hidden[:, 0]
    if pooling == "pooler":
        by_hand = linear(encoder.pooler.dense, by_hand).tanh()
    return compared("pooling: the pooled vector, by hand", [(by_hand, pooled)])


def check_head(calls, classifier):
    """The logits again from the pooled vector, and the probabilities' sum."""
    activation = {"linear": None, "mlp": lambda x: x.relu(), "tanh": lambda x: x.tanh(), "gelu": gelu}
    read, logits = calls["head"].taken, calls["head"].given
    if activation[classifier.head_name] is not None:
        read = activation[classifier.head_name](linear(classifier.head.dense, read))
    total = logits.double().softmax(dim=-1).sum(dim=-1)
    return [
        compared("head: the logits from the pooled vector, by hand", [(linear(classifier.head.output, read), logits)]),
        compared("head: the probabilities sum to 1", [(total, total.new_ones(1))]),
    ]
