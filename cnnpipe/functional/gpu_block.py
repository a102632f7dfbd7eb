"""Batch normalisation, ReLU and max pooling in one pass over memory, as GPU kernels.

They are to a GPU what `block_kernels` is to a CPU, with the same functions and formulas:

    x̂ = (x − μ)/√(σ² + ε),   y = max over the window of max(0, γ·x̂ + β)

The kernels are in `gpu_block_kernels`. Images have their channels last, and each function is one
launch; sums over all images are added up in parts, and the parts by a second launch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cnnpipe.functional.block_kernels import Block
from cnnpipe.functional.implicit_gemm import PROGRAMS, cannot_launch, too_many_pixels

TILE = 1024
"""Numbers of a tile, 8 for each thread of a program."""


def unsupported(x: Tensor, dtype: torch.dtype) -> str | None:
    """Why these kernels cannot compute with images like x in a dtype, as a clause, if so."""
    return cannot_launch(x, dtype) or too_many_pixels(x.numel() // x.shape[1])


def statistics(x: Tensor) -> Tensor:
    """Mean and biased variance of each channel in float32: (N, C, H, W) → (2, C)."""
    from cnnpipe.functional import gpu_block_kernels as kernels

    C, blocks = x.shape[1], _blocks(x.shape[1])
    pixels = x.numel() // C
    part, grid = _parts(pixels, C, blocks)
    pairs = x.new_empty((grid[0], 2, C), dtype=torch.float32)
    result = x.new_empty((2, C), dtype=torch.float32)
    with torch.cuda.device_of(x):
        kernels.moments[grid](x, pairs, pixels, part, C, **blocks)
        kernels.combine[(-(-C // 16),)](
            pairs, result, pixels, part, len(pairs), C, PARTS=_power_of_two(len(pairs)), BLOCK_C=16
        )
    return result


def forward(block: Block, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """y of images; the parameters are (μ, σ²), γ and β, or none.

    Shape:
        x (N, C, H, W), (μ, σ²) (2, C), γ (C,), β (C,) → (N, C, H // pool, W // pool)
    """
    from cnnpipe.functional import gpu_block_kernels as kernels

    N, C = x.shape[:2]
    y = x.new_empty((N, block.rows, block.columns, C)).permute(0, 3, 1, 2)
    windows, blocks = N * block.rows * block.columns, _blocks(C)
    with torch.cuda.device_of(x):
        kernels.forward[_grid(windows, C, blocks)](
            x, y, *_all(parameters), windows, *_sizes(block), **_constants(block), **blocks
        )
    return y


def sums(block: Block, g: Tensor, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Σ g'·x̂ and Σ g' (2, C), where g' is the gradient that reaches γ·x̂ + β."""
    from cnnpipe.functional import gpu_block_kernels as kernels

    C, blocks = x.shape[1], _blocks(x.shape[1])
    windows = g.numel() // C
    part, grid = _parts(windows, C, blocks)
    pairs = x.new_empty((grid[0], 2, C), dtype=torch.float32)
    with torch.cuda.device_of(x):
        kernels.sums[grid](
            *(g, x, pairs, *_all(parameters), windows, part, *_sizes(block)),
            **_constants(block),
            **blocks,
        )
    return pairs.sum(0)


def input_gradient(
    block: Block, g: Tensor, x: Tensor, parameters: Sequence[Tensor], means: Tensor | None = None
) -> Tensor:
    """∂L/∂x; in training `means` are the `sums` divided by the numbers of a channel."""
    from cnnpipe.functional import gpu_block_kernels as kernels

    N, C, H, W = x.shape
    dx = torch.empty_like(x)
    windows, blocks = N * -(-H // block.pool) * -(-W // block.pool), _blocks(C)
    with torch.cuda.device_of(x):
        kernels.input_gradient[_grid(windows, C, blocks)](
            *(g, x, dx, *_all(parameters), means, windows, *_sizes(block)),
            **_constants(block),
            **blocks,
        )
    return dx


def _all(parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    return parameters or [None] * 3


def _sizes(block: Block) -> tuple[int, ...]:
    return block.height, block.width, block.rows, block.columns, block.channels


def _constants(block: Block) -> dict[str, Any]:
    return {"EPSILON": block.epsilon, "HAS_RELU": block.has_relu, "POOL": block.pool}


def _blocks(channels: int) -> dict[str, int]:
    """Windows or pixels, and channels, of a tile."""
    width = min(_power_of_two(channels), 64)
    return {"BLOCK_P": TILE // width, "BLOCK_C": width}


def _grid(rows: int, channels: int, blocks: dict[str, int]) -> tuple[int, int]:
    return -(-rows // blocks["BLOCK_P"]), -(-channels // blocks["BLOCK_C"])


def _parts(rows: int, channels: int, blocks: dict[str, int]) -> tuple[int, tuple[int, int]]:
    """Rows that one program adds up, and the programs: as many as keep a GPU busy.

    The rule sees sizes only, so that the same sum is always split alike.
    """
    tiles, across = _grid(rows, channels, blocks)
    part = -(-tiles // max(1, PROGRAMS // across)) * blocks["BLOCK_P"]
    return part, (math.ceil(rows / part), across)


def _power_of_two(size: int) -> int:
    """The least one that is not smaller."""
    return 1 << (size - 1).bit_length()
