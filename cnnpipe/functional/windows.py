"""The sliding windows of convolution and pooling: a view of the image, and its adjoint.

Every window reads memory in the same steps, starting at another pixel. So all windows together are
one strided view of the padded image, without a copy:

    windows[…, y, x, i, j] = image[…, y·stride + i·dilation, x·stride + j·dilation]

Convolution takes the inner product of each window with the kernel, pooling the maximum or the sum.
One *tap* windows[…, i, j] holds what the kernel's entry (i, j) meets in all windows. No pixel is in
it twice, so it can also be written to, as a slice, which compilers understand.
"""

from __future__ import annotations

import cmath
from collections.abc import Sequence

import torch
from torch import Tensor

from cnnpipe.geometry import ConvolutionGeometry, Pair, WindowGeometry


def pad(images: Tensor, geometry: WindowGeometry, value: float = 0) -> Tensor:
    """Surround the images with a constant; without padding the same tensor is returned.

    Shape:
        images (…, H, W) → (…, H_padded, W_padded)
    """
    top, bottom, left, right = geometry.padding
    if not any(geometry.padding):
        return images
    sides = [left, right, top, bottom]
    if min(sides) < 0:  # first added, then cut off: more may go than there was
        images = torch.constant_pad_nd(images, [max(side, 0) for side in sides], value)
        sides = [min(side, 0) for side in sides]
    return torch.constant_pad_nd(images, sides, value)


def crop(padded: Tensor, geometry: WindowGeometry) -> Tensor:
    """Adjoint of `pad` with zeros: drop what was added, zeros where something was cut off.

    Shape:
        padded (…, H_padded, W_padded) → (…, H, W)
    """
    top, bottom, left, right = geometry.padding
    if not any(geometry.padding):
        return padded
    return torch.constant_pad_nd(padded, (-left, -right, -top, -bottom))


def sliding_windows(padded: Tensor, geometry: WindowGeometry) -> Tensor:
    """All windows of padded images, as a view.

    Shape:
        padded (…, H_padded, W_padded) → (…, H_out, W_out, kH, kW)
    """
    step_H, step_W = padded.stride()[-2:]
    strides = (
        step_H * geometry.stride[0],
        step_W * geometry.stride[1],
        step_H * geometry.dilation[0],
        step_W * geometry.dilation[1],
    )
    return padded.as_strided(
        (*padded.shape[:-2], *geometry.output_size, *geometry.kernel_size),
        (*padded.stride()[:-2], *strides),
    )


def tap_of(padded: Tensor, geometry: WindowGeometry, i: int, j: int) -> Tensor:
    """What the kernel's entry (i, j) meets in all windows, as a view that can be written to.

    Shape:
        padded (…, H_padded, W_padded) → (…, H_out, W_out)
    """
    (H_out, W_out), (down, across) = geometry.output_size, geometry.stride
    row, column = i * geometry.dilation[0], j * geometry.dilation[1]
    rows = slice(row, row + (H_out - 1) * down + 1, down)
    return padded[..., rows, column : column + (W_out - 1) * across + 1 : across]


def overlap_add(windows: Tensor, geometry: WindowGeometry) -> Tensor:
    """Adjoint of `pad` and `sliding_windows`: each entry is added to the pixel it was read from.

    Shape:
        windows (…, H_out, W_out, kH, kW) → (…, H, W)
    """
    if geometry.kernel_size == geometry.padded_size:  # the only window is the image
        return crop(windows[..., 0, 0, :, :], geometry)
    sums = zeros_like_padded(windows[..., 0, 0], geometry, accumulation_dtype(windows.dtype))
    for i, j in geometry.taps:
        tap_of(sums, geometry, i, j).add_(windows[..., i, j])
    return crop(sums, geometry).to(windows.dtype)


def empty_images(like: Tensor, channels: int, size: Pair) -> Tensor:
    """Images whose channels lie side by side in memory, (N, channels, *size)."""
    return like.new_empty((like.shape[0], *size, channels)).permute(0, 3, 1, 2)


def rows_of(images: Tensor) -> Tensor:
    """(N, C, H, W) → (N, H·W·C)."""
    return images.permute(0, 2, 3, 1).flatten(1)


def flipped_kernels(w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """What the input's gradient multiplies by: (G·O/G, C/G, kH, kW) → (C, O/G, kH, kW)."""
    groups = w.flip(-2, -1).unflatten(0, (geometry.groups, -1))  # (G, O/G, C/G, kH, kW)
    flipped: Tensor = groups.transpose(1, 2).flatten(0, 1)
    return flipped


def empty_in_order_of(
    like: Tensor, shape: Sequence[int], dtype: torch.dtype | None = None
) -> Tensor:
    """An empty tensor whose axes follow each other in memory as those of `like` do."""
    order = sorted(range(like.ndim), key=like.stride, reverse=True)  # outermost axis first
    empty = like.new_empty([shape[axis] for axis in order], dtype=dtype or like.dtype)
    return empty.permute([order.index(axis) for axis in range(like.ndim)])


def in_order_of(like: Tensor, tensor: Tensor) -> Tensor:
    """The tensor, copied if its axes do not follow each other as those of `like` do."""
    ordered = empty_in_order_of(like, tensor.shape, tensor.dtype)
    return tensor if tensor.stride() == ordered.stride() else ordered.copy_(tensor)


def empty_outputs(
    images: Tensor, geometry: WindowGeometry, dtype: torch.dtype | None = None
) -> Tensor:
    """A number for each window: images (…, H, W) → (…, H_out, W_out)."""
    return empty_in_order_of(images, (*images.shape[:-2], *geometry.output_size), dtype)


def zeros_like_padded(planes: Tensor, geometry: WindowGeometry, dtype: torch.dtype) -> Tensor:
    """Zeros of the padded input's size: planes (…, any, any) → (…, H_padded, W_padded)."""
    return empty_in_order_of(planes, (*planes.shape[:-2], *geometry.padded_size), dtype).zero_()


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype to add many numbers in: 16 bits would round after every addition."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def is_finite(numbers: Tensor) -> bool:
    """Whether all numbers are, in one pass; False as well if their sum overflows."""
    dtype, count = accumulation_dtype(numbers.dtype), -(-numbers.numel() // FEW)
    # To wake a thread takes longer than to begin a second or third sum.
    parts = numbers.chunk(count) if 1 < count <= 3 else [numbers]
    return all(cmath.isfinite(part.sum(dtype=dtype).item()) for part in parts)


FEW = 30_000
"""Numbers that torch adds up with one thread."""
