"""How training went and what the network gets wrong: curves, confusion, the worst mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import (
    BLUE,
    ERRORS,
    GROUND,
    INK,
    INTENSITY,
    MUTED,
    ORANGE,
    SEQUENTIAL,
    Array,
)
from cnnpipe.findings.wording import percent

TILES_PER_ROW = 6
TILE = 1.15


@layout.styled
def training_curves(
    curves: pd.DataFrame, title: str, *, beside: pd.DataFrame | None = None
) -> Figure:
    """Loss and accuracy after each epoch, in training and on the validation images.

    Args:
        curves: columns epoch, train_loss, train_accuracy, validation_loss, validation_accuracy.
        title: of the figure.
        beside: curves of another run, which are not drawn but fit on the same axes.
    """
    page = layout.Page(3.4, title, "after each epoch")
    for column, (quantity, label) in enumerate(
        [("loss", "cross-entropy loss"), ("accuracy", "accuracy")]
    ):
        axes = page.axes(0.65 + 4.1 * column, layout.BODY + 0.15, 3.3, 1.9)
        axes.grid(visible=True)
        for part, name, colour in [
            ("train", "training", BLUE),
            ("validation", "validation", ORANGE),
        ]:
            axes.plot(
                curves["epoch"],
                curves[f"{part}_{quantity}"],
                label=name,
                color=colour,
                linewidth=1.6,
                marker="o",
                markersize=3.5,
                clip_on=False,
                zorder=3,
            )
        axes.set_title(label)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if beside is not None:
            unseen = beside[[f"train_{quantity}", f"validation_{quantity}"]].to_numpy()
            axes.update_datalim(
                [(x, y) for x, ys in zip(beside["epoch"], unseen, strict=True) for y in ys]
            )
            axes.autoscale_view()
        if quantity == "loss":
            axes.set_ylim(bottom=0)
            legend = axes.legend(
                frameon=False, labelcolor="linecolor", ncols=2, loc="lower right", borderpad=0
            )
            legend.set_bbox_to_anchor((1, 1.02), transform=axes.transAxes)
        else:
            axes.set_ylim(top=1)
            layout.in_percent(axes.yaxis)
    return page.figure


@layout.styled
def confusion(
    counts: Array, classes: Sequence[str], title: str, *, beside: Array | None = None
) -> Figure:
    """Counts of true against predicted class, and the errors once more on a scale of their own.

    Shape: counts (K, K), rows true, columns predicted.

    Args:
        counts: of images.
        classes: their names.
        title: of the figure.
        beside: counts of another network, which are not drawn but share the scales.
    """
    errors = _errors(counts)
    reach = counts if beside is None else np.maximum(counts, beside)
    error_reach = errors if beside is None else np.maximum(errors, _errors(beside))
    longest = max(map(len, classes))
    slanted = longest > 2
    left, between = 0.5 + 0.065 * longest, 0.45
    side = (layout.RIGHT - left - between) / 2
    below = 0.5 + (0.06 * longest if slanted else 0)
    page = layout.Page(
        layout.BODY + 0.2 + side + below,
        title,
        f"{counts.sum():,} images, {errors.sum():,} errors; each panel has its own scale",
    )
    ticks = np.arange(len(classes))
    for column, (label, values, within, colours) in enumerate(
        [
            ("all predictions", counts, reach, SEQUENTIAL),
            ("errors alone", errors, error_reach, ERRORS),
        ]
    ):
        axes = page.axes(left + column * (side + between), layout.BODY + 0.2, side, side)
        largest = max(1, within.max())
        axes.imshow(values, cmap=colours, norm=Normalize(0, largest))
        axes.set_title(label)
        axes.set_xlabel("predicted")
        axes.set_xticks(ticks, classes)
        if slanted:
            axes.tick_params(axis="x", labelrotation=40)
            for name in axes.get_xticklabels():
                name.set(ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, classes if column == 0 else [])
        axes.set_ylabel("true" if column == 0 else "")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(True)
        for (true, predicted), count in np.ndenumerate(values):
            if count:
                colour = "white" if count > 0.5 * largest else INK
                cell = axes.text(predicted, true, f"{count}", color=colour, fontsize=6.5)
                cell.set(ha="center", va="center")
    for diagonal in ticks:
        axes.add_patch(Rectangle((diagonal - 0.5, diagonal - 0.5), 1, 1, color=GROUND, lw=0))
    return page.figure


def _errors(counts: Array) -> Array:
    without: Array = counts - np.diag(np.diag(counts))
    return without


@layout.styled
def reliability(
    bins: Sequence[Mapping[str, Any]],
    title: str,
    subtitle: str,
    *,
    beside: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Accuracy against confidence, and beside it how many images have that confidence.

    Args:
        bins: as `cnnpipe.evaluate.evaluation.reliability` gives them.
        title: of the figure.
        subtitle: of the figure.
        beside: bins of another network, which are not drawn but fit on the same axes.
    """
    page = layout.Page(5.0, title, subtitle)
    left, width = 0.65, 3.6
    axes = page.axes(left, layout.BODY + 0.15, width, width)
    axes.grid(visible=True)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    confidence, accuracy = ([row[key] for row in bins] for key in ("confidence", "accuracy"))
    for row in bins:
        axes.plot([row["confidence"]] * 2, row["interval"], color=BLUE, linewidth=1.2, alpha=0.55)
    axes.plot(
        confidence, accuracy, color=BLUE, linewidth=0, marker="o", markersize=4.5, clip_on=False
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_title("accuracy by confidence")
    counts = page.axes(
        left + width + 0.75, layout.BODY + 0.15, layout.RIGHT - left - width - 0.9, width
    )
    counts.grid(visible=True, axis="y")
    edges = [row["low"] for row in bins]
    widths = [row["high"] - row["low"] for row in bins]
    counts.bar(edges, [row["images"] for row in bins], widths, align="edge", color=BLUE, lw=0)
    counts.set_yscale("log")
    counts.set_ylim(0.5, 2 * max(row["images"] for row in [*bins, *beside]))
    counts.set_xlim(0, 1)
    counts.set_title("images, logarithmic", fontsize=8.5)
    for panel in (axes, counts):
        layout.in_percent(panel.xaxis)
        panel.set_xlabel("confidence")
    layout.in_percent(axes.yaxis)
    axes.set_ylabel("accuracy")
    return page.figure


@layout.styled
def worst_mistakes(
    images: Array, mistakes: pd.DataFrame, classes: Sequence[str], title: str
) -> Figure:
    """Wrongly classified images in the order of the table, with both probabilities.

    Shape: images (n, H, W), 0 to 255.

    Args:
        images: the image of each row.
        mistakes: columns index, label, prediction, confidence, probability_of_label.
        classes: their names.
        title: of the figure.
    """
    columns, longest = TILES_PER_ROW, max(map(len, classes))
    rows = ceil(len(mistakes) / columns)
    pitch = (layout.INNER_WIDTH - TILE) / (columns - 1), TILE + 0.85
    subtitle = "most confident first; orange: what it said, blue: what it is"
    page = layout.Page(layout.BODY + rows * pitch[1], title, subtitle if rows else "there are none")
    for place, mistake in enumerate(mistakes.to_dict("records")):
        left = layout.MARGIN + place % columns * pitch[0]
        top = layout.BODY + place // columns * pitch[1]
        INTENSITY.show(page.canvas(left, top, TILE, TILE), images[place])
        page.line([left, left + TILE], [top + TILE] * 2, color=INK, linewidth=0.6)
        answers = [
            (mistake["prediction"], mistake["confidence"], ORANGE),
            (mistake["label"], mistake["probability_of_label"], BLUE),
        ]
        for row, (answer, probability, colour) in enumerate(answers):
            baseline = top + TILE + 0.09 + 0.22 * row
            style = {"color": colour, "fontsize": 8 if longest <= 6 else 6.5}
            page.heading(left, baseline, classes[int(answer)], **style)
            page.text(left + TILE, baseline, percent(probability), ha="right", **style)
            ends = [left, left + TILE * float(probability)]
            underline = {"linewidth": 1.6, "solid_capstyle": "butt"}
            page.line([left, left + TILE], [baseline + 0.16] * 2, color=GROUND, **underline)
            page.line(ends, [baseline + 0.16] * 2, color=colour, **underline)
        index = f"test image {mistake['index']}"
        page.note(left, top + TILE + 0.53, index, fontsize=6.5)
    return page.figure
