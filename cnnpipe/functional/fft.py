"""Convolution as multiplication: one small linear layer at each frequency.

The discrete Fourier transform turns a circular cross-correlation of n pixels into one product for
each frequency f (the convolution theorem; the bar is the complex conjugate):

    y[p] = Σ_i x[(p + i) mod n] · w[i]    ⇔    Y[f] = X[f] · W̄[f]

So channels are mixed by one matrix product at each frequency, and the gradients follow as those of
any linear layer, for X (N, C), W (O, C), Y and its gradient G (N, O):

    Y = X Wᴴ,  dX = G W,  dW = Gᴴ X

A frequency costs one complex product, whatever the kernel's size, where a pixel costs kH·kW real
ones. As signals are real, half of the frequencies hold the other half's conjugates.

Around the transforms, everything is a question of where numbers stand among n zeros: images behind
their padding, kernel entries a dilation apart, outputs a stride apart. The circle must be so long
that no window sees the image twice: the zeros behind an image are also those before it, so the
wider padding is enough. Circles of small prime factors are transformed fastest.

For large kernels and many channels. Each number carries the rounding of its whole image, and a NaN
or an infinity reaches all of it.

Source:
    Mathieu, Henaff, LeCun: Fast training of convolutional networks through FFTs (arXiv:1312.5851).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from math import prod

import torch
from torch import Tensor

from cnnpipe.functional.windows import accumulation_dtype, empty_images
from cnnpipe.geometry import ConvolutionGeometry, Pair

BLOCK_BYTES = 16 << 20
"""Spectra of a block of images, of inputs and outputs: few enough to stay in the cache."""

Places = tuple[slice, slice]
"""Where the rows and columns of a tensor stand among the zeros around them."""


def forward(x: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """Y = X Wᴴ."""
    y = empty_images(x, len(w), geometry.output_size)
    kernels = _kernel_spectra(w, geometry).conj_physical_().mT  # (F·G, C/G, O/G)
    for x_block, y_block in _blocks(x, y, geometry):
        pixels = _spectra(x_block, _input_places(geometry), geometry)  # (F·G, N, C/G)
        y_block.copy_(_signals(pixels @ kernels, _output_places(geometry), geometry))
    return y


def input_gradient(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """dX = G W."""
    channels = w.shape[1] * geometry.groups
    x = empty_images(grad, channels, geometry.input_size)
    kernels = _kernel_spectra(w, geometry)  # (F·G, O/G, C/G)
    for x_block, grad_block in _blocks(x, grad, geometry):
        grads = _spectra(grad_block, _output_places(geometry), geometry)  # (F·G, N, O/G)
        x_block.copy_(_signals(grads @ kernels, _input_places(geometry), geometry))
    return x


def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """dW = Gᴴ X, added up over all images before the one transform back."""
    G, (H, W) = geometry.groups, _period(geometry)
    sums = x.new_zeros(
        (H * (W // 2 + 1) * G, grad.shape[1] // G, x.shape[1] // G),
        dtype=accumulation_dtype(x.dtype).to_complex(),
    )
    for x_block, grad_block in _blocks(x, grad, geometry):
        pixels = _spectra(x_block, _input_places(geometry), geometry)  # (F·G, N, C/G)
        grads = _spectra(grad_block, _output_places(geometry), geometry)  # (F·G, N, O/G)
        sums.baddbmm_(grads.conj_physical_().mT, pixels)  # `.mH` would copy matrix by matrix
    w = _signals(sums, _kernel_places(geometry), geometry)  # (G, O/G, C/G, kH, kW)
    return w.flatten(0, 1).to(x.dtype)


def unsupported(x: Tensor, geometry: ConvolutionGeometry) -> str | None:  # noqa: ARG001
    """Computes every convolution."""
    return None


def _input_places(geometry: ConvolutionGeometry) -> Places:
    (H, W), (top, _, left, _) = geometry.input_size, geometry.padding
    return slice(top, top + H), slice(left, left + W)


def _output_places(geometry: ConvolutionGeometry) -> Places:
    (H, W), (down, across) = geometry.stretched_size, geometry.stride
    return slice(0, H, down), slice(0, W, across)


def _kernel_places(geometry: ConvolutionGeometry) -> Places:
    (H, W), (down, across) = geometry.extent, geometry.dilation
    return slice(0, H, down), slice(0, W, across)


def _period(geometry: ConvolutionGeometry) -> Pair:
    """Pixels around the circle: what is needed, and then to the next product of 2, 3 and 5."""
    top, bottom, left, right = geometry.padding
    borders = max(top, bottom), max(left, right)
    sizes = zip(geometry.input_size, borders, geometry.extent, geometry.stretched_size, strict=True)
    H, W = (_smooth(max(size + border, *others)) for size, border, *others in sizes)
    return H, W


def _smooth(least: int) -> int:
    """The first number from `least` on whose prime factors are 2, 3 and 5."""
    # n divides 30^k, for k large enough, just if no other prime divides n.
    return next(n for n in count(least) if pow(30, n.bit_length(), n) == 0)


def _blocks(x: Tensor, y: Tensor, geometry: ConvolutionGeometry) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and what belongs to them by groups, (G, N, C/G, H, W), as views."""
    itemsize = accumulation_dtype(x.dtype).itemsize
    image = prod(_period(geometry)) * (x.shape[1] + y.shape[1]) * itemsize
    images = max(1, BLOCK_BYTES // image if x.device.type == "cpu" else len(x))
    x, y = (t.unflatten(1, (geometry.groups, -1)).transpose(0, 1) for t in (x, y))
    for start in range(0, x.shape[1], images):
        yield x[:, start : start + images], y[:, start : start + images]


def _kernel_spectra(w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    kernels = w.unflatten(0, (geometry.groups, -1))  # (G, O/G, C/G, kH, kW)
    return _spectra(kernels, _kernel_places(geometry), geometry)


def _spectra(signals: Tensor, places: Places, geometry: ConvolutionGeometry) -> Tensor:
    """The transforms of signals in their places: (G, A, B, H, W) → (F·G, A, B), F frequencies."""
    circle = signals.new_zeros(
        (*signals.shape[:3], *_period(geometry)), dtype=accumulation_dtype(signals.dtype)
    )
    circle[..., *places] = signals
    spectra: Tensor = torch.fft.rfft2(circle).permute(3, 4, 0, 1, 2)  # (n_H, n_W/2 + 1, G, A, B)
    return spectra.contiguous().flatten(0, 2)  # a frequency's matrix in one piece


def _signals(spectra: Tensor, places: Places, geometry: ConvolutionGeometry) -> Tensor:
    """What stands in the places once transformed back: (F·G, A, B) → (G, A, B, H, W)."""
    H, W = _period(geometry)
    spectra = spectra.view(H, W // 2 + 1, geometry.groups, *spectra.shape[1:])
    circle = torch.fft.irfft2(spectra.permute(2, 3, 4, 0, 1).contiguous(), s=(H, W))
    signals: Tensor = circle[..., *places]
    return signals
