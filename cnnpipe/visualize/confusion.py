"""Which class is taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import ERRORS, GROUND, INK, SEQUENTIAL, Array


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
            layout.slanted(axes, 40)
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
