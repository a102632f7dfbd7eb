"""The idx file format: a magic number, one big-endian size per axis, then the values.

    magic (4 bytes) = 0, 0, type of the values (8 is an unsigned byte), number of axes
    sizes (4 bytes each), values in C order

Axes: N images, H height, W width.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".
"""

import math
import struct

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTE = 8

GZIP = b"\x1f\x8b"
"""How a gzip file begins, as which idx files are published."""

IMAGE_SIDE = 28
"""Height and width of every image of every data set here, pixels."""


def parse_images(content: bytes) -> NDArray[np.uint8]:
    """The images of an idx file, as a read-only view of `content`.

    Shape:
        returns (N, 28, 28)

    Raises:
        ValueError: wrong magic number, wrong image size, no images, or a wrong length.
    """
    images = _parse(content, axes=3)  # (N, H, W)
    if images.shape[1:] != (IMAGE_SIDE, IMAGE_SIDE):
        height, width = images.shape[1:]
        raise ValueError(f"images of {height}×{width}; expected {IMAGE_SIDE}×{IMAGE_SIDE}")
    return images


def parse_labels(content: bytes, classes: int) -> NDArray[np.uint8]:
    """The labels of an idx file, as a read-only view of `content`.

    Shape:
        returns (N,)

    Raises:
        ValueError: wrong magic number, no labels, a wrong length, or a label not below `classes`.
    """
    labels = _parse(content, axes=1)  # (N,)
    if labels.max() >= classes:
        position = int(np.argmax(labels >= classes))
        raise ValueError(
            f"label {labels[position]} at index {position}; expected 0 to {classes - 1}"
        )
    return labels


def _parse(content: bytes, axes: int) -> NDArray[np.uint8]:
    header = 4 + 4 * axes
    magic = bytes([0, 0, UNSIGNED_BYTE, axes])
    if content[:4] != magic:
        raise ValueError(f"starts with {content[:4].hex(' ')}; expected {magic.hex(' ')}")
    if len(content) < header:
        raise ValueError(f"ends after {len(content)} bytes, inside its {header}-byte header")
    shape = struct.unpack_from(f">{axes}I", content, offset=4)
    values = math.prod(shape)
    if values == 0:
        raise ValueError(f"holds nothing: its sizes are {shape}")
    if len(content) != header + values:
        raise ValueError(f"{len(content)} bytes; its sizes {shape} make {header + values}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def encode_idx(values: NDArray[np.uint8]) -> bytes:
    """An array of any shape as the bytes of an idx file."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, UNSIGNED_BYTE, values.ndim, *values.shape)
    return header + values.tobytes()
