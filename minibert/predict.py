"""`python -m minibert.predict RUN [TEXT ...]`: classify new text with a finished run, and see which words decided.

RUN is a run's folder (its fine-tuned classifier, else its frozen one), or the folder or Hub id of any classifier
that `load.read_classifier` reads. Text in, labels out: any number of texts, in their order, in little memory. A text
that cannot be read is told on standard error with its line, the others come out, and the exit code is 2.
"""

import argparse
import csv
import io
import json
import re
import sys
from pathlib import Path

from .plumbing.command import Parser, number, run_command
from .plumbing.files import UserError, csv_text, escape, one_line
from .text_classifier import load_classifier

WIDTH = 80


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
    add("--port", type=number(int, 0, 65535), help="of --serve; 0 takes a free one (default: 8000)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU if there is one")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16", "int8"), default="fp32",
        help="of matrix products; int8 rounds the encoder's to whole numbers: the fastest on a CPU with VNNI "
        "instructions; probabilities move by half a hundredth on average, and a label here and there with them; it "
        "answers only, without --explain, --attention and --serve")  # fmt: skip
    options = parser.parse_intermixed_args(argv)
    if options.file and options.texts:
        raise UserError("texts and --file: give one or the other")
    options.explain |= options.label is not None
    if options.port is not None and not options.serve:
        raise UserError(f"--port {options.port}: is where --serve offers its page; add --serve")
    if options.port is None:
        options.port = 8000
    if options.serve and (options.file or options.texts):
        raise UserError("--serve: texts are typed into the page; give none here")
    if options.serve and (options.explain or options.attention or options.format != "text"):
        raise UserError("--serve: the page explains every answer by itself; leave out --explain, --label, --attention "
                        "and --format")  # fmt: skip
    if options.format == "csv" and (options.explain or options.attention):
        raise UserError("--format csv: one line a text has no room for explanations; use --format jsonl")
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
        from .serve import serve  # late, as all here: --help need not wait

        return serve(options.run, options.port, options.device, options.precision)
    classifier = load_classifier(options.run, not options.attention, options.device, options.precision)
    if options.label is not None and options.label not in classifier.label_names:
        known = ", ".join(classifier.label_names[:20])
        raise UserError(f"--label {options.label}: this classifier's labels are {known}")
    if options.attention and classifier.windows > 1:
        print("note: this classifier reads a long text in several windows; the attention shown is the first one's",
              file=sys.stderr)  # fmt: skip
    write = WRITERS[options.format]
    if options.format != "text" and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")  # whatever the terminal's: these are read by programs
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
        stream = io.BytesIO(sys.stdin.read().encode("utf-8", "surrogatepass"))
    else:
        stream = sys.stdin.buffer
    return "standard input, line", texts_of_stream(stream, pairs)


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
        if not line.strip():
            continue
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
    names = ["text", "text_pair"] if classifier.reads_pairs else ["text"]
    if is_first:
        print(csv_line([*names, "label", *(f"score_{name}" for name in classifier.label_names)]))
    texts = [csv_text(answer[name]) for name in names]
    print(csv_line([*texts, csv_text(answer["label"]), *(f"{value:.6f}" for value in answer["scores"])]))


def csv_line(cells):
    """A row without its end. The writer quotes a carriage return only where its own lines end with one."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue().removesuffix("\r\n")


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


if __name__ == "__main__":
    run_command(main)
