"""A small HTTP server for this machine alone: the page of `predict --serve`.

It answers on 127.0.0.1 only. That keeps other machines out, but not other pages in the same browser: a page anywhere
can send a form to 127.0.0.1, or let its own name point there and read what comes back. So a request has to be addressed
to this server by its local name (`Host`), and not be sent by another site's page (`Origin`, `Sec-Fetch-Site`).
"""

import contextlib
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from .files import UserError, one_line

ADDRESS = "127.0.0.1"
LARGEST = 2**21  # bytes of a request's body
SECONDS = 30  # for a client to say what it wants
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # "no-referrer" would hide the origin of our own form, too
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Refused(Exception):
    """A request that is not answered: the status, and why."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Server(ThreadingHTTPServer):
    """`answer(method, path, content_type, body)` -> (status, {header: value}, text). It may raise Refused."""

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"  # there it would let two servers share a port

    def __init__(self, port, answer):
        self.answer = answer
        try:
            super().__init__((ADDRESS, port), Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise UserError(f"port {port} of {ADDRESS} cannot be used ({why}); give another with --port") from None
        self.names = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}
        if self.server_port == 80:  # browsers leave it out
            self.names |= {ADDRESS, "localhost"}

    @property
    def address(self):
        return f"http://{ADDRESS}:{self.server_port}/"

    def handle_error(self, request, client_address):
        """A client that went away in the midst of an answer is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "minibert", ""
    timeout = SECONDS

    def do_GET(self):
        self.respond()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_GET

    def respond(self):
        try:
            self.check_origin()
            body = self.read_body()
            kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            status, headers, text = self.server.answer(self.command, self.read_path(), kind, body)
        except Refused as refused:
            self.close_connection = True  # there may be a body that nobody has read
            status, headers, text = refused.status, {"Content-Type": "text/plain; charset=utf-8"}, f"{refused}\n"
        except Exception as error:
            print(f"error: {one_line(f'{type(error).__name__}: {error}')}", file=sys.stderr)
            self.close_connection = True
            status, headers, text = 500, {"Content-Type": "text/plain; charset=utf-8"}, "that went wrong\n"
        self.send(status, headers, text.encode("utf-8", "backslashreplace"))
        if self.close_connection:
            self.drain()

    def drain(self):
        """Read what is still sent: a connection that is closed on unread bytes takes its answer with it (a reset)."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            end = time.monotonic() + SECONDS
            while time.monotonic() < end and self.rfile.read1(LARGEST):
                pass

    def check_origin(self):
        """Refused unless the request is for this server, and comes from its own page or from no page."""
        if self.headers.get_all("Host") is None or not {*self.headers.get_all("Host")} <= self.server.names:
            raise Refused(403, f"this server answers to {' and '.join(sorted(self.server.names))} only")
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {f"http://{name}" for name in self.server.names}:
            raise Refused(403, "another site's page cannot ask here")
        if self.headers.get("Sec-Fetch-Site", "none") == "cross-site" and self.command != "GET":
            raise Refused(403, "another site's page cannot ask here")

    def read_path(self):
        try:
            return urlsplit(self.path).path
        except ValueError:  # "http://[", which is no address
            raise Refused(400, "that is no path") from None

    def read_body(self):
        if self.headers.get("Transfer-Encoding"):
            raise Refused(411, "say how long the body is, with Content-Length")
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit() and len(length) < 20):
            raise Refused(400, "Content-Length is not a number")
        if int(length) > LARGEST:
            raise Refused(413, f"the body is longer than {LARGEST:,} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(400, "the body ended early")
        return body

    def send(self, status, headers, body):
        self.send_response(status)
        for name, value in (HEADERS | headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code, message=None, explain=None):
        """What is not even HTTP, in a line and without a page."""
        self.close_connection = True
        self.command = getattr(self, "command", None) or "GET"
        self.send(code, {"Content-Type": "text/plain; charset=utf-8"}, f"{message or 'not understood'}\n".encode())

    def log_message(self, *arguments):
        """Nothing: the texts that people type are theirs."""
