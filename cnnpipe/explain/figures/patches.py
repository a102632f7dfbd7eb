"""The patches that excite the filters of a layer, and what each filter is worth."""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, GROUND, INK, INTENSITY, ORANGE, Array
from cnnpipe.findings.wording import written

PATCH = 0.36
"""Largest side of a patch, inches."""
BETWEEN = 0.22
"""Inches between cards."""
CARD = PATCH + 0.46
"""Inches from one row of cards to the next."""


@layout.styled
def draw(filters: pd.DataFrame, patches: Mapping[int, Sequence[Array]], title: str) -> Figure:
    """One card for each filter of a layer: the patches that excite it most, and what it is worth.

    The bar below the patches is the accuracy lost without the filter: orange for lost, blue for
    won, on one scale for the layer. Dead filters are outlined.

    Args:
        filters: rows of one layer, as `cnnpipe.explain.filters.describe_filters` gives them.
        patches: filter → images (S, S), 0 to 255, strongest first; none for one that never
            responds.
    """
    most = max(map(len, patches.values()), default=1)
    side = max((len(patch) for shown in patches.values() for patch in shown), default=1)
    dot = layout.whole_dots(PATCH / side)
    width = (most * (side + 2) - 2) * dot
    columns = max(1, int((layout.INNER_WIDTH + BETWEEN) / (max(width, 1.1) + BETWEEN)))
    pitch = (layout.INNER_WIDTH + BETWEEN) / columns
    largest = float(filters["accuracy_lost"].abs().max()) or 1.0
    page = layout.Page(
        layout.BODY + CARD * ceil(len(filters) / columns) + layout.MARGIN,
        title,
        "number of the filter, accuracy lost without it in percentage points, and as a bar",
    )
    for place, row in enumerate(filters.to_dict("records")):
        left = layout.MARGIN + place % columns * pitch
        top = layout.BODY + place // columns * CARD
        shown = patches.get(row["filter"], ())
        page.heading(left, top, str(row["filter"]), fontsize=7.5)
        lost = 100 * row["accuracy_lost"]
        value = "dead" if row["silent"] == 1 else written(lost, "+.2f") if lost else "0"
        page.note(left + width, top, value, fontsize=7, ha="right")
        if shown:
            gap = np.full((side, 2), np.nan)
            strip = np.hstack([part for patch in shown for part in (gap, patch)][1:])
            axes = page.canvas(left, top + 0.17, strip.shape[1] * dot, side * dot)
            INTENSITY.show(axes, strip)
            page.frame(left, top + 0.17, strip.shape[1] * dot, side * dot)
        bottom = top + 0.17 + side * dot + 0.07
        bar = {"linewidth": 2.2, "solid_capstyle": "butt"}
        page.line([left, left + width], [bottom] * 2, color=GROUND, **bar)
        colour = ORANGE if lost > 0 else BLUE
        page.line(
            [left, left + width * abs(lost) / (100 * largest)], [bottom] * 2, color=colour, **bar
        )
        if row["silent"] == 1:
            page.frame(left, top + 0.17, width, side * dot, color=INK)
    return page.figure
