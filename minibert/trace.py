"""`python -m minibert.trace "a fine film"`: a sentence's way through the model, number by number, as one page.

The model of `model.py` runs as it is, with plain layers, while a hook on each of its modules notes three things: what
went in, what came out, and the line of the source that made the call, which is read off Python's own stack. What the
page says of embeddings, attention, layers, pooling and head is taken from these notes.

Whether the notes add up is `trace_checks.py`'s part, and which words decided `explain.py`'s.

`trace` is the door: a text in, a record of plain numbers out. `report/` makes the page of it.
"""

import contextlib
import inspect
import linecache
from dataclasses import dataclass
from pathlib import Path

from .plumbing.command import Parser, number, run_command
from .plumbing.files import UserError
from .text_classifier import find_folder

PIECES = 48  # shown by default: a heat map of more has cells too small to be read
MOST_PIECES = 64
FEATURES = 64  # numbers of a vector that are shown


# ---- listening


@dataclass
class Call:
    """One call of a module, as its hook saw it."""

    taken: object  # the first thing that it was given: a tensor
    given: object  # what it answered: a tensor, or a tuple of them
    place: dict | None  # {"file", "line", "code"} of the line that made the call; None outside model.py and head.py


@contextlib.contextmanager
def listening(**parts):
    """{name: Call} of every module in these parts of a model, filled in while the model runs: listening(encoder=...).

    A module that is called several times leaves its last call.
    """
    calls, hooks = {}, []

    def listen(name, module):
        def note(_, inputs, output):
            calls[name] = Call(inputs[0], output, calling_line())

        hooks.append(module.register_forward_hook(note))

    for part, whole in parts.items():
        for name, module in whole.named_modules():
            listen(f"{part}.{name}".removesuffix("."), module)
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def calling_line():
    """The line of model.py or head.py that is being computed, found on Python's stack."""
    from . import head, model

    files = {inspect.getsourcefile(model), inspect.getsourcefile(head)}
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename not in files:
        frame = frame.f_back  # first out of PyTorch, then through whatever called the model
    return None if frame is None else line_at(frame.f_code.co_filename, frame.f_lineno)


def line_with(function, words):
    """The one line of a function that holds these words: for a step that calls no module, where no hook can listen."""
    lines, first = inspect.getsourcelines(function)
    found = [first + i for i, line in enumerate(lines) if words in line]
    if len(found) != 1:
        raise ValueError(f"{function.__qualname__} has {len(found)} lines with {words!r}, not one")
    return line_at(inspect.getsourcefile(function), found[0])


def line_at(path, line):
    return {"file": Path(path).name, "line": line, "code": linecache.getline(path, line).strip()}


# ---- the record


def trace(model, tokenizer, text, pair=None, max_length=PIECES, truncation="head"):
    """The way of one text, or pair, through an `Encoder` or a `Classifier` with plain layers, in eval mode.

    A record that holds what JSON can; vectors are cut to their first FEATURES numbers, sizes are Euclidean lengths:

        pieces      [{"piece", "id", "position", "type" (None: the model has no types)}], T of them
        whole       pieces of the text before it was cut, special tokens included
        embeddings, layers, pooling, head: see the functions below; head is None for an encoder
        words       `explain.explain`'s record, or None for an encoder
        lines       {what: {"file", "line", "code"}}: where each step stands in the source
        checks      [{"name", "difference", "allowed"}]: do the parts add up?
    """
    import torch  # late, as everywhere here: --help need not wait for it

    from .batch import collate
    from .explain import explain
    from .head import NATIVE, pool
    from .trace_checks import check

    is_classifier = hasattr(model, "head")
    encoder = model.encoder if is_classifier else model
    [sequence] = tokenizer.encode([text], None if pair is None else [pair], max_length, truncation)
    batch = collate([sequence], tokenizer.pad_id)
    parts = {"encoder": encoder} | ({"head": model.head} if is_classifier else {})
    with torch.no_grad():
        unheard = model(*batch)
        with listening(**parts) as calls:
            answer = model(*batch)
            pooling = model.pooling if is_classifier else NATIVE[encoder.config.family][0]
            if pooling == "pooler" and encoder.pooler is None:
                pooling = "cls"
            if not is_classifier:  # the model ends before it; this is what a classifier would do next
                pooled = pool(answer, batch.attention_mask, pooling, encoder.pooler)
        pooled = calls["head"].taken if is_classifier else pooled
    words = None
    if is_classifier:
        pairs = None if pair is None else [pair]
        [words] = explain(model, tokenizer, [text], pairs, None, max_length, truncation)
    return {
        "pieces": pieces_of(calls, batch, tokenizer),
        "whole": sequence.whole_length,
        "embeddings": embeddings_of(calls),
        "layers": [layer_of(calls, i) for i in range(len(encoder.layers))],
        "stream": [rounded(vector) for vector in stream(calls, encoder)],
        "pooling": {"how": pooling, "vector": rounded(pooled[0]), "size": size(pooled[0]), "width": pooled.shape[1]},
        "head": head_of(calls, model) if is_classifier else None,
        "words": words,
        "lines": lines_of(calls, pooling),
        "checks": check(calls, model, pooling, pooled, unheard),
    }


def rounded(vector):
    """A vector's first numbers, as they are shown."""
    return [float(f"{value:.6g}") for value in vector[:FEATURES].tolist()]


def size(vectors):
    """Euclidean length of a vector [E], or of each of several [T, E]."""
    return vectors.norm(dim=-1).tolist()


def pieces_of(calls, batch, tokenizer):
    """Each token, with the position and the type under which the model looked it up."""
    ids = calls["encoder.embeddings.word"].taken[0].tolist()
    positions = calls["encoder.embeddings.position"].taken.flatten().tolist()
    types = calls.get("encoder.embeddings.token_type")
    types = [None] * len(ids) if types is None else types.taken[0].tolist()
    rows = zip(ids, positions, types, strict=True)
    return [{"piece": tokenizer.backend.id_to_token(one), "id": one, "position": position, "type": kind}
            for one, position, kind in rows]  # fmt: skip


def embeddings_of(calls):
    """{"sizes": {vector: [T]}, "shown": number of the piece whose vectors are shown, "vectors": {vector: numbers},
    "mean", "deviation": of that piece's sum}; the vectors are word, position, token type (where there is one), sum, and
    normalised.
    """
    vectors = {}
    for name in ("word", "position", "token_type"):
        if f"encoder.embeddings.{name}" in calls:
            given = calls[f"encoder.embeddings.{name}"].given
            vectors[name.replace("_", " ")] = given.reshape(-1, given.shape[-1])  # [T, E]
    norm = calls["encoder.embeddings.norm"]
    vectors |= {"sum": norm.taken[0], "normalised": norm.given[0]}
    shown = min(1, len(vectors["sum"]) - 1)  # the first piece that is no special token
    return {
        "sizes": {name: size(of_all) for name, of_all in vectors.items()},
        "shown": shown,
        "width": vectors["sum"].shape[1],
        "vectors": {name: rounded(of_all[shown]) for name, of_all in vectors.items()},
        "mean": vectors["sum"][shown].mean().item(),
        "deviation": vectors["sum"][shown].std(correction=0).item(),
    }


def layer_of(calls, number):
    """{"attention": [H][T][T], a row for each taking piece; sizes of each piece's vector, [T] each: "enters",
    "attention_adds", "middle", "feed_forward_adds", "leaves"; "attention_cosine", "feed_forward_cosine": [T], whether
    what is added points where the vector points already}.
    """
    from torch.nn.functional import cosine_similarity

    def call(name):
        return calls[f"encoder.layers.{number}.{name}".removesuffix(".")]

    enters, leaves = call("").taken[0], call("feed_forward_norm").given[0]
    (attended, probabilities), middle = call("attention").given, call("attention_norm").given[0]
    fed = call("feed_forward").given[0]
    return {
        "attention": probabilities[0].tolist(),
        "enters": size(enters),
        "attention_adds": size(attended[0]),
        "middle": size(middle),
        "feed_forward_adds": size(fed),
        "leaves": size(leaves),
        "attention_cosine": cosine_similarity(enters, attended[0], dim=-1).tolist(),
        "feed_forward_cosine": cosine_similarity(middle, fed, dim=-1).tolist(),
    }


def stream(calls, encoder):
    """The first token's vector after the embeddings, and after each layer: L + 1 of [E]."""
    yield calls["encoder.embeddings"].given[0, 0]
    for i in range(len(encoder.layers)):
        yield calls[f"encoder.layers.{i}"].given[0][0, 0]


def head_of(calls, classifier):
    """{"name", "labels", "read": the numbers that the last linear layer reads; "products" [C]: their sum, each times
    its weight; "bias", "logits", "probabilities" [C]}."""
    last, read = classifier.head.output, calls["head.output"].taken[0]
    logits = calls["head"].given[0]
    return {
        "name": classifier.head_name,
        "labels": classifier.label_names,
        "read": rounded(read),
        "width": len(read),
        "products": (last.weight.double() @ read.double()).tolist(),
        "bias": last.bias.tolist(),
        "logits": logits.tolist(),
        "probabilities": logits.double().softmax(dim=0).tolist(),
    }


def lines_of(calls, pooling):
    """Where each step stands. Whoever called a module was noted by its hook; the rest call none, and are looked up."""
    from .head import pool
    from .model import Attention

    heard = {
        "word": "embeddings.word", "token type": "embeddings.token_type", "embeddings norm": "embeddings.norm",
        "layer": "layers.0", "query": "layers.0.attention.query", "key": "layers.0.attention.key",
        "value": "layers.0.attention.value", "softmax": "layers.0.attention.dropout",
        "attention output": "layers.0.attention.output", "attention": "layers.0.attention",
        "attention norm": "layers.0.attention_norm", "feed-forward": "layers.0.feed_forward.expand",
        "feed-forward norm": "layers.0.feed_forward_norm", "pooling": "pooler.dense",
    }  # fmt: skip
    lines = {what: calls[f"encoder.{name}"].place for what, name in heard.items() if f"encoder.{name}" in calls}
    lines |= {what: calls[name].place for what, name in (("dense", "head.dense"), ("logits", "head.output"))
              if name in calls}  # fmt: skip
    lines["scores"] = line_with(Attention.attend, "key.transpose")
    lines["context"] = line_with(Attention.attend, "return probabilities @")
    if pooling != "pooler":
        lines["pooling"] = line_with(pool, {"cls": "return hidden[:, 0]", "mean": "return (hidden * weights)"}[pooling])
    return lines


# ---- the command line


def main(argv=None):
    """Run the command; returns its exit code: 1 when a check found that the parts do not add up."""
    options = parse(argv)
    from .plumbing import processes
    from .report import write_trace

    processes.refuse("trace")
    record = trace_of(options)
    write_trace(record, Path(options.output))
    return 0 if all(one["difference"] <= one["allowed"] for one in record["checks"]) else 1


def parse(argv):
    """The options of a command line."""
    parser = Parser(
        prog="python -m minibert.trace",
        description="Follow a sentence through the model, and write every step with its numbers into one HTML page.",
    )
    add = parser.add_argument
    add("text", help="a sentence; a long one is cut to --max-length pieces")
    add("--pair", metavar="TEXT", help="a second text, for models of pairs")
    add("--model", metavar="MODEL", default="minibert-tiny", help="an encoder, a classifier or a run: a folder or a "
        "Hub id")  # fmt: skip
    add("--max-length", type=number(int, 5, MOST_PIECES), default=PIECES, help="pieces that are kept and shown")
    add("--output", metavar="FILE", default="trace.html", help="the page; one that is there already is replaced")
    options = parser.parse_args(argv)
    for name, text in (("the text", options.text), ("--pair", options.pair)):
        if text is not None and not text.strip():
            raise UserError(f"{name} is empty; type a sentence")
    return options


def trace_of(options):
    """The record of a command line, with what the page says of text and model."""
    from .load import read_model, read_tokenizer
    from .tokenizer import check_vocabulary

    folder = find_folder(options.model)
    model, extra = read_model(folder, fast=False)
    tokenizer = read_tokenizer(folder)
    config = getattr(model, "encoder", model).config
    check_vocabulary(tokenizer, config, folder)
    if extra.get("pairs") and options.pair is None:
        raise UserError(f"{options.model}: reads pairs of texts; give the second one with --pair")
    limits = (options.max_length, tokenizer.max_length, config.longest, extra.get("max_length", options.max_length))
    record = trace(model, tokenizer, options.text, options.pair, min(limits), extra.get("truncation", "head"))
    return record | {
        "text": options.text, "pair": options.pair, "model": options.model, "model_type": config.model_type,
        "layer_count": config.num_hidden_layers, "head_count": config.num_attention_heads, "width": config.hidden_size,
        "windows": extra.get("windows", 1), "single": extra.get("pairs") is False,
    }  # fmt: skip


if __name__ == "__main__":
    run_command(main)
