"""The band of a kernel row, with which one product computes q neighbouring windows.

It holds q copies of the row, each one pixel further along the q + kW − 1 pixels that the windows
share, and zeros elsewhere. `toeplitz` multiplies by the bands of all rows at once, `taps` by one
after the other.
"""

from __future__ import annotations

import torch
from torch import Tensor


def bands_of(w: Tensor, q: int) -> Tensor:
    """The bands of all kernel rows: (O, C, kH, kW) → (kH, q + kW − 1, C, q, O)."""
    out_channels, C, kH, kW = w.shape
    bands = w.new_zeros(kH, q + kW - 1, C, q, out_channels)
    for copy in range(q):
        bands[:, copy : copy + kW, :, copy] = w.permute(2, 3, 1, 0)
    return bands


def sum_of_copies(bands: Tensor) -> Tensor:
    """Adjoint of `bands_of`: (kH, q + kW − 1, C, q, O) → (O, C, kH, kW)."""
    q = bands.shape[3]
    kW = bands.shape[1] + 1 - q
    copies = [bands[:, copy : copy + kW, :, copy] for copy in range(q)]
    return torch.stack(copies).sum(0).permute(3, 2, 0, 1)
