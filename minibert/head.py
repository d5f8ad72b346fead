"""From one vector per token to classes: pooling, heads, and `Classifier` = encoder + head.

The families' own ("native") heads are not special, only combinations:
    BERT        pooler (dense + tanh on the first token) -> dropout -> linear
    DistilBERT  first token -> dense -> ReLU -> dropout -> linear
    RoBERTa     first token -> dropout -> dense -> tanh -> dropout -> linear
    ELECTRA     first token -> dropout -> dense -> GELU -> dropout -> linear
A classifier with its native head is saved under the names that transformers uses, and opens there.
"""

import torch
from torch import nn

POOLINGS = ("cls", "mean", "pooler")
NATIVE = {  # family -> (pooling, head)
    "bert": ("pooler", "linear"),
    "distilbert": ("cls", "mlp"),
    "roberta": ("cls", "tanh"),
    "electra": ("cls", "gelu"),
}


def pool(hidden, attention_mask, pooling, pooler=None):
    """One vector per text: hidden [B, T, E], attention_mask [B, T] or None -> [B, E].

    cls: the first token. mean: the average over real tokens; padding would pull it towards nonsense, by an amount that
    depends on the neighbours in the batch. pooler: BERT's trained summary of the first token.
    """
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "pooler":
        return pooler(hidden)
    if attention_mask is None:
        return hidden.mean(dim=1)
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)  # [B, T, 1]
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def average_windows(vectors, counts):
    """The mean of each text's windows: vectors [W, E], counts [B] -> [B, E]. The first counts[0] rows are text 0's, ...

    Under a linear head this is the mean of the windows' logits, too.
    """
    text = torch.repeat_interleave(counts, output_size=len(vectors))  # [W]: 0 0 1 2 2 2 ...
    sums = vectors.new_zeros(len(counts), vectors.shape[1]).index_add(0, text, vectors)
    return sums / counts.unsqueeze(1)


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


class TanhHead(nn.Module):
    """dropout -> dense -> tanh -> dropout -> linear: [B, E] -> logits [B, C]. RoBERTa's own head.

    It is BERT's pooler and head in one, with dropout before both: RoBERTa has no pretrained pooler.
    """

    activation = staticmethod(torch.tanh)

    def __init__(self, width, num_labels, dropout=0.0):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(width, width)
        self.output = nn.Linear(width, num_labels)

    def forward(self, pooled):
        return self.output(self.dropout(self.activation(self.dense(self.dropout(pooled)))))


class GELUHead(TanhHead):
    """The same with GELU: ELECTRA's own head."""

    activation = staticmethod(nn.functional.gelu)


HEADS = {"linear": LinearHead, "mlp": MLPHead, "tanh": TanhHead, "gelu": GELUHead}


class Classifier(nn.Module):
    """An encoder, a pooling and a head: token ids -> logits [B, C], in the order of `label_names`.

    pooling: among POOLINGS; head: among HEADS. The encoder becomes a part of the classifier, and loses a pooler that
    this pooling does not use. ValueError when it lacks the pooler that this pooling needs.
    """

    def __init__(self, encoder, label_names, pooling, head):
        super().__init__()
        config = encoder.config
        if pooling == "pooler" and encoder.pooler is None:
            raise ValueError(f"this {config.model_type} encoder has no pooler; choose the pooling cls or mean")
        if pooling != "pooler":
            encoder.pooler = None  # unused weights would be counted, decayed and saved for nothing
        self.encoder = encoder
        self.label_names = list(label_names)
        self.pooling = pooling
        self.head_name = head
        self.head = HEADS[head](config.hidden_size, len(self.label_names), config.classifier_dropout)

    @property
    def is_native(self):
        """Whether pooling and head are the family's own."""
        return (self.pooling, self.head_name) == NATIVE[self.encoder.config.family]

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, windows=None):
        """input_ids, attention_mask, token_type_ids: [B, T] as `Encoder.forward` takes them -> logits [B, C].

        windows: [B], where the rows are windows of texts, as many of each as this says; then they are [W, T].
        """
        hidden = self.encoder(input_ids, attention_mask, token_type_ids)
        pooled = pool(hidden, attention_mask, self.pooling, self.encoder.pooler)
        return self.head(pooled if windows is None else average_windows(pooled, windows))

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


def resolve_head(family, pooling=None, head=None):
    """Fill in what was not asked for: (pooling, head) as `Classifier` takes them.

    `native`, and nothing asked, give the family's own pair; a head on its own keeps the family's pooling. ValueError
    when the native head is asked for with another pooling than its own.
    """
    native_pooling, native_head = NATIVE[family]
    if head == "native" and pooling not in (None, native_pooling):
        raise ValueError(f"the native head of {family} reads {native_pooling} pooling, not {pooling}")
    if head in (None, "native"):
        # Under another pooling than its own, a native head would open nowhere else: then the plainest one will do.
        head = native_head if head == "native" or pooling in (None, native_pooling) else "linear"
    return pooling or native_pooling, head
