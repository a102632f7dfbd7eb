"""Maximum and average pooling: one number from each sliding window, one tap at a time.

Both pad with the neutral element of their operation (−∞ for the maximum, 0 for the sum) and fold
the taps of all windows into one another. Backwards, every window hands its gradient to the entry
that won, or shares it out evenly. Either way back is linear, and the derivative of a linear
function is its adjoint: `_ToWinner` and `_FromWinner` are each other's, and so are `_WindowSum` and
`_WindowSpread`. So derivatives of every order exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor

from cnnpipe.functional.arguments import (
    REALS,
    IntOrPair,
    as_int,
    as_pair,
    check_bool,
    check_dtype,
    check_images,
    check_size,
    numbers_of,
    pooling_geometry,
)
from cnnpipe.functional.onnx import onnx_operator
from cnnpipe.functional.operator import Operator
from cnnpipe.functional.windows import (
    accumulation_dtype,
    crop,
    empty_in_order_of,
    empty_outputs,
    in_order_of,
    pad,
    sliding_windows,
    tap_of,
    zeros_like_padded,
)
from cnnpipe.functional.winners import indices_of_maxima, maxima, to_winners
from cnnpipe.geometry import Pair, WindowGeometry


@overload
def max_pool2d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = ...,
    padding: IntOrPair = ...,
    dilation: IntOrPair = ...,
    ceil_mode: bool = ...,
    return_indices: Literal[False] = ...,
) -> Tensor: ...
@overload
def max_pool2d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = ...,
    padding: IntOrPair = ...,
    dilation: IntOrPair = ...,
    ceil_mode: bool = ...,
    return_indices: bool = ...,
) -> Tensor | tuple[Tensor, Tensor]: ...
def max_pool2d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Largest entry of each window, as `torch.nn.functional.max_pool2d`.

    y[n,c,y,x] = max_{i,j} input[n, c, y·s + i·d − p, x·s + j·d − p], outside of the input −∞

    Of equal entries the first counts; NaN wins over every number, and of several the last.

    Shape:
        input (N, C, H, W) or (C, H, W) → (N, C, H_out, W_out) or (C, H_out, W_out)

    Args:
        input: feature maps, real or boolean.
        kernel_size: size of the window.
        stride: pixels between neighbouring windows; None is the kernel size.
        padding: pixels of −∞ on each side, at most half the window.
        dilation: pixels between neighbouring entries of a window.
        ceil_mode: keep a last window that hangs over the end.
        return_indices: also return where each maximum lies, row·W + column.

    Raises:
        TypeError: a complex input, or a size that is not an int.
        ValueError: a value out of range, or a window that does not fit.

    >>> image = torch.arange(16.0).view(1, 4, 4)
    >>> maximum, indices = max_pool2d(image, 2, return_indices=True)
    >>> maximum.tolist(), indices.tolist()
    ([[[5.0, 7.0], [13.0, 15.0]]], [[[5, 7], [13, 15]]])
    """
    check_dtype(input, "input", (*REALS, torch.bool))
    check_images(input)
    check_bool(return_indices, "return_indices")
    geometry = pooling_geometry(input, kernel_size, stride, padding, dilation, ceil_mode)
    maximum = _MaxPool.call(input, numbers_of(geometry))
    if not return_indices:
        return maximum
    return maximum, _Indices.call(input.detach(), numbers_of(geometry))


def avg_pool2d(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window, as `torch.nn.functional.avg_pool2d`.

    y[n,c,y,x] = 1/divisor · Σ_{i,j} input[n, c, y·s + i − p, x·s + j − p], outside of the input 0

    Shape:
        input (N, C, H, W) or (C, H, W) → (N, C, H_out, W_out) or (C, H_out, W_out)

    Args:
        input: feature maps, real; the mean of integers is cut towards zero.
        kernel_size: size of the window.
        stride: pixels between neighbouring windows; None is the kernel size.
        padding: pixels of zeros on each side, at most half the window.
        ceil_mode: keep a last window that hangs over the end.
        count_include_pad: the divisor counts the padding's pixels of a window too; those beyond it,
            which `ceil_mode` reaches, are never counted.
        divisor_override: divide by this instead.

    Raises:
        TypeError: a boolean or complex input, or a size that is not an int.
        ValueError: a value out of range, or a window that does not fit.

    >>> avg_pool2d(torch.arange(16.0).view(1, 4, 4), 2)  # (0 + 1 + 4 + 5) / 4 = 2.5, …
    tensor([[[ 2.5000,  4.5000],
             [10.5000, 12.5000]]])
    """
    check_dtype(input, "input", REALS)
    check_images(input)
    check_bool(count_include_pad, "count_include_pad")
    geometry = pooling_geometry(input, kernel_size, stride, padding, 1, ceil_mode)
    # The sum of a window may overflow a narrow type where its mean does not.
    is_float = input.is_floating_point()
    wide = input.to(accumulation_dtype(input.dtype) if is_float else torch.int64)
    divisor: Tensor | int
    if divisor_override is None:
        paddings = as_pair(padding, "padding", least=0)
        areas = _window_areas(geometry, paddings, count_include_pad, input.device)
        divisor = areas.to(wide.dtype)
    else:
        divisor = as_int(divisor_override, "divisor_override")
        if divisor == 0:
            raise ValueError("divisor_override: expected an int other than 0, got 0")
    sums = _WindowSum.call(wide, numbers_of(geometry))
    if not is_float:
        return sums.div(divisor, rounding_mode="trunc").to(input.dtype)
    return (sums / divisor).to(input.dtype)


class _PoolingOperator(Operator):
    """An operator on the windows that its last operand describes, which keeps the others.

    It is linear in its first operand: forward, it does to a tangent what it does to the operand.
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, *given, ctx.numbers = inputs
        ctx.save_for_backward(*given)
        ctx.save_for_forward(*given)

    @classmethod
    def jvp(cls, ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return cls.call(tangent, *ctx.saved_tensors, ctx.numbers)


class _MaxPool(_PoolingOperator):
    """x → maximum of each window. Its derivative is 1 at the entry that won and 0 elsewhere."""

    schema = "max_pool2d(Tensor x, SymInt[] geometry) -> Tensor"

    @staticmethod
    def compute(x: Tensor, numbers: Sequence[int]) -> Tensor:
        geometry = WindowGeometry.of(numbers)
        check_size(x, geometry)
        return maxima(x, geometry)

    @staticmethod
    def shape(x: Tensor, numbers: Sequence[int]) -> Tensor:
        return empty_outputs(x, WindowGeometry.of(numbers))

    @classmethod
    def onnx(cls, x: Tensor, numbers: Sequence[int]) -> Tensor:
        geometry = WindowGeometry.of(numbers)
        return onnx_operator("MaxPool", (x,), cls.shape(x, numbers), geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        # Not the maximum: whoever gets it may overwrite it.
        x, ctx.numbers = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return _ToWinner.call(grad, x.detach(), ctx.numbers), None

    @classmethod
    def jvp(cls, ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        (x,) = ctx.saved_tensors
        return _FromWinner.call(tangent, x.detach(), ctx.numbers)


class _ToWinner(_PoolingOperator):
    """Hand the gradient of each window to its winner."""

    schema = "max_pool2d_to_winner(Tensor g, Tensor x, SymInt[] geometry) -> Tensor"

    @staticmethod
    def compute(grad: Tensor, x: Tensor, numbers: Sequence[int]) -> Tensor:
        geometry = WindowGeometry.of(numbers)
        dtype = accumulation_dtype(grad.dtype) if geometry.overlaps else grad.dtype
        sums = zeros_like_padded(x, geometry, dtype)
        for (i, j), share in to_winners(grad.to(sums.dtype), x, geometry):
            target = tap_of(sums, geometry, i, j)
            if geometry.overlaps:
                target += share
            else:
                target.copy_(share)
        return in_order_of(x, crop(sums, geometry).to(grad.dtype))

    @staticmethod
    def shape(grad: Tensor, x: Tensor, numbers: Sequence[int]) -> Tensor:
        return empty_in_order_of(x, x.shape, grad.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _FromWinner.call(grad, *ctx.saved_tensors, ctx.numbers), None, None


class _FromWinner(_PoolingOperator):
    """Read each window at its winner."""

    schema = "max_pool2d_from_winner(Tensor values, Tensor x, SymInt[] geometry) -> Tensor"

    @staticmethod
    def compute(values: Tensor, x: Tensor, numbers: Sequence[int]) -> Tensor:
        geometry = WindowGeometry.of(numbers)
        windows = sliding_windows(pad(values, geometry), geometry)
        read = empty_outputs(values, geometry).zero_()
        for (i, j), won in to_winners(torch.ones_like(read), x, geometry):
            torch.where(won != 0, windows[..., i, j], read, out=read)
        return read

    @staticmethod
    def shape(values: Tensor, x: Tensor, numbers: Sequence[int]) -> Tensor:
        return empty_outputs(values, WindowGeometry.of(numbers))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _ToWinner.call(grad, *ctx.saved_tensors, ctx.numbers), None, None


class _Indices(Operator):
    """x → where each window's maximum lies."""

    schema = "max_pool2d_indices(Tensor x, SymInt[] geometry) -> Tensor"

    @staticmethod
    def compute(x: Tensor, numbers: Sequence[int]) -> Tensor:
        geometry = WindowGeometry.of(numbers)
        check_size(x, geometry)
        return in_order_of(x, indices_of_maxima(x, geometry))

    @staticmethod
    def shape(x: Tensor, numbers: Sequence[int]) -> Tensor:
        return empty_outputs(x, WindowGeometry.of(numbers), torch.int64)

    @staticmethod
    def onnx(x: Tensor, numbers: Sequence[int]) -> Tensor:
        raise NotImplementedError("return_indices: ONNX counts the indices of maxima otherwise")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        return None


class _WindowSum(_PoolingOperator):
    """x → sum of each window."""

    schema = "window_sum(Tensor x, SymInt[] geometry) -> Tensor"

    @staticmethod
    def compute(x: Tensor, numbers: Sequence[int]) -> Tensor:
        geometry = WindowGeometry.of(numbers)
        check_size(x, geometry)
        windows = sliding_windows(pad(x, geometry), geometry)
        sums = empty_outputs(x, geometry).zero_()
        for i, j in geometry.taps:
            sums += windows[..., i, j]
        return sums

    @staticmethod
    def shape(x: Tensor, numbers: Sequence[int]) -> Tensor:
        return empty_outputs(x, WindowGeometry.of(numbers))

    @classmethod
    def onnx(cls, x: Tensor, numbers: Sequence[int]) -> Tensor:
        geometry, result = WindowGeometry.of(numbers), cls.shape(x, numbers)
        mean = onnx_operator("AveragePool", (x,), result, geometry, count_include_pad=1)
        return mean * len(geometry.taps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _WindowSpread.call(grad, ctx.numbers), None


class _WindowSpread(_PoolingOperator):
    """Add the gradient of each window to all of its entries."""

    schema = "window_spread(Tensor g, SymInt[] geometry) -> Tensor"

    @staticmethod
    def compute(grad: Tensor, numbers: Sequence[int]) -> Tensor:
        geometry = WindowGeometry.of(numbers)
        sums = zeros_like_padded(grad, geometry, grad.dtype)
        for i, j in geometry.taps:
            tap_of(sums, geometry, i, j).add_(grad)
        return in_order_of(grad, crop(sums, geometry))

    @staticmethod
    def shape(grad: Tensor, numbers: Sequence[int]) -> Tensor:
        geometry = WindowGeometry.of(numbers)
        return empty_in_order_of(grad, (*grad.shape[:-2], *geometry.input_size))

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor, None]:
        return _WindowSum.call(x, ctx.numbers), None


def _window_areas(
    geometry: WindowGeometry, padding: Pair, count_include_pad: bool, device: torch.device
) -> Tensor:
    """The number of pixels of each window that the mean counts, (H_out, W_out)."""
    counts = []
    for axis in (0, 1):
        margin = padding[axis] if count_include_pad else 0
        window = torch.arange(geometry.output_size[axis], device=device)
        start = window * geometry.stride[axis] - padding[axis]
        end = (start + geometry.kernel_size[axis]).clamp(max=geometry.input_size[axis] + margin)
        counts.append(end - start.clamp(min=-margin))
    return counts[0][:, None] * counts[1]
