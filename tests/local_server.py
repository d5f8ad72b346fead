"""Small servers on this machine, and a data set's file that they hand out: nothing here needs the internet."""

import contextlib
import hashlib
import http.server
import threading
import urllib.parse
from dataclasses import replace
from pathlib import Path

import pytest

from minibert.data.corpora import CORPORA
from minibert.data.download import Source

MESSAGES = "".join(f"ham\tsee you at {i}\n" for i in range(15)) + "".join(f"spam\tWIN {i}\n" for i in range(5))


class Handler(http.server.BaseHTTPRequestHandler):
    """Hands each request to the server's `answer(path) -> (status, headers, body)` and notes it down."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append((self.command, urllib.parse.unquote(self.path)))
        status, headers, body = self.server.answer(urllib.parse.unquote(urllib.parse.urlsplit(self.path).path))
        self.send_response(status)
        length = {} if "Transfer-Encoding" in headers else {"Content-Length": str(len(body))}
        for name, value in {**length, **headers}.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")  # said, not just done: else a client may reuse what is closing
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(answer):
    """A server on a free port of this machine: `url`, and the `requests` it got so far."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer, server.requests = answer, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def unused_url():
    """The address of a server that has just gone: connections are refused."""
    with serving(lambda path: (404, {}, b"")) as server:
        return server.url


@pytest.fixture(autouse=True)
def no_proxy(cache, tmp_path, monkeypatch):
    """No proxy between us and our own servers; the cache where `files_in(tmp_path)` sees what is beside it, too."""
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def source_at(url, content, member="", algorithm="sha256"):
    checksum = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
    return Source(f"{url}/messages", "SMSSpamCollection", checksum, member)


def files_in(folder):
    return sorted(path.name for path in Path(folder).rglob("*") if not path.is_dir())


def serve_messages_from(server, monkeypatch):
    """Make sms-spam come from `server`."""
    corpus = replace(CORPORA["sms-spam"], sources=(source_at(server.url, MESSAGES.encode()),))
    monkeypatch.setitem(CORPORA, "sms-spam", corpus)
