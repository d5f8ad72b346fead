"""Every known mistake is caught at its rung and named, alone and two at a time; what is no known mistake gets no name.

Each mistake is made twice more, independently of the ladder's own tables: in NumPy (`parity_mistakes.py`) and in
PyTorch (`ladder_torch.py`).
"""

import functools
import math
import random
from types import ModuleType

import ladder_torch
import numpy as np
import parity_mistakes
import pytest
from ladder_tools import DTYPES, NUMERIC, REFERENCES, RUNG, check, leaves, parrot

from minibert.parity.candidates import MISTAKES_OF, pairs_of
from minibert.parity.check import run_ladder, run_rung
from minibert.parity.conventions import CONVENTIONS
from minibert.parity.diagnosis import distance, made
from minibert.parity.judge import diagnose
from minibert.parity.mistakes import MISTAKES
from minibert.parity.placement import ELSEWHERE, MISSING
from minibert.parity.references import References, converter
from minibert.parity.rungs import RUNGS

# Not of what a function computes, but of what it does: see `test_ladder_listening.py`, `test_ladder_conventions.py`.
BY_BEHAVIOUR = {"dropout-in-evaluation", "different-each-time", "state-shared"}


@functools.cache
def patched_numpy(mistake, dtype):
    """The results of my_bert_numpy.py with one mistake: where it is noticed; dtype "before": at the rungs before."""
    module = ModuleType("mine")
    exec(compile(parity_mistakes.broken(mistake), "mine.py", "exec"), vars(module))
    noticed = [rung.name for rung in RUNGS].index(mistake.rung)
    before = RUNGS[:noticed] if dtype == "before" else ()
    with np.errstate(all="ignore"):
        return run_ladder(module, REFERENCES, before or [RUNGS[noticed]], dtype.replace("before", "float32"))


@functools.cache
def patched_torch(rung, name, dtype):
    """The result of ladder_torch.py with a mistake, or several joined by " + ", at one rung."""
    ladder_torch.WRONG = name
    try:
        return run_rung(ladder_torch, RUNG[rung], REFERENCES, dtype)
    finally:
        ladder_torch.WRONG = None


@functools.cache
def shows(rung, names, dtype="float32"):
    """Do these mistakes change the rung's answers so much that they must be noticed?"""
    tolerance = RUNG[rung].tolerance if dtype == "float32" else RUNG[rung].double
    for case in REFERENCES.cases(RUNG[rung]):
        arguments = REFERENCES.resolve(case["arguments"], converter("numpy", "float64"))
        right, wrong = made(rung, arguments, ()), made(rung, arguments, names)
        mask = arguments.get("attention_mask")
        counts = np.ones(right.shape, dtype=bool)
        if RUNG[rung].padding is not None and right.size % mask.size == 0 and "encoder" not in rung:
            axes = [mask.shape[0], *[1] * (RUNG[rung].padding - 1), mask.shape[1]]
            shape = [mask.shape[0], *([4] if RUNG[rung].padding == 2 else []), mask.shape[1], -1]
            counts = np.broadcast_to((mask == 1).reshape(*axes, 1), right.reshape(shape).shape).ravel()
        if right.shape != wrong.shape or distance(right[counts], wrong[counts]) > 30 * tolerance:
            return True
    return False


def known(rung):
    """The mistakes that a rung may name: #VARIANTs too."""
    if rung.exact:
        return list(REFERENCES.table[rung.name]["mistakes"])
    if rung.name in MISTAKES_OF:
        return [] if rung.places else [name for name in MISTAKES_OF[rung.name] if shows(rung.name, (name,))]
    stored, right = REFERENCES.mistakes(rung)[0], REFERENCES.arrays[f"{rung.name}/right"]
    shown = [name for name, values in stored.items() if np.abs(values - right).max() > 1.5 * rung.tolerance]
    return [name for name in shown if not set(name.partition("#")[0].split(" + ")) & set(CONVENTIONS)]


@functools.cache
def by_home():
    """{rung: the mistakes that it is the first to know}"""
    homes, seen = {}, set()
    for rung in RUNGS:
        homes[rung.name] = [name for name in known(rung) if name not in seen]
        seen |= set(homes[rung.name])
    return homes


def plain(name):
    return name.partition("#")[0]


@pytest.mark.parametrize("mistake", parity_mistakes.MISTAKES, ids=lambda mistake: f"{mistake.rung}-{mistake.name}")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_mistake_in_numpy_fails_its_rung_and_is_named_alone(mistake, dtype):
    (result,) = patched_numpy(mistake, dtype)
    assert (result.status, result.mistakes) == ("DIFF", [mistake.name])


@pytest.mark.slow
@pytest.mark.parametrize("mistake", parity_mistakes.MISTAKES, ids=lambda mistake: f"{mistake.rung}-{mistake.name}")
def test_a_mistake_in_numpy_fails_no_rung_before_its_own(mistake):
    if mistake.rung != RUNGS[0].name:
        assert [result.rung for result in patched_numpy(mistake, "before") if result.status != "OK"] == []


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if not rung.places], ids=lambda rung: rung.name)
def test_each_mistake_fails_the_first_rung_that_knows_it_and_is_named_when_made_in_torch(rung):
    for name in by_home()[rung.name]:
        for dtype in DTYPES if rung.name != "train" else ["float32"]:
            result = patched_torch(rung.name, name, dtype)
            assert result.status == "DIFF", (name, dtype)
            assert plain(name) in result.mistakes, (name, dtype, result.mistakes)


@pytest.mark.slow
@pytest.mark.parametrize("rung", [rung for rung in RUNGS if not rung.places], ids=lambda rung: rung.name)
def test_each_mistake_fails_every_rung_that_knows_it_and_97_of_100_are_named_alone(rung):
    results = [
        (plain(name), patched_torch(rung.name, name, dtype))
        for name in known(rung)
        for dtype in (DTYPES if rung.name != "train" else ["float32"])
    ]
    assert all(result.status == "DIFF" and name in result.mistakes for name, result in results)
    assert sum(result.mistakes == [name] for name, result in results) >= 0.97 * len(results)


def test_all_mistakes_are_caught_and_at_least_97_of_100_are_named_alone():
    results = [(m.name, patched_numpy(m, dtype)[-1]) for m in parity_mistakes.MISTAKES for dtype in DTYPES]
    for rung, names in by_home().items():
        for dtype in DTYPES if rung != "train" else ["float32"]:
            results += [(plain(name), patched_torch(rung, name, dtype)) for name in names]
    assert len(results) > 850
    assert all(result.failed and name in result.mistakes for name, result in results)
    assert sum(result.mistakes == [name] for name, result in results) >= 0.97 * len(results)


EPS = {  # a wrong eps: in which families
    "eps-1e-5": "layer_norm bert distilbert", "eps-1e-6": "layer_norm bert distilbert roberta", "eps-1e-12": "roberta",
}  # fmt: skip
EPS_AT = [
    (rung, name)
    for name, families in EPS.items()
    for rung in "layer_norm bert_embeddings layer bert_encoder distilbert_embeddings distilbert_layer "
    "distilbert_encoder roberta_embeddings roberta_encoder".split()
    if any(rung.startswith(family) for family in families.split()) or (rung == "layer" and "bert " in families)
]


@pytest.mark.parametrize("rung, name", EPS_AT)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_a_wrong_eps_is_seen_and_named_in_embeddings_layers_and_encoders(rung, name, dtype):
    result = patched_torch(rung, name, dtype)
    assert (result.status, result.mistakes) == ("DIFF", [name])


def paired(rung, count):
    """Some of a rung's pairs that show: not one hidden by the other. The same ones at each run."""
    choice, pairs = random.Random(rung), []
    for names in choice.sample(everything := pairs_of(rung), len(everything)):
        if len(pairs) == count:
            break
        if shows(rung, names):
            pairs.append(names)
    return pairs


def named_together(rung, names):
    """Is one explanation of the answer exactly these mistakes?"""
    result = patched_torch(rung, " + ".join(names), "float32")
    return {plain(name) for name in names} in [set(explanation.split(" + ")) for explanation in result.mistakes]


@pytest.mark.parametrize("count", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_at_least_90_of_100_pairs_of_mistakes_are_named_as_that_pair(count):
    found = [
        (rung.name, names, named_together(rung.name, names))
        for rung in RUNGS
        if not rung.places
        for names in paired(rung.name, count)
    ]
    assert len(found) > 17 * count
    missed = [(rung, names) for rung, names, named in found if not named]
    assert len(missed) <= 0.1 * len(found), missed


FAMOUS = (
    ("layer_norm", ("unbiased-variance", "eps-outside-root")),  # torch.std, which three well-known repositories have
    ("layer", ("unbiased-variance", "eps-outside-root", "eps-1e-6")),
    ("bert_encoder", ("gelu-tanh", "pre-norm")),
    ("bert_encoder", ("unbiased-variance", "eps-outside-root", "eps-1e-6", "gelu-tanh")),
    ("attention_probabilities", ("not-scaled", "no-mask")),
    ("attention_probabilities", ("scaled-by-hidden-size", "mask-inverted")),
    ("multi_head_attention", ("mask-inverted#added", "bias-missing")),
    ("adamw", ("decay-sign", "moments-not-stored")),
)


@pytest.mark.parametrize("rung, names", FAMOUS, ids=lambda value: value if isinstance(value, str) else "+".join(value))
def test_mistakes_that_are_often_made_together_are_named_together(rung, names):
    assert named_together(rung, names)


def test_every_mistake_has_its_words_a_rung_and_a_second_implementation():
    at_rungs = {plain(one) for rung in RUNGS for name in known(rung) for one in name.split(" + ")}
    of_dropout = {mistake for mistake, _ in ELSEWHERE.values()} | set(MISSING.values())
    of_dropout |= {"dropout-elsewhere", "dropout-twice", "dropout-result-unused", "no-dropout-at-all"}
    assert at_rungs | of_dropout | BY_BEHAVIOUR == set(MISTAKES)
    assert {mistake.name for mistake in parity_mistakes.MISTAKES} | BY_BEHAVIOUR == set(MISTAKES)
    assert not set(MISTAKES) & set(CONVENTIONS)
    assert all(what.strip() and fix.strip() for what, fix in MISTAKES.values())


@pytest.mark.parametrize("rung", [rung for rung in RUNGS if rung.exact], ids=lambda rung: rung.name)
def test_stored_mistakes_in_words_are_all_different(rung):
    outputs = list(map(str, REFERENCES.table[rung.name]["mistakes"].values()))
    assert len(set(outputs)) == len(outputs) > 0


@pytest.mark.parametrize("rung", ["loss_and_gradients", "train"])
def test_stored_mistakes_differ_from_each_other_and_from_the_right_answer_by_more_than_rounding(rung):
    values, _ = REFERENCES.mistakes(RUNG[rung])
    for name, one in values.items():
        assert np.abs(one - REFERENCES.arrays[f"{rung}/right"]).max() > 10 * RUNG[rung].double
        for other in values:
            assert name == other or np.abs(one - values[other]).max() > 5 * RUNG[rung].double, (name, other)


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
