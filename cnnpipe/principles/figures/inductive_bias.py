"""Claim 10: what each part of the bias is worth, on images as they are and scrambled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, INK, ORANGE
from cnnpipe.principles.figures import Details, Tables

ACCURACY = 2.2
"""Inches: height of the panels."""


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """Left: accuracy of each network. Right: leads of the whole bias and of its parts."""
    accuracy, advantage = tables["accuracy"], tables["advantage"]
    images = int(advantage["images"].max())
    sizes = ", ".join(f"{name} {number:,}" for name, number in details["parameters"].items())
    page = layout.Page(
        layout.BODY + 0.35 + ACCURACY + 0.55,
        "What is each part of the bias of convolution worth?",
        f"{images:,} training images; parameters: {sizes}; mean over the runs, 95 % interval",
    )
    axes = page.axes(0.6, layout.BODY + 0.35, 3.1, ACCURACY)
    rows = accuracy[accuracy["images"] == images]
    _pairs(axes, rows, "network", "accuracy")
    axes.set_ylim(min(0.5, 0.95 * float(rows["low"].min())), 1)
    layout.in_percent(axes.yaxis)
    axes.set_title("accuracy on test images", fontsize=7.5)
    axes.legend(labelcolor="linecolor", loc="lower left", fontsize=7)

    axes = page.axes(4.6, layout.BODY + 0.35, 3.1, ACCURACY)
    _pairs(axes, advantage[advantage["images"] == images], "part", "advantage")
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.set_title("ahead by (below zero: behind), percentage points", fontsize=7.5)
    return page.figure


def _pairs(axes: Axes, rows: pd.DataFrame, by: str, y: str) -> None:
    """A point with its interval for each name and order of the pixels."""
    names = list(rows[by].unique())
    for (order, of_order), colour, shift in zip(
        rows.groupby("order", sort=False), (BLUE, ORANGE), (-0.1, 0.1), strict=False
    ):
        bars = [of_order[y] - of_order["low"], of_order["high"] - of_order[y]]
        style: dict[str, Any] = {"linestyle": "none", "marker": "o", "capsize": 2}
        places = np.arange(len(names)) + shift
        axes.errorbar(places, of_order[y], yerr=bars, color=colour, label=str(order), **style)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.grid(visible=True, axis="y")
