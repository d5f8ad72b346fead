"""The other side of `process.py`: imports the learner's file and answers rungs, until it is killed or ends.

The pipes to the parent are standard input and output, moved away before the file is imported: what it prints goes to
standard error, and input() finds nothing.
"""

import contextlib
import faulthandler
import os
import sys
import threading
import traceback
from types import SimpleNamespace

from ..plumbing.files import UserError
from ..plumbing.memory import give_way
from .call import ask_learner
from .learner import last_lines, split_place
from .opening import load_and_describe, open_level
from .values import pack, receive, send, unpack

LATE = 0.5  # seconds after the time limit, which Python code notices by itself: then C code is ended


def serve():
    """Answer requests until there are no more. Never returns."""
    requests, answers = take_pipes()
    first = unpack(receive(requests))
    trace = os.open(first["trace"], os.O_WRONLY)
    faulthandler.enable(trace)  # a crash in C leaves the line where it happened
    give_way()
    process = os.getpid()
    sys.argv = [first["what"]["place"]]
    with watched(first["import_limit"], trace):
        try:
            module, about = load_and_describe(first["what"], first["level"])
            level = open_level(about["level"])
        except UserError as error:
            about = {"error": str(error)}
        except Exception as error:  # of the learner's class, or of ours that could not make sense of it
            words = " ".join(str(error).split())[:300]
            theirs = SimpleNamespace(__file__=file_of(first["what"]))
            where = last_lines(traceback.extract_tb(error.__traceback__), theirs)
            at = f", at {where[0]}" if where else ""
            about = {"error": f"{first['what']['place']}: cannot be asked: {type(error).__name__}: {words}{at}"}
    send(answers, pack(about))
    while True:
        try:
            request = unpack(receive(requests))
        except EOFError:
            os._exit(0)  # threads of the learner's do not keep it alive
        answer = answer_to(request["rung"], module, level, first, trace)
        if os.getpid() != process:  # a fork of the learner's that came back as well
            os._exit(0)
        send(answers, answer)


def file_of(what):
    """The learner's file, as an absolute path."""
    return os.path.abspath(split_place(what["place"])[0])


def answer_to(name, module, level, first, trace):
    """The reply to a rung, as bytes."""
    limit, threads = first["time_limit"], set(threading.enumerate())
    with watched(limit + LATE, trace):
        reply = ask_learner(level.learner(module, name), *level.rung(name), first["dtype"], limit)
        # Whatever still runs in here would disturb the next rung.
        stop = reply.note.startswith("did not return within") or not threads.issuperset(threading.enumerate())
        try:
            return pack(vars(reply) | {"stop": stop})
        except (ValueError, MemoryError, RecursionError) as error:
            return pack({"status": "ERROR", "note": f"its answer cannot be sent: {error}", "stop": stop})


def take_pipes():
    """(requests, answers): the pipes to the parent, as streams, moved out of the way of the learner's code."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return requests, answers


@contextlib.contextmanager
def watched(seconds, trace):
    """End this process after so many seconds, also in the middle of a long call in C, and leave the line in `trace`."""
    if seconds < 1e6:
        faulthandler.dump_traceback_later(seconds, exit=True, file=trace)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()

