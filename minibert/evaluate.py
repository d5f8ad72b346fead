"""A model's outputs for every example, whatever the model is."""

import numpy as np
import torch
from tqdm import tqdm

from .batch import sorted_batches
from .plumbing import processes
from .plumbing.device import autocast, to_device
from .plumbing.files import UserError

EVALUATION_TOKENS = {"cpu": 2**12, "cuda": 2**14}  # in a batch, padding included


def predict(model, examples, device, precision="fp32", quiet=True, name="predicting"):
    """Logits of every example in its own order, float32 NumPy [N, C]; eval mode.

    examples: as `compute_all` takes them. The model lies on `device` already.
    """
    model.eval()
    (logits,) = compute_all(lambda *inputs: [model(*inputs)], examples, device, precision, quiet, name)
    return logits.numpy()


@torch.no_grad()
def compute_all(compute, examples, device, precision, quiet, name):
    """Call `compute(*inputs)`, which returns a list of tensors [B, ...], on all examples, longest texts first.

    examples: has `lengths` [N] and `inputs(indices)`, a tuple of tensors. Returns a list of float32 tensors [N, ...] on
    the CPU, in the examples' own order. Eval mode is the caller's part. Raises UserError when a number is not finite.
    """
    outputs, order = [], []
    batches = sorted_batches(examples.lengths, EVALUATION_TOKENS[device.type])
    bar = tqdm(total=len(examples), desc=name, unit=" texts", disable=quiet or None)
    with bar, autocast(device, precision):
        # A process for which no batch is left computes the first one, only to know the outputs' shapes; see `gather`.
        for indices in processes.own_batches(batches) or batches[:1]:
            results = compute(*to_device(examples.inputs(indices), device))
            # Copies: a view of each text's first token would keep the states of all its tokens in memory.
            outputs.append([result.to(torch.float32, copy=True) for result in results])
            order += indices
            bar.update(len(indices) * processes.count())
    # Here a GPU is waited for, and nowhere before.
    results = [torch.cat(parts).cpu() for parts in zip(*outputs, strict=True)]
    if processes.count() == 1:
        back = np.argsort(order)
        results = [result[back] for result in results]
    else:
        own = order if processes.own_batches(batches) else []
        results = [gather(result, own, len(examples)) for result in results]
    if not all(result.isfinite().all() for result in results):
        raise UserError(
            f"{name}: the model's numbers are not finite; try --precision fp32 (fp16 ends at 65,504), or, if it was "
            "trained just now, a smaller --lr"
        )
    return results


def gather(result, order, total):
    """All processes' results in the examples' order, [total, ...]. order: which examples this process's rows are."""
    whole = result.new_zeros(total, *result.shape[1:])
    whole[order] = result[: len(order)]
    return processes.sum_over_all(whole)  # every row is 0 in all processes but one
