"""`--watch`: climb again whenever the learner's file, or one beside it, has changed, and show what is different now."""

import sys
import time
from pathlib import Path

from ..plumbing.files import UserError
from ..plumbing.signals import Stopped
from .results import SKIP

EVERY = 0.3  # seconds between two looks at the files


def watch(climb, shown, place, say=print):
    """Climb, wait for a change, and so on, until Ctrl-C. Returns whether the last climb succeeded.

    climb(show): a `Summary`, or UserError; `show` is called with each result. shown(result): prints one. place: the
    file.
    """
    before, success = None, False
    try:
        while True:
            seen = stamps(place)
            try:
                summary = climb(shown if before is None else None)
            except UserError as error:
                say(f"error: {error}")
                success = False
            else:
                now = {result.rung: result for result in summary.results}
                if before is not None:
                    changed = [result for name, result in now.items() if differs(before.get(name), result)]
                    for result in changed:
                        old = before.get(result.rung)
                        say(f"{result.rung}: {old.status if old else SKIP} before, now:")
                        shown(result)
                    if not changed:
                        say("no rung has changed")
                say(summary.as_text().splitlines()[-1])
                before, success = now, summary.success
            say(f"{time.strftime('%H:%M:%S')}  waiting for {Path(place).name} to change; Ctrl-C ends")
            sys.stdout.flush()
            while stamps(place) == seen:
                time.sleep(EVERY)
    except (KeyboardInterrupt, Stopped):
        say("")
    return success


def differs(old, new):
    """Is it worth showing again? Another status, another mistake, or a difference ten times larger or smaller."""
    if old is None or (old.status, old.mistakes, old.note) != (new.status, new.mistakes, new.note):
        return old is not None or new.status != SKIP
    if not new.failed or not old.largest or not new.largest:
        return False
    return not 0.1 < new.largest / old.largest < 10


def stamps(place):
    """{path: when it was changed, how large it is} for the Python files and the notebooks of the file's folder."""
    found = {}
    folder = Path(place).resolve().parent
    for path in (*folder.glob("*.py"), *folder.glob("*.ipynb")):
        try:
            status = path.stat()
        except OSError:  # an editor is just replacing it
            continue
        found[path] = status.st_mtime_ns, status.st_size
    return found
