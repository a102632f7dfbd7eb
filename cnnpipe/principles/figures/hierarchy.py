"""What layers know of the class, and the patches that excite their filters."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, INTENSITY, MUTED, ORANGE, Array
from cnnpipe.findings.wording import title_of
from cnnpipe.principles.figures import Details, Tables

LEFT, PANEL_WIDTH, PANEL = layout.MARGIN + 0.5, (layout.INNER_WIDTH - 1.2) / 2, 1.75
"""Inches from the left edge to the first panel, of a panel's width and of its height."""
LARGEST = 0.36
"""Inches of a patch's side, when it is the whole image."""
NAMES = 1.3
BETWEEN = 0.14
"""Inches between the patches of two filters."""
STATES = [("untrained", ORANGE, "s"), ("trained", BLUE, "o")]
PROBED = [
    ("random weights", MUTED, "v"),
    ("pixels in a random order", ORANGE, "s"),
    ("images as they are", BLUE, "o"),
]
"""State, colour and marker."""


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """Probes, responses to shuffled images and class purity by depth; the most exciting patches."""
    probes, purity, patches = (tables[name] for name in ("probes", "purity", "patches"))
    models = list(purity["model"].unique())
    layers = patches.groupby(["model", "layer"], sort=False).ngroups
    row = LARGEST + 0.1
    panels = ["accuracy", details["tiles"], *models]  # purity for each network
    below = 0.3 + 0.04 * int(purity["layer"].str.len().max())  # the longest name, aslant
    lines = ceil(len(panels) / 2)
    page = layout.Page(
        layout.BODY
        + 0.3
        + (PANEL + 0.35 + below) * lines
        + 0.4
        + row * layers
        + 0.34 * len(models),
        "What each layer knows",
        "first two panels: newly trained networks, mean over the runs, 95 % interval of probes; "
        "all else: those of the pipeline",
    )
    top = layout.BODY + 0.3
    titles = {
        "accuracy": "LeNet-5: accuracy of linear probes",
        details["tiles"]: f"LeNet-5: correlation of responses, {details['tiles']} shuffled",
    }
    for place, panel in enumerate(panels):
        line, column = divmod(place, 2)
        corner = LEFT + column * (PANEL_WIDTH + 0.6), top + line * (PANEL + 0.35 + below)
        if title := titles.get(panel):
            table = probes if panel == "accuracy" else tables["shuffled"]
            axes = _by_layer(page, *corner, table, panel, PROBED)
            axes.set_title(title, fontsize=7.5)
            if place == 0:
                axes.legend(labelcolor="linecolor", loc="lower left", fontsize=7)
            continue
        model = panel
        axes = _by_layer(page, *corner, purity[purity["model"] == model], "purity", STATES)
        axes.legend(labelcolor="linecolor", loc="lower right", fontsize=7)
        axes.set_ylim(0, 1)
        title = f"of a filter's {details['top']} most exciting images, of one class"
        axes.set_title(f"{title_of(model)}: {title}", fontsize=7.5)
    top += lines * (PANEL + 0.35 + below)
    _most_exciting(page, top, patches, row)
    return page.figure


def _by_layer(
    page: layout.Page,
    left: float,
    top: float,
    table: pd.DataFrame,
    column: str,
    states: Sequence[tuple[str, str, str]],
) -> Axes:
    """One quantity by layer, in each state of the network."""
    axes = page.axes(left, top, PANEL_WIDTH, PANEL)
    for state, colour, marker in states:
        rows = table[table["state"] == state]
        places = range(len(rows))
        if column == "accuracy":
            axes.fill_between(places, rows["low"], rows["high"], color=colour, alpha=0.2, lw=0)
        style: dict[str, Any] = {"color": colour, "marker": marker, "linewidth": 1.5}
        axes.plot(places, rows[column], label=state, **style)
    axes.set_xticks(range(len(rows)), rows["layer"], rotation=30, ha="right")
    if column in ("accuracy", "purity"):
        layout.in_percent(axes.yaxis, decimals=0)
    axes.grid(visible=True, axis="y")
    return axes


def _most_exciting(page: layout.Page, top: float, patches: pd.DataFrame, row: float) -> None:
    page.heading(layout.MARGIN, top, "What excites filters most")
    note = "the parts of test images that their largest responses see, strongest first"
    page.note(layout.MARGIN + 1.85, top, note)
    top += 0.32
    pixels = patches.columns[-1]
    whole = int(patches["side"].max())
    ranks = int(patches["rank"].max()) + 1
    shown = int(patches.groupby(["model", "layer"])["filter"].nunique().max())
    pitch = min(LARGEST + 0.02, ((layout.INNER_WIDTH - NAMES) / shown - BETWEEN) / ranks)
    for model, of_model in patches.groupby("model", sort=False):
        page.note(layout.MARGIN, top, title_of(str(model)))
        top += 0.24
        for layer, rows in of_model.groupby("layer", sort=False):
            first = rows.iloc[0]
            middle = top + row / 2
            page.text(layout.MARGIN, middle - 0.07, str(layer), va="center", fontsize=7.5)
            sees = "sees all" if first["side"] == whole else "sees {0}×{0}".format(first["field"])
            page.note(layout.MARGIN, middle + 0.08, sees, va="center", fontsize=6.5)
            # Smaller patches are drawn smaller, though less than in proportion, to stay legible.
            side = (pitch - 0.02) * sqrt(first["side"] / whole)
            for place, (_, of_filter) in enumerate(rows.groupby("filter")):
                left = layout.MARGIN + NAMES + place * (ranks * pitch + BETWEEN)
                for patch in of_filter.to_dict("records"):
                    corner = left + patch["rank"] * pitch, middle - side / 2
                    picture = _picture(patch[pixels], patch["side"])
                    INTENSITY.show(page.canvas(*corner, side, side), picture)
                    page.frame(*corner, side, side, linewidth=0.6)
            top += row
        top += 0.1


def _picture(pixels: str, side: int) -> Array:
    """
    Shape: (side, side).
    """
    return np.frombuffer(bytes.fromhex(pixels), np.uint8).reshape(side, side)
