"""Photos and other pictures of handwritten digits, in ten styles, made from strokes.

What people give to a network that has seen only MNIST. The digits come from `strokes`, in random
hands, not from MNIST; light, paper, perspective, noise and file formats are simulated.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from tests.helpers import strokes

Array = NDArray[np.float64]
Draw = Callable[[int, int, np.random.Generator], bytes]

ORIENTATION = 0x0112
"""EXIF's tag for how the camera was held."""
SHARPER = 3
"""Strokes are drawn this many times as large, and made smaller, for soft edges."""


class Picture(NamedTuple):
    style: str
    digit: int
    content: bytes
    """Of the file: PNG or JPEG."""


def pictures(seed: int, copies: int = 4) -> Iterator[Picture]:
    """Every style `copies` times; over the styles each digit comes equally often."""
    for number, (style, draw) in enumerate(STYLES.items()):
        for copy in range(copies):
            generator = np.random.default_rng([seed, number, copy])
            digit = (number + 3 * copy) % 10
            yield Picture(style, digit, draw(digit, copy, generator))


# Ink and paper


def pen(
    digit: int, generator: np.random.Generator, size: tuple[int, int], height: float, width: float
) -> Array:
    """A digit's ink on a sheet, 0 to 1.

    Args:
        size: the sheet's height and width, pixels.
        height, width: of the digit and its strokes, fractions of the sheet's shorter side.
    """
    styles = strokes.STYLES[digit]
    written = strokes.written(styles[generator.integers(len(styles))], height, width, generator)
    return inked(written, size, generator)


def inked(written: list[dict], size: tuple[int, int], generator: np.random.Generator) -> Array:
    """Strokes of a square sheet that lies on one of `size`, with a margin if that is larger."""
    side = min(size) * (0.86 if min(size) > 300 else 1)
    room = np.array([size[1] - side, size[0] - side]) * generator.uniform(0.2, 0.8, 2)
    sheet = Image.new("L", (size[1] * SHARPER, size[0] * SHARPER))
    canvas = ImageDraw.Draw(sheet)
    for stroke in written:
        points = [
            tuple((np.array([point["x"], point["y"]]) * side + room) * SHARPER)
            for point in stroke["points"]
        ]
        width = max(1, round(stroke["width"] * side * SHARPER))
        canvas.line(points, fill=255, width=width, joint="curve")
        for x, y in points:
            canvas.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
    return np.asarray(sheet.reduce(SHARPER), dtype=np.float64) / 255


def mixed(paper: Array, ink: Array, colour: Array | float) -> Array:
    """Ink of a colour on paper, (H, W, 3)."""
    return paper * (1 - ink[..., None]) + ink[..., None] * np.asarray(colour)


def plain(size: tuple[int, int], colour: Array | float) -> Array:
    return np.ones((*size, 3)) * np.asarray(colour)


def grained(size: tuple[int, int], generator: np.random.Generator, sigma: float) -> Array:
    """Smooth random values of standard deviation 1, (H, W, 1)."""
    noise = gaussian_filter(generator.normal(size=size), sigma)
    return (noise / noise.std())[..., None]


def lit(picture: Array, generator: np.random.Generator, fall: float) -> Array:
    """Light from one side, and a lens that darkens the corners: down to 1 − `fall`."""
    y, x = np.mgrid[-1 : 1 : picture.shape[0] * 1j, -1 : 1 : picture.shape[1] * 1j]
    angle = generator.uniform(0, 2 * np.pi)
    side = (np.cos(angle) * x + np.sin(angle) * y) / np.sqrt(2)
    light = 1 - fall * (0.5 * (1 + side) + 0.5 * (x**2 + y**2) / 2)
    return picture * light[..., None]


def photographed(
    picture: Array, generator: np.random.Generator, noise: float, tilt: float = 0.06
) -> Array:
    """From a little aside, a little out of focus, with the noise of a sensor."""
    H, W = picture.shape[:2]
    corners = np.array([[0, 0], [0, H], [W, H], [W, 0]])
    seen = corners + generator.uniform(0, tilt, (4, 2)) * min(H, W) * [
        [1, 1],
        [1, -1],
        [-1, -1],
        [-1, 1],
    ]
    planes = [Image.fromarray(picture[..., c].astype(np.float32)) for c in range(3)]
    turned = [
        plane.transform(
            (W, H), Image.Transform.QUAD, tuple(seen.ravel()), Image.Resampling.BILINEAR
        )
        for plane in planes
    ]
    soft = gaussian_filter(np.stack([np.asarray(p) for p in turned], axis=2), (0.8, 0.8, 0))
    return soft + generator.normal(0, noise, soft.shape)


# Files


def image(picture: Array) -> Image.Image:
    return Image.fromarray((picture.clip(0, 1) * 255).round().astype(np.uint8))


def file(picture: Image.Image, form: str, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


# Styles


def pen_on_paper(digit: int, copy: int, generator: np.random.Generator) -> bytes:
    size = (480, 640)
    ink = pen(digit, generator, size, generator.uniform(0.35, 0.7), generator.uniform(0.012, 0.03))
    paper = plain(size, 0.9) + 0.008 * grained(size, generator, 1)
    picture = lit(mixed(paper, ink, [0.12, 0.12, 0.16]), generator, 0.5)
    return file(image(photographed(picture, generator, 0.02)), "JPEG", quality=80)


def pencil(digit: int, copy: int, generator: np.random.Generator) -> bytes:
    size = (400, 400)
    ink = pen(digit, generator, size, generator.uniform(0.4, 0.75), generator.uniform(0.02, 0.04))
    rubbed = (0.65 + 0.2 * grained(size, generator, 1.2)[..., 0]).clip(0.2, 1)
    paper = plain(size, 0.72) + 0.012 * grained(size, generator, 2)
    picture = photographed(lit(mixed(paper, ink * rubbed, 0.35), generator, 0.2), generator, 0.01)
    grey = (picture.mean(axis=2).clip(0, 1) * 65535).round().astype(np.uint16)
    return file(Image.fromarray(grey), "PNG")  # 16 bits


def chalk(digit: int, copy: int, generator: np.random.Generator) -> bytes:
    size = (480, 640)
    ink = pen(digit, generator, size, generator.uniform(0.4, 0.8), generator.uniform(0.04, 0.07))
    dust = (0.8 + 0.25 * grained(size, generator, 0.8)[..., 0]).clip(0.1, 1)
    board = plain(size, [0.14, 0.22, 0.19]) + 0.02 * grained(size, generator, 25)
    picture = lit(mixed(board, ink * dust, [0.88, 0.88, 0.84]), generator, 0.35)
    return file(image(photographed(picture, generator, 0.015)), "JPEG", quality=85)


FELT = [[0.85, 0.1, 0.15], [0.1, 0.55, 0.2], [0.15, 0.25, 0.8], [0.95, 0.5, 0.05]]


def felt_pen(digit: int, copy: int, generator: np.random.Generator) -> bytes:
    size = (600, 450)
    ink = pen(digit, generator, size, generator.uniform(0.4, 0.8), generator.uniform(0.03, 0.06))
    picture = lit(mixed(plain(size, [0.95, 0.93, 0.86]), ink, FELT[copy % 4]), generator, 0.3)
    return file(image(photographed(picture, generator, 0.012)), "JPEG", quality=75)


def squared_paper(digit: int, copy: int, generator: np.random.Generator) -> bytes:
    size = (480, 480)
    ink = pen(digit, generator, size, generator.uniform(0.4, 0.7), generator.uniform(0.02, 0.04))
    lines = np.zeros(size)
    step = int(generator.integers(28, 48))
    lines[::step] = lines[1::step] = 1
    if copy % 2 == 0:  # else ruled
        lines[:, ::step] = lines[:, 1::step] = 1
    paper = mixed(plain(size, 0.93), 0.6 * lines, [0.62, 0.72, 0.85])
    picture = lit(mixed(paper, ink, [0.1, 0.15, 0.5]), generator, 0.3)
    return file(image(photographed(picture, generator, 0.012)), "JPEG", quality=85)


def screenshot(digit: int, copy: int, generator: np.random.Generator) -> bytes:
    size = (280, 360)
    ink = pen(digit, generator, size, generator.uniform(0.4, 0.85), generator.uniform(0.02, 0.09))
    return file(image(mixed(plain(size, 1), ink, 0)).convert("P"), "PNG")


def transparent(digit: int, copy: int, generator: np.random.Generator) -> bytes:
    size = (300, 300)
    ink = pen(digit, generator, size, generator.uniform(0.4, 0.85), generator.uniform(0.04, 0.1))
    colour = [[0, 0, 0], [1, 1, 1], [0.2, 0.2, 0.7], [0.8, 0.1, 0.1]][copy % 4]
    layers = np.dstack([plain(size, colour), ink])
    return file(image(layers), "PNG")


def turned_phone(digit: int, copy: int, generator: np.random.Generator) -> bytes:
    size = (640, 480)
    ink = pen(digit, generator, size, generator.uniform(0.4, 0.7), generator.uniform(0.015, 0.04))
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / min(size)
    edge = generator.uniform(0.2, 0.8) + generator.uniform(-0.5, 0.5) * y
    shadow = gaussian_filter(np.where(x < edge, 1, generator.uniform(0.6, 0.75)), 25)
    paper = plain(size, [0.88, 0.86, 0.82]) + 0.01 * grained(size, generator, 1)
    picture = mixed(paper, ink, [0.1, 0.1, 0.12]) * shadow[..., None]
    upright = image(photographed(picture, generator, 0.02))
    orientation, turn = [
        (6, Image.Transpose.ROTATE_90),
        (8, Image.Transpose.ROTATE_270),
        (3, Image.Transpose.ROTATE_180),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
    ][copy % 4]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return file(upright.transpose(turn), "JPEG", quality=80, exif=exif)


def low_light(digit: int, copy: int, generator: np.random.Generator) -> bytes:
    size = (480, 640)
    ink = pen(digit, generator, size, generator.uniform(0.4, 0.75), generator.uniform(0.06, 0.1))
    dark = lit(mixed(plain(size, [0.26, 0.22, 0.17]), ink, [0.05, 0.05, 0.05]), generator, 0.5)
    return file(image(photographed(dark, generator, 0.03)), "JPEG", quality=60)


LETTER = [
    strokes.line((0.05, 1), (0.5, 0), (0.95, 1)),
    strokes.line((0.22, 0.62), (0.78, 0.62)),
]


def two_digits_and_a_letter() -> bytes:
    """47A in blue ink on squared paper under a lamp: docs/number.jpg."""
    generator = np.random.default_rng(47)
    sheet = np.zeros((300, 600))
    for place, shape in enumerate((strokes.STYLES[4][0], strokes.STYLES[7][1], LETTER)):
        written = strokes.written(shape, 0.8, 0.055, generator)
        left, top = 60 + 170 * place, 60 + 12 * place
        sheet[top : top + 190, left : left + 190] += inked(written, (190, 190), generator)
    lines = np.zeros(sheet.shape)
    lines[8::30] = lines[:, 8::30] = 1
    paper = mixed(plain(sheet.shape, 0.93), 0.6 * lines, [0.62, 0.72, 0.85])
    picture = lit(mixed(paper, sheet.clip(0, 1), [0.1, 0.15, 0.5]), generator, 0.5)
    return file(image(photographed(picture, generator, 0.015)), "JPEG", quality=85)


def unusual_size(digit: int, copy: int, generator: np.random.Generator) -> bytes:
    """A tiny digit in a large picture; one that fills its picture; 28×28, off the middle."""
    if copy % 4 == 0:
        size = (1500, 2000)
        ink = pen(digit, generator, size, 0.045, 0.004)
        return file(image(mixed(plain(size, 0.97), ink, 0.1)), "JPEG", quality=85)
    if copy % 4 == 1:
        size = (300, 240)
        ink = pen(digit, generator, size, 0.93, generator.uniform(0.05, 0.11))
        return file(image(mixed(plain(size, 0.95), ink, 0.05)), "PNG")
    size = (28, 28)
    ink = pen(digit, generator, size, generator.uniform(0.45, 0.8), generator.uniform(0.06, 0.09))
    ink = 1 - ink if copy % 4 == 2 else ink
    return file(image(ink), "PNG")


STYLES: dict[str, Draw] = {
    "pen on white paper": pen_on_paper,
    "pencil on grey paper": pencil,
    "chalk on a blackboard": chalk,
    "coloured felt pen": felt_pen,
    "blue ink on squared or ruled paper": squared_paper,
    "screen capture": screenshot,
    "transparent picture": transparent,
    "turned phone, shadow": turned_phone,
    "low light, thick marker": low_light,
    "tiny, large, 28×28": unusual_size,
}
