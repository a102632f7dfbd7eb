"""How light sRGB colours are, and whether text on them can be read."""

import numpy as np


def luminance(colours) -> np.ndarray:
    """Relative luminance of sRGB colours whose parts, from 0 to 1, lie along the last axis."""
    parts = np.asarray(colours)
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other) -> float:
    """WCAG 2.2 contrast ratio of two colours, each three bytes."""
    low, high = sorted(luminance(np.array([one, other]) / 255))
    return (high + 0.05) / (low + 0.05)
