"""Sentences made from the numbers: what was measured, and which claims it supports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from cnnpipe.findings import evidence
from cnnpipe.findings.mcnemar import mcnemar_p_value
from cnnpipe.findings.wording import NBSP, count, percent, points, short, written
from cnnpipe.report.inputs import ModelSources, Sources

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Verdict:
    """A sentence, and what it is: a claim that holds, one that does not, or a measurement."""

    kind: Literal["supported", "not supported", "measured"] | evidence.Verdict
    text: str


def measured(summary: Mapping[str, Any]) -> str:
    """A finding's number with its unit and interval."""
    text = f"{_number(summary['number'])} {summary['unit']}"
    if summary["interval"]:
        low, high = map(_number, summary["interval"])
        text += f" (95{NBSP}% interval {low} to {high})"
    return text


def reason(summary: Mapping[str, Any]) -> str:
    """A finding's statement, as a sentence."""
    text = str(summary["statement"])
    return text[:1].upper() + text[1:]


def _number(value: float) -> str:
    if value == int(value):
        return written(int(value), ",")
    return short(value)


def verdicts(sources: Sources) -> list[Verdict]:
    """All that can be said from what is there."""
    return [
        *_operators(sources),
        *_speed(sources),
        *(verdict for model in sources.models for verdict in _accuracy(model)),
        *(v for pair in combinations(sources.models, 2) for v in _comparison(*pair)),
        *(verdict for model in sources.models for verdict in _confusion(model)),
        *(verdict for model in sources.models for verdict in _overfitting(model)),
        *(verdict for model in sources.models for verdict in _calibration(model)),
        *(verdict for model in sources.models for verdict in filter_verdicts(model)),
        *(verdict for model in sources.models for verdict in _attribution(model)),
    ]


def _operators(sources: Sources) -> Iterator[Verdict]:
    if report := sources.verification:
        passed = report["verdict"] == "pass"
        outcome = (
            "all within tolerance" if passed else f"not all within tolerance ({report['worst']})"
        )
        yield Verdict(
            "supported" if passed else "not supported",
            f"This project’s operators compute what their references compute: "
            f"{count(report['comparisons'], 'comparison')}, {outcome}.",
        )


def _speed(sources: Sources) -> Iterator[Verdict]:
    if race := sources.benchmark:
        for row in race["models"]:
            if row["phase"] == "training" and row["batch_size"] == race["batch_size"]:
                ratio = row["ratios"]["scratch / torch"]
                yield Verdict(
                    "supported" if ratio["median"] <= 1 else "not supported",
                    f"{sources.title_of(row['model'])} trains as fast with this project’s layers "
                    f"as with torch’s: a step of {count(row['batch_size'], 'image')} takes "
                    f"{short(ratio['median'])} times torch’s time (quartiles "
                    f"{short(ratio['low'])} to {short(ratio['high'])}).",
                )


def _accuracy(model: ModelSources) -> Iterator[Verdict]:
    if scores := model.evaluation:
        low, high = scores["test_accuracy_interval"]
        yield Verdict(
            "measured",
            f"{model.title} classifies {percent(scores['test_accuracy'], 2)} of "
            f"{count(scores['images'], 'test image')} correctly{averaged_over(model)} "
            f"({count(scores['test_errors'], 'error')}; 95{NBSP}% interval "
            f"{percent(low, 2)} to {percent(high, 2)}).",
        )


def averaged_over(model: ModelSources) -> str:
    """What follows an accuracy whose answers are not to the image alone; else nothing."""
    return f", averaged over {model.copies} shifted copies" if model.copies > 1 else ""


def _comparison(one: ModelSources, other: ModelSources) -> Iterator[Verdict]:
    """Exact McNemar test: of the images that only one classifies correctly, how many are whose?"""
    if one.predictions is None or other.predictions is None:
        return
    one_right, other_right = (
        table["prediction"] == table["label"] for table in (one.predictions, other.predictions)
    )
    only_one, only_other = (one_right & ~other_right).sum(), (other_right & ~one_right).sum()
    names = one.title, other.title
    yield paired_verdict(int(only_one), int(only_other), len(one_right), names)


def paired_verdict(
    only_first: int, only_second: int, images: int, names: tuple[str, str]
) -> Verdict:
    """Exact McNemar test: which of the two is better, and does chance explain it?

    Args:
        only_first: images that the first alone classifies correctly.
        only_second: images that the second alone classifies correctly.
        images: all of them.
        names: of the two, for people.
    """
    if only_first == only_second == 0:
        text = (
            f"{' and '.join(names)} classify the same of {count(images, 'test image')} correctly."
        )
        return Verdict("measured", text)
    p = mcnemar_p_value(only_first, only_second)
    holds = p < SIGNIFICANCE
    evidence = (
        f"of {count(images, 'test image')}, {names[0]} alone classifies {only_first} correctly and "
        f"{names[1]} alone {only_second} (exact McNemar test, {p_text(p)})."
    )
    if only_first == only_second:
        return Verdict("measured", f"Both are equally good: {evidence}")
    better = names[0] if only_first > only_second else names[1]
    return Verdict(
        "supported" if holds else "not supported",
        f"{better} is better: {evidence}"
        + ("" if holds else " Chance alone makes such a difference often enough."),
    )


def p_text(p: float) -> str:
    """A p-value as papers write it."""
    return f"p{NBSP}<{NBSP}0.001" if p < 0.001 else f"p{NBSP}={NBSP}{p:.3f}"


def _confusion(model: ModelSources) -> Iterator[Verdict]:
    if (scores := model.evaluation) and scores["test_errors"]:
        errors = np.array(scores["confusion"])
        np.fill_diagonal(errors, 0)
        true, predicted = np.unravel_index(errors.argmax(), errors.shape)
        names = [row["class"] for row in scores["per_class"]]
        yield Verdict(
            "measured",
            f"The commonest error of {model.title} is to read “{names[true]}” as "
            f"“{names[predicted]}”: {errors.max()} of {count(scores['test_errors'], 'error')}.",
        )


def _overfitting(model: ModelSources) -> Iterator[Verdict]:
    if (curves := model.curves) is not None:
        losses = curves["validation_loss"].to_numpy()
        best = int(losses.argmin())
        rise = losses[-1] / losses[best] - 1
        holds = bool(rise <= 0.05)
        yield Verdict(
            "supported" if holds else "not supported",
            f"{model.title} did not overfit: its validation loss ends at {short(losses[-1])}, "
            + (
                f"{percent(rise)} above its lowest value, of epoch {curves['epoch'].iloc[best]}."
                if rise > 0
                else "its lowest value."
            ),
        )


def _calibration(model: ModelSources) -> Iterator[Verdict]:
    if scores := model.evaluation:
        yield Verdict(
            "measured",
            f"The confidence of {model.title} is off by {100 * scores['ece']:.2f} percentage "
            f"points on average (expected calibration error).",
        )


def filter_verdicts(model: ModelSources) -> Iterator[Verdict]:
    """What the filters of a network are worth, one by one."""
    if (filters := model.filters) is None:
        return
    dead = int((filters["silent"] == 1).sum())
    if filters["silent"].notna().any():
        yield Verdict(
            "measured",
            f"{dead or 'None'} of the {count(len(filters), 'filter')} of {model.title} "
            f"{'are' if dead > 1 else 'is'} dead, that is zero everywhere on every test image.",
        )
    best = filters.iloc[int(filters["accuracy_lost"].argmax())]
    beyond = int((filters["low"] > 0).sum())
    yield Verdict(
        "measured",
        f"The most valuable filter of {model.title} is number {best['filter']} of {best['layer']}: "
        f"without it {points(best['accuracy_lost'])} percentage points of accuracy are lost "
        f"(95{NBSP}% interval {points(best['low'])} to {points(best['high'])}); "
        f"{beyond} of {len(filters)} are worth something beyond chance, taken one by one.",
    )


def _attribution(model: ModelSources) -> Iterator[Verdict]:
    if model.attribution:
        summary = model.attribution.summary
        yield Verdict(summary["verdict"], reason(summary))
