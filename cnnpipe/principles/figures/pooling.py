"""Claim 6: one feature map halved in three ways, what that does to all maps, and to accuracy."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, DARK_BLUE, INK, MUTED, ORANGE, scale_of
from cnnpipe.drawing.curves import Curve
from cnnpipe.findings.wording import count, percent, short
from cnnpipe.principles.figures import Details, Tables
from cnnpipe.principles.figures.parts import draw_accuracy_by_shift, pixels_of
from cnnpipe.principles.networks import AVERAGE, BLUR, MAX, STRIDE

MAP, BAR = 1.68, 0.27
"""Inches: side of a map, height of a bar with the room around it."""

CURVES = [
    Curve(STRIDE, ORANGE, "s"),
    Curve(AVERAGE, DARK_BLUE, "^"),
    Curve(BLUR, MUTED, "v"),
    Curve(MAX, BLUE, "o"),
]
NAMES = {"before": "before", MAX: MAX, AVERAGE: AVERAGE, STRIDE: "stride 2"}
"""Of the maps, in the order in which they are drawn."""


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """A map before and after each reduction; their measures over all images; accuracy by shift."""
    bars = layout.BODY + 0.3 + MAP + 0.4
    curves = bars + 0.75 + len(CURVES) * BAR + 0.5
    page = layout.Page(
        curves + 0.35 + 2.2 + 0.55,
        "What does pooling do that a stride of 2 does not?",
        "Every pooling here and a stride of 2 halve the sides of the maps alike",
    )
    _example(page, tables["example"], layout.BODY)
    _measures(page, tables["maps"], bars)

    page.heading(layout.MARGIN, curves, "Accuracy of a small network with each, on moved images")
    axes = page.axes(0.6, curves + 0.35, layout.WIDTH - 0.6 - 1.6, 2.2)
    judged = details["judged_shift"]
    axes.text(judged, 0.03, f" judged up to {count(judged, 'pixel')}", fontsize=7)
    label = "pixels moved, right, left, down or up; mean over the runs, 95 % interval"
    axes.set_xlim(-0.1, tables["accuracy"]["shift"].max())
    draw_accuracy_by_shift(axes, CURVES, tables["accuracy"], judged, label)
    return page.figure


def _example(page: layout.Page, table: pd.DataFrame, top: float) -> None:
    """The same map four times, on one scale, all at the size of the input."""
    scale = scale_of(table["activation"].to_numpy())
    gap = (layout.INNER_WIDTH - len(NAMES) * MAP) / (len(NAMES) - 1)
    for position, (name, title) in enumerate(NAMES.items()):
        pixels = pixels_of(table[table["reduction"] == name], "activation")
        left = layout.MARGIN + position * (MAP + gap)
        heading = f"{title}, {pixels.shape[0]}×{pixels.shape[1]}"
        page.heading(left, top, heading, fontsize=8)
        page.tile(left, top + 0.2, MAP, pixels, scale)
        strongest = f"strongest {short(float(pixels.max()))}"
        page.note(left, top + 0.2 + MAP + 0.06, strongest, fontsize=7)
    page.colour_bar(layout.RIGHT - 1.3, 0.36, 1.2, scale)


def _measures(page: layout.Page, maps: pd.DataFrame, top: float) -> None:
    """A panel per measure, a bar per reduction: the mean, with the middle 95 % of the images."""
    page.heading(layout.MARGIN, top, "The same for all maps of all images")
    page.note(layout.MARGIN, top + 0.18, "mean, and the middle 95 % of the images", fontsize=7.5)
    left, gap = 1.25, 0.35
    width = (layout.RIGHT - left - 2 * gap) / 3
    groups = {str(name): group for name, group in maps.groupby("reduction")}
    for panel, (column, title) in enumerate(
        [
            ("kept", "strongest activation kept"),
            ("roughness", "neighbours differ by (mean = 1)"),
            ("change", "change by 1 pixel of shift"),
        ]
    ):
        axes = page.axes(left + panel * (width + gap), top + 0.68, width, len(CURVES) * BAR)
        for row, curve in enumerate(CURVES):
            values = groups[curve.name][column].to_numpy()
            low, high = np.quantile(values, [0.025, 0.975])
            mean = float(values.mean())
            axes.barh(row + 0.05, mean, color=curve.colour, height=0.6)
            axes.plot([low, high], [row - 0.38] * 2, color=MUTED, linewidth=1.2)
            text = percent(mean, 0) if column != "roughness" else short(mean)
            axes.text(0.02, row + 0.04, text, color="white", fontsize=7, va="center")
        axes.set(xlim=(0, None), ylim=(-0.6, len(CURVES) - 0.5))
        names = [NAMES.get(curve.name, curve.name) for curve in CURVES]
        axes.set_yticks(range(len(CURVES)), names if panel == 0 else [])
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_title(title, fontsize=8)
        if column != "roughness":
            layout.in_percent(axes.xaxis)
