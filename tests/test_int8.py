"""fast/int8.py: what is rounded and by how much, its plain twin, whom an outlier spoils, and where it is used."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file
from small_data import write_csv
from tiny import difference, dropout_config, families, paths
from torch import nn

import minibert
from minibert import finetune, model, predict
from minibert.fast import accelerate, int8, quantize
from minibert.fast.int8 import BLOCK, LEVELS, Int8Linear, expected_error, plain_linear, round_rows
from minibert.frozen import encode
from minibert.head import Classifier
from minibert.load import load_encoder, load_tokenizer, read_classifier, save_classifier
from minibert.model import initialize
from minibert.plumbing.files import UserError

CPU = torch.device("cpu")
IDS = torch.tensor([[3, 5, 8, 13, 4], [3, 7, 4, 0, 0]])
MASK = (IDS != 0).long()


@pytest.fixture(params=["fused", "portable"])
def product(request, monkeypatch):
    """Both ways to multiply, each by itself."""
    if request.param == "portable":
        monkeypatch.setattr(int8, "has_fused_product", lambda: False)
    elif not int8.has_fused_product():
        pytest.skip("this CPU has no VNNI instructions, so the portable product runs")
    return request.param


def random_layer(inputs=72, outputs=40, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(inputs, outputs), torch.randn(33, inputs)


def small_classifier(family, fast=False):
    torch.manual_seed(0)
    classifier = Classifier(model.Encoder(dropout_config(family)), ["a", "b"], "mean", "linear").eval()
    initialize(classifier, 0.3)
    return accelerate(classifier) if fast else classifier


# ---- the layer


def test_a_row_becomes_whole_numbers_of_its_own_step():
    levels, steps = round_rows(torch.tensor([[1.27, -0.634, 0.0], [0.0, 0.0, 0.0], [-254.0, 3.0, 1.0]]))
    assert levels.tolist() == [[127, -63, 0], [0, 0, 0], [-127, 2, 0]]
    assert steps[[0, 2], 0].tolist() == pytest.approx([0.01, 2.0])


def test_the_layer_is_its_plain_twin(product):
    for seed, (inputs, outputs) in enumerate([(72, 40), (768, 96), (3072, 24), (5, 3)]):
        linear, x = random_layer(inputs, outputs, seed)
        x[3, 2] = 1000.0
        with torch.no_grad():
            expected = plain_linear(x, linear.weight, linear.bias)
            assert difference(Int8Linear(linear)(x), expected) <= 1e-5 * expected.abs().max().item()


@pytest.mark.parametrize("shape", [(7, 72), (2, 3, 72), (1, 72), (0, 72)])
def test_any_shape_goes_through(product, shape):
    linear, _ = random_layer()
    x = torch.randn(shape)
    output = Int8Linear(linear)(x)
    assert output.shape == (*shape[:-1], 40) and output.dtype == torch.float32
    rows = plain_linear(x.view(-1, 72), linear.weight, linear.bias)
    assert not x.numel() or difference(output.view(-1, 40), rows.detach()) <= 1e-5


def test_the_error_is_as_large_as_theory_says():
    """Root mean square over 40,000 outputs, relative to what each one should have."""
    torch.manual_seed(1)
    linear, x = nn.Linear(500, 200), torch.randn(200, 500)
    with torch.no_grad():
        x[::2] *= 10  # rows, and channels, of different size
        linear.weight[::3] *= 5
        ratio = (Int8Linear(linear)(x) - linear(x)) / expected_error(x, linear.weight)
    assert ratio.square().mean().sqrt().item() == pytest.approx(1, abs=0.03)
    assert abs(ratio.mean()) < 0.03


def test_an_outlier_spoils_its_own_row_and_no_other():
    linear, x = random_layer()
    layer = Int8Linear(linear)
    with torch.no_grad():
        before, spoiled = layer(x), x.clone()
        spoiled[4, 0] = 50 * x[4].abs().max()
        after = layer(spoiled)
        errors = [(layer(part) - linear(part))[4].std().item() for part in (x, spoiled)]
    others = torch.arange(len(x)) != 4
    assert torch.equal(before[others], after[others])
    assert errors[1] > 10 * errors[0]  # steps 50 times as coarse, in all other numbers of the row


def test_a_step_for_the_whole_weight_matrix_would_lose_more():
    """The reason for a step in each output channel: one large channel would make all others coarse."""
    linear, x = random_layer()
    with torch.no_grad():
        linear.weight[0] *= 30
        exact, ours = linear(x), Int8Linear(linear)(x)
        step = linear.weight.abs().max() / LEVELS
        whole = nn.functional.linear(x, (linear.weight / step).round() * step, linear.bias)
    assert (whole - exact)[:, 1:].std() > 5 * (ours - exact)[:, 1:].std()


def test_a_rows_numbers_do_not_depend_on_the_rows_beside_it(product):
    """So padding and neighbours change nothing, to the last bit."""
    linear, x = random_layer()
    layer = Int8Linear(linear)
    with torch.no_grad():
        together = layer(torch.cat([x, 100 * x]))
        assert torch.equal(torch.cat([layer(row) for row in x.split(1)]), together[: len(x)])


def test_a_copy_of_a_used_layer_computes_the_same():
    linear, x = random_layer()
    layer = Int8Linear(linear).eval()
    output = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), output)


# ---- the module


@families
@paths
def test_what_is_rounded_are_the_six_matrices_of_each_layer(family, fast):
    classifier = small_classifier(family, fast)
    head, word = classifier.head.output.weight.clone(), classifier.encoder.embeddings.word.weight.clone()
    assert quantize(classifier) is classifier
    rounded = [name for name, part in classifier.named_modules() if isinstance(part, Int8Linear)]
    assert [name.removeprefix("encoder.layers.0.") for name in rounded] == [
        "attention.query", "attention.key", "attention.value", "attention.output",
        "feed_forward.expand", "feed_forward.contract",
    ]  # fmt: skip
    assert torch.equal(classifier.head.output.weight, head)
    assert torch.equal(classifier.encoder.embeddings.word.weight, word)
    levels = classifier.encoder.layers[0].attention.query.levels
    assert torch.equal(quantize(classifier).encoder.layers[0].attention.query.levels, levels)


@families
def test_plain_and_fast_layers_become_the_same(family, product):
    states = [quantize(small_classifier(family, fast)).encoder(IDS, MASK) for fast in (False, True)]
    assert torch.equal(*states)
    exact = small_classifier(family).encoder(IDS, MASK).detach()
    assert 0 < difference(states[0], exact) <= 0.05 * exact.abs().max().item()


@pytest.mark.parametrize("in_bf16", [True, False])
def test_attentions_softmax_stays_in_floats_of_either_kind(in_bf16, kernel_calls, monkeypatch):
    monkeypatch.setattr(int8, "multiplies_bf16", lambda: in_bf16)
    monkeypatch.setattr("minibert.fast.attention.has_amx", lambda: False)
    exact = small_classifier("bert")(IDS, MASK).detach()
    logits = quantize(small_classifier("bert"))(IDS, MASK)
    assert kernel_calls["fused"] == (0 if in_bf16 else 1)
    assert 0 < difference(logits, exact) <= 0.05 * exact.abs().max().item()


@pytest.mark.parametrize("in_bf16", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_an_encoder_in_another_precision_can_be_rounded_too(dtype, in_bf16, monkeypatch):
    monkeypatch.setattr(int8, "multiplies_bf16", lambda: in_bf16)
    encoder = small_classifier("bert").encoder.to(dtype)
    with torch.no_grad():
        exact = encoder(IDS, MASK)
        rounded = quantize(encoder)(IDS, MASK)
    assert rounded.dtype == dtype
    assert 0 < (rounded - exact).double().norm() < 0.1 * exact.double().norm()


def test_a_long_batch_goes_through_the_feed_forward_network_in_blocks():
    config = dropout_config("bert")
    network = model.FeedForward(config)
    hidden = torch.randn(2, BLOCK, config.hidden_size)
    quantize(network)
    with torch.no_grad():
        rows = network.contract(network.activation(network.expand(hidden)))
        assert torch.equal(network(hidden), rows)


def test_nothing_learns():
    classifier = quantize(small_classifier("bert"))
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    with pytest.raises(ValueError, match="rounding has no slope"):
        classifier.train()
    classifier.encoder.embeddings.word.weight.requires_grad_()
    with pytest.raises(ValueError, match="no gradient comes through"):
        classifier(IDS, MASK)
    with torch.no_grad():
        classifier(IDS, MASK)


def test_there_must_be_something_to_quantise():
    with pytest.raises(ValueError, match="Linear holds no encoder layer"):
        quantize(nn.Linear(2, 2))


def test_rounded_weights_are_not_saved(tmp_path):
    classifier = quantize(small_classifier("bert"))
    with pytest.raises(ValueError, match="rounded"):
        save_classifier(classifier, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


# ---- where it is used

REVIEWS = [
    "A fine film, in its way: never dull, and the ending is a small wonder.", "dull", "The worst film of all.",
    "I went twice. The second time I took my mother, who laughed at all the right places and slept through the rest.",
]  # fmt: skip


def test_on_real_weights_the_errors_of_all_products_add_up_as_independent_ones_do():
    """One product errs by 1 to 3% of its result here, because a token's largest number is 5 to 12 times its usual one.

    Four stand in a row in each of the 5 layers (value, output, expand, contract). Independent errors of 2% add up to
    sqrt(20) * 2% = 9%; the residual connections carry a part past them, so what arrives is less.
    """
    tokenizer = load_tokenizer("minibert-tiny")
    batch = tokenizer(REVIEWS)
    exact, rounded = load_encoder("minibert-tiny"), quantize(load_encoder("minibert-tiny"))
    real = batch.attention_mask.bool()
    with torch.no_grad():
        exact, rounded = exact(*batch)[real], rounded(*batch)[real]
    error = (rounded - exact).norm(dim=1) / exact.norm(dim=1)
    assert 0.02 < error.mean() < 0.09 and error.max() < 0.14


def test_padding_and_neighbours_do_not_move_a_text():
    """Rounding in rows sees neither. What is left is the order of attention's sums, which may tip a number or two."""
    tokenizer, encoder = load_tokenizer("minibert-tiny"), quantize(load_encoder("minibert-tiny"))
    with torch.no_grad():
        together = encoder(*tokenizer(REVIEWS))
        for text, padded in zip(REVIEWS, together, strict=True):
            [alone] = encoder(*tokenizer([text]))
            assert (padded[: len(alone)] - alone).norm() <= 0.01 * alone.norm()


def test_a_frozen_encoders_features_are_kept_apart_from_those_in_other_precisions(tiny_bert):
    tokenizer, encoder = load_tokenizer(tiny_bert), load_encoder(tiny_bert)
    examples = tokenizer.examples(["the film was fine", "dull"], None, [0, 1], 64, "head", 1)
    whole, count = encode(encoder, examples, ["cls"], CPU, "fp32", quiet=True)
    rounded, again = encode(quantize(encoder), examples, ["cls"], CPU, "int8", quiet=True)
    kept, none = encode(encoder, examples, ["cls"], CPU, "int8", quiet=True)
    assert (count, again, none) == (2, 2, 0)
    assert torch.equal(kept["cls"], rounded["cls"])
    assert 0 < (whole["cls"] - rounded["cls"]).norm() < 0.1 * whole["cls"].norm()


def test_a_classifier_is_rounded_as_it_is_loaded(tiny_bert):
    texts = ["the film was fine", "a very dull story and not good"]
    exact = minibert.load_classifier(tiny_bert).probabilities(texts)
    for fast in (True, False):
        classifier = minibert.load_classifier(tiny_bert, fast=fast, precision="int8")
        assert isinstance(classifier.classifier.encoder.layers[0].attention.query, Int8Linear)
        rounded = classifier.probabilities(texts)
        assert 0 < abs(rounded - exact).max() < 0.1
    later = minibert.load_classifier(tiny_bert)
    quantize(later.classifier)
    assert later.probabilities(texts) == pytest.approx(rounded, abs=1e-6)
    with pytest.raises(ValueError, match="no gradient comes through"):
        later.explain(texts)


def test_the_predict_command_answers_in_int8(tiny_bert, capsys):
    assert predict.main([str(tiny_bert), "the film was fine", "--precision", "int8", "--format", "jsonl"]) == 0
    [row] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    classifier = minibert.load_classifier(tiny_bert, precision="int8")
    assert list(row["scores"].values()) == pytest.approx(classifier.probabilities(["the film was fine"])[0], abs=1e-6)


@pytest.mark.parametrize("flags", [["--explain"], ["--label", "LABEL_1"], ["--attention", "1,1"], ["--serve"]])
def test_int8_does_not_explain(flags, tiny_bert):
    texts = [] if flags == ["--serve"] else ["fine"]
    name = {"--label": "--explain"}.get(flags[0], flags[0])
    with pytest.raises(UserError, match=f"^--precision int8: answers and does not explain; leave out {name}, or"):
        predict.main([str(tiny_bert), *texts, *flags, "--precision", "int8"])


@pytest.mark.parametrize("mode", ["both", "finetune"])
def test_fine_tuning_in_int8_is_refused(mode, tmp_path):
    with pytest.raises(UserError, match="^--precision int8: rounded weights cannot learn; add --mode frozen, or"):
        finetune.main(["reviews", "--precision", "int8", "--mode", mode, "--output", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_compiled_int8_is_refused(tmp_path):
    flags = ["--precision", "int8", "--mode", "frozen", "--compile"]
    with pytest.raises(UserError, match="^--compile: not for the layers of --precision int8"):
        finetune.main(["reviews", *flags, "--output", str(tmp_path / "run")])


def test_a_frozen_run_in_int8_says_so_and_saves_whole_weights(tiny_bert, tmp_path):
    rows = [f"film {i} was {'fine' if i % 2 else 'dull'},{'good' if i % 2 else 'bad'}" for i in range(40)]
    data = write_csv(tmp_path / "mine.csv", rows)
    run = tmp_path / "run"
    flags = ["--model", tiny_bert, "--max-length", 32, "--output", run]
    assert finetune.main([str(part) for part in (data, "--mode", "frozen", "--precision", "int8", *flags)]) == 0
    assert json.loads((run / "settings.json").read_text())["precision"] == "int8"
    assert "in int8" in (run / "report.md").read_text()
    saved, before = (load_file(folder / "model.safetensors") for folder in (run / "frozen", tiny_bert))
    assert all(tensor.dtype == torch.float32 for tensor in saved.values())
    name = next(name for name in before if name.endswith("layer.0.attention.self.query.weight"))
    assert torch.equal(saved[name.removeprefix("bert.")] if name not in saved else saved[name], before[name])
    assert read_classifier(run / "frozen")[0].label_names == ["bad", "good"]


@pytest.mark.gpu
def test_int8_on_a_gpu_is_refused(tiny_bert):
    with pytest.raises(UserError, match="--precision int8: computes on a CPU"):
        predict.main([str(tiny_bert), "fine", "--precision", "int8", "--device", "cuda"])
    with pytest.raises(ValueError, match="compute on a CPU"):
        quantize(load_encoder(tiny_bert).to("cuda"))
