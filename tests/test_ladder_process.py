"""A learner's file runs in a process of its own: whatever it does to that process costs its own rung, and no other."""

import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from ladder_tools import EXAMPLE, REPOSITORY, RUNG, command, written

from minibert.parity import process
from minibert.parity.__main__ import main
from minibert.parity.process import LearnersProcess
from minibert.parity.results import Wrong
from minibert.parity.values import Foreign, pack, portable, unpack

HOSTILE = """\
import ctypes, faulthandler, os, signal, sys, threading, time
import numpy as np
ARRAYS, FORKS = "numpy", []

class Escape(BaseException):
    pass

def layer_norm(x, weight, bias, eps):
    {body}

def accuracy(labels, predictions):
    return (labels == predictions).mean()
"""
DONE = {  # what the function does: what its rung says
    "os._exit(0)": "ended its process, exit code 0",
    "os._exit(7)": "ended its process, exit code 7",
    "ctypes.string_at(0)": "crashed (SIGSEGV)",
    "os.abort()": "crashed (SIGABRT)",
    "os.kill(os.getpid(), signal.SIGKILL)": "was killed (SIGKILL); out of memory?",
    "os.closerange(0, 100)": "its process",
    "while True: pass": "did not return within 1 seconds",
    "sum(range(10**13))  # one long call in C": "did not return within 1 seconds",
    "signal.signal(signal.SIGALRM, signal.SIG_IGN); faulthandler.cancel_dump_traceback_later(); time.sleep(99)":
        "did not return within 1 seconds",
    "threading.Thread(target=time.sleep, args=(99,)).start(); threading.Event().wait()":
        "did not return within 1 seconds",
    "while True: print('spam' * 1000)": "did not return within 1 seconds",
    "return input('which layer? ')": "EOFError: EOF when reading a line; input() asks, and nobody is there to answer",
    "raise Escape('gone')": "Escape: gone",
    "raise KeyboardInterrupt": "KeyboardInterrupt: no message",
    "sys.exit(0)": "SystemExit: 0",
    "raise GeneratorExit": "GeneratorExit: no message",
    "sys.setrecursionlimit(10**9); return layer_norm(x, weight, bias, eps)": "",
    "FORKS or FORKS.append(os.fork()); return np.zeros(3)": "shape [3], expected [3, 7, 20]",
    "sys.stdout.close(); sys.stderr.close(); return 1 / 0": "ZeroDivisionError",
}  # fmt: skip


@pytest.mark.parametrize("body", DONE, ids=lambda body: body[:30])
def test_a_hostile_function_costs_its_own_rung_and_the_next_one_runs(body, tmp_path, capsys):
    path = written(tmp_path / "hostile.py", HOSTILE.replace("{body}", body))
    start = time.perf_counter()
    code, out, err = command(
        capsys, path, "--rungs", "layer_norm,accuracy", "--time-limit", 1, "--json", isolated=True
    )  # fmt: skip
    bad, good = json.loads(out)["rungs"]
    assert code == 1 and "Traceback" not in err and len(err) < 3000
    assert bad["status"] in ("ERROR", "SHAPE") and DONE[body] in bad["note"], bad
    assert good["status"] == "OK", good
    assert time.perf_counter() - start < 15


def test_the_line_is_named_where_a_long_call_or_a_crash_in_c_happened(tmp_path, capsys):
    for body in ("sum(range(10**13))", "ctypes.string_at(0)"):
        path = written(tmp_path / "hostile.py", HOSTILE.replace("{body}", body))
        out = command(capsys, path, "--rungs", "layer_norm", "--time-limit", 0.5, isolated=True)[1]
        assert f"hostile.py, line 9, in layer_norm: {body}" in out


AT_IMPORT = {  # a whole file: what the one line on standard error says
    "import os\nos._exit(0)\n": "ended its process, exit code 0",
    "import ctypes\nctypes.string_at(0)\n": "crashed (SIGSEGV), at mine.py, line 2",
    "x = 1\nwhile True:\n    x += 1\n": 'is not imported after 1 seconds, at mine.py, line ',
    "while True:\n    print('epoch')\n": 'put what should not run on import under `if __name__ == "__main__":`',
    "name = input('file? ')\n": "line 1: cannot be imported: EOFError",
    "\nraise KeyboardInterrupt\n": "line 2: cannot be imported: KeyboardInterrupt",
    "class Escape(BaseException): pass\nraise Escape('x')\n": "line 2: cannot be imported: Escape: x",
    "from argparse import ArgumentParser as P\np = P()\np.add_argument('data')\np.parse_args()\n": "SystemExit: 2; put",
    "open('train.csv')\n": "FileNotFoundError: [Errno 2] No such file or directory: 'train.csv'; put what",
    "from .utils import gelu\n": "say: python -m minibert.parity ",
}  # fmt: skip


@pytest.mark.parametrize("text", AT_IMPORT, ids=lambda text: text.strip().splitlines()[-1][:20])
def test_a_file_that_is_hostile_on_import_is_one_line(text, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(process, "IMPORT_LIMIT", 1.0)
    code, out, err = command(capsys, written(tmp_path / "mine.py", text), "--time-limit", 0.5, isolated=True)
    assert (code, out) == (2, "") and "Traceback" not in err
    assert AT_IMPORT[text] in err.splitlines()[-1] and err.splitlines()[-1].startswith("error: "), err


def test_a_file_may_start_threads_parse_no_arguments_and_import_its_neighbours_inside_a_function(tmp_path, capsys):
    written(tmp_path / "figures.py", "def accuracy(labels, predictions):\n    return (labels == predictions).mean()\n")
    text = "import argparse, threading, time\nimport numpy\nargparse.ArgumentParser().parse_args()\n"
    text += "threading.Thread(target=time.sleep, args=(99,)).start()\n"
    text += "def accuracy(labels, predictions):\n    import figures\n    return figures.accuracy(labels, predictions)\n"
    start = time.perf_counter()
    code, out, err = command(capsys, written(tmp_path / "mine.py", text), "--rungs", "accuracy", isolated=True)
    assert (code, err) == (0, "") and "1 of 1 rungs checked, 1 passed" in out
    assert time.perf_counter() - start < 10


def test_no_process_is_left_behind(tmp_path):
    text = "import os, subprocess, numpy\n\ndef accuracy(*x):\n"
    text += "    subprocess.Popen(['sleep', '98'])\n    return os.getpid()\n"
    path = written(tmp_path / "mine.py", text)
    with LearnersProcess({"place": str(path)}) as learner:
        (pid, *_) = learner.ask(RUNG["accuracy"]).outputs
        os.killpg(pid, 0)
    time.sleep(0.1)
    listed = subprocess.run(["ps", "-eo", "pgid,stat"], capture_output=True, text=True, check=True).stdout.splitlines()
    alive = [line for line in listed if line.split()[0] == str(pid) and "Z" not in line]  # Z: dead, not yet swept up
    assert alive == [] and len(listed) > 1


def test_a_file_without_torch_is_checked_without_torch(tmp_path):
    """Neither process imports it: a finder refuses."""
    written(tmp_path / "torch.py", "raise ImportError('there is no torch here')\n")
    done = subprocess.run(
        [sys.executable, "-m", "minibert.parity", EXAMPLE], cwd=REPOSITORY, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert re.search(r"\n(\d\d) of \d\d rungs checked, \1 passed\n$", done.stdout), done.stdout


def test_importing_the_ladder_does_not_import_torch():
    program = "import minibert.parity.__main__, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY).returncode == 0


def test_both_precisions_take_less_than_20_seconds(capsys):
    start = time.perf_counter()
    for dtype in ("float32", "float64"):
        code, out, _ = command(capsys, EXAMPLE, "--dtype", dtype, isolated=True)
        assert code == 0, out
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 0.5, "text", [1, [2.5, None]], {"a": [np.arange(3), {}]}, np.float64(2), np.zeros((0, 3)),
        np.arange(6.0).reshape(2, 3).T, np.array([True, False]), np.array("word"), Foreign("Thing"), float("inf"),
    ],
)  # fmt: skip
def test_a_value_survives_the_way_between_the_processes(value):
    value = portable(value)
    back = unpack(pack(value))
    np.testing.assert_equal(back, value)
    assert type(back) is type(value)


def test_nothing_is_unpickled():
    trap = np.array([Foreign("x")], dtype=object)
    assert portable(trap) == Foreign("ndarray")
    with pytest.raises(ValueError):
        pack(trap)


def test_an_answer_of_gigabytes_is_refused_before_it_is_copied():
    with pytest.raises(Wrong, match="larger than 256 MB"):
        portable([1, np.broadcast_to(0.0, (2**30,))])


def test_the_exit_code_is_not_0_when_nothing_came_back(tmp_path, capsys):
    path = written(tmp_path / "mine.py", HOSTILE.replace("{body}", "os._exit(0)"))
    assert main([str(path), "--rungs", "layer_norm"]) == 1
    assert "1 of 1 rungs checked, 0 passed" in capsys.readouterr().out
