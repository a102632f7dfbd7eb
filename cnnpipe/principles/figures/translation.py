"""Claim 5: how far outputs are from moving with the image, and what moving costs in accuracy."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, DARK_BLUE, ERRORS, INK, ORANGE
from cnnpipe.drawing.curves import Curve
from cnnpipe.findings.wording import count, percent
from cnnpipe.principles.figures import Details, Tables
from cnnpipe.principles.figures.parts import draw_accuracy_by_shift
from cnnpipe.principles.networks import MAX, MLP

CELL = 0.3
LEFT = 2.1
ACCURACY = 2.5
"""Inches: height of a cell, room for the operations' names, height of the lower panel."""

CURVES = [
    Curve(MLP, INK, "D", dashed=True),
    Curve(MAX, BLUE, "o"),
    Curve("max pooling over the whole map", DARK_BLUE, "^"),
    Curve("max pooling, trained on moved images", ORANGE, "o"),
]


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """Equivariance error by operation and shift; below, accuracy by network and shift."""
    errors = tables["equivariance"]
    operations = list(errors["operation"].unique())
    rows = len(operations) * CELL
    page = layout.Page(
        layout.BODY + 0.55 + rows + 0.95 + ACCURACY + 0.55,
        "Equivariant, invariant: what happens when the image moves?",
        "Above, outputs of layers; below, answers of networks",
    )
    page.heading(layout.MARGIN, layout.BODY, "Error of equivariance, share of the output's norm")
    axes = page.axes(LEFT, layout.BODY + 0.22, layout.RIGHT - LEFT, rows)
    _table_of_errors(axes, errors, operations)

    top = layout.BODY + 0.55 + rows + 0.4
    page.heading(layout.MARGIN, top, "Accuracy on moved images")
    page.note(layout.MARGIN, top + 0.18, "mean over the runs, 95 % interval", fontsize=7.5)
    axes = page.axes(0.6, top + 0.5, layout.WIDTH - 0.6 - 2.5, ACCURACY)
    judged = details["judged_shift"]
    axes.text(judged, 1.02, f"judged at {count(judged, 'pixel')}", fontsize=7, ha="center")
    label = "pixels moved, right, left, down or up"
    axes.set_xlim(-0.15, tables["accuracy"]["shift"].max())
    draw_accuracy_by_shift(axes, CURVES, tables["accuracy"], judged, label)
    return page.figure


def _table_of_errors(axes: Axes, errors: pd.DataFrame, operations: list[str]) -> None:
    table = errors[errors["shift"] > 0].pivot_table(
        index="operation", columns="shift", values="error"
    )
    values = table.loc[operations].to_numpy()
    axes.imshow(values, cmap=ERRORS, norm=Normalize(0, 1), aspect="auto")
    for row in range(len(operations)):
        axes.axhline(row + 0.5, color="white", linewidth=2)
        for column, value in enumerate(values[row]):
            text = "0" if value == 0 else "rounding" if value < 1e-9 else percent(value, 0)
            style: dict[str, Any] = {"color": "white" if value > 0.6 else INK, "fontsize": 7.5}
            axes.text(column, row, text, ha="center", va="center", **style)
    axes.set_yticks(range(len(operations)), operations)
    axes.set_xticks(range(values.shape[1]), [str(shift) for shift in table.columns])
    axes.set_xlabel("pixels moved to the right", loc="left", fontsize=7.5)
    axes.tick_params(length=0)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=8)
    axes.spines[:].set_visible(False)
