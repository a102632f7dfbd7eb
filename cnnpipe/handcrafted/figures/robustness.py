"""How accurate each feature stays as each corruption grows."""

from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import (
    BLUE,
    DARK_BLUE,
    DARK_ORANGE,
    INK,
    LIGHT_BLUE,
    MUTED,
    ORANGE,
    PALE_BLUE,
)
from cnnpipe.findings.wording import short
from cnnpipe.handcrafted.corruptions import CORRUPTIONS
from cnnpipe.handcrafted.verdict import NETWORK, TITLES

BROKEN: dict[str, Any] = {"linestyle": "--", "mfc": "white"}
LINES: dict[tuple[str, str], dict[str, Any]] = {
    ("pixels", "augmented"): {"color": MUTED, "linestyle": ":", "marker": ""},
    ("sobel", "augmented"): {"color": PALE_BLUE, "marker": "v"},
    ("canny", "augmented"): {"color": LIGHT_BLUE, "marker": "^"},
    ("hog", "augmented"): {"color": BLUE, "marker": "s"},
    ("sift", "augmented"): {"color": DARK_BLUE, "marker": "D"},
    (NETWORK, "augmented"): {"color": ORANGE, "marker": "o"},
    (NETWORK, "pipeline"): {"color": ORANGE, "marker": "o"} | BROKEN,
}
"""Blue: designed; orange: learned; broken: learned from all training images."""
MARKERS = ("P", "X", "d", "h", "*")
"""Of the other networks that the pipeline has trained, in their order."""
STROKE: dict[str, Any] = {"linewidth": 1.2, "markersize": 3}


@layout.styled
def draw(table: pd.DataFrame) -> Figure:
    """Accuracy against severity, a panel for each corruption, all on one scale.

    Args:
        table: columns method, training, corruption, severity, accuracy, images.
    """
    subtitle = f"accuracy on {table['images'].max():,} test images, against severity; 0 is clean"
    page = layout.Page(5.2, "How far each feature carries when the image changes", subtitle)
    present = dict.fromkeys(zip(table["method"], table["training"], strict=True))
    drawn = {key: line for key, line in LINES.items() if key in present}
    others = [key for key in present if key[1] == "pipeline" and key not in LINES]
    for key, marker in zip(others, cycle(MARKERS), strict=False):
        drawn[key] = {"color": DARK_ORANGE, "marker": marker} | BROKEN
    for place, corruption in enumerate(CORRUPTIONS):
        row, column = divmod(place, 4)
        axes = page.axes(0.55 + 1.97 * column, layout.BODY + 0.2 + 2.15 * row, 1.6, 1.45)
        axes.grid(visible=True, axis="y")
        of_one = table[table["corruption"] == corruption.name]
        for (method, training), line in drawn.items():
            chosen = (of_one["method"] == method) & (of_one["training"] == training)
            curve = of_one[chosen]
            style = {**STROKE, **line, "clip_on": False, "zorder": 3}
            axes.plot(curve["severity"], curve["accuracy"], **style)
        severities = [0, *corruption.severities]
        axes.set_title(corruption.name, fontsize=9, color=INK, fontweight="bold")
        axes.set_xticks(severities, [short(severity) for severity in severities])
        axes.set_xlabel(corruption.unit, fontsize=7.5, labelpad=2)
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
            Line2D([], [], **{"label": TITLES[method] + suffix[training], **STROKE, **line})
            for (method, training), line in drawn.items()
        ],
        loc="upper left",
        fontsize=7.5,
        handlelength=2.4,
    )
    return page.figure
