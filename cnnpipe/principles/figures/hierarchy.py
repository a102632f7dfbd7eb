"""What layers know of the class, and the patches that excite their filters."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cnnpipe.drawing.layout import (
    BLUE,
    BODY,
    INK,
    INTENSITY,
    MARGIN,
    MUTED,
    ORANGE,
    RULE,
    WIDTH,
    Array,
    Page,
    styled,
)
from cnnpipe.findings.wording import title_of

PANEL = 1.75
"""Inches of a panel's height."""
LARGEST = 0.36
"""Inches of a patch's side, when it is the whole image."""
NAMES = 1.3
BETWEEN = 0.14
"""Inches between the patches of two filters."""


@styled
def draw(tables: Mapping[str, pd.DataFrame], details: Mapping[str, Any]) -> Figure:
    """Probes and class purity by depth, trained and untrained; then the most exciting patches.

    Args:
        tables: `probes`, `purity` and `patches`, as `cnnpipe.principles.hierarchy` gives them.
        details: `linear_accuracy`, `chance` and `top`.
    """
    probes, purity, patches = (tables[name] for name in ("probes", "purity", "patches"))
    models = list(probes["model"].unique())
    layers = patches.groupby(["model", "layer"], sort=False).ngroups
    row = LARGEST + 0.1
    below = {model: 0.3 + 0.04 * _longest(probes, model) for model in models}
    page = Page(
        BODY
        + 0.3
        + (PANEL + 0.35) * len(models)
        + sum(below.values())
        + 0.4
        + row * layers
        + 0.34 * len(models),
        "What each layer knows",
        "of the trained network, and of the same network with random weights",
    )
    top = BODY + 0.3
    half = (WIDTH - 2 * MARGIN - 1.2) / 2
    for model in models:
        _accuracy(page, top, half, probes[probes["model"] == model], model, details)
        _purity(page, top, half, purity[purity["model"] == model], model, details)
        top += PANEL + 0.35 + below[model]
    _most_exciting(page, top, patches, row)
    return page.figure


def _longest(probes: pd.DataFrame, model: str) -> int:
    """Letters of the longest name of a layer, which stand below a panel, aslant."""
    return int(probes.loc[probes["model"] == model, "layer"].str.len().max())


def _accuracy(
    page: Page,
    top: float,
    width: float,
    table: pd.DataFrame,
    model: str,
    details: Mapping[str, Any],
) -> None:
    axes = page.axes(MARGIN + 0.5, top, width, PANEL)
    axes.axhline(details["linear_accuracy"], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    for state, colour, marker in [("untrained", ORANGE, "s"), ("trained", BLUE, "o")]:
        rows = table[table["state"] == state]
        places = range(len(rows))
        axes.fill_between(places, rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
        axes.plot(
            places, rows["accuracy"], color=colour, marker=marker, markersize=3.5, label=state
        )
    axes.set_xticks(range(len(rows)), rows["layer"], rotation=30, ha="right")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.grid(visible=True, axis="y")
    title = f"{title_of(model)}: accuracy of linear probes (dashed: linear on pixels)"
    axes.set_title(title, loc="left", fontsize=7.5, color=MUTED)
    axes.legend(frameon=False, labelcolor="linecolor", loc="lower left", borderpad=0)


def _purity(
    page: Page,
    top: float,
    width: float,
    table: pd.DataFrame,
    model: str,
    details: Mapping[str, Any],
) -> None:
    axes = page.axes(MARGIN + 0.5 + width + 0.6, top, width, PANEL)
    for state, colour, marker in [("untrained", ORANGE, "s"), ("trained", BLUE, "o")]:
        rows = table[table["state"] == state]
        axes.plot(range(len(rows)), rows["purity"], color=colour, marker=marker, markersize=3.5)
    axes.set_xticks(range(len(rows)), rows["layer"], rotation=30, ha="right")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    axes.grid(visible=True, axis="y")
    title = f"{title_of(model)}: of a filter's {details['top']} most exciting images, of one class"
    axes.set_title(title, loc="left", fontsize=7.5, color=MUTED)


def _most_exciting(page: Page, top: float, patches: pd.DataFrame, row: float) -> None:
    page.text(MARGIN, top, "What excites filters most", fontweight="bold")
    note = "the parts of test images that their largest responses see, strongest first"
    page.text(MARGIN + 1.85, top, note, color=MUTED)
    top += 0.32
    pixels = patches.columns[-1]
    whole = int(patches["side"].max())
    ranks = int(patches["rank"].max()) + 1
    shown = int(patches.groupby(["model", "layer"])["filter"].nunique().max())
    pitch = min(LARGEST + 0.02, ((WIDTH - 2 * MARGIN - NAMES) / shown - BETWEEN) / ranks)
    for model, of_model in patches.groupby("model", sort=False):
        page.text(MARGIN, top, title_of(str(model)), color=MUTED)
        top += 0.24
        for layer, rows in of_model.groupby("layer", sort=False):
            first = rows.iloc[0]
            middle = top + row / 2
            page.text(MARGIN, middle - 0.07, str(layer), va="center", fontsize=7.5)
            sees = "sees all" if first["side"] == whole else "sees {0}×{0}".format(first["field"])
            page.text(MARGIN, middle + 0.08, sees, va="center", fontsize=6.5, color=MUTED)
            # Smaller patches are drawn smaller, though less than in proportion, to stay legible.
            side = (pitch - 0.02) * sqrt(first["side"] / whole)
            for place, (_, of_filter) in enumerate(rows.groupby("filter")):
                left = MARGIN + NAMES + place * (ranks * pitch + BETWEEN)
                for patch in of_filter.to_dict("records"):
                    corner = left + patch["rank"] * pitch, middle - side / 2
                    picture = _picture(patch[pixels], patch["side"])
                    INTENSITY.show(page.canvas(*corner, side, side), picture)
                    _frame(page, *corner, side)
            top += row
        top += 0.1


def _picture(pixels: str, side: int) -> Array:
    """
    Shape: (side, side).
    """
    return np.frombuffer(bytes.fromhex(pixels), np.uint8).reshape(side, side)


def _frame(page: Page, left: float, top: float, side: float) -> None:
    right, bottom = left + side, top + side
    corners = [left, right, right, left, left], [top, top, bottom, bottom, top]
    page.line(*corners, color=RULE, linewidth=0.6)
