"""The fuzzer itself: it notices what it is for, and a few cases of every target pass (`-m slow`: a thousand each)."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

PROGRAM = """if True:
    import sys
    sys.path.insert(0, {here!r})
    import fuzz
    from minibert.plumbing.files import UserError

    fuzz.SECONDS, fuzz.MEMORY = 1, 200 * 2**20
    fuzz.build_walls()

    def too_slow(random, folder):
        while True:
            pass

    def too_large(random, folder):
        bytearray(b"x" * (300 * 2**20))

    def elsewhere(random, folder):
        (folder.parent / "fuzz-elsewhere").mkdir(exist_ok=True)

    def refuse(text, cls=UserError):
        def target(random, folder):
            (folder / "mine.csv").write_text("x")
            raise cls(text)
        return target

    class TwoLines(UserError):
        def __init__(self, message):
            ValueError.__init__(self, message)

    targets = {{
        "too slow": too_slow, "too large": too_large, "elsewhere": elsewhere,
        "traceback": lambda random, folder: 1 // 0, "panic": lambda random, folder: exec("raise BaseException('no')"),
        "two lines": refuse("mine.csv:\\nno", TwoLines), "control": refuse("mine.csv: \\x1b[2J", TwoLines),
        "too long": refuse("mine.csv: " + "a " * 1000, TwoLines), "names nothing": refuse("it went wrong"),
        "refused": refuse("mine.csv: is empty"), "result": lambda random, folder: (folder / "x").write_text("x"),
    }}
    for name, target in targets.items():
        print(name, "=", fuzz.run_case(target, name, 0)[0])
    (fuzz.Path(fuzz.tempfile.gettempdir()) / "fuzz-elsewhere").rmdir()
"""


def test_everything_that_is_neither_a_result_nor_one_good_line_is_a_find():
    program = PROGRAM.format(here=str(HERE))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    outcomes = dict(line.split(" = ") for line in done.stdout.splitlines())
    assert outcomes.pop("refused", done.stderr) == "refused"
    assert outcomes.pop("result") == "result"
    assert len(outcomes) == 9 and set(outcomes.values()) == {"find"}, outcomes


def run_fuzzer(*arguments):
    command = [sys.executable, str(HERE / "fuzz.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=3000)


def test_a_case_is_the_same_each_time():
    first, second = (run_fuzzer("tables", "1", "--seed", "12").stdout.splitlines()[0] for _ in range(2))
    assert first.startswith("tables 12: ")
    assert first.replace("/", " ").split("fuzz-")[0] == second.replace("/", " ").split("fuzz-")[0]


def test_a_few_cases_of_every_target_end_in_a_result_or_one_line():
    done = run_fuzzer("all", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(", 0 fell through") == len(done.stdout.splitlines()) >= 14


@pytest.mark.slow
def test_a_thousand_cases_of_every_target_end_in_a_result_or_one_line():
    done = run_fuzzer("all", "1000", "--seed", "1000000")
    assert done.returncode == 0, done.stdout + done.stderr
