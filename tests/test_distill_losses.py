"""The losses, against figures worked out by hand and slow loops."""

import math

import pytest
import torch
from torch.nn import functional

from minibert.distill.losses import hidden_loss, logit_loss, relation_loss


def test_hidden_loss_by_hand():
    mask = torch.ones(2, 1)
    ours = torch.tensor([[[1.0]], [[0.0]]])
    theirs = torch.tensor([[[2.0]], [[1.0]]])
    assert hidden_loss([ours], [theirs], mask).item() == pytest.approx(2 / 5)  # (1 + 1) / (4 + 1)
    assert hidden_loss([ours, theirs], [theirs, ours], mask).item() == pytest.approx((2 / 5 + 2 / 1) / 2)


def test_answering_0_everywhere_scores_1():
    theirs = [torch.randn(2, 3, 4) * 10**i for i in range(3)]
    assert hidden_loss([torch.zeros(2, 3, 4)] * 3, theirs, torch.tensor([[1, 1, 1], [1, 0, 0]])).item() == 1.0


def test_relation_loss_by_hand():
    """One head of width 1. Teacher: the second token resembles itself three times as much. Student: all alike."""
    theirs = torch.tensor([[[0.0], [math.log(3) ** 0.5]]])  # relations 1/2 1/2 and 1/4 3/4
    ours, mask = torch.zeros(1, 2, 1), torch.ones(1, 2)
    expected = (0 + 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)) / 2
    assert relation_loss([ours], [theirs], mask, 1).item() == pytest.approx(expected, abs=1e-6)
    assert relation_loss([ours, ours], [theirs, ours], mask, 1).item() == pytest.approx(expected / 2, abs=1e-6)


def slow_relation_loss(student, teacher, lengths, num_heads):
    """MiniLMv2's equation, one token at a time."""
    kinds = []
    for ours, theirs in zip(student, teacher, strict=True):
        width = ours.shape[-1] // num_heads
        total = count = 0
        for text, length in enumerate(lengths):
            for head in range(num_heads):
                for token in range(length):
                    relations = []
                    for x in (ours, theirs):
                        vectors = x[text, :length, head * width : (head + 1) * width].tolist()
                        mine = vectors[token]
                        dots = [sum(a * b for a, b in zip(mine, other, strict=True)) for other in vectors]
                        exps = [math.exp(dot / width**0.5) for dot in dots]
                        relations.append([e / sum(exps) for e in exps])
                    total += sum(p * math.log(p / q) for q, p in zip(*relations, strict=True))
                    count += 1
        kinds.append(total / count)
    return sum(kinds) / len(kinds)


def padded_states(kinds, seed=0):
    """Three texts of 5, 3 and 1 tokens, width 6: (student, teacher, mask)."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        [torch.randn(3, 5, 6, generator=generator, dtype=torch.float64) for _ in range(kinds)] for _ in range(2)
    )
    return student, teacher, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])


@pytest.mark.parametrize("num_heads", [1, 2, 3])
def test_relation_loss_is_the_papers_equation(num_heads):
    student, teacher, mask = padded_states(3)
    expected = slow_relation_loss(student, teacher, [5, 3, 1], num_heads)
    assert relation_loss(student, teacher, mask, num_heads).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", [hidden_loss, lambda *states: relation_loss(*states, 2)], ids=["hidden", "relations"])
def test_padding_does_not_matter(loss):
    student, teacher, mask = padded_states(2)
    expected = loss(student, teacher, mask).item()
    padding = (mask == 0).unsqueeze(-1)
    for ours, theirs in ((7.0, 0.0), (0.0, -7.0), (3.0, 3.0)):
        changed = [x.masked_fill(padding, ours) for x in student], [x.masked_fill(padding, theirs) for x in teacher]
        assert loss(*changed, mask).item() == pytest.approx(expected, rel=1e-9)
    longer = [[functional.pad(x, (0, 0, 0, 4), value=2.0) for x in side] for side in (student, teacher)]
    assert loss(*longer, functional.pad(mask, (0, 4))).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", [hidden_loss, lambda *states: relation_loss(*states, 2)], ids=["hidden", "relations"])
def test_equal_states_score_0_and_others_more(loss):
    student, teacher, mask = padded_states(2)
    assert loss(teacher, teacher, mask).item() == pytest.approx(0, abs=1e-12)
    assert loss(student, teacher, mask).item() > 0.1
    assert loss(teacher[:1] + student[1:], teacher, mask).item() > 0.1  # each of them counts


def test_logit_loss_by_hand():
    theirs = torch.tensor([[2 * math.log(3), 0.0], [0.0, 0.0]])  # at temperature 2: 3/4 1/4, and 1/2 1/2
    expected = (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5) + 0) / 2 * 4
    assert logit_loss(torch.zeros(2, 2), theirs, 2.0).item() == pytest.approx(expected, abs=1e-6)
    assert logit_loss(theirs, theirs, 2.0).item() == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_logit_loss_is_torchs_kl_div(temperature):
    ours, theirs = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double().split(2)
    expected = functional.kl_div(
        (ours / temperature).log_softmax(1), (theirs / temperature).softmax(1), reduction="batchmean"
    )
    assert logit_loss(ours, theirs, temperature).item() == pytest.approx(expected.item() * temperature**2, rel=1e-6)


def test_losses_of_half_precision_states_are_computed_in_fp32():
    student, teacher, mask = padded_states(1)
    ours, theirs = student[0].bfloat16(), teacher[0].bfloat16()
    assert hidden_loss([ours], [theirs], mask) == hidden_loss([ours.float()], [theirs.float()], mask)
    assert logit_loss(ours[0], theirs[0], 2.0) == logit_loss(ours[0].float(), theirs[0].float(), 2.0)
    alone = relation_loss([ours[:, :3]], [theirs[:, :3]], torch.ones(3, 3), 2)
    padded = relation_loss([ours], [theirs], torch.tensor([[1, 1, 1, 0, 0]] * 3), 2)
    assert alone.dtype == torch.float32 and alone.item() == pytest.approx(padded.item(), rel=1e-5)
