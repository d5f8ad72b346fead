"""The encoder computes what transformers' BERT and DistilBERT compute: outputs, gradients, and 50 training steps.

The figures are stored in references/ (made by make/make_references.py, which also says why the weights are as they
are), so transformers is not needed here. Families, attention paths and precisions are crossed; each test that
names a path counts the calls of PyTorch's fused kernel.
"""

import json
from collections import Counter

import pytest
import torch
from layout import as_distilbert, distilbert_config
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from minibert.config import EncoderConfig
from minibert.fast.attention import CPUAttention, sign_dropped
from minibert.fast.dropout import BLOCK, Dropout
from minibert.fast.linear import CPULinear, Linear, cast_once, leaves_a_thread_idle
from minibert.head import pool
from minibert.load import load_encoder, read_classifier
from minibert.model import ACTIVATIONS, Encoder, FeedForward, Layer, additive_mask, initialize
from minibert.optim import AdamW, clip_gradients, linear_warmup, parameter_groups
from minibert.plumbing.files import UserError

FAMILIES = ("bert", "distilbert")
PRECISIONS = {"fp32": (torch.float32, 1e-5), "fp64": (torch.float64, 1e-10)}  # type, largest difference allowed

families = pytest.mark.parametrize("family", FAMILIES)
paths = pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])
precisions = pytest.mark.parametrize("precision", PRECISIONS)
modes = pytest.mark.parametrize("mode", ["eval", "train"])


@pytest.fixture
def folders(tiny_bert, tiny_distilbert):
    return {"bert": tiny_bert, "distilbert": tiny_distilbert}


@pytest.fixture
def kernel_calls(monkeypatch):
    """Counts the calls of PyTorch's fused attention, under "fused"."""
    calls, kernel = Counter(), functional.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls["fused"] += 1
        return kernel(*args, **kwargs)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    return calls


def difference(ours, theirs):
    """The largest absolute difference; shapes must agree, and nothing may be NaN."""
    assert ours.shape == theirs.shape
    assert ours.isfinite().all()
    return (ours.double() - theirs.double()).abs().max().item()


@pytest.fixture
def tiny(folders, reference):
    """A function: a tiny classifier with its family's own head, and the inputs [5, 13] of the stored figures.

    Returns (classifier, inputs, labels, name -> stored figure).
    """

    def build(family, fused, precision="fp32"):
        classifier, _ = read_classifier(folders[family], fused)
        figures = reference(f"tiny-{family}-outputs.safetensors")
        inputs = {name: figures[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        if family == "distilbert":
            del inputs["token_type_ids"]
        stored = {name.removeprefix(f"{precision}."): t for name, t in figures.items() if name.startswith(precision)}
        return classifier.to(PRECISIONS[precision][0]), inputs, figures["labels"], stored

    return build


# ---- the whole model, against transformers


@families
@paths
@precisions
@modes
def test_every_hidden_state_and_the_logits_agree(tiny, kernel_calls, family, fused, precision, mode):
    classifier, inputs, _, stored = tiny(family, fused, precision)
    classifier.train(mode == "train")  # these checkpoints have dropout 0: both modes give the same numbers
    states = classifier.encoder(**inputs, return_all=True)
    assert kernel_calls["fused"] == (2 if fused else 0)  # one call a layer
    real = inputs["attention_mask"].bool()
    assert len(states) == 3
    for i, state in enumerate(states):
        assert difference(state[real], stored[f"hidden.{i}"][real]) <= PRECISIONS[precision][1]
    assert difference(classifier(**inputs), stored["logits"]) <= PRECISIONS[precision][1]


@families
@paths
@precisions
def test_texts_without_padding_agree(tiny, kernel_calls, family, fused, precision):
    classifier, inputs, _, stored = tiny(family, fused, precision)
    del inputs["attention_mask"]
    limit = PRECISIONS[precision][1]
    assert difference(classifier.encoder(**inputs), stored["unpadded.hidden"]) <= limit
    assert difference(classifier(**inputs), stored["unpadded.logits"]) <= limit
    assert kernel_calls["fused"] == (4 if fused else 0)
    ones = torch.ones_like(inputs["input_ids"])
    assert difference(classifier(**inputs, attention_mask=ones), stored["unpadded.logits"]) <= limit


@families
@paths
@precisions
@modes
def test_loss_and_every_gradient_agree(tiny, folders, kernel_calls, family, fused, precision, mode):
    classifier, inputs, labels, stored = tiny(family, fused, precision)
    classifier.train(mode == "train")
    limit = PRECISIONS[precision][1]
    loss = functional.cross_entropy(classifier(**inputs), labels)
    loss.backward()
    assert kernel_calls["fused"] == (2 if fused else 0)
    assert difference(loss, stored["loss"]) <= limit
    theirs = {name.removeprefix("gradient."): t for name, t in stored.items() if name.startswith("gradient.")}
    ours = dict(zip(checkpoint_names(classifier, folders[family]), classifier.parameters(), strict=True))
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert difference(ours[name].grad, gradient) <= limit, name
    assert max(gradient.abs().max() for gradient in theirs.values()) > 0.1  # else the limit would say little


def checkpoint_names(classifier, folder):
    """The checkpoint's name of each of our parameters, found by value: the names' own tables are not trusted."""
    stored = load_file(folder / "model.safetensors")
    names = []
    for parameter in classifier.parameters():
        alike = [name for name, tensor in stored.items() if tensor.shape == parameter.shape]
        same = [name for name in alike if torch.equal(stored[name].to(parameter), parameter)]
        assert len(same) == 1
        names += same
    return names


@families
@precisions
def test_attention_probabilities_agree_on_the_explicit_path(tiny, kernel_calls, family, precision):
    classifier, inputs, _, stored = tiny(family, False, precision)
    hidden, attentions = classifier.encoder(**inputs, return_attention=True)
    assert kernel_calls["fused"] == 0 and len(attentions) == 2
    for i, probabilities in enumerate(attentions):
        assert probabilities.shape == (5, 3, 13, 13)
        assert difference(probabilities, stored[f"attention.{i}"]) <= PRECISIONS[precision][1]
    assert torch.equal(hidden, classifier.encoder(**inputs))


def test_asking_the_fused_path_for_probabilities_is_an_error_that_says_what_to_do(folders):
    encoder = load_encoder(folders["bert"], fused=True)
    with pytest.raises(ValueError, match="fused=False"):
        encoder(torch.tensor([[3, 4]]), return_attention=True)


@paths
@precisions
def test_the_pooler_agrees(tiny, fused, precision):
    classifier, inputs, _, stored = tiny("bert", fused, precision)
    pooled = classifier.encoder.pooler(classifier.encoder(**inputs))
    assert difference(pooled, stored["pooled"]) <= PRECISIONS[precision][1]


@families
@precisions
@pytest.mark.parametrize("activation", ["relu", "gelu_new"])
def test_the_other_activations_agree(tiny, folders, family, precision, activation):
    change_config(folders[family], {"bert": "hidden_act", "distilbert": "activation"}[family], activation)
    classifier, inputs, _, stored = tiny(family, True, precision)
    real = inputs["attention_mask"].bool()
    hidden = classifier.encoder(**inputs)
    assert difference(hidden[real], stored[f"{activation}.hidden"][real]) <= PRECISIONS[precision][1]
    assert difference(hidden[real], stored["hidden.2"][real]) > 1e-4  # and are not the exact GELU


@families
@paths
@precisions
def test_layer_norm_has_the_right_epsilon(tiny, folders, reference, family, fused, precision):
    # What enters each LayerNorm has a standard deviation under 0.1 here: 1e-6 in place of 1e-12 shows.
    quiet = reference(f"quiet-{family}.json")
    weights = load_file(folders[family] / "model.safetensors")
    for name in quiet["tensors"]:
        weights[name] = weights[name] * quiet["factor"]
    save_file(weights, folders[family] / "model.safetensors")
    classifier, inputs, _, stored = tiny(family, fused, precision)
    real = inputs["attention_mask"].bool()
    hidden = classifier.encoder(**inputs)
    assert difference(hidden[real], stored["quiet.hidden"][real]) <= PRECISIONS[precision][1]


def change_config(folder, name, value):
    config = json.loads((folder / "config.json").read_text())
    assert name in config
    (folder / "config.json").write_text(json.dumps({**config, name: value}))


# ---- padding and the mask


@families
@paths
def test_the_figures_would_show_an_ignored_mask(tiny, family, fused):
    classifier, inputs, _, stored = tiny(family, fused)
    real = inputs.pop("attention_mask").bool()
    assert difference(classifier.encoder(**inputs)[real], stored["hidden.2"][real]) > 0.1


@families
@paths
def test_what_stands_under_the_mask_does_not_matter(tiny, family, fused):
    classifier, inputs, _, _ = tiny(family, fused)
    real = inputs["attention_mask"].bool()
    before = classifier.encoder(**inputs)
    other = torch.where(real, inputs["input_ids"], (inputs["input_ids"] + 7) % 100)
    after = classifier.encoder(**{**inputs, "input_ids": other})
    assert torch.equal(before[real], after[real])
    assert not torch.equal(before[~real], after[~real])


@families
@paths
@pytest.mark.parametrize("pooling", ["cls", "mean", "pooler"])
def test_a_text_alone_equals_the_text_padded_among_others(folders, family, fused, pooling):
    if pooling == "pooler" and family == "distilbert":
        pytest.skip("DistilBERT has no pooler")
    encoder = load_encoder(folders[family], fused)
    texts = [[3, 85, 86, 4], [3, *range(85, 102), 4], [3, 4], [3, 88, 33, 34, 35, 36, 4]]
    ids = torch.zeros(4, 19, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    mask = (ids != 0).long()
    together = pool(encoder(ids, mask), mask, pooling, encoder.pooler)
    for row, text in enumerate(texts):
        alone = pool(encoder(torch.tensor([text])), None, pooling, encoder.pooler)
        assert difference(together[row], alone[0]) <= 1e-5


def test_mean_pooling_leaves_padding_out():
    hidden = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [100.0], [100.0]], [[3.0], [4.0], [5.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1]])
    assert pool(hidden, mask, "mean").tolist() == [[2.0], [2.0], [4.0]]
    assert pool(hidden, mask, "cls").tolist() == [[1.0], [2.0], [3.0]]


@families
@paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_a_text_of_nothing_but_padding_stays_finite(folders, family, fused, dtype):
    encoder = load_encoder(folders[family], fused)
    ids = torch.tensor([[3, 85, 86, 4], [0, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])
    if dtype == torch.float64:
        encoder.double()
    with torch.autocast("cpu", dtype, enabled=dtype in (torch.bfloat16, torch.float16)):
        hidden = encoder(ids, mask)
        loss = pool(hidden, mask, "mean").float().square().sum()
    loss.backward()
    assert hidden.isfinite().all()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


@paths
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_large_scores_do_not_overflow_the_mask_in_half_precision(folders, fused, dtype):
    # float16 ends at 65504: a negative score added to a mask of -65504 would leave it.
    encoder = load_encoder(folders["bert"], fused)
    with torch.no_grad():
        for layer in encoder.layers:
            layer.attention.query.weight.zero_(), layer.attention.key.weight.zero_()
            layer.attention.query.bias.fill_(16.0), layer.attention.key.bias.fill_(-16.0)  # every score: -724
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]])
    with torch.autocast("cpu", dtype), torch.no_grad():
        hidden = encoder(torch.tensor([[3, 85, 86, 4], [3, 85, 86, 4]]), mask)
    assert hidden.isfinite().all()


def test_the_mask_is_additive_and_none_stays_none():
    mask = additive_mask(torch.tensor([[1, 1, 0]]), torch.float32)
    assert mask.shape == (1, 1, 1, 3)
    assert mask[0, 0, 0, :2].tolist() == [0.0, 0.0]
    assert torch.tensor([0.0, 0.0, mask[0, 0, 0, 2] + 100]).softmax(0).tolist() == [0.5, 0.5, 0.0]
    assert additive_mask(None, torch.float32) is None


@families
def test_a_sequence_longer_than_the_position_table_is_refused(folders, family):
    encoder = load_encoder(folders[family])
    assert encoder(torch.full((1, 64), 3)).shape == (1, 64, 24)
    with pytest.raises(UserError, match="65 tokens.*64 positions"):
        encoder(torch.full((1, 65), 3))


def test_token_types_default_to_the_first(folders):
    encoder = load_encoder(folders["bert"])
    ids = torch.tensor([[3, 85, 4]])
    assert torch.equal(encoder(ids), encoder(ids, token_type_ids=torch.zeros_like(ids)))
    assert not torch.equal(encoder(ids), encoder(ids, token_type_ids=torch.ones_like(ids)))


# ---- linear layers: their own way in bf16 on a CPU


BF16 = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    reason="this CPU's library has no bf16 products, so PyTorch's own path runs",
)


def linear_pair(wide=48, inputs=24):
    """The same layer twice, ours and PyTorch's."""
    ours, theirs = Linear(inputs, wide), nn.Linear(inputs, wide)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@BF16
@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("shape", [(7, 24), (1, 24), (3, 5, 24), (0, 24)])
def test_a_linear_layer_in_bf16_is_pytorchs(monkeypatch, shape, halves):
    monkeypatch.setattr("minibert.linear.leaves_a_thread_idle", lambda rows, columns: halves and rows > 1)
    results = []
    x = torch.randn(shape)
    for layer in linear_pair():
        inputs = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(inputs)
        assert output.dtype == torch.bfloat16 and output.shape == (*shape[:-1], 48)
        assert (type(output.grad_fn).__name__ == "CPULinearBackward") == isinstance(layer, Linear)
        output.square().sum().backward()
        results.append([output, inputs.grad, layer.weight.grad, layer.bias.grad])
    for ours, theirs in zip(*results, strict=True):
        largest = theirs.abs().max().item() if theirs.numel() else 0.0
        torch.testing.assert_close(ours, theirs, rtol=0.0, atol=2**-7 * largest)  # bf16 rounds by up to 2 ** -9


def test_a_linear_layers_gradients_are_right(monkeypatch):
    monkeypatch.setattr("minibert.linear.leaves_a_thread_idle", lambda rows, columns: True)  # the other way is bf16's
    x, weight, bias = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 4), (5, 4), (5,)))
    assert torch.autograd.gradcheck(CPULinear.apply, (x, weight, bias))
    torch.testing.assert_close(CPULinear.apply(x, weight, bias), functional.linear(x, weight, bias))
    frozen = CPULinear.apply(x, weight.detach(), bias.detach())
    assert torch.autograd.grad(frozen.sum(), x)[0].shape == x.shape


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_gradients_through_an_activation_that_is_computed_again_are_right(monkeypatch, activation):
    monkeypatch.setattr("minibert.linear.leaves_a_thread_idle", lambda rows, columns: True)  # the other way is bf16's
    x, weight, bias = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 4), (5, 4), (5,)))
    assert torch.autograd.gradcheck(lambda *parts: CPULinear.apply(*parts, activation), (x, weight, bias))
    expected = functional.linear(activation(x), weight, bias)
    torch.testing.assert_close(CPULinear.apply(x, weight, bias, activation), expected)
    learned = CPULinear.apply(x.detach(), weight, bias, activation)
    assert torch.autograd.grad(learned.sum(), weight)[0].shape == weight.shape


@BF16
def test_a_large_activation_is_computed_again_and_not_kept(monkeypatch):
    layer, x = FeedForward(dropout_config("bert")), torch.randn(2, 5, 24)

    def learn(large):
        """[output, gradients ...], and how many tensors as large as the activation were kept for the backward pass"""
        monkeypatch.setattr("minibert.linear.LARGE", large)
        kept, inputs = set(), x.clone().requires_grad_()
        hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.add((t.data_ptr(), t.shape)) or t, lambda t: t)
        with hooks, torch.autocast("cpu", torch.bfloat16):
            output = layer(inputs)
        layer.zero_grad()
        output.square().sum().backward()
        gradients = [inputs.grad, *(parameter.grad for parameter in layer.parameters())]
        return [output, *gradients], sum(shape == (2, 5, 40) for _, shape in kept)

    (small, two), (large, one) = learn(2 * 5 * 40), learn(2 * 5 * 40 - 1)
    assert (two, one) == (2, 1)
    assert all(torch.equal(before, after) for before, after in zip(small, large, strict=True))


@pytest.mark.parametrize("precision", [None, torch.float16])
def test_a_linear_layer_is_pytorchs_own_without_bf16(monkeypatch, precision):
    monkeypatch.setattr("minibert.linear.LARGE", 0)
    ours, theirs = linear_pair()
    x = torch.randn(7, 24)
    with torch.autocast("cpu", precision, enabled=precision is not None):
        assert torch.equal(ours(x), theirs(x))
        assert torch.equal(ours(x, functional.gelu), theirs(functional.gelu(x)))
        assert "CPULinear" not in type(ours(x).grad_fn).__name__


def test_a_product_is_halved_where_one_of_two_threads_would_be_idle(monkeypatch):
    def halved(rows, columns, threads=2):
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        return leaves_a_thread_idle(rows, columns)

    assert halved(1024, 768) and halved(768, 768) and not halved(640, 768) and not halved(1408, 768)
    assert not halved(4096, 3072) and not halved(512, 384) and not halved(1024, 768, threads=4)


@BF16
def test_within_cast_once_weights_are_bf16_and_after_it_they_are_themselves():
    encoder = Encoder(dropout_config("bert"))
    before = [parameter.data_ptr() for parameter in encoder.parameters()]
    with cast_once(encoder):  # fp32: nothing to cast
        assert all(parameter.dtype == torch.float32 for parameter in encoder.parameters())
    with pytest.raises(KeyboardInterrupt), torch.autocast("cpu", torch.bfloat16), cast_once(encoder):
        assert encoder.layers[0].feed_forward.expand.weight.dtype == torch.bfloat16
        assert encoder.layers[0].attention.query.bias.dtype == torch.bfloat16
        assert encoder.embeddings.word.weight.dtype == torch.float32
        raise KeyboardInterrupt
    assert [parameter.data_ptr() for parameter in encoder.parameters()] == before


# ---- dropout: eval mode cannot see where it is


def dropout_config(family, **probabilities):
    none = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0)
    shape = dict(vocab_size=50, hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=40)
    types = 2 if family == "bert" else 0
    values = {**none, **shape, **probabilities}
    return EncoderConfig(family, max_position_embeddings=16, type_vocab_size=types, **values)


def is_random(module, *inputs):
    """Whether two forward passes in train mode differ; in eval mode they never may."""
    with torch.no_grad():
        assert torch.equal(first(module.eval()(*inputs)), first(module(*inputs)))
        return not torch.equal(first(module.train()(*inputs)), first(module(*inputs)))


def first(output):
    return output[0] if isinstance(output, tuple) else output


def silence(linear):
    with torch.no_grad():
        linear.weight.zero_(), linear.bias.zero_()


@paths
@pytest.mark.parametrize("family, drops", [("bert", True), ("distilbert", False)])
def test_bert_drops_the_attention_output_and_distilbert_does_not(family, drops, fused):
    torch.manual_seed(0)
    layer = Layer(dropout_config(family, hidden_dropout_prob=0.5), fused)
    silence(layer.feed_forward.contract)  # zeros may be dropped unseen: only the attention's output is left
    assert is_random(layer, torch.randn(2, 7, 24)) == drops


@families
@paths
def test_both_families_drop_the_feed_forward_output(family, fused):
    torch.manual_seed(0)
    layer = Layer(dropout_config(family, hidden_dropout_prob=0.5), fused)
    silence(layer.attention.output)
    assert is_random(layer, torch.randn(2, 7, 24))


@families
def test_both_families_drop_embeddings_after_the_norm(family):
    torch.manual_seed(0)
    embeddings = Encoder(dropout_config(family, hidden_dropout_prob=0.25)).embeddings.train()
    output = embeddings(torch.randint(1, 50, (40, 16)))
    assert 0.23 < (output == 0).float().mean() < 0.27


@families
@paths
def test_both_families_drop_attention_probabilities(kernel_calls, family, fused):
    torch.manual_seed(0)
    encoder = Encoder(dropout_config(family, attention_probs_dropout_prob=0.25), fused)
    initialize(encoder, 0.3)
    ids = torch.randint(1, 50, (6, 16))
    assert is_random(encoder, ids)
    # On a CPU PyTorch's kernel has no dropout: it serves evaluation, and CPUAttention training.
    assert kernel_calls["fused"] == (2 if fused else 0)
    if not fused:
        _, (probabilities,) = encoder(ids, return_attention=True)
        assert 0.2 < (probabilities == 0).float().mean() < 0.3
        assert abs(probabilities.sum(-1).mean().item() - 1) < 0.05  # dropped after the softmax: sums to 1 on average


def test_bf16_on_a_cpu_predicts_by_pytorchs_kernel_and_learns_by_ours(kernel_calls):
    """And the two ways, forward and back, differ by no more than bf16 rounds."""
    attention = Layer(dropout_config("bert")).attention
    hidden = torch.randn(3, 17, attention.query.in_features, generator=torch.Generator().manual_seed(4))
    mask = additive_mask(torch.arange(17) < torch.tensor([[17], [9], [4]]), torch.float32)
    gradients = {}
    for precision in (torch.bfloat16, torch.float32):
        attention.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
            with torch.no_grad():
                fused, _ = attention(hidden, mask)
            learning, _ = attention(hidden, mask)
        assert kernel_calls["fused"] == (1 if precision == torch.bfloat16 else 3)
        assert difference(fused.float(), learning.detach().float()) <= 0.02 * learning.abs().max().item()
        learning.float().square().sum().backward()
        gradients[precision] = attention.query.weight.grad.clone()
    assert difference(*gradients.values()) <= 0.05 * gradients[torch.float32].abs().max().item()


@paths
def test_training_with_attention_dropout_is_right_on_average(fused):
    # A linear value path makes the mean over dropout masks the output without dropout.
    torch.manual_seed(0)
    attention = Layer(dropout_config("bert", attention_probs_dropout_prob=0.3), fused).attention
    initialize(attention, 0.5)
    hidden = torch.randn(1, 5, 24)
    with torch.no_grad():
        expected, _ = attention.eval()(hidden)
        average, _ = attention.train()(hidden.expand(4000, -1, -1))
    assert difference(average.mean(0), expected[0]) < 0.25
    assert difference(average[0], expected[0]) > 0.5


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_attention_for_training_on_a_cpu_equals_the_steps_spelled_out(dtype, tolerance, p, padded):
    """The same seed drops the same probabilities on both paths; outputs and gradients, relative to the largest."""
    mask = None
    if padded:
        mask = additive_mask(torch.arange(17) < torch.tensor([[17], [9], [1]]), dtype)
    results = {}
    for fused in (True, False):
        torch.manual_seed(3)
        attention = Layer(dropout_config("bert", attention_probs_dropout_prob=p), fused).attention.to(dtype)
        initialize(attention, 0.5)
        hidden = torch.randn(3, 17, 24, dtype=dtype).requires_grad_()
        output, _ = attention(hidden, mask)
        output.backward(torch.randn(output.shape, dtype=dtype))
        results[fused] = [output.detach(), hidden.grad, *(weight.grad for weight in attention.parameters())]
    names = ["output", "hidden", *(name for name, _ in attention.named_parameters())]
    for name, ours, spelled_out in zip(names, results[True], results[False], strict=True):
        if name != "key.bias":  # it moves all scores of a query alike, so its gradient is 0, and rounding what is left
            assert difference(ours, spelled_out) <= tolerance * spelled_out.abs().max().item(), name


def attend_on_cpu(query, key, value, mask=None, dropout=0.25):
    torch.manual_seed(1)
    return CPUAttention.apply(query, key, value, mask, dropout)


def test_attention_for_training_on_a_cpu_has_the_gradients_that_differences_show():
    torch.manual_seed(0)
    parts = [torch.randn(2, 3, 5, 4, dtype=torch.float64).requires_grad_() for _ in range(3)]
    mask = additive_mask(torch.arange(5) < torch.tensor([[5], [3]]), torch.float64)
    assert torch.autograd.gradcheck(attend_on_cpu, (*parts, mask))


def test_attention_for_training_on_a_cpu_keeps_one_matrix_of_token_pairs():
    kept = []
    parts = [torch.randn(2, 3, 50, 4).requires_grad_() for _ in range(3)]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()), lambda x: x):
        attend_on_cpu(*parts)
    assert sorted(kept) == 3 * [2 * 3 * 50 * 4] + [2 * 3 * 50 * 50]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_sign_says_what_was_dropped(dtype):
    probabilities = torch.rand(3, BLOCK + 1, generator=torch.Generator().manual_seed(5)).to(dtype)
    signed = probabilities.clone()
    torch.manual_seed(2)
    sign_dropped(signed, 0.1)
    torch.manual_seed(2)
    kept = Dropout(0.1).train()(torch.ones_like(probabilities)) != 0
    assert torch.equal(signed.abs(), probabilities)
    assert torch.equal(~signed.signbit(), kept)  # of 0, too
    assert abs((~kept).double().mean() - 0.1) < 4.5 * (0.1 * 0.9 / kept.numel()) ** 0.5


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("shape", [(100_000,), (123, 7, 119)])
def test_dropout_has_its_rate_and_its_expectation(p, shape):
    torch.manual_seed(0)
    output = Dropout(p).train()(torch.ones(shape))
    assert output.shape == shape
    dropped = (output == 0).double().mean().item()
    assert abs(dropped - p) < 4.5 * (p * (1 - p) / output.numel()) ** 0.5
    assert output[output != 0].unique().tolist() == [pytest.approx(1 / (1 - p))]
    assert abs(output.double().mean().item() - 1) < 0.01


def test_dropout_decides_every_number_on_its_own():
    torch.manual_seed(0)
    dropped = (Dropout(0.5).train()(torch.ones(1000, 64)) == 0).double()
    correlation = torch.corrcoef(dropped.T) - torch.eye(64)
    assert correlation.abs().max() < 0.17  # five standard deviations of 1 / sqrt(1000)


def test_dropout_is_off_in_eval_mode_and_at_rate_zero():
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (7, 11, 13), (3, BLOCK + 1)], ids=str)
def test_dropout_zeroes_or_scales_and_passes_gradients_where_it_let_numbers_through(shape, dtype):
    torch.manual_seed(0)
    x = (torch.rand(shape, dtype=torch.float64) + 0.5).to(dtype).requires_grad_()
    output = Dropout(0.25).train()(x)
    assert output.shape == x.shape and output.dtype == dtype
    passed = output != 0
    assert torch.equal(output, torch.where(passed, x * (1 / 0.75), 0))
    gradient = (torch.rand(shape[::-1], dtype=torch.float64) + 0.5).to(dtype)
    gradient = gradient.permute(tuple(reversed(range(x.ndim))))  # not contiguous, as that of a transposed tensor is
    output.backward(gradient)
    assert torch.equal(x.grad, torch.where(passed, gradient * (1 / 0.75), 0))


def test_dropout_draws_anew_for_each_block():
    torch.manual_seed(0)
    first_block, second_block = (Dropout(0.5).train()(torch.ones(2, BLOCK)) != 0).double()
    assert abs(torch.corrcoef(torch.stack([first_block, second_block]))[0, 1]) < 5 / BLOCK**0.5


def test_dropout_drops_even_what_is_not_a_number():
    torch.manual_seed(0)
    output = Dropout(0.5).train()(torch.full((1000,), float("nan")))
    assert set(output.isnan().tolist()) == {True, False} and output.nan_to_num().abs().max() == 0


def test_dropout_follows_the_seed():
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(Dropout(0.5).train()(torch.ones(99)))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@families
@pytest.mark.parametrize("stated, expected", [(None, {"bert": 0.3, "distilbert": 0.2}), (0.4, 0.4)])
def test_the_head_drops_at_its_familys_rate(folders, family, stated, expected):
    # BERT's classifier falls back on the hidden dropout, DistilBERT's has a rate of its own, 0.2.
    config = json.loads((folders[family] / "config.json").read_text())
    name = {"bert": "classifier_dropout", "distilbert": "seq_classif_dropout"}[family]
    config |= {name: stated, "hidden_dropout_prob": 0.3, "dropout": 0.3}
    (folders[family] / "config.json").write_text(json.dumps(config))
    classifier, _ = read_classifier(folders[family])
    assert classifier.head.dropout.p == (expected[family] if stated is None else expected)


# ---- 50 training steps


@families
@paths
@precisions
def test_fifty_training_steps_have_the_losses_of_transformers(tiny, reference, family, fused, precision):
    curve = reference(f"curve-{family}.json")
    batches = reference(f"curve-{family}.safetensors")
    classifier = tiny(family, fused, precision)[0].train()
    optimizer = AdamW(parameter_groups(classifier, curve["lr"], curve["weight_decay"]), eps=curve["eps"])
    losses = []
    for step in range(curve["steps"]):
        batch = {name: tensors[step % len(tensors)] for name, tensors in batches.items()}
        labels = batch.pop("labels")
        if family == "distilbert":
            del batch["token_type_ids"]
        for group in optimizer.param_groups:
            group["lr"] = curve["lr"] * linear_warmup(step, curve["warmup"], curve["steps"])
        loss = functional.cross_entropy(classifier(**batch), labels)
        losses.append(loss.item())
        loss.backward()
        clip_gradients(list(classifier.parameters()), curve["max_norm"])
        optimizer.step()
        optimizer.zero_grad()
    limit = {"fp32": 1e-4, "fp64": 1e-8}[precision]
    assert losses == pytest.approx(curve["losses"][precision], rel=0, abs=limit)
    assert sum(losses[-10:]) < sum(losses[:10]) - 3  # a whole round over the batches, and it did learn


# ---- real weights


@pytest.fixture
def minilm(weights_folder, tmp_path):
    """The real checkpoint's folder by family: as it is, and renamed into DistilBERT's layout."""
    bert, distilbert = weights_folder / "all-MiniLM-L6-v2", tmp_path / "as-distilbert"
    distilbert.mkdir()
    save_file(as_distilbert(load_file(bert / "model.safetensors")), distilbert / "model.safetensors")
    config = distilbert_config(json.loads((bert / "config.json").read_text()))
    (distilbert / "config.json").write_text(json.dumps(config))
    return {"bert": bert, "distilbert": distilbert}


@paths
def test_real_weights_agree_in_both_layouts(minilm, reference, kernel_calls, fused):
    figures = reference("minilm.safetensors")
    real = figures["attention_mask"].bool()
    for family in FAMILIES:
        encoder = load_encoder(minilm[family], fused)
        with torch.no_grad():
            states = encoder(figures["input_ids"], figures["attention_mask"], return_all=True)
        assert difference(states[-1][real], figures[f"{family}.last"][real]) <= 1e-5
        corner = torch.stack(states)[:, :, :4, :8]
        assert difference(corner, figures[f"{family}.layers"]) <= 1e-5
        if family == "bert":
            assert difference(encoder.pooler(states[-1]), figures["bert.pooled"]) <= 1e-5
    assert kernel_calls["fused"] == (12 if fused else 0)


# ---- a GPU, where there is one


@pytest.mark.gpu
@families
@paths
def test_the_figures_hold_on_a_gpu(tiny, family, fused):
    classifier, inputs, _, stored = tiny(family, fused)
    inputs = {name: tensor.cuda() for name, tensor in inputs.items()}
    real = inputs["attention_mask"].bool()
    hidden = classifier.cuda().encoder(**inputs)
    assert difference(hidden[real].cpu(), stored["hidden.2"][real.cpu()]) <= 1e-4


@pytest.mark.gpu
@paths
def test_attention_dropout_works_on_a_gpu(kernel_calls, fused):
    encoder = Encoder(dropout_config("bert", attention_probs_dropout_prob=0.25), fused).cuda()
    initialize(encoder, 0.3)
    assert is_random(encoder, torch.randint(1, 50, (6, 16)).cuda())
    assert kernel_calls["fused"] == (4 if fused else 0)
