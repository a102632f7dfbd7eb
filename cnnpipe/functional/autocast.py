"""`torch.autocast` as it treats torch's own operators: it casts operands, never sums."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def cast_operand(operand: Tensor) -> Tensor:
    """The operand in the dtype of autocast, if it is on; only floats of up to 32 bits change."""
    dtype = operand_dtype(operand)
    return operand if dtype is operand.dtype else operand.to(dtype)  # a trace would keep the cast


def operand_dtype(operand: Tensor) -> torch.dtype:
    """The dtype in which `cast_operand` returns an operand."""
    device = operand.device.type
    castable = operand.is_floating_point() and operand.dtype != torch.float64
    if not castable or not _is_enabled(device):
        return operand.dtype
    return torch.get_autocast_dtype(device)


def widen_operand(operand: Tensor) -> Tensor:
    """The operand of a loss, of which autocast makes float32."""
    narrow = operand.dtype in (torch.float16, torch.bfloat16)
    return operand.float() if narrow and _is_enabled(operand.device.type) else operand


def without_autocast(tensor: Tensor) -> AbstractContextManager[None]:
    """A context where matrix products keep the dtype of their factors, also in a backward."""
    device = tensor.device.type
    if _is_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _is_enabled(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
