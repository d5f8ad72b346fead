"""Public files on this machine: from the cache if a whole copy lies there, else from their homes on the web.

A file is compared with the checksum that corpora.py states for it each time it is used, not only when it arrives:
a copy that was cut or changed since would be trained on in silence. The cache is a convenience; where it cannot be
written, a run goes on with a copy that lasts as long as the reading.
"""

import contextlib
import hashlib
import http.client
import lzma
import sys
import tempfile
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..plumbing.files import UserError, atomic_path, cache_folder

LARGEST_FILE = 2**30  # bytes, of a download and of what is taken out of one
INSTEAD = "give a local copy with --data, or try `reviews`, which needs no network"
BAD_ZIP = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, KeyError, ValueError,
    RuntimeError,  # encrypted, or compressed in a way that Python does not know
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A file on the web, and how to know that the right one arrived."""

    url: str
    file: str  # its name in the cache
    checksum: str  # "md5:..." or "sha256:..." of that file
    member: str = ""  # the file is this member of the zip archive at `url`


class Unreachable(Exception):
    """A transfer that failed or broke off, with the reason."""


@contextlib.contextmanager
def local_copies(sources, task):
    """The paths of whole copies of `sources`, which are there while the block runs. Raises UserError."""
    with contextlib.ExitStack() as stack:
        folder = cache_folder()
        missing = [source for source in sources if what_is_wrong(folder / source.file, source)]
        elsewhere = None
        if missing and not is_writable(folder):
            note(f"{folder}: cannot be written; going on without a cache, so the next run fetches {task} again")
            try:
                elsewhere = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minibert-")))
            except OSError as error:
                raise UserError(f"{folder}: cannot be written, and neither can a temporary folder ({error})") from None
        yield [
            fetch(source, task, elsewhere) if elsewhere and source in missing else fetch(source, task)
            for source in sources
        ]


def fetch(source, task, folder=None):
    """The path of a whole copy of a `Source` in `folder` (default: the cache); downloaded if there is none yet.

    It is put there in one step, so processes that fetch the same file at the same time do not disturb each other.
    Raises UserError.
    """
    path = (folder or cache_folder()) / source.file
    wrong = what_is_wrong(path, source)
    if not wrong:
        return path
    damaged = f"; the copy at {path} is damaged ({wrong})" if path.exists() else ""
    if damaged:
        note(f"{path}: is damaged ({wrong}); fetching it again")
    with atomic_path(path) as temporary:
        try:
            with open(temporary, "wb") as file:
                for chunk in chunks_of(source.url, source.file):
                    file.write(chunk)
        except Unreachable as error:
            raise UserError(f"{task} could not be fetched from {source.url} ({error}){damaged}; {INSTEAD}") from error
        if source.member:
            try:
                content = zip_member(temporary, source.member)
            except BAD_ZIP as error:
                reason = f"holds no {source.member} that can be read ({error})"
                raise UserError(f"{source.url}: {reason}{damaged}; {INSTEAD}") from error
            temporary.write_bytes(content)
        wrong = what_is_wrong(temporary, source)
        if wrong:
            raise UserError(f"{source.url}: {wrong}; nothing was kept{damaged}; {INSTEAD}")
    return path


def what_is_wrong(path, source):
    """Why `path` is not the file that `source` describes, or None if it is."""
    algorithm, wanted = source.checksum.split(":")
    digest = hashlib.new(algorithm)
    if not path.is_file():
        return "no such file"
    try:
        with open(path, "rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if digest.hexdigest() == wanted else f"wrong {algorithm}: {digest.hexdigest()}, not {wanted}"


def chunks_of(url, name):
    """The bytes of a web file, piece by piece, with a progress bar. Raises Unreachable when they are not all there."""
    request = urllib.request.Request(url, headers={"User-Agent": "minibert"})
    got = 0
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            size = announced_size(response)
            with tqdm(total=size, desc=name, unit="B", unit_scale=True, disable=None) as bar:
                while chunk := response.read(2**20):
                    got += len(chunk)
                    if got > LARGEST_FILE:
                        raise Unreachable(f"sends more than {LARGEST_FILE:,} bytes")
                    yield chunk
                    bar.update(len(chunk))
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
        raise Unreachable(str(getattr(error, "reason", None) or error) or type(error).__name__) from error
    if size is not None and got != size:
        raise Unreachable(f"the transfer broke off at {got:,} of {size:,} bytes")


def announced_size(response):
    """The length that the server announces, in bytes; None where it announces none or nonsense."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None


def zip_member(path, name):
    """The content of one named member of a zip archive: never a path from the archive, and of bounded size."""
    with zipfile.ZipFile(path) as archive, archive.open(name) as member:
        content = member.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"more than {LARGEST_FILE:,} bytes")
    return content


def is_writable(folder):
    """Whether files can be made in `folder`, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def note(message):
    """Tell the user something on standard error, above a progress bar if there is one."""
    tqdm.write(f"note: {message}", file=sys.stderr)
