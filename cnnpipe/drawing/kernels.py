"""Every kernel of a convolution; maps or kernels side by side."""

from __future__ import annotations

from collections.abc import Collection
from math import ceil, log

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import INK, Array, scale_of
from cnnpipe.findings.wording import count

LARGEST_WEIGHT = 0.09
"""Side of a kernel's weight, inches, where there is room."""


@layout.styled
def draw(
    weights: Array,
    title: str,
    *,
    dead: Collection[int] = (),
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
        limit: end of the scale, where figures of several networks share one; by default the largest
            magnitude.
    """
    O, C, kH, kW = weights.shape  # noqa: E741 (the field's name)
    subtitle = "all on one scale; no kernel is stretched"
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
    dot = layout.whole_dots(min(LARGEST_WEIGHT, room / sum(block.shape[1] for block in blocks)))
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
    page.colour_bar(layout.RIGHT - 1.9, 0.15, 1.6, scale)
    return page.figure


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


def _number(axis: Axis, numbers: range, pitch: int, dot: float) -> None:
    """Number tiles, leaving out as many as it takes to keep the numbers apart."""
    step = next(step for step in (1, 2, 4, 8, 16, 32) if step * pitch * dot >= 0.14)
    axis.set_ticks(
        [(number - numbers.start) * pitch + pitch / 2 for number in numbers[::step]],
        labels=[str(number) for number in numbers[::step]],
    )
