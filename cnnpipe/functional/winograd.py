"""Convolution as the interpolation of polynomials: 36 products for a tile of up to 36 outputs.

Take one axis. A kernel row w of r taps and the gradients g of m outputs are the coefficients of two
polynomials, and those of w(z)·g(z), of degree m + r − 2, are the gradients of the pixels that the m
windows see. Its values at m + r − 1 points determine it, and a value is one product, w(p)·g(p).
Here there are six points, so m = 7 − r. Three matrices, with a row for each point p:

    (A g)_p = g(p)                            row 1, p, p², …
    (K w)_p = w(p) / ∏_{q≠p} (p − q)          the same over the denominator of Lagrange's formula
    (B x)_p = Σ_i b_i·x_i                     for its numerator ∏_{q≠p} (z − q) = Σ_i b_i·zⁱ

The last point is ∞, where a polynomial's value is its last coefficient; the numerator there is the
product over all other points, the denominator 1. For the pixels x that m windows see, Lagrange's
formula then reads

    Σ_{i,j} g_i · w_j · x_{i+j} = Σ_p (A g)_p · (K w)_p · (B x)_p

This is the trilinear form of convolution.py, and its derivatives are the algorithm:

    outputs              Aᵀ [(K w) ⊙ (B x)]
    kernel's gradient    Kᵀ [(A g) ⊙ (B x)]

The gradient of the pixels is the forward pass with the kernel flipped. Images are cut into tiles
and transformed along both axes. Each of the 6·6 points then is a matrix product over the channels:
36 multiplications where a tile's outputs have 4·4·3·3 = 144 for r = 3. The transforms only add,
whole slabs at once: every m-th row, or column, of all channels and images.

Points come in pairs ±p, which share all even and all odd powers. 0, ±2/3, ±3/2, ∞ round least: the
error is half that of the textbook's 0, ±1, ±2, ∞, and four times that of adding up the formula. A
NaN or an infinity in a pixel reaches all outputs of its tiles.

For many channels, which share the cost of the transforms; 1 to 5 taps along either axis, stride 1,
no dilation.

Sources:
    Lavin, Gray: Fast algorithms for convolutional neural networks (arXiv:1509.09308).
    Barabasz, Anderson, Soodhalter, Gregg: Error analysis and improving the accuracy of Winograd
    convolution for deep neural networks (arXiv:1803.10986).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import prod

import torch
from torch import Tensor

from cnnpipe.functional.windows import accumulation_dtype, empty_images, flipped_kernels
from cnnpipe.geometry import ConvolutionGeometry, Pair

POINTS = (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))
"""And ∞, which comes last. The transforms rely on this order: 0, then pairs p, −p."""

SIZE = len(POINTS) + 1
"""Points, and pixels along one side of a tile of the input."""

BLOCK_BYTES = 8 << 20
"""Tiles of a block of images, transformed: few enough to stay in the cache."""

Matrix = tuple[tuple[Fraction, ...], ...]
"""A row for each point."""


def forward(x: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Aᵀ [(K w) ⊙ (B x)]."""
    y = empty_images(x, len(w), geometry.output_size)
    kernels = _kernels_at_points(w, geometry)  # (36·G, C/G, O/G)
    images = _block(x, y, geometry)
    for x_block, y_block in zip(x.split(images), y.split(images), strict=True):
        _write_outputs(_inputs_at_points(x_block, geometry) @ kernels, y_block, geometry)
    return y


def input_gradient(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """The forward pass over the output gradient, with the kernel flipped and C, O exchanged."""
    return forward(grad, flipped_kernels(w, geometry), geometry.adjoint())


def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Kᵀ [(A g) ⊙ (B x)], added up over all tiles before the one transform back."""
    G, (kH, kW) = geometry.groups, geometry.kernel_size
    channels = x.shape[1] // G, grad.shape[1] // G
    sums = x.new_zeros((SIZE * SIZE * G, *channels), dtype=accumulation_dtype(x.dtype))
    images = _block(x, grad, geometry)
    for x_block, grad_block in zip(x.split(images), grad.split(images), strict=True):
        pixels = _inputs_at_points(x_block, geometry)  # (36·G, tiles, C/G)
        sums.baddbmm_(pixels.mT, _gradients_at_points(grad_block, geometry))
    w = sums.new_empty((kH, kW, G, *channels))
    _interpolate(_lagrange(kH), _lagrange(kW), sums, w)
    return w.permute(2, 4, 3, 0, 1).flatten(0, 1).to(x.dtype)  # (O, C/G, kH, kW)


def unsupported(x: Tensor, geometry: ConvolutionGeometry) -> str | None:  # noqa: ARG001
    """Takes at most five taps, side by side, in neighbouring windows."""
    kH, kW = geometry.kernel_size
    if max(kH, kW) >= SIZE:
        return f"expects kernels of 1 to {SIZE - 1} pixels, got {kH}×{kW}"
    if geometry.stride != (1, 1):
        return f"expects stride 1, got {geometry.stride}"
    if geometry.dilation != (1, 1):
        return f"expects dilation 1, got {geometry.dilation}"
    return None


@cache
def _powers(count: int) -> Matrix:
    """A: a polynomial's values, from its coefficients."""
    finite = [tuple(p**i for i in range(count)) for p in POINTS]
    return (*finite, (*[Fraction(0)] * (count - 1), Fraction(1)))


@cache
def _lagrange(count: int) -> Matrix:
    """K: the values, each divided by the denominator of Lagrange's formula."""
    denominators = [prod(p - q for q in POINTS if q != p) for p in POINTS]
    rows = zip(_powers(count), [*denominators, Fraction(1)], strict=True)
    return tuple(tuple(value / denominator for value in row) for row, denominator in rows)


@cache
def _numerators() -> Matrix:
    """B: the coefficients of the numerators of Lagrange's formula."""
    finite = [(*_from_roots([q for q in POINTS if q != p]), Fraction(0)) for p in POINTS]
    return (*finite, _from_roots(POINTS))


def _from_roots(roots: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """Coefficients of ∏ (z − root), the constant one first."""
    product = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *product]
        product = [a - root * b for a, b in zip(shifted, [*product, Fraction(0)], strict=True)]
    return tuple(product)


def _tile(geometry: ConvolutionGeometry) -> Pair:
    """Outputs along the sides of one tile."""
    kH, kW = geometry.kernel_size
    return SIZE + 1 - kH, SIZE + 1 - kW


def _tiles(geometry: ConvolutionGeometry) -> Pair:
    """Tiles down and across; the last ones may hang over the end."""
    (H_out, W_out), (mH, mW) = geometry.output_size, _tile(geometry)
    return -(-H_out // mH), -(-W_out // mW)


def _block(x: Tensor, y: Tensor, geometry: ConvolutionGeometry) -> int:
    """Images to transform at once."""
    if x.device.type != "cpu":
        return max(1, len(x))
    numbers = SIZE * SIZE * prod(_tiles(geometry)) * (x.shape[1] + y.shape[1])
    total = len(x) * numbers * accumulation_dtype(x.dtype).itemsize
    return max(1, -(-len(x) // max(1, -(-total // BLOCK_BYTES))))


def _inputs_at_points(x: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """B along both axes, of overlapping tiles: (36·G, tiles, C/G)."""
    top, _, left, _ = geometry.padding
    return _tiles_at_points(x, (top, left), _numerators(), _numerators(), geometry)


def _gradients_at_points(grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """A along both axes, of tiles side by side: (36·G, tiles, O/G)."""
    mH, mW = _tile(geometry)
    return _tiles_at_points(grad, (0, 0), _powers(mH), _powers(mW), geometry)


def _kernels_at_points(w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """K along both axes: (36·G, C/G, O/G)."""
    kH, kW = geometry.kernel_size
    w = w.to(accumulation_dtype(w.dtype)).unflatten(0, (geometry.groups, -1))
    taps = w.permute(3, 4, 0, 2, 1).contiguous()  # (kH, kW, G, C/G, O/G)
    rows = _evaluate(_lagrange(kH), taps.unbind(0))  # (6, kW, G, C/G, O/G)
    return _evaluate(_lagrange(kW), rows.unbind(1)).flatten(0, 2)


def _tiles_at_points(
    images: Tensor, before: Pair, down: Matrix, across: Matrix, geometry: ConvolutionGeometry
) -> Tensor:
    """Zeros `before` and after the images, then the transforms: (36·G, tiles, C/G)."""
    (H, W), (top, left) = images.shape[2:], before
    (mH, mW), (rows, columns) = _tile(geometry), _tiles(geometry)
    bottom = (rows - 1) * mH + len(down[0]) - top - H
    right = (columns - 1) * mW + len(across[0]) - left - W
    images = images.to(accumulation_dtype(images.dtype)).unflatten(1, (geometry.groups, -1))
    # Images and channels last: all that stands in one place of a tile is one slab of memory.
    planes = torch.constant_pad_nd(
        images.permute(1, 3, 4, 0, 2), (0, 0, 0, 0, left, right, top, bottom)
    )  # (G, H_padded, W_padded, N, C/G)
    slabs = [planes[:, i : i + rows * mH : mH] for i in range(len(down[0]))]
    planes = _evaluate(down, slabs)  # (6, G, rows, W_padded, N, C/G)
    slabs = [planes[:, :, :, j : j + columns * mW : mW] for j in range(len(across[0]))]
    return _evaluate(across, slabs).flatten(3, 5).flatten(0, 2)  # (6, 6, G, rows, columns, N, C/G)


def _write_outputs(products: Tensor, y: Tensor, geometry: ConvolutionGeometry) -> None:
    """Aᵀ along both axes: (36·G, tiles, O/G) → (N, O, H_out, W_out)."""
    G, (H_out, W_out) = geometry.groups, geometry.output_size
    (mH, mW), (rows, columns) = _tile(geometry), _tiles(geometry)
    planes = products.new_empty((G, rows, mH, columns, mW, len(y), products.shape[-1]))
    _interpolate(_powers(mH), _powers(mW), products, planes.permute(2, 4, 0, 1, 3, 5, 6))
    planes = planes.flatten(3, 4).flatten(1, 2)[:, :H_out, :W_out]  # (G, H_out, W_out, N, O/G)
    y.unflatten(1, (G, -1)).copy_(planes.permute(3, 0, 4, 1, 2))


def _evaluate(matrix: Matrix, slabs: Sequence[Tensor]) -> Tensor:
    """The matrix times the slabs: (6, …)."""
    values = slabs[0].new_empty((SIZE, *slabs[0].shape))
    even, odd = torch.empty_like(values[:2])
    for k in (0, SIZE - 1):
        _sum(matrix[k], slabs, values[k])
    for k in range(1, SIZE - 1, 2):  # the points p and −p
        p = POINTS[k]
        _sum(matrix[k][::2], slabs[::2], even)
        _sum([number / p for number in matrix[k][1::2]], slabs[1::2], odd)
        torch.add(even, odd, alpha=float(p), out=values[k])
        torch.sub(even, odd, alpha=float(p), out=values[k + 1])
    return values


def _interpolate(down: Matrix, across: Matrix, products: Tensor, planes: Tensor) -> None:
    """The transposes of `down` and `across` times (36·G, …), written to planes (mH, mW, G, …)."""
    products = products.view(SIZE, SIZE, *planes.shape[2:])
    rows = products.new_empty((planes.shape[1], SIZE, *planes.shape[2:]))
    _combine(across, products.unbind(0), rows.unbind(0))
    _combine(down, rows.unbind(1), planes.unbind(0))


def _combine(matrix: Matrix, values: Sequence[Tensor], slabs: Sequence[Tensor]) -> None:
    """The transpose of the matrix times six values, written to the slabs."""
    pairs = range(1, SIZE - 1, 2)  # the points p and −p
    sums = [values[k] + values[k + 1] for k in pairs]
    differences = [torch.sub(values[k], values[k + 1], out=values[k + 1]) for k in pairs]
    for i, slab in enumerate(slabs):
        column = [matrix[k][i] for k in (0, *pairs, SIZE - 1)]
        _sum(column, [values[0], *(differences if i % 2 else sums), values[-1]], slab)


def _sum(numbers: Sequence[Fraction], slabs: Sequence[Tensor], out: Tensor) -> None:
    """out = Σ number·slab without the zeros; a slab whose number is 1 needs no product."""
    terms = [(float(number), slab) for number, slab in zip(numbers, slabs, strict=True) if number]
    ones, others = (
        [term for term in terms if (term[0] == 1) is is_one] for is_one in (True, False)
    )
    match ones + others:
        case [(1.0, one), (number, slab), *rest]:
            torch.add(one, slab, alpha=number, out=out)
        case [(number, slab), *rest]:
            torch.mul(slab, number, out=out)
        case rest:
            out.zero_()
    for number, slab in rest:
        out.add_(slab, alpha=number)
