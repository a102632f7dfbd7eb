"""Learned filters above the nearest hand-crafted ones; and what learning them is worth."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, INK, ORANGE, RULE, scale_of
from cnnpipe.findings.wording import title_of
from cnnpipe.principles.figures import Details, Tables
from cnnpipe.principles.figures.parts import pixels_of

NAMES = 0.85
"""Inches left of the filters for what a row is."""
PITCH, TILE = 0.44, 0.37
"""Inches between two filters, and of a filter's side."""
CHANCE = 1.15
"""Inches of a histogram's height."""
USE = 0.95
"""Inches of the chart of accuracies with its title."""
MOST = 16
"""Filters that are drawn of each network: the first."""


@layout.styled
def draw(tables: Tables, _details: Details) -> Figure:
    """Each learned filter with its best template, their likeness against chance, and their use."""
    matches, weights, random = (tables[name] for name in ("matches", "weights", "random"))
    pictures = weights.groupby(["model", "filter", "kind"])
    models = list(matches["model"].unique())
    block = 0.3 + 2 * PITCH + 0.35 + CHANCE + 0.6
    page = layout.Page(
        layout.BODY + 0.1 + block * len(models) + USE + 0.4,
        "Learned filters and the hand-crafted ones nearest to them",
        "each picture scaled by itself, white is zero; numbers: cosine of the two",
    )
    top = layout.BODY + 0.1
    for model in models:
        rows = matches[matches["model"] == model]
        page.heading(layout.MARGIN, top, title_of(model))
        side = int(weights[weights["model"] == model]["row"].max()) + 1
        text = f"{len(rows)} filters of {side}×{side}"
        text += f", the first {MOST}" * (len(rows) > MOST)
        page.note(layout.RIGHT, top, text, ha="right")
        for line, kind in enumerate(("learned", "template")):
            middle = top + 0.3 + line * PITCH + TILE / 2
            page.note(layout.MARGIN, middle, kind, fontsize=7.5, va="center")
        for place, row in enumerate(rows.head(MOST).to_dict("records")):
            left = layout.MARGIN + NAMES + place * PITCH
            for line, kind in enumerate(("learned", "template")):
                picture = pixels_of(pictures.get_group((model, row["filter"], kind)), "value")
                canvas = page.canvas(left, top + 0.3 + line * PITCH, TILE, TILE)
                scale_of(picture, signed=True).show(canvas, picture)
                page.frame(left, top + 0.3 + line * PITCH, TILE, TILE, linewidth=0.7)
            number = f"{row['match']:.2f}"
            below = top + 0.3 + 2 * PITCH
            page.note(left + TILE / 2, below, number, ha="center", fontsize=7)
        _chance(page, top + 0.3 + 2 * PITCH + 0.35, rows, random[random["model"] == model])
        top += block
    _use(page, top, tables["use"])
    return page.figure


def _chance(page: layout.Page, top: float, rows: pd.DataFrame, random: pd.DataFrame) -> None:
    """Where the learned filters lie among random ones of the same size."""
    width = layout.INNER_WIDTH - NAMES
    axes = page.axes(layout.MARGIN + NAMES, top + 0.1, width, CHANCE - 0.1)
    share = random["filters"] / random["filters"].sum()
    axes.bar(
        random["from"], share, width=random["to"] - random["from"], align="edge", color=RULE, lw=0
    )
    highest = float(share.max())
    axes.vlines(rows["match"], 0, 0.55 * highest, color=BLUE, linewidth=1.5, zorder=3)
    for value, name, colour, height in [
        (rows["match"].mean(), "learned", BLUE, 1.14),
        (rows["random as smooth"].mean(), "random, as smooth", ORANGE, 1.34),
        (rows["random"].mean(), "random", INK, 1.14),
    ]:
        axes.plot(value, height * highest, marker="v", color=colour, markersize=5, clip_on=False)
        side, offset = ("right", -6) if name == "random" else ("left", 6)
        point, style = (value, height * highest), {"ha": side, "color": colour, "fontsize": 7}
        layout.label(axes, f"{name} {value:.2f}", point, (offset, 0), **style)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.5 * highest)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(
        "cosine with the best template (grey: random filters; blue lines: each learned filter; "
        "triangles: means)"
    )


def _use(page: layout.Page, top: float, use: pd.DataFrame) -> None:
    """Accuracy with first layers that are learned, and with some that are given and kept."""
    left = layout.MARGIN + NAMES + 0.7
    axes = page.axes(left, top + 0.25, layout.RIGHT - left, USE - 0.25)
    places = range(len(use))
    axes.hlines(places, use["low"], use["high"], color=BLUE, linewidth=1.4)
    axes.plot(use["accuracy"], places, "o", color=BLUE)
    axes.set_yticks(places, use["network"])
    axes.set_ylim(len(use) - 0.5, -0.5)
    axes.grid(visible=True, axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    layout.in_percent(axes.xaxis)
    axes.set_title("accuracy of a small network with such a first layer; 95 % intervals")
