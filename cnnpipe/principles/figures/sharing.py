"""Claim 4: what weights cost by size of feature map, and what sharing them buys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, MUTED, ORANGE
from cnnpipe.principles.figures import Details, Tables


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """Left: weights of three kinds of layer. Right: accuracy by training-set size, runs as dots."""
    page = layout.Page(
        layout.BODY + 3.0,
        "What do shared weights save, and what do they buy?",
        "left: 3×3, 64 → 64 channels, no biases; right: one network with and without sharing",
    )
    _weights(page, tables["weights"])
    _accuracy(page, tables["accuracy"], tables["runs"], details["networks"])
    return page.figure


def _weights(page: layout.Page, weights: pd.DataFrame) -> None:
    axes = page.axes(0.55, layout.BODY + 0.2, 2.5, 2.25)
    axes.set(xscale="log", yscale="log", xlabel="side of the feature map, pixels")
    axes.grid(visible=True)
    for column, name, colour in [
        ("full", "fully connected", ORANGE),
        ("local", "locally connected,\nnot shared", MUTED),
        ("shared", "shared:\nconvolution", BLUE),
    ]:
        axes.plot(weights["side"], weights[column], color=colour, marker="o", clip_on=False)
        end = weights["side"].iloc[-1], weights[column].iloc[-1]
        layout.label(axes, name, end, (7, 0), color=colour)
    ticks = [side for side in (1, 3, 7, 14, 28, 56, 224) if side in set(weights["side"])]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_title("weights")


def _accuracy(
    page: layout.Page, accuracy: pd.DataFrame, runs: pd.DataFrame, parameters: Mapping[str, int]
) -> None:
    axes = page.axes(4.95, layout.BODY + 0.2, 2.15, 2.25)
    axes.grid(visible=True, axis="y")
    sizes = sorted(accuracy["train_size"].unique())
    for form, name, colour, shift in [
        ("shared", "shared", BLUE, -0.08),
        ("local", "not shared", ORANGE, 0.08),
    ]:
        means = accuracy[accuracy["form"] == form].sort_values("train_size")
        x = np.arange(len(sizes)) + shift
        half = (means["high"] - means["low"]) / 2
        bar: dict[str, Any] = {"capsize": 3, "marker": "o", "markersize": 4.5}
        axes.errorbar(x, means["accuracy"], yerr=half, color=colour, **bar)
        points = runs[runs["form"] == form]
        places = [sizes.index(size) + shift * 2.2 for size in points["train_size"]]
        axes.plot(places, points["accuracy"], ".", color=colour, markersize=3, alpha=0.6)
        end, offset = (x[-1], means["accuracy"].iloc[-1]), (14, 9 if form == "shared" else -9)
        layout.label(axes, f"{name}\n{parameters[form]:,} param.", end, offset, color=colour)
    axes.set_xticks(np.arange(len(sizes)), [f"{size:,}" for size in sizes])
    axes.set_xlim(-0.4, len(sizes) - 0.6)
    axes.set_xlabel("training images")
    layout.in_percent(axes.yaxis)
    axes.set_title("test accuracy, 95 % intervals")
