"""The encoder computes what transformers' BERT and DistilBERT compute: outputs, gradients, and 50 training steps.

The figures are stored in references/ (made by make/make_references.py, which also says why the weights are as they
are), so transformers is not needed here. Families, plain and fast layers, and precisions are crossed; each test that
names a path counts the calls of PyTorch's fused kernel.
"""

import json

import pytest
import torch
from layout import as_distilbert, distilbert_config
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, built, difference, dropout_config, families, paths
from torch.nn import functional

from minibert.head import pool
from minibert.load import load_encoder, read_classifier
from minibert.model import Encoder, Layer, additive_mask, initialize, positions_of_tokens
from minibert.optim import AdamW, clip_gradients, linear_warmup, parameter_groups

PRECISIONS = {"fp32": (torch.float32, 1e-5), "fp64": (torch.float64, 1e-10)}  # type, largest difference allowed

precisions = pytest.mark.parametrize("precision", PRECISIONS)
modes = pytest.mark.parametrize("mode", ["eval", "train"])


@pytest.fixture
def folders(tiny_bert, tiny_distilbert, tiny_roberta, tiny_electra):
    return {"bert": tiny_bert, "distilbert": tiny_distilbert, "roberta": tiny_roberta, "electra": tiny_electra}


@pytest.fixture
def tiny(folders, reference):
    """A function: a tiny classifier with its family's own head, and the inputs [5, 13] of the stored figures.

    Returns (classifier, inputs, labels, name -> stored figure).
    """

    def build(family, fast, precision="fp32"):
        classifier, _ = read_classifier(folders[family], fast)
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
def test_every_hidden_state_and_the_logits_agree(tiny, kernel_calls, family, fast, precision, mode):
    classifier, inputs, _, stored = tiny(family, fast, precision)
    classifier.train(mode == "train")  # these checkpoints have dropout 0: both modes give the same numbers
    states = classifier.encoder(**inputs, return_all=True)
    assert kernel_calls["fused"] == (2 if fast else 0)  # one call a layer
    real = inputs["attention_mask"].bool()
    assert len(states) == 3
    for i, state in enumerate(states):
        assert difference(state[real], stored[f"hidden.{i}"][real]) <= PRECISIONS[precision][1]
    assert difference(classifier(**inputs), stored["logits"]) <= PRECISIONS[precision][1]


@families
@paths
@precisions
def test_texts_without_padding_agree(tiny, kernel_calls, family, fast, precision):
    classifier, inputs, _, stored = tiny(family, fast, precision)
    del inputs["attention_mask"]
    limit = PRECISIONS[precision][1]
    assert difference(classifier.encoder(**inputs), stored["unpadded.hidden"]) <= limit
    assert difference(classifier(**inputs), stored["unpadded.logits"]) <= limit
    assert kernel_calls["fused"] == (4 if fast else 0)
    ones = torch.ones_like(inputs["input_ids"])
    assert difference(classifier(**inputs, attention_mask=ones), stored["unpadded.logits"]) <= limit


@families
@paths
@precisions
@modes
def test_loss_and_every_gradient_agree(tiny, folders, kernel_calls, family, fast, precision, mode):
    classifier, inputs, labels, stored = tiny(family, fast, precision)
    classifier.train(mode == "train")
    limit = PRECISIONS[precision][1]
    loss = functional.cross_entropy(classifier(**inputs), labels)
    loss.backward()
    assert kernel_calls["fused"] == (2 if fast else 0)
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


def test_asking_fast_layers_for_probabilities_is_an_error_that_says_what_to_do(folders):
    encoder = load_encoder(folders["bert"], fast=True)
    with pytest.raises(ValueError, match="fast=False"):
        encoder(torch.tensor([[3, 4]]), return_attention=True)


@paths
@precisions
def test_the_pooler_agrees(tiny, fast, precision):
    classifier, inputs, _, stored = tiny("bert", fast, precision)
    pooled = classifier.encoder.pooler(classifier.encoder(**inputs))
    assert difference(pooled, stored["pooled"]) <= PRECISIONS[precision][1]


@families
@precisions
@pytest.mark.parametrize("activation", ["relu", "gelu_new"])
def test_the_other_activations_agree(tiny, folders, family, precision, activation):
    change_config(folders[family], "activation" if family == "distilbert" else "hidden_act", activation)
    classifier, inputs, _, stored = tiny(family, True, precision)
    real = inputs["attention_mask"].bool()
    hidden = classifier.encoder(**inputs)
    assert difference(hidden[real], stored[f"{activation}.hidden"][real]) <= PRECISIONS[precision][1]
    assert difference(hidden[real], stored["hidden.2"][real]) > 1e-4  # and are not the exact GELU


@families
@paths
@precisions
def test_layer_norm_has_the_right_epsilon(tiny, folders, reference, family, fast, precision):
    # What enters each LayerNorm has a standard deviation under 0.1 here: 1e-6 in place of 1e-12 shows.
    quiet = reference(f"quiet-{family}.json")
    weights = load_file(folders[family] / "model.safetensors")
    for name in quiet["tensors"]:
        weights[name] = weights[name] * quiet["factor"]
    save_file(weights, folders[family] / "model.safetensors")
    classifier, inputs, _, stored = tiny(family, fast, precision)
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
def test_the_figures_would_show_an_ignored_mask(tiny, family, fast):
    classifier, inputs, _, stored = tiny(family, fast)
    real = inputs.pop("attention_mask").bool()
    assert difference(classifier.encoder(**inputs)[real], stored["hidden.2"][real]) > 0.1


@families
@paths
def test_what_stands_under_the_mask_does_not_matter(tiny, family, fast):
    classifier, inputs, _, _ = tiny(family, fast)
    real = inputs["attention_mask"].bool()
    before = classifier.encoder(**inputs)
    other = torch.where(real, inputs["input_ids"], (inputs["input_ids"] + 7) % 100)
    after = classifier.encoder(**{**inputs, "input_ids": other})
    assert torch.equal(before[real], after[real])
    assert not torch.equal(before[~real], after[~real])


@families
@paths
@pytest.mark.parametrize("pooling", ["cls", "mean", "pooler"])
def test_a_text_alone_equals_the_text_padded_among_others(folders, family, fast, pooling):
    if pooling == "pooler" and family != "bert":
        pytest.skip("only BERT has a pooler")
    encoder = load_encoder(folders[family], fast)
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
def test_a_text_of_nothing_but_padding_stays_finite(folders, family, fast, dtype):
    encoder = load_encoder(folders[family], fast)
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
def test_large_scores_do_not_overflow_the_mask_in_half_precision(folders, fast, dtype):
    # float16 ends at 65504: a negative score added to a mask of -65504 would leave it.
    encoder = load_encoder(folders["bert"], fast)
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
    with pytest.raises(ValueError, match="65 tokens.*64 positions"):
        encoder(torch.full((1, 65), 3))


def test_token_types_default_to_the_first(folders):
    encoder = load_encoder(folders["bert"])
    ids = torch.tensor([[3, 85, 4]])
    assert torch.equal(encoder(ids), encoder(ids, token_type_ids=torch.zeros_like(ids)))
    assert not torch.equal(encoder(ids), encoder(ids, token_type_ids=torch.ones_like(ids)))


# ---- dropout: eval mode cannot see where it is


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
@pytest.mark.parametrize("family, drops", [(family, family != "distilbert") for family in FAMILIES])
def test_all_but_distilbert_drop_the_attention_output(family, drops, fast):
    torch.manual_seed(0)
    layer = built(Layer(dropout_config(family, hidden_dropout_prob=0.5)), fast)
    silence(layer.feed_forward.contract)  # zeros may be dropped unseen: only the attention's output is left
    assert is_random(layer, torch.randn(2, 7, 24)) == drops


@families
@paths
def test_all_families_drop_the_feed_forward_output(family, fast):
    torch.manual_seed(0)
    layer = built(Layer(dropout_config(family, hidden_dropout_prob=0.5)), fast)
    silence(layer.attention.output)
    assert is_random(layer, torch.randn(2, 7, 24))


@families
def test_all_families_drop_embeddings_after_the_norm(family):
    torch.manual_seed(0)
    embeddings = Encoder(dropout_config(family, hidden_dropout_prob=0.25)).embeddings.train()
    output = embeddings(torch.randint(1, 50, (40, 16)))
    assert 0.23 < (output == 0).float().mean() < 0.27


@families
@paths
def test_all_families_drop_attention_probabilities(kernel_calls, family, fast):
    torch.manual_seed(0)
    encoder = built(Encoder(dropout_config(family, attention_probs_dropout_prob=0.25)), fast)
    initialize(encoder, 0.3)
    ids = torch.randint(1, 50, (6, 16))
    assert is_random(encoder, ids)
    # On a CPU PyTorch's kernel has no dropout: it serves evaluation, and CPUAttention training.
    assert kernel_calls["fused"] == (2 if fast else 0)
    if not fast:
        _, (probabilities,) = encoder(ids, return_attention=True)
        assert 0.2 < (probabilities == 0).float().mean() < 0.3
        assert abs(probabilities.sum(-1).mean().item() - 1) < 0.05  # dropped after the softmax: sums to 1 on average


@paths
def test_training_with_attention_dropout_is_right_on_average(fast):
    # A linear value path makes the mean over dropout masks the output without dropout.
    torch.manual_seed(0)
    attention = built(Layer(dropout_config("bert", attention_probs_dropout_prob=0.3)), fast).attention
    initialize(attention, 0.5)
    hidden = torch.randn(1, 5, 24)
    with torch.no_grad():
        expected, _ = attention.eval()(hidden)
        average, _ = attention.train()(hidden.expand(4000, -1, -1))
    assert difference(average.mean(0), expected[0]) < 0.25
    assert difference(average[0], expected[0]) > 0.5


@families
@pytest.mark.parametrize("stated", [None, 0.4])
def test_the_head_drops_at_its_familys_rate(folders, family, stated):
    # The others' classifiers fall back on the hidden dropout, DistilBERT's has a rate of its own, 0.2.
    expected = stated or (0.2 if family == "distilbert" else 0.3)
    config = json.loads((folders[family] / "config.json").read_text())
    name = "seq_classif_dropout" if family == "distilbert" else "classifier_dropout"
    config |= {name: stated, "hidden_dropout_prob": 0.3, "dropout": 0.3}
    (folders[family] / "config.json").write_text(json.dumps(config))
    classifier, _ = read_classifier(folders[family])
    assert classifier.head.dropout.p == expected


@pytest.mark.parametrize("family", ["roberta", "electra"])
def test_roberta_and_electra_drop_before_and_after_the_dense_layer_of_the_head(folders, family):
    classifier, _ = read_classifier(folders[family])
    head, pooled = classifier.head, torch.ones(2000, 24)
    head.dropout.p = 0.5
    seen = []
    head.dense.register_forward_hook(lambda _, given, __: seen.append((given[0] == 0).float().mean().item()))
    head.output.register_forward_hook(lambda _, given, __: seen.append((given[0] == 0).float().mean().item()))
    head.train()(pooled)
    assert seen == pytest.approx([0.5, 0.5], abs=0.02)


# ---- RoBERTa's positions


def test_positions_count_tokens_from_two_and_padding_stays_at_one():
    ids = torch.tensor([[0, 7, 8, 2, 1, 1], [1, 1, 0, 7, 8, 2], [0, 7, 1, 8, 2, 1]])  # padding is token 1
    assert positions_of_tokens(ids, 1).tolist() == [[2, 3, 4, 5, 1, 1], [1, 1, 2, 3, 4, 5], [2, 3, 1, 4, 5, 1]]


def test_a_roberta_text_is_the_same_padded_at_either_side(folders):
    encoder = load_encoder(folders["roberta"])
    ids = torch.tensor([[0, 80, 90, 70, 2, 1, 1], [1, 1, 0, 80, 90, 70, 2]])
    with torch.no_grad():
        right, left = encoder(ids, (ids != 1).long())
        alone = encoder(ids[:1, :5])[0]
    assert difference(right[:5], alone) <= 1e-5
    assert difference(left[2:], alone) <= 1e-5


@pytest.mark.parametrize("shift", [-2, -1, 1])
def test_the_figures_would_show_positions_that_are_shifted(tiny, shift):
    classifier, inputs, _, stored = tiny("roberta", True)
    real = inputs["attention_mask"].bool()
    table = classifier.encoder.embeddings.position.weight
    table.data = table.data.roll(-shift, 0)
    assert difference(classifier.encoder(**inputs)[real], stored["hidden.2"][real]) > 0.1


def test_roberta_takes_two_tokens_fewer_than_its_table_of_positions_has_rows(folders):
    config = load_encoder(folders["roberta"]).config
    assert (config.max_position_embeddings, config.longest) == (66, 64)


# ---- 50 training steps


@families
@paths
@precisions
def test_fifty_training_steps_have_the_losses_of_transformers(tiny, reference, family, fast, precision):
    curve = reference(f"curve-{family}.json")
    batches = reference(f"curve-{family}.safetensors")
    classifier = tiny(family, fast, precision)[0].train()
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
def test_real_weights_agree_in_both_layouts(minilm, reference, kernel_calls, fast):
    figures = reference("minilm.safetensors")
    real = figures["attention_mask"].bool()
    for family in ("bert", "distilbert"):
        encoder = load_encoder(minilm[family], fast)
        with torch.no_grad():
            states = encoder(figures["input_ids"], figures["attention_mask"], return_all=True)
        assert difference(states[-1][real], figures[f"{family}.last"][real]) <= 1e-5
        corner = torch.stack(states)[:, :, :4, :8]
        assert difference(corner, figures[f"{family}.layers"]) <= 1e-5
        if family == "bert":
            assert difference(encoder.pooler(states[-1]), figures["bert.pooled"]) <= 1e-5
    assert kernel_calls["fused"] == (12 if fast else 0)


# ---- a GPU, where there is one


@pytest.mark.gpu
@families
@paths
def test_the_figures_hold_on_a_gpu(tiny, family, fast):
    classifier, inputs, _, stored = tiny(family, fast)
    inputs = {name: tensor.cuda() for name, tensor in inputs.items()}
    real = inputs["attention_mask"].bool()
    hidden = classifier.cuda().encoder(**inputs)
    assert difference(hidden[real].cpu(), stored["hidden.2"][real.cpu()]) <= 1e-4


@pytest.mark.gpu
@paths
def test_attention_dropout_works_on_a_gpu(kernel_calls, fast):
    encoder = built(Encoder(dropout_config("bert", attention_probs_dropout_prob=0.25)), fast).cuda()
    initialize(encoder, 0.3)
    assert is_random(encoder, torch.randint(1, 50, (6, 16)).cuda())
    assert kernel_calls["fused"] == (4 if fast else 0)
