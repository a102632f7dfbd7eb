"""Where the speed of a convolution comes from: from its formula to what the processor can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnpipe.findings.wording import percent, short

LAYER = "vgg block2_conv2"
"""The convolution that is computed at each rung."""


@dataclass(frozen=True)
class Rung:
    """One way to compute the convolution."""

    name: str
    contestant: str
    """The benchmark's name for it."""
    change: str
    """What it does differently from the rung before, and what that saves and costs."""


RUNGS = (
    Rung(
        "formula",
        "direct",
        "All windows are copied number by number, then contracted with the kernel. The copy takes "
        "far longer than the multiply-adds.",
    ),
    Rung(
        "columns",
        "im2col",
        "Windows are copied row by row, for a few images at a time: they are still in the cache "
        "when one product of matrices reads them.",
    ),
    Rung(
        "Winograd",
        "winograd",
        "36 multiplications instead of 144. But the transforms before and after them pass over "
        "memory many times; they pay with many channels.",
    ),
    Rung(
        "Fourier",
        "fft",
        "One complex multiplication at each frequency, whatever the size of the kernel. Here, too, "
        "the transforms take most of the time; they pay with large kernels.",
    ),
    Rung(
        "compiled loops",
        "compiled",
        "No columns and no transforms: the formula’s own loops, in an order in which sums stay in "
        "registers and a number that is loaded serves several of them.",
    ),
    Rung(
        "vendor",
        "torch, channels last",
        "torch’s convolution, on a CPU from the library oneDNN: the same idea, written by "
        "specialists for each kind of processor.",
    ),
)
PEAK = Rung(
    "peak",
    "–",
    "Multiply-adds on all threads whose numbers stay in registers: nothing is loaded or stored.",
)


def timed(layers: Sequence[Mapping[str, Any]], phase: str) -> Mapping[str, Any]:
    """What the benchmark measured for `LAYER` in a phase."""
    return next(row for row in layers if row["layer"] == LAYER and row["phase"] == phase)


def rungs_of(layer: Mapping[str, Any]) -> list[Rung]:
    """Those that were measured: not every machine has every algorithm."""
    return [rung for rung in RUNGS if rung.contestant in layer["milliseconds"]]


def gflops(layer: Mapping[str, Any], contestant: str, which: str = "median") -> float:
    """10⁹ operations of the formula per second, in the median time or a quartile."""
    speed: float = layer["flops"] / layer["milliseconds"][contestant][which] / 1e6
    return speed


def of_peak(layer: Mapping[str, Any], speed: float) -> str:
    """A speed as a share of the peak; a dash where that could not be measured."""
    return percent(speed / layer["peak"], 0) if layer["peak"] else "–"


def cells(layers: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Each rung's name, algorithm, speed and share of the peak in both phases, and what changes."""
    phases = [timed(layers, phase) for phase in ("forward", "training")]
    rungs = [*rungs_of(phases[0]), *([PEAK] if phases[0]["peak"] else [])]
    rows = []
    for rung in rungs:
        numbers = []
        for layer in phases:
            speed = layer["peak"] if rung is PEAK else gflops(layer, rung.contestant)
            numbers += [short(speed), of_peak(layer, speed)]
        rows.append([rung.name, rung.contestant, *numbers, rung.change])
    return rows
