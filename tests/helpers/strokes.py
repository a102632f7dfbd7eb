"""Digits as pen strokes: how people write them, as geometry. No network was trained on any of them.

A style is a list of strokes, a stroke a list of points (x, y) in a unit box, y downwards.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.interpolate import make_interp_spline

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


def curve(*points: tuple[float, float]) -> Stroke:
    """A smooth curve through the points."""
    through = np.array(points)
    place = np.cumsum([0.0, *np.linalg.norm(np.diff(through, axis=0), axis=1)])
    spline = make_interp_spline(place, through, k=min(3, len(points) - 1))
    return [(float(x), float(y)) for x, y in spline(np.linspace(0, place[-1], 40))]


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

ALLOGRAPHS: dict[int, list[list[Stroke]]] = {
    0: [
        [
            curve(
                (0.55, 0), (0.15, 0.3), (0.12, 0.68), (0.45, 1), (0.85, 0.7), (0.84, 0.3), (0.5, 0)
            )
        ],
        [
            curve(
                (0.62, 0.04),
                (0.2, 0.2),
                (0.1, 0.6),
                (0.45, 1),
                (0.88, 0.65),
                (0.8, 0.2),
                (0.7, 0.1),
            )
        ],
        [curve((0.4, 0.03), (0.12, 0.5), (0.5, 1), (0.88, 0.5), (0.5, 0), (0.3, 0.12))],
        [arc(0.5, 0.5, 0.42, 0.5, -90, 270), line((0.2, 0.95), (0.8, 0.05))],
    ],
    1: [
        [line((0.25, 0.25), (0.5, 0), (0.5, 1)), line((0.2, 1), (0.8, 1))],
        [line((0.12, 0.4), (0.6, 0), (0.6, 1))],
        [curve((0.56, 0), (0.53, 0.35), (0.5, 0.7), (0.42, 1))],
        [line((0.5, 0), (0.5, 1)), line((0.3, 1), (0.72, 1))],
    ],
    2: [
        [
            curve((0.15, 0.22), (0.45, 0), (0.8, 0.22), (0.55, 0.62), (0.2, 0.95), (0.1, 0.85))
            + curve((0.1, 0.85), (0.22, 0.74), (0.5, 0.92), (0.9, 0.98))
        ],
        [line((0.15, 0.08), (0.85, 0.05), (0.12, 0.98), (0.9, 0.95))],
        [
            curve((0.15, 0.28), (0.35, 0.02), (0.75, 0.1), (0.72, 0.42), (0.3, 0.8), (0.1, 1))
            + line((0.1, 1), (0.95, 1))
        ],
        [
            curve(
                (0.12, 0.15),
                (0.5, 0),
                (0.8, 0.25),
                (0.45, 0.65),
                (0.12, 0.95),
                (0.5, 0.9),
                (0.95, 1),
            )
        ],
    ],
    3: [
        [line((0.15, 0.05), (0.85, 0.05), (0.45, 0.42), (0.85, 0.7), (0.5, 1), (0.12, 0.92))],
        [
            curve((0.15, 0.12), (0.5, 0), (0.8, 0.2), (0.5, 0.45), (0.38, 0.42), (0.5, 0.4))
            + curve((0.5, 0.4), (0.85, 0.68), (0.5, 1), (0.1, 0.88))
        ],
        [
            curve((0.2, 0.08), (0.55, 0), (0.72, 0.2), (0.35, 0.42))
            + curve((0.35, 0.42), (0.9, 0.5), (0.85, 0.85), (0.45, 1), (0.08, 0.85))
        ],
        [line((0.15, 0.03), (0.85, 0.03), (0.4, 0.4)) + arc(0.4, 0.7, 0.45, 0.3, -80, 140)],
    ],
    4: [
        [line((0.3, 0), (0.1, 0.55), (0.9, 0.55)), line((0.65, 0.25), (0.55, 1))],
        [line((0.62, 0), (0.06, 0.68), (0.96, 0.68)), line((0.62, 0), (0.62, 1))],
        [curve((0.15, 0.03), (0.12, 0.35), (0.3, 0.5), (0.82, 0.42)), line((0.84, 0), (0.78, 1))],
        [line((0.45, 0), (0.1, 0.6), (0.92, 0.6)), line((0.62, 0.35), (0.62, 1))],
    ],
    5: [
        [
            curve(
                (0.85, 0.04),
                (0.4, 0.05),
                (0.22, 0.28),
                (0.6, 0.45),
                (0.8, 0.72),
                (0.5, 1),
                (0.1, 0.9),
            )
        ],
        [line((0.85, 0), (0.2, 0), (0.2, 0.42), (0.7, 0.44), (0.8, 0.72), (0.6, 1), (0.12, 0.96))],
        [
            line((0.28, 0.05), (0.22, 0.45)) + arc(0.42, 0.7, 0.38, 0.3, -120, 140),
            line((0.32, 0.02), (0.9, 0)),
        ],
        [
            line((0.8, 0), (0.32, 0), (0.24, 0.4))
            + curve((0.24, 0.4), (0.65, 0.4), (0.82, 0.7), (0.55, 1), (0.15, 0.95))
        ],
    ],
    6: [
        [
            curve(
                (0.7, 0.02),
                (0.3, 0.3),
                (0.14, 0.7),
                (0.42, 1),
                (0.8, 0.78),
                (0.55, 0.55),
                (0.2, 0.68),
            )
        ],
        [
            line((0.65, 0), (0.2, 0.6))
            + curve((0.2, 0.6), (0.25, 0.95), (0.7, 0.95), (0.7, 0.6), (0.25, 0.6))
        ],
        [
            curve(
                (0.6, 0),
                (0.25, 0.35),
                (0.15, 0.75),
                (0.45, 1),
                (0.8, 0.82),
                (0.62, 0.6),
                (0.35, 0.68),
            )
        ],
        [
            curve(
                (0.8, 0.08),
                (0.45, 0.05),
                (0.15, 0.5),
                (0.3, 0.95),
                (0.75, 0.9),
                (0.72, 0.55),
                (0.22, 0.6),
            )
        ],
    ],
    7: [
        [line((0.1, 0.2), (0.1, 0.02), (0.88, 0.02), (0.45, 1)), line((0.35, 0.5), (0.82, 0.5))],
        [line((0.1, 0.03), (0.85, 0.03)) + curve((0.85, 0.03), (0.55, 0.45), (0.42, 1))],
        [
            curve((0.08, 0.15), (0.25, 0.03), (0.55, 0.1), (0.88, 0.02))
            + curve((0.88, 0.02), (0.6, 0.5), (0.5, 1))
        ],
        [line((0.15, 0), (0.85, 0), (0.3, 1)), line((0.25, 0.45), (0.75, 0.55))],
    ],
    8: [
        [
            curve((0.75, 0.1), (0.45, 0), (0.22, 0.22), (0.5, 0.46), (0.8, 0.76), (0.5, 1))
            + curve((0.5, 1), (0.18, 0.78), (0.5, 0.48), (0.78, 0.22), (0.72, 0.06))
        ],
        [
            curve((0.5, 0.5), (0.2, 0.25), (0.5, 0), (0.8, 0.25), (0.5, 0.5))
            + curve((0.5, 0.5), (0.18, 0.75), (0.5, 1), (0.82, 0.75), (0.5, 0.5))
        ],
        [
            curve((0.7, 0.05), (0.3, 0.08), (0.3, 0.35), (0.7, 0.6), (0.72, 0.92), (0.4, 1))
            + curve((0.4, 1), (0.2, 0.8), (0.5, 0.5), (0.85, 0.12))
        ],
        [arc(0.5, 0.24, 0.24, 0.24, 90, 450) + arc(0.5, 0.72, 0.32, 0.28, -90, -450)],
    ],
    9: [
        [line((0.8, 0.12), (0.32, 0.03), (0.15, 0.35), (0.68, 0.44), (0.82, 0.08), (0.74, 1))],
        [
            curve((0.8, 0.2), (0.45, 0), (0.15, 0.27), (0.42, 0.5), (0.8, 0.2))
            + curve((0.8, 0.2), (0.82, 0.65), (0.55, 1), (0.2, 0.9))
        ],
        [
            curve((0.75, 0.15), (0.4, 0.02), (0.16, 0.3), (0.45, 0.48), (0.76, 0.2))
            + line((0.76, 0.2), (0.7, 1))
        ],
        [arc(0.45, 0.27, 0.33, 0.27, -30, -350) + curve((0.77, 0.22), (0.72, 0.6), (0.45, 1))],
    ],
}
"""Four more ways, from different places: the 1 with a foot or a long upstroke, the 7 with a bar or
a hook, the 4 open and closed, the 2 with a loop, the 0 with a stroke through it, …"""

PENS = {"thin": 0.045, "medium": 0.08, "thick": 0.12}
"""Widths that the page offers, in units of the sheet's side."""
SIZES = {"small": 0.3, "medium": 0.55, "large": 0.85}
"""Heights, in units of the sheet's side."""
HANDS = {"usual": {}, "turned": {"most": 20}, "shaky": {"tremor": 0.03}, "quick": {"quick": True}}
"""How people write, as arguments of `written`."""
DRAWN_WITH = [
    *(("large", pen, "usual") for pen in PENS),
    *(("medium", pen, "usual") for pen in PENS),
    ("small", "thin", "usual"),  # a small digit of a thicker pen is a blot, to people too
]
DRAWN_BY = [*DRAWN_WITH, *(("large", "medium", hand) for hand in ("turned", "shaky", "quick"))]


def drawings(copies: int, seed: int, styles=STYLES, ways=DRAWN_WITH) -> list[dict]:
    """Every style in every size, pen and hand, `copies` times, each as another person writes it.

    Each is slanted, turned, stretched and shaky in its way, and lies anywhere on the sheet.

    Returns:
        {"digit", "style", "size", "pen", "hand", "strokes"}; strokes are as the page keeps them.
    """
    generator = np.random.default_rng(seed)
    return [
        {"digit": digit, "style": style, "size": size, "pen": pen, "hand": hand}
        | {"strokes": written(strokes, SIZES[size], PENS[pen], generator, **HANDS[hand])}
        for digit, several in styles.items()
        for style, strokes in enumerate(several)
        for size, pen, hand in ways
        for _ in range(copies)
    ]


def written(
    strokes: list[Stroke],
    height: float,
    width: float,
    generator: np.random.Generator,
    *,
    most: float = 8,
    tremor: float = 0.015,
    quick: bool = False,
) -> list[dict]:
    """A digit as one person writes it, somewhere on a sheet; lengths in units of its side.

    Args:
        most: degrees by which it is turned at most.
        tremor: of the hand, in units of the digit's height.
        quick: whether the pen runs: it errs the more, the faster it is.
    """
    turn = np.radians(generator.uniform(-most, most))
    slant = generator.uniform(-0.15, 0.25)
    stretch = generator.uniform(0.55, 0.85)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    hand = turned @ np.array([[stretch, -slant], [0, 1]])
    shaped = [(np.array(stroke) - 0.5) @ hand.T * height for stroke in strokes]
    if quick:
        shaped = [_at_even_times(stroke) for stroke in shaped]
    shaped = [stroke + _errors(stroke, tremor * height, generator, quick) for stroke in shaped]
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


def _at_even_times(stroke: np.ndarray) -> np.ndarray:
    """Where the pen is at even intervals: it speeds up and slows down with the least jerk.

    Source: Flash, Hogan, "The coordination of arm movements", 1985.
    """
    place = np.cumsum([0.0, *np.linalg.norm(np.diff(stroke, axis=0), axis=1)])
    t = np.linspace(0, 1, 30)
    way = place[-1] * (10 * t**3 - 15 * t**4 + 6 * t**5)
    return np.stack([np.interp(way, place, axis) for axis in stroke.T], axis=1)


def _errors(
    stroke: np.ndarray, size: float, generator: np.random.Generator, quick: bool
) -> np.ndarray:
    """Smooth noise along a stroke; of a quick one in proportion to its speed."""
    noise = generator.normal(0, 1, (len(stroke) + 8, 2))
    kernel = np.hanning(9) / np.linalg.norm(np.hanning(9))
    smooth = size * np.stack([np.convolve(axis, kernel, "valid") for axis in noise.T], axis=1)
    if not quick:
        return smooth
    speed = np.linalg.norm(np.gradient(stroke, axis=0), axis=1, keepdims=True)
    return 2 * smooth * speed / speed.mean()
