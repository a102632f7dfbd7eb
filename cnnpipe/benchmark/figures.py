"""Our layers against torch's: a ladder of algorithms, every convolution, whole models by batch.

In all figures blue is this project's, dark is torch's, and orange is torch's with channels last.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from cnnpipe.benchmark.turns import CHANNELS_LAST, SCRATCH, TORCH
from cnnpipe.drawing import layout
from cnnpipe.drawing.colours import BLUE, GROUND, INK, MUTED, ORANGE
from cnnpipe.drawing.curves import apart
from cnnpipe.findings import ladder
from cnnpipe.findings.wording import short, title_of

Results = Sequence[Mapping[str, Any]]

COLOURS = {SCRATCH: BLUE, TORCH: INK, CHANNELS_LAST: ORANGE}
MARKERS = ("X", "s", "^", "o", "D", "p", "v", "P")
"""Of the algorithms, in their order: outlines differ, so that none needs a colour of its own."""
REFERENCE: dict[str, Any] = {"color": ORANGE, "ls": "", "marker": "|", "markeredgewidth": 1.6}
"""Mark of torch's layers with channels last."""
TIMED = {"forward": "forward pass", "training": "forward and backward pass"}
AUTO = 6.9
"""Inches from the left to the column that names what "auto" takes."""
PITCH = 0.39
"""Inches from one layer to the next."""
NAMES = 1.5
"""Inches from the left to what stands beside the names of a ladder's rungs."""
NUMBERS, SHARE = 1.0, 0.45
"""Inches for a rung's speed in numbers, right of its bar, and for its share of the peak in them."""
GAP = 0.3
"""Inches between the panels of a ladder."""
LABEL = 0.13
"""Inches that a line of small type takes."""


@layout.styled
def layer_ratios(layers: Results, phase: str, title: str) -> Figure:
    """The time that each algorithm takes for each layer, relative to torch's.

    A mark is the median over the rounds, its whisker spans the quartiles.

    Args:
        layers: `layers` of the benchmark's results.
        phase: forward or training.
    """
    rows = [layer for layer in layers if layer["phase"] == phase]
    algorithms = list(
        dict.fromkeys(name for row in rows for name in row["milliseconds"] if name not in COLOURS)
    )
    subtitle = (
        f"{TIMED[phase]}: time relative to torch’s, medians and quartiles; "
        "filled: the algorithm that “auto” takes"
    )
    top, height = layout.BODY + 0.5, PITCH * len(rows)
    page = layout.Page(top + height + 0.6, title, subtitle)
    axes = page.axes(1.85, top, 4.85, height)
    axes.set(xscale="log", ylim=(len(rows) - 0.5, -0.5), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.patch.set_visible(False)  # the rules between the layers lie below
    axes.set_xlabel("time relative to torch’s; further left is faster")
    axes.grid(visible=True, axis="x")
    axes.axvline(1, color=INK, linewidth=1.1, zorder=1)
    for row, layer in enumerate(rows):
        _layer_row(axes, row, layer, algorithms)
        middle = top + PITCH * (row + 0.5)
        page.heading(layout.MARGIN, middle - 0.01, layer["layer"], fontsize=8, va="bottom")
        page.note(layout.MARGIN, middle + 0.02, layer["shape"], fontsize=6.5)
        ratio = layer["ratios"][f"{layer['auto']} / {TORCH}"]["median"]
        style: dict[str, Any] = {"color": BLUE, "fontsize": 8, "va": "center"}
        page.text(AUTO, middle, layer["auto"], **style)
        page.heading(layout.RIGHT, middle, f"{ratio:.2f}", ha="right", **style)
        if row:
            rule = {"color": GROUND, "linewidth": 0.8, "zorder": -1}
            page.line([layout.MARGIN, layout.RIGHT], [top + PITCH * row] * 2, **rule)
    lowest, highest = axes.get_xlim()
    axes.set_xlim(min(lowest, 0.49), max(highest, 2.05))
    _count_in_decades(axes.xaxis)
    style = {"color": BLUE, "fontsize": 7.5, "va": "bottom"}
    page.text(AUTO, top - 0.05, "auto takes", **style)
    page.text(layout.RIGHT, top - 0.05, "× torch’s", ha="right", **style)
    style = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "baseline"}
    layout.label(axes, "torch", (1, 1), (0, 3), fontweight="bold", **style)
    handles = [
        Line2D([], [], label=name, **_mark(place, filled=False))
        for place, name in enumerate(algorithms)
    ]
    handles.append(Line2D([], [], label=CHANNELS_LAST, markersize=8, **REFERENCE))
    page.figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(layout.MARGIN / layout.WIDTH, 1 - (layout.BODY - 0.02) / page.height),
        ncols=len(handles),
        fontsize=7.5,
        borderaxespad=0,
        handlelength=1,
        handletextpad=0.4,
        columnspacing=1.5,
    )
    return page.figure


def _layer_row(axes: Axes, row: int, layer: Mapping[str, Any], algorithms: Sequence[str]) -> None:
    """One layer: each algorithm on a lane of its own, so that near ones do not hide each other."""
    medians = {name: spread["median"] for name, spread in layer["milliseconds"].items()}
    lanes = np.linspace(-0.28, 0.28, max(2, len(algorithms)))
    relative, points = medians[CHANNELS_LAST] / medians[TORCH], 0.72 * PITCH * 72
    axes.plot(relative, row, zorder=2, markersize=points, **REFERENCE)
    for place, name in enumerate(algorithms):
        if name not in medians:
            continue
        is_auto = name == layer["auto"]
        ratio, y = layer["ratios"][f"{name} / {TORCH}"], row + lanes[place]
        style = _mark(place, filled=is_auto) | {"zorder": 4 if is_auto else 3}
        whisker = {key: style[key] for key in ("color", "zorder")}
        axes.plot([ratio["low"], ratio["high"]], [y, y], lw=1.8 if is_auto else 0.8, **whisker)
        axes.plot(ratio["median"], y, **style)


def _mark(place: int, *, filled: bool) -> dict[str, Any]:
    style = {"linestyle": "", "marker": MARKERS[place % len(MARKERS)], "markeredgewidth": 0.9}
    if filled:
        return style | {"color": BLUE, "markersize": 6.5}
    return style | {"color": MUTED, "markersize": 5, "markerfacecolor": "white"}


@layout.styled
def speeds(layers: Results, title: str) -> Figure:
    """GFLOP/s of one convolution by each algorithm: a panel for each phase, a line at the peak.

    A bar is the median over the rounds, its whisker spans the quartiles.

    Args:
        layers: `layers` of the benchmark's results.
    """
    phases = [ladder.timed(layers, phase) for phase in TIMED]
    rungs = ladder.rungs_of(phases[0])
    line = "line: the cores’ peak, multiply-adds in registers"
    if not phases[0]["peak"]:
        line = "the cores’ peak could not be measured here"
    subtitle = f"{phases[0]['shape']}: multiply-adds of the formula in GFLOP/s; {line}"
    top, height = layout.BODY + 0.45, PITCH * len(rungs)
    page = layout.Page(top + height + 0.6, title, subtitle)
    for row, rung in enumerate(rungs):
        middle = top + PITCH * (row + 0.5)
        page.heading(layout.MARGIN, middle - 0.01, rung.name, fontsize=8, va="bottom")
        page.note(layout.MARGIN, middle + 0.02, rung.contestant, fontsize=6.5)
    pitch = (layout.RIGHT + GAP - NAMES) / len(phases)
    for column, layer in enumerate(phases):
        left = NAMES + pitch * column
        right = left + pitch - GAP
        page.heading(left, layout.BODY, TIMED[layer["phase"]], fontsize=9)
        axes = page.axes(left, top, right - left - NUMBERS, height)
        axes.set(ylim=(len(rungs) - 0.5, -0.5), yticks=[], xlabel="GFLOP/s")
        axes.grid(visible=True, axis="x")
        for row, rung in enumerate(rungs):
            colour = COLOURS.get(rung.contestant, BLUE)
            speed, *quartiles = (
                ladder.gflops(layer, rung.contestant, which) for which in ("median", "high", "low")
            )
            axes.barh(row, speed, height=0.6, color=colour)
            axes.plot(quartiles, [row, row], color=INK, linewidth=0.8)
            middle = top + PITCH * (row + 0.5)
            style = {"color": colour, "ha": "right", "va": "center", "fontsize": 8}
            page.heading(right - SHARE, middle, short(speed), **style)
            page.text(right, middle, ladder.of_peak(layer, speed), **style)
        page.note(right, top - 0.04, "of the peak", ha="right", va="baseline", fontsize=7.5)
        if peak := layer["peak"]:
            axes.axvline(peak, color=INK, linewidth=1.1)
            style = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "baseline"}
            text = f"peak {short(peak)}"
            layout.label(axes, text, (peak, 1), (0, 3), fontweight="bold", **style)
    return page.figure


@layout.styled
def time_against_batch_size(models: Results, title: str) -> Figure:
    """How long a training step takes by the size of its batch: a column for each model.

    Above in milliseconds, where fixed costs are level and costs per image rise as the dotted line
    does; below relative to torch's. Bands span the quartiles.

    Args:
        models: `models` of the benchmark's results.
    """
    steps = [result for result in models if result["phase"] == "training"]
    names = list(dict.fromkeys(result["model"] for result in steps))
    subtitle = (
        "a training step against its batch size, medians and quartiles; dotted: proportional to it"
    )
    page = layout.Page(layout.BODY + 4.75, title, subtitle)
    pitch = layout.INNER_WIDTH / len(names)
    for column, name in enumerate(names):
        results = sorted(
            (step for step in steps if step["model"] == name), key=lambda step: step["batch_size"]
        )
        left, width = 0.55 + pitch * column, pitch - 1.7
        page.heading(left, layout.BODY, title_of(name), fontsize=9)
        axes = page.axes(left, layout.BODY + 0.45, width, 2.15)
        _milliseconds(axes, results)
        below = page.axes(left, layout.BODY + 3.2, width, 1.05)
        _relative(below, results)
        below.set_xlabel("images in a batch")
        for panel in (axes, below):
            sizes = [result["batch_size"] for result in results]
            panel.set_xticks(sizes, [f"{size}" for size in sizes], fontsize=6.5)
            panel.xaxis.set_minor_locator(NullLocator())
            panel.grid(visible=True)
    return page.figure


def _milliseconds(axes: Axes, results: Results) -> None:
    axes.set(xscale="log", yscale="log")
    axes.set_title("milliseconds per step")
    sizes = np.array([result["batch_size"] for result in results])
    ends = {}
    for name, colour in COLOURS.items():
        low, median, high = _spread([result["milliseconds"][name] for result in results])
        _line(axes, sizes, low, median, high, colour)
        ends[name] = median[-1]
    lowest, highest = axes.get_ylim()
    proportional = min(ends.values()) * sizes / sizes[-1] / 1.7
    axes.plot(sizes, proportional, color=MUTED, linestyle=":", linewidth=1, zorder=1)
    axes.set_ylim(lowest / 1.2, highest)
    _count_in_decades(axes.yaxis)
    _label_ends(axes, sizes[-1], {name: (end, f"{_plain(end)} ms") for name, end in ends.items()})


def _relative(axes: Axes, results: Results) -> None:
    axes.set(xscale="log")
    axes.set_title("relative to torch’s")
    sizes = np.array([result["batch_size"] for result in results])
    low, median, high = _spread([result["ratios"][f"{SCRATCH} / {TORCH}"] for result in results])
    _line(axes, sizes, low, median, high, BLUE)
    medians = {
        name: _spread([result["milliseconds"][name] for result in results])[1]
        for name in (TORCH, CHANNELS_LAST)
    }
    last = medians[CHANNELS_LAST] / medians[TORCH]
    axes.plot(sizes, np.ones(len(sizes)), color=INK)
    axes.plot(sizes, last, color=ORANGE, marker="o")
    axes.set_ylim(0, axes.get_ylim()[1])
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    ends = {SCRATCH: median[-1], TORCH: 1.0, CHANNELS_LAST: last[-1]}
    _label_ends(axes, sizes[-1], {name: (end, f"{end:.2f}") for name, end in ends.items()})


def _spread(spreads: Iterable[Mapping[str, float]]) -> Any:
    """
    Shape: (3, n): lower quartile, median, upper quartile.
    """
    return np.array([[s["low"], s["median"], s["high"]] for s in spreads]).T


def _line(axes: Axes, x: Any, low: Any, median: Any, high: Any, colour: str) -> None:
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, median, color=colour, marker="o", zorder=3)


def _label_ends(axes: Axes, x: float, ends: Mapping[str, tuple[float, str]]) -> None:
    """Name lines at their right ends, moved apart where they would touch."""
    inches = axes.transData.transform([(x, end) for end, _ in ends.values()])[:, 1] / layout.DPI
    own = dict(zip(ends, inches.tolist(), strict=True))
    for name, place in apart(own, LABEL).items():
        end, value = ends[name]
        text, offset = f"{name.removeprefix('torch, ')}  {value}", (7, 72 * (place - own[name]))
        layout.label(axes, text, (x, end), offset, color=COLOURS[name])


def _count_in_decades(axis: Axis) -> None:
    """Ticks at 1, 2 and 5 of every decade, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))


def _plain(value: float) -> str:
    """Three significant digits, without an exponent: 0.5, 1,230."""
    return f"{float(f'{value:.3g}'):,g}"
