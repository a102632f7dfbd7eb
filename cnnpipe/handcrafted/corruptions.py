"""Seven ways in which a digit can look different and stay the same digit, each in graded severity.

Axes: N images, H height, W width. A corruption maps stored images, uint8 (N, H, W), to stored
images, so that every method is given the same bytes. Its random choices are one per image, from the
generator it is given: the same seed makes the same images.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter

from cnnpipe.data.preprocessing import moved

Images = NDArray[np.uint8]
BOX = 20
"""Side of the middle square in which MNIST's digits lie, pixels."""


def shift(images: Images, pixels: float, generator: Generator) -> Images:
    """Move each image by `pixels` up, down, left or right; what leaves is lost, 0 comes in.

    Severity: the distance in whole pixels. A digit has 4 pixels of margin or more.
    """
    shifted = np.empty_like(images)
    drawn = generator.integers(4, size=len(images))
    for direction, (down, right) in enumerate([(-1, 0), (1, 0), (0, -1), (0, 1)]):
        chosen = drawn == direction
        rows, columns = down * int(pixels), right * int(pixels)
        shifted[chosen] = moved(torch.from_numpy(images[chosen]), rows, columns).numpy()
    return shifted


def rotation(images: Images, degrees: float, generator: Generator) -> Images:
    """Turn each image about its centre by +`degrees` or −`degrees`, bilinearly.

    Severity: the angle in degrees.
    """
    angles = math.radians(degrees) * generator.choice([-1, 1], size=len(images))
    return _resampled(
        images,
        [np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]) for a in angles],
    )


def scale(images: Images, change: float, generator: Generator) -> Images:
    """Enlarge each image by 1 + `change`, or shrink it by the same factor, about its centre.

    Severity: the factor less 1. From 1.4 on an enlarged digit can lose its edges.
    """
    factors = (1 + change) ** generator.choice([-1.0, 1.0], size=len(images))
    return _resampled(images, [np.eye(2) / factor for factor in factors])


def noise(images: Images, sigma: float, generator: Generator) -> Images:
    """Add Gaussian noise to each pixel, independently, and clip to what can be stored.

    Severity: the noise's standard deviation, as a fraction of the range from background to ink.
    """
    return _stored(images + generator.normal(0, 255 * sigma, images.shape))


def blur(images: Images, sigma: float, generator: Generator) -> Images:  # noqa: ARG001
    """Convolve each image with a Gaussian.

    Severity: its standard deviation in pixels; a stroke is about 3 pixels wide.
    """
    return _stored(gaussian_filter(images.astype(np.float64), (0, sigma, sigma), mode="constant"))


def inversion(images: Images, share: float, generator: Generator) -> Images:  # noqa: ARG001
    """Mix each image with its negative: x ↦ (1 − share)·x + share·(255 − x).

    Severity: the negative's share. The contrast is multiplied by 1 − 2·share: 0.25 halves it, at
    0.5 nothing is left, beyond that ink is darker than the background, and 1 is the negative.
    """
    x = images.astype(np.float64)
    return _stored((1 - share) * x + share * (255 - x))


def occlusion(images: Images, side: float, generator: Generator) -> Images:
    """Set a square at a random place to 0, the value of the background.

    Severity: the square's side in pixels. It lies within the middle 20×20 pixels, where the digit
    is, so a side of 10 hides a quarter of that.
    """
    s = int(side)
    margins = (np.array(images.shape[1:]) - BOX) // 2
    corners = margins + generator.integers(0, BOX - s + 1, size=(len(images), 2))
    covered = images.copy()
    for image, (top, left) in zip(covered, corners, strict=True):
        image[top : top + s, left : left + s] = 0
    return covered


@dataclass(frozen=True)
class Corruption:
    """One way to corrupt images, and how strongly."""

    name: str
    apply: Callable[[Images, float, Generator], Images]
    severities: tuple[float, ...]
    """Rising; severity 0 is the clean image."""
    unit: str
    """What a severity counts, as the label of an axis."""


CORRUPTIONS = (
    Corruption("shift", shift, (1, 2, 4, 6), "pixels"),
    Corruption("rotation", rotation, (10, 20, 30, 45), "degrees"),
    Corruption("scale", scale, (0.1, 0.2, 0.35, 0.5), "factor − 1"),
    Corruption("noise", noise, (0.1, 0.2, 0.4, 0.6), "σ / range"),
    Corruption("blur", blur, (0.5, 1, 1.5, 2), "σ, pixels"),
    Corruption("inversion", inversion, (0.25, 0.4, 0.7, 1), "share of the negative"),
    Corruption("occlusion", occlusion, (4, 6, 8, 10), "side, pixels"),
)


def corrupted(images: Images, corruption: Corruption, seed: int) -> Images:
    """One corruption at every severity.

    All severities draw from the same start: an image is moved or turned in the same direction, as
    far as the severity says.

    Shape: (N, H, W) → (severities, N, H, W).
    """
    start = (seed, CORRUPTIONS.index(corruption))
    return np.stack(
        [
            corruption.apply(images, severity, np.random.default_rng(start))
            for severity in corruption.severities
        ]
    )


def _resampled(images: Images, maps: list[NDArray[np.float64]]) -> Images:
    """Read each output pixel p at A·(p − c) + c of its image, c the centre; outside is 0."""
    centre = (np.array(images.shape[1:]) - 1) / 2
    return _stored(
        np.stack(
            [
                affine_transform(image, A, centre - A @ centre, output=np.float64, order=1)
                for image, A in zip(images, maps, strict=True)
            ]
        )
    )


def _stored(values: NDArray[np.float64]) -> Images:
    return np.rint(values).clip(0, 255).astype(np.uint8)
