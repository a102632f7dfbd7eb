"""Which pixels an answer rests on, by several methods."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import INK, INTENSITY, RULE, Array, scale_of
from cnnpipe.findings.wording import short


@layout.styled
def draw(
    images: Array,
    trained: Mapping[str, Array],
    random: Mapping[str, Array],
    captions: Sequence[str],
    names: Mapping[str, str],
    title: str,
) -> Figure:
    """Each image in a row: the image, then each method's maps for trained and for random weights.

    Every map has a scale of its own, whose end stands below it: what is compared is which pixels
    matter, not how much.

    Shape: images (n, H, W), 0 to 255; the maps of each method (n, H, W).

    Args:
        trained, random: method → maps of the network, and of one with random weights.
        captions: what stands below each image.
        names: method → its name for people.
    """
    between, gap = 0.07, 0.22
    tiles = 1 + 2 * len(trained)
    room = layout.INNER_WIDTH - gap * len(trained) - between * len(trained)
    side = layout.whole_dots(room / tiles / images.shape[1]) * images.shape[1]
    row = side + 0.32
    page = layout.Page(
        layout.BODY + 0.42 + row * len(images),
        title,
        "beside each map that of the same network with random weights; blue speaks for the answer, "
        "orange against it",
    )
    lefts = [
        layout.MARGIN + side + gap + m * (2 * side + between + gap) for m in range(len(trained))
    ]
    for left, method in zip(lefts, trained, strict=True):
        page.heading(left, layout.BODY, names[method])
        for number, state in enumerate(("trained", "random")):
            page.note(left + number * (side + between), layout.BODY + 0.19, state, fontsize=7)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        top = layout.BODY + 0.4 + place * row
        INTENSITY.show(page.canvas(layout.MARGIN, top, side, side), image)
        page.text(layout.MARGIN, top + side + 0.05, caption, fontsize=7)
        for left, method in zip(lefts, trained, strict=True):
            for number, maps in enumerate((trained, random)):
                corner = left + number * (side + between)
                _map(page, corner, top, side, maps[method][place], image)
    return page.figure


def _map(
    page: layout.Page, left: float, top: float, side: float, values: Array, image: Array
) -> None:
    axes = page.canvas(left, top, side, side)
    scale = scale_of(values)
    scale.show(axes, values)
    axes.contour(image, levels=[127], colors=[INK], linewidths=0.5, alpha=0.6)
    H, W = values.shape
    axes.add_patch(Rectangle((-0.5, -0.5), W, H, fill=False, edgecolor=RULE, lw=0.8))
    sign = "±" if scale.low < 0 else "0 to "
    limit = sign + short(float(np.abs(values).max()))
    page.note(left + side, top + side + 0.05, limit, fontsize=6.5, ha="right")
