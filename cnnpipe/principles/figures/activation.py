"""How far the gradient gets through a plain stack, by activation function and size of weights."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, GROUND, INK, LIGHT_BLUE, MUTED, ORANGE
from cnnpipe.drawing.curves import Curve, draw_curves
from cnnpipe.principles.figures import Details, Tables

CURVES = [
    Curve("ReLU", BLUE, "o"),
    Curve("tanh", INK, "s"),
    Curve("sigmoid", ORANGE, "^"),
    Curve("centred sigmoid", LIGHT_BLUE, "v", dashed=True),
]
HEIGHT, LIMIT = 2.3, 10
"""Inches of a panel; orders of magnitude that the first one shows."""


@layout.styled
def draw(tables: Tables, details: Details) -> Figure:
    """Left: what vanishes by gain. Right: what the same training reaches."""
    page = layout.Page(
        layout.BODY + HEIGHT + 0.9,
        "How large must weights be for the gradient to reach the first layer?",
        f"left: {details['depth']} plain convolutions at the start; right: "
        f"{details['trained_depth']} of them, trained",
    )
    axes = page.axes(0.65, layout.BODY + 0.3, 3.4, HEIGHT)
    axes.axhspan(-1, 1, color=GROUND, lw=0)
    axes.set_xscale("log", base=2)
    axes.set_ylim(-LIMIT, LIMIT)
    table = tables["vanished"]
    columns = ["vanished", "low", "high"]
    shown = table.assign(**{name: table[name].clip(-LIMIT, LIMIT) for name in columns})
    draw_curves(axes, CURVES, shown, x="gain", y="vanished")
    axes.set_xlabel("gain: standard deviation of the weights · √fan_in")
    gains = [0.5, 1, 2, 4, 8]
    axes.set_xticks(gains, [f"{gain:g}" for gain in gains])
    axes.set_title("orders of magnitude that vanish (band: a factor of 10)", fontsize=8)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, axis="y")
    _accuracies(page.axes(5.6, layout.BODY + 0.3, 2.3, HEIGHT), tables)
    return page.figure


def _accuracies(axes: Axes, tables: Tables) -> None:
    """A bar for each trained stack, with its interval and number."""
    rows = tables["accuracy"]
    colours = {curve.name: curve.colour for curve in CURVES}
    bars = axes.bar(
        range(len(rows)),
        rows["accuracy"],
        yerr=[rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]],
        color=[colours.get(name, MUTED) for name in rows["network"]],
        width=0.7,
        capsize=2,
    )
    labels = [f"{100 * value:.0f}" for value in rows["accuracy"]]
    axes.bar_label(bars, labels, fontsize=7, label_type="center", color="white")
    names = [str(name).replace(" ", "\n") for name in rows["network"]]
    axes.set_xticks(range(len(rows)), names, fontsize=7)
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axes.yaxis.set_minor_locator(NullLocator())
    layout.in_percent(axes.yaxis)
    axes.set_title("test accuracy after training", fontsize=8)
