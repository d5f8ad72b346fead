"""From one vector per token to classes: pooling, heads, and `Classifier` = encoder + head.

The families' own ("native") heads are not special, only combinations:
    BERT        pooler (dense + tanh on the first token) -> dropout -> linear
    DistilBERT  first token -> dense -> ReLU -> dropout -> linear
A classifier with its native head is saved under the names that transformers uses, and opens there.
Next: `tokenizer.py`, where the ids come from.
"""

from pathlib import Path

import torch
from torch import nn

from .config import read_config
from .files import UserError, read_json, write_json
from .load import fill, find_checkpoint, load_encoder, name_table, read_tensors, translate, write_safetensors
from .model import Encoder, Pooler, initialize

POOLINGS = ("cls", "mean", "pooler")
HEADS = ("linear", "mlp")
NATIVE = {"bert": ("pooler", "linear"), "distilbert": ("cls", "mlp")}  # family -> (pooling, head)

#   ours          BERT           DistilBERT
NATIVE_NAMES = (
    ("head.output", "classifier", "classifier"),
    ("head.dense",  None,         "pre_classifier"),
)  # fmt: skip


def pool(hidden, attention_mask, pooling, pooler=None):
    """One vector per text: hidden [B, T, E], attention_mask [B, T] or None -> [B, E].

    cls: the first token. mean: the average over real tokens; padding would drag it towards nonsense, by an
    amount that depends on the neighbours in the batch. pooler: BERT's trained summary of the first token.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "pooler":
        return pooler(hidden)
    if attention_mask is None:
        return hidden.mean(dim=1)
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)  # [B, T, 1]
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


class LinearHead(nn.Module):
    """dropout -> linear: [B, E] -> logits [B, C]."""

    def __init__(self, width, num_labels, dropout=0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, num_labels)

    def forward(self, pooled):
        return self.output(self.dropout(pooled))


class MLPHead(nn.Module):
    """dense -> ReLU -> dropout -> linear: [B, E] -> logits [B, C]. DistilBERT's own head, on any pooling."""

    def __init__(self, width, num_labels, dropout=0.0):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, num_labels)

    def forward(self, pooled):
        return self.output(self.dropout(torch.relu(self.dense(pooled))))


class Classifier(nn.Module):
    """An encoder, a pooling and a head: token ids -> logits [B, C], in the order of `label_names`."""

    def __init__(self, encoder, label_names, pooling, head):
        super().__init__()
        config = encoder.config
        if pooling == "pooler" and encoder.pooler is None:
            raise UserError(f"this {config.model_type} encoder has no pooler; use --pooling cls or mean")
        if pooling != "pooler":
            encoder.pooler = None  # unused weights would be counted, decayed and saved for nothing
        self.encoder = encoder
        self.label_names = list(label_names)
        self.pooling = pooling
        self.head_name = head
        head_class = LinearHead if head == "linear" else MLPHead
        self.head = head_class(config.hidden_size, len(self.label_names), config.classifier_dropout)

    @property
    def is_native(self):
        return (self.pooling, self.head_name) == NATIVE[self.encoder.config.model_type]

    def forward(self, input_ids, attention_mask=None, token_type_ids=None):
        hidden = self.encoder(input_ids, attention_mask, token_type_ids)
        return self.head(pool(hidden, attention_mask, self.pooling, self.encoder.pooler))

    def parameter_table(self):
        """[(part, trainable parameters, all parameters)] for embeddings, layers, pooler, head and their total."""
        parts = {"embeddings": self.encoder.embeddings, "layers": self.encoder.layers}
        if self.encoder.pooler is not None:
            parts["pooler"] = self.encoder.pooler
        parts |= {"head": self.head, "total": self}
        return [
            (
                name,
                sum(p.numel() for p in part.parameters() if p.requires_grad),
                sum(p.numel() for p in part.parameters()),
            )
            for name, part in parts.items()
        ]


def resolve_head(model_type, pooling=None, head=None):
    """Fill in what was not asked for: (pooling, head) as `Classifier` takes them.

    `native`, and nothing asked, give the family's own pair; a head on its own keeps the family's pooling.
    """
    native_pooling, native_head = NATIVE[model_type]
    if head == "native" and pooling not in (None, native_pooling):
        raise UserError(f"--head native of {model_type} reads --pooling {native_pooling}, not {pooling}")
    if head in (None, "native"):
        head = native_head if head == "native" or pooling in (None, native_pooling) else "linear"
    return pooling or native_pooling, head


def new_classifier(model, label_names, pooling=None, head=None, seed=0, fused=True):
    """A pretrained encoder (folder or Hub id) under a fresh head, ready for training. Raises UserError.

    `classifier.encoder.account` says what was loaded; a missing pooler that is needed starts fresh too.
    """
    encoder = load_encoder(model, fused)
    config = encoder.config
    pooling, head = resolve_head(config.model_type, pooling, head)
    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    if pooling == "pooler" and encoder.pooler is None and config.model_type == "bert":
        encoder.pooler = Pooler(config)
        initialize(encoder.pooler, config.initializer_range)
        encoder.account.missing.clear()
        encoder.account.new["pooler.dense"] = "not in the checkpoint; it starts random and has to be trained"
    classifier = Classifier(encoder, label_names, pooling, head)
    initialize(classifier.head, config.initializer_range)
    torch.set_rng_state(generator_state)
    for name, _ in classifier.head.named_parameters():
        encoder.account.new[f"head.{name}"] = "the head for this task; it starts random and has to be trained"
    return classifier


def save_classifier(classifier, folder, extra=None):
    """Write `config.json` and `model.safetensors`; with the native head, transformers' classifier opens them.

    `extra` (JSON values, such as max_length) is kept in config.json's `minibert` section for `read_classifier`.
    """
    config = classifier.encoder.config
    prefix = f"{config.model_type}."
    names = {f"encoder.{ours}": prefix + theirs for ours, theirs in name_table(config).items()}
    names |= head_names(config.model_type, classifier.is_native)
    tensors = {translate(name, names): tensor for name, tensor in classifier.state_dict().items()}
    family = "Bert" if config.model_type == "bert" else "DistilBert"
    values = {
        "architectures": [family + ("ForSequenceClassification" if classifier.is_native else "Model")],
        **config.to_dict(),
        "id2label": {str(i): name for i, name in enumerate(classifier.label_names)},
        "label2id": {name: i for i, name in enumerate(classifier.label_names)},
        "minibert": {"pooling": classifier.pooling, "head": classifier.head_name, **(extra or {})},
    }
    write_safetensors(Path(folder) / "model.safetensors", tensors)
    write_json(Path(folder) / "config.json", values)


def read_classifier(model, fused=True):
    """A trained classifier in eval mode, and its `minibert` section: ours, or any native one from transformers.

    `classifier.account` says what became of every tensor. Raises UserError.
    """
    folder = find_checkpoint(model)
    values, config = read_json(folder / "config.json"), read_config(folder)
    extra = values.get("minibert", {})
    if not holds_classifier(values):
        architecture = (values.get("architectures") or ["not stated"])[0]
        raise UserError(f"{folder}: holds no classifier (architecture {architecture})")
    native_pooling, native_head = NATIVE[config.model_type]
    id2label = values.get("id2label") or {}
    try:
        label_names = [id2label[str(i)] for i in range(len(id2label))] or ["LABEL_0", "LABEL_1"]
    except KeyError as error:
        raise UserError(f"{folder}/config.json: id2label has no entry {error}") from None
    pooling, head = extra.get("pooling", native_pooling), extra.get("head", native_head)
    if pooling not in POOLINGS or head not in HEADS:
        raise UserError(f"{folder}/config.json: minibert section has pooling {pooling!r} and head {head!r}")
    with torch.device("meta"):  # shapes only: the numbers come from the checkpoint
        classifier = Classifier(Encoder(config, fused, pooler=pooling == "pooler"), label_names, pooling, head)
    names = {f"encoder.{ours}": theirs for ours, theirs in name_table(config).items()}
    names |= head_names(config.model_type, classifier.is_native)
    ignored = {"embeddings.position_ids": "a stored 0, 1, 2, ..., not a weight"}
    if pooling != "pooler":
        ignored["pooler."] = f"this head reads {pooling} pooling"
    classifier.account = fill(classifier, read_tensors(folder), names, folder, ignored)
    return classifier.eval(), extra


def holds_classifier(values):
    """Whether a config.json belongs to a classifier: ours, or a native one from transformers."""
    architecture = (values.get("architectures") or [""])[0]
    return bool(values.get("minibert")) or architecture.endswith("ForSequenceClassification")


def head_names(model_type, native):
    """Our head's module names -> those in the checkpoint."""
    if not native:
        return {"head.output": "head.output", "head.dense": "head.dense"}
    family = 1 if model_type == "bert" else 2
    return {row[0]: row[family] for row in NATIVE_NAMES if row[family] is not None}
