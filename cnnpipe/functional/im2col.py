"""Convolution as one matrix product: every window is written out as a row of numbers.

    Y = columns · W,  columns[(n,y,x), (i,j,c)] = what window (n,y,x) meets at kernel entry (i,j,c)

In the paper's transposed product the windows are columns. Here the channels of a pixel stay side by
side: what a window meets in one kernel row is one piece of memory, and the product is the output as
it lies in memory, channels last.

The columns hold each pixel kH·kW times. On a CPU a block of images is small enough that its columns
stay in the cache from the copy to the product. The backward pass builds them again.

Axes: N batch, C channels, H height, W width, O output channels, kH kW kernel, G groups.

Source:
    Chellapilla, Puri, Simard: High performance convolutional neural networks for document
    processing (2006).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cnnpipe.functional.windows import (
    accumulation_dtype,
    flipped_kernels,
    is_finite,
    overlap_add,
    pad,
    sliding_windows,
)
from cnnpipe.geometry import ConvolutionGeometry

CACHE_BYTES = 2 << 20
"""Size of a block's columns on a CPU: about that of the cores' own caches."""
MEMORY_BYTES = 64 << 20
"""The same elsewhere: about the second-level cache of a large GPU."""


def forward(x: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Columns times the kernel matrix."""
    kernels = _kernel_matrix(w, geometry)  # (G, kH·kW·C/G, O/G)
    y = x.new_empty((len(x), *geometry.output_size, len(w)))
    for block in _blocks(x, geometry, x.shape[1]):
        rows = y[block].view(-1, geometry.groups, kernels.shape[2]).transpose(0, 1)
        torch.bmm(_columns(x[block], geometry), kernels, out=rows)  # (G, n·H_out·W_out, O/G)
    return y.permute(0, 3, 1, 2)  # (N, O, H_out, W_out)


def input_gradient(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """The forward pass with the kernel flipped and C, O exchanged; or col2im.

    The former also multiplies each weight by the zeros around the gradient, which a weight that is
    not finite would turn into NaN. To look for one on a GPU would mean waiting.
    """
    few_zeros = math.prod(geometry.input_size) <= 2 * math.prod(geometry.output_size)
    exact = w.device.type != "cpu" or is_finite(w)
    if geometry.stride == (1, 1) and few_zeros and exact:
        return forward(grad, flipped_kernels(w, geometry), geometry.adjoint())
    return _col2im(grad, w, geometry)


def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """(Columns)ᵀ times output gradient: the sum over all windows is the product's inner sum."""
    G, (kH, kW) = geometry.groups, geometry.kernel_size
    if not len(x):
        return x.new_zeros(grad.shape[1], x.shape[1] // G, kH, kW)
    first, *others = _blocks(x, geometry, x.shape[1])
    kernels = _sum_of_products(x[first], grad[first], geometry)  # (G, kH·kW·C/G, O/G)
    for block in others:
        kernels += _sum_of_products(x[block], grad[block], geometry)
    kernels = kernels.view(G, kH, kW, -1, grad.shape[1] // G).permute(0, 4, 3, 1, 2)
    return kernels.flatten(0, 1).to(x.dtype, memory_format=torch.contiguous_format)  # (O, C/G, …)


def unsupported(x: Tensor, geometry: ConvolutionGeometry) -> str | None:  # noqa: ARG001
    """Computes every convolution."""
    return None


def _sum_of_products(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """(Columns)ᵀ times output gradient, of 16 bits not rounded to them before it is added up."""
    columns, rows = _columns(x, geometry).mT, _rows(grad, geometry)
    wide = accumulation_dtype(x.dtype)
    if wide != x.dtype and x.device.type == "cuda":
        return torch.bmm(columns, rows, out_dtype=wide)
    return (columns @ rows).to(wide)


def _col2im(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """The gradient of each column's entry goes to the pixel that it was copied from."""
    G, (H_out, W_out), (kH, kW) = geometry.groups, geometry.output_size, geometry.kernel_size
    kernels = _kernel_matrix(w, geometry).mT  # (G, O/G, kH·kW·C/G)
    C = G * w.shape[1]
    x = grad.new_empty((len(grad), *geometry.input_size, C))
    for block in _blocks(grad, geometry, C):
        columns = _rows(grad[block], geometry) @ kernels  # (G, n·H_out·W_out, kH·kW·C/G)
        windows = columns.view(G, -1, H_out, W_out, kH, kW, w.shape[1]).permute(1, 0, 6, 2, 3, 4, 5)
        pixels = overlap_add(windows, geometry).flatten(1, 2)  # (n, C, H, W)
        x[block] = pixels.permute(0, 2, 3, 1)
    return x.permute(0, 3, 1, 2)  # (N, C, H, W)


def _blocks(images: Tensor, geometry: ConvolutionGeometry, C: int) -> list[slice]:
    """Blocks of about equal size, so small that the columns of one fit the cache."""
    numbers = math.prod(geometry.output_size) * math.prod(geometry.kernel_size) * C  # of an image
    limit = CACHE_BYTES if images.device.type == "cpu" else MEMORY_BYTES
    itemsize = accumulation_dtype(images.dtype).itemsize
    count = max(1, -(-len(images) * numbers * itemsize // limit))
    size = max(1, -(-len(images) // count))
    return [slice(start, start + size) for start in range(0, len(images), size)]


def _columns(x: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    padded = pad(x.contiguous(memory_format=torch.channels_last), geometry)
    windows = sliding_windows(padded, geometry)  # (n, C, H_out, W_out, kH, kW)
    windows = windows.unflatten(1, (geometry.groups, -1))  # (n, G, C/G, H_out, W_out, kH, kW)
    entries = windows.permute(1, 0, 3, 4, 5, 6, 2).contiguous()  # the one copy
    columns: Tensor = entries.flatten(4).flatten(1, 3)  # (G, n·H_out·W_out, kH·kW·C/G)
    return columns


def _kernel_matrix(w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    kernels = w.unflatten(0, (geometry.groups, -1)).permute(0, 3, 4, 2, 1)
    matrix: Tensor = kernels.flatten(1, 3)  # (G, kH·kW·C/G, O/G)
    return matrix


def _rows(grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    groups = grad.unflatten(1, (geometry.groups, -1))  # (n, G, O/G, H_out, W_out)
    rows: Tensor = groups.permute(1, 0, 3, 4, 2).flatten(1, 3)  # (G, n·H_out·W_out, O/G)
    return rows
