"""The student: a smaller model that starts as a part of a bigger one.

A small model that starts as a part of a good one is far ahead of one that starts from random numbers. Three things can
be left out: whole layers, neurons of the feed-forward layers, and word pieces (`vocabulary.py`). The width and the
attention heads stay the teacher's, so every hidden state of the student can be compared with one of the teacher's.
"""

from dataclasses import replace

import torch

from ..head import NATIVE, Classifier
from ..load import build_encoder
from ..model import initialize


def new_student(teacher, num_layers, kept, initialization="teacher", pad_id=0, intermediate_size=None, activity=None):
    """(student encoder, the teacher's layers that the student's layers stand for).

    kept: [V] the teacher's ids of the student's vocabulary, in the student's order. Student layer i stands for
    teacher layer `layers[i]` and starts as a copy of it; with "random" initialization everything starts fresh.
    intermediate_size: feed-forward neurons in a layer, None for all of the teacher's. If some are left out, `activity`,
    as `neuron_activity` gives it for the teacher, says which.
    Raises ValueError when the teacher has too few layers or neurons.
    """
    config, depth = teacher.config, len(teacher.layers)
    neurons = config.intermediate_size if intermediate_size is None else intermediate_size
    if not 1 <= num_layers <= depth:
        raise ValueError(f"num_layers is {num_layers}; the teacher has {depth}, a student from 1 to {depth}")
    if not 1 <= neurons <= config.intermediate_size:
        most = config.intermediate_size
        raise ValueError(f"intermediate_size is {neurons}; the teacher has {most}, a student from 1 to {most}")
    # Evenly spaced, and the last one among them, because the student's output should be the teacher's output.
    layers = [(i + 1) * depth // num_layers - 1 for i in range(num_layers)]
    config = replace(
        config, model_type="distilbert", num_hidden_layers=num_layers, intermediate_size=neurons, vocab_size=len(kept),
        max_position_embeddings=config.longest, type_vocab_size=0, pad_token_id=pad_id,
        layer_norm_eps=1e-12,  # a DistilBERT's config.json cannot give another
    )  # fmt: skip
    student = build_encoder(config)
    if initialization == "random":
        initialize(student, config.initializer_range)
    else:
        copy_embeddings(teacher.embeddings, student.embeddings, kept)
        copy_layers(teacher, student, layers, activity)
    return student, layers


@torch.no_grad()
def copy_embeddings(teacher, student, kept):
    """Copy a teacher's `Embeddings` into a student's: the word pieces `kept`, all positions, the LayerNorm."""
    student.word.weight.copy_(teacher.word.weight[kept])
    unused = len(teacher.position.weight) - len(student.position.weight)  # a RoBERTa's first rows
    student.position.weight.copy_(teacher.position.weight[unused:])
    if teacher.token_type is not None:
        # A DistilBERT has no token types. In a text on its own every token is of type 0, so that type's vector can be
        # added to every position instead.
        student.position.weight.add_(teacher.token_type.weight[0])
    student.norm.load_state_dict(teacher.norm.state_dict())


@torch.no_grad()
def copy_layers(teacher, student, layers, activity=None):
    """Copy the teacher's `layers` into the student's. activity: see `new_student`; None where all neurons stay."""
    neurons = student.config.intermediate_size
    for layer, original in zip(student.layers, layers, strict=True):
        state = teacher.layers[original].state_dict()
        if activity is not None:
            part = busiest(teacher.layers[original].feed_forward, neurons, *activity[original])
            state |= {f"feed_forward.{name}": tensor for name, tensor in part.items()}
        layer.load_state_dict(state)


def busiest(feed_forward, neurons, mean, variance):
    """The state of a `FeedForward` with only so many `neurons`: those of the given one that do most.

    A neuron adds its activation times its column of `contract` to a token. What a neuron that is left out adds on
    average becomes part of the bias, so nothing is lost of a neuron that adds the same to every token. Therefore those
    stay whose addition varies most.
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
    activations = {}  # layer -> [B, T, F] of the current batch

    def keep(index, activation):
        def hook(module, inputs, output):
            activations[index] = activation(output)

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
    """A `Classifier` around the student's encoder. Its head starts as the teacher's, or fresh ("random").

    BERT's pooler + linear becomes DistilBERT's first token -> dense -> ReLU -> linear: the dense layer is copied,
    though it was trained for a tanh.
    """
    pooling, head = teacher.pooling, teacher.head_name
    if pooling == "pooler":
        pooling, head = NATIVE["distilbert"]
    student = Classifier(encoder, teacher.label_names, pooling, head)
    initialize(student.head, encoder.config.initializer_range)
    if initialization == "random":
        return student
    with torch.no_grad():
        student.head.output.load_state_dict(teacher.head.output.state_dict())
        if hasattr(student.head, "dense"):
            dense = teacher.encoder.pooler.dense if teacher.pooling == "pooler" else teacher.head.dense
            student.head.dense.load_state_dict(dense.state_dict())
    return student
