"""Two runs of the pipeline side by side: what differs, by how much, and whether by chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cnnpipe.compare.figures import Pair, draw_pairs
from cnnpipe.compare.revisions import ModelResults, Revision
from cnnpipe.findings.mcnemar import paired_difference
from cnnpipe.findings.wording import NBSP, percent, points, short, written
from cnnpipe.report.sentences import Verdict, paired_verdict

CHANGED = 40
"""Rows at most in the table of images that only one run classifies correctly."""

Row = tuple[str, str, str, str]
"""A quantity, its values in both runs, and the difference."""
Changed = tuple[int, str, str, str]
"""Index of a test image that only one run classifies correctly, its label, and both answers."""


@dataclass(frozen=True)
class ModelComparison:
    """One model in both runs."""

    name: str
    title: str
    rows: Sequence[Row]
    verdict: Verdict
    changed: Sequence[Changed]
    changes: int
    """How many there are."""
    pairs: Sequence[Pair]


@dataclass(frozen=True)
class Comparison:
    """All that the page of two runs is made from."""

    one: Revision
    other: Revision
    params: Sequence[tuple[str, str, str]]
    """Keys whose values differ, with both values."""
    models: Sequence[ModelComparison]
    missing: Sequence[str]
    """Titles of models that only one of the two has."""


def compare(one: Revision, other: Revision) -> Comparison:
    """What differs from the first revision to the second."""
    keys = list(dict.fromkeys([*one.params, *other.params]))
    params = [
        (key, _shown(one.params, key), _shown(other.params, key))
        for key in keys
        if one.params.get(key) != other.params.get(key)
        or (key in one.params) != (key in other.params)
    ]
    both = [
        name for name in one.models if one.models[name].evaluation and other.models[name].evaluation
    ]
    missing = [
        one.models[name].title
        for name in one.models
        if bool(one.models[name].evaluation) != bool(other.models[name].evaluation)
    ]
    models = [
        _compare_model(name, one.models[name], other.models[name], (one.name, other.name))
        for name in both
    ]
    return Comparison(one, other, params, models, missing)


def _shown(params: Mapping[str, Any], key: str) -> str:
    return str(params[key]) if key in params else "–"


def _compare_model(
    name: str, one: ModelResults, other: ModelResults, names: tuple[str, str]
) -> ModelComparison:
    paired = _paired(one, other, names)
    return ModelComparison(
        name=name,
        title=other.title,
        rows=list(_rows(one.evaluation, other.evaluation, paired.interval)),
        verdict=paired.verdict,
        changed=paired.changed[:CHANGED],
        changes=len(paired.changed),
        pairs=draw_pairs(one, other, names),
    )


@dataclass(frozen=True)
class _Paired:
    """What follows from the answers to the same test images, or why nothing does."""

    verdict: Verdict
    interval: tuple[float, float] | None = None
    """95 %, of the difference in accuracy."""
    changed: Sequence[Changed] = ()


def _paired(one: ModelResults, other: ModelResults, names: tuple[str, str]) -> _Paired:
    if one.predictions is None or other.predictions is None:
        absent = [n for n, m in zip(names, (one, other), strict=True) if m.predictions is None]
        text = (
            f"No test of the difference: the predictions of {' and '.join(absent)} are not in "
            "DVC’s cache; `dvc pull` or `dvc repro` brings them."
        )
        return _Paired(Verdict("measured", text))
    if one.predictions["label"].tolist() != other.predictions["label"].tolist():
        text = "The two were judged on different test images: their accuracies are not comparable."
        return _Paired(Verdict("measured", text))
    first_right, second_right = (
        (table["prediction"] == table["label"]).to_numpy()
        for table in (one.predictions, other.predictions)
    )
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    images = len(first_right)
    return _Paired(
        paired_verdict(only_first, only_second, images, names),
        paired_difference(only_second, only_first, images),
        _changed(
            [str(row["class"]) for row in one.evaluation["per_class"]],
            one.predictions[first_right != second_right],
            other.predictions[first_right != second_right],
        ),
    )


def _changed(classes: Sequence[str], before: pd.DataFrame, after: pd.DataFrame) -> list[Changed]:
    """Rows of the images whose answer turned, classes by name."""
    return [
        (int(index), classes[label], classes[first], classes[second])
        for index, label, first, second in zip(
            before["index"], before["label"], before["prediction"], after["prediction"], strict=True
        )
    ]


def _rows(
    one: Mapping[str, Any], other: Mapping[str, Any], interval: tuple[float, float] | None
) -> Iterator[Row]:
    difference = other["test_accuracy"] - one["test_accuracy"]
    spread = (
        f" (95{NBSP}% interval {points(interval[0])} to {points(interval[1])})" if interval else ""
    )
    yield (
        "Accuracy",
        percent(one["test_accuracy"], 2),
        percent(other["test_accuracy"], 2),
        f"{_signed(points(difference))} points{spread}",
    )
    copies = [scores.get("copies", 1) for scores in (one, other)]
    if max(copies) > 1:
        before, after = ("the image alone" if n == 1 else f"{n} shifted copies" for n in copies)
        yield "Answers averaged over", before, after, "–"
    for label, key in [
        ("Errors", "test_errors"),
        ("Parameters", "parameters"),
        (f"Multiply-adds per {'copy' if max(copies) > 1 else 'image'}", "macs"),
    ]:
        yield (
            label,
            f"{one[key]:,}",
            f"{other[key]:,}",
            _signed(written(other[key] - one[key], ",")),
        )
    yield (
        "Test loss",
        short(one["test_loss"]),
        short(other["test_loss"]),
        _signed(short(other["test_loss"] - one["test_loss"])),
    )
    yield (
        "Calibration error (ECE)",
        f"{points(one['ece'])} points",
        f"{points(other['ece'])} points",
        f"{_signed(points(other['ece'] - one['ece']))} points",
    )


def _signed(text: str) -> str:
    return text if text.startswith("−") or not text.strip("0.,") else f"+{text}"
