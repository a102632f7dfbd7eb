"""From ink to images as MNIST has them: cut apart, stroke widened if it is thin, fitted to 28×28.

`fitted` is MNIST's own preprocessing, and the same as the page's (cnnpipe/report/scripts/digit.js):
crop to the ink, scale to a 20×20 box keeping the shape, put the centre of mass into the middle of
28×28. Source: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11), 1998, section III.A.

Axes: H height, W width of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects, label
from skimage.morphology import skeletonize

from cnnpipe.data.idx import IMAGE_SIDE as SIDE
from cnnpipe.system.errors import InputError

Array = NDArray[np.float64]

BOX = 20
"""Pixels of the longer side of a digit in an image."""
FAINT = 0.1
"""Of full ink; less is a stroke's soft edge."""
THINNEST = 1.8
"""Pixels of the image: width that a thinner stroke gets. A pen is thin beside a tall digit."""
SPECK = 0.12
"""Of the largest piece's longer side; what is smaller is dirt."""
MOST = 40
"""Pieces of ink in a picture of a few digits; a page of text has more."""
WIDEST = 1.4
"""Width of a digit, in units of its height."""


class Box(NamedTuple):
    """A rectangle of the picture, in pixels, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def longest(self) -> int:
        return max(self.height, self.width)

    def __or__(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


@dataclass(frozen=True)
class Frame:
    """Where an image's pixels lie on the picture: its corner, and the side of one of its pixels."""

    left: float
    top: float
    pixel: float


@dataclass(frozen=True)
class Digit:
    """One digit of a picture."""

    box: Box
    """Of its ink."""
    image: NDArray[np.uint8]
    """(28, 28), white on black."""
    frame: Frame


class _Piece(NamedTuple):
    """Ink that belongs together."""

    labels: frozenset[int]
    """Of its connected parts."""
    box: Box


def ready_digit(picture: Array) -> Digit | None:
    """A picture that is an image of MNIST's form already, or its negative; None of any other.

    It is grey, has 28×28 pixels, the ink's longer side is 19 to 21 of them, and its centre of mass
    is at most one from the middle. That holds for all of MNIST's training images, and for what
    `fitted` gives.

    Shape: (28, 28, 3), 0 to 1; other sizes are none.
    """
    if picture.shape[:2] != (SIDE, SIDE) or np.ptp(picture, axis=2).any():
        return None
    stored = np.rint(255 * picture[..., 0]).astype(np.uint8)
    for image in (stored, 255 - stored):
        if not image.any():
            continue
        rows, columns = np.nonzero(image)
        box = Box(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        centre = np.average([rows, columns], axis=1, weights=image[rows, columns]) + 0.5
        if abs(box.longest - BOX) <= 1 and np.abs(centre - SIDE / 2).max() <= 1:
            return Digit(box, image, Frame(0, 0, 1))
    return None


def cut_digits(ink: Array) -> list[Digit]:
    """The digits of a picture in reading order: line by line, each from the left.

    Shape: ink (H, W), 0 is paper.

    Raises:
        InputError: it cannot be decided which pieces of ink are a digit.
    """
    labels, _ = label(ink >= FAINT, structure=np.ones((3, 3)))
    boxes = [
        Box(rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in find_objects(labels)
    ]
    pieces = [_Piece(frozenset({k}), box) for k, box in enumerate(boxes, start=1)]
    pieces = [piece for piece in pieces if not _crosses(piece.box, ink.shape)] or pieces
    largest = max(piece.box.longest for piece in pieces)
    pieces = [piece for piece in pieces if piece.box.longest >= SPECK * largest]
    if len(pieces) > MOST:
        raise InputError(f"{len(pieces)} pieces of ink: no picture of a few digits")
    digits = []
    for piece in _in_reading_order(_joined(pieces, ink.shape)):
        if piece.box.width > WIDEST * piece.box.height:
            where = _place(piece.box, ink.shape)
            raise InputError(f"the ink {where} is wider than a digit: several that touch, or none")
        digits.append(_digit(ink, labels, piece))
    return digits


def _digit(ink: Array, labels: NDArray[np.integer[Any]], piece: _Piece) -> Digit:
    box = piece.box
    part = slice(box.top, box.bottom), slice(box.left, box.right)
    own = np.where(np.isin(labels[part], list(piece.labels)), ink[part], 0)
    width = THINNEST * box.longest / BOX
    margin = ceil(width)
    image, frame = fitted(widened(np.pad(own, margin), width))
    left, top = frame.left + box.left - margin, frame.top + box.top - margin
    return Digit(box, image, Frame(left, top, frame.pixel))


def _crosses(box: Box, shape: tuple[int, ...]) -> bool:
    """Whether it reaches from one edge to the other, as rules do, and the edge of the paper."""
    return (box.top, box.bottom) == (0, shape[0]) or (box.left, box.right) == (0, shape[1])


def _joined(pieces: list[_Piece], shape: tuple[int, ...]) -> list[_Piece]:
    """Digits: pieces that belong together are put together, those that are closest first."""
    pieces = list(pieces)
    while True:
        pairs = sorted(combinations(pieces, 2), key=lambda pair: _distance(*pair))
        one = next((pair for pair in pairs if _is_one_digit(*pair)), None)
        if one is None:
            break
        first, second = one
        pieces = [piece for piece in pieces if piece not in one]
        pieces.append(_Piece(first.labels | second.labels, first.box | second.box))
    for first, second in pairs:
        if _is_one_digit(first, second) is None:
            where = _place(first.box | second.box, shape)
            raise InputError(
                f"the two pieces of ink {where} may be one digit or two: write them further apart, "
                "or connect the strokes"
            )
    return pieces


def _place(box: Box, shape: tuple[int, ...]) -> str:
    """Where the middle of a box is, for a person who has the picture in another size."""
    right, down = (box.left + box.right) / 2 / shape[1], (box.top + box.bottom) / 2 / shape[0]
    return f"{right:.0%} from the left and {down:.0%} from the top".replace("%", " %")


def _gaps(a: Box, b: Box) -> tuple[int, int]:
    """Pixels between two boxes, across and down; negative is how far they overlap."""
    return (
        max(a.left, b.left) - min(a.right, b.right),
        max(a.top, b.top) - min(a.bottom, b.bottom),
    )


def _distance(a: _Piece, b: _Piece) -> float:
    across, down = _gaps(a.box, b.box)
    return float(np.hypot(max(0, across), max(0, down)))


def _is_one_digit(first: _Piece, second: _Piece) -> bool | None:
    """Whether two pieces of ink are parts of one digit; None if it cannot be told.

    A piece of less than half the other's size is a part of it if it is near. Pieces of like size
    are one digit if one stands closely above the other, or if they share most of their columns;
    side by side, each as tall as both together, they are two.
    """
    a, b = first.box, second.box
    size, smaller = max(a.longest, b.longest), min(a.longest, b.longest)
    across, down = _gaps(a, b)
    if smaller < 0.5 * size:
        return max(across, down) < 0.2 * size
    shared = -across / min(a.width, b.width)
    if down > -0.25 * min(a.height, b.height):  # one above the other
        if shared < 0.3 or down > 0.2 * size:
            return False
        return True if down < 0.12 * size else None
    if shared > 0.5:
        return True
    tall = min(a.height, b.height) > 0.8 * (a | b).height
    return False if tall or across > 0.05 * size else None


def _in_reading_order(pieces: list[_Piece]) -> list[_Piece]:
    """Line by line; what has its middle above the end of a line’s digits is on it."""
    lines: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.box.top + piece.box.bottom):
        middle = (piece.box.top + piece.box.bottom) / 2
        if lines and middle < min(other.box.bottom for other in lines[-1]):
            lines[-1].append(piece)
        else:
            lines.append([piece])
    return [piece for line in lines for piece in sorted(line, key=lambda piece: piece.box.left)]


def widened(ink: Array, width: float) -> Array:
    """A thin stroke as a pen of `width` draws it, with a soft edge; a wider one as it is.

    A stroke's width is its area by the length of its middle line.

    >>> ink = np.zeros((30, 30))
    >>> ink[5:25, 14] = 1
    >>> widened(ink, 5)[15].sum()
    np.float64(5.0)
    """
    stroke = ink >= 0.5
    line = skeletonize(stroke)  # type: ignore[no-untyped-call]
    missing = width - stroke.sum() / max(1, line.sum())
    if missing <= 0:
        return ink
    distance = np.asarray(distance_transform_edt(~stroke))
    widened: Array = np.maximum(ink, (missing / 2 + 1 - distance).clip(0, 1))
    return widened


def fitted(ink: Array) -> tuple[NDArray[np.uint8], Frame]:
    """MNIST's preprocessing of one digit's ink.

    Each pixel is the mean ink of the square that it covers, so thin strokes turn grey instead of
    breaking. Outside the picture there is paper.

    Shape: (H, W), 0 to 1, not empty → uint8 (28, 28), white on black.

    >>> ink = np.zeros((60, 60))
    >>> ink[10:50, 5:25] = 1  # 40 high, 20 wide: 2 picture pixels to one of the image
    >>> image, frame = fitted(ink)
    >>> np.argwhere(image).min(axis=0), np.argwhere(image).max(axis=0) + 1, frame.pixel
    (array([4, 9]), array([24, 19]), 2.0)
    """
    visible = np.where(ink < FAINT, 0, ink)
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    pixel = float(max(np.ptp(rows), np.ptp(columns)) + 1) / BOX
    mass = visible.sum()
    y = float(visible.sum(axis=1) @ (np.arange(ink.shape[0]) + 0.5) / mass)
    x = float(visible.sum(axis=0) @ (np.arange(ink.shape[1]) + 0.5) / mass)
    frame = Frame(x - SIDE / 2 * pixel, y - SIDE / 2 * pixel, pixel)
    down = _overlaps(frame.top, frame.pixel, ink.shape[0])
    across = _overlaps(frame.left, frame.pixel, ink.shape[1])
    mean = down @ ink @ across.T / pixel**2
    return np.floor(255 * mean + 0.5).astype(np.uint8), frame


def _overlaps(start: float, pixel: float, size: int) -> Array:
    """How much of each of the picture's pixels lies under each of the image's, along one axis.

    Shape: (28, size).
    """
    begin = start + pixel * np.arange(SIDE)[:, None]
    place = np.arange(size)
    under: Array = np.minimum(begin + pixel, place + 1) - np.maximum(begin, place)
    return under.clip(min=0)
