"""One digit on its way through a network, from pixels to an answer, in one picture."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.path import Path as Curve

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, INTENSITY, MUTED, ORANGE, RULE, Array, Scale, scale_of
from cnnpipe.findings.wording import percent

WIRES = 220
"""Wires between two layers that are drawn: the strongest."""
STAGE = 3.8
"""Inches from the top of the maps to their bottom."""
COVERED = 0.14
"""Inches above and, twice as many, below the answer that its text takes."""
LARGEST_TILE, SPACE, STRIP = 0.95, 0.05, 0.18
"""Inches: side of a map, between the two maps of a row, width of a column of neurons."""


@layout.styled
def draw(
    image: Array,
    activations: Mapping[str, Array],
    contributions: Sequence[Array],
    classes: Sequence[str],
    title: str,
) -> Figure:
    """An image, the maps of the layers it passes, the answer, and what contributed to what.

    Of layers with many maps the strongest are drawn, in their order. A wire's darkness is a map's
    contribution to a map of the next layer, relative to the largest between the two layers.

    Shape: image (H, W), 0 to 255; activations (C, H, W) or (C,), the last one (K,); contributions
        (maps of this layer, maps of the layer before it), the image before the first.

    Args:
        activations: name → output of the layers to show, in the order in which they run; the last
            one gives the logits.
        contributions: one for each layer, of `cnnpipe.inspection.activations.contributions`.
    """
    page = layout.Page(
        layout.BODY + STAGE + 0.72,
        title,
        "A wire is what a map adds to a map of the next layer (gradient × activation): "
        "blue raises it, orange lowers it.",
    )
    axes = page.canvas(0, 0, layout.WIDTH, page.height)
    axes.set_aspect("auto")
    most = 16 if len(activations) <= 7 else 8
    columns = [_Column("input", image[np.newaxis], INTENSITY, most)]
    columns += [
        _Column(name, values, scale_of(values), most) for name, values in activations.items()
    ]
    names = 0.5 + 0.065 * max(map(len, classes))  # inches at the right for the answer
    room = layout.INNER_WIDTH - names - sum(column.width for column in columns)
    left = layout.MARGIN
    for column in columns:
        column.left = left
        left += column.width + room / len(activations)
    for (source, target), shares in zip(pairwise(columns), contributions, strict=True):
        axes.add_collection(_wires(source, target, shares))
    for column in columns:
        column.draw(axes)
        middle = column.left + column.width / 2
        below = layout.BODY + STAGE
        page.heading(middle, below + 0.14, column.name, ha="center", fontsize=7.5)
        size = page.note(middle, below + 0.32, column.size, ha="center", fontsize=7)
        size.set_linespacing(1.35)
    _answer(page, columns[-1], classes)
    axes.set(xlim=(0, layout.WIDTH), ylim=(page.height, 0))  # inches from the top left corner
    return page.figure


class _Column:
    """One layer: which of its maps are drawn, and where they stand, in inches.

    Maps stand one below the other, or in two columns that are shifted by half a map against each
    other, so that each has a height of its own for its wires. Neurons are cells of one strip.
    """

    def __init__(self, name: str, values: Array, scale: Scale, most: int) -> None:
        """
        Shape: values (C, H, W) or (C,).
        """
        self.name, self.scale, self.left = name, scale, 0.0
        self.values = values.reshape(len(values), *(values.shape[1:] or (1, 1)))  # (C, H, W)
        C, H, W = self.values.shape
        self.is_strip = H == W == 1
        strength = np.abs(self.values).sum(axis=(1, 2))
        strongest = np.argsort(-strength, kind="stable")[: C if self.is_strip else most]
        self.shown = np.sort(strongest)
        n = len(self.shown)
        self.per_row = 2 if n > 8 and not self.is_strip else 1
        shift = 0.5 * (self.per_row - 1)
        self.pitch = STAGE / (ceil(n / self.per_row) + shift)
        if self.is_strip:
            self.width = self.tile_width = STRIP
            self.size = f"{C}\n" + ("neurons" if values.ndim == 1 else "maps of 1×1")
            return
        # Smaller maps are drawn smaller, though far less than in proportion, to stay legible.
        self.tile_width = min(LARGEST_TILE, self.pitch * (0.65 + 0.27 * W / 28))
        self.width = self.per_row * (self.tile_width + SPACE) - SPACE
        count = "1 image" if C == 1 else f"{C} maps" if n == C else f"{n} of {C} maps"
        self.size = f"{count}\n{H}×{W}"

    def box(self, position: int) -> tuple[float, float]:
        """Left edge and vertical middle of a map that is drawn."""
        row, column = divmod(position, self.per_row)
        left = self.left + column * (self.tile_width + SPACE)
        return left, layout.BODY + (row + 0.5 + 0.5 * column) * self.pitch

    def draw(self, axes: Axes) -> None:
        if self.is_strip:
            _tile(axes, self.scale, self.values[:, 0], self.left, layout.BODY, STRIP, STAGE)
            return
        for position, channel in enumerate(self.shown):
            left, middle = self.box(position)
            side = self.tile_width
            _tile(axes, self.scale, self.values[channel], left, middle - side / 2, side, side)


def _tile(
    axes: Axes, scale: Scale, values: Array, left: float, top: float, width: float, height: float
) -> None:
    extent = (left, left + width, top + height, top)
    scale.show(axes, values, extent=extent, zorder=3)
    frame = Rectangle((left, top), width, height, fill=False, edgecolor=RULE, lw=0.7, zorder=4)
    axes.add_patch(frame)


def _wires(source: _Column, target: _Column, shares: Array) -> PathCollection:
    """The strongest contributions between two layers, the weakest of them drawn first.

    A wire runs level to the edge of its own column, then bends over to the next.

    Shape: shares (maps of target, maps of source).
    """
    shares = shares[np.ix_(target.shown, source.shown)]
    shares = shares / (np.abs(shares).max() or 1.0)
    strongest = np.argsort(-np.abs(shares), axis=None, kind="stable")[:WIRES]
    start, end = source.left + source.width, target.left
    bend = (start + end) / 2
    codes = [Curve.MOVETO, Curve.LINETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4, Curve.LINETO]
    curves, colours = [], []
    for flat in strongest[::-1]:
        j, i = np.unravel_index(flat, shares.shape)
        left, from_y = source.box(int(i))
        to_x, to_y = target.box(int(j))
        points = [
            (left + source.tile_width, from_y),
            (start, from_y),
            (bend, from_y),
            (bend, to_y),
            (end, to_y),
            (to_x, to_y),
        ]
        curves.append(Curve(points, codes))
        share = shares[j, i]
        colours.append(to_rgba(BLUE if share > 0 else ORANGE, abs(share) ** 0.7))
    return PathCollection(curves, facecolors="none", edgecolors=colours, lw=0.7, zorder=2)


def _answer(page: layout.Page, column: _Column, classes: Sequence[str]) -> None:
    """The names of the classes at their logits, the answer with its probability."""
    logits = column.values.ravel().astype(np.float64)
    odds = np.exp(logits - logits.max())
    best = int(logits.argmax())
    left = column.left + column.width + 0.1
    step, size = layout.names_apart(column.pitch)
    _, answer = column.box(best)
    for position, name in enumerate(classes):
        _, middle = column.box(position)
        is_covered = -COVERED < middle - answer < 2 * COVERED  # by the answer and its probability
        if position != best and (position % step or is_covered):
            continue
        style = {"color": MUTED, "va": "center", "fontsize": min(8, size + 0.5)}
        if position == best:
            style |= {"color": BLUE, "fontweight": "bold", "fontsize": 14 if len(name) < 3 else 8}
            probability = percent(odds[best] / odds.sum())
            page.text(left, middle + 0.17, probability, color=BLUE, va="center", fontsize=7)
        page.text(left, middle, name, **style)
