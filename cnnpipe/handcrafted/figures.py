"""Hand-crafted features against networks: what is done to a digit, what each sees of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import (
    BLUE,
    INK,
    INTENSITY,
    MUTED,
    ORANGE,
    RULE,
    Array,
    Scale,
    scale_of,
)
from cnnpipe.findings.wording import short

DARK_BLUE, LIGHT_BLUE, PALE_BLUE, DARK_ORANGE = "#0d4a86", "#559bd3", "#97c1e6", "#8c3a05"
LINES: dict[tuple[str, str], dict[str, Any]] = {
    ("pixels", "augmented"): {"color": MUTED, "linestyle": ":", "marker": ""},
    ("sobel", "augmented"): {"color": PALE_BLUE, "marker": "v"},
    ("canny", "augmented"): {"color": LIGHT_BLUE, "marker": "^"},
    ("hog", "augmented"): {"color": BLUE, "marker": "s"},
    ("sift", "augmented"): {"color": DARK_BLUE, "marker": "D"},
    ("lenet5", "augmented"): {"color": ORANGE, "marker": "o"},
    ("lenet5", "pipeline"): {"color": ORANGE, "marker": "o", "linestyle": "--", "mfc": "white"},
    ("vgg", "pipeline"): {"color": DARK_ORANGE, "marker": "P", "linestyle": "--", "mfc": "white"},
}
"""Blue: designed; orange: learned; broken: learned from all training images."""
STROKE: dict[str, Any] = {"linewidth": 1.2, "markersize": 3}


@layout.styled
def robustness(table: pd.DataFrame, titles: Mapping[str, str], units: Mapping[str, str]) -> Figure:
    """Accuracy against severity, a panel for each corruption, all on one scale.

    Args:
        table: columns method, training, corruption, severity, accuracy, images.
        titles: of the methods.
        units: of each corruption's severity.
    """
    subtitle = f"accuracy on {table['images'].max():,} test images, against severity; 0 is clean"
    page = layout.Page(5.2, "How far each feature carries when the digit changes", subtitle)
    drawn = {key: line for key, line in LINES.items() if key in _keys(table)}
    for place, (corruption, unit) in enumerate(units.items()):
        row, column = divmod(place, 4)
        axes = page.axes(0.55 + 1.97 * column, layout.BODY + 0.2 + 2.15 * row, 1.6, 1.45)
        axes.grid(visible=True, axis="y")
        for (method, training), line in drawn.items():
            curve = table[
                (table["method"] == method)
                & (table["training"] == training)
                & (table["corruption"] == corruption)
            ]
            style = {**STROKE, **line, "clip_on": False, "zorder": 3}
            axes.plot(curve["severity"], curve["accuracy"], **style)
        severities = sorted(table[table["corruption"] == corruption]["severity"].unique())
        axes.set_title(corruption, loc="left", fontsize=9, color=INK, fontweight="bold")
        axes.set_xticks(severities, [short(severity) for severity in severities])
        axes.set_xlabel(unit, fontsize=7.5, labelpad=2)
        axes.set_xlim(0, severities[-1])
        axes.set_ylim(0, 1)
        layout.in_percent(axes.yaxis)
        axes.tick_params(labelsize=6.5)
        if column:
            axes.set_yticklabels([])
    legend = page.axes(0.55 + 1.97 * 3 - 0.1, layout.BODY + 2.3, 1.9, 1.8)
    legend.set_axis_off()
    suffix = {"augmented": "", "pipeline": ", all images"}
    legend.legend(
        handles=[
            Line2D([], [], **{"label": titles[method] + suffix[training], **STROKE, **line})
            for (method, training), line in drawn.items()
        ],
        loc="upper left",
        frameon=False,
        fontsize=7.5,
        borderpad=0,
        handlelength=2.4,
    )
    return page.figure


@layout.styled
def corruptions(
    clean: Array, levels: Mapping[str, tuple[Array, Sequence[float], str]], subtitle: str
) -> Figure:
    """One digit under every corruption at every severity; 0 is the digit as stored.

    Shape: clean (H, W); images of each corruption (severities, H, W), all 0 to 255.

    Args:
        clean: the digit as it is stored.
        levels: corruption → images, severities, what a severity counts.
        subtitle: of the figure.
    """
    rows = -(-len(levels) // 2)
    tile, pitch = 0.6, 1.05
    page = layout.Page(
        layout.BODY + rows * pitch + 0.1, f"One digit under {len(levels)} corruptions", subtitle
    )
    for place, (name, (images, severities, unit)) in enumerate(levels.items()):
        column, row = divmod(place, rows)
        left, top = layout.MARGIN + column * 4.15, layout.BODY + row * pitch
        page.heading(left, top, name)
        page.note(left + 0.85, top, unit, fontsize=7.5)
        shown = [(clean, "0"), *zip(images, map(short, severities), strict=True)]
        for step, (image, severity) in enumerate(shown):
            x = left + step * (tile + 0.15)
            axes = page.canvas(x, top + 0.2, tile, tile)
            INTENSITY.show(axes, image)
            _frame(axes, image)
            where = {"ha": "center", "fontsize": 7, "color": MUTED}
            page.text(x + tile / 2, top + 0.2 + tile + 0.03, severity, **where)
    return page.figure


@layout.styled
def views(seen: Mapping[str, Mapping[str, Array]], network: str, subtitle: str) -> Figure:
    """What each feature sees of one digit, a row for each version of it.

    All Sobel maps share one scale, and all learned maps another.

    Args:
        seen: name of the version → image (H, W), 0 to 255; sobel (2, H, W); canny (H, W) of 0 and
            1; hog (rows, columns, orientations); keypoints (n, 4): row, column, radius, angle;
            maps (C, H, W), the network's first feature maps.
        network: its name.
        subtitle: of the figure.
    """
    columns = 6 + len(next(iter(seen.values()))["maps"])
    gap, name = 0.22, 0.62
    tile = (layout.INNER_WIDTH - name - gap - 0.05 * (columns - 1)) / columns
    height = layout.BODY + 0.4 + len(seen) * (tile + 0.1) + 0.1
    page = layout.Page(height, "What each feature sees of one digit", subtitle)
    sobel_scale = scale_of(np.stack([view["sobel"] for view in seen.values()]))
    map_scale = scale_of(np.stack([view["maps"] for view in seen.values()]))
    lefts = layout.MARGIN + name + (tile + 0.05) * np.arange(columns)
    lefts[6:] += gap
    top = layout.BODY + 0.4
    heads = ["stored", "Sobel |Gy|", "Sobel |Gx|", "Canny", "HOG", "SIFT"]
    for left, head in zip(lefts, heads, strict=False):
        page.note(left + tile / 2, top - 0.2, head, ha="center", fontsize=7)
    what = f"{network}’s first feature maps"
    page.note(lefts[6], top - 0.2, what, fontsize=7)
    page.heading(lefts[1], top - 0.38, "designed", fontsize=8, color=BLUE)
    page.heading(lefts[6], top - 0.38, "learned", fontsize=8, color=ORANGE)
    for row, (version, view) in enumerate(seen.items()):
        y = top + row * (tile + 0.1)
        page.heading(layout.MARGIN, y + tile / 2, version, va="center", fontsize=7.5)
        canvases = [page.canvas(left, y, tile, tile) for left in lefts]
        INTENSITY.show(canvases[0], view["image"])
        sobel_scale.show(canvases[1], view["sobel"][0])
        sobel_scale.show(canvases[2], view["sobel"][1])
        Scale(0, 1, INTENSITY.colours).show(canvases[3], view["canny"])
        _hog_glyphs(canvases[4], view)
        _keypoints(canvases[5], view)
        for axes, map_ in zip(canvases[6:], view["maps"], strict=True):
            map_scale.show(axes, map_)
        for axes in canvases:
            _frame(axes, view["image"])
    return page.figure


def _hog_glyphs(axes: Axes, view: Mapping[str, Array]) -> None:
    """In each cell a line along each edge orientation, the darker the more votes it has."""
    rows, columns, orientations = view["hog"].shape
    H, W = view["image"].shape
    _fit(axes, H, W)
    strength = view["hog"] / (view["hog"].max() or 1.0)
    half = 0.48 * min(H / rows, W / columns)
    for (row, column, orientation), weight in np.ndenumerate(strength):
        if weight < 0.15:
            continue
        # An edge runs at right angles to its gradient, whose bin is [o, o + 1)·180°/orientations.
        angle = np.pi * (orientation + 0.5) / orientations
        y, x = (row + 0.5) * H / rows - 0.5, (column + 0.5) * W / columns - 0.5
        dy, dx = half * np.cos(angle), half * -np.sin(angle)
        line = LineCollection([[(x - dx, y - dy), (x + dx, y + dy)]], colors=INK)
        line.set(alpha=float(weight), linewidth=0.9)
        axes.add_collection(line)


def _keypoints(axes: Axes, view: Mapping[str, Array]) -> None:
    """SIFT's own keypoints, with scale and orientation, on the pale digit."""
    Scale(0, 600, INTENSITY.colours).show(axes, view["image"])
    _fit(axes, *view["image"].shape)
    for y, x, radius, angle in view["keypoints"]:
        axes.add_patch(Circle((x, y), radius, fill=False, edgecolor=BLUE, linewidth=0.8))
        # skimage measures a keypoint's angle from the row axis towards the column axis.
        end = x + radius * np.sin(angle), y + radius * np.cos(angle)
        axes.plot([x, end[0]], [y, end[1]], color=BLUE, linewidth=0.8)


def _fit(axes: Axes, H: int, W: int) -> None:
    axes.set_xlim(-0.5, W - 0.5)
    axes.set_ylim(H - 0.5, -0.5)


def _frame(axes: Axes, image: Array) -> None:
    H, W = image.shape
    _fit(axes, H, W)
    xs, ys = [-0.5, W - 0.5, W - 0.5, -0.5, -0.5], [-0.5, -0.5, H - 0.5, H - 0.5, -0.5]
    axes.plot(xs, ys, color=RULE, linewidth=0.6, clip_on=False)


def _keys(table: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(table["method"], table["training"], strict=True))
