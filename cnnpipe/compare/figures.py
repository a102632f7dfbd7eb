"""The same figure of two runs, on identical scales, so that they can be laid over each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure

from cnnpipe.compare.revisions import ModelResults
from cnnpipe.drawing.kernels import draw as draw_kernels
from cnnpipe.drawing.layout import save_png
from cnnpipe.findings.wording import count, percent, points, short
from cnnpipe.report.inputs import Picture, read_pictures
from cnnpipe.visualize import confusion, reliability
from cnnpipe.visualize import curves as learning_curves


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


@dataclass(frozen=True)
class _Drawing:
    """A pair before it is encoded."""

    title: str
    see: str
    figures: list[Figure]
    alts: list[str]


def draw_pairs(one: ModelResults, other: ModelResults, names: tuple[str, str]) -> list[Pair]:
    """Every figure whose numbers both runs have: curves, confusion, reliability, kernels.

    Args:
        one: results of the first run.
        other: results of the second run.
        names: what the runs are called.
    """
    runs = [one, other]
    drawings = [
        *_curves(runs, names),
        *_confusion(runs, names),
        *_reliability(runs, names),
        *_kernels(runs, names),
    ]
    with TemporaryDirectory() as folder:
        described = []
        for number, drawing in enumerate(drawings):
            for side, (figure, alt) in enumerate(zip(drawing.figures, drawing.alts, strict=True)):
                file = f"{number}_{side}.png"
                save_png(Path(folder) / file, figure)
                described.append({"file": file, "kind": "pair", "alt": alt})
        pictures = read_pictures(Path(folder), described)
    return [
        Pair(drawing.title, drawing.see, *pictures[2 * number : 2 * number + 2])
        for number, drawing in enumerate(drawings)
    ]


def _curves(runs: list[ModelResults], names: tuple[str, str]) -> Iterator[_Drawing]:
    curves = [run.curves for run in runs if run.curves is not None]
    if len(curves) == 2:
        yield _Drawing(
            "Learning curves",
            "The same axes for both.",
            [
                learning_curves.draw(own, f"{name}: learning curves", beside=beside)
                for own, beside, name in zip(curves, reversed(curves), names, strict=True)
            ],
            [
                f"{name}: validation loss ends at {short(own['validation_loss'].iloc[-1])}."
                for own, name in zip(curves, names, strict=True)
            ],
        )


def _confusion(runs: list[ModelResults], names: tuple[str, str]) -> Iterator[_Drawing]:
    scores = [run.evaluation for run in runs]
    classes, others = ([str(row["class"]) for row in each["per_class"]] for each in scores)
    if classes == others:
        counts = [np.array(each["confusion"]) for each in scores]
        yield _Drawing(
            "Confusion",
            "Each panel has one scale for both runs.",
            [
                confusion.draw(own, classes, f"{name}: what is taken for what", beside=beside)
                for own, beside, name in zip(counts, reversed(counts), names, strict=True)
            ],
            [
                f"{name}: {count(each['test_errors'], 'error')} by true and predicted class."
                for each, name in zip(scores, names, strict=True)
            ],
        )


def _reliability(runs: list[ModelResults], names: tuple[str, str]) -> Iterator[_Drawing]:
    scores = [run.evaluation for run in runs]
    bins = [each["reliability"] for each in scores if "reliability" in each]
    if len(bins) == 2:
        errors = [points(each["ece"]) for each in scores]
        yield _Drawing(
            "Reliability",
            "The same axes for both.",
            [
                reliability.draw(
                    own,
                    f"{name}: is it right as often as it says?",
                    f"expected calibration error {error} percentage points; lines: 95 % intervals",
                    beside=beside,
                )
                for own, beside, name, error in zip(
                    bins, reversed(bins), names, errors, strict=True
                )
            ],
            [
                f"{name}: confidence is off by {error} percentage points on average."
                for name, error in zip(names, errors, strict=True)
            ],
        )


def _kernels(runs: list[ModelResults], names: tuple[str, str]) -> Iterator[_Drawing]:
    one, other = (run.kernels for run in runs)
    for layer, kernels in one.items():
        if layer not in other or other[layer].shape != kernels.shape:
            continue
        both = [kernels, other[layer]]
        limit = float(max(np.abs(weights).max() for weights in both))
        change = float(np.linalg.norm(other[layer] - kernels) / (np.linalg.norm(kernels) or 1))
        out_channels, in_channels = kernels.shape[:2]
        yield _Drawing(
            f"Kernels of {layer}",
            f"One scale for both runs; the weights differ by {percent(change)} of the norm of the "
            "first.",
            [
                draw_kernels(weights, f"{name}: the kernels of {layer}", limit=limit)
                for weights, name in zip(both, names, strict=True)
            ],
            [
                f"{name}: all {out_channels * in_channels} kernels of {layer}, on a scale from "
                f"−{short(limit)} to {short(limit)}."
                for name in names
            ],
        )
