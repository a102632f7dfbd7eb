"""Pictures of any kind as colours of one range.

Axes: H height, W width, 3 red, green and blue.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cnnpipe.download.picture import grey, opened
from cnnpipe.system.errors import InputError

Array = NDArray[np.float64]
Source = str | Path | Image.Image | NDArray[Any]

LARGEST = 1000
"""Pixels of the longer side; what is larger is made smaller."""


def read_picture(source: Source) -> Array:
    """Colours, 0 to 1, of a file, a Pillow image or an array, upright and without transparency.

    Shape: (H, W, 3); arrays are uint8, (H, W) or (H, W, 3 or 4).

    Raises:
        InputError: as `image_of` does.

    >>> read_picture(np.array([[0, 255]], dtype=np.uint8))[0].tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    with image_of(source) as image:
        deep = image.mode.startswith(("I", "F"))  # more than 8 bits
        transparent = not deep and image.has_transparency_data
        converted = (grey(image) if deep else image).convert("RGBA" if transparent else "RGB")
    times = -(-max(converted.size) // LARGEST)  # rounded up
    values = np.asarray(converted.reduce(times), dtype=np.float64) / 255
    return _on_paper(values[..., :3], values[..., 3]) if transparent else values


@contextmanager
def image_of(source: Source) -> Iterator[Image.Image]:
    """A file, a Pillow image or an array as an upright image.

    Raises:
        InputError: the file is missing, no picture, or damaged; an array has another form.
    """
    if isinstance(source, np.ndarray):
        yield _from_array(source)
    elif isinstance(source, Image.Image):
        yield ImageOps.exif_transpose(source)
    else:
        with opened(Path(source)) as image:
            yield image


def _from_array(values: NDArray[Any]) -> Image.Image:
    fits = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    if values.dtype != np.uint8 or not fits or not values.size:
        raise InputError(
            f"picture: got an array of {values.dtype}, shape {values.shape}; "
            "expected uint8, (H, W) or (H, W, 3 or 4)"
        )
    return Image.fromarray(values)


def _on_paper(colours: Array, opacity: Array) -> Array:
    """A transparent picture on paper.

    Where less than half of it is opaque, that is ink, whatever its colour, and becomes black on
    white. Else the paper is part of the picture, and what is missing gets its middle colour.
    """
    if opacity.mean() < 0.5:
        return np.repeat(1 - opacity[..., None], 3, axis=2)
    paper = np.median(colours[opacity > 0.5], axis=0)
    return colours * opacity[..., None] + paper * (1 - opacity[..., None])
