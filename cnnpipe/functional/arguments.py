"""Checks of the operators' arguments, each written once."""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from typing import SupportsFloat, SupportsIndex

import torch
from torch import Tensor

from cnnpipe.geometry import Pair, WindowGeometry, output_size, window_extent

IntOrPair = int | Sequence[int]

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
REALS = (*FLOATS, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
NUMBERS = (*REALS, torch.complex64, torch.complex128)


def as_int(value: SupportsIndex, name: str, least: int | None = None) -> int:
    """The value as an int, at least `least`; True and 2.0 are refused."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected an int, got {value!r}")
    number = operator.index(value)
    if least is not None and number < least:
        raise ValueError(f"{name}: expected an int ≥ {least}, got {number}")
    if abs(number) > sys.maxsize:
        raise ValueError(f"{name}: expected an int of 64 bits, got {number}")
    return number


def as_float(value: SupportsFloat, name: str) -> float:
    """The value as a float; True is refused."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    return float(value)


def check_bool(value: bool, name: str) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")


def as_probability(value: SupportsFloat, name: str) -> float:
    """The value as a float from 0 to 1; True is refused."""
    number = as_float(value, name)
    if not 0 <= number <= 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {number}")
    return number


def as_pair(value: IntOrPair, name: str, least: int) -> Pair:
    """One int for both axes, alone or in a sequence, or a pair (of the H axis, of the W axis)."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        both = as_int(value, name, least)  # type: ignore[arg-type]  # bytes are refused there
        return both, both
    if len(value) == 1:
        return (as_int(value[0], name, least),) * 2
    if len(value) != 2:
        raise ValueError(f"{name}: expected an int or a pair of ints, got {value!r}")
    return as_int(value[0], name, least), as_int(value[1], name, least)


def pooling_arguments(
    kernel_size: IntOrPair, stride: IntOrPair | None, padding: IntOrPair, dilation: IntOrPair
) -> tuple[Pair, Pair, Pair, Pair]:
    """The four arguments as pairs; the stride is the kernel size if it is None or empty."""
    kernel_sizes = as_pair(kernel_size, "kernel_size", least=1)
    strides = kernel_sizes if stride in (None, (), []) else as_pair(stride, "stride", least=1)
    paddings = as_pair(padding, "padding", least=0)
    if any(p > k // 2 for p, k in zip(paddings, kernel_sizes, strict=True)):
        raise ValueError(
            f"padding: expected at most half of kernel_size {kernel_sizes}, got {paddings}"
        )
    return kernel_sizes, strides, paddings, as_pair(dilation, "dilation", least=1)


def pooling_geometry(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None,
    padding: IntOrPair,
    dilation: IntOrPair,
    ceil_mode: bool,
) -> WindowGeometry:
    """The windows of a pooling; with `ceil_mode`, more padding after the end may be needed."""
    check_bool(ceil_mode, "ceil_mode")
    kernel_sizes, strides, paddings, dilations = pooling_arguments(
        kernel_size, stride, padding, dilation
    )
    sides: list[int] = []
    for size, k, s, p, d in zip(
        input.shape[-2:], kernel_sizes, strides, paddings, dilations, strict=True
    ):
        count = output_size(size, k, s, p, d, ceil_mode)
        covered = (count - 1) * s + window_extent(k, d)
        sides += [p, max(p, covered - size - p)]
    top, bottom, left, right = sides
    geometry = WindowGeometry(
        input_size=(input.shape[-2], input.shape[-1]),
        kernel_size=kernel_sizes,
        stride=strides,
        padding=(top, bottom, left, right),
        dilation=dilations,
    )
    return geometry.without_idle_steps()


def numbers_of(geometry: WindowGeometry) -> list[int]:
    """The geometry as an operator's schema takes it.

    `torch.jit.trace` counts sizes in tensors; here they become constants of the trace.
    """
    return [int(number) if isinstance(number, Tensor) else number for number in geometry.numbers]


def check_size(images: Tensor, geometry: WindowGeometry) -> None:
    """Refuse images of another size than the geometry's, which a traced network may be given."""
    if images.shape[-2:] != geometry.input_size:
        (H, W), found = geometry.input_size, tuple(images.shape)
        raise ValueError(f"input: traced with images of {H}×{W} pixels, got shape {found}")


def check_dtype(value: Tensor, name: str, allowed: Sequence[torch.dtype]) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a Tensor, got {type(value).__name__}")
    if value.layout is not torch.strided or value.is_nested:
        raise TypeError(f"{name}: expected a dense tensor, got one of layout {value.layout}")
    if value.dtype not in allowed:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise TypeError(f"{name}: expected one of {names}, got {value.dtype}")


def check_dtypes(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    for name, tensor in [("weight", weight), ("bias", bias)]:
        if tensor is not None and tensor.dtype != input.dtype:
            raise TypeError(f"{name}: expected the input's {input.dtype}, got {tensor.dtype}")


def check_devices(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    for name, tensor in [("weight", weight), ("bias", bias)]:
        if tensor is not None and tensor.device != input.device:
            raise ValueError(f"{name}: expected the input's {input.device}, got {tensor.device}")


def check_images(input: Tensor) -> None:
    """Refuse what is neither images (N, C, H, W) nor one image (C, H, W)."""
    if input.ndim not in (3, 4):
        raise ValueError(
            f"input: expected shape (N, C, H, W) or (C, H, W), got {tuple(input.shape)}"
        )
    if 0 in input.shape[-2:]:
        raise ValueError(f"input: expected pixels, got shape {tuple(input.shape)}")
