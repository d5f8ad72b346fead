"""The ladder as tests: `pytest tests/test_parity.py --impl my_bert.py` checks your file, a test for each rung.

Without --impl minibert climbs: in float32 and float64, on both attention paths, in eval and in train mode.
"""

import pytest

from minibert.parity import adapter
from minibert.parity.check import run_rung
from minibert.parity.learner import load_implementation
from minibert.parity.references import References
from minibert.parity.report import advice
from minibert.parity.results import SKIP
from minibert.parity.rungs import RUNGS

REFERENCES = References()


def climb(module, rung, dtype="float32"):
    result = run_rung(module, rung, REFERENCES, dtype)
    if result.status == SKIP:
        pytest.skip(result.note)
    if result.failed:
        lines = [f"{result.status} {result.note} {result.where}", *advice(result.mistakes), *result.details]
        pytest.fail("\n".join(lines), pytrace=False)


@pytest.fixture(scope="session")
def implementation(request):
    place = request.config.getoption("--impl")
    return load_implementation(place) if place else adapter


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_rung(rung, implementation):
    climb(implementation, rung)


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_minibert_passes_every_rung(rung, dtype, fused, train, monkeypatch):
    monkeypatch.setattr(adapter, "FAST", fused)
    monkeypatch.setattr(adapter, "TRAIN", train)
    climb(adapter, rung, dtype)
