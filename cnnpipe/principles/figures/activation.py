"""How far the gradient gets through a plain stack, by activation function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from cnnpipe.drawing.layout import BLUE, BODY, INK, MUTED, ORANGE, Page, styled

LOOKS = {
    "relu": ("ReLU", BLUE, "o"),
    "tanh": ("tanh", INK, "s"),
    "sigmoid": ("sigmoid", ORANGE, "^"),
}
"""Title, colour and marker, so that the three are told apart without colour too."""
LEFT, PITCH = 0.7, 2.6
"""Inches to the first panel, and between two of them."""
PANEL = 2.05
HEIGHT = 1.9


@styled
def draw(tables: Mapping[str, pd.DataFrame], details: Mapping[str, Any]) -> Figure:
    """Gradients at the start by layer and by depth, in training, and what training reaches.

    Args:
        tables: `start`, `vanished`, `course` and `summary`, as `cnnpipe.principles.activation`
            gives them.
        details: `deepest` and `trained_depth`, in convolutions.
    """
    deepest, trained = details["deepest"], details["trained_depth"]
    page = Page(
        BODY + 2 * (HEIGHT + 1.0),
        "The gradient's way back through plain convolutions",
        "root mean square gradient of a layer's weights; mean of the logarithm over seeds",
    )
    tops = [BODY + 0.3, BODY + HEIGHT + 1.3]

    start = tables["start"][tables["start"]["depth"] == deepest]
    for column, (weights, title) in enumerate(
        [("made for it", "weights made for each"), ("default", "default weights")]
    ):
        axes = page.axes(LEFT + column * PITCH, tops[0], PANEL, HEIGHT)
        chosen = start[start["start"] == weights]
        for activation, style in _styles(chosen):
            rows = chosen[chosen["activation"] == activation]
            axes.plot(rows["layer"], rows["rms"], **style)
        _logarithmic(axes, start["rms"])
        _title(axes, f"at the start: {title}", "convolution, from the image")
        if column == 0:
            axes.set_ylabel("gradient")
            axes.legend(frameon=False, labelcolor="linecolor", loc="lower right", borderpad=0)

    axes = page.axes(LEFT + 2 * PITCH, tops[0], PANEL, HEIGHT)
    vanished = tables["vanished"][tables["vanished"]["start"] == "made for it"]
    axes.axhline(0, color=INK, linewidth=0.6)
    for activation, style in _styles(vanished):
        rows = vanished[vanished["activation"] == activation].sort_values("depth")
        axes.plot(rows["depth"], rows["mean"], **style)
        axes.fill_between(
            rows["depth"], rows["min"], rows["max"], color=style["color"], alpha=0.2, lw=0
        )
    _title(axes, "orders of magnitude that vanish", "convolutions in the stack")
    axes.xaxis.set_major_locator(FixedLocator(sorted(vanished["depth"].unique())))

    course = tables["course"][tables["course"]["depth"] == trained]
    axes = page.axes(LEFT, tops[1], PANEL, HEIGHT)
    first = course[course["layer"] == 1]
    for activation, style in _styles(first):
        rows = first[first["activation"] == activation]
        axes.plot(rows["step"], rows["rms"], **style)
    _logarithmic(axes, first["rms"])
    _title(axes, f"in training: first of {trained} convolutions", "step")
    axes.set_ylabel("gradient")

    summary = tables["summary"]
    for column, (key, title) in enumerate(
        [("accuracy", "test accuracy after training"), ("dead", "dead units after training")], 1
    ):
        axes = page.axes(LEFT + column * PITCH, tops[1], PANEL, HEIGHT)
        _bars(axes, summary, key)
        axes.set_title(title, loc="left", fontsize=8, color=MUTED)
    return page.figure


def _styles(table: pd.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    """How each activation that a table holds is drawn."""
    return [
        (
            name,
            {
                "label": title,
                "color": colour,
                "marker": marker,
                "linewidth": 1.4,
                "markersize": 3.5,
                "clip_on": False,
                "zorder": 3,
            },
        )
        for name, (title, colour, marker) in LOOKS.items()
        if (table["activation"] == name).any()
    ]


def _logarithmic(axes: Axes, values: pd.Series[float]) -> None:
    axes.set_yscale("log")
    axes.set_ylim(values.min() / 3, values.max() * 3)
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())


def _title(axes: Axes, title: str, label: str) -> None:
    axes.grid(visible=True)
    axes.set_title(title, loc="left", fontsize=8, color=MUTED)
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _bars(axes: Axes, summary: pd.DataFrame, key: str) -> None:
    """A group of bars for each depth, each bar with its number."""
    depths = sorted(summary["depth"].unique())
    for place, (activation, style) in enumerate(_styles(summary)):
        rows = summary[summary["activation"] == activation].set_index("depth").loc[depths]
        bars = axes.bar(
            [group + 0.27 * (place - 1) for group in range(len(depths))],
            rows[key],
            width=0.24,
            color=style["color"],
        )
        labels = [f"{100 * value:.0f}" for value in rows[key]]
        axes.bar_label(bars, labels, fontsize=6.5, padding=2, color=MUTED)
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    axes.set_xlabel("convolutions in the stack")
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1.08)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
