"""The judge: is an answer right, where is it not, and which known mistake is it?

A mistake is recognised by its output: an answer that misses the right one and meets a wrong one has, almost surely,
been computed the same wrong way. Wrong answers are made by `diagnosis.py`; those of gradients and of training are
stored beside the right ones, at a few hundred positions where the mistakes differ.
"""

import itertools

import numpy as np

from .candidates import MISTAKES_OF
from .conventions import CONVENTIONS
from .diagnosis import Answer, distance, explain, without_variants
from .references import converter
from .results import DIFF, ERROR, OK, OTHER, SHAPE, Result, Wrong
from .values import Foreign


def to_array(value, what):
    """Anything that has numbers in it, as float64 NumPy."""
    try:
        if hasattr(value, "detach"):  # a torch tensor, perhaps with a gradient, perhaps bfloat16
            value = value.detach().cpu().double()
        elif isinstance(value, (list, tuple)):  # perhaps of tensors
            value = [to_array(part, what) for part in value]
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise Wrong(ERROR, f"returned a {kind(value)}{what}, which is no array of numbers") from None


def judge_words(rung, reply, references):
    """Equal or not, for token ids and names."""
    cases = [references.cases(rung)[number] for number in reply.cases]
    outputs = [plain(output) for output in reply.outputs]
    if rung.name == "wordpiece":
        for output, case in zip(outputs, cases, strict=True):
            check_two_lists(output, case["arguments"]["text"])
    if rung.name == "parameter_groups":
        outputs = [group_words(output, case["arguments"]["names"]) for output, case in zip(outputs, cases, strict=True)]
    expected = [case["output"] for case in cases]
    wrong = [i for i in range(len(cases)) if outputs[i] != expected[i]]
    if not wrong:
        return Result(rung.name, OK)
    known = references.table[rung.name]["mistakes"].items()
    matches = [(name,) for name, theirs in known if [theirs[number] for number in reply.cases] == outputs]
    matches = without_variants(matches)
    first = wrong[0]
    where = f"{len(wrong)} of {len(cases)} cases; {first_difference(cases[first], outputs[first], expected[first])}"
    return Result(rung.name, DIFF, where=where, mistakes=matches)


def plain(value):
    """Arrays and tuples as lists, so that they compare with what JSON holds."""
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def check_two_lists(output, text):
    """Wrong where the ids stand alone, or anything else stands for (ids, token_type_ids)."""
    if not (isinstance(output, list) and len(output) == 2 and all(isinstance(part, list) for part in output)):
        what = f"list of {len(output)}" if isinstance(output, list) else kind(output)
        expected = "expected (ids, token_type_ids): two lists of int"
        raise Wrong(SHAPE, f"returned a {what} for {text!r}; {expected}")


def group_words(groups, names):
    """(decayed, not decayed) as a word for each name."""
    if not (isinstance(groups, list) and len(groups) == 2 and all(isinstance(g, (list, set)) for g in groups)):
        raise Wrong(SHAPE, "expected two lists of names: (decayed, not_decayed)")
    words = {(1, 0): "decayed", (0, 1): "not decayed", (1, 1): "in both", (0, 0): "in neither"}
    return [words[name in groups[0], name in groups[1]] for name in names]


def first_difference(case, got, expected):
    if "text" in case["arguments"]:
        return f"{case['arguments']['text']!r}: {got}, expected {expected}"
    if not isinstance(got, list) or len(got) != len(expected):
        what = f"a list of {len(got)}" if isinstance(got, list) else f"a {kind(got)}"
        return f"{what}, expected a list of {len(expected)}"
    i = next(i for i in range(len(got)) if got[i] != expected[i])
    return f"{case['arguments']['names'][i]}: {got[i]!r}, expected {expected[i]!r}"


def judge_numbers(rung, reply, references, tolerance):
    """Compare every number that is not padding, and find out what would explain a difference."""
    cases = [references.cases(rung)[number] for number in reply.cases]
    result, flat = compare(rung, cases, reply.outputs, references, tolerance)
    if result.status == OK:
        return result
    if rung.name in MISTAKES_OF:
        return explained(result, rung, cases, reply.outputs, references, tolerance)
    return named_other(result, diagnose(rung, flat, references, tolerance))


def compare(rung, cases, outputs, references, tolerance):
    """(the `Result`, without what would explain it; all numbers strung together)"""
    pieces, origins = [], []  # (name, got, expected, compared) over all cases; the case that each piece comes from
    for case, output in zip(cases, outputs, strict=True):
        pieces += matched(rung, case, output, references)
        origins += [case] * (len(pieces) - len(origins))
    flat = np.concatenate([got.ravel() for _, got, _, _ in pieces])
    largest, total, count, worst, differing = 0.0, 0.0, 0, None, set()
    for (name, got, expected, compared), case in zip(pieces, origins, strict=True):
        difference = np.where(compared, np.abs(got - expected), 0.0)
        difference = np.where(np.isnan(difference) | np.isinf(difference), np.inf, difference)
        if difference.size and difference.max() > tolerance:
            differing.add(name)
        if difference.size and (worst is None or difference.max() > largest):
            index = np.unravel_index(difference.argmax(), difference.shape)
            seen = tuple(np.add(index, case["start"])) if "start" in case else index
            largest, worst = float(difference.max()), (case, name, seen, got[index], expected[index])
        total, count = total + float(difference.sum()), count + int(compared.sum())
    note = nan_at_padding(rung, pieces)
    result = Result(rung.name, OK, largest=largest, mean=total / count, tolerance=tolerance, note=note)
    if largest <= tolerance:
        return result, flat
    result.status, result.where = DIFF, place(rung, references, *worst)
    if not np.isfinite(largest):
        result.note = "returned NaN or infinity" + (f"; {note}" if note else "")
    elif rung.name.endswith("encoder") and len(names := list(dict.fromkeys(name for name, *_ in pieces))) > 1:
        result.note = f"first differs at: {min(differing, key=names.index)}"
    return result, flat


def nan_at_padding(rung, pieces):
    """What to say where padding, which is not compared, is NaN: it goes unseen until the next layer reads it."""
    for name, got, _, compared in pieces:
        if np.isnan(got[~compared]).any() and not np.isnan(got[compared]).any():
            where = f"NaN at padding{f', from {name} on' if name else ''}"
            why = "most often -inf blocks all that a padded query might read: block keys, not queries"
            return where if rung.name.endswith("embeddings") else f"{where}; {why}"
    return ""


def explained(result, rung, cases, outputs, references, tolerance):
    """The result with what would explain these outputs: mistakes, or conventions, which make it OTHER."""
    answers = []
    for case, output in zip(cases, outputs, strict=True):
        if "start" in case:  # a part of a real checkpoint's output: too much to compute again for each mistake
            return result
        arguments = references.resolve(case["arguments"], converter("numpy", "float64"))
        answers.append(Answer(arguments, matched(rung, case, output, references)))
    result = named_other(result, explain(rung.name, answers, tolerance))
    if result.status == OTHER and rung.name.startswith("adamw"):
        result.note = "; ".join(map(how_far, answers))
    return result


def named_other(result, explanations):
    """Conventions alone make the result OTHER; anything else is a mistake, or mistakes."""
    split = [explanation.split(" + ") for explanation in explanations]
    for names in split:
        if all(name in CONVENTIONS for name in names):
            result.status, result.conventions = OTHER, names
            return result
    mistakes = [" + ".join(name for name in names if name not in CONVENTIONS) for names in split]
    result.mistakes = list(dict.fromkeys(mistakes))
    result.conventions = [name for name in split[0] if name in CONVENTIONS] if split else []
    return result


def how_far(answer):
    """In words: how far apart two optimizers' weights are after the last step."""
    starts = answer.arguments.get("parameters") or [answer.arguments["parameter"]]
    steps, off, moved, place = len(answer.arguments["gradients"]), 0.0, 0.0, 0
    for start in starts:
        end = place + steps * start.size
        got, expected = answer.got[end - start.size : end], answer.expected[end - start.size : end]
        off, moved = max(off, distance(got, expected)), max(moved, distance(expected, start.ravel()))
        place = end
    settings = f"lr {answer.arguments['lr']:g}, eps {answer.arguments['eps']:g}"
    return f"{settings}: after {steps} steps off by {off:.1e}, {off / moved:.1%} of the way that the weights went"


def matched(rung, case, output, references):
    """[(name, got, expected, which elements count)] of one case. Wrong when the shapes do not fit."""
    stored = case["output"]  # {name: array's name}
    if list(stored) == [""]:
        got = {"": output}
    elif isinstance(output, (list, tuple, dict)):
        got = named(rung, output, list(stored))
    elif stacked(output, [references.arrays[key] for key in stored.values()]):
        got = dict(zip(stored, output, strict=True))
    else:
        raise Wrong(SHAPE, f"returned one {kind(output)}; expected {rung.returns}")
    pieces = []
    for name, key in stored.items():
        expected = references.arrays[key].astype(np.float64)
        array = to_array(got[name], f" for {name}" if name else "")
        if array.shape != expected.shape:
            if array.size == expected.size == 1:
                array = array.reshape(expected.shape)
            else:
                raise Wrong(SHAPE, shape_note(name, array, expected))
        compared = np.ones(expected.shape, dtype=bool)
        if rung.padding is not None:
            mask = references.arrays[case["arguments"]["attention_mask"]["array"]] == 1  # [B, T]
            shape = [1] * expected.ndim
            shape[0], shape[rung.padding] = mask.shape
            compared &= mask.reshape(shape)
        pieces.append((name, array, expected, compared))
    return pieces


def kind(value):
    """What a value is called in a report."""
    if isinstance(value, Foreign):
        return value.type_name
    return "array" if hasattr(value, "shape") else type(value).__name__


def stacked(output, expected):
    """Is it one array that holds the expected arrays or numbers, one after the other?"""
    shape = getattr(output, "shape", ())
    shapes = {array.shape if array.size > 1 else () for array in expected}
    return len(shape) > 0 and shape[0] == len(expected) and shapes == {tuple(shape[1:])}


def named(rung, output, names):
    """A learner's list, tuple or (loss, {name: gradient}) as {name: value}."""
    if rung.name == "loss_and_gradients":
        if not (isinstance(output, (list, tuple)) and len(output) == 2 and hasattr(output[1], "keys")):
            raise Wrong(SHAPE, "expected (loss, {name: gradient})")
        output = {"loss": output[0], **output[1]}
        missing = [name for name in names if name not in output or output[name] is None]
        if missing:
            raise Wrong(SHAPE, f"no gradient for {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}")
        return output
    if hasattr(output, "keys"):
        raise Wrong(SHAPE, f"returned a {kind(output)}; expected {rung.returns}")
    if len(output) != len(names):
        raise Wrong(SHAPE, f"returned {len(output)} values, expected {len(names)}: {', '.join(names)}")
    return dict(zip(names, output, strict=True))


def shape_note(name, array, expected):
    """What the shapes are, and whether swapping axes would give the right values."""
    note = f"{name + ': ' if name else ''}shape {list(array.shape)}, expected {list(expected.shape)}"
    if array.ndim == expected.ndim and array.ndim <= 4:
        for order in itertools.permutations(range(array.ndim)):
            turned = array.transpose(order)
            if turned.shape == expected.shape and np.abs(turned - expected).max() < 1e-4:
                return f"{note}; transposed by {list(order)} it would be right"
    return note


def place(rung, references, case, name, index, got, expected):
    """Where an element sits, in words; for a single number, what it was computed from."""
    axes = rung.axes if len(rung.axes) == len(index) else ("index",) * len(index)
    words = [] if rung.axes else [f"{key} {brief(value, references)}" for key, value in case["arguments"].items()]
    words += [name] if name else []
    words += [f"{axis} {i}" for axis, i in zip(axes, index, strict=True) if rung.axes]
    return f"{', '.join(words)}{': ' if words else ''}{got:.6g}, expected {expected:.6g}"


def brief(value, references, most=8):
    """An argument in a few words: a number or a text as it is, the beginning of an array."""
    if not (isinstance(value, dict) and set(value) == {"array"}):
        return str(value)
    numbers = [f"{number:.6g}" for number in references.arrays[value["array"]].ravel()[: most + 1]]
    return f"[{' '.join(numbers[:most])}{' ...' if len(numbers) > most else ''}]"


def diagnose(rung, flat, references, tolerance):
    """The known mistakes whose stored output this is, best match first; most often one."""
    known, positions = references.mistakes(rung)
    if positions is None or not np.isfinite(flat[positions]).all():
        return []
    right = references.arrays[f"{rung.name}/right"]
    mine = flat[positions]
    off_right = np.abs(mine - right).max()
    distances = sorted((float(np.abs(mine - values).max()), name) for name, values in known.items())
    # A match is close in itself, and far closer than the right answer is.
    limit = min(max(10 * tolerance, 0.01 * off_right), 0.1 * off_right)
    best = [name for off, name in distances if off <= limit and off <= 3 * distances[0][0] + 1e-9]
    return without_variants([name.split(" + ") for name in best])
