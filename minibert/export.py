"""`python -m minibert.export RUN`: a classifier as an ONNX file, which runs without PyTorch and without minibert.

An ONNX file is the network as a graph of named operations with its weights in it. `torch.onnx` makes it by following a
forward pass; what it must not do is write down the shapes that it sees on its way as if they were the only ones. So
batch and length are declared free, and the file is not believed but tried: it has to give minibert's logits on texts of
many lengths before it takes its place. The tokenizer lies beside it, and cuts and pads by itself.
"""

import contextlib
import importlib.util
import logging
import sys
import warnings
from pathlib import Path

from .plumbing.command import Parser, run_command
from .plumbing.files import UserError, atomic_path, read_json, write_json, write_text
from .text_classifier import find_folder, load_classifier

PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # of the extra [deploy]
TEXTS = 64  # that every file is tried on
BATCH = 7  # texts of all lengths together, so that padding is tried, too
LARGEST_DIFFERENCE = 1e-4  # between the logits of the same weights in fp32
MOST_CHANGED = TEXTS // 8  # labels; rounding moves those that were in doubt, and a broken file moves most

SCRIPT = """\
import json, numpy, onnxruntime, tokenizers

folder = {folder!r}
tokenizer = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json")  # cuts and pads by itself
labels = json.load(open(folder + "/config.json", encoding="utf-8"))["id2label"]
session = onnxruntime.InferenceSession(folder + "/{name}")

texts = tokenizer.encode_batch({example})
inputs = {{
{inputs}
}}
(logits,) = session.run(None, {{name: numpy.array(rows, dtype=numpy.int64) for name, rows in inputs.items()}})
print([labels[str(best)] for best in logits.argmax(axis=1)])
"""
ATTRIBUTES = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}  # of an encoding


def main(argv=None):
    """Run the command; returns its exit code."""
    options = parse(argv)
    absent = next((name for name in PACKAGES if importlib.util.find_spec(name) is None), None)
    if absent:
        raise UserError(f"export: the package {absent} is not installed; pip install -e '.[deploy]'")
    source = find_folder(options.run)
    if not options.output and not Path(options.run).is_dir():
        raise UserError(f"{options.run}: is no folder on this machine; say with --output where the files shall lie")
    folder = Path(options.output or source / "onnx")
    classifier = load_classifier(source, fast=False)
    print(*notes(classifier), f"trying each file on {TEXTS} texts of many lengths ...", sep="\n", flush=True)
    batches, logits = examples(classifier)
    model = folder / "model.onnx"
    with atomic_path(model) as temporary:
        write_onnx(classifier.classifier, temporary)
        print(f"{model}: {check_whole(temporary, batches, logits, model)}", flush=True)
    write_companions(classifier, read_json(source / "config.json"), folder)
    if options.int8:
        rounded = folder / "model_int8.onnx"
        with atomic_path(rounded) as temporary:
            write_int8(model, temporary)
            print(f"{rounded}: {check_rounded(temporary, batches, logits, rounded)}", flush=True)
        model = rounded
    print(f"beside it: tokenizer.json, config.json; all that it needs: pip install onnxruntime tokenizers\n\n"
          f"{script(classifier, folder, model.name)}", end="")  # fmt: skip
    return 0


def parse(argv):
    """The options of a command line."""
    parser = Parser(
        prog="python -m minibert.export",
        description="Write a classifier as an ONNX file, which runs without PyTorch, after a comparison with minibert.",
    )
    add = parser.add_argument
    add("run", help="a run's folder (its fine-tuned classifier, else its frozen one), a classifier's, or a Hub id")
    add("--int8", action="store_true",
        help="a second file with weights in 8 bits; made for CPUs with VNNI instructions, on others it may be less "
        "exact and no faster")  # fmt: skip
    add("--output", metavar="DIR", help="where the files lie (default: the folder onnx beside its weights)")
    return parser.parse_args(argv)


def notes(classifier):
    """What the file does otherwise than minibert, in lines."""
    if classifier.windows > 1:
        yield (
            f"note: this classifier averages up to {classifier.windows} windows of a text; the file reads one, "
            f"the first {classifier.max_length} tokens"
        )
    elif classifier.truncation == "head+tail":
        yield (
            f"note: this classifier keeps both ends of a text of more than {classifier.max_length} tokens; "
            "the tokenizer.json beside the file keeps its head"
        )


# ---- what it is tried on


def examples(classifier):
    """([{input: int64 NumPy [b, T]} of each batch], minibert's logits of all texts, float32 NumPy [TEXTS, C]).

    The bundled reviews' words: from a single one up to more than the classifier reads; pairs, if it reads pairs.
    """
    import numpy as np
    import torch

    from .batch import collate
    from .data import load_task

    words = " ".join(load_task("reviews").test.texts).split()
    longest = classifier.max_length
    counts = np.linspace(1, longest, TEXTS).astype(int)
    counts = np.random.default_rng(0).permutation(counts)  # short and long ones share a batch
    texts = [" ".join(words[100 * i : 100 * i + count]) for i, count in enumerate(counts)]
    pairs = [" ".join(text.split()[::-2]) or text for text in texts] if classifier.reads_pairs else None
    tokenizer, names = classifier.tokenizer, input_names(classifier.classifier)
    sequences = tokenizer.encode(texts, pairs, longest, classifier.truncation)
    batches = [collate(sequences[i : i + BATCH], tokenizer.pad_id) for i in range(0, TEXTS, BATCH)]
    with torch.inference_mode():
        logits = torch.cat([classifier.classifier(*collate([one], tokenizer.pad_id)) for one in sequences])
    return [{name: getattr(batch, name).numpy() for name in names} for batch in batches], logits.numpy()


def input_names(classifier):
    """The inputs of the file, in the order of `Classifier.forward`. One kind of token type needs no telling."""
    return ["input_ids", "attention_mask"] + ["token_type_ids"] * (classifier.encoder.config.type_vocab_size > 1)


def run_file(path, batches):
    """The logits that an ONNX file gives on a CPU, float32 NumPy [TEXTS, C]."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, batch)[0] for batch in batches])


def check_whole(path, batches, logits, name):
    """A sentence about a file's logits beside minibert's. UserError when they are not the same but for rounding."""
    difference = abs(run_file(path, batches) - logits).max()
    if not difference <= LARGEST_DIFFERENCE:  # nor NaN
        raise UserError(
            f"{name}: not written: its logits differ from minibert's by {difference:.1e}, more than "
            f"{LARGEST_DIFFERENCE:.0e}; this is a fault of the exporter or of minibert, please report it"
        )
    return f"{size(path)}; its logits are minibert's, within {difference:.1e}"


def check_rounded(path, batches, logits, name):
    """The same of a file in int8, which rounds. UserError when more than MOST_CHANGED labels change."""
    rounded = run_file(path, batches)
    difference, changed = abs(rounded - logits).max(), int((rounded.argmax(1) != logits.argmax(1)).sum())
    what = f"its logits differ from minibert's by up to {difference:.2g}, and {changed} of {TEXTS} labels are others"
    if not difference < float("inf") or changed > MOST_CHANGED:
        raise UserError(
            f"{name}: not written: {what}, more than the {MOST_CHANGED} that rounding may change; use model.onnx"
        )
    return f"{size(path)}; {what}"


def size(path):
    return f"{path.stat().st_size / 1e6:.1f} MB"


# ---- what is written


def write_onnx(classifier, path):
    """Follow a forward pass of `classifier` and write its graph, with batch and length free."""
    import torch
    from torch.export import Dim

    names = input_names(classifier)
    axes = {0: Dim("batch"), 1: Dim("tokens", max=classifier.encoder.config.longest)}
    example = [torch.full((2, 5), 7), torch.ones(2, 5, dtype=torch.int64), torch.zeros(2, 5, dtype=torch.int64)]
    with quiet("torch.onnx"):
        torch.onnx.export(
            classifier, tuple(example[: len(names)]), path, input_names=names, output_names=["logits"], dynamo=True,
            dynamic_shapes=tuple(axes for _ in names), external_data=False, verbose=False,
        )  # fmt: skip


def write_int8(source, path):
    """Round the weights of a file's matrix products to 8 bits, each column by its own step.

    Activations are rounded as they come, all of a batch by one step: a text's logits then depend a little on its
    neighbours, which those of fast/int8.py do not. Pooler and head stay as they are: they take no time, and are where
    the label is decided. They are known by their operation, Gemm, because they read one vector per text.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = [node.name for node in onnx.load(source).graph.node if node.op_type == "Gemm"]
    whole += [f"{name}_MatMul" for name in whole]  # as the quantiser calls them once it has taken them apart
    with quiet(None):
        quantize_dynamic(
            source, path, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8,
            nodes_to_exclude=whole, extra_options={"MatMulConstBOnly": True},  # attention's two have no weights
        )  # fmt: skip


def write_companions(classifier, config, folder):
    """`tokenizer.json`, which cuts and pads by itself, and `config.json` with the labels."""
    import tokenizers

    tokenizer = classifier.tokenizer
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.enable_truncation(classifier.max_length, direction="left" if classifier.one_cut == "tail" else "right")
    backend.enable_padding(pad_id=tokenizer.pad_id, pad_token=backend.id_to_token(tokenizer.pad_id))
    labels = {str(i): name for i, name in enumerate(classifier.label_names)}
    limits = {"max_length": classifier.max_length, "truncation": classifier.truncation, "pairs": classifier.reads_pairs}
    write_text(folder / "tokenizer.json", backend.to_str(pretty=True))
    write_json(folder / "config.json", config | {"id2label": labels, "minibert": config.get("minibert", {}) | limits})


def script(classifier, folder, name):
    """Python that classifies with the files alone."""
    example = '[("a text", "its pair")]' if classifier.reads_pairs else '["a text", "another one"]'
    names = input_names(classifier.classifier)
    inputs = "\n".join(f'    "{one}": [text.{ATTRIBUTES[one]} for text in texts],' for one in names)
    return SCRIPT.format(folder=folder.as_posix(), name=name, example=example, inputs=inputs)


@contextlib.contextmanager
def quiet(logger):
    """Within it, a library keeps its remarks to itself: warnings, what it logs below errors, what it prints."""
    logger = logging.getLogger(logger)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


if __name__ == "__main__":
    run_command(main)
