"""`--tiny RUNG`: one case small enough to be computed by hand, printed whole, what is expected beside what came back.

Two texts of two tokens (the second has one of padding), four features, two heads. The right answer is computed here, by
the code that makes the known mistakes when it makes none of them; that this code is right, the tests show on the stored
answers of transformers.
"""

import textwrap
import zlib
from itertools import product

import numpy as np

from ..plumbing.files import UserError
from .diagnosis import ONE_OFF
from .known_model import Known
from .levels import Ladder
from .references import References, converter

SIZES = {20: 4, 34: 6, 90: 6, 13: 5, 7: 2, 6: 2, 5: 2, 4: 2, 3: 2, 97: 5, 11: 3, 50: 3}  # of the stored cases: here
MASK, TYPES, LABELS = [[1, 1], [1, 0]], [[0, 1], [0, 0]], [1, 0]
SHORT = 8  # elements of a metric's labels
STEPS = 3
SETTINGS = {
    "vocab_size": 6, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6,
    "max_position_embeddings": 5, "dim": 4, "n_layers": 1, "n_heads": 2, "hidden_dim": 6,
}  # fmt: skip


class Tiny(Ladder):
    """The level of the tiny cases."""

    def rung(self, name):
        """(the rung, references that hold its tiny case). UserError where a rung has none."""
        rung, stored = super().rung(name)
        if name == "train":
            raise UserError("--tiny train: twenty steps are not tiny; try loss_and_gradients, adamw, clip_gradients")
        case = stored.cases(rung)[0]
        if rung.exact:
            return rung, References({name: {"cases": [case], "mistakes": {}}}, {})
        arrays = {}
        arguments = {key: small(value, key, stored, arrays, case) for key, value in case["arguments"].items()}
        references = References({name: {"cases": [{"arguments": arguments, "output": {}}]}}, arrays)
        right = right_answer(rung, references.resolve(arguments, converter("numpy", "float64")))
        output = {}
        for part, value in zip(case["output"], right.values() if isinstance(right, dict) else right, strict=False):
            arrays[f"right/{part}"], output[part] = np.asarray(value, dtype=np.float64), f"right/{part}"
        if isinstance(right, dict):
            output = {part: f"right/{part}" for part in right}
            arrays |= {f"right/{part}": np.asarray(value, dtype=np.float64) for part, value in right.items()}
        references.table[name]["cases"][0]["output"] = output
        return rung, references


# ---- a small input in the place of each stored one


def small(value, key, stored, arrays, case):
    """A small value of the same kind; arrays are put into `arrays`."""
    if isinstance(value, dict) and "array" in value:
        return put(arrays, key, small_array(stored.arrays[value["array"]], key, case))
    if key == "config":
        return value | {name: number for name, number in SETTINGS.items() if name in value}
    if isinstance(value, dict):
        return {name: small(part, name, stored, arrays, case) for name, part in value.items() if ".1." not in name}
    if isinstance(value, list):
        most = STEPS if key == "gradients" and value and isinstance(value[0], list) else len(value)
        return [small(part, f"{key}/{i}", stored, arrays, case) for i, part in enumerate(value[:most])]
    return value


def put(arrays, key, array):
    arrays[key] = array
    return {"array": key}


def small_array(array, key, case):
    """Numbers with one decimal, always the same ones for the same name."""
    given = {"attention_mask": MASK, "token_type_ids": TYPES, "input_ids": ids_for(case)}
    if key in given:
        return np.array(given[key], dtype=np.int64)
    if key == "labels" and "input_ids" in case["arguments"]:
        return np.array(LABELS, dtype=np.int64)
    if array.ndim == 1 and key in ("labels", "predictions", "scores"):
        return array[:SHORT]
    numbers = np.random.default_rng(zlib.crc32(key.encode()))
    shape = tuple(SIZES.get(size, size) for size in array.shape)
    drawn = np.round(numbers.normal(size=shape), 1)
    if "norm" in key.lower() and key.endswith("weight") or key == "weight":
        drawn = 1 + np.round(0.3 * drawn, 1)
    return (drawn + 0.0).astype(np.float32)  # no -0.0


def ids_for(case):
    """[2, 2] token ids, padded as the family pads."""
    pad = case["arguments"].get("config", {}).get("pad_token_id", 0)
    return [[2, 4], [5, pad]]


# ---- the right answer


def right_answer(rung, arguments):
    """What the rung's function should return: a list of arrays, or {name: array} for gradients."""
    if rung.name == "loss_and_gradients":
        return gradients(arguments)
    given = {name: value for name, value in arguments.items() if name != "dropout"}
    if rung.name in ONE_OFF:
        right = ONE_OFF[rung.name](**given)
    else:
        right = getattr(Known((), rung.places), rung.name)(**given)
    return [right] if hasattr(right, "shape") or isinstance(right, float) else list(right)


def gradients(arguments, step=1e-5):
    """The loss, and the slope of the loss in every weight, by moving each one a little in both directions."""
    weights = {name: weight.copy() for name, weight in arguments["weights"].items()}
    found = {"loss": loss(arguments, weights)}
    for name, weight in weights.items():
        slope = np.zeros_like(weight)
        for index in product(*map(range, weight.shape)):
            kept = weight[index]
            weight[index] = kept + step
            above = loss(arguments, weights)
            weight[index] = kept - step
            slope[index] = (above - loss(arguments, weights)) / (2 * step)
            weight[index] = kept
        found[name] = slope
    return found


def loss(arguments, weights):
    """The mean cross-entropy of BERT with its own head."""
    inputs = [arguments[name] for name in ("input_ids", "attention_mask", "token_type_ids")]
    *_, hidden = Known().bert_encoder(*inputs, weights, arguments["config"])
    logits = Known().bert_head(hidden, inputs[1], weights)
    logits = logits - logits.max(-1, keepdims=True)
    return np.mean(np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(logits)), arguments["labels"]])


# ---- printing


def printed(rung, references, reply):
    """The case as lines: every argument, then expected beside got; a number that differs has a * in front of it."""
    case = references.cases(rung)[0]
    lines = []
    for name, _ in rung.arguments:
        if name in case["arguments"] and name != "dropout":
            lines += argument_lines(name, references.resolve(case["arguments"][name], converter("numpy", "float64")))
    if reply.status:
        return [*lines, "", f"{reply.status}: {reply.note}", *reply.details]
    output = reply.outputs[0]["dropped"] if rung.places else reply.outputs[0]
    if rung.exact:
        return [*lines, "", f"expected  {case['output']}", f"got       {output}"]
    return lines + output_lines(rung, references, case, output)


def output_lines(rung, references, case, output):
    from .judge import matched

    lines = []
    for name, got, expected, compared in matched(rung, case, output, references):
        lines += ["", f"{name or rung.name} {list(expected.shape) if expected.shape else ''}".rstrip()]
        rows = [
            (place, row(e), row(g, e, c, rung.tolerance)) for place, e, g, c in rows_of(expected, got, compared, rung)
        ]
        width = max([len(expected_row) for _, expected_row, _ in rows] + [8])
        lines.append(f"  {'':<24}{'expected':<{width}}   got")
        lines += [f"  {place:<24}{expected_row:<{width}}  {got_row}" for place, expected_row, got_row in rows]
    return lines


def rows_of(expected, got, compared, rung):
    """(where, expected, got, compared) for each row, the last axis, of the arrays."""
    if expected.ndim == 0:
        return [("", expected[None], got[None], compared[None])]
    axes = rung.axes if len(rung.axes) == expected.ndim else ("index",) * expected.ndim
    return [
        (
            ", ".join(f"{axis} {i}" for axis, i in zip(axes, index, strict=False)),
            expected[index],
            got[index],
            compared[index],
        )
        for index in np.ndindex(expected.shape[:-1])
    ]


def row(numbers, expected=None, compared=None, tolerance=0.0):
    """Numbers in a line; marked with a * where they are compared and differ; padding in brackets."""
    cells = []
    for i, number in enumerate(numbers):
        mark = " "
        if expected is not None and not compared[i]:
            mark = "("
        elif expected is not None and not abs(number - expected[i]) <= tolerance:
            mark = "*"
        cells.append(f"{mark}{number:8.4f}" + (")" if mark == "(" else " "))
    return "".join(cells).rstrip()


def argument_lines(name, value, indent=""):
    """An argument, printed whole."""
    if isinstance(value, dict) and name == "config":
        words = ", ".join(f"{key} {number}" for key, number in value.items())
        return textwrap.wrap(f"{name}  {words}", 100, subsequent_indent="  ")
    if isinstance(value, dict):
        return [
            f"{indent}{name}",
            *(line for key, part in value.items() for line in argument_lines(key, part, indent + "  ")),
        ]
    if isinstance(value, list):
        return [line for i, part in enumerate(value) for line in argument_lines(f"{name}[{i}]", part, indent)]
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return [f"{indent}{name}  {value}"]
    whole = value.dtype.kind in "iub"
    lines = [f"{indent}{name} {list(value.shape)}"]
    for index in np.ndindex(value.shape[:-1]):
        numbers = " ".join(f"{number:5d}" if whole else f"{number:6.1f}" for number in value[index])
        lines.append(f"{indent}  {' '.join(map(str, index)):<6}{numbers}")
    return lines
