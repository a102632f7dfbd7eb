"""How all figures are laid out: one style, and a page measured in inches."""

from __future__ import annotations

import io
from collections.abc import Sequence
from math import ceil, floor
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from cnnpipe.drawing.colours import GROUND, INK, MUTED, PALETTE, RULE, Array, Scale
from cnnpipe.findings.wording import short
from cnnpipe.system.artifacts import atomic_write

CSS = 100
"""Pixels of CSS to the inch, where a page shows a figure."""
DPI = 150
"""More than `CSS`, for dense screens. Browsers decode figures whole: at 200 dots an inch the report
took 100 MB more of memory."""
WIDTH = 8.3
"""Inches."""
MARGIN = 0.15
"""Inches of white on every side."""
RIGHT = WIDTH - MARGIN
"""Inches from the left edge of the page to the right margin."""
INNER_WIDTH = WIDTH - 2 * MARGIN
"""Inches between the margins."""
LEAST_LINE = 0.07
"""Inches of a line of the smallest text that can be read."""
POINTS = 72
"""Of an inch."""
LINE = 1.2
"""Height of a line of text, in units of its size."""
BODY = 0.78
"""Inches from the top edge down to what is drawn: the title stands above."""

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
    "axes.titlecolor": MUTED,
    "axes.titlelocation": "left",
    "axes.titlesize": 8.5,
    "grid.color": GROUND,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "image.interpolation": "nearest",
    "legend.borderpad": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
}
styled = matplotlib.style.context(STYLE, after_reset=True)
"""Decorator: draw with `STYLE` on matplotlib's own defaults, whatever the user configured."""


@styled  # ticks get their style when they are drawn
def save_png(path: Path, figure: Figure) -> None:
    """Write a figure as a palette image, which is small; the same figure gives the same bytes."""
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
    number, colours = pd.factorize(codes)  # (n,) and (colours,)
    rgb = np.stack([colours & 255, colours >> 8 & 255, colours >> 16], axis=1)  # (colours, 3)
    # |c − p|² = |c|² − 2·c·p + |p|², of which |c|² does not decide; exact, as float32 has 24 bits
    colour, palette = rgb.astype(np.float32), PALETTE.astype(np.float32)
    distance = np.square(palette).sum(axis=1) - 2 * colour @ palette.T
    nearest: NDArray[np.uint8] = distance.argmin(axis=1).astype(np.uint8)[number]
    return nearest


class Page:
    """A figure with a title, laid out in inches from its top left corner."""

    def __init__(self, height: float, title: str, subtitle: str) -> None:
        self.height = height
        self.figure = Figure((WIDTH, height))
        self.text(MARGIN, 0.15, title, fontsize=12, fontweight="bold")
        self.note(MARGIN, 0.42, subtitle)

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

    def tile(self, left: float, top: float, side: float, image: Array, scale: Scale) -> Axes:
        """A square image in a thin frame."""
        axes = self.axes(left, top, side, side)
        scale.show(axes, image)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color=RULE)
        return axes

    def text(self, left: float, top: float, text: str, **style: Any) -> Text:
        """Text whose top edge, unless `va` is given, is at `top`."""
        style = {"va": "top", "parse_math": False, **style}
        return self.figure.text(left / WIDTH, 1 - top / self.height, text, **style)

    def heading(self, left: float, top: float, text: str, **style: Any) -> None:
        """Bold text: the name of the part of the page below it or to its right."""
        self.text(left, top, text, fontweight="bold", **style)

    def note(self, left: float, top: float, text: str, **style: Any) -> Text:
        """Muted text: what a reader may skip."""
        return self.text(left, top, text, color=MUTED, **style)

    def line(self, xs: Sequence[float], ys: Sequence[float], **style: Any) -> None:
        """A line through points given in inches."""
        x, y = np.divide(xs, WIDTH), 1 - np.divide(ys, self.height)
        self.figure.add_artist(Line2D(x, y, **style))

    def frame(self, left: float, top: float, width: float, height: float, **style: Any) -> None:
        """An empty rectangle."""
        right, bottom = left + width, top + height
        xs, ys = [left, right, right, left, left], [top, top, bottom, bottom, top]
        self.line(xs, ys, **{"color": RULE, "linewidth": 0.9, **style})

    def colour_bar(self, left: float, top: float, length: float, scale: Scale) -> None:
        """A thin colour bar with its ends and zero in numbers."""
        axes = self.axes(left, top, length, 0.07)
        colours = ScalarMappable(Normalize(scale.low, scale.high), scale.colours)
        bar = self.figure.colorbar(colours, cax=axes, orientation="horizontal")
        ticks = sorted({scale.low, 0.0, scale.high})
        bar.set_ticks(ticks, labels=[short(tick) for tick in ticks])
        axes.spines[:].set_linewidth(0.5)
        axes.tick_params(length=0, pad=2, labelsize=6.5)


def label(
    axes: Axes, text: str, point: tuple[Any, Any], offset: tuple[float, float], **style: Any
) -> None:
    """Write next to a point of the data, `offset` typographic points from it."""
    style = {"va": "center", "fontsize": 7.5, **style}
    axes.annotate(text, point, xytext=offset, textcoords="offset points", **style)


def in_percent(axis: Axis, decimals: int | None = None) -> None:
    """Write an axis's fractions as percentages."""
    axis.set_major_formatter(PercentFormatter(xmax=1, decimals=decimals))


def slanted(axes: Axes, degrees: float) -> None:
    """Turn the names below an axis, so that long ones do not overlap."""
    axes.tick_params(axis="x", labelrotation=degrees)
    for name in axes.get_xticklabels():
        name.set(ha="right", rotation_mode="anchor")


def names_apart(pitch: float) -> tuple[int, float]:
    """How names that stand `pitch` inches apart can be read.

    Returns:
        every how many-th of them has room, and the size of its text, points.
    """
    step = ceil(LEAST_LINE / pitch)
    return step, min(STYLE["ytick.labelsize"], POINTS * step * pitch / LINE)


def whole_dots(inches: float) -> float:
    """Round down to whole dots, so that all squares come out equal."""
    return max(1, floor(inches * DPI)) / DPI
