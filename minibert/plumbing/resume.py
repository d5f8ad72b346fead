"""What a killed run needs to go on: its state, in one safetensors file, and its log."""

import json
import math
import os
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from . import processes
from .checkpoint import read_safetensors, write_safetensors
from .files import UserError, read_text, write_text


@dataclass
class Progress:
    """Where a run stands; kept in its checkpoint."""

    epoch: int = 0
    batch: int = 0  # within the epoch
    update: int = 0
    best_epoch: int = -1
    best_accuracy: float = -1.0
    best_loss: float = float("inf")
    seconds: float = 0.0
    recent: list = field(default_factory=list)  # {name: loss} of each update that the log does not have yet

    def knows(self, record):
        """Whether a log's record is from before this point; what comes after it will be written again."""
        if "learning_rate" in record:  # of some updates
            return record["update"] <= self.update
        return record["epoch"] <= self.epoch  # of an epoch's validation


def save_state(path, model, best, optimizer, scaler, settings, progress, num_examples, device):
    """Write everything that the rest of the run depends on, in one step."""
    tensors = {f"model.{key}": tensor.detach().cpu() for key, tensor in model.state_dict().items()}
    tensors |= {f"best.{key}": tensor for key, tensor in best.items()}
    steps = {}
    for index, state in optimizer.state_dict()["state"].items():
        tensors[f"optimizer.{index}.mean"] = state["mean"]
        tensors[f"optimizer.{index}.square"] = state["square"]
        steps[index] = state["step"]
    tensors["random.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    facts = {
        "settings": asdict(settings),
        "num_examples": num_examples,
        "progress": asdict(progress),
        "optimizer_steps": steps,
        "scaler": scaler.state_dict(),
        "machine": machine(device),
    }
    text = json.dumps(facts)
    write_safetensors(path, tensors, {"state": text, "checksum": checksum(tensors, text)})


def checksum(tensors, text):
    """A CRC over all of a state: a damaged disk must not decide what is trained."""
    total = zlib.crc32(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), total)
        total = zlib.crc32(tensor.view(-1).view(torch.uint8).numpy(), total)
    return f"{total:08x}"


def read_state(path):
    """(tensors, facts) of a training state. UserError when it is none, or was changed or damaged since."""
    tensors, metadata = read_safetensors(path)
    if metadata.get("checksum") != checksum(tensors, metadata.get("state", "")):
        raise UserError(f"{path}: was changed or damaged after it was written; delete it, and training starts afresh")
    return tensors, json.loads(metadata["state"])


def machine(device):
    """What changes the last bits of a result, besides its settings; of processes, also what dropout draws."""
    processor = torch.backends.cpu.get_cpu_capability()
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    counts = {"processes": processes.count(), "threads": torch.get_num_threads()}
    return {**counts, "torch": torch.__version__, "processor": processor}


def load_state(path, model, optimizer, scaler, settings, num_examples, device, say=print):
    """Undo `save_state`: (Progress, best weights). UserError when the checkpoint is of another run.

    say: called with a line when the run goes on where its result will be another.
    """
    tensors, facts = read_state(path)
    for key, value in machine(device).items():
        if facts["machine"][key] != value:
            outcome = "dropout will draw otherwise" if key == "processes" else "its last bits will differ"
            say(f"  {key}: {facts['machine'][key]} when the run began, {value} now: {outcome}")
    theirs = {**facts["settings"], "number of training texts": facts["num_examples"]}
    ours = {**asdict(settings), "number of training texts": num_examples}
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise UserError(f"{path}: was made with {key} = {theirs.get(key)}, not {value}; --resume needs the same")
    parts = {"model": {}, "best": {}, "optimizer": {}, "random": {}}
    for name, tensor in tensors.items():
        part, key = name.split(".", 1)
        parts[part][key] = tensor
    model.load_state_dict(parts["model"])
    state = {
        int(index): {
            "step": step,
            "mean": parts["optimizer"][f"{index}.mean"],
            "square": parts["optimizer"][f"{index}.square"],
        }
        for index, step in facts["optimizer_steps"].items()
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    scaler.load_state_dict(facts["scaler"])
    torch.set_rng_state(parts["random"]["cpu"])
    if device.type == "cuda" and "cuda" in parts["random"]:
        torch.cuda.set_rng_state(parts["random"]["cuda"])
    return Progress(**facts["progress"]), parts["best"]


def read_progress(path):
    """Where a checkpoint's run stands; at its beginning when there is no checkpoint."""
    if path is None or not Path(path).is_file():
        return Progress()
    return Progress(**read_state(path)[1]["progress"])


def read_log(path):
    """The records of a log.jsonl, each a dict of numbers (a norm that overflowed is None); [] without such a file.

    UserError names a line that is none of ours. The last one may be half a line, which a kill left, and is left out.
    """
    path = Path(path)
    lines = read_text(path).split("\n") if path.is_file() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if is_record(record):
            records.append(record)
        elif number < len(lines):  # what follows the last newline is nothing, or half a line
            raise UserError(f"{path}, line {number}: no record of a training; delete this line")
    return records


def is_record(value):
    """Whether a value out of a log is an update's or a validation's record: numbers, or null, under names."""
    return (
        isinstance(value, dict)
        and {"epoch", "update"} <= value.keys()
        and all(type(value[name]) is int for name in ("epoch", "update"))
        and all(number is None or is_number(number) for number in value.values())
    )


def is_number(value):
    return type(value) in (int, float) and not 1e40 < abs(value) < math.inf


class Log:
    """log.jsonl: an object a line, flushed at once.

    keep(record) says of each record that is there already whether it stays: resuming drops those that the run will
    write again. Raises UserError as `read_log` does.
    """

    def __init__(self, path, keep=lambda record: True):
        self.path = Path(path)
        try:
            kept = [json.dumps(record) + "\n" for record in read_log(path) if keep(record)]
        except KeyError as error:
            raise UserError(f"{path}: a line has no {error}; is this another program's log?") from None
        write_text(path, "".join(kept))

    def __call__(self, record):
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from error
