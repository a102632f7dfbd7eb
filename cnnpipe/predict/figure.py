"""What was seen in a picture, what each network answers, and which pixels the answer rests on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnnpipe.data.idx import IMAGE_SIDE as SIDE
from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, INK, INTENSITY, ORANGE, PALE_BLUE, Array, scale_of
from cnnpipe.explain.attribution import METHODS, maps
from cnnpipe.findings.wording import count, percent
from cnnpipe.models import TrainedNetwork
from cnnpipe.predict.reading import Answer, Reading
from cnnpipe.predict.seen import Seen

METHOD = "occlusion"
WINDOW = 4
"""Pixels, side of the square that occlusion blackens."""
SHOWN = 10
"""Most probable classes of an answer, and digits of a picture, that are drawn."""
GAP = 0.25
"""Inches between two parts."""
TALLEST = 2.8
"""Inches of the picture."""
TILE = layout.whole_dots(1.3 / SIDE) * SIDE
"""Inches of an image's side."""
ROW = TILE + 0.3
"""Inches from one digit to the next."""
NAMES, PERCENT = 0.25, 0.55
"""Inches of the names left of the bars, and of the number right of them."""

Place = tuple[float, float, float, float]
"""Left and top, width and height, inches."""


@layout.styled
def draw(
    seen: Seen, readings: Sequence[Reading], networks: Sequence[TrainedNetwork], name: str
) -> Figure:
    """The picture and its ink above; each digit below: image, probabilities, attribution maps.

    Args:
        networks: those that gave the readings' answers, in the same order.
        name: of the picture.
    """
    drawn = readings[:SHOWN]
    H, W = seen.ink.shape
    width = min((layout.INNER_WIDTH - GAP) / 2, TALLEST * W / H)
    top, height = layout.BODY + 0.25, width * H / W
    rows = top + height + 0.62
    page = layout.Page(
        rows + ROW * len(drawn) + 0.15,
        f"{name}: {' '.join(_answer(reading) for reading in readings)}",
        _doubts(readings),
    )
    _picture(page, (layout.MARGIN, top, width, height), seen, drawn)
    _ink(page, (layout.MARGIN + width + GAP, top, width, height), seen, drawn)

    panel = (layout.INNER_WIDTH - TILE) / len(networks) - GAP  # bars, and the map beside them
    side = min(TILE, layout.whole_dots(0.4 * panel / SIDE) * SIDE)
    lefts = [layout.MARGIN + TILE + GAP + n * (panel + GAP) for n in range(len(networks))]
    page.heading(layout.MARGIN, rows - 0.25, "28×28 pixels")
    for left, answer in zip(lefts, drawn[0].answers, strict=True):
        page.heading(left, rows - 0.25, answer.network)
        page.note(left + panel - side, rows - 0.25, METHODS[METHOD])
    images = np.stack([reading.digit.image for reading in drawn])
    attributions = [_maps(network, images) for network in networks]
    for row, reading in enumerate(drawn):
        place = rows + row * ROW
        page.tile(layout.MARGIN, place, TILE, reading.digit.image, INTENSITY)
        for left, answer, of_network in zip(lefts, reading.answers, attributions, strict=True):
            bars = panel - side - NAMES - PERCENT
            _probabilities(page, (left + NAMES, place, bars, TILE), answer)
            map_ = of_network[row]
            tile = page.tile(left + panel - side, place, side, map_, scale_of(map_, signed=True))
            tile.contour(reading.digit.image, levels=[127], colors=[INK], linewidths=0.5, alpha=0.6)
    page.note(
        layout.MARGIN,
        page.height - 0.2,
        f"{METHODS[METHOD]}: blue is where a black square of {WINDOW}×{WINDOW} pixels takes most "
        "from the answer’s logit, orange where it adds to it",
        fontsize=7,
    )
    return page.figure


def _doubts(readings: Sequence[Reading]) -> str:
    """What speaks against the answers, on one line."""
    doubted = [reading for reading in readings if reading.doubts]
    if len(doubted) > 1:
        return f"{len(doubted)} of {count(len(readings), 'answer')} are doubtful"
    return f"{doubted[0].name}: {', '.join(doubted[0].doubts)}" if doubted else "no doubt"


def _answer(reading: Reading) -> str:
    return f"{reading.name}?" if reading.doubts else reading.name


def _picture(page: layout.Page, place: Place, seen: Seen, readings: Sequence[Reading]) -> None:
    """The picture, each digit in a box with its answer."""
    page.heading(place[0], layout.BODY, "the picture, in grey")
    axes = page.canvas(*place)
    grey = seen.picture @ np.array([0.299, 0.587, 0.114])
    INTENSITY.show(axes, 255 * (1 - grey))
    for reading in readings:
        box, colour = reading.digit.box, ORANGE if reading.doubts else BLUE
        corner = box.left - 0.5, box.top - 0.5
        axes.add_patch(Rectangle(corner, box.width, box.height, fill=False, ec=colour, lw=1.2))
        style = {"color": colour, "fontweight": "bold", "fontsize": 9}
        layout.label(axes, _answer(reading), corner, (0, 5), **style)


def _ink(page: layout.Page, place: Place, seen: Seen, readings: Sequence[Reading]) -> None:
    """What is taken for ink, with the frame of each digit's pixels."""
    page.heading(place[0], layout.BODY, "its ink, and where the 28×28 pixels lie")
    axes = page.canvas(*place)
    INTENSITY.show(axes, 255 * seen.ink)
    for reading in readings:
        frame = reading.digit.frame
        side = SIDE * frame.pixel
        corner = frame.left - 0.5, frame.top - 0.5
        axes.add_patch(Rectangle(corner, side, side, fill=False, ec=PALE_BLUE, lw=1))


def _maps(network: TrainedNetwork, images: Array) -> Array:
    """
    Shape: uint8 (N, 28, 28) → (N, 28, 28), of the class that the network answers.
    """
    inputs = network.normalization(torch.from_numpy(images))
    with torch.no_grad():
        classes = network.model(inputs).argmax(dim=1)
    black = network.normalization.background
    return maps(network.model, inputs, classes, WINDOW, black)[METHOD]


def _probabilities(page: layout.Page, place: Place, answer: Answer) -> None:
    """A bar for each class, in the classes' order; of many, the most probable ones."""
    likely = sorted(answer.probabilities, key=answer.probabilities.__getitem__)[-SHOWN:]
    names = [name for name in answer.probabilities if name in likely]
    values = [answer.probabilities[name] for name in names]
    axes = page.axes(*place)
    colours = [BLUE if name == answer.name else PALE_BLUE for name in names]
    axes.barh(range(len(names)), values, color=colours, height=0.72)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xticks=[])
    axes.set_yticks(range(len(names)), labels=names)
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_visible(False)
    at = answer.probability, names.index(answer.name)
    layout.label(axes, percent(answer.probability), at, (3, 0), color=INK)
