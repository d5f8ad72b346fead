"""Hostile input by the thousand: every case has to end in a result or in one line that a person can act on.

    python tests/fuzz.py                     the targets
    python tests/fuzz.py tables 1000         a thousand cases of one; `all` for each target
    python tests/fuzz.py tables 1 --seed 77  that one case again, with its traceback and its files

A target makes a case in an empty folder and runs it: a function of (random, folder) in `fuzz_targets/`, listed in its
file's TARGETS. It returns when there is a result and lets UserError through. Everything else is a find: another
exception, a message of several lines, with control characters, of unreadable length or that does not say what it is
about, a case that takes too long or too much memory, and a file written outside the case's folder (which also holds
its cache). A find becomes a test where the rest of its subject is tested.
"""

import argparse
import contextlib
import importlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # on a busy machine two threads wait for each other
os.environ.setdefault("RUST_BACKTRACE", "0")
HERE = Path(__file__).parent
sys.path[:0] = [path for path in (str(HERE.parent), str(HERE)) if path not in sys.path]

from fuzz_targets import NAMED  # noqa: E402

from minibert.plumbing.files import UserError  # noqa: E402

MODULES = [path.stem for path in sorted((HERE / "fuzz_targets").glob("[a-z]*.py"))]
SECONDS = 20  # for one case, on a busy machine
MEMORY = 2**30  # bytes more than before the case, asked for or used
LONGEST_MESSAGE = 610  # letters beside the paths in it


class TooSlow(BaseException):
    """Raised in a case that takes longer than SECONDS; no handler of `Exception` may swallow it."""


def find_targets():
    """{name: function}, from every file in fuzz_targets/."""
    targets = {}
    for module in MODULES:
        targets.update(importlib.import_module(f"fuzz_targets.{module}").TARGETS)
    return targets


def run_case(target, name, seed):
    """(outcome, details) of one case: "result", "refused" with the message, or "find" with what went wrong."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    printed, told = io.StringIO(), io.StringIO()
    before = memory_used()
    NAMED.clear()
    try:
        with (
            only_writing_in(folder) as written, limited(),
            contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told),
        ):  # fmt: skip
            try:
                target(random.Random(f"{name} {seed}"), folder)
                outcome = "result", ""
            except UserError as error:
                problem = problem_with_message(str(error), folder)
                outcome = ("find", f"{problem}: {str(error)[:2000]!r}") if problem else ("refused", str(error))
        if written:
            outcome = "find", f"wrote outside its folder: {written[:5]}"
        elif memory_used() - before > MEMORY:
            outcome = "find", f"took {(memory_used() - before) / 2**20:,.0f} MiB"
    except KeyboardInterrupt:
        raise
    except BaseException:  # a panic of a library in Rust is no Exception
        outcome = "find", traceback.format_exc()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def problem_with_message(message, folder):
    """What is wrong with the line that a person would read, or None."""
    if not message.isprintable():
        return "a message with line breaks or control characters"
    if len(message.replace(str(folder), "")) > LONGEST_MESSAGE:
        return "a message of unreadable length"
    names = {path.name for path in folder.rglob("*")} | {folder.name} | NAMED
    names |= {"--", "http://", "standard input", "config.json"}
    if not any(name in message for name in names):
        return "a message that names neither file nor option"
    return None


# ---- the walls around a case


@contextlib.contextmanager
def only_writing_in(folder):
    """A list that collects the paths outside `folder` that Python code makes, writes, moves or removes."""
    written = WATCH["outside"] = []
    WATCH["folder"] = str(folder)
    cache, here, temporary = os.environ.get("MINIBERT_CACHE"), os.getcwd(), tempfile.tempdir
    os.environ["MINIBERT_CACHE"] = str(folder / "cache")
    tempfile.tempdir = str(folder)
    os.chdir(folder)
    try:
        yield written
    finally:
        WATCH["folder"] = None
        os.chdir(here)
        tempfile.tempdir = temporary
        os.environ.pop("MINIBERT_CACHE")
        if cache is not None:
            os.environ["MINIBERT_CACHE"] = cache


WATCH = {"folder": None, "outside": [], "hooked": False}
CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
IGNORED = ("/dev/", "/proc/")


def watch_writes(event, arguments):
    """An audit hook (see sys.addaudithook): notes what is written outside the watched folder."""
    if WATCH["folder"] is None:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC) if isinstance(flags, int) else "w" in mode
        paths = [path] if writes else []
    elif event in CHANGES:
        paths = [path for path in arguments[:2] if isinstance(path, (str, bytes, os.PathLike))]
    else:
        return
    for path in paths:
        if isinstance(path, int):
            continue
        whole = os.path.abspath(os.fsdecode(path))
        if not whole.startswith((WATCH["folder"], *IGNORED)) and "__pycache__" not in whole:
            WATCH["outside"].append(f"{event} {whole}")


@contextlib.contextmanager
def limited():
    """Stop a case that takes longer than SECONDS."""

    def stop(*_):
        raise TooSlow(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def memory_used():
    """The most memory that this process ever used, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # elsewhere a process begins with what its parent had used
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def build_walls():
    """Watch this process's writes, and bound what it may ask for: a size out of a header must not be believed."""
    if WATCH["hooked"]:
        return
    WATCH["hooked"] = True
    sys.addaudithook(watch_writes)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    if pages:
        limit = pages * resource.getpagesize() + 4 * MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


# ---- the command line


def fuzz(name, target, count, seed, show=False):
    """Run `count` cases and print what came of them; the number of finds."""
    counts, kinds, slowest, started = Counter(), Counter(), 0.0, time.monotonic()
    for number in range(seed, seed + count):
        begun = time.monotonic()
        outcome, details = run_case(target, name, number)
        slowest = max(slowest, time.monotonic() - begun)
        counts[outcome] += 1
        if outcome == "find":
            last = details.strip().splitlines()[-1]
            kinds[last.split(":")[0]] += 1
            whole = show or kinds[last.split(":")[0]] <= 2
            lines = [line[:500] for line in (details if whole else last).splitlines()]
            print(f"{name} {number}:", *lines, sep="\n  " if whole else " ", flush=True)
        elif show:
            print(f"{name} {number}: {outcome} {details}")
    print(
        f"{name}: {count:,} cases in {time.monotonic() - started:.0f} s: {counts['result']:,} results, "
        f"{counts['refused']:,} refused in one line, {counts['find']:,} fell through; slowest {slowest:.1f} s",
        flush=True,
    )
    return counts["find"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", nargs="?", help="one of the targets, or all")
    parser.add_argument("count", nargs="?", type=int, default=1000, help="how many cases")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first case")
    options = parser.parse_args()
    targets = find_targets()
    if options.target is None:
        print(*(f"{name}: {' '.join(target.__doc__.split())}" for name, target in targets.items()), sep="\n")
        return 0
    chosen = targets if options.target == "all" else {options.target: targets[options.target]}
    build_walls()
    show = options.count == 1
    return int(any([fuzz(name, target, options.count, options.seed, show) for name, target in chosen.items()]))


if __name__ == "__main__":
    sys.exit(main())
