"""Convolution as one matrix product: every window is written out as a column.

    Yᵀ = columnsᵀ · Wᵀ,  columns[(c,i,j), (n,y,x)] = windows[n,c,y,x,i,j]

The columns hold each pixel kH·kW times. They are built anew in the backward instead of being kept.

Source:
    Chellapilla, Puri, Simard: High performance convolutional neural networks for document
    processing (2006).
"""

from __future__ import annotations

from torch import Tensor

from cnnpipe.functional.windows import overlap_add, pad, sliding_windows
from cnnpipe.geometry import ConvolutionGeometry


def forward(x: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Columns times the kernel matrix, transposed: the output lies in memory channels last."""
    columns = _columns(x, geometry)  # (G, C/G·kH·kW, N·H_out·W_out)
    pixels = columns.mT @ _kernel_matrix(w, geometry).mT  # (G, N·H_out·W_out, O/G)
    pixels = pixels.movedim(0, 1).flatten(1)  # (N·H_out·W_out, O)
    y: Tensor = pixels.unflatten(0, (len(x), *geometry.output_size)).permute(0, 3, 1, 2)
    return y  # (N, O, H_out, W_out)


def input_gradient(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """col2im: the gradient of each column's entry goes to the pixel that it was copied from."""
    columns = _kernel_matrix(w, geometry).mT @ _output_matrix(grad, geometry).mT
    windows = columns.unflatten(1, (-1, *geometry.kernel_size)).flatten(0, 1)
    windows = windows.unflatten(-1, (len(grad), *geometry.output_size))
    return overlap_add(windows.permute(3, 0, 4, 5, 1, 2), geometry)  # (N, C, H, W)


def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Columns times output gradient: the sum over all windows is the product's inner sum."""
    kernels = _columns(x, geometry) @ _output_matrix(grad, geometry)  # (G, C/G·kH·kW, O/G)
    rows = kernels.mT.flatten(0, 1)  # (O, C/G·kH·kW)
    w: Tensor = rows.unflatten(1, (-1, *geometry.kernel_size))  # (O, C/G, kH, kW)
    return w


def _columns(x: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    windows = sliding_windows(pad(x, geometry), geometry)  # (N, C, H_out, W_out, kH, kW)
    windows = windows.unflatten(1, (geometry.groups, -1))  # (N, G, C/G, H_out, W_out, kH, kW)
    entries = windows.permute(1, 2, 5, 6, 0, 3, 4).contiguous()  # the one copy
    columns: Tensor = entries.flatten(4).flatten(1, 3)  # (G, C/G·kH·kW, N·H_out·W_out)
    return columns


def _kernel_matrix(w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    kernels: Tensor = w.unflatten(0, (geometry.groups, -1)).flatten(2)  # (G, O/G, C/G·kH·kW)
    return kernels


def _output_matrix(grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    groups = grad.unflatten(1, (geometry.groups, -1))  # (N, G, O/G, H_out, W_out)
    pixels: Tensor = groups.permute(1, 0, 3, 4, 2).flatten(1, 3)  # (G, N·H_out·W_out, O/G)
    return pixels
