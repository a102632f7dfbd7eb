"""The winner of a window: the entry that is its maximum, where it lies, what it passes on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cnnpipe.functional.windows import (
    empty_in_order_of,
    empty_outputs,
    is_finite,
    pad,
    sliding_windows,
)
from cnnpipe.geometry import Pair, WindowGeometry


def maxima(x: Tensor, geometry: WindowGeometry) -> Tensor:
    """The largest entry of each window: (…, H, W) → (…, H_out, W_out).

    First the largest of each column of a window, then that of its columns: kH + kW operations
    instead of kH·kW, and the first ones on whole rows, as they lie in memory.
    """
    padded = pad(x, geometry, lowest(x.dtype))
    (kH, kW), (H_out, W_out) = geometry.kernel_size, geometry.output_size
    (down, across), (row, column) = geometry.stride, geometry.dilation
    rows = [padded[..., i * row :, :][..., : (H_out - 1) * down + 1 : down, :] for i in range(kH)]
    tall = _largest(rows, empty_in_order_of(x, rows[0].shape))
    columns = [tall[..., j * column :][..., : (W_out - 1) * across + 1 : across] for j in range(kW)]
    return _largest(columns, empty_outputs(x, geometry))


def _largest(entries: list[Tensor], out: Tensor) -> Tensor:
    first, second, *rest = entries if len(entries) > 1 else entries * 2
    torch.maximum(first, second, out=out)
    for entry in rest:
        torch.maximum(out, entry, out=out)
    return out


def to_winners(
    values: Tensor, x: Tensor, geometry: WindowGeometry
) -> Iterator[tuple[Pair, Tensor]]:
    """Each tap, and the values of the windows that it wins, zero for the others.

    What one tap wins is subtracted from what is left for the next ones, so the first of equal
    entries wins. The choice is a product with 0 or 1: on a CPU it is ten times as fast as one by a
    boolean mask. Padding is NaN here, which equals nothing and so wins nothing. But a maximum that
    is NaN equals no entry either, and 0·∞ is NaN: for them `_winner` is computed, slowly, and also
    on devices where looking for them would mean waiting.
    """
    maximum = maxima(x, geometry) if x.device.type == "cpu" else None
    if maximum is None or not (is_finite(maximum) and is_finite(values)):
        shares = values.new_zeros(len(geometry.taps), *values.shape)
        shares.scatter_(0, _winner(x, geometry).unsqueeze(0), values.unsqueeze(0))
        yield from zip(geometry.taps, shares, strict=True)
        return
    windows = sliding_windows(pad(x, geometry, torch.nan), geometry)
    left = values.clone()
    won = torch.empty_like(left)
    for i, j in geometry.taps[:-1]:
        torch.eq(windows[..., i, j], maximum, out=won)
        won *= left
        left -= won
        yield (i, j), won
    yield geometry.taps[-1], left


def indices_of_maxima(x: Tensor, geometry: WindowGeometry) -> Tensor:
    """Where in the input each maximum lies, row·W + column, (…, H_out, W_out) int64.

    A window whose entries all lie in the padding (dilation allows it) gets the nearest pixel.
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
    windows = sliding_windows(pad(x, geometry, lowest(x.dtype)), geometry)
    entries = windows.movedim((-2, -1), (0, 1)).flatten(0, 1)  # (taps, …, H_out, W_out)
    maximum, winner = entries.max(dim=0)  # of equal ones the first
    if x.is_floating_point():
        last = len(entries) - 1 - entries.flip(0).max(dim=0).indices
        winner = torch.where(maximum != maximum, last, winner)  # NaN alone differs from itself
    if any(geometry.padding):
        is_lowest = maximum == lowest(x.dtype)
        winner = torch.where(is_lowest, _first_valid_tap(geometry, x.device), winner)
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
    """The number of a window's entries that lie in the padding: ⌈padding / dilation⌉."""
    return (padding.clamp(min=0) + dilation - 1).div(dilation, rounding_mode="floor")


def lowest(dtype: torch.dtype) -> float:
    """The neutral element of the maximum: no number of the dtype is lower."""
    if dtype == torch.bool:
        return False
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min
