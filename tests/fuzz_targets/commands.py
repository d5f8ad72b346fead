"""Commands: their options, what `predict` reads, and a run's own files before --resume."""

import contextlib
import io
import json
import os
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from minibert import explore, finetune, predict
from minibert.distill import __main__ as distill
from minibert.parity import __main__ as parity
from minibert.plumbing.command import Parser, describe
from minibert.plumbing.files import UserError

from . import NASTY_NUMBERS, NASTY_TEXTS, change_bytes, change_json, may_be_named, nasty_value, write_json_text
from .checkpoints import change_tensors
from .templates import FAMILIES, copy, data, run, run_arguments, template

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here asks anyone
for scheme in ("http", "https", "ftp"):
    os.environ[f"{scheme}_proxy"] = "http://127.0.0.1:9"

# Values that are sound, or nearly, for options whose parser does not list them.
SOUND = {
    "--model": ("minibert-tiny", "owner/none", "none"), "--data": ("none", "."), "--text-column": ("text", "label"),
    "--pair-column": ("text_pair", "text"), "--label-column": ("label", "text"), "--group-column": ("label", "kind"),
    "--seeds": ("1,2", "0"), "--warmup": (0, 0.5, 3), "--losses": ("hidden", "logits", "relation,hidden"),
    "--rungs": ("gelu", "none"), "--only": ("gelu", "none"), "--explain": ("gelu", "none"), "--template": ("mine.py",),
    "--weights": ("none",), "--file": ("none",), "--max-length": (5, 24, 25), "--attention": ("1,1", "9,9"),
    "--label": ("none", "LABEL_0"),
}  # fmt: skip
# Options that a case leaves alone: where output goes, what never ends, and what takes minutes.
LEFT_ALONE = {"--output", "--serve", "--port", "--host", "--compile", "--epochs", "--in-process", "--push"}


class Caught(Exception):
    """Ends a command where its parser is ready."""


def options_of(parse):
    """{option: sound values, () for a flag} of a command, out of its own parser."""
    parsers, parse_args = [], Parser.parse_args

    def catch(parser, *_, **__):
        parsers.append(parser)
        raise Caught

    Parser.parse_args = Parser.parse_intermixed_args = catch
    try:
        parse([])
    except Caught:
        pass
    finally:
        Parser.parse_args = parse_args
        del Parser.parse_intermixed_args
    options = {}
    for action in parsers[0]._actions:
        for option in set(action.option_strings) - LEFT_ALONE:
            usual = SOUND.get(option, (1, 2, 0.5, "none"))
            options[option] = () if action.nargs == 0 else tuple(action.choices or usual)
    return options


NASTY_WORDS = (
    "\udcff", "caf\udce9", "a\0b", "a" * 5000, "-", "--", "--x", "@f", "nan", "1e-400", "0,1,", "😀", "~",
)  # fmt: skip
STRANGE_PATHS = ("", ".", "\0", "a" * 300, "a/" * 2500, "\udcff.csv", "mine.csv/x", "\x1b[2J.csv")


# An output may be wherever it is asked for, so nothing here asks for a place outside the case's folder.
SAFE_TEXTS = [text for text in NASTY_TEXTS if not text.startswith(("/", ".."))]


def any_word(random):
    """A word of a command line that is probably wrong."""
    return str(random.choice([*SAFE_TEXTS, *NASTY_NUMBERS, *NASTY_WORDS]))


def change_words(random, words, options):
    """A command line with options put in, taken out, doubled and given other values."""
    words = list(words)
    for _ in range(random.randint(0, 3)):
        option = random.choice(sorted(options))
        words.append(option)
        if options[option] or random.random() < 0.05:
            sound = options[option] and random.random() < 0.6
            words.append(str(random.choice(options[option])) if sound else any_word(random))
    for _ in range(random.choice((0, 0, 0, 1, 2))):
        where = random.randrange(len(words) + 1)
        action = random.randrange(3)
        if action == 0:
            words.insert(where, any_word(random))
        elif action == 1 and words:
            words[where - 1] = random.choice(STRANGE_PATHS)
        elif words:
            del words[where - 1]
    return words


def call(main, words):
    """Run a command's `main`; its exit code has to be one that the command knows.

    `predict` answers the texts that it can read, says of each other one what is wrong with it, and returns 2.
    """
    may_be_named(words)
    said = sys.stderr.tell()
    try:
        code = main(words)
    except SystemExit as stop:  # --help
        code = stop.code
    except (OSError, UnicodeError) as error:  # the command itself makes these one line; see plumbing/command.py
        message, code = describe(error)
        assert code == 2
        raise UserError(message) from error
    if code == 2:
        sys.stderr.seek(said)
        lines = sys.stderr.read().splitlines()
        assert lines and all(line.startswith("error: ") and line.isprintable() for line in lines), lines
    assert code in (0, 1, 2, None), code


def finetune_options(random, folder):
    """The command line of `finetune`."""
    words = change_words(random, run_arguments("run", random.choice(FAMILIES)), OPTIONS["finetune"])
    if random.random() < 0.9:
        words.append("--dry-run")
    else:
        words += ["--epochs", "1", "--mode", random.choice(("frozen", "finetune"))]
    call(finetune.main, words)


def other_options(random, folder):
    """The command lines of `predict`, `explore`, `distill` and `parity`."""
    classifier = str(template(random.choice(FAMILIES), "classifier"))
    command = random.choice(("predict", "explore", "distill", "parity"))
    options = OPTIONS[command]
    if command == "predict":
        with standard_input(b"good\nbad\n"):
            call(predict.main, change_words(random, [classifier, "a good film", "bad"], options))
    elif command == "explore":
        words = [str(data()), "--model", classifier, "--output", "page.html"]
        call(explore.main, change_words(random, words, options))
    elif command == "distill":
        words = change_words(random, [classifier, str(data()), "--output", "student", "--limit", "8"], options)
        call(distill.main, [*words, "--epochs", "1"])
    else:
        words = change_words(random, ["none.py", "--rungs", "gelu"], options)
        if "none.py" in words:  # without a file minibert itself would climb, each time
            call(parity.main, words)


# ---- what predict reads


@contextlib.contextmanager
def standard_input(content):
    """These bytes as standard input, read as Python reads it."""
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")
    try:
        yield
    finally:
        sys.stdin = before


def predict_inputs(random, folder):
    """Texts for `predict`: as arguments, from standard input and from a file, of any bytes."""
    texts = [random.choice((*NASTY_TEXTS, "good", "bad film", "one\ttwo")) for _ in range(random.randrange(5))]
    form = ["--format", random.choice(("text", "csv", "jsonl"))]
    classifier = str(template(random.choice(FAMILIES), "classifier"))
    content = "\n".join(texts).encode("utf-8", "surrogatepass")
    if random.random() < 0.5:
        content = change_bytes(random, content)
    source = random.choice(("arguments", "input", "file"))
    if source == "arguments":
        texts = [text if random.random() < 0.9 else any_word(random) for text in texts]
        with standard_input(b""):
            call(predict.main, [classifier, *form, "--", *texts])
    elif source == "input":
        with standard_input(content):
            call(predict.main, [classifier, *form])
    else:
        name = "texts" + random.choice((".txt", ".csv", ".tsv", ".jsonl"))
        header = {".csv": b"text,text_pair\n", ".tsv": b"text\ttext_pair\n"}.get(name[5:], b"")
        (folder / name).write_bytes((header if random.random() < 0.8 else b"") + content)
        call(predict.main, [classifier, *form, "--file", name])


# ---- a run's own files


def runs(random, folder):
    """A finished or a stopped run of which some file was damaged, and --resume."""
    copy(run(random.choice(("finished", "stopped", "stopped"))), folder / "run")
    kept = [path for pattern in ("*", "work/*") for path in sorted((folder / "run").glob(pattern)) if path.is_file()]
    for path in random.sample(kept, random.choice((1, 1, 2))):
        damage(random, path)
    call(finetune.main, [*run_arguments("run"), "--resume"])
    assert set(json.loads((folder / "run" / "metrics.json").read_text())["rows"]) >= {"majority", "bag-of-words"}


def damage(random, path):
    """Change one of a run's files in a way that a disk, an editor or another version might."""
    if path.suffix == ".json" and random.random() < 0.8:
        write_json_text(random, path, change_json(random, json.loads(path.read_text()), random.randint(1, 2)))
    elif path.suffix == ".jsonl" and random.random() < 0.8:
        lines = path.read_text().splitlines()
        where = random.randrange(len(lines))
        value = json.loads(lines[where])
        lines[where] = json.dumps(change_json(random, value) if random.random() < 0.7 else nasty_value(random))
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".safetensors" and random.random() < 0.7:
        change_state(random, path)
    elif random.random() < 0.2:
        path.unlink()
    else:
        path.write_bytes(change_bytes(random, path.read_bytes()))


def change_state(random, path):
    """Change the state of a training: what its metadata say, or a tensor."""
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())
    if random.random() < 0.6:
        metadata["state"] = json.dumps(change_json(random, json.loads(metadata["state"]), random.randint(1, 2)))
        if random.random() < 0.1:
            metadata["state"] = random.choice(("", "[]", "[" * 5000, "null", "1" * 5000))
    else:
        name = random.choice(sorted(tensors))
        tensor = tensors.pop(name)
        action = random.randrange(4)
        if action == 0:
            tensors[random.choice(("x", "a.b", "model.x", "optimizer.0.x", "random.cpu"))] = tensor
        elif action == 1:
            tensors[name] = tensor[:0] if tensor.dim() else tensor
        elif action == 2:
            tensors[name] = tensor.to(random.choice((torch.float16, torch.int64, torch.uint8)))
    metadata["state"] = metadata["state"].encode("utf-8", "replace").decode()
    save_file(tensors, path, metadata=metadata)


def features(random, folder):
    """Features in the cache that were damaged: they are made again, and the result is what it was."""
    sound = run("finished")
    copy(sound.parent / "cache", folder / "cache")
    kept = sorted((folder / "cache" / "features").iterdir())
    for path in random.sample(kept, random.choice((1, 1, 2))):
        if random.random() < 0.5:
            path.write_bytes(change_bytes(random, path.read_bytes()))
        else:
            with safe_open(path, framework="pt") as file:
                tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
            save_file(change_tensors(random, tensors), path, metadata=metadata)
    call(finetune.main, [*run_arguments("run"), "--mode", "frozen"])
    ours, theirs = (json.loads((place / "work" / "frozen-0.json").read_text()) for place in (folder / "run", sound))
    assert ours["probabilities"] == theirs["probabilities"], "damaged features were used"


for kind in ("finished", "stopped"):
    run(kind)
for family in FAMILIES:
    run_arguments("run", family)

OPTIONS = {
    "finetune": options_of(finetune.parse), "predict": options_of(predict.main), "explore": options_of(explore.parse),
    "distill": options_of(distill.parse), "parity": options_of(parity.parse),
}  # fmt: skip
TARGETS = {
    "finetune-options": finetune_options, "other-options": other_options, "predict-inputs": predict_inputs,
    "runs": runs, "features": features,
}  # fmt: skip
