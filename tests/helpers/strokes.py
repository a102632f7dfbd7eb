"""Digits as pen strokes: how people write them, as geometry. No network was trained on any of them.

A style is a list of strokes, a stroke a list of points (x, y) in a unit box, y downwards.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

Stroke = list[tuple[float, float]]


def line(*points: tuple[float, float]) -> Stroke:
    """Straight lines through the points."""
    steps = np.linspace(0, 1, 12)
    return [
        (x0 + t * (x1 - x0), y0 + t * (y1 - y0))
        for (x0, y0), (x1, y1) in pairwise(points)
        for t in steps
    ]


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> Stroke:
    """Part of an ellipse; angles in degrees, clockwise from the right as y points down."""
    angles = np.radians(np.linspace(start, end, max(8, int(abs(end - start) / 10))))
    return [(float(x + rx * np.cos(a)), float(y + ry * np.sin(a))) for a in angles]


STYLES: dict[int, list[list[Stroke]]] = {
    0: [
        [arc(0.5, 0.5, 0.32, 0.5, -90, 270)],
        [arc(0.5, 0.5, 0.45, 0.5, -120, -470)],
        [arc(0.5, 0.5, 0.26, 0.5, -60, 290)],
    ],
    1: [
        [line((0.5, 0), (0.5, 1))],
        [line((0.62, 0), (0.4, 1))],
        [line((0.35, 0.2), (0.55, 0), (0.55, 1))],
    ],
    2: [
        [arc(0.45, 0.27, 0.36, 0.27, -170, 40) + line((0.72, 0.45), (0.1, 1), (0.9, 1))],
        [arc(0.5, 0.25, 0.33, 0.25, -180, 60) + line((0.66, 0.47), (0.12, 0.97), (0.88, 0.95))],
        [
            arc(0.45, 0.28, 0.36, 0.28, -160, 50)
            + line((0.68, 0.49), (0.3, 0.85))
            + arc(0.22, 0.88, 0.1, 0.08, 0, 300)
            + line((0.27, 0.82), (0.55, 0.96), (0.92, 0.9))
        ],
    ],
    3: [
        [arc(0.42, 0.26, 0.36, 0.26, -150, 90) + arc(0.42, 0.76, 0.42, 0.24, -90, 150)],
        [line((0.12, 0.02), (0.8, 0.02), (0.42, 0.4)) + arc(0.4, 0.7, 0.42, 0.3, -85, 150)],
        [arc(0.4, 0.25, 0.38, 0.25, -160, 80) + arc(0.4, 0.75, 0.4, 0.25, -80, 160)],
    ],
    4: [
        [line((0.2, 0), (0.12, 0.55), (0.88, 0.55)), line((0.72, 0.05), (0.68, 1))],
        [line((0.7, 1), (0.7, 0), (0.08, 0.65), (0.95, 0.65))],
        [line((0.15, 0.05), (0.15, 0.5), (0.8, 0.5)), line((0.78, 0), (0.78, 1))],
    ],
    5: [
        [line((0.85, 0), (0.25, 0), (0.2, 0.42)) + arc(0.42, 0.69, 0.38, 0.31, -120, 140)],
        [
            line((0.25, 0), (0.22, 0.42)) + arc(0.4, 0.7, 0.4, 0.3, -110, 145),
            line((0.25, 0), (0.88, 0.02)),
        ],
        [line((0.8, 0), (0.3, 0.02), (0.24, 0.45)) + arc(0.45, 0.7, 0.34, 0.28, -130, 150)],
    ],
    6: [
        [arc(0.75, 0.55, 0.6, 0.55, -95, -180) + arc(0.47, 0.72, 0.32, 0.27, -180, 180)],
        [line((0.6, 0), (0.25, 0.5)) + arc(0.5, 0.72, 0.3, 0.27, -150, 200)],
        [arc(0.8, 0.6, 0.62, 0.6, -110, -190) + arc(0.5, 0.74, 0.31, 0.25, -170, 170)],
    ],
    7: [
        [line((0.1, 0.02), (0.88, 0.02), (0.4, 1))],
        [line((0.1, 0.05), (0.85, 0.02), (0.42, 1)), line((0.3, 0.5), (0.82, 0.46))],
        [
            line((0.12, 0.15), (0.15, 0.03), (0.88, 0.03))
            + line((0.88, 0.03), (0.55, 0.5), (0.45, 1))
        ],
    ],
    8: [
        [arc(0.5, 0.25, 0.28, 0.25, 90, 450) + arc(0.5, 0.75, 0.34, 0.25, -90, 270)],
        [
            arc(0.5, 0.25, 0.27, 0.24, -40, -270)
            + arc(0.5, 0.74, 0.33, 0.26, -90, 180)
            + line((0.2, 0.7), (0.7, 0.1))
        ],
        [arc(0.5, 0.24, 0.3, 0.24, 0, 360), arc(0.5, 0.74, 0.36, 0.26, 0, 360)],
    ],
    9: [
        [arc(0.45, 0.28, 0.32, 0.28, 0, -360) + line((0.77, 0.28), (0.74, 1))],
        [arc(0.45, 0.28, 0.33, 0.28, 20, -340) + line((0.77, 0.3), (0.55, 1))],
        [arc(0.45, 0.27, 0.32, 0.27, 0, -350) + arc(0.3, 0.3, 0.47, 0.68, 0, 80)],
    ],
}
"""Three ways to write each digit."""

PENS = {"thin": 0.045, "medium": 0.08, "thick": 0.12}
"""Widths that the page offers, in units of the sheet's side."""
SIZES = {"small": 0.3, "medium": 0.55, "large": 0.85}
"""Heights, in units of the sheet's side."""
DRAWN_WITH = [
    *(("large", pen) for pen in PENS),
    *(("medium", pen) for pen in PENS),
    ("small", "thin"),  # a small digit of a thicker pen is a blot, to people too
]


def drawings(copies: int, seed: int) -> list[dict]:
    """Every style in every size and pen, `copies` times, each as another person writes it.

    Each is slanted, turned, stretched and shaky in its way, and lies anywhere on the sheet.

    Returns:
        {"digit", "style", "size", "pen", "strokes"}; strokes are as the page keeps them.
    """
    generator = np.random.default_rng(seed)
    return [
        {"digit": digit, "style": style, "size": size, "pen": pen}
        | {"strokes": written(strokes, SIZES[size], PENS[pen], generator)}
        for digit, styles in STYLES.items()
        for style, strokes in enumerate(styles)
        for size, pen in DRAWN_WITH
        for _ in range(copies)
    ]


def written(
    strokes: list[Stroke], height: float, width: float, generator: np.random.Generator
) -> list[dict]:
    """A digit as one person writes it, somewhere on a sheet; lengths in units of its side."""
    turn = np.radians(generator.uniform(-8, 8))
    slant = generator.uniform(-0.15, 0.25)
    stretch = generator.uniform(0.55, 0.85)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    hand = turned @ np.array([[stretch, -slant], [0, 1]])
    shaped = [(np.array(stroke) - 0.5) @ hand.T * height for stroke in strokes]
    shaped = [stroke + _tremble(len(stroke), height, generator) for stroke in shaped]
    points = np.concatenate(shaped)
    room = width / 2 + 0.01
    low, high = room - points.min(0), 1 - room - points.max(0)
    shift = generator.uniform(np.minimum(low, high), np.maximum(low, high))
    return [
        {
            "width": width,
            "points": [{"x": x, "y": y, "pressure": 1} for x, y in (stroke + shift).tolist()],
        }
        for stroke in shaped
    ]


def _tremble(points: int, height: float, generator: np.random.Generator) -> np.ndarray:
    """Smooth noise along a stroke, 1.5 % of the digit's height."""
    noise = generator.normal(0, 1, (points + 8, 2))
    kernel = np.hanning(9) / np.linalg.norm(np.hanning(9))
    smooth = np.stack([np.convolve(axis, kernel, "valid") for axis in noise.T], axis=1)
    return 0.015 * height * smooth
