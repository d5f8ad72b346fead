"""Sound checkpoints and runs, made once, of which each case takes a copy to damage."""

import atexit
import contextlib
import functools
import io
import os
import shutil
import tempfile
from pathlib import Path

from bad_input import BERT_SHAPE, SHAPE, save_tiny, table
from conftest import copy_checkpoint

from minibert import finetune
from minibert.load import load_tokenizer, new_classifier, save_classifier

FAMILIES = ("bert", "distilbert")  # of classifiers; encoders are of four
SHAPES = {name: {"model_type": name, **BERT_SHAPE} for name in ("bert", "roberta", "electra")}
SHAPES["distilbert"] = {"model_type": "distilbert", **SHAPE}
ENCODERS = tuple(SHAPES)
PLACE = Path(tempfile.mkdtemp(prefix="fuzz-templates-"))
atexit.register(shutil.rmtree, PLACE, ignore_errors=True)
TARGETS = {}  # this file has none


def copy(source, target):
    """A copy of a template's folder."""
    return shutil.copytree(source, target)


@functools.cache
def template(family, kind="encoder"):
    """The folder of a sound encoder (with vocab.txt), of a classifier (tokenizer.json), or with RoBERTa's merges."""
    folder = PLACE / f"{family}-{kind}"
    if kind == "merges":
        return copy_checkpoint(family, folder)
    if kind == "encoder":
        return save_tiny(folder, SHAPES[family])
    encoder = template(family)
    save_classifier(new_classifier(encoder, ["no", "yes"]), folder, {"max_length": 16, "truncation": "head"})
    load_tokenizer(encoder).save(folder)
    return folder


@functools.cache
def data():
    """A small table with two classes."""
    return table(PLACE / "mine.csv")


def run_arguments(output, family="distilbert"):
    """The command line of a short run into `output`."""
    return [
        str(data()), "--model", str(template(family)), "--max-length", "16", "--epochs", "2", "--batch-size", "8",
        "--pooling", "cls", "--head", "linear", "--device", "cpu", "--precision", "fp32", "--quiet",
        "--output", str(output),
    ]  # fmt: skip


@functools.cache
def run(kind):
    """The folder of a run that is "finished", or "stopped" in the middle of its training."""
    folder = PLACE / kind
    cache, os.environ["MINIBERT_CACHE"] = os.environ.get("MINIBERT_CACHE"), str(PLACE / "cache")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if kind == "finished":
            finetune.main(run_arguments(folder))
        else:
            stop_in_training(folder)
    os.environ.pop("MINIBERT_CACHE")
    if cache is not None:
        os.environ["MINIBERT_CACHE"] = cache
    return folder


def stop_in_training(folder):
    """Run until the state of the training was saved for the first time, and stop there."""
    from minibert import train

    save = train.save_state

    def save_and_stop(*arguments, **more):
        save(*arguments, **more)
        raise KeyboardInterrupt

    train.save_state = save_and_stop
    with contextlib.suppress(KeyboardInterrupt):
        finetune.main(run_arguments(folder))
    train.save_state = save


for family in ENCODERS:
    template(family)
template("roberta", "merges")
for family in FAMILIES:  # here and now, for a case that made its own template would be seen to write outside its folder
    template(family, "classifier")
data()
