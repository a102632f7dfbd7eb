"""Convolution as the loops of its formula, compiled to machine code.

    y[n,y,x,o] = Σ_{i,j,c} x[n, y·s + i·d − p, x·s + j·d − p, c] · w[i,j,c,o]

Written as seven loops in this order, each multiply-add waits for memory. The *schedule* puts the
same operations in another order: `_forward` and `_weight_gradient` are the formula's loops in the
order in which they are fast, with the reason for each.

Each result is one chain of fused multiply-adds: in the order i, j, c in the forward pass, n, y, x
in the gradient of the kernel, whose portions of images are added afterwards. The lanes of a vector
are output channels, the tasks of the threads are images. So neither the width of a processor's
vectors nor the number of threads changes a bit of the result.

Axes: N batch, C channels, H height, W width, O output channels, kH kW kernel, G groups; C and O
count those of one group. In memory the channels lie side by side (channels last).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, reduce
from math import prod

import torch
from torch import Tensor

from cnnpipe import loops
from cnnpipe.functional import im2col
from cnnpipe.functional.windows import accumulation_dtype, is_finite
from cnnpipe.geometry import ConvolutionGeometry, Pair
from cnnpipe.loops import Array, Index, Nest, compiled

SUMS_IN_REGISTERS = loops.REGISTERS - 4
"""Vectors of sums that a tile holds; their factors need the other registers."""
PORTION = 16
"""Images whose gradients of the kernel are added in one chain; more where there are many images."""
LARGEST_COUNT = 32
"""Of portions."""
SUMS = 8192
"""Numbers that one task adds up or puts in order: with fewer, waking a thread takes longer."""
ENOUGH = 2_000_000
"""Operations that are worth a second thread."""
ROW = 16
"""Images of one pixel that stand side by side as one row of a picture: a tile over images."""


@dataclass(frozen=True)
class _Case:
    """What code is compiled for. The number of images is left open."""

    dtype: str
    channels: int
    out_channels: int
    geometry: ConvolutionGeometry
    spread: Pair = (1, 1)
    """Steps between neighbouring pixels of the image: with more than 1, zeros lie between them."""

    @property
    def lanes(self) -> int:
        most = loops.lanes(self.dtype)
        return most if self.out_channels > most // 2 else most // 2

    @property
    def vectors(self) -> int:
        """Of output channels; the last one may be filled in part."""
        return -(-self.out_channels // self.lanes)

    @property
    def image_size(self) -> Pair:
        (H, W), (down, across) = self.geometry.input_size, self.spread
        return (H - 1) // down + 1, (W - 1) // across + 1

    @property
    def is_padded(self) -> bool:
        return any(self.geometry.padding) or self.spread != (1, 1)

    @property
    def pixel(self) -> int:
        """Steps from one pixel to the next where the image is padded.

        Steps of a large power of two bytes would bring all pixels of a window into the same few
        lines of the cache.
        """
        channels = self.geometry.groups * self.channels
        return channels + 16 if channels % 256 == 0 else channels

    @property
    def runs(self) -> list[tuple[int, int, int]]:
        """What a window reads of one row, piece by piece: column, first kernel entry, length."""
        kW, across = self.geometry.kernel_size[1], self.geometry.dilation[1]
        is_dense = not self.is_padded or self.pixel == self.channels
        if across == self.geometry.groups == 1 and is_dense:
            return [(0, 0, kW * self.channels)]
        return [(j * across, j * self.channels, self.channels) for j in range(kW)]

    def filled(self, vector: int | Index) -> int | Index | None:
        """How many lanes of this vector are output channels; None if all are."""
        return self.out_channels - vector * self.lanes if self.out_channels % self.lanes else None

    def images(self, nest: Nest) -> Array:
        """The next argument: (N, H, W, G·C)."""
        (H, W), C = self.image_size, self.geometry.groups * self.channels
        return nest.array(self.dtype, H * W * C, W * C, C)

    def outputs(self, nest: Nest) -> Array:
        """The next argument: (N, H_out, W_out, G, O)."""
        (H, W), G = self.geometry.output_size, self.geometry.groups
        C = self.out_channels
        return nest.array(self.dtype, H * W * G * C, W * G * C, G * C, C)


@cache
def _tile(columns: int, vectors: int, images: int) -> Pair:
    """The columns and vectors of the register tile that takes least time for each multiply-add.

    A tile of t columns and v vectors takes t + v loads for t·v multiply-adds, and a processor does
    two of each at a time. With fewer than 9 sums, each would wait for its last addition. At the end
    of a row the tile is moved back, and computes some columns again.
    """

    def time(tile: Pair) -> tuple[float, int]:
        t, v = tile
        cycles = max(images * t * v, images * t + v, 9)
        return cycles * -(-columns // t) / v, -t * v

    sizes = [(t, v) for v in range(1, 5) for t in range(1, columns + 1) if vectors % v == 0]
    # Beside the sums there are a vector of the kernel for each of v, and a pixel.
    fitting = [(t, v) for t, v in sizes if (images * t + 1) * v + 1 <= loops.REGISTERS]
    return min(fitting, key=time)


def _padded(
    nest: Nest, case: _Case, x: Array, image: Index, images: int, first: Index, last: Index
) -> Array:
    """Rows of a few images between zeros, in memory of this thread that stays in the cache.

    A window at the border reads what any other reads, so the loops need no question.
    """
    (H, W), (H_padded, W_padded) = case.image_size, case.geometry.padded_size
    C, P, (down, across) = case.geometry.groups * case.channels, case.pixel, case.spread
    top, _, left, _ = case.geometry.padding
    # The image's columns that negative padding does not cut off, and where they come to lie.
    begin, end = max(0, -(left // across)), min(W, (W_padded - 1 - left) // across + 1)
    start, stop = begin * across + left, (end - 1) * across + left + 1
    memory = nest.array(case.dtype, images * H_padded * W_padded * P)
    padded = memory.at(nest.thread, steps=(H_padded * W_padded * P, W_padded * P, P))
    for number in nest.range(images):
        for y in nest.range(first, last):
            row, above = padded.at(number, y), y - top
            inside = nest.all(above >= 0, above < (H - 1) * down + 1, (above % down).equals(0))
            with nest.if_else(inside) as (then, otherwise):
                with then:
                    source = x.at(image + number, above // down)
                    if across == 1 and P == C:
                        row.flat.zero(start * C)
                        row.at(start).copy((stop - start) * C, source.at(begin))
                        row.at(stop).zero((W_padded - stop) * C)
                    else:
                        row.flat.zero(W_padded * P)
                        for column in nest.range(begin, end):
                            row.at(column * across + left).copy(C, source.at(column))
                with otherwise:
                    row.flat.zero(W_padded * P)
    return padded


@compiled
def _forward(nest: Nest, case: _Case, images: int, has_bias: bool) -> None:
    """One task: a band of rows of the outputs of a few `images`."""
    L, C, G = case.lanes, case.channels, case.geometry.groups
    (H_out, W_out), (kH, kW) = case.geometry.output_size, case.geometry.kernel_size
    (down, across), (dilation, _) = case.geometry.stride, case.geometry.dilation
    columns, vectors = _tile(W_out, case.vectors, images)
    blocks = case.vectors // vectors
    bands = nest.size()
    x, y = case.images(nest), case.outputs(nest)
    w = nest.array(case.dtype, *loops.steps(blocks, kH, kW * C, vectors * L))
    bias = nest.array(case.dtype, case.out_channels) if has_bias else None

    # What a task reads and writes fits into the cache of its core.
    first_image = nest.task // bands * images
    rows = (bands + (H_out - 1)) // bands
    first = nest.task % bands * rows
    last = (first + rows).at_most(H_out)
    if case.is_padded:
        end = (last - 1) * down + case.geometry.extent[0]
        x = _padded(nest, case, x, first_image, images, first * down, end)
    else:
        x = x.at(first_image, steps=x.steps[:-1])
    y = y.at(first_image, steps=y.steps[:-1])
    for g in nest.range(G):
        for block in nest.range(blocks):  # outside, so that its kernels stay in the cache
            for row in nest.range(first, last):
                for column in nest.range(0, W_out, columns):
                    first_column = column.at_most(W_out - columns)
                    # The register tile: a pixel is loaded for all vectors, a vector of kernel
                    # entries for all pixels, and no sum is loaded or stored on its way.
                    start = [
                        bias.load(g, vector * L, lanes=L, first=case.filled(vector))
                        if bias
                        else nest.number(0.0, case.dtype, L)
                        for vector in (block * vectors + v for v in range(vectors))
                    ]
                    tile = [
                        (n, t, [nest.variable(number) for number in start])
                        for n in range(images)
                        for t in range(columns)
                    ]
                    for i in nest.range(kH):
                        at = 0, row * down + i * dilation, first_column * across, g * C
                        windows = x.at(*at, steps=(x.steps[0], x.steps[2]))
                        for offset, entry, length in case.runs:
                            for k in nest.unrolled(length):
                                kernel = [
                                    w.load(g, block, i, k + entry, v * L, lanes=L)
                                    for v in range(vectors)
                                ]
                                of_channel = windows.at(0, 0, k, steps=windows.steps[:-1])
                                for n, t, sums in tile:
                                    pixel = of_channel.broadcast(n, t * across + offset, 0, lanes=L)
                                    for v, total in enumerate(sums):
                                        total.value = nest.fma(pixel, kernel[v], total.value)
                    for n, t, sums in tile:
                        for v, total in enumerate(sums):
                            vector = block * vectors + v
                            place = n, row, first_column + t, g, vector * L
                            y.store(total.value, *place, first=case.filled(vector))


@compiled
def _weight_gradient(nest: Nest, case: _Case) -> None:
    """One task: some rows of the kernels, summed over a portion of the images."""
    L, C, G = case.lanes, case.channels, case.geometry.groups
    (H_out, W_out), (kH, kW) = case.geometry.output_size, case.geometry.kernel_size
    (down, across), (dilation, _) = case.geometry.stride, case.geometry.dilation
    vectors = 2 if case.vectors % 2 == 0 else 1
    most = SUMS_IN_REGISTERS // vectors
    images, portion, shares = nest.size(), nest.size(), nest.size()
    x, grad = case.images(nest), case.outputs(nest)
    parts = nest.array(case.dtype, *loops.steps(G, kH, kW * C, case.vectors * L))

    number = nest.task // shares
    parts = parts.at(number)
    rows = (shares + (kH - 1)) // shares
    first = nest.task % shares * rows
    last = (first + rows).at_most(kH)
    for g in nest.range(G):
        for i in nest.range(first, last):
            parts.at(g, i).zero(kW * C * case.vectors * L)
    for image in nest.range(number * portion, ((number + 1) * portion).at_most(images)):
        if case.is_padded:
            end = (last - 1) * dilation + (H_out - 1) * down + 1
            source = _padded(nest, case, x, image, 1, first * dilation, end).at(0)
        else:
            source = x.at(image)
        for g in nest.range(G):
            for block in nest.range(case.vectors // vectors):
                of_block = [block * vectors + v for v in range(vectors)]
                # The register tile: kernel entries × vectors. A pixel is loaded for all vectors, a
                # vector of the gradient for all entries, and each sum once for each image.
                for taps in _taps(nest, case, first, last, most):
                    tile = [
                        [nest.variable(parts.load(g, i, entry, v * L, lanes=L)) for v in of_block]
                        for i, _, entry, _ in taps
                    ]
                    for row in nest.range(H_out):
                        for column in nest.range(W_out):
                            upstream = [
                                grad.load(
                                    image, row, column, g, v * L, lanes=L, first=case.filled(v)
                                )
                                for v in of_block
                            ]
                            for (at, offset, _, c), sums in zip(taps, tile, strict=True):
                                window = row * down + at * dilation, column * across + offset
                                pixel = source.broadcast(*window, c + g * C, lanes=L)
                                for v, total in enumerate(sums):
                                    total.value = nest.fma(pixel, upstream[v], total.value)
                    for (at, _, entry, _), sums in zip(taps, tile, strict=True):
                        for vector, total in zip(of_block, sums, strict=True):
                            parts.store(total.value, g, at, entry, vector * L)


def _taps(
    nest: Nest, case: _Case, first: Index, last: Index, most: int
) -> Iterator[list[tuple[int | Index, int, int | Index, int | Index]]]:
    """Cut the kernel's entries into sets that fit the registers: row, column, entry, channel."""
    kH, C = case.geometry.kernel_size[0], case.channels
    if kH * case.geometry.kernel_size[1] * C <= most:
        yield [
            (row, offset, entry + k, k)
            for row in range(kH)
            for offset, entry, length in case.runs
            for k in range(length)
        ]
        return
    for i in nest.range(first, last):
        for offset, entry, length in case.runs:  # in equal sets where that fills the registers
            best = max(size for size in range(1, most + 1) if length % size == 0)
            for start, size in nest.blocks(length, best if 2 * best > most else most):
                yield [(i, offset, start + (entry + k), start + k) for k in range(size)]


def forward(
    x: Tensor, w: Tensor, geometry: ConvolutionGeometry, bias: Tensor | None = None
) -> Tensor:
    if _covers(geometry):
        return _as_images(linear(_flat(x), _flat(w), bias))
    return _cross_correlation(x, w.unflatten(0, (geometry.groups, -1)), geometry, bias)


def input_gradient(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """The forward pass with the kernel flipped, C and O exchanged, and zeros for the stride.

    Where few channels would leave most lanes empty, windows are added to the image instead.
    """
    if _fills_lanes_better(w, geometry):
        return _overlap_add(grad, w, geometry)
    if not is_finite(w):  # times the zeros around the gradient it would be NaN
        return im2col.input_gradient(grad, w, geometry)
    if _covers(geometry):
        pixels = linear(_flat(grad), _flat(w).T)
        return pixels.view(len(grad), *geometry.input_size, -1).permute(0, 3, 1, 2)
    exchanged = w.unflatten(0, (geometry.groups, -1)).transpose(1, 2)
    adjoint, stride = geometry.adjoint(), geometry.stride
    return _cross_correlation(grad, exchanged, adjoint, spread=stride, flipped=True)


def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    if _covers(geometry):
        kernel = linear_weight_gradient(_flat(x), _flat(grad))
        return kernel.view(len(kernel), *geometry.kernel_size, -1).permute(0, 3, 1, 2)
    dtype = accumulation_dtype(x.dtype)
    G = geometry.groups
    case = _Case(_name(dtype), x.shape[1] // G, grad.shape[1] // G, geometry)
    images = _channels_last(x, dtype), _channels_last(grad, dtype)
    return _summed(case, len(x), *images).to(x.dtype)


def channel_sums(images: Tensor) -> Tensor:
    """(N, C, H, W) → (C,)."""
    N, C, H, W = images.shape
    dtype = accumulation_dtype(images.dtype)
    case = _Case(_name(dtype), 1, C, ConvolutionGeometry((H, W), (1, 1)))
    sums = images.new_empty((N, C), dtype=dtype)
    _channel_sums(case)(N, _channels_last(images, dtype), sums)
    return total(sums).to(images.dtype)


def unsupported(x: Tensor, geometry: ConvolutionGeometry) -> str | None:  # noqa: ARG001
    return loops.unsupported(x)


def linear(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·wᵀ + bias, (N, K) and (O, K) → (N, O): images of one pixel, `ROW` of them as one row."""
    N, K = x.shape
    results = [x.new_empty((0, len(w)))]
    for first, last, width in _rows(N):
        picture = x[first:last].reshape(-1, 1, width, K).permute(0, 3, 1, 2)
        geometry = ConvolutionGeometry((1, width), (1, 1))
        result = _cross_correlation(picture, w[None, :, :, None, None], geometry, bias)
        results.append(result.permute(0, 2, 3, 1).reshape(last - first, -1))
    return results[-1] if len(results) <= 2 else torch.cat(results)


def linear_weight_gradient(x: Tensor, grad: Tensor) -> Tensor:
    """gradᵀ·x, (N, K) and (N, O) → (O, K)."""
    N, inputs, outputs = *x.shape, grad.shape[1]
    dtype = accumulation_dtype(x.dtype)
    results = []
    for first, last, width in _rows(N):
        case = _Case(_name(dtype), inputs, outputs, ConvolutionGeometry((1, width), (1, 1)))
        rows = [tensor[first:last].to(dtype).contiguous() for tensor in (x, grad)]
        results.append(_summed(case, (last - first) // width, *rows).view(outputs, inputs))
    if not results:
        return x.new_zeros((outputs, inputs))
    return reduce(torch.add, results).to(x.dtype).contiguous()


def _rows(N: int) -> list[tuple[int, int, int]]:
    """Images that make rows of one width: first, last, width."""
    whole = N // ROW * ROW
    return [(a, b, width) for a, b, width in [(0, whole, ROW), (whole, N, N - whole)] if a < b]


def _cross_correlation(
    images: Tensor,
    kernels: Tensor,
    geometry: ConvolutionGeometry,
    bias: Tensor | None = None,
    spread: Pair = (1, 1),
    flipped: bool = False,
) -> Tensor:
    """Images (N, G·C, H, W) with kernels (G, O, C, kH, kW), flipped or not."""
    N, dtype = len(images), accumulation_dtype(images.dtype)
    G, out_channels, channels = kernels.shape[:3]
    case = _Case(_name(dtype), channels, out_channels, geometry, spread)
    (H_out, W_out), threads = geometry.output_size, torch.get_num_threads()
    # Short rows leave registers free: two images share each vector of kernel entries.
    together = 2 if W_out < 8 and N % 2 == 0 and 4 * threads <= N else 1
    vectors = _tile(W_out, case.vectors, together)[1]
    operands = [_packed(kernels.to(dtype), case.vectors // vectors, vectors * case.lanes, flipped)]
    if bias is not None:
        operands.append(bias.to(dtype).contiguous())
    y = images.new_empty((N, H_out, W_out, G * out_channels), dtype=dtype)
    operations = 2 * N * H_out * W_out * kernels.numel()
    bands = 1 if 2 * threads <= N or operations < ENOUGH else min(H_out, 2 * threads)
    if case.is_padded:
        operands.append(_scratch(case, together, threads, images))
    kernel = _forward(case, together, bias is not None)
    kernel(N // together * bands, bands, _channels_last(images, dtype), y, *operands)
    return y.permute(0, 3, 1, 2).to(images.dtype)


def _packed(kernels: Tensor, blocks: int, width: int, flipped: bool) -> Tensor:
    """(G, O, C, kH, kW) in the order in which `_forward` reads: (G, blocks, kH, kW, C, width)."""
    G, out_channels, channels, kH, kW = kernels.shape
    result = kernels.new_empty((G, blocks, kH, kW, channels, width))
    g, o, c, i, j = kernels.stride()
    start = kernels.data_ptr()
    if flipped:  # from the last entry backwards
        start += ((kH - 1) * i + (kW - 1) * j) * kernels.itemsize
        i, j = -i, -j
    rows = G * blocks * kH
    of_task = max(1, SUMS * rows // result.numel())
    sizes = rows, of_task, blocks, kH, kW, channels, out_channels
    kernel = _pack(_name(kernels.dtype), width)
    kernel(-(-rows // of_task), *sizes, g, o, c, i, j, start, result)
    return result


@compiled
def _pack(nest: Nest, dtype: str, width: int) -> None:
    """One task: some rows of the kernels, with zeros where output channels are missing."""
    rows, of_task, blocks, kH, kW, channels, out_channels = (nest.size() for _ in range(7))
    steps = [nest.size() for _ in range(5)]
    kernels = nest.array(dtype, *steps)
    result = nest.array(dtype, kW * channels * width, channels * width, width)
    first_row = nest.task * of_task
    for row in nest.range(first_row, (first_row + of_task).at_most(rows)):
        g, block, i = row // (kH * blocks), row // kH % blocks, row % kH
        first = block * width
        filled = (out_channels - first).at_most(width)
        for j in nest.range(kW):
            for c in nest.range(channels):
                for lane in nest.range(filled):
                    number = kernels.load(g, first + lane, c, i, j, 0)
                    result.store(number, row, j, c, lane)
                for lane in nest.range(filled, width):
                    result.store(nest.number(0.0, dtype), row, j, c, lane)


def _fills_lanes_better(w: Tensor, geometry: ConvolutionGeometry) -> bool:
    """Whether `_overlap_add` needs far fewer vectors of multiply-adds than the forward pass."""
    (kH, kW), lanes = geometry.kernel_size, 64 // accumulation_dtype(w.dtype).itemsize
    gathered = prod(geometry.input_size) * kH * kW * -(-w.shape[1] // lanes)
    added = prod(geometry.output_size) * kH * -(-kW * w.shape[1] // lanes)
    return geometry.groups == geometry.dilation[1] == 1 and 2 * added < gathered


def _overlap_add(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    dtype = accumulation_dtype(grad.dtype)
    case = _Case(_name(dtype), w.shape[1], len(w), geometry)
    rows = w.to(dtype).permute(2, 0, 3, 1).contiguous()  # (kH, O, kW, C)
    x = grad.new_empty((len(grad), *geometry.input_size, w.shape[1]), dtype=dtype)
    memory = _scratch(case, 1, torch.get_num_threads(), grad)
    _overlapping(case)(len(grad), _channels_last(grad, dtype), rows, x, memory)
    return x.permute(0, 3, 1, 2).to(grad.dtype)


@compiled
def _overlapping(nest: Nest, case: _Case) -> None:
    """One task: the gradient of an image, window by window.

    The lanes are the numbers of a window's row, which lie side by side in the image.
    """
    (H, W), (H_padded, W_padded) = case.geometry.input_size, case.geometry.padded_size
    (H_out, W_out), (kH, kW) = case.geometry.output_size, case.geometry.kernel_size
    (down, across), dilation = case.geometry.stride, case.geometry.dilation[0]
    top, _, left, _ = case.geometry.padding
    C, run = case.channels, kW * case.channels
    lanes = loops.lanes(case.dtype)
    vectors = [(start, min(lanes, run - start)) for start in range(0, run, lanes)]
    columns = max(1, min(W_out, SUMS_IN_REGISTERS // len(vectors)))
    grad = nest.array(
        case.dtype, H_out * W_out * case.out_channels, W_out * case.out_channels, case.out_channels
    ).at(nest.task)
    w = nest.array(case.dtype, case.out_channels * run, run)
    x = nest.array(case.dtype, H * W * C, W * C, C).at(nest.task)
    padded = nest.array(case.dtype, H_padded * W_padded * C).at(
        nest.thread, steps=(W_padded * C, C)
    )
    padded.flat.zero(H_padded * W_padded * C)
    for row in nest.range(H_out):
        for i in nest.range(kH):
            for column, count in nest.blocks(W_out, columns):
                tile = [
                    [nest.variable(nest.number(0.0, case.dtype, lanes)) for _ in vectors]
                    for _ in range(count)
                ]
                for o in nest.range(case.out_channels):
                    kernel = [
                        w.load(i, o, start, lanes=lanes, first=filled) for start, filled in vectors
                    ]
                    for t, sums in enumerate(tile):
                        pixel = grad.broadcast(row, column + t, o, lanes=lanes)
                        for total, factors in zip(sums, kernel, strict=True):
                            total.value = nest.fma(pixel, factors, total.value)
                for t, sums in enumerate(tile):
                    window = padded.at(row * down + i * dilation, (column + t) * across, steps=())
                    for total, (start, filled) in zip(sums, vectors, strict=True):
                        before = window.load(start, lanes=lanes, first=filled)
                        window.store(before + total.value, start, first=filled)
    for y in nest.range(H):
        x.at(y).copy(W * C, padded.at(y + top, left))


def _summed(case: _Case, N: int, x: Tensor, grad: Tensor) -> Tensor:
    """The kernels' gradient (G·O, C, kH, kW), from N images and gradients, channels last."""
    G, (kH, kW), C = case.geometry.groups, case.geometry.kernel_size, case.channels
    portion = max(PORTION, -(-N // LARGEST_COUNT))
    count = max(1, -(-N // portion))
    threads = torch.get_num_threads()
    few = kH * kW * C * (2 - case.vectors % 2) <= SUMS_IN_REGISTERS
    operations = 2 * grad.numel() * kH * kW * C
    shares = 1 if few or count >= 2 * threads or operations < ENOUGH else kH
    parts = x.new_empty((count, G, kH, kW * C, case.vectors * case.lanes))
    memory = [_scratch(case, 1, threads, x)] if case.is_padded else []
    _weight_gradient(case)(count * shares, N, portion, shares, x, grad, parts, *memory)
    summed = parts[0] if count == 1 else total(parts)
    kernels = summed.view(G, kH, kW, C, -1)[..., : case.out_channels]
    return kernels.permute(0, 4, 3, 1, 2).reshape(-1, C, kH, kW)


def total(parts: Tensor) -> Tensor:
    """The sum over the first axis, one after the other."""
    result = parts.new_empty(parts.shape[1:])
    tasks = -(-result.numel() // SUMS)
    _total(_name(parts.dtype))(tasks, len(parts), result.numel(), parts, result)
    return result


def _scratch(case: _Case, images: int, threads: int, like: Tensor) -> Tensor:
    """Memory for the padded images of all threads."""
    numbers = images * prod(case.geometry.padded_size) * case.pixel
    return like.new_empty(threads * numbers, dtype=accumulation_dtype(like.dtype))


def _covers(geometry: ConvolutionGeometry) -> bool:
    """Whether the one window is the image: then each pixel is an input of its own."""
    whole = geometry.input_size == geometry.kernel_size and not any(geometry.padding)
    return whole and geometry.groups == 1


def _flat(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1).flatten(1)


def _as_images(rows: Tensor) -> Tensor:
    return rows[:, None, None].permute(0, 3, 1, 2)


def _channels_last(images: Tensor, dtype: torch.dtype) -> Tensor:
    return images.to(dtype).contiguous(memory_format=torch.channels_last)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@compiled
def _channel_sums(nest: Nest, case: _Case) -> None:
    """One task: the sum over the pixels of an image."""
    (H, W), L = case.geometry.output_size, case.lanes
    images, sums = case.outputs(nest), nest.array(case.dtype, case.out_channels)
    for vector in nest.range(case.vectors):
        filled = case.filled(vector)
        total = nest.variable(nest.number(0.0, case.dtype, L))
        for row in nest.range(H):
            for column in nest.range(W):
                pixel = images.load(nest.task, row, column, 0, vector * L, lanes=L, first=filled)
                total.value = total.value + pixel
        sums.store(total.value, nest.task, vector * L, first=filled)


@compiled
def _total(nest: Nest, dtype: str) -> None:
    """One task: some sums over all portions, one after the other."""
    count, size = nest.size(), nest.size()
    parts, totals = nest.array(dtype, size), nest.array(dtype)
    lanes = 16 if dtype == "float32" else 8
    for at in nest.range(nest.task * SUMS, (nest.task * SUMS + SUMS).at_most(size), lanes):
        left = size - at
        total = nest.variable(nest.number(0.0, dtype, lanes))
        for part in nest.range(count):
            total.value = total.value + parts.load(part, at, lanes=lanes, first=left)
        totals.store(total.value, at, first=left)
