"""Claim 4: what weights cost by size of feature map, and what moves cost without sharing."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, LIGHT_BLUE, MUTED, ORANGE
from cnnpipe.drawing.curves import Curve
from cnnpipe.principles.figures import Details, Tables
from cnnpipe.principles.figures.parts import draw_accuracy_by_shift

CURVES = [
    Curve("shared, position kept", BLUE, "o"),
    Curve("local, position kept", ORANGE, "o"),
    Curve("shared, position dropped", LIGHT_BLUE, "s", dashed=True),
    Curve("local, position dropped", MUTED, "s", dashed=True),
]


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """Left: weights of three kinds of layer. Right: accuracy on moved images."""
    page = layout.Page(
        layout.BODY + 3.0,
        "What do shared weights save, and what do moves cost without them?",
        "left: 3×3, 64 → 64 channels, no biases; right: one network with and without sharing",
    )
    _weights(page, tables["weights"])
    axes = page.axes(4.3, layout.BODY + 0.2, 1.75, 2.25)
    axes.set_xlim(-0.15, tables["accuracy"]["shift"].max())
    label = "pixels moved"
    draw_accuracy_by_shift(axes, CURVES, tables["accuracy"], details["judged_shift"], label)
    axes.set_title("test accuracy, 95 % intervals")
    return page.figure


def _weights(page: layout.Page, weights: pd.DataFrame) -> None:
    axes = page.axes(0.55, layout.BODY + 0.2, 2.1, 2.25)
    axes.set(xscale="log", yscale="log", xlabel="side of the feature map, pixels")
    axes.grid(visible=True)
    for column, name, colour in [
        ("full", "fully connected", ORANGE),
        ("local", "locally connected,\nnot shared", MUTED),
        ("shared", "shared:\nconvolution", BLUE),
    ]:
        axes.plot(weights["side"], weights[column], color=colour, marker="o", clip_on=False)
        end = weights["side"].iloc[-1], weights[column].iloc[-1]
        layout.label(axes, name, end, (7, 0), color=colour)
    ticks = [side for side in (1, 3, 7, 14, 28, 56, 224) if side in set(weights["side"])]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title("weights")
