"""One batch by minibert, ONNX Runtime and OpenVINO, in turn in one process, one thread each, by the processor's clock.

    python examples/benchmark/in_turn.py RUN/finetuned 16x256 64x32

What a busy machine bends least: all sides meet the same disturbances within seconds of each other, and time spent
waiting for a core does not count. Token ids are random, without tokenisation: this compares models, not jobs. Needs the
extra [reference]; what is not installed is left out.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from peers import NEEDS, Session, prepare

from minibert.batch import Batch, Examples, Sequence
from minibert.fast import quantize
from minibert.load import read_classifier
from minibert.plumbing.command import Parser, run_command
from minibert.plumbing.device import autocast

SECONDS = 45  # for each shape
TURNS = 30  # at most


def random_batch(texts, length, generator):
    """[texts, length] random tokens; half of the texts end in three tokens of padding."""
    input_ids = torch.from_numpy(generator.integers(1000, 6000, (texts, length)))
    attention_mask = torch.ones_like(input_ids)
    attention_mask[: texts // 2, -3:] = 0
    return Batch(input_ids, attention_mask, torch.zeros_like(input_ids))


def sides_of(folder, generator):
    """{name: a function of a batch} of all sides that are installed. Their files are written into the folder."""
    lengths = generator.integers(20, 256, 60)
    sequences = [Sequence(generator.integers(1000, 6000, length).astype(np.int32), int(length)) for length in lengths]
    calibration = Examples(sequences, [0] * len(sequences))
    classifier = read_classifier(folder)[0].eval()
    rounded = quantize(read_classifier(folder)[0].eval())

    def in_bf16(*batch):
        with autocast(torch.device("cpu"), "bf16"):
            return classifier(*batch)

    sides = {"minibert fp32": classifier, "minibert bf16": in_bf16, "minibert int8": rounded}
    for side, precision in NEEDS:
        try:
            prepare(folder, side, precision, calibration)
            sides[f"{side} {precision}"] = Session(classifier, folder, side, precision)
        except ImportError as error:
            print(f"left out: {side} {precision}, {error}", file=sys.stderr)
    return dict(sorted(sides.items(), key=lambda named: named[0].split()[1]))


def compare(sides, batch):
    """({name: median seconds of processor time}, number of turns), a batch by each side in turn."""
    seconds = {name: [] for name in sides}
    end = time.monotonic() + SECONDS
    for turn in range(TURNS + 1):
        for name, classify in sides.items():
            started = time.process_time()
            classify(*batch)
            seconds[name] += [time.process_time() - started] * (turn > 0)  # the first turn warms up
        if turn > 2 and time.monotonic() > end:
            break
    return {name: median(values) for name, values in seconds.items()}, turn


def shape(text):
    """An argparse type: "16x256" -> (16, 256)."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 16x256")
    return int(found[1]), int(found[2])


@torch.inference_mode()
def main():
    parser = Parser(prog="python examples/benchmark/in_turn.py", description="One batch by all peers in turn.")
    parser.add_argument("model", type=Path, help="a trained classifier's folder")
    parser.add_argument("shapes", nargs="*", default=[(16, 256), (64, 32)], type=shape, metavar="TEXTSxTOKENS",
                        help="of the batches (default: 16x256 64x32)")  # fmt: skip
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(options.model, Path(folder) / "model")
        sides = sides_of(copy, generator)
        for texts, length in options.shapes:
            seconds, turns = compare(sides, random_batch(texts, length, generator))
            print(f"\n{options.model}, {texts}x{length}, {turns} turns, texts per second of processor time")
            for name, taken in seconds.items():
                ours = seconds[f"minibert {name.split()[1]}"]
                beside = "" if "minibert" in name else f"   minibert is {taken / ours:.2f} times as fast"
                print(f"{name:18}{texts / taken:9.1f}{beside}", flush=True)


if __name__ == "__main__":
    run_command(main)
