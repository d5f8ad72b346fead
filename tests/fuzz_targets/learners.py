"""A learner's file for the ladder: broken source, and functions that give back anything but what was asked for."""

from minibert.parity import __main__ as parity

from . import change_bytes
from .commands import call

SOURCE = '''import math

import numpy as np


def gelu(x):
    {gelu}


def layer_norm(x, weight, bias, eps):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    {norm}
'''
GELU = "return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))"
NORM = "return (x - mean) / np.sqrt(variance + eps) * weight + bias"
ANSWERS = (
    GELU, NORM, "pass", "return None", "return x", "return x[:0]", "return x.tolist()", "return 'x'", "return {'x': x}",
    "return x * 1j", "return np.full(10**6, np.nan)", "return np.array([object()])", "return np.array(['a'])",
    "return (x, x)", "return x.astype(bool)", "raise ValueError('a\\nb\\x1b[2J')", "raise SystemExit(3)", "return -x",
    "raise KeyboardInterrupt", "return gelu(x)", "x += 1; return x", "x[:] = 0; return x", "return lambda: x",
    "print('x' * 10**5); return x", "import none_such", "return np.float64(1e400)", "import sys; sys.exit()",
    "return [[1], [1, 2]]", "class A: __array__ = 1\n    return A()", "return iter([1])", "return 10**400",
)  # fmt: skip
TOPS = (
    "", "", "", "import none_such\n", "1 / 0\n", "gelu = 3\n", "raise SystemExit\n", "\ufeff", "# coding: utf-7\n",
    "\t\n",
)  # fmt: skip


def learners(random, folder):
    """A learner's file before `python -m minibert.parity`."""
    source = random.choice(TOPS) + SOURCE.format(gelu=answer(random, GELU), norm=answer(random, NORM))
    content = source.encode("utf-8")
    if random.random() < 0.4:
        content = change_bytes(random, content, 2)
    name = random.choice(("mine.py", "mine.py", "mine.py", "my bert.py", "mine.txt", "class.py"))
    (folder / name).write_bytes(content)
    call(parity.main, [name, "--rungs", random.choice(("gelu", "layer_norm", "gelu,layer_norm")), "--time-limit", "2"])


def answer(random, right):
    """The body of a function, right or not."""
    return right if random.random() < 0.4 else random.choice(ANSWERS)


TARGETS = {"learners": learners}
