"""The page of `predict --serve`: requests of any form, of which each gets an answer that is no fault of the server."""

import functools
import socket
import threading
from urllib.parse import urlencode

from minibert.plumbing.loopback import Server
from minibert.serve import Site
from minibert.text_classifier import load_classifier

from . import NASTY_TEXTS, change_bytes, json_text, nasty_value
from .templates import template


@functools.cache
def page_server():
    """A server on this machine with a small classifier behind it."""
    server = Server(0, Site({"Answer": load_classifier(template("distilbert", "classifier"))}).answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def pages(random, folder):
    """A request to the page of `predict --serve`, or to its JSON."""
    server = page_server()
    fields = {"text": "a good film"}
    for _ in range(random.choice((0, 1, 1, 2))):
        key = random.choice(("text", "pair", "label", "before", "before_pair", "other", ""))
        fields[key] = random.choice((*NASTY_TEXTS, "yes", "bad"))
    if random.random() < 0.5:
        kind, path = "application/json", "/api/predict"
        if random.random() < 0.3:
            fields[random.choice(("text", "label", "x"))] = nasty_value(random)
        body = json_text(random, fields).encode("utf-8", "surrogatepass")
    else:
        kind, path = "application/x-www-form-urlencoded", "/"
        body = urlencode(fields, errors="surrogatepass").encode()
    if random.random() < 0.3:
        body = change_bytes(random, body)
    head = [
        f"{random.choice(('POST', 'POST', 'POST', 'POST', 'GET', 'PUT', 'HEAD', 'BREW'))} "
        f"{random.choice((path, path, path, '/', '/x', '*', '/%00', '//', '/?' + 'a' * 70_000))} HTTP/1.1",
        f"Host: {random.choice((f'127.0.0.1:{server.server_port}',) * 9 + ('example.org',))}",
        f"Content-Type: {random.choice((kind, kind, kind, 'text/plain', kind + '; charset=x', ''))}",
        f"Content-Length: {random.choice((len(body),) * 9 + (0, -1, 'x', 10**30, len(body) + 10))}",
    ]
    request = "\r\n".join([*head, "Connection: close", "", ""]).encode("latin-1") + body
    answer = ask(server, change_bytes(random, request) if random.random() < 0.2 else request)
    status = answer.split(b" ")[1] if answer.startswith(b"HTTP/") else b""
    assert status != b"500", answer[-300:]
    if status == b"200" and not head[0].startswith("HEAD"):
        assert b"<html" in answer or b'"scores"' in answer, answer[:300]


def ask(server, request):
    """What the server answers to these bytes: all that comes until it closes."""
    with socket.create_connection(server.server_address, timeout=10) as connection:
        answer = b""
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(2**16):
                answer += piece
        except OSError:  # refused before all of it was read
            pass
    return answer


page_server()
TARGETS = {"pages": pages}
