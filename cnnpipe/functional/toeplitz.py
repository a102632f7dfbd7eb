"""Convolution as one product with a Toeplitz matrix: im2col for few channels, with fewer copies.

q windows side by side see one *strip* of s = q + kW − 1 pixels in each of kH image rows. Their
results are the product of the strip and a *band*: q copies of the kernel, each one pixel further
on, and zeros elsewhere. One kernel row of three entries, two windows:

    [y₀ y₁] = [x₀ x₁ x₂ x₃] · [ a b c 0 ]ᵀ
                              [ 0 a b c ]

All strips are one matrix, and its product with the band is the output in memory order: pixel by
pixel, channels last. Against im2col, which is q = 1, a pixel is copied kH·s/q times instead of
kH·kW, and the product has q·O columns instead of O, which matrix multiplication needs to be quick
where O is small. In return a share (q − 1)/s of the multiplications is by zero, and a NaN or an
infinity in a pixel reaches all windows of its strips.

The copy goes by way of *tiles*, images cut into columns s pixels wide: there the rows of a strip
are one piece of memory. If one window covers the image (LeNet-5's C5), the image is the strip.

Axes: N batch, C channels, H height, W width, O output channels, kH kW kernel, T tiles.

Source:
    Gray: Toeplitz and circulant matrices: a review (2006), for the matrix of a convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnpipe.functional.bands import bands_of, sum_of_copies
from cnnpipe.functional.windows import accumulation_dtype, image_blocks
from cnnpipe.geometry import ConvolutionGeometry


def forward(x: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Strips times band."""
    tiling = _Tiling.of(geometry)
    band = _matrix(bands_of(w.to(accumulation_dtype(w.dtype)), tiling.q))  # (kH·s·C, q·O)
    rows = x.new_empty((len(x) * tiling.strips_per_image, band.shape[1]), dtype=band.dtype)
    for images, strips in tiling.blocks(x):
        torch.mm(tiling.strips(x[images]), band, out=rows[strips])
    return tiling.images(rows, len(x)).to(x.dtype)  # (N, O, H_out, W_out)


def input_gradient(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Output gradients times the transposed band: what goes back to each strip's pixels."""
    tiling = _Tiling.of(geometry)
    rows = tiling.rows(grad)  # (N·H_out·T, q·O)
    band = _matrix(bands_of(w.to(rows.dtype), tiling.q)).T  # (q·O, kH·s·C)
    x = grad.new_empty((len(grad), *geometry.input_size, w.shape[1]))
    for images, strips in tiling.blocks(x.permute(0, 3, 1, 2)):
        x[images] = tiling.overlap_add(rows[strips] @ band, len(x[images]))
    return x.permute(0, 3, 1, 2)  # (N, C, H, W)


def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """(Strips)ᵀ times output gradients: the band's gradient, summed over its q kernels."""
    tiling = _Tiling.of(geometry)
    rows = tiling.rows(grad)  # (N·H_out·T, q·O)
    shape = geometry.kernel_size[0], tiling.strip, x.shape[1], tiling.q, grad.shape[1]
    bands = rows.new_zeros(shape)
    for images, strips in tiling.blocks(x):
        _matrix(bands).addmm_(tiling.strips(x[images]).T, rows[strips])
    return sum_of_copies(bands).to(x.dtype)  # (O, C, kH, kW)


def unsupported(x: Tensor, geometry: ConvolutionGeometry) -> str | None:  # noqa: ARG001
    """A strip's pixels, all channels of them, have to be neighbours in memory."""
    if geometry.stride == geometry.dilation == (1, 1) and geometry.groups == 1:
        return None
    return "expects stride 1, dilation 1 and one group"


def _matrix(bands: Tensor) -> Tensor:
    """The bands of all kernel rows as one, a view: (kH, s, C, q, O) → (kH·s·C, q·O)."""
    return bands.flatten(3).flatten(0, 2)


@dataclass(frozen=True)
class _Tiling:
    """How images are cut into tiles and strips."""

    geometry: ConvolutionGeometry
    q: int
    """Windows that share a strip."""

    @classmethod
    def of(cls, geometry: ConvolutionGeometry) -> _Tiling:
        """About kW windows to a strip, which balances copies against products with zeros."""
        kW, width = geometry.kernel_size[1], geometry.output_size[1]
        without_rest = [q for q in range(-(-kW // 2), kW + 1) if width % q == 0]
        return cls(geometry, max(without_rest, default=min(kW, width)))

    @property
    def tiles(self) -> int:
        return -(-self.geometry.output_size[1] // self.q)

    @property
    def strip(self) -> int:
        return self.q + self.geometry.kernel_size[1] - 1

    @property
    def strips_per_image(self) -> int:
        return self.geometry.output_size[0] * self.tiles

    def blocks(self, x: Tensor) -> Iterator[tuple[slice, slice]]:
        """Images whose strips fit into the cache together, and the strips that are theirs."""
        N, C = x.shape[:2]
        length = self.geometry.kernel_size[0] * self.strip * C
        for block in image_blocks(x, self.strips_per_image * length):
            stop = min(block.stop, N)
            yield block, slice(block.start * self.strips_per_image, stop * self.strips_per_image)

    def strips(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N·H_out·T, kH·s·C)."""
        H_out, (kH, _) = self.geometry.output_size[0], self.geometry.kernel_size
        pixels = x.to(accumulation_dtype(x.dtype)).permute(0, 2, 3, 1)  # (N, H, W, C)
        N, *_, C = pixels.shape
        if self._is_whole_image():
            return pixels.flatten(1)
        tiles = pixels.new_zeros(N, self.tiles, H_out + kH - 1, self.strip, C)
        for inside, columns in self._cuts(tiles):
            inside.copy_(pixels[:, :, columns])
        image, tile, row, *_ = tiles.stride()
        strips = tiles.as_strided(
            (N, H_out, self.tiles, kH * self.strip * C), (image, row, tile, 1)
        )
        return strips.reshape(-1, strips.shape[-1])

    def overlap_add(self, strips: Tensor, N: int) -> Tensor:
        """Adjoint of `strips`: (N·H_out·T, kH·s·C) → (N, H, W, C)."""
        (H, W), H_out, (kH, _) = (
            self.geometry.input_size,
            self.geometry.output_size[0],
            self.geometry.kernel_size,
        )
        C = strips.shape[-1] // (kH * self.strip)
        if self._is_whole_image():
            return strips.view(N, H, W, C)
        strips = strips.view(N, H_out, self.tiles, kH, self.strip, C).transpose(1, 2)
        tiles = strips.new_zeros(N, self.tiles, H_out + kH - 1, self.strip, C)
        for i in range(kH):
            tiles[:, :, i : i + H_out] += strips[:, :, :, i]
        pixels = strips.new_zeros(N, H, W, C)
        for inside, columns in self._cuts(tiles):
            pixels[:, :, columns] += inside
        return pixels

    def rows(self, y: Tensor) -> Tensor:
        """(N, O, H_out, W_out) → (N·H_out·T, q·O)."""
        pixels = y.to(accumulation_dtype(y.dtype)).permute(0, 2, 3, 1)  # (N, H_out, W_out, O)
        rest = self.tiles * self.q - pixels.shape[2]
        if rest:
            pixels = torch.constant_pad_nd(pixels, (0, 0, 0, rest))
        return pixels.reshape(-1, self.q * pixels.shape[-1])

    def images(self, rows: Tensor, N: int) -> Tensor:
        """Adjoint of `rows`: (N·H_out·T, q·O) → (N, O, H_out, W_out)."""
        H_out, W_out = self.geometry.output_size
        pixels = rows.view(N, H_out, self.tiles * self.q, rows.shape[1] // self.q)
        pixels = pixels[:, :, :W_out]
        return pixels.permute(0, 3, 1, 2)

    def _is_whole_image(self) -> bool:
        geometry = self.geometry
        return geometry.output_size == (1, 1) and not any(geometry.padding)

    def _cuts(self, tiles: Tensor) -> Iterator[tuple[Tensor, slice]]:
        """Of each tile the part inside of the image, and which of the image's columns that is."""
        top, _, left, _ = self.geometry.padding
        H, W = self.geometry.input_size
        for tile in range(self.tiles):
            start = tile * self.q - left  # image column of the tile's first pixel
            columns = slice(max(start, 0), min(start + self.strip, W))
            if columns.start < columns.stop:
                inside = slice(columns.start - start, columns.stop - start)
                yield tiles[:, tile, top : top + H, inside], columns
