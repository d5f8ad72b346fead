"""The start of a distillation: a smaller model cut out of a bigger one, and a smaller vocabulary to go with it.

A small model that starts as a part of a good one is far ahead of one that starts from random numbers. Three things
can be cut: whole layers (as for DistilBERT, Sanh et al. 2019, arXiv 1910.01108), neurons of the feed-forward layers,
and word pieces, whose vectors are most of the parameters of a small model. `hidden_size` and the heads stay the
teacher's: so every hidden state of the student can be compared with one of the teacher's.
Next: `distill.py`, which does that.
"""

import json
from collections import Counter
from dataclasses import replace

import tokenizers
import torch
from tqdm import tqdm

from .files import UserError
from .head import NATIVE, Classifier
from .model import Encoder, initialize
from .tokenizer import CHUNK, Tokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


# ---- the model


def new_student(teacher, num_layers, kept, initialization="teacher", pad_id=0, intermediate_size=None, activity=None):
    """(student encoder, the teacher layers that its layers stand for).

    kept: [V] the teacher's ids of the student's vocabulary, in the student's order. Student layer i stands for
    teacher layer `layers[i]` and starts as a copy of it; with "random" initialization everything starts fresh.
    intermediate_size: feed-forward neurons in a layer, None for all of the teacher's. If some have to go, `activity`,
    as `neuron_activity` gives it for the teacher, says which.
    Raises UserError when the teacher has too few layers or neurons.
    """
    config, depth = teacher.config, len(teacher.layers)
    if not 1 <= num_layers <= depth:
        raise UserError(f"--layers {num_layers}: the teacher has {depth}, and a student has between 1 and as many")
    neurons = config.intermediate_size if intermediate_size is None else intermediate_size
    if not 1 <= neurons <= config.intermediate_size:
        raise UserError(
            f"--intermediate-size {neurons}: the teacher has {config.intermediate_size}, and a student has between 1 "
            "and as many"
        )
    # Evenly spaced, the last one among them: the student's output has to be the teacher's output.
    layers = [(i + 1) * depth // num_layers - 1 for i in range(num_layers)]
    config = replace(
        config, model_type="distilbert", num_hidden_layers=num_layers, intermediate_size=neurons, vocab_size=len(kept),
        type_vocab_size=0, pad_token_id=pad_id, layer_norm_eps=1e-12,
    )  # fmt: skip
    student = Encoder(config)
    if initialization == "random":
        initialize(student, config.initializer_range)
        return student, layers
    with torch.no_grad():
        source = teacher.embeddings
        student.embeddings.word.weight.copy_(source.word.weight[kept])
        student.embeddings.position.weight.copy_(source.position.weight)
        if source.token_type is not None:  # a DistilBERT has no types; in a text on its own every token is of type 0
            student.embeddings.position.weight.add_(source.token_type.weight[0])
        student.embeddings.norm.load_state_dict(source.norm.state_dict())
        for layer, original in zip(student.layers, layers, strict=True):
            state = teacher.layers[original].state_dict()
            if activity is not None:
                part = busiest(teacher.layers[original].feed_forward, neurons, *activity[original])
                state |= {f"feed_forward.{name}": tensor for name, tensor in part.items()}
            layer.load_state_dict(state)
    return student, layers


def busiest(feed_forward, neurons, mean, variance):
    """The state of a `FeedForward` with only so many `neurons`, those of the given one that do most.

    A neuron adds its activation times its column of `contract` to a token. What each adds on average stays in any
    case, as a part of the bias; so those neurons stay whose addition varies most.
    mean, variance: [F], of each neuron's activation.
    """
    state = feed_forward.state_dict()
    columns = state["contract.weight"]  # [E, F]
    order = (variance * columns.square().sum(0)).argsort(descending=True, stable=True)
    stay, go = order[:neurons].sort().values, order[neurons:]
    return {
        "expand.weight": state["expand.weight"][stay],
        "expand.bias": state["expand.bias"][stay],
        "contract.weight": columns[:, stay],
        "contract.bias": state["contract.bias"] + columns[:, go] @ mean[go],
    }


@torch.inference_mode()
def neuron_activity(encoder, batches):
    """For each layer (mean [F], variance [F]) of its feed-forward neurons' activations, over real tokens, in eval mode.

    batches: an iterable of (input_ids, attention_mask, token_type_ids), [B, T] each.
    """
    encoder.eval()
    activations = {}

    def keep(index, activation):
        def hook(module, inputs, output):
            activations[index] = activation(output)  # [B, T, F]

        return hook

    parts = [layer.feed_forward for layer in encoder.layers]
    hooks = [part.expand.register_forward_hook(keep(i, part.activation)) for i, part in enumerate(parts)]
    sums, squares, tokens = [0] * len(hooks), [0] * len(hooks), 0
    for input_ids, attention_mask, token_type_ids in batches:
        encoder(input_ids, attention_mask, token_type_ids)
        real = attention_mask.bool()
        for i, activation in activations.items():
            sums[i] = sums[i] + activation[real].sum(0)
            squares[i] = squares[i] + activation[real].square().sum(0)
        tokens += int(real.sum())
    for hook in hooks:
        hook.remove()
    means = [total / tokens for total in sums]
    return [(mean, square / tokens - mean.square()) for mean, square in zip(means, squares, strict=True)]


def new_student_head(teacher, encoder, initialization="teacher"):
    """A `Classifier` around the student's encoder whose head starts as the teacher's, or fresh ("random").

    BERT's pooler + linear becomes DistilBERT's first token -> dense -> ReLU -> linear: the dense layer is copied,
    though it was trained for a tanh.
    """
    pooling, head = (teacher.pooling, teacher.head_name)
    if pooling == "pooler":
        pooling, head = NATIVE["distilbert"]
    student = Classifier(encoder, teacher.label_names, pooling, head)
    initialize(student.head, encoder.config.initializer_range)
    if initialization == "random":
        return student
    with torch.no_grad():
        student.head.output.load_state_dict(teacher.head.output.state_dict())
        if head == "mlp":
            dense = teacher.encoder.pooler.dense if teacher.pooling == "pooler" else teacher.head.dense
            student.head.dense.load_state_dict(dense.state_dict())
    return student


# ---- the vocabulary


def choose_vocabulary(tokenizer, texts, size, quiet=False):
    """(the teacher's ids to keep, ascending; the share of the text's pieces that they cover).

    Kept always: special tokens, every single character and every one-character suffix, so that whatever the
    teacher could spell the student can spell too. The rest are the pieces most frequent in the texts. A word
    whose piece goes is spelled with shorter ones. size None keeps everything.
    """
    vocabulary = tokenizer.backend.get_vocab()
    if size is None or size >= len(vocabulary):
        return sorted(vocabulary.values()), 1.0
    state = json.loads(tokenizer.backend.to_str())
    model = state["model"]
    if model["type"] != "WordPiece":
        raise UserError(f"--vocab-size: only a WordPiece vocabulary can be cut, and the teacher's is {model['type']}")
    suffix = model["continuing_subword_prefix"]
    special = {*SPECIAL_TOKENS, model["unk_token"], *(t["content"] for t in state["added_tokens"] if t["special"])}
    special |= {tokenizer.backend.id_to_token(i) for i in (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id)}
    always = {i for token, i in vocabulary.items() if token in special or len(token.removeprefix(suffix)) == 1}
    if size < len(always):
        raise UserError(
            f"--vocab-size {size}: the special tokens and single characters, which have to stay, are {len(always):,}"
        )
    counts = Counter()
    with tqdm(total=len(texts), desc="counting pieces", unit=" texts", leave=False, disable=quiet or None) as bar:
        for start in range(0, len(texts), CHUNK):
            for ids in tokenizer.pieces(texts[start : start + CHUNK]):
                counts.update(ids)
            bar.update(len(texts[start : start + CHUNK]))
    frequent = sorted((i for i in vocabulary.values() if i not in always), key=lambda i: (-counts[i], i))
    kept = always | set(frequent[: size - len(always)])
    return sorted(kept), sum(counts[i] for i in kept) / max(1, counts.total())


def cut_tokenizer(tokenizer, kept):
    """The same tokenizer with only the pieces `kept` (the teacher's ids), renumbered in that order."""
    state = json.loads(tokenizer.backend.to_str())
    renumbered = {old: new for new, old in enumerate(kept)}
    state["model"]["vocab"] = {token: renumbered[i] for token, i in state["model"]["vocab"].items() if i in renumbered}
    state["added_tokens"] = [
        {**token, "id": renumbered[token["id"]]} for token in state["added_tokens"] if token["id"] in renumbered
    ]
    state["post_processor"] = None  # it names ids; `Tokenizer` makes a new one
    names = {name: tokenizer.backend.id_to_token(getattr(tokenizer, f"{name}_id")) for name in ("cls", "sep", "pad")}
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(state)), tokenizer.max_length, **names)
