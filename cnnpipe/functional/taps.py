"""Convolution without columns: products of kernel rows with the image itself, added up in place.

Write a block of images into one matrix of pixels X (pixels, C): image row by image row, in each the
rows of all images one after the other, with just enough zeros between them that a window which
leaves a row meets zeros. Then what kernel entry, or *tap*, (i, j) meets in **all** windows is one
piece of X, and nothing has to be gathered:

    Y[m] = Σ_{i,j} X[m + i·row + j] · W[i,j],  W[i,j] (C, O), row: pixels to the next image row

Windows at the zeros are computed too; a view drops them. The taps of one kernel row meet a strip of
neighbouring pixels, which makes them one product; and q neighbouring windows share one strip of
q + kW − 1 pixels, which makes them one product with a *band* of q shifted copies of the kernel row:

    [ a b c 0 ]ᵀ
    [ 0 a b c ]    for kW = 3, q = 2

Strips of one product must not overlap, so it takes every s-th strip, s ≥ (q + kW − 1) / q, and s
products that start q pixels apart reach all windows.

The gradient of the input is such a sum with the kernel flipped. The gradient of a band is the
product (strips)ᵀ · (output gradients, zero at the dropped windows), and a kernel row's gradient the
sum of its q copies'. As the zeros of a band are multiplied as well, a NaN or an infinity in a pixel
reaches all q windows of its strips, which are windows of one image; q is 1 from 16 output and 4
input channels on.

For stride 1 and more than a few channels. Where there are few, a strip is short and the products
narrow: `toeplitz` copies more and multiplies better.

Sources:
    Anderson, Vasudevan, Keane, Gregg: Low-memory GEMM-based convolution algorithms for deep neural
    networks (arXiv:1709.03395), for products accumulated over shifted pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from cnnpipe.functional.bands import bands_of, sum_of_copies
from cnnpipe.functional.windows import accumulation_dtype
from cnnpipe.geometry import ConvolutionGeometry

BLOCK_BYTES = 4 << 20
"""Pixels and sums of a block of images: few enough to stay in the cache through all products."""

PRODUCT_WIDTH = 16
"""Columns under which a CPU's matrix product leaves vector units empty: 8 took 5× the time."""

STRIP_CHANNELS = 4
"""Input channels below which one window's strip is too short for a product."""


def forward(x: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Strips times bands, accumulated over the kernel rows."""
    y = x.new_empty((len(x), *geometry.output_size, len(w))).permute(0, 3, 1, 2)
    lattice = _Lattice.for_images(x, y, geometry)
    pixels, sums = lattice.input_matrix(x), lattice.output_matrix(y)
    bands = _matrices(bands_of(w.to(sums.dtype), lattice.q))  # (kH, strip·C, q·O)
    products = [
        (windows, strips, bands[i], min(i, 1))  # the first kernel row overwrites the last block
        for i, strips, windows in lattice.products(pixels, sums)
    ]
    inputs, outputs = lattice.input_planes(pixels), lattice.output_planes(sums)
    for x_block, y_block in lattice.blocks(x, y):
        _fill(inputs, x_block)
        for windows, strips, band, keep in products:
            windows.addmm_(strips, band, beta=keep)
        y_block.copy_(outputs[: len(y_block)])
    return y


def input_gradient(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """The forward pass over the output gradient, with the kernel flipped and C, O exchanged."""
    return forward(grad, w.flip(-2, -1).transpose(0, 1), geometry.adjoint())


def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """(Strips)ᵀ times output gradients, accumulated over the blocks of images."""
    lattice = _Lattice.for_images(x, grad, geometry)
    pixels, grads = lattice.input_matrix(x), lattice.output_matrix(grad)
    shape = geometry.kernel_size[0], lattice.strip, x.shape[1], lattice.q, grad.shape[1]
    bands = pixels.new_zeros(shape)
    products = [
        (_matrices(bands)[i], strips.T, windows)
        for i, strips, windows in lattice.products(pixels, grads)
    ]
    inputs, outputs = lattice.input_planes(pixels), lattice.output_planes(grads)
    for x_block, grad_block in lattice.blocks(x, grad):
        _fill(inputs, x_block)
        _fill(outputs, grad_block)
        for band, strips, windows in products:
            band.addmm_(strips, windows)
    return sum_of_copies(bands).to(x.dtype)  # (O, C, kH, kW)


def unsupported(x: Tensor, geometry: ConvolutionGeometry) -> str | None:  # noqa: ARG001
    """A strip's pixels, all channels of them, have to be neighbours in memory."""
    if not geometry.stride == geometry.dilation == (1, 1) or geometry.groups != 1:
        return "expects stride 1, dilation 1 and one group"
    if min(geometry.adjoint().padding) < 0:
        return "expects less padding than the kernel has pixels"
    return None


def multiplies_zeros(x: Tensor, y: Tensor) -> bool:
    """Whether a convolution from x to y has bands of several kernels, with zeros between them."""
    return _neighbours(x, y) > 1


def _neighbours(x: Tensor, y: Tensor) -> int:
    return max(-(-PRODUCT_WIDTH // y.shape[1]), -(-STRIP_CHANNELS // x.shape[1]))


@dataclass(frozen=True)
class _Lattice:
    """A block of images as one matrix of pixels, and all windows over it as another.

    Pixel (n, y, x) lies in row (y·images + n)·pitch + x, and so does the window that starts there.
    """

    geometry: ConvolutionGeometry
    images: int
    """Images in a block."""
    q: int
    """Neighbouring windows that one row of a product computes."""

    @classmethod
    def for_images(cls, x: Tensor, y: Tensor, geometry: ConvolutionGeometry) -> _Lattice:
        """The block size and q that suit a convolution from x to y (or its derivative)."""
        C_in, C_out = x.shape[1], y.shape[1]
        q = _neighbours(x, y)
        whole = cls(geometry, max(1, len(x)), q)
        if x.device.type != "cpu":
            return whole
        numbers = geometry.padded_size[0] * C_in + geometry.output_size[0] * C_out
        total = whole.row * numbers * accumulation_dtype(x.dtype).itemsize
        blocks = min(whole.images, -(-total // BLOCK_BYTES))
        return cls(geometry, -(-whole.images // blocks), q)

    @property
    def pitch(self) -> int:
        """Pixels from a row of one image to that of the next, in whole q.

        The zeros after one row are those before the next, so the wider side is enough. No strip
        with a window that counts reaches the pixels of the next image: its NaN stays its own.
        """
        left, windows = (
            self.geometry.padding[2],
            -(-self.geometry.output_size[1] // self.q) * self.q,
        )
        before_next = windows + self.geometry.kernel_size[1] - 1 - left
        pixels = max(self.geometry.input_size[1] + left, before_next, windows)
        return -(-pixels // self.q) * self.q

    @property
    def row(self) -> int:
        """Pixels from one image row to the next."""
        return self.images * self.pitch

    @property
    def strip(self) -> int:
        """Pixels that q neighbouring windows meet in one kernel row."""
        return self.q + self.geometry.kernel_size[1] - 1

    @property
    def starts(self) -> int:
        """Products whose strips, q pixels apart, reach all windows."""
        return -(-self.strip // self.q)

    @property
    def count(self) -> int:
        """Strips of one product."""
        return -(-self.geometry.output_size[0] * self.row // (self.starts * self.q))

    def input_matrix(self, x: Tensor) -> Tensor:
        """Zeros for the pixels of a block and the padding around them, (pixels, C)."""
        kH, kW = self.geometry.kernel_size
        left = self.geometry.padding[2]
        pixels = self.count * self.starts * self.q + (kH - 1) * self.row + max(kW - 1, left)
        return x.new_zeros((pixels, x.shape[1]), dtype=accumulation_dtype(x.dtype))

    def output_matrix(self, y: Tensor) -> Tensor:
        """Zeros for all windows of a block, (windows, O)."""
        windows = self.count * self.starts * self.q
        return y.new_zeros((windows, y.shape[1]), dtype=accumulation_dtype(y.dtype))

    def input_planes(self, pixels: Tensor) -> Tensor:
        """Where in the matrix the images go, as a view (images, C, H, W)."""
        top, _, left, _ = self.geometry.padding
        H, W = self.geometry.input_size
        return self._planes(pixels[top * self.row + left :], H)[..., :W]

    def output_planes(self, windows: Tensor) -> Tensor:
        """The windows that lie inside of the images, as a view (images, O, H_out, W_out)."""
        H_out, W_out = self.geometry.output_size
        return self._planes(windows, H_out)[..., :W_out]

    def _planes(self, matrix: Tensor, height: int) -> Tensor:
        rows = matrix[: height * self.row].view(height, self.images, self.pitch, -1)
        return rows.permute(1, 3, 0, 2)

    def products(self, pixels: Tensor, windows: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(kernel row i, strips (count, strip·C), their windows (count, q·O)), all as views."""
        C_in, C_out = pixels.shape[1], windows.shape[1]
        step = self.starts * self.q
        rows = windows.view(self.count, self.starts, self.q * C_out)
        for i in range(self.geometry.kernel_size[0]):
            for start in range(self.starts):
                first = i * self.row + start * self.q
                strips = pixels.as_strided(
                    (self.count, self.strip * C_in), (step * C_in, 1), first * C_in
                )
                yield i, strips, rows[:, start]

    def blocks(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The images and what belongs to them, block by block; the last may be smaller."""
        return zip(x.split(self.images), y.split(self.images), strict=True)


def _matrices(bands: Tensor) -> Tensor:
    """A matrix for each kernel row, as a view: (kH, strip, C, q, O) → (kH, strip·C, q·O)."""
    return bands.flatten(3).flatten(1, 2)


def _fill(planes: Tensor, images: Tensor) -> None:
    planes[: len(images)] = images
    planes[len(images) :] = 0
