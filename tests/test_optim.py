"""AdamW, the schedule, clipping and the parameter groups: by hand, then against torch and transformers.

torch's own optimizer and clipping run beside ours; transformers' schedule is stored in references/schedule.json
(made by make/make_references.py).
"""

import copy
import math

import pytest
import torch

from minibert.head import Classifier
from minibert.load import load_encoder
from minibert.optim import AdamW, clip_gradients, linear_warmup, parameter_groups


def one_number(value=1.0):
    return torch.tensor([value], dtype=torch.float64, requires_grad=True)


def step_with(optimizer, parameter, gradient):
    parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()
    return parameter.item()


# ---- AdamW by hand


def test_the_first_step_is_the_learning_rate_whatever_the_gradients_size():
    # Corrected for their start at 0, the averages are g and g^2: the step is lr * g / |g|.
    for gradient in (3.0, 1e-3, -700.0):
        weight = one_number(1.0)
        moved = 1.0 - step_with(AdamW([weight], lr=0.1, eps=0.0, weight_decay=0.0), weight, gradient)
        assert moved == pytest.approx(math.copysign(0.1, gradient), rel=1e-9)


def test_two_steps_by_hand():
    # betas 1/2: after gradients 1 and 3, mean = 7/4, square = 19/4; both divided by 1 - 1/4.
    weight = one_number(0.0)
    optimizer = AdamW([weight], lr=1.0, betas=(0.5, 0.5), eps=0.0, weight_decay=0.0)
    assert step_with(optimizer, weight, 1.0) == pytest.approx(-1.0)
    assert step_with(optimizer, weight, 3.0) == pytest.approx(-1.0 - (7 / 3) / math.sqrt(19 / 3))


def test_epsilon_is_added_outside_the_root():
    weight = one_number(0.0)
    assert step_with(AdamW([weight], lr=1.0, eps=2.0, weight_decay=0.0), weight, 2.0) == pytest.approx(-2 / (2 + 2))


def test_decay_acts_on_the_weight_and_not_through_the_gradient():
    # Decoupled: 5 shrinks by lr * decay * 5, then the step of lr. As an L2 term it would vanish in the division.
    weight = one_number(5.0)
    assert step_with(AdamW([weight], lr=0.1, eps=0.0, weight_decay=0.2), weight, 4.0) == pytest.approx(5 - 0.1 - 0.1)


def test_without_a_gradient_nothing_moves_and_nothing_decays():
    weight = one_number(5.0)
    optimizer = AdamW([weight], lr=0.1, weight_decay=0.5)
    optimizer.step()
    assert weight.item() == 5.0 and not optimizer.state


def test_a_closure_is_called_with_gradients_and_its_loss_is_returned():
    weight = one_number(2.0)
    optimizer = AdamW([weight], lr=0.1, weight_decay=0.0)

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert weight.item() == pytest.approx(1.9)


@pytest.mark.parametrize("wrong", [{"lr": -1}, {"eps": -1e-8}, {"weight_decay": -0.1}, {"betas": (0.9, 1.0)},
                                   {"betas": (-0.1, 0.9)}, {"lr": math.nan}])  # fmt: skip
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AdamW([one_number()], **wrong)


# ---- AdamW against torch.optim.AdamW

SHAPES = [(7, 5), (5,), (3, 2, 4), (1,)]
fused_or_not = pytest.mark.parametrize("fused", [False, True], ids=["spelled out", "fused"])


def two_copies(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ours = [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in SHAPES]
    return ours, [p.detach().clone().requires_grad_() for p in ours]


def set_gradients(step, ours, theirs, absent=()):
    """Gradients whose size changes over the steps and between parameters; `absent` ones are None."""
    generator = torch.Generator().manual_seed(step)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        size = 10.0 ** (-i) * (1 + math.sin(step / 9)) + 1e-4
        gradient = size * torch.randn(a.shape, generator=generator, dtype=a.dtype)
        a.grad, b.grad = (None, None) if i in absent else (gradient, gradient.clone())


def assert_close(ours, theirs, limit=1e-6):
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max().item() <= limit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"eps": 1e-2},  # large enough to see where it is added, and to what
        {"weight_decay": 0.5},
        {"weight_decay": 0.0, "betas": (0.0, 0.5)},
        {"betas": (0.5, 0.9), "eps": 0.3, "weight_decay": 0.3},
    ],
    ids=str,
)
@fused_or_not
def test_200_steps_agree_with_torch(dtype, options, fused):
    ours, theirs = two_copies(dtype)
    start = [p.detach().clone() for p in ours]
    optimizer = AdamW(ours, lr=3e-3, fused=fused, **options)
    reference = torch.optim.AdamW(theirs, lr=3e-3, foreach=False, fused=False, **options)
    for step in range(200):
        set_gradients(step, ours, theirs)
        for group in optimizer.param_groups + reference.param_groups:
            group["lr"] = 3e-3 * linear_warmup(step, 20, 200)
        optimizer.step()
        reference.step()
        assert_close(ours, theirs, 1e-6 if dtype == torch.float32 else 1e-13)
    assert max((p - p0).abs().max() for p, p0 in zip(ours, start, strict=True)) > 0.05


def test_each_path_runs_its_own_arithmetic(monkeypatch):
    kernel, calls = torch._fused_adamw_, []

    def counting(*lists, **rest):
        calls.append(len(lists[0]))
        return kernel(*lists, **rest)

    monkeypatch.setattr(torch, "_fused_adamw_", counting)
    for fused, expected in ((False, []), (True, [len(SHAPES)])):
        parameters, _ = two_copies(torch.float32)
        set_gradients(0, parameters, parameters)
        AdamW(parameters, lr=1e-3, fused=fused).step()
        assert calls == expected


@fused_or_not
def test_groups_keep_their_own_settings(fused):
    ours, theirs = two_copies(torch.float32)

    def groups(parameters):
        return [
            {"params": parameters[:2], "lr": 1e-2, "weight_decay": 0.1},
            {"params": parameters[2:3], "betas": (0.5, 0.7), "eps": 1e-3},
            {"params": parameters[3:], "weight_decay": 0.0},
        ]

    optimizer = AdamW(groups(ours), lr=1e-3, weight_decay=0.03, fused=fused)
    reference = torch.optim.AdamW(groups(theirs), lr=1e-3, weight_decay=0.03)
    for step in range(200):
        set_gradients(step, ours, theirs)
        optimizer.step()
        reference.step()
    assert_close(ours, theirs)


@fused_or_not
def test_parameters_whose_gradient_is_absent_in_some_steps_count_their_own_steps(fused):
    ours, theirs = two_copies(torch.float32)
    optimizer = AdamW(ours, lr=3e-3, weight_decay=0.1, fused=fused)
    reference = torch.optim.AdamW(theirs, lr=3e-3, weight_decay=0.1)
    for step in range(200):
        absent = [i for i in range(len(SHAPES)) if (step + i) % (i + 2) == 0 or (i == 3 and step < 100)]
        set_gradients(step, ours, theirs, absent)
        optimizer.step()
        reference.step()
        assert_close(ours, theirs)


@pytest.mark.parametrize("through_a_file", [False, True])
@fused_or_not
def test_a_restored_state_continues_identically(tmp_path, through_a_file, fused):
    whole, _ = two_copies(torch.float32)
    optimizer = AdamW(whole, lr=3e-3, fused=fused)
    for step in range(100):
        set_gradients(step, whole, whole)
        optimizer.step()
        if step == 49:
            halfway = [p.detach().clone().requires_grad_() for p in whole]
            state = copy.deepcopy(optimizer.state_dict())
    if through_a_file:
        torch.save(state, tmp_path / "state")
        state = torch.load(tmp_path / "state", weights_only=True)
    restored = AdamW(halfway, lr=999.0, fused=fused)
    restored.load_state_dict(state)
    assert restored.param_groups[0]["lr"] == 3e-3
    for step in range(50, 100):
        set_gradients(step, halfway, halfway)
        restored.step()
    assert all(torch.equal(a, b) for a, b in zip(whole, halfway, strict=True))


def test_torch_schedulers_and_added_groups_work():
    weight, other = one_number(1.0), one_number(1.0)
    optimizer = AdamW([weight], lr=0.1, weight_decay=0.0)
    optimizer.add_param_group({"params": [other], "lr": 0.0})
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: linear_warmup(step, 0, 2))
    step_with(optimizer, weight, 1.0)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.05 and other.item() == 1.0


# ---- the schedule


def test_the_schedule_rises_to_one_and_falls_to_zero():
    assert [linear_warmup(step, 2, 6) for step in range(8)] == [0.0, 0.5, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [linear_warmup(step, 0, 4) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_the_schedule_is_exactly_that_of_transformers(reference):
    cases = reference("schedule.json")
    assert len(cases) == 9
    for warmup, total, multipliers in cases:
        assert len(multipliers) == total + 3
        assert [linear_warmup(step, warmup, total) for step in range(total + 3)] == multipliers, (warmup, total)


# ---- clipping


def with_gradients(*gradients):
    parameters = []
    for gradient in gradients:
        parameter = torch.zeros(len(gradient), requires_grad=True)
        parameter.grad = torch.tensor(gradient)
        parameters.append(parameter)
    return parameters


def test_one_factor_scales_all_gradients():
    parameters = with_gradients([3.0], [0.0, 4.0])  # joint norm 5
    assert clip_gradients(parameters, 1.0).item() == 5.0
    assert parameters[0].grad.tolist() == pytest.approx([0.6])
    assert parameters[1].grad.tolist() == pytest.approx([0.0, 0.8])


def test_gradients_below_the_limit_are_left_alone():
    parameters = with_gradients([3.0], [0.0, 4.0])
    assert clip_gradients(parameters, 5.5).item() == 5.0
    assert parameters[0].grad.tolist() == [3.0] and parameters[1].grad.tolist() == [0.0, 4.0]


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 6.0, 1000.0])
def test_clipping_agrees_with_torch(max_norm):
    ours, theirs = two_copies(torch.float32)
    set_gradients(3, ours, theirs, absent=[2])
    norm = clip_gradients(ours, max_norm)
    assert norm.item() == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, max_norm).item(), rel=1e-6)
    assert (norm > max_norm) == (max_norm < 5.0)  # both sides of the limit are tried
    for a, b in zip(ours, theirs, strict=True):
        assert (a.grad is None) == (b.grad is None)
        assert a.grad is None or torch.allclose(a.grad, b.grad, rtol=1e-6, atol=0)


def test_the_norm_of_a_large_gradient_is_right():
    # As large as BERT's word embeddings, where sums in plain fp32 lose the small numbers.
    generator = torch.Generator().manual_seed(0)
    gradient = torch.rand(23_440_896, generator=generator)
    exact = gradient.double().norm().item()
    parameter = torch.zeros_like(gradient)
    parameter.grad = gradient
    assert clip_gradients([parameter], 1.0).item() == pytest.approx(exact, rel=5e-5)
    assert gradient.double().norm().item() == pytest.approx(1.0, rel=1e-4)


@fused_or_not
@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1000.0])
def test_clipping_and_then_a_step_do_what_torch_does(max_norm, fused):
    ours, theirs = two_copies(torch.float32)
    optimizer = AdamW(ours, lr=3e-3, weight_decay=0.1, eps=1e-3, fused=fused)  # so large that the scale matters
    reference = torch.optim.AdamW(theirs, lr=3e-3, weight_decay=0.1, eps=1e-3)
    for step in range(50):
        set_gradients(step, ours, theirs, absent=[2])
        norm = clip_gradients(ours, max_norm)
        optimizer.step()
        assert norm.item() == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, max_norm).item(), rel=1e-6)
        reference.step()
        assert_close(ours, theirs)


def test_clipping_with_no_gradients_at_all_has_norm_zero():
    assert clip_gradients([torch.zeros(2, requires_grad=True)], 1.0).item() == 0.0


# ---- parameter groups


@pytest.fixture(params=["bert", "distilbert"])
def classifier(request, tiny_bert, tiny_distilbert):
    encoder = load_encoder({"bert": tiny_bert, "distilbert": tiny_distilbert}[request.param])
    return Classifier(encoder, ["bad", "good"], "cls", "mlp")


def test_each_parameter_is_in_exactly_one_group(classifier):
    grouped = [id(p) for group in parameter_groups(classifier, 1e-4, 0.1, 1e-3) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in classifier.parameters()}


def test_biases_and_layer_norm_never_decay_and_everything_else_does(classifier):
    groups = parameter_groups(classifier, 1e-4, 0.1)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    exempt = set()
    for module in classifier.modules():
        if isinstance(module, torch.nn.LayerNorm):
            exempt.update((id(module.weight), id(module.bias)))
        elif isinstance(module, torch.nn.Linear):
            exempt.add(id(module.bias))
    assert {decay[p] for p in exempt} == {0.0}
    assert {value for p, value in decay.items() if p not in exempt} == {0.1}


def test_the_head_has_a_learning_rate_of_its_own(classifier):
    groups = parameter_groups(classifier, 1e-4, 0.1, head_lr=3e-3)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert {rate[id(p)] for p in classifier.head.parameters()} == {3e-3}
    assert {rate[id(p)] for p in classifier.encoder.parameters()} == {1e-4}
    assert {group["lr"] for group in parameter_groups(classifier, 1e-4, 0.1)} == {1e-4}
    assert {group["lr"] for group in parameter_groups(classifier, 1e-4, 0.1, head_lr=0.0)} == {1e-4, 0.0}


def test_frozen_parameters_are_left_out(classifier):
    classifier.encoder.requires_grad_(False)
    grouped = {id(p) for group in parameter_groups(classifier, 1e-4, 0.1) for p in group["params"]}
    assert grouped == {id(p) for p in classifier.head.parameters()}


@pytest.mark.gpu
@fused_or_not
def test_both_paths_agree_with_torch_on_a_gpu(fused):
    ours, theirs = two_copies(torch.float32)
    ours = [p.detach().cuda().requires_grad_() for p in ours]
    optimizer = AdamW(ours, lr=3e-3, fused=fused)
    reference = torch.optim.AdamW(theirs, lr=3e-3)
    for step in range(50):
        set_gradients(step, theirs, theirs)
        for a, b in zip(ours, theirs, strict=True):
            a.grad = b.grad.cuda()
        optimizer.step()
        reference.step()
    assert_close([p.cpu() for p in ours], theirs)
