"""Which tensor of a checkpoint goes where: literal tables, and an account of every tensor.

A tensor is loaded, ignored for a stated reason, or new for a stated reason; anything else (unknown, missing, of another
shape, not finite) is an error that names it. BERT's pooler alone may be missing: not every checkpoint has one.
"""

import re
from dataclasses import dataclass, field

import torch

from .plumbing.files import UserError

COLUMNS = {"bert": 1, "distilbert": 2, "roberta": 1, "electra": 1}  # of NAMES
PREFIXES = ("bert.", "distilbert.", "roberta.", "electra.")  # what a classifier's checkpoint calls its encoder

#   ours                              BERT, RoBERTa, ELECTRA                        DistilBERT
NAMES = (
    ("embeddings.word",                 "embeddings.word_embeddings",                 "embeddings.word_embeddings"),
    ("embeddings.position",             "embeddings.position_embeddings",             "embeddings.position_embeddings"),
    ("embeddings.token_type",           "embeddings.token_type_embeddings",           None),
    ("embeddings.norm",                 "embeddings.LayerNorm",                       "embeddings.LayerNorm"),
    ("layers.#.attention.query",        "encoder.layer.#.attention.self.query",       "transformer.layer.#.attention.q_lin"),
    ("layers.#.attention.key",          "encoder.layer.#.attention.self.key",         "transformer.layer.#.attention.k_lin"),
    ("layers.#.attention.value",        "encoder.layer.#.attention.self.value",       "transformer.layer.#.attention.v_lin"),
    ("layers.#.attention.output",       "encoder.layer.#.attention.output.dense",     "transformer.layer.#.attention.out_lin"),
    ("layers.#.attention_norm",         "encoder.layer.#.attention.output.LayerNorm", "transformer.layer.#.sa_layer_norm"),
    ("layers.#.feed_forward.expand",    "encoder.layer.#.intermediate.dense",         "transformer.layer.#.ffn.lin1"),
    ("layers.#.feed_forward.contract",  "encoder.layer.#.output.dense",               "transformer.layer.#.ffn.lin2"),
    ("layers.#.feed_forward_norm",      "encoder.layer.#.output.LayerNorm",           "transformer.layer.#.output_layer_norm"),
    ("pooler.dense",                    "pooler.dense",                               None),
)  # fmt: skip
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # of weights; int8 needs scales that we do not read
# Tensors that checkpoints carry and an encoder has no place for, by the beginning of their name.
IGNORED = {
    "cls.predictions.": "masked-language-model head, used in pretraining only",
    "cls.seq_relationship.": "next-sentence head, used in pretraining only",
    "vocab_transform.": "masked-language-model head, used in pretraining only",
    "vocab_layer_norm.": "masked-language-model head, used in pretraining only",
    "vocab_projector.": "masked-language-model head, used in pretraining only",
    "lm_head.": "masked-language-model head, used in pretraining only",
    "discriminator_predictions.": "replaced-token head, used in pretraining only",
    "qa_outputs.": "question-answering head",
    "embeddings.position_ids": "a stored 0, 1, 2, ..., not a weight",
    "pre_classifier.": "classification head; load_classifier reads it",
    "classifier.": "classification head; load_classifier reads it",
    "head.": "classification head; load_classifier reads it",
}

#   ours          BERT          DistilBERT        RoBERTa                ELECTRA
NATIVE_NAMES = (
    ("head.output", "classifier", "classifier",     "classifier.out_proj", "classifier.out_proj"),
    ("head.dense",  None,         "pre_classifier", "classifier.dense",    "classifier.dense"),
)  # fmt: skip
NATIVE_COLUMNS = {"bert": 1, "distilbert": 2, "roberta": 3, "electra": 4}


def encoder_names(family):
    """The encoder's module names -> the family's, from NAMES."""
    column = COLUMNS[family]
    return {row[0]: row[column] for row in NAMES if row[column] is not None}


def classifier_names(family, is_native, prefix=""):
    """A classifier's module names -> those in its checkpoint, where the encoder's begin with `prefix`.

    A head that is not the family's own keeps our names.
    """
    names = {f"encoder.{ours}": prefix + theirs for ours, theirs in encoder_names(family).items()}
    if not is_native:
        return names | {ours: ours for ours, *_ in NATIVE_NAMES}
    column = NATIVE_COLUMNS[family]
    return names | {row[0]: row[column] for row in NATIVE_NAMES if row[column] is not None}


def translate(parameter, names):
    """Our parameter's name in the checkpoint: `layers.3.attention.query.bias` -> `...layer.3...query.bias`."""
    module, kind = parameter.rsplit(".", 1)
    number = re.search(r"\.(\d+)\.", module)
    if number is None:
        return f"{names[module]}.{kind}"
    pattern = module.replace(number[0], ".#.", 1)
    return f"{names[pattern].replace('#', number[1])}.{kind}"


def normalize_names(tensors, source="checkpoint"):
    """Drop a prefix such as `bert.` and rename the TensorFlow era's LayerNorm `gamma` and `beta`.

    Returns (tensors by normal name, normal name -> the name in the file).
    """
    result, original = {}, {}
    for name, tensor in tensors.items():
        normal = name.removeprefix(next((prefix for prefix in PREFIXES if name.startswith(prefix)), ""))
        normal = re.sub(r"\.gamma$", ".weight", normal)
        normal = re.sub(r"\.beta$", ".bias", normal)
        if normal in result:
            raise UserError(f"{source}: {original[normal]} and {name} are two tensors for one place")
        result[normal], original[normal] = tensor, name
    return result, original


@dataclass
class Account:
    """What became of every tensor: names as in the checkpoint, except `new`, which has ours."""

    loaded: list = field(default_factory=list)
    ignored: dict = field(default_factory=dict)  # name -> why
    missing: list = field(default_factory=list)  # BERT's pooler or nothing
    new: dict = field(default_factory=dict)  # name -> why it was not in the checkpoint

    def __str__(self):
        lines = [f"loaded   {len(self.loaded)} tensors"]
        lines += [f"ignored  {name}: {why}" for name, why in self.ignored.items()]
        lines += [f"missing  {name}" for name in self.missing]
        lines += [f"new      {name}: {why}" for name, why in self.new.items()]
        return "\n".join(lines)


def fill(module, tensors, names, source, ignored=IGNORED, dtype=torch.float32):
    """Put the checkpoint's `tensors` (name -> tensor) into `module`'s parameters, and account for each of them.

    names: our name -> the checkpoint's name, both without `.weight` / `.bias`, `#` standing for a layer's number.
    UserError names every tensor that is unknown, missing, of another shape or not finite.
    """
    tensors, original = normalize_names(tensors, source)
    account, problems, state = Account(), [], {}
    for ours, parameter in module.state_dict().items():
        theirs = translate(ours, names)
        if theirs not in tensors:
            problems.append(f"missing tensor {theirs}")
            continue
        tensor = tensors.pop(theirs)
        if tensor.shape != parameter.shape:
            problems.append(f"{original[theirs]} has shape {list(tensor.shape)}, not {list(parameter.shape)}")
            continue
        if tensor.dtype not in DTYPES:
            problems.append(f"{original[theirs]} has type {str(tensor.dtype).removeprefix('torch.')}, not a float of 16 to 64 bits")
            continue
        tensor = tensor.to(dtype, copy=True)
        if tensor.isfinite().all():
            state[ours] = tensor
            account.loaded.append(original[theirs])
        else:
            problems.append(f"{original[theirs]} holds NaN or infinity")
    for name in tensors:
        reason = next((why for start, why in ignored.items() if name.startswith(start)), None)
        if reason is None:
            problems.append(f"unknown tensor {original[name]}")
        else:
            account.ignored[original[name]] = reason
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UserError(f"{source}: weights and config.json do not fit: {'; '.join(problems[:4])}{more}")
    module.load_state_dict(state, assign=True)
    return account
