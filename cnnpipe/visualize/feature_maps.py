"""An image in every layer: all feature maps, and the logits."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

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
from cnnpipe.drawing.kernels import tiled
from cnnpipe.findings.wording import count, short

HEADING, GAP, BARS = 0.27, 0.2, 1.5
"""Inches above a layer's maps for its name, below them, and for the logits' bars."""
NUMBER = 0.4
"""Inches of a bar that has room for its number."""
NAMES = 1.15
"""Inches for the layer's name, left of its shape."""


@layout.styled
def draw(
    images: Array,
    activations: Mapping[str, Array],
    sample: int,
    classes: Sequence[str],
    title: str,
    subtitle: str,
) -> Figure:
    """One image on its way through every layer.

    A layer's scale is shared by all its maps and by all given images, so that figures of different
    samples can be compared. A map that is zero everywhere for this image is outlined. The last
    layer's logits are bars.

    Shape: images (n, H, W), 0 to 255; activations (n, C, H, W) or (n, C), the last one (n, K).

    Args:
        activations: layer name → output, in the order in which the layers run.
        sample: which of the n images is drawn.
    """
    *hidden, output = activations
    scales = {name: scale_of(values) for name, values in activations.items()}
    strips = {name: _Strip(activations[name][sample]) for name in hidden}
    silent = sum(len(strip.silent) for strip in strips.values())
    if silent:
        subtitle += f"; outlined: zero everywhere for this image ({count(silent, 'map')})"
    input_side = layout.whole_dots(0.84 / images.shape[1]) * images.shape[1]
    heights = [input_side, *(strip.height for strip in strips.values()), BARS]
    page = layout.Page(
        layout.BODY + sum(HEADING + height + GAP for height in heights) + _below(classes),
        title,
        subtitle,
    )

    top = layout.BODY
    _heading(page, top, "input", images.shape[1:])
    axes = page.canvas(layout.MARGIN, top + HEADING, input_side, input_side)
    INTENSITY.show(axes, images[sample])
    _frame(axes, images.shape[1], images.shape[2])
    top += HEADING + input_side + GAP
    for name, strip in strips.items():
        _heading(page, top, name, activations[name].shape[1:])
        page.colour_bar(layout.RIGHT - 1.3, top + 0.02, 1.2, scales[name])
        strip.draw(page, top + HEADING, scales[name])
        top += HEADING + strip.height + GAP
    _heading(page, top, output, activations[output].shape[1:])
    _bars(page, top + HEADING, activations[output][sample], classes)
    return page.figure


class _Strip:
    """The maps of one layer side by side, or its neurons as one row of cells."""

    def __init__(self, values: Array) -> None:
        """
        Shape: values (C, H, W) or (C,).
        """
        if values.size == len(values):  # neurons, or maps of a single pixel
            self.image = values.reshape(1, -1)
            self.width, self.height = layout.INNER_WIDTH, 0.16
            self.silent: list[tuple[int, int]] = []
            return
        C, H, W = values.shape
        columns = C if C <= 8 else 16 if C <= 32 else 32
        self.image = tiled(values, columns)
        dot = layout.whole_dots(min(layout.INNER_WIDTH / (columns * (W + 1) + 1), 0.84 / W))
        self.width, self.height = self.image.shape[1] * dot, self.image.shape[0] * dot
        self.map_size = (H, W)
        quiet = np.flatnonzero(~values.reshape(C, -1).any(axis=1))
        self.silent = [divmod(int(channel), columns) for channel in quiet]

    def draw(self, page: layout.Page, top: float, scale: Scale) -> None:
        axes = page.canvas(layout.MARGIN, top, self.width, self.height)
        scale.show(axes, self.image)
        if len(self.image) == 1:  # neurons
            _frame(axes, *self.image.shape)
        for row, column in self.silent:
            H, W = self.map_size
            corner = column * (W + 1) + 0.5, row * (H + 1) + 0.5
            axes.add_patch(Rectangle(corner, W, H, fill=False, edgecolor=MUTED, linewidth=0.8))


def _heading(page: layout.Page, top: float, name: str, shape: Sequence[int]) -> None:
    """A layer's name and what comes out of it."""
    page.heading(layout.MARGIN, top, name)
    match shape:
        case [C, H, W]:
            what = f"{C} maps of {H}×{W}"
        case [H, W]:
            what = f"{H}×{W} pixels"
        case _:
            what = f"{shape[0]} neurons"
    page.note(layout.MARGIN + NAMES, top, what)


def _bars(page: layout.Page, top: float, logits: Array, classes: Sequence[str]) -> None:
    """Logits as bars; the largest, which is the answer, carries its number."""
    axes = page.axes(layout.MARGIN, top, layout.INNER_WIDTH, BARS - 0.35)
    colours = [BLUE if logit > 0 else ORANGE for logit in logits]
    bars = axes.bar(range(len(logits)), logits, color=colours, width=0.72)
    pitch = layout.INNER_WIDTH / len(logits)
    best = int(logits.argmax())
    numbers = [
        short(logit) if pitch > NUMBER or position == best else ""
        for position, logit in enumerate(logits)
    ]
    axes.bar_label(bars, numbers, fontsize=6.5, padding=2, color=MUTED)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.margins(x=0.01, y=0.22)
    step, size = layout.names_apart(pitch)
    if not _below(classes):
        step = 1
    shown = range(best % step, len(classes), step)  # the answer among them
    names = [classes[k] for k in shown]
    axes.set_xticks(shown, names, parse_math=False, fontsize=size)
    if _below(classes):
        axes.tick_params(axis="x", labelrotation=90)
    axes.get_xticklabels()[best // step].set(fontweight="bold", color=INK)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=2)


def _below(classes: Sequence[str]) -> float:
    """Inches below the bars for the names of the classes, which then stand upright; 0 if each has
    room below its own bar."""
    longest = 0.065 * max(map(len, classes))
    return longest if longest > layout.INNER_WIDTH / len(classes) else 0.0


def _frame(axes: Axes, rows: int, columns: int) -> None:
    outline = Rectangle((-0.5, -0.5), columns, rows, fill=False, edgecolor=RULE, clip_on=False)
    axes.add_patch(outline)
