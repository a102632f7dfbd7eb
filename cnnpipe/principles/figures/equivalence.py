"""Claim 1: kernels that mirror each other, and how far apart they come in training."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, INK, MUTED, ORANGE, scale_of
from cnnpipe.principles.figures import Details, Tables
from cnnpipe.principles.figures.parts import pixels_of

TILE, GAP = 0.46, 0.1
FLOOR = 1e-18
"""Where an exact zero stands on the logarithmic axis."""


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """The first layer of both networks after training, and the distance between all kernels."""
    steps = tables["training"]
    page = layout.Page(
        layout.BODY + 3.25,
        "Do cross-correlation and convolution learn mirror images?",
        f"LeNet-5 in double precision, {int(steps['step'].max())} steps on the same batches",
    )
    _kernels(page, tables["kernels"])
    left = 4.55
    axes = page.axes(left, layout.BODY + 0.1, layout.WIDTH - left - 1.5, 2.45)
    axes.set_yscale("log")
    axes.grid(visible=True)
    for column, colour, side, name in [
        ("control", ORANGE, "bottom", "apart, control:\nunflipped start"),
        ("moved", MUTED, "top", "moved by\ntraining"),
        ("apart", BLUE, "center", "apart:\nflipped start"),
    ]:
        shown = steps[steps["step"] > 0]
        heights = shown[column].clip(lower=FLOOR)
        axes.plot(shown["step"], heights, color=colour, clip_on=False)
        end = shown["step"].iloc[-1], heights.iloc[-1]
        layout.label(axes, name, end, (6, 0), color=colour, va=side)
    final = steps.iloc[-1]
    tolerance = details["tolerance"] * final["moved"]
    axes.axhline(tolerance, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    layout.label(axes, "refuted above", (0, tolerance), (3, 3), va="baseline", fontsize=7)
    axes.set(xlim=(0, None), ylim=(FLOOR / 2, 10), xlabel="step")
    axes.set_title("largest distance of any weight")
    return page.figure


def _kernels(page: layout.Page, table: pd.DataFrame) -> None:
    rows = [
        ("cross-correlation", "cross-correlation", False),
        ("convolution", "convolution", False),
        ("convolution", "convolution, turned by half a turn", True),
    ]
    scale = scale_of(table["weight"].to_numpy(), signed=True)
    page.note(layout.MARGIN, layout.BODY, "first layer after training")
    for row, (network, name, turned) in enumerate(rows):
        kernels = table[table["network"] == network].groupby("kernel")
        top = layout.BODY + 0.3 + row * (TILE + 0.42)
        page.heading(layout.MARGIN, top, name, fontsize=7.5)
        for position in range(6):
            left = layout.MARGIN + position * (TILE + GAP)
            kernel = pixels_of(kernels.get_group(position), "weight")
            page.tile(left, top + 0.2, TILE, kernel[::-1, ::-1] if turned else kernel, scale)
    page.colour_bar(
        layout.MARGIN + 0.2, layout.BODY + 0.36 + 3 * (TILE + 0.42), 6 * (TILE + GAP) - 0.5, scale
    )
