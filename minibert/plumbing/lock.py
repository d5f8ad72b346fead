"""One run for one folder: a lock that a dead process does not hold."""

import contextlib
import os
from pathlib import Path

from .files import LOCK, UserError

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder go unnoticed there
    fcntl = None


@contextlib.contextmanager
def only_run_in(folder):
    """Within it no other process gets in here for the same folder. UserError when one is in already."""
    if fcntl is None:
        yield
        return
    path = Path(folder) / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")
    except (OSError, ValueError) as error:  # a name with a NUL byte in it is a ValueError
        raise UserError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())):
                raise BlockingIOError  # its holder has just ended and deleted it: a lock on it keeps nobody out
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UserError(
                f"{folder}: {holder} is writing here now; wait until it has ended, or choose another --output"
            ) from None
        except OSError:  # a file system without locks
            yield
            return
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
