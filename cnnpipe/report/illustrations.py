"""The small worked examples of the page: numbers that a reader can follow with a pencil.

They are computed with SciPy and NumPy, so that no number in a template is typed by hand.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, correlate

Array = NDArray[Any]


def examples() -> Mapping[str, Array]:
    """The matrices of all examples by name."""
    spot = np.zeros((5, 5), int)
    spot[2, 2] = 1
    kernel = np.arange(1, 10).reshape(3, 3)
    image = np.array([[1, 2, 0], [0, 3, 1], [2, 1, 1]])
    edge = np.array([[1, 0], [0, -1]])
    windows = np.lib.stride_tricks.sliding_window_view(image, (2, 2))  # (2, 2, kH, kW)
    columns = windows.reshape(4, 4)
    activations = np.array([[0, 1, 0, 0], [3, 2, 0, 4], [0, 0, 5, 0], [1, 0, 0, 0]])
    blocks = activations.reshape(2, 2, 2, 2).swapaxes(1, 2)  # (2, 2, kH, kW)
    return {
        "spot": spot,
        "kernel": kernel,
        "flipped": np.flip(kernel),
        "correlated": correlate(spot, kernel, mode="constant"),
        "convolved": convolve(spot, kernel, mode="constant"),
        "image": image,
        "columns": columns,
        "edge_column": edge.reshape(4, 1),
        "product": columns @ edge.reshape(4, 1),
        "output": (windows * edge).sum(axis=(2, 3)),
        "activations": activations,
        "largest": blocks.max(axis=(2, 3)),
        "mean": blocks.mean(axis=(2, 3)),
    }


def tint(value: float, limit: float) -> str:
    """The class of a cell's colour: p1 to p3 above zero, m1 to m3 below; 3 is near the limit."""
    level = int(np.ceil(3 * abs(value) / limit)) if limit else 0
    return f"{'p' if value > 0 else 'm'}{level}" if level else "p0"


def curves() -> Mapping[str, str]:
    """The three activations over −4 to 4 as points of an SVG polyline, y upwards."""
    x = np.linspace(-4, 4, 81)
    functions = {
        "ReLU": np.maximum(x, 0),
        "tanh": np.tanh(x),
        "sigmoid": 1 / (1 + np.exp(-x)),
    }
    return {
        name: " ".join(f"{a:.2f},{-b:.3f}" for a, b in zip(x, y, strict=True) if b <= 2)
        for name, y in functions.items()
    }
