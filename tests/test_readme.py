"""README.md: what it shows of the ladder and of the commands is what they print and take."""

import importlib
import re
import shlex

import pytest
from ladder_tools import REPOSITORY, command, written

from minibert import finetune

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")

# A learner's file with the mistakes that the README shows.
MINE = """
import math

from torch.nn import functional


def layer_norm(x, weight, bias, eps):
    return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + eps) * weight + bias


def gelu(x):
    return functional.gelu(x)


def attention_probabilities(query, key, attention_mask):
    return (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
"""


def commands():
    """Every command of the package in README.md, without what follows it: (the command's name, its words)."""
    found = re.findall(r"-m minibert\.(\w+) ([^`\n#]+)", README)
    return sorted({(name, words.strip()) for name, words in found})


@pytest.mark.parametrize("name, words", commands())
def test_every_command_is_taken(name, words):
    module = importlib.import_module(f"minibert.{name}")
    parse = (importlib.import_module(f"minibert.{name}.__main__") if hasattr(module, "__path__") else module).parse
    if words == "--help":
        with pytest.raises(SystemExit):
            parse(["--help"])
    else:
        parse(shlex.split(words))


def test_every_option_in_a_table_is_one_of_finetunes():
    table = README[README.index("| if you have | type |") : README.index("A run leaves")]
    options = finetune.parse(["reviews"])
    flags = set(re.findall(r"`(--[\w-]+)", table)) - {"--help"}
    assert len(flags) > 15
    assert not [flag for flag in flags if not hasattr(options, flag[2:].replace("-", "_"))]


def test_the_ladder_prints_what_is_shown(tmp_path, capsys):
    shown = re.search(r"^\$ python -m minibert\.parity my_bert\.py (.*?)\n(.*?)^```", README, re.M | re.S)
    words, shown = shown.groups()
    code, out, _ = command(capsys, written(tmp_path / "my_bert.py", MINE), *shlex.split(words))
    assert code == 1 and out == shown
