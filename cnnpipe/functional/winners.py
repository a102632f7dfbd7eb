"""Which entry of each window wins a max pooling, and what it wins."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cnnpipe.functional.windows import accumulation_dtype, pad, sliding_windows
from cnnpipe.geometry import Pair, WindowGeometry


def to_winners(
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


def indices_of_maxima(x: Tensor, geometry: WindowGeometry) -> Tensor:
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
    windows = sliding_windows(pad(x, geometry, lowest(x.dtype)), geometry)
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


def lowest(dtype: torch.dtype) -> float:
    """The neutral element of the maximum: no number of the dtype is lower."""
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min
