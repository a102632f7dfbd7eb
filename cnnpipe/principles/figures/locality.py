"""What a neuron sees, layer by layer: its field and its gradients; and how pixels are related."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, MUTED, ORANGE, SEQUENTIAL, Scale
from cnnpipe.drawing.curves import apart
from cnnpipe.findings.wording import title_of
from cnnpipe.principles.figures import Details, Tables

PER_ROW = 10
TILE, GAP = 0.7, 0.1
ROW = TILE + 0.62
"""Inches for a row of maps with the two lines of text below it."""
CHART = 2.5
"""Inches for a row of two charts."""
LINE = 0.15
"""Inches from one name of a curve to the next."""


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """Gradients of each layer, the theoretical field outlined; below, sizes and correlations."""
    layers, maps, relations = tables["layers"], tables["maps"], tables["relations"]
    models = list(dict.fromkeys(layers["model"]))
    rows = sum(ceil((layers["model"] == model).sum() / PER_ROW) for model in models)
    charts = layout.BODY + 0.12 + rows * ROW + 0.26 * len(models)
    page = layout.Page(
        charts + CHART * ceil(len(models) / 2) + CHART,
        "What does one neuron see?",
        "mean size of its gradients by pixel of the image, each map from 0 to its own peak; "
        "orange: the field by theory",
    )
    page.note(
        layout.RIGHT,
        0.15,
        f"{details['outside']:,} of {details['asked']:,} gradients lie outside",
        ha="right",
        fontsize=7.5,
    )
    top = layout.BODY
    for model in models:
        page.heading(layout.MARGIN, top, title_of(model), fontsize=8.5)
        top += 0.26
        rows_of_model = layers[layers["model"] == model].reset_index(drop=True)
        for position, layer in rows_of_model.iterrows():
            line, column = divmod(int(str(position)), PER_ROW)
            image = maps[(maps["model"] == model) & (maps["layer"] == layer["layer"])]
            _map(page, layout.MARGIN + column * (TILE + GAP), top + line * ROW, image, layer)
        top += ceil(len(rows_of_model) / PER_ROW) * ROW
    for place, model in enumerate(models):
        local = layers[(layers["model"] == model) & layers["local"]]
        line, column = divmod(place, 2)
        top = charts + line * CHART
        _sizes(page, 0.55 + 4 * column, top, local, image_side=maps["row"].max() + 1)
    _relations(page, top + CHART, relations)
    return page.figure


def _map(
    page: layout.Page, left: float, top: float, image: pd.DataFrame, layer: pd.Series[Any]
) -> None:
    values = image.filter(regex=r"^x\d+$").to_numpy()
    axes = page.tile(left, top, TILE, values, Scale(0, 1, SEQUENTIAL))
    side = layer["last"] - layer["first"] + 1
    if layer["local"]:
        corner = (layer["first"] - 0.5, layer["first"] - 0.5)
        axes.add_patch(
            Rectangle(corner, side, side, fill=False, color=ORANGE, linewidth=1, clip_on=False)
        )
    name = str(layer["layer"]).replace("block", "b").replace("_", " ")
    page.text(left, top + TILE + 0.06, name, fontsize=7)
    size = f"{layer['theory']}×{layer['theory']}" if layer["local"] else "all pixels"
    page.note(left, top + TILE + 0.22, size, fontsize=7)


def _sizes(
    page: layout.Page, left: float, top: float, layers: pd.DataFrame, image_side: int
) -> None:
    """Sides of the fields in theory and in effect, layer by layer."""
    height, most = 1.4, 1.1 * max(image_side, layers["theory"].max())
    axes = page.axes(left, top + 0.2, 2.85, height)
    axes.grid(visible=True)
    x = np.arange(len(layers))
    last = layers.iloc[-1]
    ends = {column: height * float(last[column]) / most for column in ("theory", "effective")}
    places = apart(ends, LINE)
    for column, colour in [("theory", ORANGE), ("effective", BLUE)]:
        axes.plot(x, layers[column], color=colour, marker="o")
        offset = (7, 72 * (places[column] - ends[column]))
        layout.label(axes, column, (x[-1], last[column]), offset, color=colour)
    axes.axhline(image_side, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    style = {"va": "baseline", "fontsize": 7, "color": MUTED}
    layout.label(axes, "the image", (0, image_side), (0, 3), **style)
    names = [str(name).replace("block", "b").replace("_", " ") for name in layers["layer"]]
    axes.set_xticks(x, names)
    if len(names) > 6:
        layout.slanted(axes, 35)
    axes.set_ylim(0, most)
    model = layers["model"].iloc[0]
    title = f"{title_of(model)}: side of the field, pixels"
    axes.set_title(title)


def _relations(page: layout.Page, top: float, relations: pd.DataFrame) -> None:
    """How closely two pixels are related, by their distance."""
    axes = page.axes(0.55, top + 0.2, layout.RIGHT - 0.55, 1.4)
    axes.grid(visible=True)
    orders = relations.groupby("order", sort=False)
    for (order, rows), colour in zip(orders, (BLUE, ORANGE), strict=True):
        axes.plot(rows["distance"], rows["correlation"], color=colour, marker="o", label=order)
    axes.set_ylim(0)
    axes.set_xlabel("distance, pixels")
    axes.set_title("mean size of the correlation of two pixels of the image")
    axes.legend(labelcolor="linecolor")
