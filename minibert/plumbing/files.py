"""TODO"""

import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path


class UserError(ValueError):
    """A problem its reader can put right: one line that names the file, the line or field, and what to do."""

    def __init__(self, message):
        super().__init__(" ".join(message.split()))


@contextlib.contextmanager
def atomic_path(path):
    """Give a temporary path beside `path`; on success it takes `path`'s place in one step, else it is deleted.

    A reader sees the old file or the new one, never half of one. Raises UserError when the disk refuses.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        yield Path(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # a renamed file whose bytes never reached the disk would be half a file
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes private files; ours are ordinary ones
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); the old file is untouched") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_text(path, text):
    """Write a whole UTF-8 text file, or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Write `value` as indented JSON, or nothing."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def check_file(path):
    """UserError unless `path` is an ordinary file: reading a pipe or a device may never end."""
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise UserError(f"{path}: is {what}, not an ordinary file")


def read_text(path):
    """The text of a UTF-8 file (a byte-order mark is dropped). UserError names the first bad line."""
    path = Path(path)
    check_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise UserError(f"{path}, line {line}: not UTF-8 (byte 0x{byte:02x}); save the file as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}, line {line}: holds a NUL byte; is this a text file?")
    return text


def read_json(path):
    """The object in a JSON file, as a dict. UserError says where it stops being JSON."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__}, not an object {{...}}")
    return value


def cache_folder():
    """Where downloads and computed features are kept: $MINIBERT_CACHE, or ~/.cache/minibert."""
    return Path(os.environ.get("MINIBERT_CACHE") or Path.home() / ".cache" / "minibert")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
