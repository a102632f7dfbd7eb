"""Curves with intervals, distinguished by colour and marker, and named where they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from cnnpipe.drawing import layout

LINE = 0.155
"""Inches from one name to the next."""


@dataclass(frozen=True)
class Curve:
    """How one column of a table is drawn."""

    name: str
    colour: str
    marker: str = "o"
    dashed: bool = False


def draw_curves(
    axes: Axes, curves: Sequence[Curve], table: pd.DataFrame, x: str, y: str = "accuracy"
) -> None:
    """Draw each network's `y` over `x` with a bar from low to high, and its name at the last point.

    Names that would overlap move apart, in the order of the curves' ends.

    Args:
        axes: with their limits set.
        curves: one for each network.
        table: columns network (a curve's name), `x`, `y`, low, high, in the order of `x`.
        x: a column.
        y: a column.
    """
    named = [(curve, table[table["network"] == curve.name]) for curve in curves]
    for curve, rows in named:
        below, above = rows[y] - rows["low"], rows["high"] - rows[y]
        axes.errorbar(
            rows[x],
            rows[y],
            yerr=[below, above],
            color=curve.colour,
            marker=curve.marker,
            linewidth=1.5,
            linestyle=(0, (4, 2)) if curve.dashed else "-",
            elinewidth=0.8,
            capsize=1.8,
            clip_on=False,
            zorder=3,
        )
    height = axes.get_figure().get_figheight() * axes.get_position().height  # type: ignore[union-attr]
    low, high = axes.get_ylim()
    inch = (high - low) / height
    ends = {curve.name: float(rows[y].iloc[-1]) for curve, rows in named}
    places = apart(ends, LINE * inch)
    for curve, rows in named:
        point = rows[x].iloc[-1], ends[curve.name]
        offset = 7, 72 * (places[curve.name] - ends[curve.name]) / inch
        layout.label(axes, curve.name, point, offset, color=curve.colour, annotation_clip=False)


def apart(ends: dict[str, float], distance: float) -> dict[str, float]:
    """Places at least `distance` apart, in the order of the ends and as close to them as possible.

    Without `distance` times a name's rank, places need only be in order: isotonic regression.
    """
    names = sorted(ends, key=ends.__getitem__)
    ranks = distance * np.arange(len(names))
    places = isotonic_regression([ends[name] for name in names] - ranks).x + ranks
    return dict(zip(names, places.tolist(), strict=True))
