"""Pictures of what is no digit: letters, scribbles, shapes, clothes, blots; black on white."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

SIDE = 300
FONTS = ["DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmr10", "DejaVuSansMono-Oblique"]
LETTERS = "ABCDEFGHKMNPRTUVWXYadefhkmnprtwxy"
"""Without those that some people write as they write a digit: I O Q S Z b g l o q s z …"""
CLOTHES = [
    [
        *((-0.4, -0.9), (-0.15, -0.8), (0.15, -0.8), (0.4, -0.9), (1, -0.3), (0.7, 0)),
        *((0.45, -0.3), (0.45, 0.9), (-0.45, 0.9), (-0.45, -0.3), (-0.7, 0), (-1, -0.3)),
    ],
    [(-0.4, -0.9), (0.4, -0.9), (0.55, 0.9), (0.15, 0.9), (0, -0.3), (-0.15, 0.9), (-0.55, 0.9)],
    [(-0.25, -0.9), (0.25, -0.9), (0.2, -0.2), (0.7, 0.9), (-0.7, 0.9), (-0.2, -0.2)],
    [(-0.9, -0.1), (-0.5, -0.4), (0.1, 0.0), (0.9, 0.3), (0.9, 0.55), (-0.9, 0.55)],
    [
        *((-0.8, -0.2), (-0.4, -0.2), (-0.3, -0.6), (0.3, -0.6), (0.4, -0.2), (0.8, -0.2)),
        *((0.8, 0.7), (-0.8, 0.7)),
    ],
]
"""Outlines of a shirt, trousers, a dress, a shoe and a bag, about (0, 0)."""


def no_digits(seed: int) -> Iterator[Image.Image]:
    """Of each kind between 40 and 165."""
    generator = np.random.default_rng(seed)
    for font in FONTS:
        yield from (letter(font, character) for character in LETTERS)
    for _ in range(60):
        yield scribble(generator)
    for _ in range(10):
        yield from (outline(corners, step, generator) for corners, step in ((5, 2), (4, 1), (3, 1)))
        yield from (crossed(generator), face(generator))
    for _ in range(15):
        yield from (filled(points, generator) for points in CLOTHES)
    for _ in range(40):
        yield blot(generator)


def sheet() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (SIDE, SIDE), 255)
    return image, ImageDraw.Draw(image)


def letter(font: str, character: str) -> Image.Image:
    image, canvas = sheet()
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    place = SIDE / 2, SIDE / 2
    canvas.text(place, character, font=ImageFont.truetype(str(path), 180), fill=0, anchor="mm")
    return image


def scribble(generator: np.random.Generator) -> Image.Image:
    image, canvas = sheet()
    steps = generator.normal(0, 35, (generator.integers(6, 30), 2)).cumsum(axis=0)
    points = [tuple(point) for point in steps % 220 + 40]
    canvas.line(points, fill=0, width=int(generator.integers(8, 22)), joint="curve")
    return image


def around(corners: int, generator: np.random.Generator) -> list[tuple[float, float]]:
    """Corners of a regular polygon that stands on a side, nearly."""
    angles = np.arange(corners) / corners - 0.25 + (0.5 / corners if corners == 4 else 0)
    angles = 2 * np.pi * angles + generator.uniform(-0.2, 0.2)
    radius = generator.uniform(60, 110)
    return [(150 + radius * float(np.cos(a)), 150 + radius * float(np.sin(a))) for a in angles]


def outline(corners: int, step: int, generator: np.random.Generator) -> Image.Image:
    """A star, a square, a triangle."""
    image, canvas = sheet()
    points = around(corners, generator)
    path = [points[step * k % corners] for k in range(corners + 2)]
    canvas.line(path, fill=0, width=int(generator.integers(8, 20)), joint="curve")
    return image


def crossed(generator: np.random.Generator) -> Image.Image:
    image, canvas = sheet()
    a, b, c, d = around(4, generator)
    for ends in ((a, c), (b, d)):
        canvas.line(ends, fill=0, width=int(generator.integers(8, 20)))
    return image


def face(generator: np.random.Generator) -> Image.Image:
    image, canvas = sheet()
    radius, width = generator.uniform(60, 110), int(generator.integers(8, 20))
    canvas.circle((150, 150), radius, outline=0, width=width)
    for x in (-0.35, 0.35):
        canvas.circle((150 + x * radius, 150 - 0.3 * radius), width, fill=0)
    mouth = [150 - radius / 2, 150 - 0.4 * radius, 150 + radius / 2, 150 + 0.6 * radius]
    canvas.arc(mouth, 20, 160, fill=0, width=width)
    return image


def filled(points: list[tuple[float, float]], generator: np.random.Generator) -> Image.Image:
    image, canvas = sheet()
    size = generator.uniform(85, 115, 2)
    canvas.polygon([tuple(150 + size * point) for point in points], fill=30)
    return image


def blot(generator: np.random.Generator) -> Image.Image:
    field = gaussian_filter(generator.normal(size=(SIDE, SIDE)), generator.uniform(15, 35))
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    inside = field / field.std() > 3 * (x**2 + y**2) - 1
    return Image.fromarray(np.where(inside, 20, 245).astype(np.uint8))
