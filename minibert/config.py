"""`EncoderConfig`: the shape of an encoder, read from a Hugging Face `config.json`.

BERT's field names are ours, and RoBERTa and ELECTRA kept them; DistilBERT's (`dim`, `n_heads`, `hidden_dim` = the
feed-forward width, ...) are translated here and nowhere else. A value we do not implement is refused by name, never
ignored.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from .plumbing.files import UserError, read_json, shown

# A config.json's model_type -> whose architecture, names and head that is. XLM-R and CamemBERT are RoBERTa with other
# texts and another tokenizer; DistilRoBERTa calls itself "roberta".
FAMILIES = {
    "bert": "bert",
    "distilbert": "distilbert",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
    "camembert": "roberta",
    "electra": "electra",
}
ACTIVATIONS = ("gelu", "gelu_new", "relu")  # implemented in model.py

#   ours                              BERT's, RoBERTa's, ELECTRA's     DistilBERT's config.json
FIELDS = (
    ("vocab_size",                    "vocab_size",                    "vocab_size"),
    ("hidden_size",                   "hidden_size",                   "dim"),
    ("num_hidden_layers",             "num_hidden_layers",             "n_layers"),
    ("num_attention_heads",           "num_attention_heads",           "n_heads"),
    ("intermediate_size",             "intermediate_size",             "hidden_dim"),
    ("max_position_embeddings",       "max_position_embeddings",       "max_position_embeddings"),
    ("type_vocab_size",               "type_vocab_size",               None),
    ("hidden_act",                    "hidden_act",                    "activation"),
    ("hidden_dropout_prob",           "hidden_dropout_prob",           "dropout"),
    ("attention_probs_dropout_prob",  "attention_probs_dropout_prob",  "attention_dropout"),
    ("classifier_dropout",            "classifier_dropout",            "seq_classif_dropout"),
    ("layer_norm_eps",                "layer_norm_eps",                None),
    ("initializer_range",             "initializer_range",             "initializer_range"),
    ("pad_token_id",                  "pad_token_id",                  "pad_token_id"),
)  # fmt: skip

# What a config.json may leave out, with the value that each family's original code uses then.
OPTIONAL = {
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "pad_token_id": 0,
}

#   ours, smallest, largest: beyond any real BERT, so that a number from a damaged file is refused before it is used
LIMITS = (
    ("vocab_size", 1, 10**8),
    ("hidden_size", 1, 10**6),
    ("num_hidden_layers", 0, 1000),
    ("num_attention_heads", 1, 10**6),
    ("intermediate_size", 1, 10**7),
    ("max_position_embeddings", 1, 10**7),
    ("type_vocab_size", 0, 10**6),
    ("hidden_dropout_prob", 0, 0.999),
    ("attention_probs_dropout_prob", 0, 0.999),
    ("classifier_dropout", 0, 0.999),
    ("layer_norm_eps", 0, 1),
    ("initializer_range", 0, 100),
)

# Settings that would change the arithmetic, and the only value under which ours is right.
REQUIRED_VALUES = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "sinusoidal_pos_embds": False,
}


@dataclass(frozen=True)
class EncoderConfig:
    """The shape of an encoder of BERT's kind, in BERT's words (Devlin et al. 2019, section 3)."""

    model_type: str  # among FAMILIES
    vocab_size: int
    hidden_size: int  # E: the width of a token's vector
    num_hidden_layers: int
    num_attention_heads: int  # H: must divide hidden_size
    intermediate_size: int  # the feed-forward layer's inner width, usually 4 E
    max_position_embeddings: int  # rows of the table of positions; `longest` says how many tokens that makes
    type_vocab_size: int = 2  # segments; 0 for DistilBERT, which has none, and 1 for RoBERTa
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float = 0.1  # before the classification layer
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02  # standard deviation of fresh weights
    pad_token_id: int = 0

    @property
    def family(self):
        """Whose architecture this is: a value of FAMILIES."""
        return FAMILIES[self.model_type]

    @property
    def dropout_after_attention(self):
        """Whether dropout falls on the attention's output before it is added back: in all families but DistilBERT."""
        return self.family != "distilbert"

    @property
    def positions_skip_padding(self):
        """RoBERTa counts positions from pad_token_id + 1 and gives all padding the position pad_token_id."""
        return self.family == "roberta"

    @property
    def longest(self):
        """Tokens in the longest sequence: a position each, less those that RoBERTa leaves unused."""
        return self.max_position_embeddings - (self.pad_token_id + 1 if self.positions_skip_padding else 0)

    @classmethod
    def from_file(cls, path):
        """Read a `config.json`. UserError names every missing or unsupported field at once."""
        return cls.from_dict(read_json(path), source=str(path))

    @classmethod
    def from_dict(cls, values, source="config"):
        """From the contents of a `config.json`. `source` is how errors call it."""
        model_type = values.get("model_type")
        if not isinstance(model_type, str) or model_type not in FAMILIES:
            known = ", ".join(map(repr, FAMILIES))
            raise UserError(f"{source}: model_type is {shown(model_type)}; minibert reads {known}")
        family = FAMILIES[model_type]
        names = {ours: (distilbert if family == "distilbert" else bert) for ours, bert, distilbert in FIELDS}
        found = find_values(values, names, family, source)
        for field in fields(cls)[1:]:
            check_type(found[field.name], field.type, f"{source}: {names[field.name] or field.name}")
        check_values(found, values, names, family, source)
        config = cls(model_type=model_type, **found)
        if config.longest < 1:
            raise UserError(
                f"{source}: max_position_embeddings is {config.max_position_embeddings}, but positions start at "
                f"pad_token_id + 1 = {config.pad_token_id + 1}"
            )
        return config

    def to_dict(self):
        """The contents of a `config.json` that transformers reads, in the family's own names."""
        values = {"model_type": self.model_type}
        for ours, bert, distilbert in FIELDS:
            name = distilbert if self.family == "distilbert" else bert
            if name is not None:
                values[name] = getattr(self, ours)
        if self.family == "electra":
            values["embedding_size"] = self.hidden_size  # transformers takes 128 where nothing is said
        return values


def required_values(family, found):
    """REQUIRED_VALUES, and one for ELECTRA: its small models embed in fewer numbers and project them up."""
    return REQUIRED_VALUES | ({"embedding_size": found["hidden_size"]} if family == "electra" else {})


def find_values(values, names, family, source):
    """{our name: value} out of a `config.json`; for a field that is not there, what the family's code falls back on.

    names: our name -> the family's, or None. UserError names every field that is missing.
    """
    found, missing = {}, []
    for ours, theirs in names.items():
        if theirs is not None and values.get(theirs) is not None:
            found[ours] = values[theirs]
        elif ours == "pad_token_id" and family == "roberta":
            found[ours] = 1
        elif ours in OPTIONAL:
            found[ours] = OPTIONAL[ours]
        elif ours == "type_vocab_size":
            found[ours] = 0 if family == "distilbert" else 2
        elif ours == "classifier_dropout":  # DistilBERT falls back on 0.2, the others on their hidden dropout
            found[ours] = 0.2 if family == "distilbert" else found["hidden_dropout_prob"]
        else:
            missing.append(theirs)
    if missing:
        raise UserError(f"{source}: missing {', '.join(missing)}")
    return found


def check_values(found, values, names, family, source):
    """UserError for a value that makes no sense, or that we do not implement."""
    for ours, low, high in LIMITS:
        if not low <= found[ours] <= high:
            name = names[ours] or ours
            raise UserError(f"{source}: {name} is {shown(found[ours])}; expected a number from {low} to {high}")
    if found["pad_token_id"] >= found["vocab_size"]:
        pad = shown(found["pad_token_id"])
        raise UserError(f"{source}: pad_token_id is {pad}, but vocab_size {found['vocab_size']}")
    for name, only in required_values(family, found).items():
        if values.get(name, only) != only:
            raise UserError(f"{source}: {name} is {shown(values[name])}; only {only!r} is supported")
    if found["hidden_act"] not in ACTIVATIONS:
        name = names["hidden_act"]
        raise UserError(f"{source}: {name} is {shown(found['hidden_act'])}; supported: {', '.join(ACTIVATIONS)}")
    if found["hidden_size"] % found["num_attention_heads"]:
        raise UserError(
            f"{source}: {found['num_attention_heads']} heads do not divide a width of {found['hidden_size']}"
        )


def read_config(folder):
    """The `EncoderConfig` of a checkpoint folder."""
    return EncoderConfig.from_file(Path(folder) / "config.json")


def check_type(value, wanted, where):
    """UserError unless the value is of the wanted type and, as an int, not negative. An int will do for a float."""
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise UserError(f"{where} is {shown(value)}; expected {'a number' if wanted is not str else 'text'}")
    if wanted is int and value < 0:
        raise UserError(f"{where} is {shown(value)}; expected 0 or more")
