"""Sentences made from the numbers: what was measured, and which claims it supports."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import log
from typing import Any

import numpy as np
from scipy.stats import binom

from cnnpipe.findings.evidence import holm
from cnnpipe.findings.mcnemar import mcnemar_p_value
from cnnpipe.findings.wording import NBSP, count, listed, percent, points, short, written
from cnnpipe.report.inputs import ModelSources, Sources

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Verdict:
    """A sentence, and what it is: a measurement, or a claim with what the numbers say of it."""

    kind: str
    """measured; or of a claim: verified, shown, shown not to hold, not decided."""
    text: str


@dataclass(frozen=True)
class Brief:
    """A sentence of the summary, and the section that it follows from."""

    text: str
    section: str
    """Its id on the page."""


def measured(summary: Mapping[str, Any]) -> str:
    """A finding's number with its unit and interval."""
    text = f"{_number(summary['number'])} {summary['unit']}"
    if summary["interval"]:
        text += f" (95{NBSP}% interval {_range(*summary['interval'])})"
    return text


def replicated(findings: Sequence[Mapping[str, Any]]) -> str:
    """The verdicts and numbers of one claim from several base seeds; nothing where there are none.

    For example "“shown” from 4 and “not decided” from 1 of 5 base seeds; 13.5, 13.1, …".
    """
    if not findings:
        return ""
    verdicts = Counter(str(found["verdict"]) for found in findings)
    counted = [f"“{verdict}” from {number}" for verdict, number in verdicts.most_common()]
    numbers = ", ".join(_number(found["number"]) for found in findings)
    return f"{listed(counted)} of {count(len(findings), 'base seed')}; {numbers}"


def _range(low: float, high: float) -> str:
    """Both ends of an interval, with as many digits as it takes to tell them apart."""
    for digits in range(3, 8):
        ends = [_number(end, digits) for end in (low, high)]
        if ends[0] != ends[1]:
            break
    return " to ".join(ends)


def reason(summary: Mapping[str, Any]) -> str:
    """A finding's statement, as a sentence."""
    text = str(summary["statement"])
    return text[:1].upper() + text[1:]


def _number(value: float, digits: int = 3) -> str:
    if value == int(value):
        return written(int(value), ",")
    return written(value, f".{digits}g")


def verdicts(sources: Sources) -> list[Verdict]:
    """All that can be said from what is there."""
    return [
        *_operators(sources),
        *_speed(sources),
        *(verdict for model in sources.models for verdict in _accuracy(model)),
        *(v for pair in combinations(sources.models, 2) for v in _comparison(sources, *pair)),
        *(verdict for model in sources.models for verdict in _confusion(model)),
        *(verdict for model in sources.models for verdict in _validation(model)),
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
            "verified" if passed else "shown not to hold",
            f"This project’s operators compute what their references compute: "
            f"{count(report['comparisons'], 'comparison')}, {outcome}.",
        )


def _speed(sources: Sources) -> Iterator[Verdict]:
    if race := sources.benchmark:
        for row in race["models"]:
            if row["phase"] == "training" and row["batch_size"] == race["batch_size"]:
                ratio = row["ratios"]["scratch / torch"]
                is_slower = "shown not to hold" if ratio["low"] > 1 else "not decided"
                yield Verdict(
                    "shown" if ratio["high"] <= 1 else is_slower,
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


def _comparison(sources: Sources, one: ModelSources, other: ModelSources) -> Iterator[Verdict]:
    """Exact McNemar test: of the images that only one classifies correctly, how many are whose?"""
    if one.predictions is None or other.predictions is None:
        return
    one_right, other_right = (
        table["prediction"] == table["label"] for table in (one.predictions, other.predictions)
    )
    only_one, only_other = (one_right & ~other_right).sum(), (other_right & ~one_right).sum()
    names = one.title, other.title
    verdict = paired_verdict(int(only_one), int(only_other), len(one_right), names)
    if kept := corrupted(sources, [one, other]):
        verdict = replace(verdict, text=f"{verdict.text} That is on clean images. {kept}")
    yield verdict


def corrupted(sources: Sources, models: Sequence[ModelSources]) -> str:
    """What is left of the accuracies when images are corrupted; empty if it was not measured."""
    table = sources.handcrafted.table if sources.handcrafted else None
    if table is None or not {"method", "training", "corrupted"} <= set(table.columns):
        return ""
    as_trained = table[table["training"] == "pipeline"].set_index("method")["corrupted"]
    if not models or any(model.name not in as_trained for model in models):
        return ""
    kept = [f"{model.title} reads {percent(as_trained[model.name])}" for model in models]
    return (
        f"On images that are shifted, turned, blurred, noisy, inverted or covered in part, "
        f"{listed(kept)} correctly (mean over corruptions and severities)."
    )


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
        "shown" if holds else "not decided",
        f"{better} is better: {evidence}"
        + ("" if holds else " Chance alone makes such a difference often enough."),
    )


def p_text(p: float) -> str:
    """A p-value as papers write it."""
    return f"p{NBSP}<{NBSP}0.001" if p < 0.001 else f"p{NBSP}={NBSP}{p:.3f}"


def _confusion(model: ModelSources) -> Iterator[Verdict]:
    if (scores := model.evaluation) and scores["test_errors"]:
        pairs, most = commonest_confusions(scores)
        errors = count(scores["test_errors"], "error")
        if is_finding(most, scores["test_errors"], len(scores["per_class"])):
            verb = "error" if len(pairs) == 1 else "errors"
            text = (
                f"The commonest {verb} of {model.title}: {listed(pairs)}, "
                f"{most} of {errors}{' each' if len(pairs) > 1 else ''}."
            )
        else:
            text = (
                f"No confusion of {model.title} stands out: its {errors} could lie among the pairs "
                "of classes as they do by chance."
            )
        yield Verdict("measured", text)


def commonest_confusions(scores: Mapping[str, Any]) -> tuple[list[str], int]:
    """All pairs of classes that are confused most often, as “4” read as “9”, and how often."""
    errors = np.array(scores["confusion"])
    np.fill_diagonal(errors, 0)
    names = [row["class"] for row in scores["per_class"]]
    most = int(errors.max())
    pairs = np.argwhere(errors == most)
    return [f"“{names[true]}” read as “{names[answer]}”" for true, answer in pairs], most


def is_finding(most: int, errors: int, classes: int) -> bool:
    """Whether chance alone would hardly put this many of the errors on one pair of classes.

    Under chance each error falls on any of the P = K·(K − 1) pairs alike; P times the probability
    that a given pair gets `most` or more bounds the probability that any does (Bonferroni).
    """
    pairs = classes * (classes - 1)
    return pairs * float(binom.sf(most - 1, errors, 1 / pairs)) < SIGNIFICANCE


def _validation(model: ModelSources) -> Iterator[Verdict]:
    if (curves := model.curves) is not None:
        losses = curves["validation_loss"].to_numpy()
        best = int(losses.argmin())
        rise = losses[-1] / losses[best] - 1
        yield Verdict(
            "measured",
            f"The validation loss of {model.title} ends at {short(losses[-1])}, "
            + (
                f"{percent(rise)} above its lowest value, of epoch {curves['epoch'].iloc[best]}."
                if rise > 0
                else "its lowest value."
            ),
        )


def smoothing(sources: Sources, model: ModelSources) -> float:
    """The label smoothing that a model was trained with."""
    return float(sources.params["models"][model.name].get("label_smoothing", 0))


def smoothing_floor(smoothing: float, classes: int) -> float:
    """The lowest cross-entropy with smoothed labels, in nats: their entropy.

    Of K classes the true one has the target 1 − ε + ε/K, the others ε/K each.

    >>> round(smoothing_floor(0.05, 10), 3)
    0.282
    """
    rest = smoothing / classes
    true = 1 - smoothing + rest
    return -true * log(true) - ((classes - 1) * rest * log(rest) if rest else 0.0)


def loss_comparison(sources: Sources, model: ModelSources) -> str:
    """What keeps the two curves of a model's loss from being compared directly."""
    text = (
        "The two losses do not measure the same: training is measured while the weights move, on "
        "distorted images; validation after each epoch, on images as they are."
    )
    if (epsilon := smoothing(sources, model)) and model.evaluation:
        floor = smoothing_floor(epsilon, len(model.evaluation["per_class"]))
        text += (
            f" The training loss also has label smoothing of {short(epsilon)}, with which it "
            f"cannot fall below {short(floor)}."
        )
    return text


def modesty(sources: Sources, model: ModelSources) -> str:
    """Why a network's confidence is low, where its training is the reason; else empty."""
    if not (epsilon := smoothing(sources, model)):
        return ""
    return (
        f"{model.title} was trained with label smoothing of {short(epsilon)}: its targets were "
        "never fully certain, so it never is. Less confidence does not mean that it is worse."
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
    yield Verdict(
        "measured",
        f"The most valuable filter of {model.title} is number {best['filter']} of {best['layer']}: "
        f"without it {points(best['accuracy_lost'])} percentage points of accuracy are lost "
        f"(95{NBSP}% interval {points(best['low'])} to {points(best['high'])}); "
        f"of {len(filters)}, removed one at a time, {worthwhile(model)} cost more accuracy than "
        "chance explains (exact McNemar tests, corrected for their number by Holm’s method).",
    )


def worthwhile(model: ModelSources) -> int:
    """How many filters cost accuracy when they are removed, by exact McNemar tests and Holm."""
    if model.filters is None:
        return 0
    changes = zip(model.filters["newly_wrong"], model.filters["newly_right"], strict=True)
    p_values = {
        str(k): mcnemar_p_value(wrong, right) if wrong > right else 1.0
        for k, (wrong, right) in enumerate(changes)
    }
    return sum(p < SIGNIFICANCE for p in holm(p_values).values())


def _attribution(model: ModelSources) -> Iterator[Verdict]:
    if model.attribution:
        summary = model.attribution.summary
        yield Verdict(summary["verdict"], f"{model.title}: {summary['claim']} {reason(summary)}")


def in_brief(sources: Sources) -> list[Brief]:
    """The summary, in plain words: at most five sentences, each of what has been measured."""
    return [*_brief_operators(sources), *_brief_models(sources), *_brief_claims(sources)]


def _brief_operators(sources: Sources) -> Iterator[Brief]:
    if report := sources.verification:
        outcome = (
            "each gives what PyTorch or SciPy gives, up to rounding"
            if report["verdict"] == "pass"
            else "not all give what PyTorch or SciPy gives"
        )
        yield Brief(
            "Convolution and all other layers are this project’s own code, and "
            f"{count(report['comparisons'], 'comparison')} found that {outcome}.",
            "operators",
        )


def _brief_models(sources: Sources) -> Iterator[Brief]:
    models = sources.evaluated
    if models:
        scores = [
            f"{model.title} reads {percent(model.evaluation['test_accuracy'], 2)}"
            for model in models
            if model.evaluation
        ]
        images = count((models[0].evaluation or {})["images"], "test image")
        yield Brief(
            f"Of {images}, which they had never seen, {listed(scores)} correctly.", "results"
        )
    if kept := corrupted(sources, models):
        yield Brief(
            "Which network is better depends on the images: " + kept[0].lower() + kept[1:],
            "handcrafted",
        )
    if filtered := [model for model in models if model.filters is not None]:
        worth = [
            f"{worthwhile(model)} of the {len(model.filters)} of {model.title}"
            for model in filtered
            if model.filters is not None
        ]
        yield Brief(
            "Hardly any filter matters alone: removed one at a time, "
            f"{listed(worth)} cost more accuracy than chance explains.",
            "filters",
        )


def _brief_claims(sources: Sources) -> Iterator[Brief]:
    if sources.principles:
        verdicts = Counter(str(found.summary["verdict"]) for found in sources.principles)
        counted = [f"{number} “{verdict}”" for verdict, number in verdicts.most_common()]
        yield Brief(
            f"Experiments test {count(len(sources.principles), 'claim')} that texts make about "
            f"such networks; the verdicts: {listed(counted)}.",
            "principles",
        )
