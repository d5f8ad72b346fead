"""Small models that several tests make, plain and fast."""

import pytest

from minibert.config import EncoderConfig
from minibert.fast import accelerate

FAMILIES = ("bert", "distilbert", "roberta", "electra")

families = pytest.mark.parametrize("family", FAMILIES)
paths = pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])


def built(module, fast):
    """The module with its layers fast, or plain as they are."""
    return accelerate(module) if fast else module


def difference(ours, theirs):
    """The largest absolute difference; shapes must agree, and nothing may be NaN."""
    assert ours.shape == theirs.shape
    assert ours.isfinite().all()
    return (ours.double() - theirs.double()).abs().max().item()


def dropout_config(family, **probabilities):
    none = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0)
    shape = dict(vocab_size=50, hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=40)
    types = {"distilbert": 0, "roberta": 1}.get(family, 2)
    values = {**none, **shape, **probabilities}
    return EncoderConfig(family, max_position_embeddings=17, type_vocab_size=types, **values)
