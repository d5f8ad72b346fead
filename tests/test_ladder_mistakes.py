"""Every known mistake is caught at its rung and named; what is no known mistake is given no name."""

import functools
import itertools
import math
from types import ModuleType

import ladder_torch
import numpy as np
import parity_mistakes
import pytest
from ladder_tools import DTYPES, NUMERIC, REFERENCES, RUNG, check, leaves, parrot

from minibert.parity.check import run_ladder, run_rung
from minibert.parity.judge import diagnose
from minibert.parity.mistakes import MISTAKES
from minibert.parity.references import References
from minibert.parity.rungs import RUNGS

# Mistakes that give the same numbers, so that nobody could tell which was made: pairs, and where.
ONE_LAYER = "attention_probabilities multi_head_attention layer bert_layer_dropout distilbert_layer_dropout".split()
TWINS = (({"no-mask", "mask-on-queries"}, ONE_LAYER), ({"not-clipped", "clipped-by-value"}, ["train"]))


def twins(name, rung):
    return next((pair for pair, rungs in TWINS if name in pair and rung in rungs), {name})


@functools.cache
def patched_numpy(mistake, dtype):
    """The results of my_bert_numpy.py with one mistake, up to the rung where it should be noticed."""
    module = ModuleType("mine")
    exec(compile(parity_mistakes.broken(mistake), "mine.py", "exec"), vars(module))
    noticed = [rung.name for rung in RUNGS].index(mistake.rung)
    return run_ladder(module, REFERENCES, RUNGS[: noticed + 1], dtype)


@functools.cache
def patched_torch(rung, name, dtype):
    """The result of ladder_torch.py with one mistake at one rung."""
    ladder_torch.WRONG = name
    try:
        return run_rung(ladder_torch, RUNG[rung], REFERENCES, dtype)
    finally:
        ladder_torch.WRONG = None


def stored_mistakes(rung):
    return list(REFERENCES.table[rung.name]["mistakes"] if rung.exact else REFERENCES.mistakes(rung)[0])


NUMPY_MISTAKES = list(itertools.product(parity_mistakes.MISTAKES, DTYPES))
# `train` takes as long as all the others: float32 only.
TORCH_MISTAKES = [
    (rung.name, name, dtype)
    for rung in RUNGS
    for name in stored_mistakes(rung)
    for dtype in DTYPES
    if rung.name != "train" or dtype == "float32"
]


@pytest.mark.parametrize("mistake", parity_mistakes.MISTAKES, ids=lambda mistake: f"{mistake.rung}-{mistake.name}")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mistake_in_numpy_fails_its_rung_and_none_before_and_is_named(mistake, dtype):
    *before, result = patched_numpy(mistake, dtype)
    assert result.status == "DIFF"
    assert set(result.mistakes) == twins(mistake.name, mistake.rung)
    assert [earlier.rung for earlier in before if earlier.status != "OK"] == []


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if stored_mistakes(rung)], ids=lambda rung: rung.name)
def test_each_mistake_that_a_rung_knows_fails_it_and_is_named_when_made_in_torch(rung):
    for name, dtype in [(name, dtype) for where, name, dtype in TORCH_MISTAKES if where == rung.name]:
        result = patched_torch(rung.name, name, dtype)
        assert result.status == "DIFF", (name, dtype)
        assert set(result.mistakes) == twins(name.split("#")[0], rung.name), (name, dtype)


def test_all_mistakes_are_caught_and_at_least_95_of_100_are_named_alone():
    made = [(mistake.name, patched_numpy(mistake, dtype)[-1]) for mistake, dtype in NUMPY_MISTAKES]
    made += [(name.split("#")[0], patched_torch(rung, name, dtype)) for rung, name, dtype in TORCH_MISTAKES]
    assert len(made) > 800
    assert all(result.failed and name in result.mistakes for name, result in made)
    assert sum(result.mistakes == [name] for name, result in made) >= 0.95 * len(made)


def test_the_list_of_mistakes_the_stored_outputs_and_the_patches_know_the_same_names():
    stored = {name.split("#")[0] for rung in RUNGS for name in stored_mistakes(rung)}
    assert stored == set(MISTAKES) == {mistake.name for mistake in parity_mistakes.MISTAKES}
    assert all(what.strip() and fix.strip() for what, fix in MISTAKES.values())


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung.exact], ids=lambda rung: rung.name)
def test_stored_mistakes_in_words_are_all_different(rung):
    outputs = list(map(str, REFERENCES.table[rung.name]["mistakes"].values()))
    assert len(set(outputs)) == len(outputs) > 0


@NUMERIC
def test_stored_mistakes_differ_from_each_other_and_from_the_right_answer_by_more_than_the_tolerance(rung):
    values, _ = REFERENCES.mistakes(rung)
    for name, one in values.items():
        assert np.abs(one - REFERENCES.arrays[f"{rung.name}/right"]).max() > 10 * rung.tolerance
        for other in values:
            alike = twins(name, rung.name) == twins(other, rung.name)
            assert (np.abs(one - values[other]).max() > 3 * rung.tolerance) != alike, (name, other)


@NUMERIC
def test_an_error_that_is_no_known_mistake_fails_and_is_given_no_name(rung):
    noise = np.random.default_rng(0)
    spoils = (
        lambda x: x + 0.01,
        lambda x: x * 1.03,
        lambda x: x + 0.3 * noise.normal(size=np.shape(x)),
        lambda x: x + math.inf,
        lambda x: x + 30 * rung.tolerance * noise.normal(size=np.shape(x)),
    )
    for spoil in spoils:
        result = check(rung.name, parrot(rung.name, lambda answer, _, spoil=spoil: leaves(answer, spoil)))
        assert (result.status, result.mistakes) == ("DIFF", [])


@pytest.mark.parametrize(
    "answer, names",
    [
        (1.0, ["relu"]),  # another mistake is near, but not as near
        (1.0015, ["relu", "gelu-tanh"]),  # between the two
        (0.95, []),  # 20 times nearer to a mistake than to what is right, and yet not the mistake
        (3e-5, ["gelu-sigmoid"]),
        (2e-5, []),  # within 10 tolerances of a mistake, but nearer to what is right
    ],
)
def test_a_mistake_is_named_only_where_the_answer_is_as_good_as_equal_to_it(answer, names):
    stored = {"relu": 1.0, "gelu-tanh": 1.003, "gelu-sigmoid": 3e-5}
    arrays = {f"gelu/mistake/{name}": np.full(3, value) for name, value in stored.items()}
    references = References({}, arrays | {"gelu/right": np.zeros(3), "gelu/positions": np.array([1, 2, 4])})
    assert sorted(diagnose(RUNG["gelu"], np.array([9, answer, answer, 9, answer]), references, 1e-5)) == sorted(names)
