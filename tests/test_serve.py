"""`predict --serve`: what it answers, what it refuses, hostile texts, and a browser that types and clicks."""

import html
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest

import minibert
from minibert.load import load_tokenizer, new_classifier, save_classifier
from minibert.plumbing.files import UserError
from minibert.plumbing.loopback import LARGEST, Server
from minibert.serve import Site, classifiers_of
from minibert.text_classifier import load_classifier

LABELS = ["no", "yes <b>&", "\u202eodd\x1b[2J"]
HOSTILE = [
    "<script>alert(1)</script> & \"quotes\" 'too'",
    "</textarea></form><img src=x onerror=alert(1)>",
    "\x1b[2J\x00\x07 control",
    "مرحبا \u202e بالعالم \u2066 good",
    "👩‍👩‍👧 👍🏽 " + "a" + "\u0301" * 50,
    "good film <" * 9_100,  # 100,100 characters
]


@pytest.fixture
def run(tiny_bert, tmp_path):
    """A run's folder with a frozen and a fine-tuned classifier of three labels in it."""
    for part, seed in (("frozen", 1), ("finetuned", 2)):
        classifier = new_classifier(tiny_bert, LABELS, seed=seed)
        save_classifier(classifier, tmp_path / "run" / part, {"max_length": 32})
        load_tokenizer(tiny_bert).save(tmp_path / "run" / part)
    return tmp_path / "run"


@pytest.fixture
def server(run):
    site = Site({name: load_classifier(folder) for name, folder in classifiers_of(run).items()})
    with Server(0, site.answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server, method="GET", path="/", body=None, kind=None, **headers):
    """(status, headers, text) of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, headers | ({"Content-Type": kind} if kind else {}))
    reply = connection.getresponse()
    return reply.status, dict(reply.getheaders()), reply.read().decode("utf-8")


def send_form(server, **fields):
    body = urlencode(fields, encoding="utf-8", errors="surrogatepass")
    return ask(server, "POST", body=body, kind="application/x-www-form-urlencoded")


def send_json(server, value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    status, _, text = ask(server, "POST", "/api/predict", body, "application/json")
    return status, json.loads(text)


def test_both_classifiers_answer_as_they_do_without_a_server(server, run):
    status, answers = send_json(server, {"text": "the film was fine"})
    assert status == 200 and list(answers) == ["fine-tuned", "frozen"]
    for name, part in (("fine-tuned", "finetuned"), ("frozen", "frozen")):
        classifier, answer = load_classifier(run / part), answers[name]
        [scores] = classifier.probabilities(["the film was fine"])
        assert list(answer["scores"].values()) == pytest.approx(scores.tolist(), abs=1e-6)
        assert [answer["label"]] == classifier.predict(["the film was fine"])
        [record] = json.loads(json.dumps(classifier.explain(["the film was fine"])))
        assert answer["explanation"]["words"] == record["words"]


def test_the_page_shows_the_answers_and_then_the_change(server):
    status, headers, page = ask(server)
    assert status == 200 and "<h2>" not in page
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'unsafe-inline'; form-action")
    page = send_form(server, text="good film", label="")[2]
    assert page.count("<h2>") == 2 and 'name="before" value="good film"' in page and "Before:" not in page
    page = send_form(server, text="bad film", label="no", before="good film")[2]
    assert page.count("Before:") == 2 and 'class="change">' in page and '<option value="no" selected>' in page
    changes = [float(change) for change in re.findall(r'class="change">([-+][0-9.]+)<', page)]
    assert len(changes) == 6 and abs(sum(changes[:3])) < 0.2 and any(changes)


def test_a_pair_for_a_classifier_of_single_texts_is_refused(server):
    status, answer = send_json(server, {"text": "good film", "pair": "bad film"})
    assert status == 400 and "single texts" in answer["error"]


def test_a_path_that_is_none_is_refused(server, capsys):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        host = f"127.0.0.1:{server.server_port}"
        connection.sendall(f"GET http://[ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_escaped_cut_and_answered(server, text):
    status, _, page = send_form(server, text=text, label="", before=HOSTILE[0])
    assert status == 200
    outside = re.sub(r"<style>.*?</style>", "", page, flags=re.S)
    tags = set(re.findall(r"<(/?[a-zA-Z!][a-zA-Z0-9]*)", outside))
    assert {tag.strip("/") for tag in tags} <= set(
        "!doctype html head meta title style body header h1 h2 p main form input label textarea select option button "
        "div section table thead tbody tr th td span b s bdi footer code".split()
    )
    [typed] = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page, flags=re.S)
    assert html.unescape(typed) == text  # what is typed stays as it is, to be edited
    shown = re.sub(r"<(textarea|style|form).*?</\1>", "", page, flags=re.S)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", shown)
    assert len(shown) < 60_000
    assert send_json(server, {"text": text})[0] == 200


@pytest.mark.parametrize(
    "asked, why",
    [
        ({}, "there is no text"), ({"text": "  "}, "there is no text"), ({"text": 3}, "send an object"),
        ([], "send an object"), ({"text": "x", "label": "none"}, "no such label"),
        ({"text": "x", "txt": "x"}, "no txt"),
        (b"{", "Expecting"), (b"[" * 100_000, "recursion"), (b'{"text": "\xff"}', "decode"),
        (b'{"text": "\\ud83d"}', "surrogate"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_said_in_a_line(server, asked, why):
    status, answer = send_json(server, asked)
    assert status == 400 and why in answer["error"] and "\n" not in answer["error"]


def test_a_form_that_cannot_be_answered_comes_back_with_the_reason(server):
    status, _, page = send_form(server, text=" ", label="")
    assert status == 400 and '<p class="problem" role="alert">there is no text; type one</p>' in page
    assert send_form(server, text="good", label="none")[0] == 400
    assert send_form(server, **{f"field{i}": "x" for i in range(20)})[0] == 400
    body, kind = b"text=%ff", "application/x-www-form-urlencoded"
    assert ask(server, "POST", body=body, kind=kind)[0] == 400


@pytest.mark.parametrize(
    "request_, status",
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"path": "/none"}, 404),
        ({"path": "/../predict.py"}, 404),
        ({"path": "/api/predict"}, 405),
        ({"method": "DELETE"}, 405),
        ({"method": "POST", "body": b"x=1", "kind": "text/plain"}, 415),
        ({"method": "POST", "path": "/api/predict", "body": b"{}", "kind": "text/plain"}, 415),
        ({"method": "POST", "body": b"x" * (LARGEST + 1), "kind": "text/plain"}, 413),
        ({"method": "POST", "body": b"x" * (20 * LARGEST), "kind": "text/plain"}, 413),
        ({"method": "POST", "Content_Length": "-5"}, 400),
        ({"method": "POST", "Content_Length": "many"}, 400),
        ({"method": "POST", "Transfer_Encoding": "chunked", "body": b"0\r\n\r\n"}, 411),
        ({"method": "POST", "body": b"x=1", "Sec_Fetch_Site": "cross-site"}, 403),
    ],
)
def test_other_sites_and_odd_requests_are_refused(server, request_, status):
    answered, headers, text = ask(server, **request_)
    assert answered == status
    assert headers["Content-Type"].startswith("text/plain") and len(text) < 200
    assert ask(server)[0] == 200  # and goes on answering


@pytest.mark.parametrize(
    "content", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 70_000, b""]
)
def test_what_is_not_http_is_no_harm(server, content):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        reply = b""
        try:
            while part := connection.recv(4096):
                reply += part
        except ConnectionResetError:
            pass
    assert b"200 OK" not in reply and b"<" not in reply
    assert ask(server)[0] == 200


def test_it_listens_on_this_machine_alone_and_says_so_when_a_port_is_taken(server):
    assert server.server_address[0] == "127.0.0.1"
    if sys.platform != "win32":
        with pytest.raises(UserError, match=f"port {server.server_port} of 127.0.0.1.*--port"):
            Server(server.server_port, None)


def test_localhost_is_the_same_place(server):
    assert ask(server, Host=f"localhost:{server.server_port}")[0] == 200


# In a browser


@pytest.mark.slow
def test_a_person_types_clicks_edits_and_compares(run, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("there is no Chromium on this machine")
    command = [sys.executable, "-u", "-m", "minibert.predict", str(run), "--serve", "--port", "0"]
    repository = Path(minibert.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as process:
        try:
            address = re.search(r"http://\S+", process.stdout.readline())[0]
            with sync_api.sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                for width, scheme in ((1400, "light"), (400, "dark")):
                    type_and_click(
                        browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme), address
                    )
                browser.close()
        finally:
            process.terminate()
            assert process.wait(30) == 143


def type_and_click(page, address):
    messages, requests = [], set()
    page.on("console", lambda message: messages.append(message.text))
    page.on("request", lambda request: requests.add(request.url))
    page.goto(address)
    page.fill("#text", "The film was good. <b>bold</b>")
    page.click("button")
    assert page.locator(".answers section").count() == 2
    assert "<b>bold</b>" in page.locator(".answers .text").first.inner_text().replace(" ", "")
    page.fill("#text", "The film was bad. " + HOSTILE[1] + " word" * 500)
    page.select_option("#label", "no")
    page.click("button")
    assert page.locator(".change").count() == 2 * (1 + len(LABELS))
    assert page.locator(".before").count() == 2
    assert page.locator("img, script").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert (messages, requests) == ([], {address})


def test_on_port_80_browsers_leave_the_port_out(monkeypatch):
    monkeypatch.setattr(Server, "server_port", 80, raising=False)
    server = Server.__new__(Server)
    monkeypatch.setattr(ThreadingHTTPServer, "__init__", lambda *_: None)
    Server.__init__(server, 80, None)
    assert {"127.0.0.1", "localhost", "127.0.0.1:80", "localhost:80"} == server.names
