"""`python -m minibert.predict RUN [TEXT ...]`: classify new text with a finished run.

RUN is a run's folder (its fine-tuned classifier, else its frozen one), or the folder or Hub id of any classifier
that `load.read_classifier` reads. Text in, labels out.
"""

import csv
import json
import sys
from pathlib import Path

from .evaluate import predict
from .load import read_classifier, read_tokenizer
from .metrics import softmax
from .plumbing.checkpoint import find_checkpoint
from .plumbing.command import Parser, run_command
from .plumbing.device import resolve_device, resolve_precision
from .plumbing.files import UserError, csv_text, one_line, read_text
from .tokenizer import check_vocabulary


class TextClassifier:
    """A trained classifier with its tokenizer and its limits on length."""

    def __init__(self, classifier, tokenizer, extra=None, device="cpu", precision="fp32"):
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

    def probabilities(self, texts, pairs=None, quiet=True):
        """float64 NumPy [N, C], a row per text, in the order of `label_names`."""
        labels = [0] * len(texts)
        examples = self.tokenizer.examples(texts, pairs, labels, self.max_length, self.truncation, self.windows)
        return softmax(predict(self.classifier, examples, self.device, self.precision, quiet=quiet))

    def predict(self, texts, pairs=None):
        """The most probable label's name for each text (or pair)."""
        if not len(texts):
            return []
        return [self.label_names[best] for best in self.probabilities(texts, pairs).argmax(1)]


def load_classifier(model, fast=True, device="cpu", precision="fp32"):
    """A `TextClassifier` from a run's folder, a classifier's folder, or a Hub id. Raises UserError."""
    for part in ("finetuned", "frozen"):
        if (Path(model) / part / "config.json").is_file():
            model = Path(model) / part
            break
    folder = find_checkpoint(model)
    classifier, extra = read_classifier(folder, fast)
    tokenizer = read_tokenizer(folder)
    check_vocabulary(tokenizer, classifier.encoder.config, folder)
    return TextClassifier(classifier, tokenizer, extra, device, precision)


def main(argv=None):
    parser = Parser(
        prog="python -m minibert.predict",
        description="Classify text with a finished run: texts as arguments, from --file, or from standard input.",
    )
    add = parser.add_argument
    add("run", help="a run's folder, a classifier's folder, or a Hub id")
    add("texts", nargs="*", metavar="TEXT", help="none: standard input, one a line; a pair has a tab between its texts")
    add("--file", metavar="PATH", help="read texts from a UTF-8 file, one a line")
    add("--format", choices=("text", "csv", "jsonl"), default="text", help="text: label, probability and text a line")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="fp32", help="of matrix products")
    options = parser.parse_args(argv)
    if options.file and options.texts:
        raise UserError("texts and --file: give one or the other")
    classifier = load_classifier(options.run, device=options.device, precision=options.precision)
    if options.file:
        texts = read_text(options.file).split("\n")
    else:
        texts = options.texts or read_standard_input().split("\n")
    texts = [text.rstrip("\r\n") for text in texts if text.strip()]
    if not texts:
        raise UserError(f"{options.file or 'standard input'}: no text to classify")
    firsts, pairs = texts, None
    if classifier.reads_pairs:
        alone = next((number for number, text in enumerate(texts, 1) if text.count("\t") != 1), None)
        if alone:
            raise UserError(f"text {alone}: this classifier reads pairs; put one tab between the two texts")
        firsts, pairs = zip(*(text.split("\t") for text in texts), strict=True)
    write(texts, classifier.probabilities(firsts, pairs), classifier.label_names, options.format)
    return 0


def read_standard_input():
    """All of standard input. UserError when it is closed or not UTF-8."""
    if sys.stdin is None:
        raise UserError("standard input is closed; give texts as arguments, or --file")
    if not hasattr(sys.stdin, "buffer"):  # a program has put its own text there
        return sys.stdin.read()
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"standard input, line {line}: not UTF-8 (byte 0x{error.object[error.start]:02x})") from None


def write(texts, probabilities, label_names, form):
    """One line per text on standard output."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        table.writerow(["text", "label", *(f"score_{name}" for name in label_names)])
    for text, row in zip(texts, probabilities, strict=True):
        label = label_names[row.argmax()]
        if form == "csv":
            table.writerow([csv_text(text), csv_text(label), *(f"{value:.6f}" for value in row)])
        elif form == "jsonl":
            scores = {name: round(float(value), 6) for name, value in zip(label_names, row, strict=True)}
            print(json.dumps({"text": text, "label": label, "scores": scores}, ensure_ascii=False))
        else:
            print(f"{one_line(label)}\t{row.max():.4f}\t{text}")


if __name__ == "__main__":
    run_command(main)
