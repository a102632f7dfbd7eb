"""What is seen in a picture before any network answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cnnpipe.predict.digits import Digit, cut_digits, ready_digit
from cnnpipe.predict.ink import find_ink
from cnnpipe.predict.picture import Array, Source, read_picture
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
