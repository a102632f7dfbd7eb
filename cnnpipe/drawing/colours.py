"""Colours of the figures: five of their own, and scales from numbers to colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap, Normalize, to_rgb
from numpy.typing import NDArray

Array = NDArray[Any]

INK, MUTED, RULE, GROUND = "#1c2430", "#5b6572", "#c9cfd6", "#e6e9ed"
BLUE, ORANGE = "#1f6fb5", "#c2540a"
PALE_BLUE, LIGHT_BLUE, DARK_BLUE = "#97c1e6", "#559bd3", "#0d4a86"
DARK_ORANGE = "#8c3a05"

LEVELS = 64
"""Colours from zero to a scale's end: more than an eye can distinguish, and few for small files."""


def _colormap(name: str, colours: Sequence[str], levels: int = LEVELS) -> Colormap:
    """From white through the colours."""
    colormap = LinearSegmentedColormap.from_list(name, ["#ffffff", *colours], N=levels)
    return colormap.with_extremes(bad=GROUND)  # the gaps between maps are NaN


SEQUENTIAL = _colormap("sequential", ["#cfe1f3", PALE_BLUE, LIGHT_BLUE, BLUE, DARK_BLUE, "#082850"])
ERRORS = _colormap("errors", ["#fbdcc4", "#f5b384", "#e58442", ORANGE, DARK_ORANGE, "#532003"])
# The two halves meet in the colour of zero, exactly white.
DIVERGING = ListedColormap(
    [*ERRORS(np.arange(LEVELS - 1, 0, -1)), *SEQUENTIAL(np.arange(LEVELS))], name="diverging"
).with_extremes(bad=GROUND)
GREYS = _colormap("greys", [INK])
# The shades at the edges of letters and lines.
EDGES = [_colormap(colour, [colour], n) for colour, n in ((MUTED, 24), (BLUE, 16), (ORANGE, 16))]

PALETTE: NDArray[np.uint8] = np.concatenate(
    [colours(np.arange(colours.N), bytes=True)[:, :3] for colours in (DIVERGING, GREYS, *EDGES)]
    + [np.array([to_rgb(GROUND), to_rgb(RULE)]) * 255 + 0.5]
).astype(np.uint8)
"""(≤ 256, RGB): all colours of the PNGs; every colour of every scale is kept exactly."""


@dataclass(frozen=True)
class Scale:
    """A mapping from numbers to colours."""

    low: float
    high: float
    colours: Colormap

    def show(self, axes: Axes, image: Array, **place: Any) -> None:
        """Draw an image whose pixels fill the axes, or the `extent` given."""
        norm = Normalize(self.low, self.high)
        axes.imshow(image, cmap=self.colours, norm=norm, aspect="auto", **place)


INTENSITY = Scale(0, 255, GREYS)
"""Of the stored images: 0 is white paper, 255 is ink."""


def scale_of(values: Array, *, signed: bool = False) -> Scale:
    """The scale that all values of a layer share: from zero, or symmetric about zero.

    It is symmetric where a value is negative, or if values could be: `signed`.
    """
    limit = float(np.abs(values).max(initial=0.0)) or 1.0
    if signed or (values < 0).any():
        return Scale(-limit, limit, DIVERGING)
    return Scale(0, limit, SEQUENTIAL)
