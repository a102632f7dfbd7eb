"""The data set that needs no network: the 1,797 handwritten digits inside scikit-learn.

Each is 8×8 with values 0..16: how many pixels of ink lie in each 4×4 block of a 32×32 scan. They
are converted to MNIST's layout, a 20×20 box in the middle of 28×28, in exact integer arithmetic,
so that every machine makes the same bytes.

Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning
    Repository; scikit-learn's `load_digits` holds its test part.
"""

import numpy as np
from numpy.typing import NDArray

from cnnpipe.data import idx
from cnnpipe.data.sources import FILE_NAMES

BOX = 20
"""Side of the box the digits are enlarged to, pixels."""
SCAN_SIDE = 8
SCAN_MAXIMUM = 16
TEST_EVERY = 5
"""Every fifth digit of each class is a test digit."""


def digits_files() -> dict[str, bytes]:
    """The four idx files of the data set, by name."""
    # Here, because scikit-learn takes longer to import than MNIST's files take to check.
    from sklearn.datasets import load_digits

    scans = load_digits()
    images = enlarge(scans.images.astype(np.int64))  # (N, 28, 28)
    labels = scans.target.astype(np.uint8)  # (N,)
    test = is_test_digit(labels)
    arrays = (images[~test], labels[~test], images[test], labels[test])
    return dict(zip(FILE_NAMES, map(idx.encode_idx, arrays), strict=True))


def enlarge(scans: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Bilinear interpolation from 8×8 to 20×20, values 0..16 to 0..255, and a border of 4 pixels.

    Shape:
        scans (N, 8, 8); returns (N, 28, 28)
    """
    weights, unit = interpolation_weights(SCAN_SIDE, BOX)  # (20, 8)
    boxed = weights @ scans @ weights.T  # (N, 20, 20), in units of 1/unit²
    full = SCAN_MAXIMUM * unit**2
    values = (boxed * 255 + full // 2) // full
    border = (idx.IMAGE_SIDE - BOX) // 2
    return np.pad(values, ((0, 0), (border, border), (border, border))).astype(np.uint8)


def interpolation_weights(size: int, new_size: int) -> tuple[NDArray[np.int64], int]:
    """The matrix that resamples `size` values at `new_size` places, as integers over a unit.

    Place i of the new grid lies at (i + ½)·size/new_size − ½ of the old one; it takes from its two
    neighbours there in proportion to their nearness. Outside the old grid there is no ink.

    Shape:
        returns (new_size, size)
    """
    unit = 2 * new_size
    place = (2 * np.arange(new_size) + 1) * size - new_size  # in units of 1/unit
    distance = np.abs(place[:, None] - unit * np.arange(size)[None, :])  # (new_size, size)
    return np.maximum(unit - distance, 0), unit


def is_test_digit(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """True for every fifth image of each class, in the order they stand.

    The digits stand writer by writer, so both parts hold every writer's hand.

    Shape:
        labels (N,); returns (N,)
    """
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        mask[np.flatnonzero(labels == label)[TEST_EVERY - 1 :: TEST_EVERY]] = True
    return mask
