"""One picture, of any common format and size, as 28×28 grey values.

    turn      as the EXIF tag of a camera says
    grey      0.299·red + 0.587·green + 0.114·blue in integers; transparent pixels are white
    resize    the longer side becomes 28 pixels, the other one keeps the proportion
    centre    on a ground of the picture's own border, the median of its outermost pixels

A picture of 28×28 grey pixels of 8 bits comes back as it is. Pillow resizes in fixed-point
arithmetic, by linear interpolation, and over all pixels under the new one where it makes smaller.

Axes: H height, W width.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cnnpipe.data.idx import IMAGE_SIDE
from cnnpipe.system.errors import InputError

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow knows more, some of which start other programs."""
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

Picture = NDArray[np.uint8]


def read_picture(path: Path) -> Picture:
    """A file as a picture of 28×28 grey values.

    Shape:
        returns (28, 28)

    Raises:
        InputError: as `opened` does.
    """
    with opened(path) as image:
        return fitted(grey(image))


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A file as an upright image, to be decoded within the block.

    Raises:
        InputError: the file is missing, is no picture, is damaged, or is too large.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a doubtful tag beside the pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                yield ImageOps.exif_transpose(image)
                return
    except UnidentifiedImageError:
        reason = f"not a picture of the formats {', '.join(FORMATS)}"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # decoders fail on damaged files in many ways
        reason = str(error) or type(error).__name__
    raise InputError(f"{path}: not readable: {' '.join(reason.split())}")


def grey(image: Image.Image) -> Image.Image:
    """Any picture as one of 8 bits a pixel."""
    if image.mode.startswith(("I", "F")):
        values = np.asarray(image)  # (H, W)
        if image.mode == "F" or values.min() < 0 or values.max() >= 2**16:
            raise InputError("pixels beyond 16 bits; expected 8 or 16 bits for each colour")
        scaled = (values.astype(np.int64) * 255 + 2**15) // (2**16 - 1)
        return Image.fromarray(scaled.astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L")


def fitted(grey: Image.Image) -> Picture:
    """A grey picture of any size, resized to 28 pixels and centred on its own border's grey.

    Shape:
        returns (28, 28)
    """
    longest = max(grey.size)
    width, height = (
        max(1, (2 * IMAGE_SIDE * side + longest) // (2 * longest)) for side in grey.size
    )
    if (width, height) != grey.size:
        grey = grey.resize((width, height), Image.Resampling.BILINEAR)
    values = np.asarray(grey)  # (H, W)
    above, left = (IMAGE_SIDE - height) // 2, (IMAGE_SIDE - width) // 2
    margins = ((above, IMAGE_SIDE - height - above), (left, IMAGE_SIDE - width - left))
    return np.pad(values, margins, constant_values=border_grey(values))


def border_grey(values: Picture) -> int:
    """The median of a picture's outermost pixels; the lower one of the two in the middle.

    Shape:
        values (H, W)
    """
    inside = np.zeros(values.shape, dtype=bool)
    inside[1:-1, 1:-1] = True
    border = np.sort(values[~inside])
    return int(border[(len(border) - 1) // 2])
