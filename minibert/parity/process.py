"""The learner's file in a process of its own, which may crash, hang, exit or print without end: it costs one rung.

A process that ends or does not answer in time is killed, with all that it has started, and a new one imports the file
again for the next rung. What comes back is JSON and plain arrays (`values.py`), so that none of the learner's code ever
runs in this process. `child.py` is the other side.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ..plumbing.files import UserError
from .call import TIME_LIMIT
from .learner import GUARD, trace_lines
from .results import ERROR, SKIP, Reply
from .values import pack, receive, send, unpack

IMPORT_LIMIT = 30.0  # seconds that importing the file may take, its libraries included
START = 15.0  # seconds in which a process of ours has started, before the file is imported
GRACE = 2.0  # seconds in which a process may end its rung by itself when the time is up
MOST_PRINTED = 2000  # characters of what a rung prints


class Ended(Exception):
    """The learner's process gave no answer: (what happened, the line where it was)."""


class LearnersProcess:
    """Answers rungs as `Here` does, from another process. A context manager, at whose end that process is gone.

    what: the learner's file and how to make functions of it, as `opening.load` takes it. level: what is asked
    there, as `opening.open_level` takes it. about: what `opening.describe` says of the file, once it is imported.
    """

    def __init__(self, what, level=("ladder",), dtype="float32", time_limit=TIME_LIMIT):
        self.what, self.level, self.dtype, self.time_limit = what, list(level), dtype, time_limit
        self.process, self.about = None, {}

    def __enter__(self):
        try:
            self.start_or_retry()
        except Ended as ended:
            happened, where = ended.args
            self.stop()
            at = f", at {where[0]}" if where else ""
            raise UserError(f"{self.what['place']}: {happened}{at}; {GUARD}") from None
        except BaseException:
            self.stop()
            raise
        return self

    def start_or_retry(self):
        """Start; a module's file that takes too long is imported again, without what it does beside defining things."""
        try:
            self.start()
        except Ended:
            if "modules" not in self.what or self.what.get("definitions"):
                raise
            self.stop()
            self.what = self.what | {"definitions": True}
            self.start()
            self.about["notes"].append("the file runs too long, or ends itself: only what it defines is run")

    def __exit__(self, *error):
        self.stop()

    def ask(self, rung):
        """The `Reply` to a rung."""
        if rung.name not in self.about["provided"]:
            return Reply(SKIP, self.about["missing"])
        try:
            if self.process is None:
                self.start()
            late = f"did not return within {self.time_limit:g} seconds"
            answer = self.exchange({"rung": rung.name}, self.time_limit, late)
        except Ended as ended:
            self.stop()
            happened, where = ended.args
            return Reply(ERROR, happened, details=where)
        except UserError as error:  # the file could be imported before, and cannot now
            self.stop()
            return Reply(ERROR, str(error))
        if answer.pop("stop"):
            self.stop()  # its time was up: who knows what still runs in there
        return Reply(**answer)

    def start(self):
        """Start the process and import the file there. UserError when that fails, Ended when the process does."""
        handle, self.trace = tempfile.mkstemp(prefix="minibert-", suffix=".trace")
        os.close(handle)
        program = f"import sys; sys.path[:] = {sys.path!r}; from minibert.parity.child import serve; serve()"
        # A module is asked on the CPU, whatever its file says of "cuda" where there is one.
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if "modules" in self.what else {}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"} | hidden,
        )  # fmt: skip
        self.answers, self.printed = queue.Queue(), 0
        threading.Thread(target=self.listen, args=(self.process.stdout, self.answers), daemon=True).start()
        self.forwarder = threading.Thread(target=self.forward, args=(self.process.stderr,), daemon=True)
        self.forwarder.start()
        limit = max(IMPORT_LIMIT, self.time_limit)
        first = {"what": self.what, "level": self.level, "dtype": self.dtype, "time_limit": self.time_limit,
                 "import_limit": limit, "trace": self.trace}  # fmt: skip
        about = self.exchange(first, limit + START, f"is not imported after {limit:g} seconds")
        if "error" in about:
            raise UserError(about["error"])
        self.about = about

    def exchange(self, request, limit, late):
        """The answer to one request. Ended when there is none; `late`: what to say when it takes too long."""
        self.printed = 0
        try:
            send(self.process.stdin, pack(request))
            answer = self.answers.get(timeout=min(limit + GRACE, threading.TIMEOUT_MAX))
        except queue.Empty:
            raise Ended(late, self.last_lines()) from None
        except OSError:  # it ended before it was asked
            answer = None
        if answer is not None:
            return answer
        lines, timed_out = self.last_lines(), "Timeout (" in Path(self.trace).read_text(errors="replace")
        raise Ended(late if timed_out else self.cause(), lines)

    def cause(self):
        """In words: why the process gave no answer."""
        try:
            code = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "closed the file descriptors of its process"
        if code >= 0:
            return f"ended its process, exit code {code} (os._exit?)"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was killed ({name}); out of memory?" if name == "SIGKILL" else f"crashed ({name})"

    def last_lines(self):
        """Where it was at the end, as far as it could still tell."""
        return trace_lines(Path(self.trace).read_text(errors="replace"), self.about.get("home"), self.what["place"])

    def stop(self):
        """Kill the process and what it has started."""
        if self.process is None:
            return
        if hasattr(os, "killpg"):
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self.process.kill()
        else:
            self.process.kill()
        self.process.wait()
        self.forwarder.join(GRACE)  # what it printed last is shown before what we say about it
        with contextlib.suppress(OSError):  # what was not yet sent
            self.process.stdin.close()  # the others are closed by the threads that read them, at their end
        os.unlink(self.trace)
        self.process = None

    @staticmethod
    def listen(stream, answers):
        """In a thread: put what the process answers into the queue; None when it will not answer any more."""
        with stream:
            try:
                while True:
                    answers.put(unpack(receive(stream)))
            except (ValueError, OSError, EOFError, TypeError, KeyError, IndexError, RecursionError, MemoryError):
                answers.put(None)

    def forward(self, stream):
        """In a thread: show what the file prints on standard error, the beginning of it for each rung."""
        text = "\n"
        with stream:
            while data := os.read(stream.fileno(), 65536):
                text, room = data.decode("utf-8", errors="replace"), MOST_PRINTED - self.printed
                self.printed += len(text)
                if room > 0:
                    sys.stderr.write(text if len(text) <= room else text[:room] + "\n... (the rest is not shown)\n")
                    sys.stderr.flush()
        if not text.endswith("\n"):
            sys.stderr.write("\n")
