"""Two-dimensional convolution, its derivative of every order, and the choice of an algorithm.

What networks call convolution is the cross-correlation x ⋆ w. It is linear in the input and linear
in the kernel, so for an output gradient g one *trilinear* form holds all of it:

    T(x, w, g) = Σ g · (x ⋆ w)

    ∂T/∂g = x ⋆ w    the forward pass
    ∂T/∂x            the gradient of the input
    ∂T/∂w            the gradient of the kernel

Each of the three is linear in its two arguments, and its derivatives are the other two with
another tensor in the place of x, w or g. The three classes below are this statement as code, so
derivatives of every order exist. An algorithm is a module that computes the three.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from cnnpipe.functional import compiled, direct, fft, im2col, implicit_gemm, loops, winograd
from cnnpipe.functional.arguments import IntOrPair, check_dtypes, check_size, numbers_of
from cnnpipe.functional.autocast import cast_operand
from cnnpipe.functional.bilinear import Shape
from cnnpipe.functional.convolution_arguments import (
    Padding,
    check_operands,
    convolution_geometry,
)
from cnnpipe.functional.convolution_operator import ConvolutionOperator, flops
from cnnpipe.functional.onnx import onnx_operator
from cnnpipe.functional.operator import Batched, Operator
from cnnpipe.functional.windows import empty_images
from cnnpipe.geometry import ConvolutionGeometry
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
        """Why the algorithm cannot compute this convolution of x, as a clause; None if it can."""


class UnsupportedError(InputError):
    """The named algorithm cannot compute this convolution.

    >>> image, kernel = torch.ones(1, 1, 9, 9), torch.ones(1, 1, 6, 6)
    >>> conv2d(image, kernel, algorithm="winograd")
    Traceback (most recent call last):
        ...
    cnnpipe.functional.convolution.UnsupportedError: algorithm: 'winograd' expects kernels ...
    """


_ALGORITHMS: dict[str, Algorithm] = {
    "direct": direct,
    "im2col": im2col,
    "winograd": winograd,
    "fft": fft,
    "compiled": compiled,
    "implicit_gemm": implicit_gemm,
}
CONV2D_ALGORITHMS: tuple[str, ...] = tuple(_ALGORITHMS)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> Tensor:
    """Cross-correlate images with learned kernels, as `torch.nn.functional.conv2d` does.

    y[n,o,y,x] = bias[o] + Σ_{c,i,j} input[n, c, y·s + i·d − p, x·s + j·d − p] · weight[o,c,i,j]

    for stride s, dilation d and padding p; pixels outside of the input are zero.

    The channels of the result lie side by side in memory: where torch's lets you `view` it, here
    `flatten` it.

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
        groups: number of independent groups of channels.
        algorithm: one of `CONV2D_ALGORITHMS`, or "auto" for what `conv2d_algorithm` names. Where
            `torch.func.vmap` makes groups, one that has none becomes "im2col".

    Raises:
        TypeError: not tensors of numbers of one dtype, or a size that is not an int.
        ValueError: shapes that do not fit together, a value out of range, or an algorithm that
            cannot compute this convolution (`UnsupportedError`).

    Source:
        LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition
        (1998), section II.A.

    >>> image = torch.arange(9.0).view(1, 3, 3)  # rows 0 1 2, 3 4 5, 6 7 8
    >>> kernel = torch.arange(4.0).view(1, 1, 2, 2)  # rows 0 1, 2 3
    >>> conv2d(image, kernel)  # 0·0 + 1·1 + 3·2 + 4·3 = 19, …
    tensor([[[19., 25.],
             [37., 43.]]])
    """
    check_operands(input, weight, bias, groups)
    input, weight = cast_operand(input), cast_operand(weight)
    bias = None if bias is None else cast_operand(bias)
    check_dtypes(input, weight, bias)
    geometry = convolution_geometry(input, weight, stride, padding, dilation, groups)
    images = input if input.ndim == 4 else input.unsqueeze(0)
    check_support(algorithm, images, geometry)
    output = _CrossCorrelation.call(images, weight, bias, numbers_of(geometry), algorithm)
    return output if input.ndim == 4 else output.squeeze(0)


def convolve2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
) -> Tensor:
    """The convolution of mathematics: `conv2d` with the kernels flipped along both axes.

    (input ∗ weight)[y, x] = Σ_{i,j} input[y − i, x − j] · weight[i, j]

    A network that learns its kernels cannot tell the two apart. Arguments, shapes and errors are
    those of `conv2d`.

    >>> image = torch.arange(9.0).view(1, 3, 3)  # rows 0 1 2, 3 4 5, 6 7 8
    >>> kernel = torch.arange(4.0).view(1, 1, 2, 2)  # rows 0 1, 2 3
    >>> convolve2d(image, kernel)  # 0·3 + 1·2 + 3·1 + 4·0 = 5, …
    tensor([[[ 5., 11.],
             [23., 29.]]])
    """
    check_operands(input, weight, bias, groups)
    flipped = weight.flip(-2, -1)
    return conv2d(input, flipped, bias, stride, padding, dilation, groups, algorithm=algorithm)


class _CrossCorrelation(ConvolutionOperator):
    """(x, w, bias) → x ⋆ w + bias = ∂T/∂g + bias."""

    schema = "conv2d(Tensor x, Tensor w, Tensor? bias, SymInt[] geometry, str algorithm) -> Tensor"
    operand_axes, result_axis = (1, 0, 0), 1
    has_bias = True

    @staticmethod
    def compute(
        x: Tensor, w: Tensor, bias: Tensor | None, numbers: Sequence[int], algorithm: str
    ) -> Tensor:
        geometry = ConvolutionGeometry.of(numbers)
        check_size(x, geometry)
        y = cross_correlation(_chosen(algorithm, x, geometry), x, w, bias, geometry)
        return y.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def shape(
        x: Tensor, w: Tensor, bias: Tensor | None, numbers: Sequence[int], algorithm: str
    ) -> Tensor:
        return empty_images(x, w.shape[0], ConvolutionGeometry.of(numbers).output_size)

    @classmethod
    def onnx(
        cls, x: Tensor, w: Tensor, bias: Tensor | None, numbers: Sequence[int], algorithm: str
    ) -> Tensor:
        geometry = ConvolutionGeometry.of(numbers)
        result = cls.shape(x, w, bias, numbers, algorithm)
        return onnx_operator("Conv", (x, w, bias), result, geometry, group=geometry.groups)

    @staticmethod
    def flops(x: Shape, w: Shape, bias: Shape | None, numbers: Sequence[int], *_: Any) -> int:
        return flops(x, w, numbers)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        needs_x, needs_w, needs_bias, *_ = ctx.needs_input_grad
        dx = _InputGradient.call(g, w.conj(), *ctx.how) if needs_x else None
        if dx is not None and x.is_contiguous():
            dx = dx.contiguous()  # so that it can be viewed as its tensor can
        return (
            dx,
            _WeightGradient.call(x.conj(), g, *ctx.how) if needs_w else None,
            _BiasGradient.call(g) if needs_bias else None,
            None,
            None,
        )


def cross_correlation(
    chosen: Algorithm, x: Tensor, w: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry
) -> Tensor:
    """x ⋆ w + bias by an algorithm."""
    if chosen is compiled:  # whose sums include the bias
        return compiled.forward(x, w, geometry, bias)
    if chosen is implicit_gemm:  # likewise
        return implicit_gemm.forward(x, w, geometry, bias)
    y = chosen.forward(x, w, geometry)
    return y if bias is None else y.add_(_CrossCorrelation.spread(bias))


class _InputGradient(ConvolutionOperator):
    """(g, w) → ∂T/∂x."""

    schema = "conv2d_input_gradient(Tensor g, Tensor w, SymInt[] geometry, str algorithm) -> Tensor"
    operand_axes, result_axis = (1, 0), 1

    @staticmethod
    def compute(g: Tensor, w: Tensor, numbers: Sequence[int], algorithm: str) -> Tensor:
        geometry = ConvolutionGeometry.of(numbers)
        x = _chosen(algorithm, g, geometry).input_gradient(g, w, geometry)
        return x.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def shape(g: Tensor, w: Tensor, numbers: Sequence[int], algorithm: str) -> Tensor:
        geometry = ConvolutionGeometry.of(numbers)
        return empty_images(g, geometry.groups * w.shape[1], geometry.input_size)

    @staticmethod
    def flops(g: Shape, w: Shape, numbers: Sequence[int], *_: Any) -> int:
        return flops(g, w, numbers)

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, ...]:
        g, w = ctx.saved_tensors
        needs_g, needs_w, *_ = ctx.needs_input_grad
        return (
            _CrossCorrelation.call(x, w.conj(), None, *ctx.how) if needs_g else None,
            _WeightGradient.call(x, g.conj(), *ctx.how) if needs_w else None,
            None,
            None,
        )


class _WeightGradient(ConvolutionOperator):
    """(x, g) → ∂T/∂w."""

    schema = (
        "conv2d_weight_gradient(Tensor x, Tensor g, SymInt[] geometry, str algorithm) -> Tensor"
    )
    operand_axes, result_axis = (1, 1), 0

    @staticmethod
    def compute(x: Tensor, g: Tensor, numbers: Sequence[int], algorithm: str) -> Tensor:
        geometry = ConvolutionGeometry.of(numbers)
        return _chosen(algorithm, x, geometry).weight_gradient(x, g, geometry).contiguous()

    @staticmethod
    def shape(x: Tensor, g: Tensor, numbers: Sequence[int], algorithm: str) -> Tensor:
        geometry = ConvolutionGeometry.of(numbers)
        return x.new_empty((g.shape[1], x.shape[1] // geometry.groups, *geometry.kernel_size))

    @staticmethod
    def flops(x: Shape, g: Shape, numbers: Sequence[int], algorithm: str, w: Shape) -> int:
        return flops(x, w, numbers)

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        needs_x, needs_g, *_ = ctx.needs_input_grad
        return (
            _InputGradient.call(g.conj(), w, *ctx.how) if needs_x else None,
            _CrossCorrelation.call(x.conj(), w, None, *ctx.how) if needs_g else None,
            None,
            None,
        )


class _BiasGradient(Operator):
    """g → Σ g over all outputs of a channel."""

    schema = "conv2d_bias_gradient(Tensor g) -> Tensor"

    @staticmethod
    def compute(g: Tensor) -> Tensor:
        return channel_sums(g)

    @staticmethod
    def shape(g: Tensor) -> Tensor:
        return g.new_empty(g.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.images = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, bias: Tensor) -> tuple[Tensor]:
        return (bias.view(-1, 1, 1).expand(ctx.images),)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return _BiasGradient.call(tangent)

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[Any, ...], *operands: Any) -> Batched:
        channels = operands[0].movedim(in_dims[0], 1).flatten(1, 2)
        return cls.call(channels).unflatten(0, (info.batch_size, -1)), 0


def channel_sums(g: Tensor) -> Tensor:
    """(N, C, H, W) or (N, C) → (C,)."""
    if loops.unsupported(g) is None:
        return compiled.channel_sums(g)
    return g.sum([axis for axis in range(g.ndim) if axis != 1])


def conv2d_algorithm(
    input: Tensor,
    weight: Tensor,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> str:
    """The algorithm that `conv2d` takes for "auto".

    `compiled` for floating-point numbers on a CPU that `loops` can compile for, and `im2col`
    elsewhere. It depends on the dtype and the device alone.

    Both carry a NaN or an infinity exactly to the outputs that the formula names. So does `direct`;
    but with `direct`, and on other devices, a weight that is not finite may reach more of the
    input's gradient. By name, `winograd` spreads such numbers over a tile and `fft` over its image.

    Arguments and errors are those of `conv2d`.

    >>> conv2d_algorithm(torch.ones(1, 1, 4, 4, dtype=int), torch.ones(1, 1, 2, 2, dtype=int))
    'im2col'
    """
    return _fastest(input, convolution_geometry(input, weight, stride, padding, dilation, groups))


def _fastest(like: Tensor, geometry: ConvolutionGeometry) -> str:
    return "im2col" if compiled.unsupported(like, geometry) else "compiled"


def _chosen(algorithm: str, like: Tensor, geometry: ConvolutionGeometry) -> Algorithm:
    chosen = _ALGORITHMS[_fastest(like, geometry) if algorithm == "auto" else algorithm]
    # vmap makes groups of what had none
    return im2col if chosen.unsupported(like, geometry) else chosen


def check_support(algorithm: str, x: Tensor, geometry: ConvolutionGeometry) -> None:
    """Refuse an algorithm that cannot compute this convolution of x."""
    if check_algorithm(algorithm) == "auto":
        return
    reason = _ALGORITHMS[algorithm].unsupported(x, geometry)
    if not x.dtype.is_floating_point and algorithm not in ("direct", "im2col"):
        reason = f"expects a floating-point dtype, got {x.dtype}"
    if reason:
        raise UnsupportedError(f"algorithm: {algorithm!r} {reason}")


def check_algorithm(name: str) -> str:
    """The name, if it is "auto" or that of an algorithm."""
    allowed = ("auto", *CONV2D_ALGORITHMS)
    if name not in allowed:
        raise ValueError(f"algorithm: expected one of {', '.join(allowed)}, got {name!r}")
    return name
