"""Convolution and the fully connected layer as compiled loops.

The loops are those of compiled_kernels.py. Here is what a call must decide before: which of them,
cut into how many tasks, with how much memory. That follows from the shapes alone, and for a few
small images it takes longer than to compute them. So it is done once, when a `Convolution` or a
`Linear` is made, and these are kept for the next call.

Axes: N batch, C channels, H height, W width, O output channels, kH kW kernel, G groups; C and O
count those of one group.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import addressof, c_double, c_float
from functools import cache, cached_property, lru_cache, partial, reduce
from math import prod

import torch
from torch import Tensor

from cnnpipe.functional import compiled_kernels as kernels
from cnnpipe.functional import im2col, loops
from cnnpipe.functional.compiled_kernels import SUMS_IN_REGISTERS, Case, total
from cnnpipe.functional.loops import dtype_name
from cnnpipe.functional.windows import accumulation_dtype, rows_of
from cnnpipe.geometry import ConvolutionGeometry, Pair

PORTION = 16
"""Images whose gradients of the kernel are added in one chain; more where there are many images."""
LARGEST_COUNT = 32
"""Of portions."""
ENOUGH = 8_000_000
"""Operations that are worth a second thread, which may have to be woken first."""
PACKED = 262_144
"""Numbers that one task puts in order, where there are no more; else tasks have an eighth of them.

To wake a thread takes longer than fewer numbers; one that waits for another's long task sleeps.
"""
ROW = 16
"""Images of one pixel that stand side by side as one row of a picture: a tile over images."""
KEPT = 256
"""Shapes for which what was decided is kept."""


def forward(
    x: Tensor, w: Tensor, geometry: ConvolutionGeometry, bias: Tensor | None = None
) -> Tensor:
    return convolution(len(x), len(w), w.shape[1], geometry, x.dtype).forward(x, w, bias)


def input_gradient(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    sizes = len(grad), len(w), w.shape[1]
    return convolution(*sizes, geometry, grad.dtype).input_gradient(grad, w)


def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    sizes = len(x), grad.shape[1], x.shape[1] // geometry.groups
    return convolution(*sizes, geometry, x.dtype).weight_gradient(x, grad)


def unsupported(x: Tensor, geometry: ConvolutionGeometry) -> str | None:  # noqa: ARG001
    return loops.unsupported(x)


def convolution(
    N: int, outputs: int, channels: int, geometry: ConvolutionGeometry, dtype: torch.dtype
) -> Convolution:
    """That of N images with all `outputs` kernels, each of the `channels` of one group."""
    outputs //= geometry.groups
    return _convolution(N, outputs, channels, geometry, dtype, torch.get_num_threads())


class Convolution:
    """The three derivatives of T(x, w, g) = Σ g · (x ⋆ w) for given shapes.

    Loops that leave out the zeros around an image leave out 0·∞ and 0·NaN, too. Where a factor is
    not finite, im2col computes. A gradient's number that is not finite shows in the kernels'
    gradient: each of its numbers is a factor there.

    Shape:
        x (N, G·C, H, W), w (G·O, C, kH, kW), g (N, G·O, H_out, W_out), of one dtype and any memory
        layout. Results are new; the channels of images lie side by side in memory.
    """

    def __init__(
        self,
        N: int,
        out_channels: int,
        channels: int,
        geometry: ConvolutionGeometry,
        dtype: torch.dtype,
        threads: int,
    ) -> None:
        self._geometry, self._dtype, self._wide = geometry, dtype, accumulation_dtype(dtype)
        self._N, self._threads, G = N, threads, geometry.groups
        self._case = Case(dtype_name(self._wide), channels, out_channels, geometry)
        self._x_shape = N, G * channels, *geometry.input_size
        self._y_shape = N, G * out_channels, *geometry.output_size
        # Where the one window is the image, each pixel is an input of its own.
        covers = geometry.input_size == geometry.kernel_size and not any(geometry.padding)
        self._linear = None
        if covers and G == 1:
            pixels = channels * prod(geometry.input_size)
            self._linear = linear(N, out_channels, pixels, dtype)

    def forward(self, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        """x ⋆ w + bias."""
        if self._linear:
            return self._linear.forward(rows_of(x), rows_of(w), bias)[:, :, None, None]
        y = self._images(self._y_shape)
        if self._correlation(_last(x, self._wide), w, bias, y):
            return _as(y, self._dtype)
        y = im2col.forward(x, w, self._geometry)
        return _last(y if bias is None else y + bias.view(-1, 1, 1), self._dtype)

    def input_gradient(self, grad: Tensor, w: Tensor) -> Tensor:
        """∂T/∂x: forward with kernels flipped, C and O exchanged, and zeros for the stride.

        Where few channels would leave most lanes empty, windows are added to the image instead.
        """
        is_overlapped = self._fills_lanes_better
        if self._linear and not is_overlapped:
            pixels = self._linear.input_gradient(rows_of(grad), rows_of(w))
            return pixels.view(self._N, *self._geometry.input_size, -1).permute(0, 3, 1, 2)
        x = self._images(self._x_shape)
        adjoint = self._overlap_add if is_overlapped else self._adjoint
        if adjoint(_last(grad, self._wide), w, None, x):
            return _as(x, self._dtype)
        return im2col.input_gradient(grad, w, self._geometry)

    def weight_gradient(self, x: Tensor, grad: Tensor) -> Tensor:
        """∂T/∂w."""
        if self._linear:
            kernel = self._linear.weight_gradient(rows_of(x), rows_of(grad))
            size = self._geometry.kernel_size
            return kernel.view(len(kernel), *size, -1).permute(0, 3, 1, 2)
        kernel, is_finite = self._summation(_last(x, self._wide), _last(grad, self._wide))
        if not is_finite and self._case.gradient_leaves_out:
            return im2col.weight_gradient(x, grad, self._geometry)
        return _as(kernel, self._dtype)

    def _images(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, dtype=self._wide, memory_format=torch.channels_last)

    @cached_property
    def _correlation(self) -> _Correlation:
        return _Correlation(self._case, self._N, self._threads)

    @cached_property
    def _adjoint(self) -> _Correlation:
        channels, out_channels = self._case.out_channels, self._case.channels
        adjoint, stride = self._geometry.adjoint(), self._geometry.stride
        case = Case(self._case.dtype, channels, out_channels, adjoint, stride)
        return _Correlation(case, self._N, self._threads, is_adjoint=True)

    @cached_property
    def _summation(self) -> _Summation:
        return _Summation(self._case, self._N, self._threads)

    @cached_property
    def _fills_lanes_better(self) -> bool:
        """Whether `_overlap_add` needs far fewer vectors of multiply-adds than the forward pass."""
        geometry, channels = self._geometry, self._case.channels
        (kH, kW), lanes = geometry.kernel_size, 64 // self._wide.itemsize
        gathered = prod(geometry.input_size) * kH * kW * -(-channels // lanes)
        added = prod(geometry.output_size) * kH * -(-kW * channels // lanes)
        return geometry.groups == geometry.dilation[1] == 1 and 2 * added < gathered

    @cached_property
    def _overlap_add(self) -> Callable[..., bool]:
        kernel = kernels.overlapping(self._case)
        memory = self._threads * prod(self._geometry.padded_size) * self._case.channels

        def run(grad: Tensor, w: Tensor, _: None, x: Tensor) -> bool:
            rows = w.to(self._wide).permute(2, 0, 3, 1).contiguous()  # (kH, O, kW, C)
            kernel(self._N, grad, rows, x, grad.new_empty(memory))
            return True

        return run


class Linear:
    """x·wᵀ + bias and its derivatives for given shapes: images of one pixel.

    `ROW` of them stand as one row of a picture; what is left makes a row of its own.

    Shape:
        x (N, I), w (O, I), g (N, O), of one dtype and any memory layout; results are new
    """

    def __init__(self, N: int, outputs: int, inputs: int, dtype: torch.dtype, threads: int) -> None:
        self._N, self._sizes, self._threads = N, (outputs, inputs), threads
        self._dtype, self._wide = dtype, accumulation_dtype(dtype)

    def forward(self, x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
        """x·wᵀ + bias."""
        return self._product(self._forward, self._sizes[0], x, w, bias)

    def input_gradient(self, grad: Tensor, w: Tensor) -> Tensor:
        """g·w."""
        return self._product(self._backward, self._sizes[1], grad, w)

    def weight_gradient(self, x: Tensor, grad: Tensor) -> Tensor:
        """gᵀ·x."""
        x, grad = _dense(x, self._wide), _dense(grad, self._wide)
        if not self._N:
            return x.new_zeros(self._sizes, dtype=self._dtype)
        parts = [
            summation(*rows)[0].view(self._sizes)
            for summation, rows in zip(self._summations, self._cut(x, grad), strict=True)
        ]
        return _dense(reduce(torch.add, parts), self._dtype)

    def _product(
        self,
        correlations: list[_Correlation],
        results: int,
        x: Tensor,
        w: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        x = _dense(x, self._wide)
        y = x.new_empty((self._N, results))
        for correlation, (rows, of_rows) in zip(correlations, self._cut(x, y), strict=True):
            correlation(rows, w, bias, of_rows)
        return _as(y, self._dtype)

    @cached_property
    def _rows(self) -> list[tuple[int, int, int]]:
        """Images that make rows of one width: first, last, width."""
        N, whole = self._N, self._N // ROW * ROW
        return [(a, b, width) for a, b, width in [(0, whole, ROW), (whole, N, N - whole)] if a < b]

    def _cut(self, first: Tensor, second: Tensor) -> list[tuple[Tensor, Tensor]]:
        if len(self._rows) == 1:
            return [(first, second)]
        return [(first[a:b], second[a:b]) for a, b, _ in self._rows]

    def _cases(self, outputs: int, inputs: int) -> list[tuple[Case, int]]:
        """For each width of a row: what is compiled, and the number of rows."""
        name = dtype_name(self._wide)
        return [
            (Case(name, inputs, outputs, ConvolutionGeometry((1, width), (1, 1))), (b - a) // width)
            for a, b, width in self._rows
        ]

    @cached_property
    def _forward(self) -> list[_Correlation]:
        cases = self._cases(*self._sizes)
        return [_Correlation(case, rows, self._threads) for case, rows in cases]

    @cached_property
    def _backward(self) -> list[_Correlation]:
        cases = self._cases(*reversed(self._sizes))
        return [_Correlation(case, rows, self._threads, is_adjoint=True) for case, rows in cases]

    @cached_property
    def _summations(self) -> list[_Summation]:
        cases = self._cases(*self._sizes)
        return [_Summation(case, rows, self._threads) for case, rows in cases]


def linear(N: int, outputs: int, inputs: int, dtype: torch.dtype) -> Linear:
    """The map of N rows of `inputs` numbers to `outputs` numbers."""
    return _linear(N, outputs, inputs, dtype, torch.get_num_threads())


_convolution = lru_cache(KEPT)(Convolution)
_linear = lru_cache(KEPT)(Linear)


class _Correlation:
    """N images with kernels, flipped where it is the adjoint of another correlation."""

    def __init__(self, case: Case, N: int, threads: int, *, is_adjoint: bool = False) -> None:
        geometry, G = case.geometry, case.geometry.groups
        C, O = case.channels, case.out_channels  # noqa: E741
        (kH, kW), (H_out, W_out) = geometry.kernel_size, geometry.output_size
        # Short rows leave registers free: two images share each vector of kernel entries.
        together = 2 if W_out < 8 and N % 2 == 0 and 4 * threads <= N else 1
        operations = 2 * N * H_out * W_out * G * O * C * kH * kW
        bands = 1 if 2 * threads <= N or operations < ENOUGH else min(H_out, 2 * threads)
        self._tasks, self._bands = N // together * bands, bands
        columns, vectors = kernels.register_tile(W_out, case.vectors, together)
        self._copy = threads * together * case.padded_numbers if case.copies(columns) else 0
        self._leaves_out = case.is_padded
        self._kernel = cache(partial(kernels.forward, case, together))  # of `has_bias`

        blocks, width = case.vectors // vectors, vectors * case.lanes
        pixels = kH * kW
        if is_adjoint:
            turned, steps = (pixels - 1, -1), (O * C * pixels, pixels, O * pixels)
        else:
            turned, steps = (0, 1), (O * C * pixels, C * pixels, pixels)
        count = G * blocks * pixels
        tasks, of_task = _tasks(count, C * width)
        sizes = count, of_task, blocks, pixels, C, O
        self._pack = partial(kernels.pack(case.dtype, width), tasks, *sizes, *turned, *steps)
        self._packed, self._checks = count * C * width, _NUMBERS[case.dtype] * tasks

    def __call__(self, images: Tensor, w: Tensor, bias: Tensor | None, y: Tensor) -> bool:
        """Write the result to y; both y and the images are dense, and their channels come last.

        Returns:
            False where nothing is computed: zeros would be left out, and a number of the kernels
            that is not finite makes them NaN.
        """
        packed, checks = y.new_empty(self._packed), self._checks()
        self._pack(_dense(w, y.dtype), packed, addressof(checks))
        if self._leaves_out and any(checks):
            return False
        operands = [packed]
        if bias is not None:
            operands.append(_dense(bias, y.dtype))
        if self._copy:
            operands.append(y.new_empty(self._copy))
        self._kernel(bias is not None)(self._tasks, self._bands, images, y, *operands)
        return True


class _Summation:
    """The gradient of the kernels: a sum over N images."""

    def __init__(self, case: Case, N: int, threads: int) -> None:
        geometry, G = case.geometry, case.geometry.groups
        C, O = case.channels, case.out_channels  # noqa: E741
        (kH, kW), (H_out, W_out) = geometry.kernel_size, geometry.output_size
        portion = max(PORTION, -(-N // LARGEST_COUNT))
        count = max(1, -(-N // portion))
        few = kH * kW * C * (2 - case.vectors % 2) <= SUMS_IN_REGISTERS
        operations = 2 * N * H_out * W_out * G * O * C * kH * kW
        shares = 1 if few or count >= 2 * threads or operations < ENOUGH else kH
        self._kernel = kernels.weight_gradient(case)
        self._tasks, self._sizes = count * shares, (N, portion, shares)
        padded = case.vectors * case.lanes
        self._parts = count, G * kH * kW * C * padded
        self._copy = threads * case.padded_numbers if case.gradient_copies else 0

        self._shape = G * O, C, kH, kW
        side, pixels = kernels.side_of(case.dtype), kH * kW
        if pixels == 1:  # channels lie side by side as pixels would
            pixels, C = C, 1
        tiles = -(-O // side)
        tasks, of_task = _tasks(G * tiles, side * C * pixels)
        sizes = G * tiles, of_task, tiles, pixels, C, O, padded
        self._collect = partial(kernels.collect(case.dtype), tasks, *sizes)
        self._checks = _NUMBERS[case.dtype] * tasks

    def __call__(self, x: Tensor, grad: Tensor) -> tuple[Tensor, bool]:
        """(G·O, C, kH, kW), and whether all of it is finite.

        Images and gradients are dense, and their channels come last.
        """
        parts, kernel, checks = x.new_empty(self._parts), x.new_empty(self._shape), self._checks()
        memory = [x.new_empty(self._copy)] if self._copy else []
        self._kernel(self._tasks, *self._sizes, x, grad, parts, *memory)
        self._collect(total(parts), kernel, addressof(checks))
        return kernel, not any(checks)


def _tasks(count: int, numbers: int) -> Pair:
    """Tasks that put as many parts of so many numbers in order, and the parts of each task."""
    of_task = count if count * numbers <= PACKED else -(-PACKED // (8 * numbers))
    return -(-count // of_task), of_task


_NUMBERS = {"float32": c_float, "float64": c_double}


def channel_sums(images: Tensor) -> Tensor:
    """(N, C, H, W) or (N, C) → (C,)."""
    dtype = accumulation_dtype(images.dtype)
    if images.ndim == 2:
        rows = _dense(images, dtype)
        return _as(rows[0].clone() if len(rows) == 1 else total(rows), images.dtype)
    N, C, H, W = images.shape
    sums = images.new_empty((N, C), dtype=dtype)
    _sums_of_channels(C, H, W, dtype)(N, _last(images, dtype), sums)
    return _as(total(sums), images.dtype)


@cache
def _sums_of_channels(C: int, H: int, W: int, dtype: torch.dtype) -> Callable[..., None]:
    case = Case(dtype_name(dtype), 1, C, ConvolutionGeometry((H, W), (1, 1)))
    return kernels.channel_sums(case)


def _last(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images whose channels lie side by side in memory."""
    return _as(images, dtype).contiguous(memory_format=torch.channels_last)


def _dense(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return _as(tensor, dtype).contiguous()


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor.to(dtype)`; to ask first is faster."""
    return tensor if tensor.dtype is dtype else tensor.to(dtype)
