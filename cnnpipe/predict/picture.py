"""Pictures of any kind as colours of one range.

Axes: H height, W width, 3 red, green and blue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnpipe.system.errors import InputError

Array = NDArray[np.float64]
Source = str | Path | Image.Image | NDArray[Any]

LARGEST = 1000
"""Pixels of the longer side; what is larger is made smaller."""
SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I")
"""Pillow's modes for PNG and TIFF of 16 bits."""


def read_picture(source: Source) -> Array:
    """Colours, 0 to 1, of a file, a Pillow image or an array, upright and without transparency.

    Shape: (H, W, 3); arrays are uint8, (H, W) or (H, W, 3 or 4).

    Raises:
        InputError: the file is missing, no picture, or damaged; an array has another form.

    >>> read_picture(np.array([[0, 255]], dtype=np.uint8))[0].tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    if isinstance(source, np.ndarray):
        return _colours(_from_array(source))
    if isinstance(source, Image.Image):
        return _colours(source)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with Image.open(path) as image:
            return _colours(image)
    except UnidentifiedImageError:
        raise InputError(f"{path}: no picture that Pillow can read, such as PNG or JPEG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: damaged: {' '.join(str(error).split())}") from None


def _from_array(values: NDArray[Any]) -> Image.Image:
    fits = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    if values.dtype != np.uint8 or not fits or not values.size:
        raise InputError(
            f"picture: got an array of {values.dtype}, shape {values.shape}; "
            "expected uint8, (H, W) or (H, W, 3 or 4)"
        )
    return Image.fromarray(values)


def _colours(image: Image.Image) -> Array:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in SIXTEEN_BITS:
        values = np.asarray(upright, dtype=np.float64) / (2**16 - 1)
        upright = Image.fromarray((255 * values.clip(0, 1)).astype(np.float32))
    transparent = upright.has_transparency_data
    converted = upright.convert("RGBA" if transparent else "RGB")
    times = -(-max(converted.size) // LARGEST)  # rounded up
    values = np.asarray(converted.reduce(times), dtype=np.float64) / 255
    return _on_paper(values[..., :3], values[..., 3]) if transparent else values


def _on_paper(colours: Array, opacity: Array) -> Array:
    """A transparent picture on paper.

    Where less than half of it is opaque, that is ink, whatever its colour, and becomes black on
    white. Else the paper is part of the picture, and what is missing gets its middle colour.
    """
    if opacity.mean() < 0.5:
        return np.repeat(1 - opacity[..., None], 3, axis=2)
    paper = np.median(colours[opacity > 0.5], axis=0)
    return colours * opacity[..., None] + paper * (1 - opacity[..., None])
