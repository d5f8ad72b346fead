"""Files and commands: nothing is lost, and every failure is one clear line.

Everything a person can put right (a bad file, a bad flag, no network, a full disk) is raised as `UserError`.
The commands print it as one line and leave with exit code 2. Next: `config.py`.
"""

import argparse
import contextlib
import ctypes
import json
import os
import sys
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


def read_text(path):
    """The text of a UTF-8 file (a byte-order mark is dropped). UserError names the first bad line."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
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


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help texts with their defaults, where there is one and the text does not give it already."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False or "default" in action.help:
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A command line whose errors are one line, like all others."""

    def __init__(self, **options):
        super().__init__(formatter_class=Help, **options)

    def error(self, message):
        raise UserError(f"{message}; --help lists the options")


def number(kind, low, high=float("inf"), low_open=False):
    """An argparse type: an int or float within bounds."""

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if not (low < value if low_open else low <= value) or not value <= high:
            bounds = f"{'more than' if low_open else 'at least'} {low}"
            bounds += f", at most {high}" if high < float("inf") else ""
            raise argparse.ArgumentTypeError(f"{text} is out of range ({bounds})")
        return value

    return convert


def run_command(main):
    """Run a command's `main`, and turn a UserError into one line on standard error and exit code 2."""
    keep_freed_memory()
    try:
        code = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except SystemExit as stop:  # --help
        code = stop.code
    except BrokenPipeError:
        code = 141
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        code = 130
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        code = code or 141
    sys.exit(code)


def keep_freed_memory():
    """Let this process keep what it frees, for its next tensors, in large pages. Linux with glibc; elsewhere nothing.

    glibc hands a large block back to the system at once, and the system clears every page of the next one before the
    program may write to it. Training frees and takes blocks of the same sizes in every layer of every update.
    Pages of 2 MB instead of 4 KB are cleared, and found by the processor, with less ado.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        return
    max_mapped, trim_threshold, huge_pages = -4, -1, 14  # M_MMAP_MAX, M_TRIM_THRESHOLD; MADV_HUGEPAGE of madvise(2)
    libc.mallopt(max_mapped, 0)
    libc.mallopt(trim_threshold, -1)  # never
    # Take as much as the machine has and free it again: only addresses, since nothing is written. All that the program
    # allocates from now on lies there, in pages as advised. A system that allows no such block is left as it is.
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    page = os.sysconf("SC_PAGE_SIZE")
    size = page * os.sysconf("SC_PHYS_PAGES")
    block = libc.malloc(size)
    if block:
        libc.madvise(ctypes.c_void_p(block // page * page), ctypes.c_size_t(size), huge_pages)
        libc.free(ctypes.c_void_p(block))


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
