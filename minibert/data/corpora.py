"""TODO"""

import hashlib
import http.client
import io
import ssl
import tarfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..plumbing.files import UserError, atomic_path, cache_folder
from .tables import Row, numbered_lines, read_label_folders


@dataclass(frozen=True)
class Source:
    """A file on the web, and how to know that the right one arrived."""

    url: str
    file: str  # its name in the cache
    checksum: str  # "md5:..." or "sha256:..." of that file
    member: str = ""  # the file is this member of the zip archive at `url`


SOURCES = {
    "imdb": (
        Source(
            "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
            "aclImdb_v1.tar.gz",
            "md5:7c2ac02c03563afcf9b574c7e56c153a",
        ),
    ),
    "sms-spam": (
        Source(
            "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
            "SMSSpamCollection",
            "sha256:7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
            member="SMSSpamCollection",
        ),
    ),
    "mrpc": (
        Source(
            "https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_train.txt",
            "msr_paraphrase_train.txt",
            "sha256:f3d26d73bb3510032f80836e2e81cf32c71863f8dd6151aa80a125c2c799a557",
        ),
        Source(
            "https://dl.fbaipublicfiles.com/senteval/senteval_data/msr_paraphrase_test.txt",
            "msr_paraphrase_test.txt",
            "sha256:51a1f197d8786712d2f0d97700f5be653b7488a96cde00e158159350d23e3d90",
        ),
    ),
}
REVIEWS = Path(__file__).parent / "reviews"  # the task that comes with the package
REVIEWS_GROUP = "difficulty"  # its column of kinds


def read_imdb(paths):
    """Large Movie Review Dataset (Maas et al. 2011): an aclImdb folder, or its .tar.gz, read without unpacking."""
    path = paths[0]
    splits = "official train and test"
    if path.is_dir():
        return read_label_folders(path / "aclImdb" if (path / "aclImdb").is_dir() else path), splits
    rows = {"train": [], "test": []}
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in tqdm(archive, desc="reading reviews", unit=" files", leave=False, disable=None):
                folders = member.name.split("/")
                if len(folders) == 4 and folders[1] in rows and folders[2] in ("neg", "pos") and member.isfile():
                    try:
                        text = archive.extractfile(member).read().decode("utf-8")
                    except UnicodeDecodeError:
                        raise UserError(f"{path}: {member.name} is not UTF-8") from None
                    rows[folders[1]].append(Row("/".join(folders[1:]), text, None, folders[2]))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a whole aclImdb archive ({error})") from None
    for name, part in rows.items():
        if not part:
            raise UserError(f"{path}: holds no {name}/neg and {name}/pos reviews; is this aclImdb?")
        part.sort()  # an archive's order is an accident
    return rows, splits


def read_sms(paths):
    """SMS Spam Collection v.1 (Almeida et al. 2011): a line is `ham` or `spam`, a tab, the message."""
    path = paths[0] / "SMSSpamCollection" if paths[0].is_dir() else paths[0]
    rows = []
    for number, line in numbered_lines(path):
        label, tab, text = line.partition("\t")
        if not tab or label not in ("ham", "spam") or not text.strip():
            raise UserError(f"{path}, line {number}: expected `ham` or `spam`, a tab and a message")
        rows.append(Row(f"line {number}", text, None, label))
    return {"train": rows}, "no official split"


def read_mrpc(paths):
    """Microsoft Research Paraphrase Corpus (Dolan and Brockett 2005), official train and test; quotes are literal."""
    if len(paths) == 1:
        paths = [paths[0] / f"msr_paraphrase_{part}.txt" for part in ("train", "test")]
    parts = {}
    for part, path in zip(("train", "test"), paths, strict=True):
        rows = parts[part] = []
        for number, line in list(numbered_lines(path))[1:]:  # the first line names the columns
            fields = line.split("\t")
            if len(fields) != 5 or fields[0] not in ("0", "1") or not (fields[3].strip() and fields[4].strip()):
                raise UserError(f"{path}, line {number}: expected 5 columns, the first 0 or 1, the last two texts")
            label = "paraphrase" if fields[0] == "1" else "different"
            rows.append(Row(f"{fields[1]}-{fields[2]}", fields[3], fields[4], label))
    return parts, "official train and test"


def fetch(source, task):
    """The path of a `Source` in the cache; downloaded, checked and put there in one step if it is not yet."""
    path = cache_folder() / source.file
    if path.is_file():
        return path
    instead = "give a local copy with --data, or try `reviews`, which needs no network"
    with atomic_path(path) as temporary:
        try:
            download(source.url, temporary, source.file)
            content = temporary.read_bytes()
            if source.member:
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    content = archive.read(source.member)  # one named member, never a path from the archive
                temporary.write_bytes(content)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            reason = getattr(error, "reason", error)
            raise UserError(f"{task} could not be fetched from {source.url} ({reason}); {instead}") from error
        except (zipfile.BadZipFile, KeyError) as error:
            raise UserError(f"{source.url}: holds no {source.member} ({error}); {instead}") from error
        algorithm, wanted = source.checksum.split(":")
        got = hashlib.new(algorithm, content).hexdigest()
        if got != wanted:
            raise UserError(f"{source.url}: wrong {algorithm} ({got}, not {wanted}); nothing was kept; {instead}")
    return path


def download(url, path, name):
    """Copy a web file to `path` with a progress bar. Raises URLError or ConnectionError when it cannot be had whole."""
    request = urllib.request.Request(url, headers={"User-Agent": "minibert"})
    with urllib.request.urlopen(request, timeout=60) as response, open(path, "wb") as file:
        size = int(response.headers.get("Content-Length") or 0)
        with tqdm(total=size or None, desc=name, unit="B", unit_scale=True, disable=None) as bar:
            while chunk := response.read(1 << 20):
                file.write(chunk)
                bar.update(len(chunk))
        if size and file.tell() != size:
            raise ConnectionError(f"the transfer broke off at {file.tell():,} of {size:,} bytes")
