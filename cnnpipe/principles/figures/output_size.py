"""Claim 2: the output-size formula as steps, real outputs as dots on them."""

from __future__ import annotations

from typing import Any

from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, ORANGE, SEQUENTIAL
from cnnpipe.principles.figures import Details, Tables

TITLES = {
    "kernel_size": "kernel size k",
    "stride": "stride",
    "padding": "padding",
    "dilation": "dilation",
}


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """One panel per argument: the output's side against the input's."""
    curves = tables["curves"]
    wrong = int(tables["operators"]["disagree"].sum())
    page = layout.Page(
        layout.BODY + 2.75,
        "How many pixels come out?",
        "lines: the formula; dots: real outputs of conv2d; else kernel 3, stride 1, no padding, "
        f"dilation 1. All {details['cases']:,} cases: {wrong:,} disagree",
    )
    highest = int(max(curves["measured"].max(), curves["formula"].max()))
    for panel, (argument, group) in enumerate(curves.groupby("argument", sort=False)):
        axes = page.axes(0.5 + 1.97 * panel, layout.BODY + 0.2, 1.55, 2.0)
        axes.grid(visible=True)
        values = sorted(group["value"].unique())
        for position, value in enumerate(values):
            shade = 0.35 + 0.5 * position / max(1, len(values) - 1)
            colour = to_rgba(SEQUENTIAL(shade))
            part = group[group["value"] == value]
            axes.plot(part["size"], part["formula"], color=colour, linewidth=1.3)
            right = part[part["measured"] == part["formula"]]
            style: dict[str, Any] = {"linestyle": "none", "marker": "o", "clip_on": False}
            axes.plot(right["size"], right["measured"], color=colour, markersize=3, **style)
            other = part[part["measured"] != part["formula"]]
            axes.plot(other["size"], other["measured"], color=ORANGE, markersize=6, **style)
            end = part["size"].iloc[-1], part["formula"].iloc[-1]
            layout.label(axes, f"{value}", end, (5, 0), fontsize=7, color=BLUE)
        axes.set(xlim=(0, None), ylim=(0, highest + 0.5), xlabel="input side, pixels")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        if panel == 0:
            axes.set_ylabel("output side, pixels")
        axes.set_title(TITLES[str(argument)])
    return page.figure
