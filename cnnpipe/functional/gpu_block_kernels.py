# mypy: ignore-errors
# Triton's language only looks like Python: its types are those of the GPU code it becomes.
"""The GPU kernels of `gpu_block`, in Triton; imported only where Triton is there.

A program treats a tile: some windows of the pooling, or pixels, by some channels, which lie side by
side in memory. Arithmetic is in float32, whatever the tensors hold.

Names in capitals are constants when the kernel is compiled.
"""

import triton
import triton.language as tl


@triton.jit
def moments(
    x,  # (pixels, C)
    pairs,  # (parts, 2, C)
    pixels,
    part,  # pixels of one program
    C,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Mean and Σ (x − mean)² of each channel over a part of the pixels."""
    which, c = tl.program_id(0), tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    first, last = which * part, tl.minimum(which * part + part, pixels)
    sums = tl.zeros((BLOCK_C,), dtype=tl.float32)
    for start in range(first, last, BLOCK_P):
        m = start + tl.arange(0, BLOCK_P)
        sums += tl.sum(_load(x, m, m < last, c, C), axis=0)
    mean = sums / (last - first)
    squares = tl.zeros((BLOCK_C,), dtype=tl.float32)
    for start in range(first, last, BLOCK_P):
        m = start + tl.arange(0, BLOCK_P)
        distance = _load(x, m, m < last, c, C) - mean[None, :]
        squares += tl.sum(tl.where((m < last)[:, None], distance * distance, 0.0), axis=0)
    tl.store(pairs + which * 2 * C + c, mean, mask=c < C)
    tl.store(pairs + which * 2 * C + C + c, squares, mask=c < C)


@triton.jit
def combine(
    pairs,  # (parts, 2, C)
    statistics,  # (2, C)
    pixels,
    part,
    parts,
    C,
    PARTS: tl.constexpr,  # at least as many, a power of two
    BLOCK_C: tl.constexpr,
):
    """Mean and variance of all pixels from those of each part.

    Source: Chan, Golub, LeVeque: Algorithms for computing the sample variance (1983).
    """
    which, c = tl.arange(0, PARTS), tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    count = tl.maximum(tl.minimum(which * part + part, pixels) - which * part, 0).to(tl.float32)
    means = _load(pairs, which * 2, which < parts, c, C)
    squares = _load(pairs, which * 2 + 1, which < parts, c, C)
    mean = tl.sum(means * count[:, None], axis=0) / pixels
    distance = means - mean[None, :]
    variance = tl.sum(squares + count[:, None] * distance * distance, axis=0) / pixels
    tl.store(statistics + c, mean, mask=c < C)
    tl.store(statistics + C + c, variance, mask=c < C)


@triton.jit
def forward(
    x,  # (N, H, W, C)
    y,  # (N, H_out, W_out, C)
    statistics,  # (2, C), γ (C,) and β (C,), or None: nothing is normalised
    gamma,
    beta,
    windows,  # N·H_out·W_out
    H,
    W,
    H_out,
    W_out,
    C,
    EPSILON: tl.constexpr,
    HAS_RELU: tl.constexpr,
    POOL: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The largest output of each window."""
    m = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mean, _, scale, shift = _parameters(statistics, gamma, beta, c, C, EPSILON)
    pixel = _first_pixel(m, H, W, H_out, W_out, POOL)
    largest, _, _ = _winner(x, pixel, m < windows, W, c, C, mean, scale, shift, HAS_RELU, POOL)
    _store(y, m, m < windows, c, C, largest)


@triton.jit
def sums(
    g,  # (N, H_out, W_out, C)
    x,  # (N, H, W, C)
    pairs,  # (parts, 2, C)
    statistics,
    gamma,
    beta,
    windows,  # N·H_out·W_out
    part,  # windows of one program
    H,
    W,
    H_out,
    W_out,
    C,
    EPSILON: tl.constexpr,
    HAS_RELU: tl.constexpr,
    POOL: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Σ g'·x̂ and Σ g' over a part of the windows; g' is the gradient that reaches γ·x̂ + β.

    Each program writes its own sums: programs come in no fixed order, and so the last bits of a
    common sum would change.
    """
    which, c = tl.program_id(0), tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    first, last = which * part, tl.minimum(which * part + part, windows)
    mean, inverse, scale, shift = _parameters(statistics, gamma, beta, c, C, EPSILON)
    products = tl.zeros((BLOCK_C,), dtype=tl.float32)
    total = tl.zeros((BLOCK_C,), dtype=tl.float32)
    for start in range(first, last, BLOCK_P):
        m = start + tl.arange(0, BLOCK_P)
        pixel = _first_pixel(m, H, W, H_out, W_out, POOL)
        largest, _, entry = _winner(x, pixel, m < last, W, c, C, mean, scale, shift, HAS_RELU, POOL)
        reaching = _before_relu(_load(g, m, m < last, c, C), largest, HAS_RELU)
        normalised = (entry - mean[None, :]) * inverse[None, :]
        products += tl.sum(reaching * normalised, axis=0)
        total += tl.sum(reaching, axis=0)
    tl.store(pairs + which * 2 * C + c, products, mask=c < C)
    tl.store(pairs + which * 2 * C + C + c, total, mask=c < C)


@triton.jit
def input_gradient(
    g,  # (N, H_out, W_out, C)
    x,  # (N, H, W, C)
    dx,  # (N, H, W, C)
    statistics,
    gamma,
    beta,
    means,  # (2, C): Σ g'·x̂ and Σ g' divided by the numbers of a channel, or None in evaluation
    windows,  # of all pixels, also of those that pooling leaves out: N·⌈H/POOL⌉·⌈W/POOL⌉
    H,
    W,
    H_out,
    W_out,
    C,
    EPSILON: tl.constexpr,
    HAS_RELU: tl.constexpr,
    POOL: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """∂L/∂x = γ·r·(g' − (mean of g' + x̂·mean of g'·x̂)); the winner of a window gets its g."""
    m = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mean, inverse, scale, shift = _parameters(statistics, gamma, beta, c, C, EPSILON)
    across, down = tl.cdiv(W, POOL), tl.cdiv(H, POOL)
    column, row, image = m % across, m // across % down, m // (across * down)
    pixel = _first_pixel(m, H, W, down, across, POOL)
    is_pooled = (m < windows) & (row < H_out) & (column < W_out)
    largest, winner, _ = _winner(x, pixel, is_pooled, W, c, C, mean, scale, shift, HAS_RELU, POOL)
    window = (image * H_out + row) * W_out + column
    reaching = _before_relu(_load(g, window, is_pooled, c, C), largest, HAS_RELU)
    for k in tl.static_range(POOL * POOL):
        i, j = k // POOL, k % POOL
        is_inside = (m < windows) & (row * POOL + i < H) & (column * POOL + j < W)
        part = tl.where(winner == k, reaching, 0.0)
        if means is not None:
            entry = _load(x, pixel + i * W + j, is_inside, c, C)
            normalised = (entry - mean[None, :]) * inverse[None, :]
            of_product = tl.load(means + c, mask=c < C, other=0.0)
            of_gradient = tl.load(means + C + c, mask=c < C, other=0.0)
            part -= normalised * of_product[None, :] + of_gradient[None, :]
        if statistics is not None:
            part *= scale[None, :]
        _store(dx, pixel + i * W + j, is_inside, c, C, part)


@triton.jit
def _load(x, m, is_there, c, C):
    """Numbers of some pixels and channels, 0 for those that are not there."""
    mask = is_there[:, None] & (c < C)[None, :]
    return tl.load(x + m.to(tl.int64)[:, None] * C + c[None, :], mask=mask, other=0.0).to(
        tl.float32
    )


@triton.jit
def _store(x, m, is_there, c, C, values):
    mask = is_there[:, None] & (c < C)[None, :]
    numbers = x + m.to(tl.int64)[:, None] * C + c[None, :]
    tl.store(numbers, values.to(x.dtype.element_ty), mask=mask)


@triton.jit
def _first_pixel(m, H, W, rows, columns, POOL: tl.constexpr):
    """The number of the first pixel of window m; an image has `rows` times `columns` windows."""
    column, row, image = m % columns, m // columns % rows, m // (columns * rows)
    return (image * H + row * POOL) * W + column * POOL


@triton.jit
def _parameters(statistics, gamma, beta, c, C, EPSILON: tl.constexpr):
    """μ, r = 1/√(σ² + ε), γ·r and β of some channels."""
    mean, inverse = tl.zeros(c.shape, tl.float32), tl.full(c.shape, 1.0, tl.float32)
    scale, shift = inverse, mean
    if statistics is not None:
        mean = tl.load(statistics + c, mask=c < C, other=0.0)
        variance = tl.load(statistics + C + c, mask=c < C, other=1.0)
        inverse = 1.0 / tl.sqrt(variance + EPSILON)
        scale = inverse * tl.load(gamma + c, mask=c < C, other=0.0).to(tl.float32)
        shift = tl.load(beta + c, mask=c < C, other=0.0).to(tl.float32)
    return mean, inverse, scale, shift


@triton.jit
def _winner(
    x, pixel, is_there, W, c, C, mean, scale, shift, HAS_RELU: tl.constexpr, POOL: tl.constexpr
):
    """The largest output of each window, its number in the window, and what it was in x.

    Of equal outputs the first, of several NaN the last.
    """
    entry = _load(x, pixel, is_there, c, C)
    largest = _output(entry, mean, scale, shift, HAS_RELU)
    winner = tl.zeros(entry.shape, dtype=tl.int32)
    for k in tl.static_range(1, POOL * POOL):
        other = _load(x, pixel + k // POOL * W + k % POOL, is_there, c, C)
        output = _output(other, mean, scale, shift, HAS_RELU)
        is_larger = (output > largest) | (output != output)
        largest = tl.where(is_larger, output, largest)
        winner = tl.where(is_larger, k, winner)
        entry = tl.where(is_larger, other, entry)
    return largest, winner, entry


@triton.jit
def _output(x, mean, scale, shift, HAS_RELU: tl.constexpr):
    """γ·x̂ + β, not less than 0 with ReLU; NaN stays NaN."""
    y = (x - mean[None, :]) * scale[None, :] + shift[None, :]
    if HAS_RELU:
        y = tl.where(y < 0, 0.0, y)
    return y


@triton.jit
def _before_relu(g, largest, HAS_RELU: tl.constexpr):
    """The gradient times the slope of ReLU, which is 1 where its output is not 0."""
    if HAS_RELU:
        g *= tl.where(largest == 0, 0.0, 1.0)
    return g
