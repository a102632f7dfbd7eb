"""How far the gradient gets through a plain stack, by activation function."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, INK, MUTED, ORANGE
from cnnpipe.principles.figures import Details, Tables

STYLES: dict[str, dict[str, Any]] = {
    "relu": {"label": "ReLU", "color": BLUE, "marker": "o"},
    "tanh": {"label": "tanh", "color": INK, "marker": "s"},
    "sigmoid": {"label": "sigmoid", "color": ORANGE, "marker": "^"},
}
"""Markers differ too, so that the curves can be distinguished without colour."""
LEFT, PITCH = 0.7, 2.6
"""Inches to the first panel, and between two of them."""
PANEL = 2.05
HEIGHT = 1.9


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """Gradients at the start by layer and by depth, in training, and what training reaches."""
    deepest, trained = details["deepest"], details["trained_depth"]
    page = layout.Page(
        layout.BODY + 2 * (HEIGHT + 1.0),
        "The gradient's way back through plain convolutions",
        "root mean square gradient of a layer's weights; mean of the logarithm over seeds",
    )
    tops = [layout.BODY + 0.3, layout.BODY + HEIGHT + 1.3]

    start = tables["start"][tables["start"]["depth"] == deepest]
    for column, (weights, title) in enumerate(
        [("made for it", "weights made for each"), ("default", "default weights")]
    ):
        axes = page.axes(LEFT + column * PITCH, tops[0], PANEL, HEIGHT)
        chosen = start[start["start"] == weights]
        _lines(axes, chosen, "layer", "rms")
        _logarithmic(axes, start["rms"])
        _title(axes, f"at the start: {title}", "convolution, from the image")
        if column == 0:
            axes.set_ylabel("gradient")
            axes.legend(labelcolor="linecolor", loc="lower right")

    axes = page.axes(LEFT + 2 * PITCH, tops[0], PANEL, HEIGHT)
    vanished = tables["vanished"][tables["vanished"]["start"] == "made for it"]
    vanished = vanished.sort_values("depth")
    axes.axhline(0, color=INK, linewidth=0.6)
    _lines(axes, vanished, "depth", "mean", bands=True)
    _title(axes, "orders of magnitude that vanish", "convolutions in the stack")
    axes.xaxis.set_major_locator(FixedLocator(sorted(vanished["depth"].unique())))

    course = tables["course"][tables["course"]["depth"] == trained]
    axes = page.axes(LEFT, tops[1], PANEL, HEIGHT)
    first = course[course["layer"] == 1]
    _lines(axes, first, "step", "rms")
    _logarithmic(axes, first["rms"])
    _title(axes, f"in training: first of {trained} convolutions", "step")
    axes.set_ylabel("gradient")

    summary = tables["summary"]
    for column, (key, title) in enumerate(
        [("accuracy", "test accuracy after training"), ("dead", "dead units after training")], 1
    ):
        axes = page.axes(LEFT + column * PITCH, tops[1], PANEL, HEIGHT)
        _bars(axes, summary, key)
        axes.set_title(title, fontsize=8)
    return page.figure


def _lines(axes: Axes, table: pd.DataFrame, x: str, y: str, *, bands: bool = False) -> None:
    """A line for each activation that the table holds, in a band from `min` to `max` if asked."""
    for activation, style in STYLES.items():
        rows = table[table["activation"] == activation]
        if len(rows):
            axes.plot(rows[x], rows[y], linewidth=1.4, clip_on=False, zorder=3, **style)
        if bands and len(rows):
            band = {"color": style["color"], "alpha": 0.2, "lw": 0}
            axes.fill_between(rows[x], rows["min"], rows["max"], **band)


def _logarithmic(axes: Axes, values: pd.Series[float]) -> None:
    axes.set_yscale("log")
    axes.set_ylim(values.min() / 3, values.max() * 3)
    axes.yaxis.set_major_locator(LogLocator(numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())


def _title(axes: Axes, title: str, label: str) -> None:
    axes.grid(visible=True)
    axes.set_title(title, fontsize=8)
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _bars(axes: Axes, summary: pd.DataFrame, key: str) -> None:
    """A group of bars for each depth, each bar with its number."""
    depths = sorted(summary["depth"].unique())
    present = [name for name in STYLES if (summary["activation"] == name).any()]
    for place, activation in enumerate(present):
        rows = summary[summary["activation"] == activation].set_index("depth").loc[depths]
        lefts = [group + 0.27 * (place - 1) for group in range(len(depths))]
        bars = axes.bar(lefts, rows[key], width=0.24, color=STYLES[activation]["color"])
        labels = [f"{100 * value:.0f}" for value in rows[key]]
        axes.bar_label(bars, labels, fontsize=6.5, padding=2, color=MUTED)
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    axes.set_xlabel("convolutions in the stack")
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1.08)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    layout.in_percent(axes.yaxis)
