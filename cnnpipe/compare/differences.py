"""Two runs of the pipeline side by side: what differs, by how much, and whether by chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnpipe.compare.figures import Pair, draw_pairs
from cnnpipe.compare.revisions import ModelResults, Revision
from cnnpipe.findings.intervals import Interval
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
    names = (one.name, other.name)
    params = [
        (key, str(one.params.get(key, "–")), str(other.params.get(key, "–")))
        for key in dict.fromkeys([*one.params, *other.params])
        if key not in one.params or key not in other.params or one.params[key] != other.params[key]
    ]
    models, missing = [], []
    for name, before in one.models.items():
        after = other.models[name]
        if before.evaluation and after.evaluation:
            models.append(_compare_model(name, before, after, names))
        elif before.evaluation or after.evaluation:
            missing.append(before.title)
    return Comparison(one, other, params, models, missing)


def _compare_model(
    name: str, one: ModelResults, other: ModelResults, names: tuple[str, str]
) -> ModelComparison:
    verdict, interval, changed = _paired(one, other, names)
    return ModelComparison(
        name=name,
        title=other.title,
        rows=list(_rows(one.evaluation, other.evaluation, interval)),
        verdict=verdict,
        changed=changed[:CHANGED],
        changes=len(changed),
        pairs=draw_pairs(one, other, names),
    )


def _paired(
    one: ModelResults, other: ModelResults, names: tuple[str, str]
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
            "DVC’s cache; `dvc pull` or `dvc repro` brings them."
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
            (int(index), classes[label], classes[answer], classes[other_answer])
            for index, label, answer, other_answer in zip(*columns, strict=True)
        ],
    )


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
