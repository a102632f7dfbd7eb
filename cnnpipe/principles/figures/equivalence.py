"""Claim 1: kernels that mirror each other, and how far apart they come in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cnnpipe.drawing.layout import (
    BLUE,
    BODY,
    INK,
    MARGIN,
    MUTED,
    ORANGE,
    RULE,
    WIDTH,
    Array,
    Page,
    scale_of,
    styled,
)

TILE, GAP = 0.46, 0.1
FLOOR = 1e-18
"""Where an exact zero stands on the logarithmic axis."""


@styled
def draw(tables: Mapping[str, pd.DataFrame], details: Mapping[str, Any]) -> Figure:
    """The first layer of both networks after training, and the distance between all kernels.

    Args:
        tables: `training` and `kernels` of `cnnpipe.principles.equivalence`.
        details: tolerance.
    """
    steps = tables["training"]
    page = Page(
        BODY + 3.25,
        "Do cross-correlation and convolution learn mirror images?",
        f"LeNet-5 in double precision, {int(steps['step'].max())} steps on the same batches",
    )
    _kernels(page, tables["kernels"])
    left = 4.55
    axes = page.axes(left, BODY + 0.1, WIDTH - left - 1.5, 2.45)
    axes.set_yscale("log")
    axes.grid(visible=True)
    for column, colour, side, label in [
        ("control", ORANGE, "bottom", "apart, control:\nunflipped start"),
        ("moved", MUTED, "top", "moved by\ntraining"),
        ("apart", BLUE, "center", "apart:\nflipped start"),
    ]:
        shown = steps[steps["step"] > 0]
        heights = shown[column].clip(lower=FLOOR)
        axes.plot(shown["step"], heights, color=colour, linewidth=1.6, clip_on=False)
        axes.annotate(
            label,
            (shown["step"].iloc[-1], heights.iloc[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            va=side,
            fontsize=7.5,
        )
    final = steps.iloc[-1]
    tolerance = details["tolerance"] * final["moved"]
    axes.axhline(tolerance, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.annotate(
        "refuted above",
        (0, tolerance),
        xytext=(3, 3),
        textcoords="offset points",
        fontsize=7,
        color=INK,
    )
    axes.set(xlim=(0, None), ylim=(FLOOR / 2, 10), xlabel="step")
    axes.set_title("largest distance of any weight", loc="left", fontsize=8.5, color=MUTED)
    return page.figure


def _kernels(page: Page, table: pd.DataFrame) -> None:
    rows = [
        ("cross-correlation", "cross-correlation", False),
        ("convolution", "convolution", False),
        ("convolution", "convolution, turned by half a turn", True),
    ]
    scale = scale_of(table["weight"].to_numpy(), signed=True)
    page.text(MARGIN, BODY, "first layer after training", color=MUTED)
    for row, (network, name, turned) in enumerate(rows):
        kernels = _stack(table[table["network"] == network])
        top = BODY + 0.3 + row * (TILE + 0.42)
        page.text(MARGIN, top, name, fontsize=7.5, fontweight="bold")
        for position, kernel in enumerate(kernels[:6]):
            left = MARGIN + position * (TILE + GAP)
            axes = page.axes(left, top + 0.2, TILE, TILE)
            scale.show(axes, kernel[::-1, ::-1] if turned else kernel)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color=RULE)
    page.colour_bar(MARGIN + 0.2, BODY + 0.36 + 3 * (TILE + 0.42), 6 * (TILE + GAP) - 0.5, scale)


def _stack(table: pd.DataFrame) -> Array:
    """
    Shape: one row per weight → (kernels, rows, columns).
    """
    shape = tuple(int(table[axis].max()) + 1 for axis in ("kernel", "row", "column"))
    ordered = table.sort_values(["kernel", "row", "column"])
    return ordered["weight"].to_numpy().reshape(shape)
