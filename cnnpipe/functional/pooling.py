"""Maximum and average pooling: what becomes of each sliding window, one tap at a time.

Both pad with the neutral element of their operation (−∞ for the maximum, 0 for the sum) and fold
the taps of all windows into one another. Their derivatives go the way back: every window hands its
gradient to the entry that won, or shares it out evenly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch.autograd import Function

from cnnpipe.functional.arguments import (
    IntOrPair,
    as_int,
    as_pair,
    check_bool,
    check_floating_point,
    check_images,
    check_real,
    pooling_arguments,
)
from cnnpipe.functional.windows import (
    accumulation_dtype,
    crop,
    pad,
    sliding_windows,
    tap_of,
    zeros_like_padded,
)
from cnnpipe.geometry import Pair, WindowGeometry, output_size, window_extent

Batched = tuple[Tensor, int]
"""A result under `torch.func.vmap`, and which of its axes is the one that was added."""


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
    *,
    return_indices: Literal[True],
) -> tuple[Tensor, Tensor]: ...
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

    Of equal entries the first counts; NaN wins over every number.

    Shape:
        input (N, C, H, W) or (C, H, W) → (N, C, H_out, W_out) or (C, H_out, W_out)

    Args:
        input: feature maps, floating-point or integer.
        kernel_size: size of the window.
        stride: pixels between neighbouring windows; None is the kernel size.
        padding: pixels of −∞ on each side, at most half the window.
        dilation: pixels between neighbouring entries of a window.
        ceil_mode: keep a last window that hangs over the end.
        return_indices: return the place of each maximum, row·W + column, as well.

    Raises:
        TypeError: a boolean or complex input, or a size that is not an int.
        ValueError: a value out of range, or a window that does not fit.
    """
    check_real(input, "input")
    check_images(input)
    check_bool(return_indices, "return_indices")
    geometry = _geometry(input, kernel_size, stride, padding, dilation, ceil_mode)
    maximum: Tensor = _MaxPool.apply(input, geometry)
    return (maximum, _Indices.apply(input.detach(), geometry)) if return_indices else maximum


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
        input: feature maps, floating-point.
        kernel_size: size of the window.
        stride: pixels between neighbouring windows; None is the kernel size.
        padding: pixels of zeros on each side, at most half the window.
        ceil_mode: keep a last window that hangs over the end.
        count_include_pad: the divisor counts the padding's pixels of a window too; those beyond it,
            which `ceil_mode` reaches, are never counted.
        divisor_override: divide by this instead.

    Raises:
        TypeError: an input that is not floating-point, or a size that is not an int.
        ValueError: a value out of range, or a window that does not fit.
    """
    check_floating_point(input, "input")
    check_images(input)
    check_bool(count_include_pad, "count_include_pad")
    geometry = _geometry(input, kernel_size, stride, padding, 1, ceil_mode)
    # The sum of a window may overflow 16 bits where its mean does not.
    wide = input.to(accumulation_dtype(input.dtype))
    divisor: Tensor | int
    if divisor_override is None:
        paddings = as_pair(padding, "padding", least=0)
        divisor = _window_areas(geometry, paddings, count_include_pad, input.device).to(wide.dtype)
    else:
        divisor = as_int(divisor_override, "divisor_override")
        if divisor == 0:
            raise ValueError("divisor_override: expected an int other than 0, got 0")
    mean: Tensor = _WindowSum.apply(wide, geometry) / divisor
    return mean.to(input.dtype)


class _MaxPool(Function):
    """x → maximum of each window. Its derivative is 1 at the entry that won and 0 elsewhere."""

    @staticmethod
    def forward(x: Tensor, geometry: WindowGeometry) -> Tensor:
        windows = sliding_windows(pad(x, geometry, _smallest(x.dtype)), geometry)
        first, *rest = (windows[..., i, j] for i, j in geometry.taps)
        maximum = torch.maximum(first, first)  # unlike clone, keeps the order of axes in memory
        for entry in rest:
            torch.maximum(maximum, entry, out=maximum)
        return maximum  # (N, C, H_out, W_out)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, WindowGeometry], maximum: Tensor) -> None:
        x, ctx.geometry = inputs
        ctx.save_for_backward(x, maximum)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, maximum = ctx.saved_tensors
        return _ToWinner.apply(grad, x.detach(), maximum.detach(), ctx.geometry), None

    @staticmethod
    def vmap(_: Any, in_dims: tuple[Any, ...], x: Tensor, geometry: WindowGeometry) -> Batched:
        return _MaxPool.apply(x.movedim(in_dims[0], 0), geometry), 0


class _ToWinner(Function):
    """Hand the gradient of each window to its winner: the adjoint of `_FromWinner`."""

    @staticmethod
    def forward(grad: Tensor, x: Tensor, maximum: Tensor, geometry: WindowGeometry) -> Tensor:
        sums = zeros_like_padded(grad, geometry)
        for (i, j), share in _to_winners(grad.to(sums.dtype), x, maximum, geometry):
            target = tap_of(sums, geometry, i, j)
            if geometry.overlaps:
                target += share
            else:
                target.copy_(share)
        return crop(sums, geometry).to(grad.dtype)

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, WindowGeometry], _: Tensor
    ) -> None:
        _, x, maximum, ctx.geometry = inputs
        ctx.save_for_backward(x, maximum)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _FromWinner.apply(grad, *ctx.saved_tensors, ctx.geometry), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> Batched:
        return _ToWinner.apply(*_side_by_side(info.batch_size, in_dims, inputs)), 0


class _FromWinner(Function):
    """Read each window at its winner: linear in what is read, the winners being given."""

    @staticmethod
    def forward(values: Tensor, x: Tensor, maximum: Tensor, geometry: WindowGeometry) -> Tensor:
        windows = sliding_windows(pad(values, geometry), geometry)
        read = torch.zeros_like(maximum)
        for (i, j), won in _to_winners(torch.ones_like(maximum), x, maximum, geometry):
            read = torch.where(won != 0, windows[..., i, j], read)
        return read

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, WindowGeometry], _: Tensor
    ) -> None:
        _, x, maximum, ctx.geometry = inputs
        ctx.save_for_backward(x, maximum)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _ToWinner.apply(grad, *ctx.saved_tensors, ctx.geometry), None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> Batched:
        return _FromWinner.apply(*_side_by_side(info.batch_size, in_dims, inputs)), 0


def _to_winners(
    parcels: Tensor, x: Tensor, maximum: Tensor, geometry: WindowGeometry
) -> Iterator[tuple[Pair, Tensor]]:
    """Each tap, and the parcels of the windows that it wins, zero for the others.

    Tap by tap, those that it wins are taken off the pile: so the first of equal entries wins.
    Products with 0 and 1, because on a CPU they are an order of magnitude faster than choices by a
    boolean mask. Padding is NaN here, which equals nothing and so wins nothing. A maximum that is
    NaN equals no entry either, and 0·∞ is NaN; both take the long way, and so do devices that would
    have to be waited for to look.
    """
    if maximum.device.type != "cpu" or not (_is_finite(maximum) and _is_finite(parcels)):
        winner = _winner(x, geometry)
        for tap, (i, j) in enumerate(geometry.taps):
            yield (i, j), torch.where(winner == tap, parcels, 0)
        return
    windows = sliding_windows(pad(x, geometry, torch.nan), geometry)
    pile = parcels.clone()
    won = torch.empty_like(pile)
    for i, j in geometry.taps[:-1]:
        torch.eq(windows[..., i, j], maximum, out=won)
        won *= pile
        pile -= won
        yield (i, j), won
    yield geometry.taps[-1], pile


def _is_finite(numbers: Tensor) -> bool:
    """Whether all are, in one pass; a sum that overflows says no as well."""
    return bool(numbers.sum(dtype=accumulation_dtype(numbers.dtype)).isfinite())


class _Indices(Function):
    """x → where each window's maximum lies."""

    @staticmethod
    def forward(x: Tensor, geometry: WindowGeometry) -> Tensor:
        return _indices(x, geometry)

    @staticmethod
    def setup_context(ctx: Any, _: tuple[Tensor, WindowGeometry], indices: Tensor) -> None:
        ctx.mark_non_differentiable(indices)

    @staticmethod
    def vmap(_: Any, in_dims: tuple[Any, ...], x: Tensor, geometry: WindowGeometry) -> Batched:
        return _Indices.apply(x.movedim(in_dims[0], 0), geometry), 0


class _WindowSum(Function):
    """x → sum of each window; linear, so that its derivative is its adjoint `_WindowSpread`."""

    @staticmethod
    def forward(x: Tensor, geometry: WindowGeometry) -> Tensor:
        windows = sliding_windows(pad(x, geometry), geometry)
        first, *rest = (windows[..., i, j] for i, j in geometry.taps)
        sums = first * 1  # unlike clone, keeps the order of axes in memory
        for entry in rest:
            sums += entry
        return sums  # (N, C, H_out, W_out)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, WindowGeometry], _: Tensor) -> None:
        _, ctx.geometry = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _WindowSpread.apply(grad, ctx.geometry), None

    @staticmethod
    def vmap(_: Any, in_dims: tuple[Any, ...], x: Tensor, geometry: WindowGeometry) -> Batched:
        return _WindowSum.apply(x.movedim(in_dims[0], 0), geometry), 0


class _WindowSpread(Function):
    """Add the gradient of each window to all of its entries."""

    @staticmethod
    def forward(grad: Tensor, geometry: WindowGeometry) -> Tensor:
        sums = zeros_like_padded(grad, geometry)
        for i, j in geometry.taps:
            tap_of(sums, geometry, i, j).add_(grad)
        return crop(sums, geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, WindowGeometry], _: Tensor) -> None:
        _, ctx.geometry = inputs

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor, None]:
        return _WindowSum.apply(x, ctx.geometry), None

    @staticmethod
    def vmap(_: Any, in_dims: tuple[Any, ...], x: Tensor, geometry: WindowGeometry) -> Batched:
        return _WindowSpread.apply(x.movedim(in_dims[0], 0), geometry), 0


def _side_by_side(size: int, in_dims: tuple[Any, ...], inputs: tuple[Any, ...]) -> list[Any]:
    """Tensors with the axis that `torch.func.vmap` adds in front, where the windows ignore it."""
    *tensors, geometry = inputs
    return [
        tensor.expand(size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
        for tensor, axis in zip(tensors, in_dims, strict=False)
    ] + [geometry]


def _geometry(
    input: Tensor,
    kernel_size: IntOrPair,
    stride: IntOrPair | None,
    padding: IntOrPair,
    dilation: IntOrPair,
    ceil_mode: bool,
) -> WindowGeometry:
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


def _smallest(dtype: torch.dtype) -> float:
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _indices(x: Tensor, geometry: WindowGeometry) -> Tensor:
    """Where in the input each maximum lies, row·W + column, (…, H_out, W_out) int64.

    A window that dilation spreads over nothing but padding gets the pixel nearest to it.
    """
    winner = _winner(x, geometry)
    top, _, left, _ = geometry.padding
    H_out, W_out = geometry.output_size
    row, column = winner // geometry.kernel_size[1], winner % geometry.kernel_size[1]
    first_row = torch.arange(H_out, device=x.device)[:, None] * geometry.stride[0] - top
    first_column = torch.arange(W_out, device=x.device) * geometry.stride[1] - left
    H, W = geometry.input_size
    rows = (first_row + row * geometry.dilation[0]).clamp(0, H - 1)
    columns = (first_column + column * geometry.dilation[1]).clamp(0, W - 1)
    return rows * W + columns


def _winner(x: Tensor, geometry: WindowGeometry) -> Tensor:
    """The tap that holds each maximum: the first of equal entries, but the last of several NaN.

    Shape:
        (…, H, W) → (…, H_out, W_out)
    """
    windows = sliding_windows(pad(x, geometry, _smallest(x.dtype)), geometry)
    maximum = windows[..., 0, 0].clone()  # (…, H_out, W_out)
    winner = _first_valid_tap(geometry, x.device).expand(maximum.shape)
    for tap, (i, j) in enumerate(geometry.taps[1:], start=1):
        entry = windows[..., i, j]
        larger = (entry > maximum) | (entry != entry)  # NaN alone differs from itself
        winner = torch.where(larger, tap, winner)
        torch.maximum(maximum, entry, out=maximum)
    return winner


def _first_valid_tap(geometry: WindowGeometry, device: torch.device) -> Tensor:
    """The first tap of each window that is not padding: it wins if every entry is −∞.

    Shape:
        → (H_out, W_out)
    """
    top, _, left, _ = geometry.padding
    H_out, W_out = geometry.output_size
    y = torch.arange(H_out, device=device) * geometry.stride[0]
    x = torch.arange(W_out, device=device) * geometry.stride[1]
    i = _taps_over(top - y, geometry.dilation[0])
    j = _taps_over(left - x, geometry.dilation[1])
    return i[:, None] * geometry.kernel_size[1] + j


def _taps_over(padding: Tensor, dilation: int) -> Tensor:
    """How many entries of a window fall on so many pixels of padding: ⌈padding / dilation⌉."""
    return (padding.clamp(min=0) + dilation - 1).div(dilation, rounding_mode="floor")


def _window_areas(
    geometry: WindowGeometry, padding: Pair, count_include_pad: bool, device: torch.device
) -> Tensor:
    """How many pixels of each window the mean counts, (H_out, W_out)."""
    counts = []
    for axis in (0, 1):
        margin = padding[axis] if count_include_pad else 0
        window = torch.arange(geometry.output_size[axis], device=device)
        start = window * geometry.stride[axis] - padding[axis]
        end = start + geometry.kernel_size[axis]
        end = end.clamp(max=geometry.input_size[axis] + margin)
        counts.append(end - start.clamp(min=-margin))
    return counts[0][:, None] * counts[1]
