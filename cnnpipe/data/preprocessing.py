"""From stored bytes to a network's input: normalisation, moves, random affine augmentation.

Axes: N batch, C = 1 channel, H height, W width. All work on whole batches on the device that holds
the data set, so that no image is handled one at a time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from cnnpipe.params.train import AugmentParams


@dataclass(frozen=True)
class Normalization:
    """x ↦ (x / 255 − mean) / std: zero mean and unit variance over the training images."""

    mean: float
    std: float

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """Measure the mean and standard deviation of uint8 images, in units of 255.

        The sums are over integers, so the result does not depend on their order.
        """
        counts = torch.bincount(images.flatten(), minlength=256)
        values = torch.arange(256, device=counts.device)
        n, total = images.numel(), int((counts * values).sum())
        squares = int((counts * values.square()).sum())
        variance = (n * squares - total**2) / (255 * n) ** 2
        # An all-black set has no variance; dividing by 1 leaves it at zero.
        return cls(total / (255 * n), math.sqrt(variance) or 1.0)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise stored images.

        Shape: uint8 (N, H, W) → float32 (N, 1, H, W).
        """
        scaled = images.unsqueeze(1).to(torch.float32)  # (N, 1, H, W)
        return scaled.mul_(1 / (255 * self.std)).sub_(self.mean / self.std)

    @property
    def background(self) -> float:
        """The value of a black pixel after normalisation."""
        return -self.mean / self.std


def moved(images: Tensor, rows: int, columns: int, fill: float = 0) -> Tensor:
    """Images moved down and right by whole pixels; what comes in at the edges is `fill`.

    Shape: (…, H, W) → (…, H, W).
    """
    # Negative padding cuts off.
    return pad(images, (columns, -columns, rows, -rows), value=fill)


def augment(
    images: Tensor,
    params: AugmentParams,
    background: float,
    generator: torch.Generator,
) -> Tensor:
    """Map each image by its own random rotation, shear, change of size and shift.

    Shape: (N, 1, H, W) → (N, 1, H, W).

    Args:
        images: normalised images.
        params: half-widths of the uniform distributions of θ, φ (degrees), s − 1 and t/2.
        background: the value outside the image.
        generator: a CPU generator, so that every device sees the same random maps.
    """
    maps = random_affine_maps(len(images), params, generator)
    return images if maps is None else resample(images, maps.to(images.device), background)


def random_affine_maps(
    count: int, params: AugmentParams, generator: torch.Generator
) -> Tensor | None:
    """The matrices (A | t) of `count` maps, as `augment` draws them.

    With θ, φ, s and t for rotation, shear, size and shift, A = R(θ)·Shear(φ)/s.

    Shape: → (N, 2, 3); None where every map is the identity.
    """
    if not any(params.model_dump().values()):
        return None  # resampling by the identity would only cost time
    half_widths = torch.tensor(
        [
            math.radians(params.degrees),
            math.radians(params.shear),
            params.scale,
            2 * params.translate,  # the side of [−1, 1] is 2
            2 * params.translate,
        ]
    )
    uniform = torch.rand(count, 5, generator=generator) * 2 - 1
    angle, shear, scale, shift_x, shift_y = (uniform * half_widths).unbind(1)
    cos, sin = _each(math.cos, angle), _each(math.sin, angle)
    slope = _each(math.tan, shear)
    rows = [cos, cos * slope - sin, sin, sin * slope + cos]  # R(θ) · [[1, tan φ], [0, 1]]
    a, b, c, d = (row / (1 + scale) for row in rows)
    return torch.stack([a, b, shift_x, c, d, shift_y], dim=1).reshape(count, 2, 3)


def resample(images: Tensor, maps: Tensor, background: float) -> Tensor:
    """Map each image by its own affine map, all of them at once.

    An output pixel p is read, bilinearly, at A·p + t of the input, in coordinates where the image
    spans [−1, 1]².

    Shape: (N, 1, H, W), maps (N, 2, 3) → (N, 1, H, W).
    """
    grid = _grid(maps, *images.shape[2:])  # (N, H, W, 2)
    # Outside the image grid_sample reads 0: shift so that 0 is the background.
    shifted = images - background
    return grid_sample(shifted, grid, align_corners=False).add_(background)


def _grid(maps: Tensor, H: int, W: int) -> Tensor:
    """Where each output pixel is read: A·p + t, (N, 2, 3) → (N, H, W, 2).

    `affine_grid` would take a matrix product, which adds up in another order on other processors.
    """
    y, x = (
        (torch.arange(1 - size, size, 2, device=maps.device) / size).to(maps.dtype)
        for size in (H, W)
    )
    along_x = maps[..., :1] * x  # (N, 2, W)
    along_y = maps[..., 1:2] * y + maps[..., 2:]  # (N, 2, H)
    return (along_y.unsqueeze(3) + along_x.unsqueeze(2)).permute(0, 2, 3, 1)


def _each(function: Callable[[float], float], numbers: Tensor) -> Tensor:
    """A function of each number, (N,). torch's own differ in their last bits between processors."""
    return torch.tensor([function(number) for number in numbers.tolist()])
