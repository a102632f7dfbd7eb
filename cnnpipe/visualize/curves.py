"""Learning curves: loss and accuracy by epoch."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, ORANGE


@layout.styled
def draw(curves: pd.DataFrame, title: str, *, beside: pd.DataFrame | None = None) -> Figure:
    """Loss and accuracy after each epoch, in training and on the validation images.

    Args:
        curves: columns epoch, train_loss, train_accuracy, validation_loss, validation_accuracy.
        beside: curves of another run, which are not drawn but fit on the same axes.
    """
    page = layout.Page(3.4, title, "after each epoch")
    for column, (quantity, label) in enumerate(
        [("loss", "cross-entropy loss"), ("accuracy", "accuracy")]
    ):
        axes = page.axes(0.65 + 4.1 * column, layout.BODY + 0.15, 3.3, 1.9)
        axes.grid(visible=True)
        parts = [("train", "training", BLUE), ("validation", "validation", ORANGE)]
        for part, name, colour in parts:
            values = curves[f"{part}_{quantity}"]
            style: dict[str, Any] = {"marker": "o", "clip_on": False, "zorder": 3}
            axes.plot(curves["epoch"], values, label=name, color=colour, **style)
        axes.set_title(label)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        if beside is not None:
            for part, *_ in parts:
                axes.update_datalim(beside[["epoch", f"{part}_{quantity}"]].to_numpy())
            axes.autoscale_view()
        if quantity == "loss":
            axes.set_ylim(bottom=0)
            place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1.02)}
            axes.legend(labelcolor="linecolor", ncols=2, **place)
        else:
            axes.set_ylim(top=1)
            layout.in_percent(axes.yaxis)
    return page.figure
