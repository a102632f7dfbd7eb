"""Parts that several figures of claims have in common."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import INK, Array
from cnnpipe.drawing.curves import Curve, draw_curves


def pixels_of(table: pd.DataFrame, values: str) -> Array:
    """An image from a table with columns row and column.

    Shape: one row per pixel → (rows, columns).
    """
    return table.pivot(index="row", columns="column", values=values).to_numpy()


def draw_accuracy_by_shift(
    axes: Axes, curves: Sequence[Curve], accuracy: pd.DataFrame, judged: int, label: str
) -> None:
    """Accuracy of each network on moved images, with a line at the shift that decides.

    The caller sets the limits of the shift.
    """
    axes.grid(visible=True)
    axes.set_ylim(0, 1)
    axes.set_xlabel(label, loc="left", fontsize=7.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    layout.in_percent(axes.yaxis)
    axes.axvline(judged, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    draw_curves(axes, curves, accuracy, x="shift")
