"""What each feature sees of one image."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, INK, INTENSITY, ORANGE, RULE, Array, Scale, scale_of


@layout.styled
def draw(seen: Mapping[str, Mapping[str, Array]], network: str, subtitle: str) -> Figure:
    """What each feature sees of one image, a row for each version of it.

    All Sobel maps share one scale, and all learned maps another.

    Args:
        seen: name of the version → what `cnnpipe.handcrafted.views.see` gives.
        network: its name.
    """
    columns = 6 + len(next(iter(seen.values()))["maps"])
    gap, name = 0.22, 0.62
    tile = (layout.INNER_WIDTH - name - gap - 0.05 * (columns - 1)) / columns
    height = layout.BODY + 0.4 + len(seen) * (tile + 0.1) + 0.1
    page = layout.Page(height, "What each feature sees of one image", subtitle)
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
            outline(axes, view["image"])
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
    """SIFT's own keypoints, with scale and orientation, on the pale image."""
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


def outline(axes: Axes, image: Array) -> None:
    """Draw a frame around an image, in the axes that show it."""
    H, W = image.shape
    _fit(axes, H, W)
    xs, ys = [-0.5, W - 0.5, W - 0.5, -0.5, -0.5], [-0.5, -0.5, H - 0.5, H - 0.5, -0.5]
    axes.plot(xs, ys, color=RULE, linewidth=0.6, clip_on=False)
