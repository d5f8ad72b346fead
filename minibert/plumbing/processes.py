"""Several processes on one job: `torchrun --nproc-per-node N -m minibert.finetune ...`.

The gradients are averaged by PyTorch's DistributedDataParallel (gloo between CPUs, NCCL between GPUs). What is added
here keeps the loop readable: with one process every function does nothing, and costs nothing. The first process
(rank 0) alone decides and writes, and talks, but for errors.
"""

import contextlib
import json
import os
from datetime import timedelta

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from .files import UserError

PATIENCE = timedelta(hours=12)  # the others wait while the first one fits heads or writes its report
SET_BY_TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # beside WORLD_SIZE
LOST = ("gloo", "NCCL", "Connection", "connection", "Broken pipe", "Socket")  # what PyTorch says of another's end


class PeerLost(UserError):
    """Another process of the job has ended. Its own message says why."""


class State:
    alone = False  # within `alone`
    left = 0  # how many times this process has left `together`


def asked_for():
    """How many processes torchrun has started; 1 without it. UserError where something else has set WORLD_SIZE."""
    text = os.environ.get("WORLD_SIZE") or "1"
    if not (text.isascii() and text.isdigit() and int(text)):
        raise UserError(f"WORLD_SIZE is {text!r}, which is no number of processes; unset it, torchrun sets it itself")
    return int(text)


def count():
    """How many processes work on this job together."""
    return distributed.get_world_size() if distributed.is_initialized() and not State.alone else 1


def rank():
    """Which of them this one is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() and not State.alone else 0


def is_first():
    """Whether this process talks, decides and writes; also within `alone`, which only the first one enters."""
    return rank() == 0


@contextlib.contextmanager
def together(device):
    """Within it the processes that torchrun has started know each other. device: what `resolve_device` returned.

    When one of them ends early, the others raise PeerLost as soon as they need it.
    """
    if asked_for() == 1:
        yield
        return
    absent = [name for name in SET_BY_TORCHRUN if name not in os.environ]
    if absent:
        raise UserError(f"WORLD_SIZE is set and {absent[0]} is not: start several processes with torchrun, or unset it")
    if device.type == "cuda":  # before anything else touches a GPU
        torch.cuda.set_device(own_gpu())
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield
        distributed.barrier()
        leave_together()
    except RuntimeError as error:
        if any(word in str(error) for word in LOST):
            raise PeerLost(f"another process of this job has ended, or cannot be reached ({error})") from error
        raise
    finally:
        distributed.destroy_process_group()


def own_gpu():
    """The number of this process's GPU on its machine. UserError when torchrun has started more processes than GPUs."""
    there, number = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
    if number >= there:
        raise UserError(f"process {number + 1} of this machine has no GPU, for there are {there}; "
                        f"give torchrun --nproc-per-node {there}")  # fmt: skip
    return number


def leave_together():
    """Wait until every process has come out of its last exchange: whoever closes its connections before that can make
    another one abort (github.com/pytorch/gloo/issues/155). So this is told through the store, not through gloo.
    """
    store, State.left = distributed.distributed_c10d._get_default_store(), State.left + 1
    if store.add(f"minibert/left/{State.left}", 1) == distributed.get_world_size():
        store.set(f"minibert/all left/{State.left}", "")
    store.wait([f"minibert/all left/{State.left}"])


def refuse(command):
    """UserError when torchrun has started several processes for a command that is one."""
    if asked_for() > 1:
        raise UserError(f"{command} runs in one process; start it without torchrun")


@contextlib.contextmanager
def alone():
    """Within it the calling process computes by itself, while the others wait where they next need it."""
    before, State.alone = State.alone, True
    try:
        yield
    finally:
        State.alone = before


@contextlib.contextmanager
def one_after_the_other():
    """Within it each machine's first process goes first (it downloads what the others then find), then the rest."""
    if count() == 1:
        yield
        return
    first_here = int(os.environ.get("LOCAL_RANK", "0")) == 0
    if not first_here:
        distributed.barrier()
    yield
    if first_here:
        distributed.barrier()


def wait_for_all():
    """Go on when every process has come here."""
    if count() > 1:
        distributed.barrier()


def tell(value):
    """The first process's `value`, a JSON value, in every process."""
    if count() == 1:
        return value
    content = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8) if is_first() else None
    size = torch.tensor([len(content) if is_first() else 0])
    distributed.broadcast(size, 0)
    content = content if is_first() else torch.empty(int(size), dtype=torch.uint8)
    distributed.broadcast(content, 0)
    return json.loads(bytes(content.tolist()))


def sum_over_all(tensor):
    """The sum of all processes' tensors, in place; returns it."""
    if count() > 1:
        distributed.all_reduce(tensor)
    return tensor


def largest_of_all(number):
    """The largest of all processes' whole numbers."""
    if count() == 1:
        return number
    tensor = torch.tensor([number])
    distributed.all_reduce(tensor, distributed.ReduceOp.MAX)
    return int(tensor)


def own_seed(seed):
    """A seed for this process's dropout: `seed` itself for the first one."""
    return seed + 1_000_003 * rank()


def own_part(batch, lengths):
    """The examples of `batch` (indices) that fall to this process: all of them where it is the only one.

    Every process gets about as many tokens: longest first, each to the one with the fewest so far.
    """
    if count() == 1:
        return batch
    parts, tokens = [[] for _ in range(count())], [0] * count()
    for index in sorted(batch, key=lambda index: (-lengths[index], index)):
        least = tokens.index(min(tokens))
        parts[least].append(index)
        tokens[least] += int(lengths[index])
    return parts[rank()]


def own_batches(batches):
    """Those of a list of batches, longest texts first, that fall to this process: they are dealt out like cards."""
    return batches[rank() :: count()]


def in_step(module):
    """The module, so wrapped that every backward pass leaves the mean of all processes' gradients."""
    if count() == 1:
        return module
    unused = not getattr(module, "uses_all_parameters", True)
    return DistributedDataParallel(module, find_unused_parameters=unused)


def without_exchange(module, wanted):
    """A context in which forward and backward leave this process's own gradients: for all but the last micro-batch."""
    if wanted and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()

