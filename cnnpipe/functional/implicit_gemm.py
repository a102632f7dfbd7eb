"""Convolution as one matrix product whose columns are never written: im2col by address, for GPUs.

    Yᵀ = columnsᵀ · Wᵀ,  columns[(i,j,c), (n,y,x)] = x[n, c, y·s + i·d − p, x·s + j·d − p]

A GPU computes a product tile by tile: it copies a tile of each factor into the fast memory of one
multiprocessor and multiplies there. Where a tile is copied from is free to choose. So the copy
gathers the windows' pixels straight from the image, and im2col's matrix, kH·kW times as large as
the image, exists only as addresses. All three derivatives are such products (rows × columns, summed
over):

    forward           windows × O,            kernel entries (i, j, c)
    input gradient    input pixels × C,       kernel entries (i, j, o), see `_phases`
    weight gradient   O × entries (i, j, c),  windows

A window that covers the whole image is a row of a plain product, which cuBLAS computes better: with
so few windows there is a tile for few multiprocessors only.

In memory the channels come last, so that the entries of one tap lie side by side in image and
kernel. Tensors that lie otherwise are copied, once.

Numbers of 16 bits are multiplied in tensor cores and added in float32, fastest with channels in
multiples of 16. Float32 is multiplied as such, or cut to TF32 where
`torch.backends.cuda.matmul.allow_tf32` says so. The kernels are in `implicit_gemm_kernels`; Triton
compiles them once for each kind of sizes, and keeps the result on disk.

Sources:
    Chetlur, Woolley, Vandermersch, Cohen, Tran, Catanzaro, Shelhamer: cuDNN: efficient primitives
    for deep learning (arXiv:1410.0759), section 3.1.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import os
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from cnnpipe.functional.windows import empty_images, rows_of
from cnnpipe.geometry import ConvolutionGeometry, Pair

PROGRAMS = 256
"""Tiles at a time that keep a GPU busy: about two for each of its multiprocessors."""


def forward(
    x: Tensor, w: Tensor, geometry: ConvolutionGeometry, bias: Tensor | None = None
) -> Tensor:
    """Windows times kernels, plus bias (O,)."""
    if _covers_image(geometry):
        y = rows_of(x) @ rows_of(w).mT
        return (y if bias is None else y.add_(bias))[:, :, None, None]
    x, w = _channels_last(x), _channels_last(w)
    y = empty_images(x, len(w), geometry.output_size)  # (N, O, H_out, W_out)
    start = -geometry.padding[0], -geometry.padding[2]
    kernels = w.unflatten(0, (geometry.groups, -1))  # (G, O/G, C/G, kH, kW)
    bias = None if bias is None else bias.contiguous()
    _correlate(x, kernels, y, start, geometry.stride, geometry.dilation, bias)
    return y


def input_gradient(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Each phase of input pixels: output gradients times those kernel entries that it has met."""
    if _covers_image(geometry):
        pixels = rows_of(grad) @ rows_of(w)
        return pixels.view(len(grad), *geometry.input_size, -1).permute(0, 3, 1, 2)
    grad, w = _channels_last(grad), _channels_last(w)
    x = empty_images(grad, w.shape[1] * geometry.groups, geometry.input_size)  # (N, C, H, W)
    kernels = w.unflatten(0, (geometry.groups, -1)).transpose(1, 2)  # (G, C/G, O/G, kH, kW)
    for rows in _phases(geometry, 0):
        for columns in _phases(geometry, 1):
            _correlate(
                grad,
                kernels[..., rows.taps, columns.taps],
                x[..., rows.pixels, columns.pixels],
                start=(rows.start, columns.start),
                step=(1, 1),
                move=(rows.move, columns.move),
            )
    return x


def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Output gradients times windows, summed over parts of the windows and then over the parts."""
    if 0 in (x.numel(), grad.numel()):
        return x.new_zeros(grad.shape[1], x.shape[1] // geometry.groups, *geometry.kernel_size)
    if _covers_image(geometry):
        products = rows_of(grad).mT @ rows_of(x)
        return products.view(grad.shape[1], *geometry.kernel_size, -1).permute(0, 3, 1, 2)
    from cnnpipe.functional import implicit_gemm_kernels as kernels

    x, grad = _channels_last(x), _channels_last(grad)
    G, (kH, kW) = geometry.groups, geometry.kernel_size
    C, O = x.shape[1] // G, grad.shape[1] // G  # noqa: E741
    pixels = len(grad) * math.prod(geometry.output_size)
    blocks = _Blocks.for_product(x.dtype, O, kH * kW * C, C)
    tiles = blocks.tiles(O, kH * kW * C)
    part = blocks.part(pixels, tiles * G)
    parts = -(-pixels // part)
    sums = x.new_empty((parts, G * O, kH, kW, C), dtype=torch.float32)
    with torch.cuda.device_of(x):
        kernels.weight_sums[tiles, parts, G](
            x,
            grad,
            sums,
            pixels,
            part,
            *geometry.input_size,
            *geometry.output_size,
            *(-geometry.padding[0], -geometry.padding[2]),
            *geometry.stride,
            *geometry.dilation,
            *_steps(x),
            *_steps(grad),
            C,
            O,
            kW,
            kH * kW,
            OPERAND=kernels.operand(x.dtype),
            PRECISION=_precision(),
            **blocks.options(),
        )
    w = sums.sum(0).permute(0, 3, 1, 2)  # (O, C/G, kH, kW)
    return w.to(x.dtype, memory_format=torch.contiguous_format)


def unsupported(x: Tensor, geometry: ConvolutionGeometry) -> str | None:
    """Why this algorithm cannot compute a convolution of x, if so: it needs a GPU and Triton."""
    if reason := cannot_launch(x, x.dtype):
        return reason
    pixels = max(math.prod(geometry.input_size), math.prod(geometry.output_size))
    return too_many_pixels(len(x) * pixels)


def cannot_launch(x: Tensor, dtype: torch.dtype) -> str | None:
    """Why kernels in Triton cannot compute with x in a dtype, as a clause; None if they can."""
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return f"expects float32, float16 or bfloat16, got {dtype}"
    if x.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return (
            "expects a CUDA device (or TRITON_INTERPRET=1, which runs its kernels in Triton's "
            f"interpreter), got {x.device}"
        )
    if not _has_triton():
        return "expects the package triton, which is not installed"
    if x.device.type == "cuda" and torch.cuda.is_available():
        return _lacking(x.device, dtype)
    return None


@functools.cache
def _lacking(device: torch.device, dtype: torch.dtype) -> str | None:
    """What a GPU, or what Triton needs to launch kernels on it, lacks."""
    capability = torch.cuda.get_device_capability(device)
    if dtype == torch.bfloat16 and capability < (8, 0):
        return f"expects compute capability 8.0 for bfloat16, got {capability}"
    try:
        runtime = importlib.import_module("triton.runtime")
        runtime.driver.active.get_current_target()  # compiles what launches, when first asked
    except Exception as problem:  # each platform fails in its own way
        return f"expects that triton can launch kernels, for which it compiles C code: {problem}"
    return None


def too_many_pixels(pixels: int) -> str | None:
    """Why kernels cannot count pixels, if so: in 32 bits, a sign and a last tile included."""
    return f"expects fewer than 2³⁰ pixels, got {pixels}" if pixels >= 2**30 else None


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


class _Phase(NamedTuple):
    """Input pixels along one axis, a stride apart, that the same kernel entries have met."""

    pixels: slice
    taps: slice
    start: int
    """Output pixel in which the first of the pixels has met the first of the taps."""
    move: int
    """Output pixels from one of the taps to the next."""


def _phases(geometry: ConvolutionGeometry, axis: int) -> Iterator[_Phase]:
    """All pixels of an axis, by phase.

    Tap i takes input pixel q to output pixel (q + p − i·d) / s, if that is an integer. Whether it
    is depends on q modulo s only. With g = gcd(s, d), one tap that fits is followed by another
    s/g taps later, which meets q in an output pixel d/g earlier.
    """
    size, kernel_size = geometry.input_size[axis], geometry.kernel_size[axis]
    stride, dilation = geometry.stride[axis], geometry.dilation[axis]
    padding = geometry.padding[2 * axis]
    common = math.gcd(stride, dilation)
    for pixel in range(min(stride, size)):
        ahead = [pixel + padding - tap * dilation for tap in range(kernel_size)]
        tap = next((tap for tap in range(kernel_size) if ahead[tap] % stride == 0), None)
        if tap is None:  # no window ever sees these pixels
            yield _Phase(slice(pixel, None, stride), slice(0), 0, 0)
            continue
        yield _Phase(
            pixels=slice(pixel, None, stride),
            taps=slice(tap, None, stride // common),
            start=ahead[tap] // stride,
            move=-(dilation // common),
        )


class _Blocks(NamedTuple):
    """Rows and columns of one program's tile, and the numbers that it adds up at a time."""

    M: int
    N: int
    K: int

    @classmethod
    def for_product(cls, dtype: torch.dtype, rows: int, columns: int, channels: int) -> _Blocks:
        """The largest tile of which the product has enough to keep a GPU busy.

        In a large tile each number that is read is used often; but what a thread holds of a tile
        must fit into its registers. Tensor cores take most: up to 128×128, 128 bytes of the sum at
        a time, if the pixels come in runs of 16 channels (Triton knows divisibility by 16 only).
        Else each number has an address of its own, or is multiplied on its own, and tiles of 64×64
        are the most.

        Args:
            rows: of the product, as all programs together compute it.
            columns: likewise.
            channels: numbers of the gathered image that lie side by side.
        """
        in_tensor_cores = dtype != torch.float32 or _precision() == "tf32"
        if in_tensor_cores and channels % 16 == 0:
            sides, K = [(128, 128), (64, 128), (64, 64)], 128 // dtype.itemsize
        else:
            sides, K = [(64, 64)], 64 // dtype.itemsize
        for M, N in sides:
            blocks = cls(_power_of_two(rows, M), _power_of_two(columns, N), K)
            if blocks.tiles(rows, columns) >= PROGRAMS:
                break
        return blocks

    def tiles(self, rows: int, columns: int) -> int:
        return -(-rows // self.M) * -(-columns // self.N)

    def part(self, length: int, tiles: int) -> int:
        """How much of a long sum one program takes, where there are too few tiles.

        At least 8 blocks. The rule sees sizes only, so that the same sum is always split alike.
        """
        parts = max(1, PROGRAMS // tiles)
        return max(8, -(-length // (parts * self.K))) * self.K

    def options(self) -> dict[str, int]:
        """What a launch has to say about the tile."""
        return {
            "BLOCK_M": self.M,
            "BLOCK_N": self.N,
            "BLOCK_K": self.K,
            "num_warps": 8 if self.M * self.N == 128 * 128 else 4,
            "num_stages": 3,
        }


def _power_of_two(size: int, most: int) -> int:
    """The least one that holds `size`, but 16 to `most`: a tensor core multiplies no less."""
    return min(max(16, 1 << (size - 1).bit_length()), most)


def _correlate(
    x: Tensor,
    w: Tensor,
    y: Tensor,
    start: Pair,
    step: Pair,
    move: Pair,
    bias: Tensor | None = None,
) -> None:
    """y[n,o,u,v] = b[o] + Σ_{c,i,j} x[n, c, u·step + i·move + start, …]·w[o,c,i,j], in each group.

    Shape:
        x (N, G·C, H, W) and y (N, G·O, H_out, W_out) with the channels side by side in memory,
        w (G, O, C, kH, kW), all of them views of any kind otherwise.
    """
    if 0 in (x.numel(), w.numel(), y.numel()):
        y.zero_() if bias is None else y.copy_(bias.view(-1, 1, 1))
        return
    from cnnpipe.functional import implicit_gemm_kernels as kernels

    G, O, C, kH, kW = w.shape  # noqa: E741
    pixels = y.numel() // y.shape[1]
    blocks = _Blocks.for_product(x.dtype, pixels, O, C)
    with torch.cuda.device_of(x):
        kernels.correlate[blocks.tiles(pixels, O), G](
            x,
            w,
            y,
            bias,
            pixels,
            *x.shape[2:],
            *y.shape[2:],
            *start,
            *step,
            *move,
            *_steps(x),
            *w.stride(),
            *_steps(y),
            C,
            O,
            kW,
            kH * kW,
            OPERAND=kernels.operand(x.dtype),
            PRECISION=_precision(),
            **blocks.options(),
        )


def _covers_image(geometry: ConvolutionGeometry) -> bool:
    """Whether the only window is the image."""
    is_whole = geometry.kernel_size == geometry.input_size and geometry.groups == 1
    return is_whole and not any(geometry.padding)


def _precision() -> str:
    """How float32 is multiplied: as torch's own matrix products are."""
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def _steps(images: Tensor) -> tuple[int, int, int]:
    """Numbers in memory from one image, row and column to the next."""
    return images.stride(0), images.stride(2), images.stride(3)


def _channels_last(images: Tensor) -> Tensor:
    """The same numbers with channels side by side in memory: the same tensor, if they are."""
    if images.stride(1) == 1 or images.shape[1] == 1:
        return images
    return images.contiguous(memory_format=torch.channels_last)
