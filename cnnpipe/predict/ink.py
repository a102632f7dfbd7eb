"""What of a picture is ink: light and paper are estimated, and taken away.

Nothing asks whether the ink is darker or lighter than the paper, or which colour it has: the colour
that differs most from the paper around it is the ink's.

    D = picture − paper        paper: a quadratic function of the place, and a median of the rest
    d = median of the longest D
    ink = D·d / |d|²           0 is paper, 1 is full ink

Axes: H height, W width, 3 red, green and blue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter, median_filter
from skimage.filters import apply_hysteresis_threshold
from skimage.transform import resize

from cnnpipe.system.errors import InputError

Array = NDArray[np.float64]

GRID = 64
"""Pixels of the longer side when the paper is estimated: light changes slowly."""
WINDOW = 0.6
"""Side of the median's window, fraction of the picture's shorter side: no stroke covers half."""
STRONGEST = 0.0005
"""Share of the pixels from which the ink's colour is taken; a tiny digit has no more."""
FAINTEST = 0.04
"""Difference from the paper, of full range, below which nothing is ink."""
LIKE, NEAR = 0.5, 0.3
"""Each pixel of a stroke has at least the second, and one of them the first."""
WHITE, BLACK = 0.2, 0.7
"""A pixel of a stroke counts as paper up to the first, and as full ink from the second."""


def find_ink(picture: Array) -> Array:
    """How much ink there is in each pixel, 0 to 1; paper is exactly 0.

    Shape: (H, W, 3) → (H, W).

    Raises:
        InputError: the picture is empty: nothing differs from the paper more than noise does.
    """
    blur = max(picture.shape) / 500
    soft = gaussian_filter(picture, (blur, blur, 0))
    difference = soft - paper(soft)
    length = np.linalg.norm(difference, axis=2)
    count = min(length.size, max(12, round(STRONGEST * length.size)))
    strongest = length >= np.partition(length.ravel(), -count)[-count]
    colour = np.median(difference[strongest], axis=0)
    typical = float(np.linalg.norm(colour))
    # The strongest differences of noise point in all directions, so that their median is short.
    scattered = typical < 0.5 * np.median(length[strongest])
    if typical < FAINTEST or scattered or typical < 3 * np.median(length):
        raise InputError("empty: nothing differs from the paper more than noise does")
    projected = difference @ colour / typical**2  # (H, W)
    stroke = apply_hysteresis_threshold(projected, NEAR, LIKE)  # type: ignore[no-untyped-call]
    with_edge = maximum_filter(stroke, 3)
    return np.where(with_edge, ((projected - WHITE) / (BLACK - WHITE)).clip(0, 1), 0)


def paper(picture: Array) -> Array:
    """The paper's colour at each pixel, as if nothing had been written on it.

    Shape: (H, W, 3) → (H, W, 3).
    """
    H, W = picture.shape[:2]
    sides = [max(1, round(GRID * side / max(H, W))) for side in (H, W)]
    small = resize(picture, sides, anti_aliasing=True)  # type: ignore[no-untyped-call]
    light = _slope(small)
    window = round(WINDOW * min(sides)) | 1
    flat = [median_filter((small - light)[..., c], window, mode="reflect") for c in range(3)]
    return np.asarray(resize(light + np.dstack(flat), picture.shape))  # type: ignore[no-untyped-call]


def _slope(picture: Array) -> Array:
    """The quadratic function of the place that fits a picture best: what a median would cut off.

    Shape: (H, W, 3) → (H, W, 3).
    """
    H, W = picture.shape[:2]
    y, x = np.mgrid[-1 : 1 : H * 1j, -1 : 1 : W * 1j].reshape(2, -1)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)  # (H·W, 6)
    factors = np.linalg.lstsq(terms, picture.reshape(-1, 3), rcond=None)[0]  # (6, 3)
    return np.asarray((terms @ factors).reshape(picture.shape))
