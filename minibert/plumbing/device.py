"""Where, and how precisely, to compute."""

import contextlib
import os

import torch

from .files import UserError

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": None}  # what autocast casts to


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


def be_deterministic():
    """Let PyTorch use only kernels that repeat their last bits: slower on a GPU, no change on a CPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA's library of matrix products needs for it
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def cpu_has(instructions):
    """Whether this CPU has these instructions, by PyTorch's name: "vnni", "avx512_bf16" or "amx_tile"."""
    return getattr(torch.cpu, f"_is_{instructions}_supported", lambda: False)()


def resolve_precision(name, device):
    """`auto` -> bf16 where the hardware multiplies it fast, else fp16 on CUDA, else fp32; (precision, why).

    UserError for int8 on a GPU: its layers are written for CPUs.
    """
    if name == "int8" and device.type != "cpu":
        raise UserError("--precision int8: computes on a CPU; add --device cpu, or use bf16 on the GPU")
    if name == "int8" and not cpu_has("vnni"):
        return name, "as asked; this CPU has no VNNI instructions for it, so fp32 may be as fast"
    if name != "auto":
        return name, "as asked"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "this GPU has bf16 tensor cores"
        return "fp16", "this GPU is too old for bf16; the loss is scaled"
    fast = cpu_has("avx512_bf16") or cpu_has("amx_tile")
    return ("bf16", "this CPU has bf16 instructions") if fast else ("fp32", "this CPU has no bf16 instructions")


def autocast(device, precision):
    """Matrix products in `precision`; sums and LayerNorm stay in fp32, where rounding would hurt. So does softmax on a
    GPU; on a CPU its result is rounded, too. Layers in int8 round by themselves, and the others stay in fp32."""
    if PRECISIONS[precision] is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, PRECISIONS[precision])
