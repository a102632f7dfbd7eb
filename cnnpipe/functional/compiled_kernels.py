"""Convolution as the loops of its formula, written for machine code.

    y[n,y,x,o] = Σ_{i,j,c} x[n, y·s + i·d − p, x·s + j·d − p, c] · w[i,j,c,o]

Written as seven loops in this order, each multiply-add waits for memory. The *schedule* puts the
same operations in another order: `forward` and `weight_gradient` are the formula's loops in the
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
from functools import cache
from math import gcd, prod

from torch import Tensor

from cnnpipe.functional import loops
from cnnpipe.functional.loops import Array, Index, Nest, compiled
from cnnpipe.geometry import ConvolutionGeometry, Pair

SUMS_IN_REGISTERS = loops.REGISTERS - 4
"""Vectors of sums that a tile holds; their factors need the other registers."""
LONGEST = 12
"""Pairs of a tile and a column of the window for which code is written."""
FEWEST = 12
"""Sums that keep a core busy: with fewer, each waits for the one before it."""
SUMS = 8192
"""Numbers that one task adds up: with fewer, waking a thread takes longer."""


@dataclass(frozen=True)
class Case:
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

    def leaves_out(self, columns: int) -> bool:
        """Whether the forward pass, in tiles of `columns` columns, leaves out columns outside.

        Each tile of a row and each column of the window then has code of its own: too much where
        they are many. Rows outside are always left out.
        """
        tiles = -(-self.geometry.output_size[1] // columns)
        is_short = tiles * self.geometry.kernel_size[1] <= LONGEST
        return self.is_padded and is_short and self.spread == (1, 1)

    def copies(self, columns: int) -> bool:
        """Whether the forward pass reads a copy of the image between zeros."""
        return self.is_padded and (self._is_crowded or not self.leaves_out(columns))

    @property
    def gradient_leaves_out(self) -> bool:
        """Whether the kernels' gradient leaves out what lies outside of the image.

        That takes a tile for each of the window's pixels; few channels do not fill it.
        """
        are_few = self.channels * (2 - self.vectors % 2) < FEWEST
        return self.is_padded and not are_few and self._sees_all

    @property
    def gradient_copies(self) -> bool:
        """Whether it reads a copy of the image between zeros."""
        return self.is_padded and (self._is_crowded or not self.gradient_leaves_out)

    @property
    def _sees_all(self) -> bool:
        """Whether each window has a pixel inside of the image."""
        geometry = self.geometry
        places = zip(
            geometry.input_size,
            geometry.output_size,
            geometry.kernel_size,
            geometry.stride,
            geometry.dilation,
            geometry.padding[::2],
            strict=True,
        )
        return all(
            any(0 <= start * stride + tap * dilation - before < size for tap in range(taps))
            for size, count, taps, stride, dilation, before in places
            for start in range(count)
        )

    @property
    def _is_crowded(self) -> bool:
        """Whether all pixels of a window would lie in the same few lines of the cache."""
        return self.geometry.groups * self.channels % 256 == 0

    @property
    def pixel(self) -> int:
        """Steps from one pixel to the next in a copy."""
        channels = self.geometry.groups * self.channels
        return channels + 16 if self._is_crowded else channels

    @property
    def padded_numbers(self) -> int:
        """Of one image between zeros."""
        return prod(self.geometry.padded_size) * self.pixel

    def runs(self, *, is_copied: bool) -> list[tuple[int, int, int]]:
        """What a window reads of one row, piece by piece: column, first kernel entry, length."""
        kW, across = self.geometry.kernel_size[1], self.geometry.dilation[1]
        is_dense = self.pixel == self.channels if is_copied else not self.is_padded
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
def register_tile(columns: int, vectors: int, images: int) -> Pair:
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
    nest: Nest, case: Case, x: Array, image: Index, images: int, first: Index, last: Index
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
def forward(nest: Nest, case: Case, images: int, has_bias: bool) -> None:
    """One task: a band of rows of the outputs of a few `images`."""
    L, C, G = case.lanes, case.channels, case.geometry.groups
    (H_out, W_out), (kH, kW) = case.geometry.output_size, case.geometry.kernel_size
    (down, across), (dilation, _) = case.geometry.stride, case.geometry.dilation
    rows_inside, W = case.geometry.input_size
    columns, vectors = register_tile(W_out, case.vectors, images)
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
    top, _, left, _ = case.geometry.padding
    is_copied = case.copies(columns)
    if is_copied:
        end = (last - 1) * down + case.geometry.extent[0]
        x = _padded(nest, case, x, first_image, images, first * down, end)
    else:
        x = x.at(first_image, -top, -left, steps=x.steps[:-1])
    y = y.at(first_image, steps=y.steps[:-1])
    for g in nest.range(G):
        for block in nest.range(blocks):  # outside, so that its kernels stay in the cache
            for row in nest.range(first, last):
                for first_column in _starts(nest, case, columns):
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
                    for i in _inside(nest, row * down - top, dilation, rows_inside, kH):
                        at = 0, row * down + i * dilation, first_column * across, g * C
                        windows = x.at(*at, steps=(x.steps[0], x.steps[2]))
                        for offset, entry, length in case.runs(is_copied=is_copied):
                            met = [
                                (n, t, sums)
                                for n, t, sums in tile
                                if isinstance(first_column, Index)
                                or 0 <= (first_column + t) * across + offset - left < W
                            ]
                            for k in nest.unrolled(length):
                                kernel = [
                                    w.load(g, block, i, k + entry, v * L, lanes=L)
                                    for v in range(vectors)
                                ]
                                of_channel = windows.at(0, 0, k, steps=windows.steps[:-1])
                                for n, t, sums in met:
                                    pixel = of_channel.broadcast(n, t * across + offset, 0, lanes=L)
                                    for v, total in enumerate(sums):
                                        total.value = nest.fma(pixel, kernel[v], total.value)
                    for n, t, sums in tile:
                        for v, total in enumerate(sums):
                            vector = block * vectors + v
                            place = n, row, first_column + t, g, vector * L
                            y.store(total.value, *place, first=case.filled(vector))


def _starts(nest: Nest, case: Case, columns: int) -> Iterator[Index | int]:
    """Where the tiles of a row start, ints where code is written for each. The last moves back."""
    width = case.geometry.output_size[1]
    if case.leaves_out(columns):
        yield from (min(start, width - columns) for start in range(0, width, columns))
        return
    for start in nest.range(0, width, columns):
        yield start.at_most(width - columns)


def _inside(nest: Nest, offset: Index | int, step: int, size: int, count: int) -> Iterator[Index]:
    """Those of `count` places, `step` apart from `offset` on, that lie inside of `size`."""
    if isinstance(offset, int):
        inside = [k for k in range(count) if 0 <= offset + k * step < size]
        return nest.range(inside[0], inside[-1] + 1) if inside else nest.range(0)
    first = ((offset * -1).at_least(0) + (step - 1)) // step
    return nest.range(first, ((size - offset + (step - 1)) // step).at_most(count))


def _met(
    nest: Nest, case: Case, row: int | Index, column: int
) -> tuple[Iterator[Index], Iterator[Index]]:
    """Rows and columns of the outputs that a kernel's entry is for."""
    geometry = case.geometry
    (H, W), (H_out, W_out) = geometry.input_size, geometry.output_size
    if not case.gradient_leaves_out:
        return nest.range(H_out), nest.range(W_out)
    (down, across), (top, _, left, _) = geometry.stride, geometry.padding
    above = row * geometry.dilation[0] - top
    return (
        _inside(nest, above, down, H, H_out),
        _inside(nest, column - left, across, W, W_out),
    )


@compiled
def weight_gradient(nest: Nest, case: Case) -> None:
    """One task: some rows of the kernels, summed over a portion of the images."""
    L, C, G = case.lanes, case.channels, case.geometry.groups
    H_out, (kH, kW) = case.geometry.output_size[0], case.geometry.kernel_size
    (down, across), (dilation, _) = case.geometry.stride, case.geometry.dilation
    top, _, left, _ = case.geometry.padding
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
        if case.gradient_copies:
            end = (last - 1) * dilation + (H_out - 1) * down + 1
            source = _padded(nest, case, x, image, 1, first * dilation, end).at(0)
        else:
            source = x.at(image, -top, -left, steps=x.steps[1:-1])
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
                    met_rows, met_columns = _met(nest, case, *taps[0][:2])
                    for row in met_rows:
                        for column in met_columns:
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
    nest: Nest, case: Case, first: Index, last: Index, most: int
) -> Iterator[list[tuple[int | Index, int, int | Index, int | Index]]]:
    """Cut the kernel's entries into sets that fit the registers: row, column, entry, channel."""
    kH, C = case.geometry.kernel_size[0], case.channels
    runs = case.runs(is_copied=case.gradient_copies)
    if not case.gradient_leaves_out and kH * case.geometry.kernel_size[1] * C <= most:
        yield [
            (row, offset, entry + k, k)
            for row in range(kH)
            for offset, entry, length in runs
            for k in range(length)
        ]
        return
    for i in nest.range(first, last):
        for offset, entry, length in runs:  # in equal sets where that fills the registers
            best = max(size for size in range(1, most + 1) if length % size == 0)
            for start, size in nest.blocks(length, best if 2 * best > most else most):
                yield [(i, offset, start + (entry + k), start + k) for k in range(size)]


@compiled
def pack(nest: Nest, dtype: str, width: int) -> None:
    """One task: some pixels of `width` kernels, with zeros where output channels are missing.

    (G, O, C, pixels) → (G, blocks, pixels, C, width). The steps of G, O and C are arguments. What
    is written lies side by side: writing in several places at once took twice as long.
    """
    count, of_task, of_group, pixels, channels, out_channels = (nest.size() for _ in range(6))
    first_pixel, pixel_step, *steps = (nest.size() for _ in range(5))
    kernels, packed = nest.array(dtype, *steps), nest.array(dtype, channels * width, width)
    check, side, lanes = _Check(nest, dtype), min(width, side_of(dtype)), gcd(width, 16)
    for number in nest.range(nest.task * of_task, ((nest.task + 1) * of_task).at_most(count)):
        block, pixel = number // pixels, number % pixels
        first = block % of_group * width
        filled = (out_channels - first).at_most(width)
        is_full = filled.equals(width)
        are_squares = nest.all(is_full, steps[2].equals(1), channels >= side)
        start = block // of_group, first, 0, first_pixel + pixel * pixel_step
        source, result = kernels.at(*start, steps=steps[1:]), packed.at(number)
        with nest.if_else(steps[1].equals(1)) as (dense, apart):
            with dense:
                for c in nest.range(channels):
                    row = source.at(0, c, steps=())
                    for lane in nest.range(0, width, lanes):
                        vector = row.load(lane, lanes=lanes, first=filled - lane)
                        result.store(vector, c, lane)
            with apart, nest.if_else(are_squares) as (square, single):
                with square:
                    for c in _squares(nest, channels, side):
                        for lane in nest.range(0, width, side):
                            tile = source.at(lane, c, steps=steps[1:2])
                            rows = [tile.load(o, 0, lanes=side) for o in range(side)]
                            for k, vector in enumerate(nest.transposed(rows)):
                                result.store(vector, c + k, lane)
                with single:
                    for c in nest.range(channels):
                        column = source.at(0, c, steps=steps[1:2])
                        with nest.if_else(is_full) as (full, partial):
                            with full:
                                entry = column
                                for place in range(width):  # each is one addition further
                                    result.store(entry.load(0, 0), c, place)
                                    entry = entry.at(1, steps=steps[1:2])
                            with partial:
                                for lane in nest.range(filled):
                                    result.store(column.load(lane, 0), c, lane)
                                for lane in nest.range(filled, width):
                                    result.store(nest.number(0.0, dtype), c, lane)
        check.look_at(result.flat, channels * width)
    check.store()


@compiled
def collect(nest: Nest, dtype: str) -> None:
    """One task: the gradients of some kernels, in the kernels' order.

    (G, pixels, C, padded O) → (G, O, C, pixels)
    """
    tiles, of_task, of_group = (nest.size() for _ in range(3))
    pixels, channels, out_channels, padded = (nest.size() for _ in range(4))
    steps = channels * padded, padded
    sums = nest.array(dtype, pixels * steps[0], *steps)
    kernels = nest.array(dtype, out_channels * channels * pixels, channels * pixels, pixels)
    check, side = _Check(nest, dtype), side_of(dtype)
    for number in nest.range(nest.task * of_task, ((nest.task + 1) * of_task).at_most(tiles)):
        g, first = number // of_group, number % of_group * side
        filled = (out_channels - first).at_most(side)
        source = sums.at(g, 0, 0, first, steps=steps)
        result = kernels.at(g, first, steps=kernels.steps[1:-1])
        are_squares = nest.all(filled.equals(side), pixels >= side)
        for c in nest.range(channels):
            with nest.if_else(are_squares) as (square, single):
                with square:
                    for pixel in _squares(nest, pixels, side):
                        rows = [source.load(pixel + k, c, 0, lanes=side) for k in range(side)]
                        for o, row in enumerate(nest.transposed(rows)):
                            result.store(row, o, c, pixel)
                with single:
                    for pixel in nest.range(pixels):
                        for lane in nest.range(filled):
                            result.store(source.load(pixel, c, lane), lane, c, pixel)
        check.look_at(result.flat, filled * channels * pixels)
    check.store()


def side_of(dtype: str) -> int:
    """Of the squares of numbers that are transposed in registers."""
    return 8 if dtype == "float32" else 4


def _squares(nest: Nest, count: Index, side: int) -> Iterator[Index]:
    """Where squares start; the last one moves back."""
    for start in nest.range(0, count, side):
        yield start.at_most(count - side)


class _Check:
    """The next argument, for each task: 0 if all numbers that it looks at are finite, else NaN."""

    def __init__(self, nest: Nest, dtype: str) -> None:
        self._nest, self._checks = nest, nest.array(dtype)
        self._lanes = 16 if dtype == "float32" else 8
        self._zero = nest.number(0.0, dtype, self._lanes)
        self._sum = nest.variable(self._zero)

    def look_at(self, numbers: Array, count: Index) -> None:
        for at in self._nest.range(0, count, self._lanes):
            vector = numbers.load(at, lanes=self._lanes, first=count - at)
            self._sum.value = self._nest.fma(vector, self._zero, self._sum.value)

    def store(self) -> None:
        self._checks.store(self._sum.value.sum_of_first(self._lanes), self._nest.task)


@compiled
def overlapping(nest: Nest, case: Case) -> None:
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


@compiled
def channel_sums(nest: Nest, case: Case) -> None:
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


def total(parts: Tensor) -> Tensor:
    """The sum over the first axis, one after the other; of a single part, a view of it."""
    if parts.shape[0] == 1:
        return parts[0]
    result = parts.new_empty(parts.shape[1:])
    size = result.numel()
    _total(loops.dtype_name(parts.dtype))(-(-size // SUMS), parts.shape[0], size, parts, result)
    return result


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
