"""What is seen in a picture before any network answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnnpipe.data.idx import IMAGE_SIDE
from cnnpipe.download.folder import MIDDLE_GREY
from cnnpipe.download.picture import border_grey, grey
from cnnpipe.download.picture import fitted as whole
from cnnpipe.predict.digits import Box, Digit, Frame, cut_digits, ready_digit
from cnnpipe.predict.ink import find_ink
from cnnpipe.predict.picture import Array, Source, image_of, read_picture
from cnnpipe.system.errors import InputError


@dataclass(frozen=True)
class Seen:
    """A picture, its ink, and the digits that were cut out of it."""

    picture: Array
    """(H, W, 3), 0 to 1."""
    ink: Array
    """(H, W), 0 to 1."""
    digits: list[Digit]
    """In reading order."""


def see(source: Source) -> Seen:
    """Look for digits in a picture; an image of MNIST's form is taken as it is.

    Raises:
        InputError: the picture cannot be read, or is empty, or it cannot be decided which of its
            parts are a digit.
    """
    picture = read_picture(source)
    if ready := ready_digit(picture):
        return Seen(picture, ready.image / 255, [ready])
    try:
        ink = find_ink(picture)
        return Seen(picture, ink, cut_digits(ink))
    except InputError as error:
        if isinstance(source, str | Path):
            raise InputError(f"{source}: {error}") from None
        raise


def see_whole(source: Source) -> Seen:
    """The whole picture as one image, as a data set of one's own is read.

    For networks that were trained on other images than digits in MNIST's form. A picture on a
    light ground is inverted.

    Raises:
        InputError: the picture cannot be read.
    """
    with image_of(source) as picture:
        image = whole(grey(picture))
    if border_grey(image) > MIDDLE_GREY:
        image = 255 - image
    digit = Digit(Box(0, 0, IMAGE_SIDE, IMAGE_SIDE), image, Frame(0, 0, 1))
    shown = np.repeat(1 - image[..., None] / 255, 3, axis=2)
    return Seen(shown, image / 255, [digit])
