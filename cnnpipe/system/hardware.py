"""Where the arithmetic runs: the device, its number format, and its description beside results."""

import platform
from pathlib import Path

import torch

from cnnpipe.system.errors import InputError


def choose_device(name: str) -> torch.device:
    """`auto` is the accelerator that torch reports, else the CPU.

    Raises:
        InputError: the device is not there.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    device = torch.device(name)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device: got {name!r}; expected auto or a device of this machine ({reason})"
        ) from None
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where tensor cores make it pay: on CUDA GPUs that have it."""
    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    pays = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if pays else torch.float32


def describe(device: torch.device) -> dict[str, str | int]:
    """What a wall-clock time must be read with: processor, threads, versions."""
    is_gpu = device.type == "cuda"
    return {
        "device": str(device),
        "processor": torch.cuda.get_device_name(device) if is_gpu else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    """The processor's name where the system gives it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
