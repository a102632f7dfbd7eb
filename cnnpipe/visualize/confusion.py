"""Which class is taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import ERRORS, GROUND, INK, SEQUENTIAL, Array

BESIDE = 20
"""Most classes whose two panels have room beside each other."""
LARGEST_CELL = 0.24
"""Inches, where the panels stand one below the other."""
DIGIT = 0.7
"""Width of a digit and the space beside it, in units of the text's size."""
LEAST_COUNT = 3.5
"""Points; smaller counts are left out."""


@layout.styled
def draw(
    counts: Array, classes: Sequence[str], title: str, *, beside: Array | None = None
) -> Figure:
    """Counts of true against predicted class, and the errors once more on a scale of their own.

    Shape: counts of images (K, K), rows true, columns predicted.

    Args:
        beside: counts of another network, which are not drawn but share the scales.
    """
    reach = counts if beside is None else np.maximum(counts, beside)
    errors, error_reach = (values - np.diag(np.diag(values)) for values in (counts, reach))
    longest = max(map(len, classes))
    slanted = longest > 2
    left, between, above = 0.5 + 0.065 * longest, 0.45, layout.BODY + 0.2
    below = 0.5 + (0.06 * longest if slanted else 0)
    stacked = len(classes) > BESIDE
    if stacked:
        side = min(layout.RIGHT - left, LARGEST_CELL * len(classes))
        height = above + 2 * (side + below) + between
    else:
        side = (layout.RIGHT - left - between) / 2
        height = above + side + below
    pitch = side / len(classes)
    step, size = layout.names_apart(pitch)
    count_size = min(6.5, layout.POINTS * pitch / (DIGIT * len(str(counts.max()))))
    page = layout.Page(
        height,
        title,
        f"{counts.sum():,} images, {errors.sum():,} errors; each panel has its own scale",
    )
    ticks = np.arange(len(classes))
    for panel, (label, values, within, colours) in enumerate(
        [
            ("all predictions", counts, reach, SEQUENTIAL),
            ("errors alone", errors, error_reach, ERRORS),
        ]
    ):
        place = (0, panel * (side + below + between)) if stacked else (panel * (side + between), 0)
        axes = page.axes(left + place[0], above + place[1], side, side)
        largest = max(1, within.max())
        axes.imshow(values, cmap=colours, norm=Normalize(0, largest))
        axes.set_title(label)
        axes.set_xlabel("predicted")
        axes.set_xticks(ticks[::step], classes[::step], parse_math=False)
        if slanted:
            layout.slanted(axes, 40 if step == 1 else 90)
        first = panel == 0 or stacked
        axes.set_yticks(ticks[::step], classes[::step] if first else [], parse_math=False)
        axes.set_ylabel("true" if first else "")
        axes.tick_params(length=0, labelsize=size)
        axes.spines[:].set_visible(True)
        for (true, predicted), count in np.ndenumerate(values):
            if count and count_size >= LEAST_COUNT:
                colour = "white" if count > 0.5 * largest else INK
                cell = axes.text(predicted, true, f"{count}", color=colour, fontsize=count_size)
                cell.set(ha="center", va="center")
    for diagonal in ticks:
        axes.add_patch(Rectangle((diagonal - 0.5, diagonal - 0.5), 1, 1, color=GROUND, lw=0))
    return page.figure
