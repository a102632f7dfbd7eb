"""Where the arithmetic runs: the device, its number format, and its description beside results."""

import platform
import shutil
from pathlib import Path
from typing import Literal

import torch

from cnnpipe.system.errors import InputError


def choose_device(name: str) -> torch.device:
    """`auto` is the accelerator that torch reports, else the CPU; see `multiply_in`, too.

    Raises:
        InputError: the device is not there.
    """
    multiply_in("float32")
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    device = torch.device(name)
    try:
        if device.type == "cuda" and torch.cuda.is_available():
            # To count does not occupy the GPU, which the processes of a run will share.
            if (device.index or 0) >= torch.cuda.device_count():
                raise RuntimeError(f"it has {torch.cuda.device_count()} CUDA GPUs")
        else:
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
    pays = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if pays else torch.float32


def multiply_in(precision: Literal["float32", "tf32"]) -> None:
    """Let CUDA's libraries multiply numbers of 32 bits as such, or all of them cut to TF32.

    torch's default is TF32 for cuDNN's convolutions, which torch's layers take, and float32 for the
    products of cuBLAS, which this project's take: not the same arithmetic. Products of 16-bit
    numbers are added in float32 throughout; by default, cuBLAS may round parts of a sum to 16 bits.
    """
    products = torch.backends.cuda.matmul
    products.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    products.allow_bf16_reduced_precision_reduction = False
    products.allow_fp16_reduced_precision_reduction = False


def overlooked_gpu() -> bool:
    """Whether NVIDIA's driver is installed, but this torch finds no GPU."""
    return shutil.which("nvidia-smi") is not None and not torch.cuda.is_available()


def describe(device: torch.device) -> dict[str, str | int]:
    """What a wall-clock time must be read with: processor, threads, versions."""
    name_of = getattr(torch.get_device_module(device), "get_device_name", None)
    return {
        "device": str(device),
        "processor": name_of(device) if name_of else _processor(),
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
