"""fast/ computes what model.py computes: one object both ways, its kernels one by one, and which of them ran."""

import pytest
import torch
from tiny import built, difference, dropout_config, families
from torch import nn
from torch.nn import functional

from minibert import model
from minibert.fast import FAST, accelerate, restore, touched_rows
from minibert.fast.attention import Attention, CPUAttention, in_plain_steps, sign_dropped
from minibert.fast.dropout import BLOCK, Dropout
from minibert.fast.linear import CPULinear, Linear, mkl_is_slow
from minibert.head import Classifier
from minibert.load import load_encoder
from minibert.model import ACTIVATIONS, Layer, additive_mask, initialize
from minibert.optim import AdamW, make_dense

IDS = torch.tensor([[3, 5, 8, 13, 4], [3, 7, 4, 0, 0]])
MASK = (IDS != 0).long()


def small_classifier(family, **probabilities):
    torch.manual_seed(0)
    classifier = Classifier(model.Encoder(dropout_config(family, **probabilities)), ["a", "b"], "mean", "linear")
    initialize(classifier, 0.3)
    return classifier


# ---- the seam


def test_every_class_has_one_twin_that_is_its_subclass():
    assert len(set(FAST.values())) == len(FAST)
    assert all(issubclass(fast, plain) and fast is not plain for plain, fast in FAST.items())


@families
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_one_object_gives_the_same_numbers_both_ways_and_back(family, mode):
    classifier = small_classifier(family).train(mode == "train")
    results = []
    for change in (restore, accelerate, restore):
        assert change(classifier) is classifier
        classifier.zero_grad()
        logits = classifier(IDS, MASK)
        logits.square().sum().backward()
        results.append([logits, *(p.grad for p in classifier.parameters() if p.grad is not None)])
    plain, fast, again = results
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))
    assert all(difference(a, b) <= 1e-5 for a, b in zip(plain, fast, strict=True))


@families
def test_which_path_ran_is_what_was_asked_for(kernel_calls, family):
    encoder = small_classifier(family).encoder.eval()
    encoder(IDS, MASK)
    assert kernel_calls["fused"] == 0
    accelerate(encoder)(IDS, MASK)
    assert kernel_calls["fused"] == 1


def test_with_dropout_both_have_the_same_mean_and_the_same_spread():
    """4,000 passes each, through one layer."""
    torch.manual_seed(1)
    layer = Layer(dropout_config("bert", hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)).train()
    initialize(layer, 0.5)
    hidden = torch.randn(1, 5, 24, generator=torch.Generator().manual_seed(2)).expand(4000, -1, -1)
    with torch.no_grad():
        plain, fast = layer(hidden)[0], accelerate(layer)(hidden)[0]
    error = (plain.var(0) / 4000 + fast.var(0) / 4000).sqrt()
    assert ((plain.mean(0) - fast.mean(0)) / error).abs().max() < 5
    assert (plain.std(0) / fast.std(0) - 1).abs().max() < 0.1


def test_names_parameters_hooks_and_isinstance_stay():
    classifier = small_classifier("bert")
    names, storage = list(classifier.state_dict()), [p.data_ptr() for p in classifier.parameters()]
    seen = []
    classifier.encoder.layers[0].attention.query.register_forward_hook(lambda *_: seen.append("query"))
    classifier.encoder.layers[0].feed_forward.contract.register_forward_hook(lambda *_: seen.append("contract"))
    accelerate(classifier)(IDS, MASK)
    assert seen == ["query", "contract"]
    assert list(classifier.state_dict()) == names and [p.data_ptr() for p in classifier.parameters()] == storage
    layer = classifier.encoder.layers[0]
    assert isinstance(layer.attention, model.Attention) and isinstance(layer.attention.query, nn.Linear)
    assert isinstance(layer.feed_forward_dropout, nn.Dropout)


def test_the_builder_puts_fast_layers_in_and_fast_false_leaves_them_out(tiny_bert):
    for fast in (True, False):
        parts = {type(part) for part in load_encoder(tiny_bert, fast=fast).modules()}
        assert (Attention in parts, model.Attention in parts) == (fast, not fast)
        assert (Linear in parts, Dropout in parts) == (fast, fast)


# ---- linear layers on a CPU


BF16 = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()),
    reason="this CPU's library has no bf16 products, so nn.Linear's path runs",
)


def linear_pair(wide=48, inputs=24):
    """The same layer twice, ours and PyTorch's."""
    ours, theirs = Linear(inputs, wide), nn.Linear(inputs, wide)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@BF16
@pytest.mark.parametrize("shape", [(7, 24), (1, 24), (3, 5, 24), (0, 24)])
def test_a_linear_layer_in_bf16_is_pytorchs(shape):
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


@pytest.fixture
def slow_mkl(monkeypatch):
    """As on a CPU whose fp32 products oneDNN does better."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr("minibert.fast.linear.mkl_is_slow", lambda: True)


@pytest.mark.parametrize("activation", [None, functional.gelu])
@pytest.mark.parametrize("shape", [(7, 24), (1, 24), (3, 5, 24), (0, 24)])
def test_a_linear_layer_in_fp32_is_pytorchs_by_whichever_library(monkeypatch, slow_mkl, shape, activation):
    monkeypatch.setattr("minibert.fast.linear.LARGE", 24)  # larger activations are computed again
    results = []
    x = torch.randn(shape)
    for layer in linear_pair():
        inputs = x.clone().requires_grad_()
        mine = isinstance(layer, Linear)
        before = inputs if mine or activation is None else activation(inputs)
        output = layer(before, activation) if mine else layer(before)
        assert (type(output.grad_fn).__name__ == "CPULinearBackward") == mine
        output.square().sum().backward()
        results.append([output, inputs.grad, layer.weight.grad, layer.bias.grad])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "capability, maker, slow",
    [("AVX512", "AuthenticAMD", True), ("AVX512", "GenuineIntel", False), ("AVX2", "AuthenticAMD", False)],
)
def test_mkl_is_slow_where_its_maker_is_not_the_cpus(monkeypatch, capability, maker, slow):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr("platform.processor", lambda: f"Family 26 Model 2, {maker}")
    monkeypatch.setattr("pathlib.Path.is_file", lambda self: False)
    assert mkl_is_slow.__wrapped__() == slow


def test_a_linear_layers_gradients_are_right():
    x, weight, bias = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 4), (5, 4), (5,)))
    assert torch.autograd.gradcheck(CPULinear.apply, (x, weight, bias))
    torch.testing.assert_close(CPULinear.apply(x, weight, bias), functional.linear(x, weight, bias))
    frozen = CPULinear.apply(x, weight.detach(), bias.detach())
    assert torch.autograd.grad(frozen.sum(), x)[0].shape == x.shape


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_gradients_through_an_activation_that_is_computed_again_are_right(activation):
    x, weight, bias = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 4), (5, 4), (5,)))
    assert torch.autograd.gradcheck(lambda *parts: CPULinear.apply(*parts, activation), (x, weight, bias))
    expected = functional.linear(activation(x), weight, bias)
    torch.testing.assert_close(CPULinear.apply(x, weight, bias, activation), expected)
    learned = CPULinear.apply(x.detach(), weight, bias, activation)
    assert torch.autograd.grad(learned.sum(), weight)[0].shape == weight.shape


@BF16
def test_a_large_activation_is_computed_again_and_not_kept(monkeypatch):
    layer, x = accelerate(model.FeedForward(dropout_config("bert"))), torch.randn(2, 5, 24)

    def learn(large):
        """[output, gradients ...], and how many tensors as large as the activation were kept for the backward pass"""
        monkeypatch.setattr("minibert.fast.linear.LARGE", large)
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
def test_a_linear_layer_is_pytorchs_own_without_bf16_and_with_a_fast_mkl(monkeypatch, precision):
    monkeypatch.setattr("minibert.fast.linear.LARGE", 0)
    monkeypatch.setattr("minibert.fast.linear.mkl_is_slow", lambda: False)
    ours, theirs = linear_pair()
    x = torch.randn(7, 24)
    with torch.autocast("cpu", precision, enabled=precision is not None):
        assert torch.equal(ours(x), theirs(x))
        assert torch.equal(ours(x, functional.gelu), theirs(functional.gelu(x)))
        assert "CPULinear" not in type(ours(x).grad_fn).__name__


@BF16
@pytest.mark.parametrize("no_gradients", [torch.no_grad, torch.inference_mode])
def test_in_evaluation_weights_are_cast_once_and_again_when_they_have_changed(no_gradients):
    layer = Linear(24, 48).eval()
    x = torch.randn(3, 24)

    def evaluate():
        with no_gradients(), torch.autocast("cpu", torch.bfloat16):
            output = layer(x)
            assert torch.equal(output, CPULinear.apply(*(part.bfloat16() for part in (x, layer.weight, layer.bias))))
        return layer.casts[1][0].data_ptr()

    first = evaluate()
    assert evaluate() == first
    with torch.no_grad():
        layer.weight.mul_(2)
    assert evaluate() != first
    optimizer = AdamW(layer.parameters(), lr=0.1, fused=True)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).sum().backward()  # in eval mode, as a student learns
    optimizer.step()  # a fused kernel, of which PyTorch keeps no count
    evaluate()
    layer.train()
    assert layer.casts is None
    assert list(layer.state_dict()) == ["weight", "bias"]


@BF16
def test_weights_that_were_made_in_inference_mode_serve_there_and_are_read_anew_each_time():
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        layer, x = Linear(24, 48).eval(), torch.randn(3, 24)
        before = layer(x)
        layer.weight.mul_(2)
        layer.bias.mul_(2)
        assert torch.equal(layer(x), 2 * before)


def test_a_layer_without_bias_is_pytorchs_own():
    ours, theirs = Linear(24, 48, bias=False), nn.Linear(24, 48, bias=False)
    theirs.load_state_dict(ours.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(torch.ones(2, 24)), theirs(torch.ones(2, 24)))


# ---- embeddings: gradients of the rows that were touched


def test_touched_rows_give_the_same_gradients_and_put_everything_back():
    classifier, gradients = small_classifier("bert"), []
    for wanted in (False, True):
        classifier.zero_grad()
        with touched_rows(classifier, wanted):
            for row in (0, 1):
                classifier(IDS[row : row + 1], MASK[row : row + 1]).sum().backward()
            assert classifier.encoder.embeddings.word.weight.grad.is_sparse == wanted
        make_dense(classifier.parameters())
        gradients.append(classifier.encoder.embeddings.word.weight.grad)
    assert not gradients[1].is_sparse and difference(*gradients) <= 1e-6
    assert not any(part.sparse for part in classifier.modules() if isinstance(part, nn.Embedding))


# ---- attention and dropout


@pytest.mark.parametrize("has_amx", [True, False])
def test_bf16_on_a_cpu_predicts_by_pytorchs_kernel_or_plain_steps_and_learns_by_ours(
    kernel_calls, monkeypatch, has_amx
):
    """And the ways, forward and back, differ by no more than bf16 rounds."""
    monkeypatch.setattr("minibert.fast.attention.has_amx", lambda: has_amx)
    attention = built(Layer(dropout_config("bert")), fast=True).attention
    hidden = torch.randn(3, 17, attention.query.in_features, generator=torch.Generator().manual_seed(4))
    mask = additive_mask(torch.arange(17) < torch.tensor([[17], [9], [4]]), torch.float32)
    gradients = {}
    for precision in (torch.bfloat16, torch.float32):
        attention.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
            with torch.no_grad():
                predicting, _ = attention(hidden, mask)
            learning, _ = attention(hidden, mask)
        assert kernel_calls["fused"] == has_amx + (0 if precision == torch.bfloat16 else 2)
        assert difference(predicting.float(), learning.detach().float()) <= 0.02 * learning.abs().max().item()
        learning.float().square().sum().backward()
        gradients[precision] = attention.query.weight.grad.clone()
    assert difference(*gradients.values()) <= 0.05 * gradients[torch.float32].abs().max().item()


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
@pytest.mark.parametrize("texts_at_a_time", [1, 2, 4])
def test_plain_steps_give_the_same_for_a_few_texts_at_a_time(texts_at_a_time, padded, monkeypatch):
    query, key, value = torch.randn(3, 5, 2, 17, 8, generator=torch.Generator().manual_seed(5)).unbind(0)
    lengths = torch.tensor([[17], [9], [4], [17], [1]])
    mask = additive_mask(torch.arange(17) < lengths, torch.float32) if padded else None
    at_once = in_plain_steps(query, key, value, mask)
    monkeypatch.setattr("minibert.fast.attention.CACHED", texts_at_a_time * 2 * 17**2)
    assert difference(in_plain_steps(query, key, value, mask), at_once) <= 1e-6
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    assert difference(at_once, expected) <= 1e-6


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "full"])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.03)])
def test_attention_for_training_on_a_cpu_equals_the_steps_spelled_out(dtype, tolerance, p, padded):
    """The same seed drops the same probabilities on both paths; outputs and gradients, relative to the largest."""
    mask = None
    if padded:
        mask = additive_mask(torch.arange(17) < torch.tensor([[17], [9], [1]]), dtype)
    results = {}
    for fast in (True, False):
        torch.manual_seed(3)
        attention = accelerate(model.Attention(dropout_config("bert", attention_probs_dropout_prob=p))).to(dtype)
        attention.__class__ = Attention if fast else model.Attention  # the same dropout in both
        initialize(attention, 0.5)
        hidden = torch.randn(3, 17, 24, dtype=dtype).requires_grad_()
        output, _ = attention(hidden, mask)
        output.backward(torch.randn(output.shape, dtype=dtype))
        results[fast] = [output.detach(), hidden.grad, *(weight.grad for weight in attention.parameters())]
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


@pytest.mark.parametrize("heads_at_a_time", [1, 2, 4])
def test_attention_learns_the_same_a_few_heads_at_a_time(heads_at_a_time, monkeypatch):
    gradients = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    for size in (2**21, heads_at_a_time * 5 * 5 * 4):
        monkeypatch.setattr("minibert.fast.attention.BACKWARD_BYTES", size)
        torch.manual_seed(0)
        parts = [torch.randn(2, 3, 5, 4).requires_grad_() for _ in range(3)]
        attend_on_cpu(*parts).square().sum().backward()
        gradients.append([part.grad for part in parts])
    assert all(difference(*pair) <= 1e-6 for pair in zip(*gradients, strict=True))


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
