"""What excites the filters of a layer and what they are worth; what an answer rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnnpipe.drawing.layout import (
    BLUE,
    BODY,
    GROUND,
    INK,
    INTENSITY,
    MARGIN,
    MUTED,
    ORANGE,
    RULE,
    WIDTH,
    Array,
    Page,
    scale_of,
    styled,
)
from cnnpipe.drawing.maps import whole_dots
from cnnpipe.findings.wording import short, written

PATCH = 0.36
"""Largest side of a patch, inches."""
BETWEEN = 0.22
"""Inches between cards."""
CARD = PATCH + 0.46
"""Inches from one row of cards to the next."""


@styled
def exciting_patches(
    filters: pd.DataFrame, patches: Mapping[int, Sequence[Array]], most: int, title: str
) -> Figure:
    """One card for each filter of a layer: the patches that excite it most, and what it is worth.

    The bar below the patches is the accuracy lost without the filter: orange for lost, blue for
    won, on one scale for the layer. Dead filters are outlined.

    Args:
        filters: rows of one layer, as `cnnpipe.explanation.describe_filters` gives them.
        patches: filter → images (S, S), 0 to 255, strongest first.
        most: patches of a filter.
        title: of the figure.
    """
    side = max((len(patch) for shown in patches.values() for patch in shown), default=1)
    dot = whole_dots(PATCH / side)
    width = (most * (side + 2) - 2) * dot
    columns = max(1, int((WIDTH - 2 * MARGIN + BETWEEN) / (max(width, 1.1) + BETWEEN)))
    pitch = (WIDTH - 2 * MARGIN + BETWEEN) / columns
    largest = float(filters["accuracy_lost"].abs().max()) or 1.0
    page = Page(
        BODY + CARD * ceil(len(filters) / columns) + MARGIN,
        title,
        "number of the filter, accuracy lost without it in percentage points, and as a bar",
    )
    for place, row in enumerate(filters.to_dict("records")):
        left = MARGIN + place % columns * pitch
        top = BODY + place // columns * CARD
        shown = patches.get(row["filter"], ())
        page.text(left, top, str(row["filter"]), fontsize=7.5, fontweight="bold")
        lost = 100 * row["accuracy_lost"]
        value = "dead" if row["silent"] == 1 else written(lost, "+.2f") if lost else "0"
        page.text(left + width, top, value, fontsize=7, color=MUTED, ha="right")
        if shown:
            gap = np.full((side, 2), np.nan)
            strip = np.hstack([part for patch in shown for part in (gap, patch)][1:])
            axes = page.canvas(left, top + 0.17, strip.shape[1] * dot, side * dot)
            INTENSITY.show(axes, strip)
            page.frame(left, top + 0.17, strip.shape[1] * dot, side * dot, RULE)
        bottom = top + 0.17 + side * dot + 0.07
        bar = {"linewidth": 2.2, "solid_capstyle": "butt"}
        page.line([left, left + width], [bottom] * 2, color=GROUND, **bar)
        colour = ORANGE if lost > 0 else BLUE
        page.line(
            [left, left + width * abs(lost) / (100 * largest)], [bottom] * 2, color=colour, **bar
        )
        if row["silent"] == 1:
            page.frame(left, top + 0.17, width, side * dot, INK)
    return page.figure


@styled
def attributions(
    images: Array,
    trained: Mapping[str, Array],
    random: Mapping[str, Array],
    captions: Sequence[str],
    names: Mapping[str, str],
    title: str,
) -> Figure:
    """Each image in a row: itself, then each method's map, trained beside random weights.

    Every map has a scale of its own, whose end stands below it: what is compared is which pixels
    matter, not how much.

    Shape: images (n, H, W), 0 to 255; the maps of each method (n, H, W).

    Args:
        images: as the data set holds them.
        trained: method → maps.
        random: the same of a network with random weights.
        captions: what stands below each image.
        names: method → its name for people.
        title: of the figure.
    """
    between, gap = 0.07, 0.22
    tiles = 1 + 2 * len(trained)
    room = WIDTH - 2 * MARGIN - gap * len(trained) - between * len(trained)
    side = whole_dots(room / tiles / images.shape[1]) * images.shape[1]
    row = side + 0.32
    page = Page(
        BODY + 0.42 + row * len(images),
        title,
        "beside each map that of the same network with random weights; blue speaks for the answer, "
        "orange against it",
    )
    lefts = [MARGIN + side + gap + m * (2 * side + between + gap) for m in range(len(trained))]
    for left, method in zip(lefts, trained, strict=True):
        page.text(left, BODY, names[method], fontweight="bold")
        for number, state in enumerate(("trained", "random")):
            page.text(left + number * (side + between), BODY + 0.19, state, color=MUTED, fontsize=7)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        top = BODY + 0.4 + place * row
        INTENSITY.show(page.canvas(MARGIN, top, side, side), image)
        page.text(MARGIN, top + side + 0.05, caption, fontsize=7)
        for left, method in zip(lefts, trained, strict=True):
            for number, maps in enumerate((trained, random)):
                corner = left + number * (side + between)
                _map(page, corner, top, side, maps[method][place], image)
    return page.figure


def _map(page: Page, left: float, top: float, side: float, values: Array, image: Array) -> None:
    axes = page.canvas(left, top, side, side)
    scale = scale_of(values)
    scale.show(axes, values)
    axes.contour(image, levels=[127], colors=[INK], linewidths=0.5, alpha=0.6)
    H, W = values.shape
    axes.add_patch(Rectangle((-0.5, -0.5), W, H, fill=False, edgecolor=RULE, lw=0.8))
    sign = "±" if scale.low < 0 else "0 to "
    limit = sign + short(float(np.abs(values).max()))
    page.text(left + side, top + side + 0.05, limit, color=MUTED, fontsize=6.5, ha="right")
