"""What a convolution accepts: operands that fit together, and the windows that they describe."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor

from cnnpipe.functional.arguments import (
    NUMBERS,
    IntOrPair,
    as_int,
    as_pair,
    check_devices,
    check_dtype,
    check_images,
)
from cnnpipe.geometry import ConvolutionGeometry, Pair, same_padding

Padding = IntOrPair | Literal["same", "valid"]


def check_operands(input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    """Kinds, shapes and devices; dtypes are compared after autocast, by `check_dtypes`."""
    check_dtype(input, "input", NUMBERS)
    check_dtype(weight, "weight", NUMBERS)
    if bias is not None:
        check_dtype(bias, "bias", NUMBERS)
    check_images(input)
    if weight.ndim != 4:
        raise ValueError(f"weight: expected shape (O, C/groups, kH, kW), got {tuple(weight.shape)}")
    if 0 in weight.shape[:2]:
        raise ValueError(f"weight: expected channels to map, got shape {tuple(weight.shape)}")
    groups = as_int(groups, "groups", least=1)
    in_channels, (out_channels, group_channels) = input.shape[-3], weight.shape[:2]
    if out_channels % groups:
        raise ValueError(
            f"groups: expected a divisor of the {out_channels} output channels, got {groups}"
        )
    if in_channels != group_channels * groups:
        raise ValueError(
            f"input: expected {group_channels * groups} channels ({groups} groups of the weight's "
            f"{group_channels}), got {in_channels}"
        )
    if bias is not None and bias.shape != (out_channels,):
        raise ValueError(f"bias: expected shape ({out_channels},), got {tuple(bias.shape)}")
    check_devices(input, weight, bias)


def as_padding(padding: Padding, stride: Pair) -> Pair | Literal["same", "valid"]:
    """A pair of ints, or "same" (with stride 1 only) or "valid"."""
    if not isinstance(padding, str):
        return as_pair(padding, "padding", least=0)
    if padding not in ("same", "valid"):
        raise ValueError(f"padding: expected ints, 'same' or 'valid', got {padding!r}")
    if padding == "same" and stride != (1, 1):
        raise ValueError(f"padding: 'same' expects stride 1, got stride {stride}")
    return padding


def padding_sides(padding: Padding, kernel_size: Pair, dilation: Pair) -> tuple[int, int, int, int]:
    """Pixels at the top, bottom, left and right, for what `as_padding` returns."""
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        (kH, kW), (down, across) = kernel_size, dilation
        return *same_padding(kH, down), *same_padding(kW, across)
    vertical, horizontal = cast("Pair", padding)
    return vertical, vertical, horizontal, horizontal


def convolution_geometry(
    input: Tensor,
    weight: Tensor,
    stride: IntOrPair,
    padding: Padding,
    dilation: IntOrPair,
    groups: int,
) -> ConvolutionGeometry:
    """The windows that the kernels see: sizes from the tensors, steps from the arguments."""
    (H, W), (kH, kW) = input.shape[-2:], weight.shape[-2:]
    strides, dilations = as_pair(stride, "stride", least=1), as_pair(dilation, "dilation", least=1)
    sides = padding_sides(as_padding(padding, strides), (kH, kW), dilations)
    geometry = ConvolutionGeometry((H, W), (kH, kW), strides, sides, dilations, groups)
    if kH < 1 or kW < 1:
        raise ValueError(f"weight: expected a kernel of at least 1×1, got {kH}×{kW}")
    if min(geometry.output_size) < 1:
        raise ValueError(
            f"weight: a window of {geometry.extent[0]}×{geometry.extent[1]} pixels (kernel and "
            f"dilation) must fit into the padded input, got {geometry.padded_size[0]}×"
            f"{geometry.padded_size[1]}"
        )
    return geometry.without_idle_steps()
