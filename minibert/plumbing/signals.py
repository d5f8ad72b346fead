"""Being told to stop, or to save, in the midst of work.

A first SIGINT (Ctrl-C) or SIGTERM (what a cluster sends) lets the work come to a point from which it can go on, and is
answered there; a second one ends it at once. SIGUSR1 asks to save and to go on. Where no work is guarded, a signal ends
the command at once, without a traceback.
"""

import contextlib
import os
import signal
import threading


class Stopped(BaseException):
    """The command was told to stop. `signal`: the signal's number; its text says what was saved, if anything was."""

    def __init__(self, number, message=""):
        super().__init__(message)
        self.signal = number


class Requests:
    """What this process has been asked for, and whether its work can be left where it is."""

    stop = 0  # the signal's number
    save = False
    guarded = False  # within `finish_first`, and not within `leave_at_once`


REQUESTS = Requests()


@contextlib.contextmanager
def listening():
    """Within it signals are answered in this way. Only the main thread may ask for that; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    answers = {"SIGINT": on_stop, "SIGTERM": on_stop, "SIGUSR1": on_save}  # Windows lacks the last
    answers = {getattr(signal, name): answer for name, answer in answers.items() if hasattr(signal, name)}
    before = {number: signal.signal(number, answer) for number, answer in answers.items()}
    try:
        yield
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)


def on_stop(number, frame):
    if not REQUESTS.guarded or REQUESTS.stop:
        raise Stopped(number)
    REQUESTS.stop = number
    with contextlib.suppress(OSError):  # not `print`: the signal may have come while standard error was being written
        os.write(2, b"\nstopping after this update; once more stops at once\n")


def on_save(number, frame):
    REQUESTS.save = True


@contextlib.contextmanager
def finish_first():
    """Within it a first signal only leaves a note in REQUESTS, which the work has to look at."""
    with guard(True):
        try:
            yield
        finally:
            REQUESTS.stop, REQUESTS.save = 0, False


def leave_at_once():
    """Within it, inside `finish_first`, a signal raises Stopped at once: for work that changes nothing."""
    return guard(False)


@contextlib.contextmanager
def guard(wanted):
    before, REQUESTS.guarded = REQUESTS.guarded, wanted
    try:
        if not wanted and REQUESTS.stop:
            raise Stopped(REQUESTS.stop)
        yield
    finally:
        REQUESTS.guarded = before
