"""Checkpoints as others save them, which have to load: prefixes, old names, heads, no pooler, other precisions.

What is left out is said; what is ambiguous or half there is refused.
"""

import pytest
import torch
from bad_input import edit, load_error, same_weights
from safetensors.torch import load_file

from minibert import load_encoder


def rename(folder, change, extra=()):
    """Rename every tensor by `change`, and add the `extra` ones as they are."""

    def rename_all(tensors):
        renamed = {change(name): tensor for name, tensor in tensors.items()}
        tensors.clear()
        tensors.update(renamed)
        tensors.update({name: torch.ones(3) for name in extra})

    edit(folder, rename_all)


def as_tensorflow(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
def test_names_may_carry_a_prefix_and_the_old_gamma_and_beta(family, prefixed, legacy, bert, distilbert):
    folder = bert if family == "bert" else distilbert
    expected = load_encoder(folder)

    def change(name):
        name = as_tensorflow(name) if legacy else name
        return f"{family}.{name}" if prefixed else name

    rename(folder, change)
    stored = set(load_file(folder / "model.safetensors"))
    assert all(name.startswith(family) for name in stored) == prefixed
    assert any(name.endswith(".gamma") for name in stored) == legacy
    encoder = load_encoder(folder)
    assert same_weights(encoder, expected)
    assert set(encoder.account.loaded) == stored  # by the names in the file
    assert not encoder.account.ignored and not encoder.account.missing and not encoder.account.new


@pytest.mark.parametrize("other", ["embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"])
def test_two_tensors_for_one_place_are_refused(other, bert):
    edit(bert, lambda tensors: tensors.update({other: torch.ones(12)}))
    message = load_error(bert)
    assert other in message and " embeddings.LayerNorm.weight" in f" {message}"


HEADS = {
    ("bert", "masked-language-model"): ["cls.predictions.bias", "cls.predictions.transform.dense.weight"],
    ("bert", "next-sentence"): ["cls.seq_relationship.weight", "cls.seq_relationship.bias"],
    ("bert", "classification"): ["classifier.weight", "classifier.bias"],
    ("roberta", "masked-language-model"): ["lm_head.bias", "lm_head.dense.weight", "lm_head.layer_norm.weight"],
    ("electra", "replaced-token"): ["discriminator_predictions.dense.weight"],
    ("distilbert", "masked-language-model"): ["vocab_transform.bias", "vocab_layer_norm.bias", "vocab_projector.bias"],
    ("distilbert", "classification"): ["pre_classifier.weight", "classifier.bias"],
    ("distilbert", "question-answering"): ["qa_outputs.weight"],
}


@pytest.mark.parametrize("family, kind", HEADS)
def test_a_checkpoint_with_a_head_gives_its_encoder_and_says_what_was_ignored(
    family, kind, bert, distilbert, tiny_roberta, tiny_electra
):
    folder = {"bert": bert, "distilbert": distilbert, "roberta": tiny_roberta, "electra": tiny_electra}[family]
    names = HEADS[family, kind]
    if family in ("roberta", "electra"):
        edit(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("classifier.")])
    else:
        rename(folder, lambda name: f"{family}.{name}")
    expected = load_encoder(folder)
    rename(folder, lambda name: name, extra=names)
    encoder = load_encoder(folder)
    assert same_weights(encoder, expected)
    assert sorted(encoder.account.ignored) == sorted(names)
    for name in names:
        assert kind in encoder.account.ignored[name]
        assert f"ignored  {name}: " in str(encoder.account)
    assert f"loaded   {len(expected.account.loaded)} tensors" in str(encoder.account)


def test_a_bert_saved_without_pooler_loads_and_says_so(bert):
    edit(bert, lambda tensors: [tensors.pop(f"pooler.dense.{kind}") for kind in ("weight", "bias")])
    encoder = load_encoder(bert)
    assert encoder.pooler is None
    assert "missing  pooler.dense" in str(encoder.account)


def test_half_a_pooler_is_refused(bert):
    edit(bert, lambda tensors: tensors.pop("pooler.dense.bias"))
    assert "missing tensor pooler.dense.bias" in load_error(bert)


def test_a_distilbert_with_a_pooler_is_refused(distilbert):
    edit(distilbert, lambda tensors: tensors.update({"pooler.dense.weight": torch.ones(2, 2)}))
    assert "unknown tensor pooler.dense.weight" in load_error(distilbert)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_float32(dtype, distilbert):
    edit(distilbert, lambda tensors: tensors.update({name: tensor.to(dtype) for name, tensor in tensors.items()}))
    encoder = load_encoder(distilbert)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
