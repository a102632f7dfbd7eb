"""Claim 10: accuracy by the number of training images, as they are and scrambled."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, INK, ORANGE
from cnnpipe.drawing.curves import Curve, draw_curves
from cnnpipe.principles.figures import Details, Tables
from cnnpipe.principles.networks import CNN, MLP

CURVES = [Curve(CNN, BLUE, "o"), Curve(MLP, ORANGE, "s", dashed=True)]
ACCURACY, ADVANTAGE = 2.2, 1.15
"""Inches: heights of the panels."""


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """Two columns, images as they are and the control; accuracy above, the difference below."""
    accuracy, advantage = tables["accuracy"], tables["advantage"]
    second = layout.BODY + 0.35 + ACCURACY + 0.5
    sizes = " and ".join(
        f"{name} with {number:,} parameters" for name, number in details["parameters"].items()
    )
    page = layout.Page(
        second + 0.1 + ADVANTAGE + 0.55,
        "How much data does the bias of convolution replace?",
        f"{sizes}; mean over the seeds, 95 % interval",
    )
    lowest = min(0.5, 0.95 * float(accuracy["low"].min()))
    extremes = [*advantage["low"], *advantage["high"], 0.0]
    margin = 0.08 * (max(extremes) - min(extremes) or 1.0)
    left, between = 0.6, 0.95
    width = (layout.WIDTH - left - between - 0.65) / 2
    for column, order in enumerate(advantage["order"].unique()):
        place = left + column * (width + between)
        page.heading(place, layout.BODY, order)
        axes = page.axes(place, layout.BODY + 0.35, width, ACCURACY)
        of_order = accuracy[accuracy["order"] == order]
        _logarithmic(axes, list(of_order["images"].unique()))
        axes.set_ylim(lowest, 1)
        layout.in_percent(axes.yaxis)
        axes.set_title("accuracy on test images", fontsize=7.5)
        draw_curves(axes, CURVES, of_order, x="images")

        axes = page.axes(place, second + 0.1, width, ADVANTAGE)
        rows = advantage[advantage["order"] == order]
        _logarithmic(axes, list(rows["images"]))
        axes.set_ylim(min(extremes) - margin, max(extremes) + margin)
        axes.axhline(0, color=INK, linewidth=0.9)
        ahead = [BLUE if value > 0 else ORANGE for value in rows["advantage"]]
        axes.vlines(rows["images"], 0, rows["advantage"], colors=ahead, linewidth=7)
        bars = [rows["advantage"] - rows["low"], rows["high"] - rows["advantage"]]
        style: dict[str, Any] = {"linestyle": "none", "elinewidth": 0.9, "capsize": 2}
        axes.errorbar(rows["images"], rows["advantage"], yerr=bars, color=INK, **style)
        axes.set_title("CNN ahead (below zero: behind), percentage points", fontsize=7.5)
        axes.set_xlabel("training images", loc="left", fontsize=7.5)
    return page.figure


def _logarithmic(axes: Axes, sizes: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(sizes) / 1.35, max(sizes) * 1.35)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.grid(visible=True)
