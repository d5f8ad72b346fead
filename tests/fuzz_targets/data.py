"""Data: tables of a person, archives, local copies of the built-in tasks, downloads and what lies in the cache."""

import bz2
import csv
import gzip
import hashlib
import http.server
import io
import json
import lzma
import tarfile
import threading
import zipfile

from small_data import review_members

from minibert.data import Columns, load_task
from minibert.data.download import Source, fetch, local_copies
from minibert.plumbing.files import cache_folder

from . import NASTY_TEXTS, change_bytes, json_text, nasty_value

COLUMNS = ("text", "label", "text_pair", "kind", "review", "")


def tables(random, folder):
    """A person's .csv, .tsv or .jsonl file, alone or as a folder's train, validation and test."""
    suffix = random.choice((".csv", ".tsv", ".jsonl"))
    names = ["mine"] if random.random() < 0.7 else random.sample(["train", "validation", "test"], random.randint(1, 3))
    for name in names:
        (folder / f"{name}{suffix}").write_bytes(table(random, suffix))
    columns = Columns(random.choice(COLUMNS[:2]), "text_pair", "label") if random.random() < 0.1 else Columns()
    if random.random() < 0.1:
        columns = Columns(group="kind")
    limit = random.choice((None, None, None, 1, 5, 10**9))
    task = load_task(str(folder if names != ["mine"] else folder / f"mine{suffix}"), limit=limit, columns=columns)
    check(task)


def table(random, suffix):
    """The bytes of a table: mostly sound, with a nasty field here and there, and perhaps damage."""
    header = ["text", "label", *random.sample(COLUMNS[2:], random.choice((0, 0, 1, 2)))]
    if random.random() < 0.1:
        random.shuffle(header)
        header.pop()
    rows = []
    for i in range(random.choice((0, 1, 5, 20, 20, 20, 40, 40))):
        row = {name: f"{name} {i}" for name in header} | {"label": str(i % random.choice((1, 2, 2, 3)))}
        if random.random() < 0.01:
            row[random.choice(header)] = nasty_value(random) if suffix == ".jsonl" else random.choice(NASTY_TEXTS)
        rows.append(row)
    if suffix == ".jsonl":
        lines = [json_text(random, row) if random.random() < 0.02 else json.dumps(row) for row in rows]
        content = "\n".join(lines)
    elif suffix == ".tsv":
        content = "\n".join("\t".join(map(str, row)) for row in [header, *(row.values() for row in rows)])
    else:
        file = io.StringIO()
        csv.writer(file).writerows([header, *([row.get(name, "") for name in header] for row in rows)])
        content = file.getvalue()
    content = content.encode("utf-8", "surrogatepass")
    return change_bytes(random, content) if random.random() < 0.35 else content


def check(task):
    """What holds for every task that was loaded."""
    parts = (task.train, task.validation, task.test)
    assert all(len(part) for part in parts)
    assert all(isinstance(text, str) and text.strip() for part in parts for text in part.texts)
    assert all(0 <= label < len(part.label_names) for part in parts for label in part.labels)


def archives(random, folder):
    """aclImdb as an archive: members of any kind and size, every compression, cut and changed anywhere."""
    members = review_members()
    for _ in range(random.randrange(3)):
        members.insert(random.randrange(len(members) + 1), odd_member(random))
    if random.random() < 0.1:
        members = random.sample(members, random.randrange(len(members)))
    path = folder / "reviews.tar"
    content = b"".join(tar_member(random, *member) for member in members) + bytes(tarfile.RECORDSIZE)
    if random.random() < 0.3:
        content = change_bytes(random, content)
    if random.random() < 0.1:
        content = content[: 512 * random.randrange(len(content) // 512 + 1)]
    content = random.choice((bytes, gzip.compress, gzip.compress, bz2.compress, lzma.compress))(content)
    if random.random() < 0.3:
        content = change_bytes(random, content)
    if random.random() < 0.1:
        content *= 2
    path.write_bytes(content)
    check(load_task("imdb", path, sample=random.random() < 0.9))


def tar_member(random, info, file):
    """The bytes of a member as they stand in a tar, even if its header claims what is not so."""
    kind = random.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT))
    content = file.getvalue()
    try:
        head = info.tobuf(kind, errors="surrogateescape")
    except (ValueError, UnicodeError):  # a name or size that this format cannot hold
        head = info.tobuf(tarfile.GNU_FORMAT, errors="replace")
    return head + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def odd_member(random):
    """A tar member of a kind, name or size that no review has, and its content."""
    info = tarfile.TarInfo(random.choice((
        "../../evil", "/tmp/evil", "aclImdb/train/neg/../../../evil", "aclImdb/test/pos/77_1.txt", "a" * 300,
        "aclImdb/train/neg/\n", "aclImdb/test/neg/\x1b[2J.txt", "aclImdb/test/neg/\ud800.txt",
    )))  # fmt: skip
    info.type = random.choice((
        tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE,
        tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE, b"?",
    ))  # fmt: skip
    info.linkname = random.choice(("", "../../secret", "/etc/passwd"))
    content = random.choice((b"", b"evil", b"\xff", b"a" * 5000, b"30 path=/tmp/evil\n", b"9" * 600))
    info.size = random.choice((len(content), len(content), 2**33, 2**62, -1, -512, 10**6))
    return info, io.BytesIO(content)


def corpora(random, folder):
    """Local copies of SMS spam and MRPC, whole lines and broken ones."""
    if random.random() < 0.5:
        lines = [f"{random.choice(('ham', 'spam'))}\tmessage {i}" for i in range(random.choice((0, 3, 30)))]
        path = folder / "SMSSpamCollection"
        path.write_bytes(damaged(random, "\n".join(lines).encode()))
        check(load_task("sms-spam", random.choice((folder, path)), sample=random.random() < 0.9))
        return
    for part in ("train", "test"):
        lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        lines += [f"{random.choice('01')}\t{i}\t{i + 1}\tone {i}\ttwo {i}" for i in range(random.choice((0, 3, 30)))]
        content = "\r\n".join(lines).encode("utf-8-sig")
        (folder / f"msr_paraphrase_{part}.txt").write_bytes(damaged(random, content))
    check(load_task("mrpc", folder, sample=random.random() < 0.9))


def damaged(random, content):
    return change_bytes(random, content) if random.random() < 0.6 else content


# ---- downloads


class Answer(http.server.BaseHTTPRequestHandler):
    """Sends the server's `answer`, bytes with status line and all, to whoever connects."""

    def handle(self):
        self.request.settimeout(5)
        try:
            self.request.recv(65536)
            self.request.sendall(self.server.answer)
        except OSError:
            pass


def server():
    """A server on this machine that is started once and told what to answer."""
    if not SERVER:
        SERVER.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=SERVER[0].serve_forever, daemon=True).start()
    return SERVER[0]


SERVER = []
MESSAGES = b"".join(b"ham\tsee you at %d\n" % i for i in range(20))


def downloads(random, folder):
    """A download: status, headers, length, encoding and body of any kind; zip archives; what lies in the cache."""
    zipped = random.random() < 0.4
    body = zip_archive(random) if zipped else MESSAGES
    sent = damaged(random, body) if random.random() < 0.5 else body
    server().answer = response(random, sent)
    url = f"http://127.0.0.1:{server().server_address[1]}/messages"
    checksum = hashlib.sha256(MESSAGES).hexdigest()
    source = Source(url, "SMSSpamCollection", f"sha256:{checksum}", "SMSSpamCollection" if zipped else "")
    cached = cache_folder() / source.file
    if random.random() < 0.3:
        cached.parent.mkdir(parents=True)
        cached.write_bytes(damaged(random, MESSAGES))
    elif random.random() < 0.1:
        cache_folder().write_bytes(b"not a folder")
    elif random.random() < 0.1:
        cached.mkdir(parents=True)
    with local_copies([source], "sms-spam") as [path]:
        assert path.read_bytes() == MESSAGES
    if cached.parent.is_dir() and not cached.is_dir():
        assert fetch(source, "sms-spam").read_bytes() == MESSAGES
        assert [path.name for path in cached.parent.iterdir()] == [source.file]


def response(random, body):
    """An answer of a web server, more or less."""
    length = random.choice((len(body), len(body), len(body), len(body) + 5, -1, "many", 10**30, "", 3))
    status = random.choice((
        "200 OK", "200 OK", "200 OK", "200", "404 Not Found", "500", "302 Found", "999 x", "x", "204 None",
    ))  # fmt: skip
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}"]
    if random.random() < 0.2:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (random.choice((len(body), 3, 2**70)), body)
    if status.startswith("302"):
        places = ("file:///etc/passwd", "/x", "http://127.0.0.1:1/", "ftp://127.0.0.1:1/x", "http://[", "", "\xe9")
        lines.append(f"Location: {random.choice(places)}")
    if random.random() < 0.1:
        lines.append("X: " + random.choice(("a" * 70_000, "\x00", "\xff")))
    head = "\r\n".join(lines + ["Connection: close", "", ""]).encode("latin-1")
    answer = head + body
    return change_bytes(random, answer) if random.random() < 0.2 else answer


def zip_archive(random):
    """A zip archive with, mostly, the messages in it."""
    file = io.BytesIO()
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with zipfile.ZipFile(file, "w", random.choice(kinds)) as archive:
        if random.random() < 0.9:
            archive.writestr("SMSSpamCollection", MESSAGES)
        if random.random() < 0.3:
            archive.writestr("../../evil", b"evil")
    content = bytearray(file.getvalue())
    if random.random() < 0.2:
        directory = max(0, content.find(b"PK\x01\x02"))
        content[random.choice((6, 8, directory + 8, directory + 10))] ^= random.choice((1, 2, 8, 64))
    return bytes(content)


TARGETS = {"tables": tables, "archives": archives, "corpora": corpora, "downloads": downloads}
