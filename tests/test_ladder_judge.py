"""The judge: where the largest difference is, what counts as padding, and that it shares no code with the judged."""

import ast
import math
import subprocess
import sys

import pytest
from ladder_tools import REFERENCES, REPOSITORY, RUNG, check, parrot, planted, stored_answer

from minibert.parity.references import FOLDER
from minibert.parity.rungs import RUNGS

PADDED = [rung for rung in RUNGS if rung.padding is not None and not rung.places]


def test_the_largest_difference_is_where_it_is_said_to_be():
    result = check("layer", parrot("layer", planted((1, 3, 11), 0.5)))
    answer = stored_answer(REFERENCES.cases(RUNG["layer"])[0])[1, 3, 11]
    assert result.where == f"batch 1, token 3, feature 11: {answer + 0.5:.6g}, expected {answer:.6g}"
    assert result.largest == pytest.approx(0.5)
    assert result.mean == pytest.approx(0.5 / (51 * 20))  # 17 real tokens in each of three cases, 20 features
    result = check("attention_probabilities", parrot("attention_probabilities", planted((2, 3, 1, 6), -0.25, case=1)))
    assert result.where.startswith("batch 2, head 3, query 1, key 6: ")
    result = check("confusion_matrix", parrot("confusion_matrix", planted((2, 1), 1)))
    assert result.where.startswith("true 2, predicted 1: ")
    # a padded key is compared, though a padded query is not
    result = check("attention_probabilities", parrot("attention_probabilities", planted((1, 0, 0, 5), 0.1)))
    assert result.status == "DIFF" and "query 0, key 5" in result.where


@pytest.mark.parametrize("size", [1.0, math.nan, math.inf])
@pytest.mark.parametrize("rung", PADDED, ids=lambda rung: rung.name)
def test_padding_is_not_compared_and_its_neighbours_are(rung, size):
    def spoil(token):
        place = (1,) + (slice(None),) * (rung.padding - 1) + (token,)
        return lambda x, n: (
            [planted(place, size)(a, n) for a in x] if isinstance(x, list) else planted(place, size)(x, n)
        )

    assert check(rung.name, parrot(rung.name, spoil(4))).status == "OK"  # the second text has four tokens
    assert check(rung.name, parrot(rung.name, spoil(3))).status == "DIFF"


def test_nan_at_padding_is_told_with_where_it_begins_though_padding_is_not_compared():
    result = check("layer", parrot("layer", planted((1, 4), math.nan)))
    assert result.status == "OK" and result.note.startswith("NaN at padding; most often -inf blocks")
    result = check("bert_embeddings", parrot("bert_embeddings", planted((1, 4), math.nan)))
    assert (result.status, result.note) == ("OK", "NaN at padding")

    def spoil(answer, _):
        answer[1][1, 4:] = answer[2][1] = math.nan
        return answer

    result = check("bert_encoder", parrot("bert_encoder", spoil))
    assert result.status == "DIFF" and result.where.startswith("layer 2, batch 1, token 0")
    assert result.note.startswith("returned NaN or infinity; NaN at padding, from layer 1 on; most often -inf")


def test_just_within_the_tolerance_passes_and_just_beyond_fails():
    for dtype, tolerance in (("float32", 1e-5), ("float64", 1e-10)):
        inside, outside = (
            check("gelu", parrot("gelu", planted(5, factor * tolerance)), dtype=dtype) for factor in (0.98, 1.02)
        )
        assert (inside.status, inside.tolerance) == ("OK", tolerance)
        assert (outside.status, outside.tolerance) == ("DIFF", tolerance)


@pytest.mark.parametrize("size", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_none_fails_wherever_it_stands(size):
    result = check("layer", parrot("layer", planted((2, 6, 19), size, case=1)))
    assert (result.status, result.note) == ("DIFF", "returned NaN or infinity")
    assert result.where.startswith(f"batch 2, token 6, feature 19: {size}, expected ")


@pytest.mark.parametrize("cases", [(0, 0), (0, 1), (1, 0)], ids=["same case", "later case", "earlier case"])
def test_an_encoder_names_the_first_layer_that_differs(cases):
    def spoil(answer, number):
        answer[1][0, 5, 2] += 0.1 * (number == cases[1])
        answer[2][0, 4, 3] += 0.7 * (number == cases[0])
        return answer

    result = check("bert_encoder", parrot("bert_encoder", spoil))
    assert result.note == "first differs at: layer 1"
    assert result.where.startswith("layer 2, batch 0, token 4, feature 3: ")


ENGINE = """
    known_model known_optimizer known_metrics candidates diagnosis conventions listening placement verdict rungs
    mistakes learner references call check judge results values levels process child opening tiny hints
    contract report watch
""".split()


@pytest.mark.parametrize("name", ENGINE)
def test_the_engine_imports_none_of_the_code_that_it_judges(name):
    own = {*ENGINE, "plumbing", "checkpoints", "module", "conversion"}  # the last three: inside a function
    allowed = {*own, "numpy", "safetensors", "torch"}  # torch: to make tensors, inside two functions
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            modules = [node.module]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            assert module.split(".")[0] in allowed | sys.stdlib_module_names
            assert module != "torch" or node.col_offset > 0


def test_the_references_are_small_and_need_no_transformers():
    assert sum(path.stat().st_size for path in FOLDER.glob("*") if path.suffix in (".json", ".safetensors")) < 1.5e6
    program = "import sys; sys.modules['transformers'] = None; from minibert.parity.__main__ import main; exit(main())"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    everything = f"{len(RUNGS)} of {len(RUNGS)} rungs checked, {len(RUNGS)} passed"
    assert done.returncode == 0 and everything in done.stdout, done.stderr
