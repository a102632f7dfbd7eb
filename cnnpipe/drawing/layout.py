"""What all figures share: colours, type, and a page that is laid out in inches."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import (
    Colormap,
    LinearSegmentedColormap,
    ListedColormap,
    Normalize,
    to_rgb,
)
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from cnnpipe.findings.wording import short
from cnnpipe.system.artifacts import atomic_write

Array = NDArray[Any]

DPI = 200
WIDTH = 8.3
"""Inches. With `DPI` that is twice the width of a README's column, for dense screens."""
MARGIN = 0.15
"""Inches of white on every side."""
BODY = 0.78
"""Inches from the top edge down to what is drawn: the title stands above."""

INK, MUTED, RULE, GROUND = "#1c2430", "#5b6572", "#c9cfd6", "#e6e9ed"
BLUE, ORANGE = "#1f6fb5", "#c2540a"

_BLUES = ["#ffffff", "#cfe1f3", "#97c1e6", "#559bd3", BLUE, "#0d4a86", "#082850"]
_ORANGES = ["#ffffff", "#fbdcc4", "#f5b384", "#e58442", ORANGE, "#8c3a05", "#532003"]


LEVELS = 64
"""Colours from zero to a scale's end: more than the eye tells apart, few enough for small files."""


def _colormap(name: str, colours: Sequence[str]) -> Colormap:
    colormap = LinearSegmentedColormap.from_list(name, colours, N=LEVELS)
    return colormap.with_extremes(bad=GROUND)  # the gaps between maps are NaN


SEQUENTIAL = _colormap("sequential", _BLUES)
ERRORS = _colormap("errors", _ORANGES)
# The two halves meet in the colour of zero, exactly white.
DIVERGING = ListedColormap(
    [*ERRORS(np.arange(LEVELS - 1, 0, -1)), *SEQUENTIAL(np.arange(LEVELS))], name="diverging"
).with_extremes(bad=GROUND)
GREYS = _colormap("greys", ["#ffffff", INK])


def _ramp(colour: str, steps: int) -> Colormap:
    """From white to a colour: what the edges of its letters and lines pass through."""
    return LinearSegmentedColormap.from_list(colour, ["#ffffff", colour], N=steps)


PALETTE: NDArray[np.uint8] = np.concatenate(
    [
        colours(np.arange(colours.N), bytes=True)[:, :3]
        for colours in (DIVERGING, GREYS, _ramp(MUTED, 24), _ramp(BLUE, 16), _ramp(ORANGE, 16))
    ]
    + [np.array([to_rgb(GROUND), to_rgb(RULE)]) * 255 + 0.5]
).astype(np.uint8)
"""(≤ 256, RGB): all that a figure is stored in. Every colour of every scale is kept exactly."""

STYLE: dict[str, Any] = {
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GROUND,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "image.interpolation": "nearest",
}
styled = matplotlib.style.context(STYLE, after_reset=True)
"""Decorator: draw with `STYLE` on matplotlib's own defaults, whatever the user configured."""


@styled  # ticks get their style when they are drawn
def save_png(path: Path, figure: Figure) -> None:
    """Write a figure as a palette image: the same figure is always the same bytes, and few."""
    with io.BytesIO() as drawn:
        figure.savefig(drawn, format="raw", dpi=DPI)
        pixels = np.frombuffer(drawn.getvalue(), "<u4")  # (H·W,) of red + green·2⁸ + blue·2¹⁶ + …
    image = Image.fromarray(_nearest_in_palette(pixels & 0xFFFFFF).reshape(-1, round(WIDTH * DPI)))
    image.putpalette(PALETTE.tobytes())
    with atomic_write(path, "wb") as file:
        image.save(file, format="png", optimize=True, dpi=(DPI, DPI))


def _nearest_in_palette(codes: Array) -> NDArray[np.uint8]:
    """
    Shape: (n,) of red + green·2⁸ + blue·2¹⁶ → (n,) indices into `PALETTE`.
    """
    present = np.zeros(1 << 24, dtype=bool)
    present[codes] = True
    colours = np.flatnonzero(present)
    rgb = np.stack([colours & 255, colours >> 8 & 255, colours >> 16], axis=1)  # (colours, 3)
    distance = np.square(rgb[:, np.newaxis] - PALETTE.astype(np.int64)).sum(axis=2)
    index = np.zeros(1 << 24, dtype=np.uint8)
    index[colours] = distance.argmin(axis=1)
    nearest: NDArray[np.uint8] = index[codes]
    return nearest


@dataclass(frozen=True)
class Scale:
    """From numbers to colours."""

    low: float
    high: float
    colours: Colormap

    def show(self, axes: Axes, image: Array, **place: Any) -> None:
        """Draw an image whose pixels fill the axes, or the `extent` given."""
        norm = Normalize(self.low, self.high)
        axes.imshow(image, cmap=self.colours, norm=norm, aspect="auto", **place)


INTENSITY = Scale(0, 255, GREYS)
"""Of the stored images: black is paper, white is ink."""


def scale_of(values: Array, *, signed: bool | None = None) -> Scale:
    """The one scale of a layer: from zero on, or symmetric about zero where values are signed."""
    limit = float(np.abs(values).max(initial=0.0)) or 1.0
    if signed if signed is not None else (values < 0).any():
        return Scale(-limit, limit, DIVERGING)
    return Scale(0, limit, SEQUENTIAL)


class Page:
    """A figure with a title, laid out in inches from its top left corner."""

    def __init__(self, height: float, title: str, subtitle: str) -> None:
        self.height = height
        self.figure = Figure((WIDTH, height))
        self.text(MARGIN, 0.15, title, fontsize=12, fontweight="bold")
        self.text(MARGIN, 0.42, subtitle, color=MUTED)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes with spines, for what is read off a scale."""
        bottom = self.height - top - height
        return self.figure.add_axes(
            (left / WIDTH, bottom / self.height, width / WIDTH, height / self.height)
        )

    def canvas(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without spines or ticks, for images."""
        axes = self.axes(left, top, width, height)
        axes.set_axis_off()
        return axes

    def text(self, left: float, top: float, text: str, **style: Any) -> Text:
        """Text whose top edge, unless `va` says otherwise, is at `top`."""
        style = {"va": "top", "parse_math": False, **style}
        return self.figure.text(left / WIDTH, 1 - top / self.height, text, **style)

    def line(self, xs: Sequence[float], ys: Sequence[float], **style: Any) -> None:
        """A line through points given in inches."""
        x, y = np.divide(xs, WIDTH), 1 - np.divide(ys, self.height)
        self.figure.add_artist(Line2D(x, y, **style))

    def frame(self, left: float, top: float, width: float, height: float, colour: str) -> None:
        """An empty rectangle."""
        right, bottom = left + width, top + height
        xs, ys = [left, right, right, left, left], [top, top, bottom, bottom, top]
        self.line(xs, ys, color=colour, linewidth=0.9)

    def colour_bar(
        self,
        left: float,
        top: float,
        length: float,
        scale: Scale,
        labels: Sequence[str] = (),
    ) -> None:
        """A thin colour bar with its ends and zero in numbers, or in the words given."""
        axes = self.axes(left, top, length, 0.07)
        colours = ScalarMappable(Normalize(scale.low, scale.high), scale.colours)
        bar = self.figure.colorbar(colours, cax=axes, orientation="horizontal")
        ticks = sorted({scale.low, 0.0, scale.high})
        bar.set_ticks(ticks, labels=labels or [short(tick) for tick in ticks])
        axes.spines[:].set_linewidth(0.5)
        axes.tick_params(length=0, pad=2, labelsize=6.5)
