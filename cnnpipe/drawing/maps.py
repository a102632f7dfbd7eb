"""What a network has learned, and what it makes of an image: every kernel, every feature map."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil, floor, log

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
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
from cnnpipe.findings.wording import count, short

LARGEST_WEIGHT = 0.09
"""Side of a kernel's weight, inches, where there is room."""
HEADING, GAP, BARS = 0.27, 0.2, 1.5
"""Inches above a layer's maps for its name, below them, and for the logits' bars."""
NAMES = 1.15
"""Inches for the layer's name, left of its shape."""


@layout.styled
def filters(
    weights: Array,
    title: str,
    *,
    dead: Collection[int] = (),
    own_scale: bool = False,
    limit: float | None = None,
) -> Figure:
    """Every kernel of one convolution, on one scale that is symmetric about zero.

    Rows are output channels and columns are input channels; where the rows do not fit below each
    other they go on in a block to the right. Kernels of a single input channel stand side by side.

    Shape: weights (O, C, kH, kW).

    Args:
        weights: of the convolution.
        title: of the figure.
        dead: output channels that never respond; they are outlined.
        own_scale: divide each filter by its own largest magnitude, and say so.
        limit: end of the scale, where figures of several networks share one; by default the largest
            magnitude.
    """
    O, C, kH, kW = weights.shape  # noqa: E741 (the field's name)
    subtitle = "all on one scale; no kernel is stretched"
    if own_scale:
        largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
        weights = weights / np.where(largest > 0, largest, 1)
        subtitle = "each filter on a scale of its own"
    if dead:
        subtitle += f"; outlined: dead ({count(len(dead), 'filter')})"
    scale = scale_of(weights if limit is None else np.array([limit]), signed=True)
    if C == 1:
        columns, rows_names = min(O, 16), ""
        blocks = [tiled(weights[:, 0], columns)]
        column_name, rows = "output channel", ceil(O / columns)
    else:
        columns, rows_names, column_name = C, "output channel", "input channel"
        rows = _rows_per_block(O, C * (kW + 1), kH + 1)
        starts = range(0, O, rows)
        blocks = [tiled(weights[o : o + rows].reshape(-1, kH, kW), C) for o in starts]

    left = layout.MARGIN if C == 1 else 0.55
    top, between = layout.BODY + 0.3, 0.4
    room = layout.WIDTH - left - layout.MARGIN - between * (len(blocks) - 1)
    dot = whole_dots(min(LARGEST_WEIGHT, room / sum(block.shape[1] for block in blocks)))
    page = layout.Page(
        top + dot * max(block.shape[0] for block in blocks) + layout.MARGIN,
        title,
        f"{O * C:,} kernels of {kH}×{kW} weights, {subtitle}",
    )
    for number, block in enumerate(blocks):
        height, width = block.shape
        axes = page.axes(left, top, width * dot, height * dot)
        scale.show(axes, block)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.tick_params(length=0, labelsize=6.5, pad=2)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(column_name, loc="left", fontsize=7)
        axes.set_ylabel(rows_names if number == 0 else "", loc="top", fontsize=7)
        _number(axes.xaxis, range(columns), kW + 1, dot)
        first = number * rows
        _number(axes.yaxis, range(first, first + height // (kH + 1)), kH + 1, dot)
        if C == 1:
            axes.set_yticks([])
        for channel in dead:
            row, column = divmod(channel, columns) if C == 1 else (channel - first, 0)
            if 0 <= row < height // (kH + 1):
                corner = column * (kW + 1), row * (kH + 1)
                across = kW + 1 if C == 1 else width - 1
                axes.add_patch(
                    Rectangle(corner, across, kH + 1, fill=False, edgecolor=INK, linewidth=1.1)
                )
        left += width * dot + between
    page.colour_bar(
        layout.RIGHT - 1.9, 0.15, 1.6, scale, ("−largest", "0", "largest") if own_scale else ()
    )
    return page.figure


@layout.styled
def feature_maps(
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
        images: as the data set holds them.
        activations: layer name → output, in the order in which the layers run.
        sample: which of the n images is drawn.
        classes: names of the K classes.
        title: of the figure.
        subtitle: of the figure.
    """
    *hidden, output = activations
    scales = {name: scale_of(values) for name, values in activations.items()}
    strips = {name: _Strip(activations[name][sample]) for name in hidden}
    silent = sum(len(strip.silent) for strip in strips.values())
    if silent:
        subtitle += f"; outlined: zero everywhere for this image ({count(silent, 'map')})"
    input_side = whole_dots(0.84 / images.shape[1]) * images.shape[1]
    heights = [input_side, *(strip.height for strip in strips.values()), BARS]
    page = layout.Page(
        layout.BODY + sum(HEADING + height + GAP for height in heights), title, subtitle
    )

    top = layout.BODY
    _heading(page, top, "input", images.shape[1:])
    axes = page.canvas(layout.MARGIN, top + HEADING, input_side, input_side)
    INTENSITY.show(axes, images[sample])
    _frame(axes, images.shape[1], images.shape[2], RULE)
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
        dot = whole_dots(min((layout.INNER_WIDTH) / (columns * (W + 1) + 1), 0.84 / W))
        self.width, self.height = self.image.shape[1] * dot, self.image.shape[0] * dot
        self.map_size = (H, W)
        quiet = np.flatnonzero(~values.reshape(C, -1).any(axis=1))
        self.silent = [divmod(int(channel), columns) for channel in quiet]

    def draw(self, page: layout.Page, top: float, scale: Scale) -> None:
        axes = page.canvas(layout.MARGIN, top, self.width, self.height)
        scale.show(axes, self.image)
        if self.height == 0.16:
            _frame(axes, *self.image.shape, RULE)
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
    axes.bar_label(bars, [short(logit) for logit in logits], fontsize=6.5, padding=2, color=MUTED)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.margins(x=0.01, y=0.22)
    axes.set_xticks(range(len(classes)), classes)
    axes.get_xticklabels()[int(logits.argmax())].set(fontweight="bold", color=INK)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=2)


def _frame(axes: Axes, rows: int, columns: int, colour: str) -> None:
    outline = Rectangle((-0.5, -0.5), columns, rows, fill=False, edgecolor=colour, clip_on=False)
    axes.add_patch(outline)


def tiled(maps: Array, columns: int) -> Array:
    """Maps side by side in rows, with a line of NaN around each.

    Shape: (n, H, W) → (rows·(H + 1) + 1, columns·(W + 1) + 1), rows = ⌈n / columns⌉.
    """
    n, H, W = maps.shape
    rows = ceil(n / columns)
    grid = np.full((rows * columns, H + 1, W + 1), np.nan)
    grid[:n, 1:, 1:] = maps
    grid = grid.reshape(rows, columns, H + 1, W + 1).swapaxes(1, 2)
    grid = grid.reshape(rows * (H + 1), columns * (W + 1))
    return np.pad(grid, ((0, 1), (0, 1)), constant_values=np.nan)


def _rows_per_block(rows: int, width: int, height: int) -> int:
    """Break `rows` strips of width × height into blocks that fill a rectangle of about 1.4 : 1."""

    def excess(blocks: int) -> float:
        return abs(log(blocks * width / (ceil(rows / blocks) * height) / 1.4))

    return ceil(rows / min(range(1, rows + 1), key=excess))


def whole_dots(inches: float) -> float:
    """Round down to whole dots, so that all squares come out equal."""
    return max(1, floor(inches * layout.DPI)) / layout.DPI


def _number(axis: Axis, numbers: range, pitch: int, dot: float) -> None:
    """Number tiles, leaving out as many as it takes to keep the numbers apart."""
    step = next(step for step in (1, 2, 4, 8, 16, 32) if step * pitch * dot >= 0.14)
    axis.set_ticks(
        [(number - numbers.start) * pitch + pitch / 2 for number in numbers[::step]],
        labels=[str(number) for number in numbers[::step]],
    )
