"""The labelled reviews of an aclImdb archive, read to its end and never unpacked.

An archive that was cut, changed or strung together can look whole to a reader that stops at the first end mark. So
all of it is read: the checksum of every compressed part (several gzip members are one file), the end mark, and that
nothing follows. What it claims is bounded before it is believed: sizes, and what it becomes when decompressed.
"""

import bz2
import gzip
import lzma
import tarfile
import zlib

from tqdm import tqdm

from ..plumbing.files import UserError, check_file
from .tables import Row

LARGEST_REVIEW = 10 * 2**20  # bytes; the longest of the published ones has 14 thousand
LARGEST_MEMBER = 256 * 2**20  # bytes of anything else in the archive
LARGEST_ARCHIVE = 4 * 2**30  # bytes, decompressed
OPENERS = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}  # by the first two bytes of the file
BROKEN = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RecursionError, OverflowError)


def read_reviews(path):
    """{"train": rows, "test": rows} of a .tar, .tar.gz, .tar.bz2 or .tar.xz with aclImdb/PART/LABEL/*.txt.

    Rows are in the order of their names, whatever order the archive has. Raises UserError.
    """
    check_file(path)
    try:
        with open(path, "rb") as file:
            opener = OPENERS.get(file.read(2), open)
        with opener(path, "rb") as stream:
            return reviews_in(DecompressedStream(stream), path)
    except UserError:
        raise
    except BROKEN as error:
        raise UserError(f"{path}: not a whole aclImdb archive ({error or type(error).__name__})") from None


def reviews_in(stream, path):
    """What `read_reviews` returns, from the decompressed archive."""
    parts, seen = {"train": [], "test": []}, set()
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        members = iter(archive.next, None)
        for member in tqdm(members, desc="reading reviews", unit=" files", leave=False, disable=None):
            archive.members.clear()  # else tarfile keeps a record of every member
            folders = member.name.split("/")
            if member.size > LARGEST_MEMBER:
                raise UserError(f"{path}: {member.name} claims a size of {member.size:,} bytes")
            if len(folders) != 4 or folders[1] not in parts or folders[2] not in ("neg", "pos") or not member.isfile():
                continue
            if member.size > LARGEST_REVIEW:
                raise UserError(f"{path}: {member.name} has {member.size:,} bytes, too many for a review")
            if member.name in seen:
                raise UserError(f"{path}: holds {member.name} twice")
            seen.add(member.name)
            text = decode_review(archive.extractfile(member).read(), path, member.name)
            parts[folders[1]].append(Row("/".join(folders[1:]), text, None, folders[2]))
        stream.check_end()
    for part, rows in parts.items():
        if not rows:
            raise UserError(f"{path}: holds no {part}/neg and {part}/pos reviews; is this aclImdb?")
        rows.sort()
    return parts


def decode_review(content, path, name):
    """The text of a review's bytes. UserError when they are not UTF-8 or hold no text."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: {name} is not UTF-8") from None
    if not text.strip() or "\0" in text:
        raise UserError(f"{path}: {name} {'holds a NUL byte' if text.strip() else 'is empty'}")
    return text


class DecompressedStream:
    """The bytes of a decompressed file as `tarfile` reads them: forwards only, and within bounds.

    Going back would mean to decompress from the start again, once for every member that asks for it.
    """

    def __init__(self, stream):
        self.stream, self.position = stream, 0

    def tell(self):
        return self.position

    def read(self, size):
        if size > LARGEST_MEMBER:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        content = self.stream.read(size)
        self.position += len(content)
        if self.position > LARGEST_ARCHIVE:
            raise tarfile.ReadError(f"becomes more than {LARGEST_ARCHIVE:,} bytes")
        return content

    def seek(self, position):
        if position < self.position:
            raise tarfile.ReadError("a member lies before the one that it follows")
        while self.position < position:
            if not self.read(min(position - self.position, 2**20)):
                raise tarfile.ReadError("unexpected end of data")

    def check_end(self):
        """Read what is left. It has to be the end mark's zeros, or something is missing or was strung on."""
        zeros = 0
        while content := self.read(2**20):
            if content.strip(b"\0"):
                raise tarfile.ReadError("a member's header is damaged, or a second archive follows the first")
            zeros += len(content)
        if zeros < tarfile.BLOCKSIZE:  # a mark is two blocks, and tarfile has read the first
            raise tarfile.ReadError("it stops before its end mark")
