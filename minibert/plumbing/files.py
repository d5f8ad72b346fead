"""Files that are whole or not there, errors that are one readable line, and the cache folder."""

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
from pathlib import Path

LONGEST_WORD = 400  # letters; a path may be as long as that
LONGEST_LINE = 600
LOCK = ".lock"  # in a folder that a run is writing, see lock.py


class UserError(ValueError):
    """A problem its reader can put right: one line that names the file, the line or field, and what to do."""

    def __init__(self, message):
        super().__init__(one_line(message))


def one_line(message):
    """A message of any origin as a line that a person can read and a terminal can show.

    Control characters, which may move the cursor or turn the writing round, are shown as escapes; what is too long to
    be read is cut: a word in its end, the line in its middle, because its beginning says where and its end what to do.
    """
    line = "".join(letter if letter.isprintable() else escape(letter) for letter in " ".join(message.split()))
    line = " ".join(word if len(word) <= LONGEST_WORD else f"{word[:80]}…" for word in line.split(" "))
    half = LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} … {line[-half:]}"


def escape(letter):
    """A character as Python source spells it, such as \\x1b."""
    return letter.encode("unicode_escape").decode("ascii")


def shown(value):
    """A value out of a file as messages show it: as Python spells it, and not more than its first 80 characters."""
    try:
        text = repr(value[:100] if isinstance(value, (str, bytes)) else value)
    except ValueError:  # Python does not print a number of more than 4,300 digits
        return "a number too large to show"
    except RecursionError:
        return "lists that nest too deep to show"
    return text if len(text) <= 80 else f"{text[:80]}…"


@contextlib.contextmanager
def atomic_path(path):
    """Give a temporary path beside `path`; on success it takes `path`'s place in one step, else it is deleted.

    A reader sees the old file or the new one, never half of one. Raises UserError when the disk refuses.
    """
    path = Path(path)
    if "\0" in str(path):
        raise UserError(f"{path}: a file name cannot hold a NUL byte")
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


def remove_leftovers(folder):
    """Delete the unfinished files that killed processes left in a folder. Nobody else may be writing there.

    A folder in it that has a lock of its own is another run's, and is left alone.
    """
    for path in Path(folder).iterdir():
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink() and not (path / LOCK).exists():
                remove_leftovers(path)
            elif re.fullmatch(r"\..+\.[a-z0-9_]{8}\.part", path.name):  # as `atomic_path` calls them
                path.unlink()


def write_text(path, text):
    """Write a whole UTF-8 text file, or nothing. What UTF-8 cannot hold, such as half a surrogate pair, is escaped."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def csv_text(text):
    """A text as a cell of a .csv file: where a spreadsheet would run it as a formula, with an apostrophe in front.

    A number stays a number, whatever its sign.
    """
    is_number = re.fullmatch(r"[-+]?[0-9]+([.,][0-9]+)?", text)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) and not is_number else text


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
    value = parse_json(read_text(path), path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds a {type(value).__name__}, not an object {{...}}")
    return value


def write_checked_json(path, value):
    """`write_json` of a dict with a checksum over all of it, which `read_checked_json` compares."""
    value = json.loads(json.dumps(value))  # as it will be read: keys are text
    write_json(path, value | {"checksum": checksum(value)})


def read_checked_json(path):
    """What `write_checked_json` wrote. UserError when the file was changed or damaged since."""
    value = read_json(path)
    if value.pop("checksum", None) != checksum(value):
        raise UserError(f"{path}: was changed or damaged after it was written; delete it, and it is computed again")
    return value


def checksum(value):
    """A hash of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def parse_json(text, where):
    """The value that a JSON text stands for. `where` is how UserError calls the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}, line {error.lineno}: not JSON ({error.msg})") from None
    except RecursionError:
        raise UserError(f"{where}: lists or objects nest too deep to be read") from None
    except ValueError:  # Python reads no whole number of more than 4,300 digits
        raise UserError(f"{where}: holds a number of too many digits") from None


def cache_folder():
    """Where downloads and computed features are kept: $MINIBERT_CACHE, or ~/.cache/minibert."""
    return Path(os.environ.get("MINIBERT_CACHE") or Path.home() / ".cache" / "minibert")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
