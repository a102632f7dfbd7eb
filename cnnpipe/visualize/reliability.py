"""Reliability: whether a model is right as often as its confidence promises."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, MUTED


@layout.styled
def draw(
    bins: Sequence[Mapping[str, Any]],
    title: str,
    subtitle: str,
    *,
    beside: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Accuracy against confidence, and the number of images with that confidence.

    Args:
        bins: as `cnnpipe.evaluate.evaluation.reliability` gives them.
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
    counts.set_title("images, logarithmic")
    for panel in (axes, counts):
        layout.in_percent(panel.xaxis)
        panel.set_xlabel("confidence")
    layout.in_percent(axes.yaxis)
    axes.set_ylabel("accuracy")
    return page.figure
