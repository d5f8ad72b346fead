"""The engine: call a learner's functions on stored inputs, judge what they return, and name the mistake.

A mistake is recognised by its output: what each known mistake returns for the same inputs is stored beside the
right answer, at a few hundred positions where the mistakes differ. An output that misses the right answer and
meets a wrong one has, almost surely, been computed the same wrong way. Next: `__main__.py`, which shows the result.
"""

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import itertools
import json
import signal
import sys
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from ..plumbing.files import UserError
from .rungs import RUNGS

FOLDER = Path(__file__).parent
NAMES = {rung.name for rung in RUNGS}
TIME_LIMIT = 20.0  # seconds a rung may take
OK, DIFF, SHAPE, ERROR, SKIP = "OK", "DIFF", "SHAPE", "ERROR", "SKIP"


@dataclass
class Result:
    """What became of one rung."""

    rung: str
    status: str
    note: str = ""  # why, in a line
    largest: float | None = None  # absolute difference
    mean: float | None = None
    tolerance: float | None = None
    where: str = ""  # of the largest difference
    mistakes: list = field(default_factory=list)  # names in mistakes.py
    details: list = field(default_factory=list)  # the last lines of a traceback

    @property
    def failed(self):
        return self.status in (DIFF, SHAPE, ERROR)


class Wrong(Exception):
    """Something about a returned value that ends its rung: (status, note)."""


class TimeLimit(BaseException):
    """Not an Exception, so that a learner's `except Exception` does not swallow it."""


# ---- the learner's file


def load_implementation(place):
    """The module at a path or under a dotted name. UserError when it is not there or cannot be imported."""
    path = Path(place)
    if path.suffix != ".py" and not path.exists():
        try:
            with here_first(Path.cwd()):
                return importlib.import_module(str(place))
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
                raise UserError(f"{place}: no such file, and no such module") from None
            raise UserError(f"{place}: {import_failure(error, place)}") from error
    if not path.is_file():
        raise UserError(f"{place}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    # A name that no other module has; and known to sys.modules, where dataclasses look their module up.
    name = f"learners_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise UserError(f"{place}: not a Python file (.py)")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        with here_first(path.resolve().parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(f"{place}: {import_failure(error, place)}") from error
    return module


@contextlib.contextmanager
def here_first(folder):
    """Let the learner's file import its neighbours, and print elsewhere than among our results."""
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path.remove(str(folder))


def import_failure(error, place):
    """One line: what went wrong, and in which line of which file."""
    if isinstance(error, SyntaxError):
        neighbour = Path(error.filename or place).name
        start = "" if neighbour == Path(place).name else f"{neighbour}, "
        start += f"line {error.lineno}: " if error.lineno else ""
        return f"{start}{error.msg}{': ' if error.text else ''}{(error.text or '').strip()}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).name == Path(place).name]
    line = f"line {frames[-1].lineno}: " if frames else ""
    return f"{line}cannot be imported: {type(error).__name__}: {error}"


def near_misses(module):
    """{a function of the module: the rung that it was probably meant to be}"""
    wanted = [rung.name for rung in RUNGS if not hasattr(module, rung.name)]
    found = {}
    for name, value in vars(module).items():
        own = inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
        if own and name not in NAMES:
            close = difflib.get_close_matches(name.lower(), wanted, n=1, cutoff=0.8)
            if close:
                found[name] = close[0]
    return found


# ---- the stored references


class References:
    """Inputs, right answers and known wrong ones: those stored beside this file, or the given ones."""

    def __init__(self, table=None, arrays=None):
        self.table = json.loads((FOLDER / "references.json").read_text(encoding="utf-8")) if table is None else table
        self.arrays = load_file(FOLDER / "references.safetensors") if arrays is None else arrays

    def cases(self, rung):
        return self.table[rung.name]["cases"]

    def resolve(self, value, convert):
        """A stored argument: {"array": name} becomes convert(array); lists and dicts are walked through."""
        if isinstance(value, dict) and set(value) == {"array"}:
            return convert(self.arrays[value["array"]])
        if isinstance(value, dict) and set(value) == {"function"}:
            return known_dropout
        if isinstance(value, dict):
            return {key: self.resolve(part, convert) for key, part in value.items()}
        if isinstance(value, list):
            return [self.resolve(part, convert) for part in value]
        return value

    def mistakes(self, rung):
        """({mistake: its values [P]}, the positions [P] in all compared outputs strung together)"""
        prefix = f"{rung.name}/mistake/"
        values = {key.removeprefix(prefix): array for key, array in self.arrays.items() if key.startswith(prefix)}
        return values, self.arrays.get(f"{rung.name}/positions")


def known_dropout(x):
    """Half of the numbers set to 0 and the rest doubled, always the same ones for the same shape; any array library.

    Not random, so that the result says where dropout was applied.
    """
    if not len(x.shape):
        raise ValueError("dropout was called on a single number")
    count = int(np.prod(tuple(x.shape)))
    keep = ((np.arange(count) * 40503 + 12345) % 65536 < 32768).reshape(tuple(x.shape))
    if isinstance(x, np.ndarray):
        return x * (keep * 2).astype(x.dtype)
    if type(x).__module__.split(".")[0] == "torch":
        import torch

        return x * (torch.from_numpy(keep).to(x) * 2)
    return x * (keep * 2)


def converter(kind, dtype):
    """A function from a stored array to what the learner's file works with: a fresh copy, floats in `dtype`."""
    if kind not in ("torch", "numpy"):
        raise UserError(f'ARRAYS is {kind!r}; expected "torch" or "numpy"')

    def convert(array):
        array = array.astype(dtype if array.dtype.kind == "f" else np.int64)  # astype copies
        if kind == "numpy":
            return array
        import torch  # only for those who want tensors

        return torch.from_numpy(array)

    return convert


# ---- judging


def run_ladder(module, references=None, rungs=RUNGS, dtype="float32", time_limit=TIME_LIMIT, after_each=None):
    """A `Result` for each rung, in order. `after_each` is called with each one as it is there."""
    references = references or References()
    results = []
    for rung in rungs:
        results.append(run_rung(module, rung, references, dtype, time_limit))
        if after_each:
            after_each(results[-1])
    return results


def run_rung(module, rung, references, dtype="float32", time_limit=TIME_LIMIT):
    """Call the learner's function for one rung on all its cases."""
    function = getattr(module, rung.name, None)
    if function is None:
        return Result(rung.name, SKIP, "not provided")
    if not callable(function):
        return Result(rung.name, ERROR, f"{rung.name} is a {type(function).__name__}, not a function")
    tolerance = rung.tolerance if dtype == "float32" or rung.double is None else rung.double
    try:
        convert = converter(getattr(module, "ARRAYS", "torch"), dtype)
        with limited(time_limit), contextlib.redirect_stdout(sys.stderr):
            outputs = [call(function, rung, case, references, convert) for case in references.cases(rung)]
        if rung.exact:
            return judge_words(rung, outputs, references)
        return judge_numbers(rung, outputs, references, tolerance)
    except Wrong as error:
        status, note = error.args
        return Result(rung.name, status, note, tolerance=tolerance)
    except TimeLimit:
        return Result(rung.name, ERROR, f"did not return within {time_limit:g} seconds")
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, NotImplementedError) and "NotImplementedError" in (frames[-1].line or ""):
            return Result(rung.name, SKIP, "not yet (NotImplementedError)")  # PyTorch raises it too, for wrong types
        note = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
        return Result(rung.name, ERROR, note, details=last_lines(frames, module))


def last_lines(frames, module):
    """Where it happened: in the learner's file, and, if that is further on, in the library that it called."""
    own = [frame for frame in frames if frame.filename == getattr(module, "__file__", None)]
    shown = [*own[-1:], *(frames[-1:] if frames[-1:] != own[-1:] else [])]
    return [f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}: {frame.line}" for frame in shown]


@contextlib.contextmanager
def limited(seconds):
    """Raise TimeLimit in here after so many seconds. It takes a Unix signal in the main thread; elsewhere: no limit."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, min(seconds, 1e6))  # more than the timer can count is forever
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def call(function, rung, case, references, convert):
    """The learner's answer to one case. Wrong when it changed what it was given."""
    names = [name for name, _ in rung.arguments]
    arguments = [references.resolve(case["arguments"][name], convert) for name in names]
    output = function(*arguments)
    for name, argument in zip(names, arguments, strict=True):
        if not same(argument, references.resolve(case["arguments"][name], convert)):
            raise Wrong(ERROR, f"changes its argument `{name}` in place; work on a copy")
    return output


def same(left, right):
    if isinstance(left, dict):
        return set(left) == set(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if hasattr(left, "shape") and hasattr(right, "shape"):
        return np.array_equal(to_array(left, ""), to_array(right, ""))
    if hasattr(left, "shape") or hasattr(right, "shape"):
        return False
    return left is right or left == right


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
        raise Wrong(ERROR, f"returned a {type(value).__name__}{what}, which is no array of numbers") from None


def judge_words(rung, outputs, references):
    """Equal or not, for token ids and names."""
    cases = references.cases(rung)
    outputs = [plain(output) for output in outputs]
    if rung.name == "parameter_groups":
        outputs = [group_words(output, case["arguments"]["names"]) for output, case in zip(outputs, cases, strict=True)]
    expected = [case["output"] for case in cases]
    wrong = [i for i in range(len(cases)) if outputs[i] != expected[i]]
    if not wrong:
        return Result(rung.name, OK)
    matches = [name for name, theirs in references.table[rung.name]["mistakes"].items() if theirs == outputs]
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
        what = f"a list of {len(got)}" if isinstance(got, list) else f"a {type(got).__name__}"
        return f"{what}, expected a list of {len(expected)}"
    i = next(i for i in range(len(got)) if got[i] != expected[i])
    return f"{case['arguments']['names'][i]}: {got[i]!r}, expected {expected[i]!r}"


def judge_numbers(rung, outputs, references, tolerance):
    """Compare every number that is not padding."""
    pieces, starts = [], []  # (name, got, expected, compared) over all cases; where each piece begins in the output
    for case, output in zip(references.cases(rung), outputs, strict=True):
        pieces += matched(rung, case, output, references)
        starts += [case.get("start")] * (len(pieces) - len(starts))
    flat = np.concatenate([got.ravel() for _, got, _, _ in pieces])
    largest, total, count, worst, differing = 0.0, 0.0, 0, None, set()
    for (name, got, expected, compared), start in zip(pieces, starts, strict=True):
        difference = np.where(compared, np.abs(got - expected), 0.0)
        difference = np.where(np.isnan(difference) | np.isinf(difference), np.inf, difference)
        if difference.size and difference.max() > tolerance:
            differing.add(name)
        if difference.size and (worst is None or difference.max() > largest):
            index = np.unravel_index(difference.argmax(), difference.shape)
            seen = index if start is None else tuple(np.add(index, start))
            largest, worst = float(difference.max()), (name, seen, got[index], expected[index])
        total, count = total + float(difference.sum()), count + int(compared.sum())
    result = Result(rung.name, OK, largest=largest, mean=total / count, tolerance=tolerance)
    if largest <= tolerance:
        return result
    result.status, result.where = DIFF, place(rung, *worst)
    if not np.isfinite(largest):
        result.note = "returned NaN or infinity"
    elif rung.name.endswith("encoder") and len(names := list(dict.fromkeys(name for name, *_ in pieces))) > 1:
        result.note = f"first differs at: {min(differing, key=names.index)}"
    result.mistakes = diagnose(rung, flat, references, tolerance)
    return result


def matched(rung, case, output, references):
    """[(name, got, expected, which elements count)] of one case. Wrong when the shapes do not fit."""
    stored = case["output"]  # {name: array's name}
    if list(stored) == [""]:
        got = {"": output}
    elif isinstance(output, (list, tuple)) or hasattr(output, "keys"):
        got = named(rung, output, list(stored))
    else:
        raise Wrong(SHAPE, f"returned one {type(output).__name__}; expected {rung.returns}")
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
        raise Wrong(SHAPE, f"returned a {type(output).__name__}; expected {rung.returns}")
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


def place(rung, name, index, got, expected):
    """Where an element sits, in words."""
    axes = rung.axes if len(rung.axes) == len(index) else ("index",) * len(index)
    words = [name] if name else []
    words += [f"{axis} {i}" for axis, i in zip(axes, index, strict=True)]
    return f"{', '.join(words)}{': ' if words else ''}{got:.6g}, expected {expected:.6g}"


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
    best = [name for distance, name in distances if distance <= limit and distance <= 3 * distances[0][0] + 1e-9]
    return without_variants(best)


def without_variants(names):
    """Names once each. The same mistake, made in another way with another outcome, is stored as NAME#VARIANT."""
    return list(dict.fromkeys(name.split("#")[0] for name in names))
