"""The figure of the worst mistakes."""

from collections.abc import Sequence
from math import ceil

import pandas as pd
from matplotlib.figure import Figure

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, GROUND, INK, INTENSITY, ORANGE, Array
from cnnpipe.findings.wording import percent

TILE = 1.15


@layout.styled
def draw(images: Array, mistakes: pd.DataFrame, classes: Sequence[str], title: str) -> Figure:
    """Wrongly classified images in the order of the table, with both probabilities.

    Shape: images (n, H, W), 0 to 255, one for each row.

    Args:
        mistakes: columns index, label, prediction, confidence, probability_of_label.
    """
    columns, longest = 6, max(map(len, classes))
    rows = ceil(len(mistakes) / columns)
    pitch = (layout.INNER_WIDTH - TILE) / (columns - 1), TILE + 0.85
    subtitle = "most confident first; orange: what it said, blue: what it is"
    page = layout.Page(layout.BODY + rows * pitch[1], title, subtitle if rows else "there are none")
    for place, mistake in enumerate(mistakes.to_dict("records")):
        left = layout.MARGIN + place % columns * pitch[0]
        top = layout.BODY + place // columns * pitch[1]
        INTENSITY.show(page.canvas(left, top, TILE, TILE), images[place])
        page.line([left, left + TILE], [top + TILE] * 2, color=INK, linewidth=0.6)
        answers = [
            (mistake["prediction"], mistake["confidence"], ORANGE),
            (mistake["label"], mistake["probability_of_label"], BLUE),
        ]
        for row, (answer, probability, colour) in enumerate(answers):
            baseline = top + TILE + 0.09 + 0.22 * row
            style = {"color": colour, "fontsize": 8 if longest <= 6 else 6.5}
            page.heading(left, baseline, classes[int(answer)], **style)
            page.text(left + TILE, baseline, percent(probability), ha="right", **style)
            ends = [left, left + TILE * float(probability)]
            underline = {"linewidth": 1.6, "solid_capstyle": "butt"}
            page.line([left, left + TILE], [baseline + 0.16] * 2, color=GROUND, **underline)
            page.line(ends, [baseline + 0.16] * 2, color=colour, **underline)
        index = f"test image {mistake['index']}"
        page.note(left, top + TILE + 0.53, index, fontsize=6.5)
    return page.figure
