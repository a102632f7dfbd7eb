"""How many neurons are zero, layer by layer."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, INK, MUTED, ORANGE
from cnnpipe.findings.wording import title_of
from cnnpipe.principles.figures import Details, Tables

ROW = 0.27
"""Inches between two layers."""
LABELS = 1.15
"""Inches for the layers' names."""


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """Zeros behind each activation, trained and untrained, a panel for each network."""
    layers = tables["layers"]
    models = list(layers["model"].unique())
    rows = max(layers[layers["model"] == model]["layer"].nunique() for model in models)
    page = layout.Page(
        layout.BODY + 0.3 + ROW * rows + 0.55,
        "Neurons that are exactly zero",
        f"share of each layer's neurons, mean over {details['images']:,} test images; "
        "bars: 90 of 100 images",
    )
    width = (layout.INNER_WIDTH - LABELS * len(models)) / len(models) - 0.15
    for panel, model in enumerate(models):
        table = layers[layers["model"] == model]
        names = list(table["layer"].unique())
        left = layout.MARGIN + LABELS + panel * (width + LABELS + 0.15)
        axes = page.axes(left, layout.BODY + 0.2, width, ROW * len(names))
        axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        for state, colour, fill, shift in [
            ("untrained", ORANGE, "white", 0.14),
            ("trained", BLUE, BLUE, -0.14),
        ]:
            part = table[table["state"] == state]
            heights = [names.index(name) + shift for name in part["layer"]]
            low, high = part["5 % of images"], part["95 % of images"]
            axes.hlines(heights, low, high, color=colour, linewidth=1.4, alpha=0.55)
            style: dict[str, Any] = {"color": colour, "markerfacecolor": fill, "markersize": 4.5}
            axes.plot(part["zero"], heights, "o", label=state, zorder=3, **style)
        axes.set_yticks(range(len(names)), names)
        axes.get_yticklabels()[-1].set(fontweight="bold", color=INK)
        axes.axhline(len(names) - 1.5, color=MUTED, linewidth=0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        layout.in_percent(axes.xaxis)
        axes.grid(visible=True, axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_title(title_of(model))
        axes.set_xlabel("exactly zero (dashed: half)")
        if panel == len(models) - 1:
            # Above all panels, as their titles may be long.
            corner = (layout.RIGHT / layout.WIDTH, 1 - 0.06 / page.height)
            place: dict[str, Any] = {"loc": "upper right", "bbox_to_anchor": corner}
            place["bbox_transform"] = page.figure.transFigure
            axes.legend(labelcolor=[ORANGE, BLUE], ncols=2, **place)
    return page.figure
