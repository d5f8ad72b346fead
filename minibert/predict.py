"""`python -m minibert.predict RUN [TEXT ...]`: classify new text with a finished run, and see which words decided.

RUN is a run's folder (its fine-tuned classifier, else its frozen one), or the folder or Hub id of any classifier
that `load.read_classifier` reads. Text in, labels out: any number of texts, in their order, in little memory. A text
that cannot be read is told on standard error with its line, the others come out, and the exit code is 2.
"""

import argparse
import csv
import functools
import json
import re
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qs

from .plumbing.command import Parser, number, run_command
from .plumbing.files import UserError, csv_text, escape, one_line

PARTS = {"finetuned": "Fine-tuned", "frozen": "Frozen"}  # the classifiers in a run's folder
WIDTH = 80


class TextClassifier:
    """A trained classifier with its tokenizer and its limits on length."""

    def __init__(self, classifier, tokenizer, extra=None, device="cpu", precision="fp32"):
        from .fast import quantize  # late, as all here: --help need not wait
        from .plumbing.device import resolve_device, resolve_precision

        extra = extra or {}
        self.classifier = classifier
        self.tokenizer = tokenizer
        self.label_names = classifier.label_names
        longest = min(tokenizer.max_length, classifier.encoder.config.longest)
        self.max_length = extra.get("max_length", longest)
        self.truncation = extra.get("truncation", "head")
        self.windows = extra.get("windows", 1)
        self.reads_pairs = extra.get("pairs", False)
        self.device = resolve_device(device)
        self.precision, _ = resolve_precision(precision, self.device)
        self.classifier.to(self.device)
        if self.precision == "int8":
            quantize(self.classifier)

    def probabilities(self, texts, pairs=None, quiet=True):
        """float64 NumPy [N, C], a row per text, in the order of `label_names`."""
        from .evaluate import predict
        from .metrics import softmax

        labels = [0] * len(texts)
        examples = self.tokenizer.examples(texts, pairs, labels, self.max_length, self.truncation, self.windows)
        return softmax(predict(self.classifier, examples, self.device, self.precision, quiet=quiet))

    def predict(self, texts, pairs=None):
        """The most probable label's name for each text (or pair)."""
        if not len(texts):
            return []
        return [self.label_names[best] for best in self.probabilities(texts, pairs).argmax(1)]

    def explain(self, texts, pairs=None, labels=None):
        """Which words decided: a record for each text (or pair), as `explain.explain` makes it."""
        from .explain import explain

        limits = (self.max_length, self.truncation, self.windows)
        return explain(self.classifier.eval(), self.tokenizer, texts, pairs, labels, *limits)

    def attention(self, text, pair, layer, head):
        """Where a head looks: {"layer", "head", "tokens": [T], "weights": [T][T]}. UserError when it is not there."""
        from .explain import attention_weights

        batch = self.tokenizer([text], pair and [pair], self.max_length, self.truncation)
        try:
            weights = attention_weights(self.classifier.eval(), batch.to(self.device), layer, head)
        except ValueError as error:
            raise UserError(f"--attention {layer},{head}: {error}") from None
        tokens = [self.tokenizer.backend.id_to_token(token) for token in batch.input_ids[0].tolist()]
        return {"layer": layer, "head": head, "tokens": tokens, "weights": weights.tolist()}


def load_classifier(model, fast=True, device="cpu", precision="fp32"):
    """A `TextClassifier` from a run's folder, a classifier's folder, or a Hub id. Raises UserError.

    precision: among those of the command line; the weights on the disk stay as they are.
    """
    from .load import read_classifier, read_tokenizer
    from .tokenizer import check_vocabulary

    folder = find_folder(model)
    classifier, extra = read_classifier(folder, fast)
    tokenizer = read_tokenizer(folder)
    check_vocabulary(tokenizer, classifier.encoder.config, folder)
    return TextClassifier(classifier, tokenizer, extra, device, precision)


def find_folder(model):
    """The folder of a checkpoint: of a run's folder the fine-tuned classifier's, else the frozen one's."""
    from .plumbing.checkpoint import find_checkpoint

    for part in PARTS:
        if (Path(model) / part / "config.json").is_file():
            return find_checkpoint(Path(model) / part)
    return find_checkpoint(model)


# ---- the command line


def parse(argv):
    """The options of a command line."""
    parser = Parser(
        prog="python -m minibert.predict",
        description="Classify text with a finished run: texts as arguments, from --file, or from standard input.",
    )
    add = parser.add_argument
    add("run", help="a run's folder, a classifier's folder, or a Hub id")
    add("texts", nargs="*", metavar="TEXT", help="none: standard input, one a line, or a prompt on a terminal; a pair "
        "has a tab between its texts")  # fmt: skip
    add("--file", metavar="PATH", help="read texts from a .csv, .tsv or .jsonl file, or any other with one a line")
    add("--text-column", default="text", help="of such a file: the column of texts")
    add("--pair-column", default="text_pair", help="of such a file: the column of second texts, if they are wanted")
    add("--format", choices=("text", "csv", "jsonl"), default="text", help="text: label, probability and text a line")
    add("--explain", action="store_true", help="show which words decided (integrated gradients, see explain.py)")
    add("--label", metavar="NAME", help="explain this label (default: the predicted one)")
    add("--attention", type=layer_and_head, metavar="L,H", help="show where head H of layer L looks, from 1,1")
    add("--serve", action="store_true", help="a page to type texts into, on this machine alone")
    add("--port", type=number(int, 0, 65535), default=8000, help="of --serve; 0 takes a free one")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16", "int8"), default="fp32",
        help="of matrix products; int8 rounds the encoder's to whole numbers: the fastest on a CPU with VNNI "
        "instructions; probabilities move by about a hundredth, and a label here and there with them; it answers only, "
        "without --explain, --attention and --serve")  # fmt: skip
    options = parser.parse_intermixed_args(argv)
    if options.file and options.texts:
        raise UserError("texts and --file: give one or the other")
    if options.serve and (options.file or options.texts):
        raise UserError("--serve: texts are typed into the page; give none here")
    if options.format == "csv" and (options.explain or options.attention):
        raise UserError("--format csv: one line a text has no room for explanations; use --format jsonl")
    options.explain |= options.label is not None
    asked = [name for name in ("explain", "attention", "serve") if getattr(options, name)]
    if options.precision == "int8" and asked:
        raise UserError(f"--precision int8: answers and does not explain; leave out --{asked[0]}, or use fp32")
    return options


def layer_and_head(text):
    """An argparse type: "2,3" -> (2, 3)."""
    found = re.fullmatch(r"(\d{1,4}),(\d{1,4})", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a layer and a head such as 2,3")
    return int(found[1]), int(found[2])


def main(argv=None):
    """Run the command; returns its exit code."""
    options = parse(argv)
    from .plumbing import processes

    processes.refuse("predict")
    if options.serve:
        return serve(options)
    classifier = load_classifier(options.run, not options.attention, options.device, options.precision)
    if options.label is not None and options.label not in classifier.label_names:
        known = ", ".join(classifier.label_names[:20])
        raise UserError(f"--label {options.label}: this classifier's labels are {known}")
    write = WRITERS[options.format]
    if not options.texts and not options.file and sys.stdin is not None and sys.stdin.isatty():
        return prompt(classifier, options, write)
    source, chunks = find_texts(options, classifier.reads_pairs)
    return classify(classifier, options, write, source, chunks)


def find_texts(options, pairs):
    """(how messages call the place of a text, the texts in chunks)."""
    from .data import Columns, texts_of_file, texts_of_list, texts_of_stream

    if options.texts:
        return "text", texts_of_list(options.texts, pairs)
    if options.file:
        columns = Columns(options.text_column, options.pair_column)
        return f"{options.file}, line", texts_of_file(Path(options.file), columns, pairs)
    if sys.stdin is None:
        raise UserError("standard input is closed; give texts as arguments, or --file")
    if not hasattr(sys.stdin, "buffer"):  # a program has put its own text there
        return "standard input, line", texts_of_list(sys.stdin.read().split("\n"), pairs)
    return "standard input, line", texts_of_stream(sys.stdin.buffer, pairs)


def classify(classifier, options, write, source, chunks):
    """Answer all texts, a chunk at a time; the exit code."""
    from tqdm import tqdm

    count, bad = 0, 0
    # Where the answers can be seen as they come, they are progress enough, and a bar would write over them.
    quiet = sys.stdout.isatty() or not sys.stderr.isatty()
    with tqdm(desc="classifying", unit=" texts", disable=quiet) as bar:
        for texts in chunks:
            for text in texts:
                if text.problem:
                    tqdm.write(f"error: {one_line(f'{source} {text.number}: {text.problem}')}", file=sys.stderr)
                    bad += 1
            good = [text for text in texts if not text.problem]
            for answer in answer_all(classifier, options, good):
                write(answer, classifier, is_first=not count)
                count += 1
            sys.stdout.flush()
            bar.update(len(texts))
    if not count and not bad:
        raise UserError(f"{options.file or 'standard input'}: no text to classify")
    if bad and count:
        print(f"error: {bad:,} of {bad + count:,} texts could not be read; the others are answered", file=sys.stderr)
    return 2 if bad else 0


def answer_all(classifier, options, texts):
    """An answer for each `NewText`: {"text", "text_pair" (None without), "label", "scores" [C], ...}."""
    if not texts:
        return
    firsts = [text.text for text in texts]
    pairs = [text.pair for text in texts] if classifier.reads_pairs else None
    probabilities = classifier.probabilities(firsts, pairs)
    for text, scores in zip(texts, probabilities, strict=True):
        answer = {"text": text.text, "text_pair": text.pair, "label": classifier.label_names[scores.argmax()]}
        answer["scores"] = scores.tolist()
        pair = None if text.pair is None else [text.pair]
        if options.explain:
            [answer["explanation"]] = classifier.explain([text.text], pair, [options.label])
        if options.attention:
            answer["attention"] = classifier.attention(text.text, text.pair, *options.attention)
        yield answer


def prompt(classifier, options, write):
    """Answer texts as they are typed, until the end of input (Ctrl-D)."""
    from .data import texts_of_list

    asked = "text, a tab, second text> " if classifier.reads_pairs else "text> "
    print("Type a text and press Enter; Ctrl-D ends.", file=sys.stderr)
    first = True
    while True:
        print(asked, end="", file=sys.stderr, flush=True)
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError:
            print("error: that was not UTF-8", file=sys.stderr)
            continue
        if not line:
            print(file=sys.stderr)
            return 0
        for [text] in texts_of_list([line.rstrip("\r\n")], classifier.reads_pairs):
            if text.problem:
                print(f"error: {one_line(text.problem)}", file=sys.stderr)
                continue
            for answer in answer_all(classifier, options, [text]):
                write(answer, classifier, is_first=first)
                first = False
        sys.stdout.flush()


# ---- an answer on standard output


def write_text(answer, classifier, is_first):
    """A line: label, probability and text; and under it what decided."""
    from .report import terminal

    texts = [text for text in (answer["text"], answer["text_pair"]) if text is not None]
    best = max(answer["scores"])
    if sys.stdout.isatty():
        print(terminal.answer(answer["label"], best, texts, WIDTH))
    else:
        print("\t".join([one_line(answer["label"]), f"{best:.4f}", *map(visible, texts)]))
    if "explanation" in answer:
        print(*terminal.explanation(answer["explanation"], *texts, colour=terminal.in_colour()), "", sep="\n")
    if "attention" in answer:
        print(*terminal.attention_map(answer["attention"]), "", sep="\n")


def write_csv(answer, classifier, is_first):
    """A row: text, its pair, label and every label's probability."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    names = ["text", "text_pair"] if classifier.reads_pairs else ["text"]
    if is_first:
        table.writerow([*names, "label", *(f"score_{name}" for name in classifier.label_names)])
    texts = [csv_text(answer[name]) for name in names]
    table.writerow([*texts, csv_text(answer["label"]), *(f"{value:.6f}" for value in answer["scores"])])


def write_jsonl(answer, classifier, is_first):
    """An object: the same, and explanations in numbers."""
    scores = zip(classifier.label_names, answer["scores"], strict=True)
    values = {key: value for key, value in answer.items() if value is not None}
    values["scores"] = {name: round(value, 6) for name, value in scores}
    print(json.dumps(values, ensure_ascii=False))


WRITERS = {"text": write_text, "csv": write_csv, "jsonl": write_jsonl}


def visible(text):
    """The whole text in one line, with escapes for what a terminal would obey."""
    return "".join(letter if letter.isprintable() else escape(letter) for letter in text)


# ---- the page


def serve(options):
    """Answer on a page of this machine until Ctrl-C."""
    from .plumbing.loopback import Server

    site = Site({name: load_classifier(folder, device=options.device, precision=options.precision)
                 for name, folder in classifiers_of(options.run).items()})  # fmt: skip
    with Server(options.port, site.answer) as server:
        print(f"{', '.join(site.classifiers)}: open {server.address} (on this machine alone; Ctrl-C ends)", flush=True)
        server.serve_forever()


def classifiers_of(run):
    """{name: folder} of the classifiers of a run, or of the one that `run` itself is."""
    found = {title: Path(run) / part for part, title in PARTS.items() if (Path(run) / part / "config.json").is_file()}
    return found or {"Answer": run}


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
        from .plumbing.loopback import Refused

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
        from .plumbing.loopback import Refused
        from .report import live

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


if __name__ == "__main__":
    run_command(main)
