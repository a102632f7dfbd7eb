"""The same figure of two runs, on identical scales, so that they can be laid over each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure

from cnnpipe.compare.revisions import ModelResults
from cnnpipe.drawing import kernels
from cnnpipe.drawing.layout import save_png
from cnnpipe.findings.wording import count, percent, points, short
from cnnpipe.report.inputs import Picture, read_pictures
from cnnpipe.visualize import confusion, curves, reliability


@dataclass(frozen=True)
class Pair:
    """The same figure of both runs, on identical scales."""

    title: str
    see: str
    one: Picture
    other: Picture

    @property
    def same_size(self) -> bool:
        """Whether they can be laid over each other."""
        return (self.one.width, self.one.height) == (self.other.width, self.other.height)


Drawing = tuple[str, str, Sequence[tuple[Figure, str]]]
"""A pair before it is encoded: title, what to see, and each run's figure with its text for alt."""


def draw_pairs(one: ModelResults, other: ModelResults, names: tuple[str, str]) -> list[Pair]:
    """Every figure whose numbers both runs have: curves, confusion, reliability, kernels.

    Args:
        one: results of the first run.
        other: results of the second run.
        names: what the runs are called.
    """
    drawings = [
        drawing
        for draw in (_curves, _confusion, _reliability, _kernels)
        for drawing in draw([one, other], names)
    ]
    with TemporaryDirectory() as folder:
        described = []
        for number, (_, _, figures) in enumerate(drawings):
            for side, (figure, alt) in enumerate(figures):
                file = f"{number}_{side}.png"
                save_png(Path(folder) / file, figure)
                described.append({"file": file, "kind": "pair", "alt": alt})
        pictures = iter(read_pictures(Path(folder), described))
    return [Pair(title, see, next(pictures), next(pictures)) for title, see, _ in drawings]


def _curves(runs: list[ModelResults], names: tuple[str, str]) -> Iterator[Drawing]:
    tables = [run.curves for run in runs if run.curves is not None]
    if len(tables) == 2:
        figures = [
            (
                curves.draw(table, f"{name}: learning curves", beside=beside),
                f"{name}: validation loss ends at {short(table['validation_loss'].iloc[-1])}.",
            )
            for table, beside, name in zip(tables, reversed(tables), names, strict=True)
        ]
        yield "Learning curves", "The same axes for both.", figures


def _confusion(runs: list[ModelResults], names: tuple[str, str]) -> Iterator[Drawing]:
    scores = [run.evaluation for run in runs]
    classes, others = ([str(row["class"]) for row in each["per_class"]] for each in scores)
    if classes == others:
        counts = [np.array(each["confusion"]) for each in scores]
        figures = [
            (
                confusion.draw(own, classes, f"{name}: what is taken for what", beside=beside),
                f"{name}: {count(each['test_errors'], 'error')} by true and predicted class.",
            )
            for each, own, beside, name in zip(scores, counts, reversed(counts), names, strict=True)
        ]
        yield "Confusion", "Each panel has one scale for both runs.", figures


def _reliability(runs: list[ModelResults], names: tuple[str, str]) -> Iterator[Drawing]:
    scores = [run.evaluation for run in runs]
    bins = [each["reliability"] for each in scores if "reliability" in each]
    if len(bins) == 2:
        figures = []
        for each, own, beside, name in zip(scores, bins, reversed(bins), names, strict=True):
            error = f"{points(each['ece'])} percentage points"
            title = f"{name}: is it right as often as it says?"
            subtitle = f"expected calibration error {error}; lines: 95 % intervals"
            figure = reliability.draw(own, title, subtitle, beside=beside)
            figures.append((figure, f"{name}: confidence is off by {error} on average."))
        yield "Reliability", "The same axes for both.", figures


def _kernels(runs: list[ModelResults], names: tuple[str, str]) -> Iterator[Drawing]:
    one, other = (run.kernels for run in runs)
    for layer, weights in one.items():
        if layer not in other or other[layer].shape != weights.shape:
            continue
        both = [weights, other[layer]]
        limit = float(max(np.abs(each).max() for each in both))
        change = float(np.linalg.norm(other[layer] - weights) / (np.linalg.norm(weights) or 1))
        number = weights.shape[0] * weights.shape[1]
        scale = f"on a scale from −{short(limit)} to {short(limit)}"
        yield (
            f"Kernels of {layer}",
            f"One scale for both runs; the weights differ by {percent(change)} of the norm of the "
            "first.",
            [
                (
                    kernels.draw(each, f"{name}: the kernels of {layer}", limit=limit),
                    f"{name}: all {number} kernels of {layer}, {scale}.",
                )
                for each, name in zip(both, names, strict=True)
            ],
        )
