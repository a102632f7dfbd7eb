"""Two runs of the pipeline side by side: what differs, by how much, and whether by chance."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnpipe.compare.figures import Pair, draw_pairs
from cnnpipe.compare.revisions import ModelResults, Revision
from cnnpipe.findings.intervals import Interval
from cnnpipe.findings.mcnemar import paired_difference
from cnnpipe.findings.wording import NBSP, percent, points, short, written
from cnnpipe.report.inputs import webp_uri
from cnnpipe.report.sentences import Verdict, paired_verdict

CHANGED = 200
"""Test images at most that are shown of those that only one run classifies correctly."""

Row = tuple[str, str, str, str]
"""A quantity, its values in both runs, and the difference."""


@dataclass(frozen=True)
class Changed:
    """A test image that only one run classifies correctly."""

    index: int
    label: str
    answers: tuple[str, str]
    """Of the first run, and of the second."""
    uri: str
    """Its picture; empty if the images are not there."""


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
    same: bool
    """Whether kernels, curves, answers and scores are all the same in both."""


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
    names = (one.name, other.name)
    params = [
        (key, _value(one.params, key), _value(other.params, key))
        for key in dict.fromkeys([*one.params, *other.params])
        if key not in one.params or key not in other.params or one.params[key] != other.params[key]
    ]
    images = one.test_images if one.test_images is not None else other.test_images
    models, missing = [], []
    for name, before in one.models.items():
        after = other.models[name]
        if before.evaluation and after.evaluation:
            models.append(_compare_model(name, before, after, names, images))
        elif before.evaluation or after.evaluation:
            missing.append(before.title)
    return Comparison(one, other, params, models, missing)


def _value(params: Mapping[str, Any], key: str) -> str:
    """A parameter as params.yaml writes it."""
    if key not in params:
        return "–"
    value = params[key]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _compare_model(
    name: str,
    one: ModelResults,
    other: ModelResults,
    names: tuple[str, str],
    images: NDArray[np.uint8] | None,
) -> ModelComparison:
    verdict, interval, changed = _paired(one, other, names, images)
    same = _are_same(one, other)
    return ModelComparison(
        name=name,
        title=other.title,
        rows=list(_rows(one.evaluation, other.evaluation, interval)),
        verdict=verdict,
        changed=changed[:CHANGED],
        changes=len(changed),
        pairs=[] if same else draw_pairs(one, other, names),
        same=same,
    )


def _are_same(one: ModelResults, other: ModelResults) -> bool:
    tables = [(one.predictions, other.predictions), (one.curves, other.curves)]
    return (
        one.evaluation == other.evaluation
        and all(a is not None and b is not None and a.equals(b) for a, b in tables)
        and one.kernels.keys() == other.kernels.keys()
        and all(np.array_equal(one.kernels[name], other.kernels[name]) for name in one.kernels)
    )


def _paired(
    one: ModelResults,
    other: ModelResults,
    names: tuple[str, str],
    images: NDArray[np.uint8] | None,
) -> tuple[Verdict, Interval | None, list[Changed]]:
    """What follows from the answers to the same test images, or why nothing does.

    Returns:
        the verdict, the 95 % interval of the difference in accuracy, and the images that only one
        run classifies correctly.
    """
    before, after = one.predictions, other.predictions
    if before is None or after is None:
        absent = [n for n, table in zip(names, (before, after), strict=True) if table is None]
        text = (
            f"No test of the difference: the predictions of {' and '.join(absent)} are not in "
            "DVC’s cache; dvc pull or dvc repro brings them."
        )
        return Verdict("measured", text), None, []
    if before["label"].tolist() != after["label"].tolist():
        text = "The two were judged on different test images: their accuracies are not comparable."
        return Verdict("measured", text), None, []
    first, second = ((t["prediction"] == t["label"]).to_numpy() for t in (before, after))
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    classes = [str(row["class"]) for row in one.evaluation["per_class"]]
    changed = before.assign(after=after["prediction"])[first != second]
    columns = (changed[column] for column in ("index", "label", "prediction", "after"))
    return (
        paired_verdict(only_first, only_second, len(first), names),
        paired_difference(only_second, only_first, len(first)),
        [
            Changed(index, classes[label], (classes[first], classes[then]), _picture(images, index))
            for index, label, first, then in zip(*(map(int, each) for each in columns), strict=True)
        ],
    )


def _picture(images: NDArray[np.uint8] | None, index: int) -> str:
    """A test image as the networks see it, dark ink on white; empty if it is not there."""
    if images is None or index >= len(images):
        return ""
    return webp_uri(Image.fromarray(255 - images[index]))


def _rows(
    one: Mapping[str, Any], other: Mapping[str, Any], interval: Interval | None
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
    for label, key, write, unit in [
        ("Errors", "test_errors", _integer, ""),
        ("Parameters", "parameters", _integer, ""),
        (f"Multiply-adds per {'copy' if max(copies) > 1 else 'image'}", "macs", _integer, ""),
        ("Test loss", "test_loss", short, ""),
        ("Calibration error (ECE)", "ece", points, " points"),
    ]:
        yield (
            label,
            write(one[key]) + unit,
            write(other[key]) + unit,
            _signed(write(other[key] - one[key])) + unit,
        )


def _integer(value: float) -> str:
    return written(value, ",")


def _signed(text: str) -> str:
    return text if text.startswith("−") or not text.strip("0.,") else f"+{text}"
