"""The page of `python -m minibert.predict RUN --serve`: type a text, change it, see what each classifier answers.

The page is at /, the same as JSON at /api/predict, for this machine alone. Its looks are `report/live.py`'s, its door
is `plumbing/loopback.py`'s; here is what is asked, what is refused, and what is answered.
"""

import functools
import json
import threading
from urllib.parse import parse_qs

from .plumbing.files import UserError, one_line
from .plumbing.loopback import Refused, Server
from .report import live
from .text_classifier import PARTS, load_classifier, parts_of


def serve(run, port, device, precision):
    """Answer on a page of this machine until Ctrl-C. `port` 0 takes a free one."""
    folders = classifiers_of(run)
    site = Site({name: load_classifier(folder, True, device, precision) for name, folder in folders.items()})
    with Server(port, site.answer) as server:
        print(f"{', '.join(site.classifiers)}: open {server.address} (on this machine alone; Ctrl-C ends)", flush=True)
        server.serve_forever()


def classifiers_of(run):
    """{name: folder} of the classifiers of a run, or of the one that `run` itself is."""
    return {PARTS[part]: folder for part, folder in parts_of(run).items()} or {"Answer": run}


class Site:
    """What the server answers: the page at /, JSON at /api/predict."""

    def __init__(self, classifiers):
        self.classifiers = classifiers  # {name: TextClassifier}
        first, *others = classifiers.values()
        self.labels, self.reads_pairs = first.label_names, first.reads_pairs
        if any((one.label_names, one.reads_pairs) != (self.labels, self.reads_pairs) for one in others):
            raise UserError("the frozen and the fine-tuned classifier of this run have different labels")
        self.lock = threading.Lock()  # one text at a time: each one uses all cores
        self.known = functools.lru_cache(64)(self.ask)  # the text before is asked for again

    def answer(self, method, path, kind, body):
        """(status, headers, text) for `loopback.Server`."""
        if path not in ("/", "/api/predict"):
            raise Refused(404, "there is / and /api/predict")
        if path == "/":
            return self.page(method, kind, body)
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if method != "POST":
            raise Refused(405, 'POST {"text": "..."} as application/json')
        if kind != "application/json":
            raise Refused(415, "send application/json")
        try:
            return 200, headers, json.dumps(self.api(json.loads(body)), ensure_ascii=False) + "\n"
        except (UserError, ValueError, RecursionError) as error:
            return 400, headers, json.dumps({"error": one_line(str(error))}) + "\n"

    def page(self, method, kind, body):
        """The page, with answers when a form was sent."""
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": live.POLICY}
        if method in ("GET", "HEAD"):
            return 200, headers, live.render(self.labels, self.reads_pairs)
        if method != "POST":
            raise Refused(405, "GET or POST")
        if kind != "application/x-www-form-urlencoded":
            raise Refused(415, "send a form")
        asked, before = None, None
        try:
            fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=10)
            fields = {key: values[0].replace("\r\n", "\n") for key, values in fields.items()}
            asked = {key: fields.get(key, "") for key in ("text", "pair", "label")}
            answers = self.ask_all(asked)
            if fields.get("before", "").strip():
                old = {"text": fields["before"], "pair": fields.get("before_pair", ""), "label": asked["label"]}
                before = {"asked": old, "answers": self.ask_all(old)} if old != asked else None
        except (UserError, ValueError) as error:
            return 400, headers, live.render(self.labels, self.reads_pairs, asked, problem=one_line(str(error)))
        return 200, headers, live.render(self.labels, self.reads_pairs, asked, answers, before)

    def api(self, asked):
        """{name: answer} for {"text", "pair" (of a classifier of pairs), "label" (to explain)}."""
        if not isinstance(asked, dict) or not all(isinstance(value, str) for value in asked.values()):
            raise ValueError('send an object such as {"text": "..."}')
        unknown = set(asked) - {"text", "pair", "label"}
        if unknown:
            raise ValueError(f"there is text, pair and label, but no {sorted(unknown)[0]}")
        if asked.get("pair") and not self.reads_pairs:
            raise ValueError("this classifier reads single texts; leave pair out")
        answers = self.ask_all({"pair": "", "label": "", "text": ""} | asked)
        return {answer.pop("name").lower(): answer for answer in map(dict, answers)}

    def ask_all(self, asked):
        """Every classifier's answer. Raises ValueError when the text cannot be classified."""
        for key, name in (("text", "text"), ("pair", "second text"))[: 2 if self.reads_pairs else 1]:
            if not asked[key].strip():
                raise ValueError(f"there is no {name}; type one")
        if asked["label"] and asked["label"] not in self.labels:
            raise ValueError("there is no such label")
        with self.lock:
            return [self.known(name, asked["text"], asked["pair"], asked["label"]) for name in self.classifiers]

    def ask(self, name, text, pair, label):
        """{"name", "label", "scores": {label: probability}, "explanation"} of one classifier."""
        classifier = self.classifiers[name]
        pairs = [pair] if self.reads_pairs else None
        [scores] = classifier.probabilities([text], pairs)
        [explanation] = classifier.explain([text], pairs, [label or None])
        return {
            "name": name,
            "label": self.labels[scores.argmax()],
            "scores": dict(zip(self.labels, scores.tolist(), strict=True)),
            "explanation": explanation,
        }
