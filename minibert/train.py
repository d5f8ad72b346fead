"""The training loop: forward -> loss -> backward -> clip -> step -> schedule, evaluation, and exact resume.

It knows nothing about BERT. `model(*inputs)` gives logits [B, C]; `examples` has `lengths` [N], `labels` [N] and
`inputs(indices)`, a tuple of tensors. The same loop fine-tunes an encoder and fits a head on stored features.
Next: `frozen.py`, which does the latter.
"""

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from . import metrics
from .batch import bucketed_batches, sorted_batches
from .files import UserError, write_text
from .linear import cast_once
from .load import read_safetensors, write_safetensors
from .optim import AdamW, clip_divisor, linear_warmup, parameter_groups

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
LOG_EVERY = 10  # updates
CHECKPOINT_EVERY = 300  # seconds
EVALUATION_TOKENS = {"cpu": 2**12, "cuda": 2**14}  # in a batch, padding included
ESTIMATE_AFTER = 30  # updates, then a long job says how long it will take


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides what a training run computes."""

    epochs: int = 3
    batch_size: int = 16  # texts that one update sees
    micro_batch: int = 0  # texts that memory holds at a time (0: all of them); changes memory, not results
    lr: float = 5e-5
    head_lr: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1  # share of all updates
    max_norm: float = 1.0  # of all gradients together
    patience: int = 0  # epochs without gain on validation before stopping (0: never stop early)
    precision: str = "fp32"
    seed: int = 0


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


def train(model, examples, validation, settings, device, class_weights=None, checkpoint=None, resume=False, log=None,
          quiet=False, name="training"):  # fmt: skip
    """Train `model` in place and leave it with the weights of its best epoch on `validation`. Returns `Progress`.

    class_weights: [C] factors for each class's loss, or None. checkpoint: a path to keep the run's state in.
    resume: go on from that state; on CPU the result is bit for bit that of an uninterrupted run.
    log: called with a dict every few updates and after each epoch.
    Raises UserError when the loss is not finite.
    """
    torch.manual_seed(settings.seed)  # dropout; the batches have a generator of their own
    model.to(device)
    optimizer = AdamW(parameter_groups(model, settings.lr, settings.weight_decay, settings.head_lr), fused=True)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    peak_rates = [group["lr"] for group in optimizer.param_groups]
    scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
    updates_per_epoch = -(-len(examples) // settings.batch_size)
    total_updates = updates_per_epoch * settings.epochs
    warmup_updates = round(settings.warmup * total_updates)
    micro_batch = settings.micro_batch or settings.batch_size
    example_weights = torch.ones(len(examples))
    if class_weights is not None:
        example_weights = torch.as_tensor(class_weights, dtype=torch.float32)[examples.labels]

    progress, best = Progress(), {}
    if resume and checkpoint is not None and Path(checkpoint).is_file():
        progress, best = load_state(checkpoint, model, optimizer, scaler, settings, len(examples), device)
    saved = time.monotonic()
    started = saved - progress.seconds
    done = progress.epoch * len(examples) + progress.batch * settings.batch_size
    bar = tqdm(total=settings.epochs * len(examples), initial=done, desc=name, unit=" texts", disable=quiet or None)
    recent = []
    with bar, touched_rows(model, device.type == "cpu" and micro_batch < settings.batch_size):
        while progress.epoch < settings.epochs:
            model.train()
            batches = bucketed_batches(examples.lengths, settings.batch_size, settings.seed, progress.epoch)
            while progress.batch < len(batches):
                window = batches[progress.batch]
                scale = linear_warmup(progress.update, warmup_updates, total_updates)
                for group, peak in zip(optimizer.param_groups, peak_rates, strict=True):
                    group["lr"] = peak * scale

                # Every part of the window is divided by the whole window's weight, not by its own: so the sum
                # of the parts' gradients is the gradient of the full batch, a short last window included.
                window_weight = example_weights[window].sum().item()
                window_loss = 0.0
                for start in range(0, len(window), micro_batch):
                    part = window[start : start + micro_batch]
                    *inputs, labels, weights = to_device(
                        (*examples.inputs(part), examples.labels[part], example_weights[part]), device
                    )
                    with autocast(device, settings.precision):
                        logits = model(*inputs)
                    losses = functional.cross_entropy(logits.float(), labels, reduction="none")
                    loss = (losses * weights).sum() / window_weight
                    scaler.scale(loss).backward()
                    window_loss = window_loss + loss.detach()
                complete(parameters)
                scaler.unscale_(optimizer)  # clipping has to see the gradients' true size
                divisor, norm = clip_divisor(parameters, settings.max_norm)
                scaler.step(optimizer, divisor=divisor)  # left out when fp16 overflowed; the scale then shrinks
                scaler.update()
                optimizer.zero_grad()

                progress.batch += 1
                progress.update += 1
                bar.update(len(window))
                recent.append(window_loss)
                if progress.update % LOG_EVERY == 0 or progress.batch == len(batches):
                    mean_loss = check_losses(recent, progress)
                    recent.clear()
                    bar.set_postfix(loss=f"{mean_loss:.3f}", refresh=False)
                    if log:
                        log({"epoch": progress.epoch + 1, "update": progress.update, "loss": mean_loss,
                             "learning_rate": peak_rates[0] * scale, "gradient_norm": norm.item()})  # fmt: skip
                    now = time.monotonic()
                    if checkpoint is not None and now - saved > CHECKPOINT_EVERY:
                        saved, progress.seconds = now, now - started
                        save_state(checkpoint, model, best, optimizer, scaler, settings, progress, len(examples))
                if progress.update == ESTIMATE_AFTER and not quiet:
                    announce_length((time.monotonic() - started) / ESTIMATE_AFTER * total_updates, device)

            logits = predict(model, validation, device, settings.precision)
            accuracy = metrics.accuracy(validation.labels.numpy(), logits.argmax(1))
            loss = metrics.log_loss(validation.labels.numpy(), softmax(logits))
            if (accuracy, -loss) > (progress.best_accuracy, -progress.best_loss):
                progress.best_accuracy, progress.best_loss, progress.best_epoch = accuracy, loss, progress.epoch
                best = {key: tensor.detach().cpu().clone() for key, tensor in model.state_dict().items()}
            progress.epoch, progress.batch = progress.epoch + 1, 0
            progress.seconds = time.monotonic() - started
            if log:
                log({"epoch": progress.epoch, "update": progress.update, "validation_accuracy": accuracy,
                     "validation_loss": round(loss, 6), "seconds": round(progress.seconds, 1)})  # fmt: skip
            if not quiet:
                tqdm.write(f"  epoch {progress.epoch}: validation accuracy {accuracy:.4f}, loss {loss:.4f}")
            without_gain = progress.epoch - 1 - progress.best_epoch
            if settings.patience and without_gain >= settings.patience:
                progress.epoch = settings.epochs
            if checkpoint is not None:
                save_state(checkpoint, model, best, optimizer, scaler, settings, progress, len(examples))
    model.load_state_dict(best)
    model.eval()
    return progress


@contextlib.contextmanager
def touched_rows(model, wanted):
    """Within it, if wanted, an embedding's gradient has only the rows that a batch has touched, until `complete`.

    A gradient of all rows, mostly zeros, is the largest of all (94 MB for BERT's vocabulary). Micro-batches would
    make one each, only to be added up.
    """
    embeddings = [part for part in model.modules() if wanted and isinstance(part, nn.Embedding) and not part.sparse]
    try:
        for embedding in embeddings:
            embedding.sparse = True
        yield
    finally:
        for embedding in embeddings:
            embedding.sparse = False


def complete(parameters):
    """Give every parameter a gradient of its own shape, which optimizers and clipping want."""
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.to_dense()


def predict(model, examples, device, precision="fp32", quiet=True, name="predicting"):
    """Logits of every example in its own order, float32 NumPy [N, C]; eval mode."""
    model.eval()
    (logits,) = compute_all(model, lambda *inputs: [model(*inputs)], examples, device, precision, quiet, name)
    return logits.numpy()


@torch.no_grad()  # in inference mode autocast would cast every weight again for every batch
def compute_all(model, compute, examples, device, precision, quiet, name):
    """Call `compute(*inputs)`, which asks `model` for a list of tensors [B, ...], on all examples, longest texts first.

    Returns a list of float32 tensors [N, ...] on the CPU, in the examples' own order. Eval mode is the caller's part.
    """
    outputs, order = [], []
    bar = tqdm(total=len(examples), desc=name, unit=" texts", disable=quiet or None)
    with bar, autocast(device, precision), cast_once(model):  # one for all batches: each weight is cast only once
        for indices in sorted_batches(examples.lengths, EVALUATION_TOKENS[device.type]):
            results = compute(*to_device(examples.inputs(indices), device))
            outputs.append([result.float() for result in results])
            order += indices
            bar.update(len(indices))
    back = np.argsort(order)
    # Here a GPU is waited for, and nowhere before.
    return [torch.cat(parts).cpu()[back] for parts in zip(*outputs, strict=True)]


def softmax(logits):
    """Logits [N, C] -> probabilities [N, C], float64 NumPy."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)  # exp of a large logit would overflow
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


# ---- where and how precisely to compute


def to_device(tensors, device):
    """The tensors, on `device`. A GPU fetches them from pinned memory by itself, while it still computes."""
    if device.type == "cpu":
        return tensors
    return [tensor.pin_memory().to(device, non_blocking=True) for tensor in tensors]


def resolve_device(name):
    """`auto`, `cpu` or `cuda` -> torch.device. UserError when CUDA is asked for and not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")
    return torch.device(name)


def resolve_precision(name, device):
    """`auto` -> bf16 where the hardware multiplies it fast, else fp16 on CUDA, else fp32; (precision, why)."""
    if name != "auto":
        return name, "as asked"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "this GPU has bf16 tensor cores"
        return "fp16", "this GPU is too old for bf16; the loss is scaled"
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    fast = fast or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return ("bf16", "this CPU has bf16 instructions") if fast else ("fp32", "this CPU has no bf16 instructions")


def autocast(device, precision):
    """Matrix products in `precision`; sums and LayerNorm stay in fp32, where rounding would hurt. So does softmax on a
    GPU; on a CPU its result is rounded, too."""
    if PRECISIONS[precision] is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, PRECISIONS[precision])


def announce_length(seconds, device, flags="--limit 2000 --test-limit 2000"):
    if seconds > 300:
        hint = f"; {flags} gives a first answer sooner" if device.type == "cpu" else ""
        tqdm.write(f"  training will take about {seconds / 60:.0f} minutes here{hint}")


def check_losses(losses, progress):
    """The mean of the last updates' losses. They are looked at a few at a time: each look stalls a GPU."""
    losses = torch.stack(losses).tolist()
    for i, loss in enumerate(losses):
        if not np.isfinite(loss):
            update = progress.update - len(losses) + 1 + i
            raise UserError(
                f"the loss became {loss} in epoch {progress.epoch + 1}, update {update}; "
                "try a smaller --lr, more --warmup or --precision fp32"
            )
    return sum(losses) / len(losses)


# ---- the state of a run, in one safetensors file: tensors, and the rest as JSON in its metadata


def save_state(path, model, best, optimizer, scaler, settings, progress, num_examples):
    """Write everything that the rest of the run depends on, in one step."""
    tensors = {f"model.{key}": tensor for key, tensor in model.state_dict().items()}
    tensors |= {f"best.{key}": tensor for key, tensor in best.items()}
    steps = {}
    for index, state in optimizer.state_dict()["state"].items():
        tensors[f"optimizer.{index}.mean"] = state["mean"]
        tensors[f"optimizer.{index}.square"] = state["square"]
        steps[index] = state["step"]
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    facts = {
        "settings": asdict(settings),
        "num_examples": num_examples,
        "progress": asdict(progress),
        "optimizer_steps": steps,
        "scaler": scaler.state_dict(),
    }
    write_safetensors(path, tensors, {"state": json.dumps(facts)})


def load_state(path, model, optimizer, scaler, settings, num_examples, device):
    """Undo `save_state`: (Progress, best weights). UserError when the checkpoint is of another run."""
    tensors, metadata = read_safetensors(path)
    try:
        facts = json.loads(metadata["state"])
        theirs = {**facts["settings"], "number of training texts": facts["num_examples"]}
    except (KeyError, ValueError):
        raise UserError(f"{path}: not a training checkpoint of minibert") from None
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


def read_update(path):
    """The number of updates behind a checkpoint; 0 when there is none."""
    if not Path(path).is_file():
        return 0
    return json.loads(read_safetensors(path)[1].get("state", "{}")).get("progress", {}).get("update", 0)


class Log:
    """log.jsonl: an object a line, flushed at once. Resuming drops the lines that the run will write again."""

    def __init__(self, path, keep=lambda record: True):
        path = Path(path)
        kept = []
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError):  # a killed run may leave half a line
                    if keep(json.loads(line)):
                        kept.append(line + "\n")
        self.path = path
        write_text(path, "".join(kept))

    def __call__(self, record):
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from error
