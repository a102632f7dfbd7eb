"""Two-dimensional convolution, its derivative of every order, and the choice of an algorithm.

What networks call convolution is the cross-correlation x ⋆ w. It is linear in the input and linear
in the kernel, so for an output gradient g one *trilinear* form holds all of it:

    T(x, w, g) = Σ g · (x ⋆ w)

    ∂T/∂g = x ⋆ w    the forward pass
    ∂T/∂x            the gradient of the input
    ∂T/∂w            the gradient of the kernel

Each of the three is linear in its two arguments, and its derivatives are the other two with
something put in the place of x, w or g. The three `Function`s below say just that, and so
derivatives of every order exist. An algorithm is a module that computes the three.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

from cnnpipe.functional import direct, fft, im2col, implicit_gemm, taps, toeplitz, winograd
from cnnpipe.functional.arguments import (
    IntOrPair,
    as_int,
    as_pair,
    check_floating_point,
    check_images,
)
from cnnpipe.geometry import ConvolutionGeometry, Pair, same_padding
from cnnpipe.system.errors import InputError


class Algorithm(Protocol):
    """A way to compute the three partial derivatives of the trilinear form.

    Shape:
        x (N, C, H, W), w (O, C/groups, kH, kW), grad (N, O, H_out, W_out), of one dtype and any
        memory layout. Each result is a new tensor of its own.
    """

    def forward(self, x: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor: ...

    def input_gradient(self, grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor: ...

    def weight_gradient(self, x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor: ...

    def unsupported(self, x: Tensor, geometry: ConvolutionGeometry) -> str | None:
        """Why this convolution of x is beyond the algorithm, as a clause; None if it is not."""


class UnsupportedError(InputError):
    """The named algorithm cannot compute this convolution."""


_ALGORITHMS: dict[str, Algorithm] = {
    "direct": direct,
    "im2col": im2col,
    "toeplitz": toeplitz,
    "taps": taps,
    "winograd": winograd,
    "fft": fft,
    "implicit_gemm": implicit_gemm,
}
CONV2D_ALGORITHMS: tuple[str, ...] = tuple(_ALGORITHMS)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | Literal["same", "valid"] = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> Tensor:
    """Cross-correlate images with learned kernels, as `torch.nn.functional.conv2d` does.

    y[n,o,y,x] = bias[o] + Σ_{c,i,j} input[n, c, y·s + i·d − p, x·s + j·d − p] · weight[o,c,i,j]

    for stride s, dilation d and padding p; pixels outside of the input are zero.

    The channels of the result lie side by side in memory: where torch's lets you `view` it, here
    `flatten` it. `torch.func` derives in reverse only: `jacrev(jacrev(f))`, not `hessian(f)`.

    Shape:
        input (N, C, H, W) or (C, H, W), weight (O, C/groups, kH, kW), bias (O,)
        → (N, O, H_out, W_out) or (O, H_out, W_out)

    Args:
        input: images or feature maps.
        weight: the kernels.
        bias: added to each output channel.
        stride: pixels between neighbouring windows.
        padding: pixels of zeros on each side; "valid" is none, "same" keeps the size (stride 1).
        dilation: pixels between neighbouring entries of the kernel.
        groups: channels fall into so many groups that do not see each other.
        algorithm: one of `CONV2D_ALGORITHMS`, or "auto" for what `conv2d_algorithm` names. In a
            graph of `torch.compile` or `torch.export` it is always "direct".

    Raises:
        TypeError: not floating-point tensors of one dtype, or a size that is not an int.
        ValueError: shapes that do not fit together, a value out of range, or an algorithm that
            cannot compute this convolution (`UnsupportedError`).

    Source:
        LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition
        (1998), section II.A.
    """
    _check_tensors(input, weight, bias, groups)
    device = input.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        input, weight = _cast(input, dtype), _cast(weight, dtype)
        bias = None if bias is None else _cast(bias, dtype)
    _check_dtypes(input, weight, bias)
    geometry = _geometry(input, weight, stride, padding, dilation, groups)
    images = input if input.ndim == 4 else input.unsqueeze(0)
    chosen = _choose(algorithm, images, weight, geometry)
    output: Tensor = _CrossCorrelation.apply(images, weight, bias, geometry, chosen)
    return output if input.ndim == 4 else output.squeeze(0)


def convolve2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: IntOrPair | Literal["same", "valid"] = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> Tensor:
    """The convolution of mathematics: `conv2d` with the kernels flipped along both axes.

    (input ∗ weight)[y, x] = Σ_{i,j} input[y − i, x − j] · weight[i, j]

    A network that learns its kernels cannot tell the two apart. Arguments, shapes and errors are
    those of `conv2d`.
    """
    _check_tensors(input, weight, bias, groups)
    return conv2d(
        input,
        weight.flip(-2, -1),
        bias,
        stride,
        padding,
        dilation,
        groups,
        algorithm=algorithm,
    )


class _CrossCorrelation(Function):
    """(x, w, bias) → x ⋆ w + bias = ∂T/∂g + bias."""

    @staticmethod
    def forward(
        x: Tensor,
        w: Tensor,
        bias: Tensor | None,
        geometry: ConvolutionGeometry,
        algorithm: Algorithm,
    ) -> Tensor:
        with _without_autocast(x):
            y = algorithm.forward(x, w, geometry)
        if bias is not None:
            y.add_(bias.view(-1, 1, 1))
        # Autograd lets nobody overwrite what a function returns as a view, as algorithms may do.
        return y.detach()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _: Tensor) -> None:
        x, w, _bias, ctx.geometry, ctx.algorithm = inputs
        ctx.save_for_backward(x, w)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        how = ctx.geometry, ctx.algorithm
        of_x, of_w, of_bias = ctx.needs_input_grad[:3]
        return (
            _InputGradient.apply(g, w, *how) if of_x else None,
            _WeightGradient.apply(x, g, *how) if of_w else None,
            g.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        w: Tensor,
        bias: Tensor | None,
        geometry: ConvolutionGeometry,
        algorithm: Algorithm,
    ) -> tuple[Tensor, int]:
        of_x, of_w, of_bias = in_dims[:3]
        B = info.batch_size
        if of_w is None and of_bias is None:
            images = _fold(x, of_x, 0, B)
            y = _CrossCorrelation.apply(images, w, bias, geometry, algorithm)
            return y.unflatten(0, (B, -1)), 0
        x, w = _fold(x, of_x, 1, B), _fold(w, of_w, 0, B)
        bias = None if bias is None else _fold(bias, of_bias, 0, B)
        how = _in_groups(x, geometry, algorithm, B)
        return _CrossCorrelation.apply(x, w, bias, *how).unflatten(1, (B, -1)), 1


class _InputGradient(Function):
    """(g, w) → ∂T/∂x."""

    @staticmethod
    def forward(
        g: Tensor, w: Tensor, geometry: ConvolutionGeometry, algorithm: Algorithm
    ) -> Tensor:
        with _without_autocast(g):
            return algorithm.input_gradient(g, w, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _: Tensor) -> None:
        g, w, ctx.geometry, ctx.algorithm = inputs
        ctx.save_for_backward(g, w)

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, ...]:
        g, w = ctx.saved_tensors
        how = ctx.geometry, ctx.algorithm
        of_g, of_w = ctx.needs_input_grad[:2]
        return (
            _CrossCorrelation.apply(x, w, None, *how) if of_g else None,
            _WeightGradient.apply(x, g, *how) if of_w else None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        g: Tensor,
        w: Tensor,
        geometry: ConvolutionGeometry,
        algorithm: Algorithm,
    ) -> tuple[Tensor, int]:
        (of_g, of_w), B = in_dims[:2], info.batch_size
        if of_w is None:
            x = _InputGradient.apply(_fold(g, of_g, 0, B), w, geometry, algorithm)
            return x.unflatten(0, (B, -1)), 0
        g, w = _fold(g, of_g, 1, B), _fold(w, of_w, 0, B)
        how = _in_groups(g, geometry, algorithm, B)
        return _InputGradient.apply(g, w, *how).unflatten(1, (B, -1)), 1


class _WeightGradient(Function):
    """(x, g) → ∂T/∂w."""

    @staticmethod
    def forward(
        x: Tensor, g: Tensor, geometry: ConvolutionGeometry, algorithm: Algorithm
    ) -> Tensor:
        with _without_autocast(x):
            return algorithm.weight_gradient(x, g, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _: Tensor) -> None:
        x, g, ctx.geometry, ctx.algorithm = inputs
        ctx.save_for_backward(x, g)

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        how = ctx.geometry, ctx.algorithm
        of_x, of_g = ctx.needs_input_grad[:2]
        return (
            _InputGradient.apply(g, w, *how) if of_x else None,
            _CrossCorrelation.apply(x, w, None, *how) if of_g else None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        g: Tensor,
        geometry: ConvolutionGeometry,
        algorithm: Algorithm,
    ) -> tuple[Tensor, int]:
        (of_x, of_g), B = in_dims[:2], info.batch_size
        x, g = _fold(x, of_x, 1, B), _fold(g, of_g, 1, B)
        how = _in_groups(x, geometry, algorithm, B)
        return _WeightGradient.apply(x, g, *how).unflatten(0, (B, -1)), 0


def _fold(tensor: Tensor, of_vmap: int | None, axis: int, size: int) -> Tensor:
    """Merge the axis that `torch.func.vmap` adds into another, repeating what has none."""
    if of_vmap is None:
        shape = (*tensor.shape[:axis], size, *tensor.shape[axis:])
        return tensor.unsqueeze(axis).expand(shape).flatten(axis, axis + 1)
    return tensor.movedim(of_vmap, axis).flatten(axis, axis + 1)


def _in_groups(
    x: Tensor, geometry: ConvolutionGeometry, algorithm: Algorithm, size: int
) -> tuple[ConvolutionGeometry, Algorithm]:
    """So many convolutions with kernels of their own are one whose groups do not see each other."""
    geometry = replace(geometry, groups=size * geometry.groups)
    return geometry, im2col if algorithm.unsupported(x, geometry) else algorithm


def _without_autocast(tensor: Tensor) -> AbstractContextManager[None]:
    """Where matrix products are computed as written: in a backward under autocast, too."""
    device = tensor.device.type
    if torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def conv2d_algorithm(
    input: Tensor,
    weight: Tensor,
    stride: IntOrPair = 1,
    padding: IntOrPair | Literal["same", "valid"] = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> str:
    """The algorithm that `conv2d` takes for "auto": the fastest that the benchmark found.

    A rule, so that the same shapes are always computed in the same way. On a CPU, in 32 or 64 bits:

    - `toeplitz` for fewer than 8 input channels, and where one window covers the image;
    - `fft` for kernels of 7×7 and more;
    - `winograd` for kernels up to 3×3 between 128 channels and more;
    - `taps` for all else with stride 1, unless it would drop most of what it computes.

    And `im2col` for strides, dilations and groups, in 16 bits and on other devices.

    A NaN or an infinity is never lost, and never leaves its image (in a weight, its kernel). Within
    them it goes exactly as far as the formula says with `direct` and `im2col`, but for the input's
    gradient where a weight is not finite. `toeplitz`, which LeNet-5 has, also multiplies it by
    zeros for up to kW − 1 windows on either side, `taps` for fewer than 16 output or 4 input
    channels; `winograd` spreads it over a tile and `fft` over its image.

    Arguments and errors are those of `conv2d`.
    """
    geometry = _geometry(input, weight, stride, padding, dilation, groups)
    return _fastest(input, weight, geometry)


def _fastest(x: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> str:
    if x.device.type != "cpu" or x.dtype in (torch.float16, torch.bfloat16):
        return "im2col"
    C, out_channels = w.shape[1] * geometry.groups, len(w)
    if toeplitz.unsupported(x, geometry):  # a stride, a dilation or groups
        return "im2col"
    if C < 8 or geometry.output_size == (1, 1):
        return "toeplitz"
    if min(geometry.kernel_size) >= 7:
        return "fft"
    if max(geometry.kernel_size) <= 3 and min(C, out_channels) >= 128:
        return "winograd"
    # `taps` computes the windows between two image rows too, and drops them.
    few_dropped = 2 * geometry.output_size[1] > geometry.input_size[1]
    return "taps" if few_dropped and not taps.unsupported(x, geometry) else "im2col"


def _choose(algorithm: str, x: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Algorithm:
    # A compiler gets the formula: what others do to memory (out=, overlapping views) it may get
    # wrong, and torch 2.14 does so without a word.
    if torch.compiler.is_compiling():
        return direct
    if algorithm == "auto":
        return _ALGORITHMS[_fastest(x, w, geometry)]
    try:
        chosen = _ALGORITHMS[algorithm]
    except KeyError:
        allowed = ", ".join(["auto", *CONV2D_ALGORITHMS])
        raise ValueError(f"algorithm: expected one of {allowed}, got {algorithm!r}") from None
    if reason := chosen.unsupported(x, geometry):
        raise UnsupportedError(f"algorithm: {algorithm!r} {reason}")
    return chosen


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """What `torch.autocast` does to an operand of a convolution: all but float64 is cast."""
    return tensor if tensor.dtype == torch.float64 else tensor.to(dtype)


def _check_tensors(input: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    check_floating_point(input, "input")
    check_floating_point(weight, "weight")
    if bias is not None:
        check_floating_point(bias, "bias")
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
    for name, tensor in [("weight", weight), ("bias", bias)]:
        if tensor is not None and tensor.device != input.device:
            raise ValueError(f"{name}: expected the input's {input.device}, got {tensor.device}")


def _check_dtypes(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    for name, tensor in [("weight", weight), ("bias", bias)]:
        if tensor is not None and tensor.dtype != input.dtype:
            raise TypeError(f"{name}: expected the input's {input.dtype}, got {tensor.dtype}")


def _geometry(
    input: Tensor,
    weight: Tensor,
    stride: IntOrPair,
    padding: IntOrPair | str,
    dilation: IntOrPair,
    groups: int,
) -> ConvolutionGeometry:
    H, W = input.shape[-2:]
    kH, kW = weight.shape[-2:]
    strides, dilations = as_pair(stride, "stride", least=1), as_pair(dilation, "dilation", least=1)
    geometry = ConvolutionGeometry(
        input_size=(H, W),
        kernel_size=(kH, kW),
        stride=strides,
        padding=_four_sides(padding, (kH, kW), strides, dilations),
        dilation=dilations,
        groups=groups,
    )
    if kH < 1 or kW < 1:
        raise ValueError(f"weight: expected a kernel of at least 1×1, got {kH}×{kW}")
    if min(geometry.output_size) < 1:
        raise ValueError(
            f"weight: a window of {geometry.extent[0]}×{geometry.extent[1]} pixels (kernel and "
            f"dilation) must fit into the padded input, got {geometry.padded_size[0]}×"
            f"{geometry.padded_size[1]}"
        )
    return geometry.without_idle_steps()


def _four_sides(
    padding: IntOrPair | str, kernel_size: Pair, stride: Pair, dilation: Pair
) -> tuple[int, int, int, int]:
    if isinstance(padding, str):
        if padding == "valid":
            return 0, 0, 0, 0
        if padding != "same":
            raise ValueError(f"padding: expected ints, 'same' or 'valid', got {padding!r}")
        if stride != (1, 1):
            raise ValueError(f"padding: 'same' expects stride 1, got stride {stride}")
        return (
            *same_padding(kernel_size[0], dilation[0]),
            *same_padding(kernel_size[1], dilation[1]),
        )
    vertical, horizontal = as_pair(padding, "padding", least=0)
    return vertical, vertical, horizontal, horizontal
