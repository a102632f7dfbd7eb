"""Claim 11: hand-crafted features are "brittle, domain-specific, and failed to generalize".

Each word is a question that the numbers answer, of the best hand-crafted method (h) and of LeNet-5
(c), both trained on the same images with the same random maps:

    brittle               is c's accuracy, averaged over corruptions and severities, above h's?
    domain-specific       features frozen, a new classifier on another data set: is c above h?
    failed to generalize  classifier frozen, too, on another set of the same classes: likewise?

A question is answered yes where the 95 % interval of the gap c − h, a bootstrap over test images,
is above zero: less than that is chance. Which corruptions a mean is over is a choice, and one of
them can decide it, so brittleness has a third answer: in part, where the mean does not say yes, but
c is clearly ahead under at least half of the corruptions.

All yes: supported; all no: not supported; anything else: partly supported. The best hand-crafted
method is chosen by the very numbers it is judged by, which favours it: a yes is not owed to the
choice. Raw pixels are no feature and stand beside.

Refuted by: a hand-crafted feature that is as robust as the network, and travels as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cnnpipe.findings.finding import Finding, Verdict
from cnnpipe.findings.intervals import bootstrap_interval
from cnnpipe.findings.wording import NBSP, count, listed, percent, title_of, written
from cnnpipe.handcrafted.corruptions import CORRUPTIONS
from cnnpipe.handcrafted.methods import Method, Training
from cnnpipe.handcrafted.robustness import (
    Hits,
    Key,
    Robustness,
    Transfer,
    methods_table,
    transfer_table,
)

NAME = "handcrafted"
CLAIM = "Hand-crafted features are brittle, domain-specific, and failed to generalize."
TITLES = {
    "pixels": "raw pixels",
    "sobel": "Sobel edges",
    "canny": "Canny edges",
    "hog": "HOG",
    "sift": "SIFT words",
    "lenet5": title_of("lenet5"),
    "vgg": title_of("vgg"),
}
NETWORK = "lenet5"
SAME: Training = "augmented"
"""The training that both sides of a comparison have had."""

Answer = Literal["holds", "holds in part", "does not hold"]
Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Comparison:
    """One question: the network against the best hand-crafted method, on the same test images."""

    question: str
    network: str
    handcrafted: str
    network_accuracy: float
    handcrafted_accuracy: float
    gap: float
    """Network less hand-crafted."""
    interval: tuple[float, float]
    """95 %, of the gap."""
    images: int

    answer: Answer

    @property
    def ahead(self) -> bool:
        """Whether the network leads by more than chance."""
        return self.interval[0] > 0

    def summary(self) -> dict[str, Any]:
        return asdict(self) | {"interval": list(self.interval)}


def compare(
    question: str, network: Scores, handcrafted: Mapping[str, Scores], seed: int
) -> Comparison:
    """
    Shape: network (N,) and each of `handcrafted` (N,): the share of an image's versions that the
        method classifies correctly.
    """
    best = max(handcrafted, key=lambda name: float(handcrafted[name].mean()))
    difference = network - handcrafted[best]
    interval = bootstrap_interval(difference.tolist(), seed=seed)
    return Comparison(
        question=question,
        network=NETWORK,
        handcrafted=best,
        network_accuracy=float(network.mean()),
        handcrafted_accuracy=float(handcrafted[best].mean()),
        gap=float(difference.mean()),
        interval=interval,
        images=len(difference),
        answer="holds" if interval[0] > 0 else "does not hold",
    )


def in_part(brittle: Comparison, by_corruption: Sequence[Comparison]) -> Comparison:
    """Brittleness again, with its third answer."""
    clear = sum(comparison.ahead for comparison in by_corruption)
    if brittle.answer == "does not hold" and 2 * clear >= len(by_corruption):
        return replace(brittle, answer="holds in part")
    return brittle


def verdict_of(comparisons: Sequence[Comparison]) -> Verdict:
    answers = {comparison.answer for comparison in comparisons}
    if answers == {"holds"}:
        return "supported"
    return "not supported" if answers == {"does not hold"} else "partly supported"


def judge(
    methods: Sequence[Method],
    robustness: Robustness,
    transfers: Sequence[Transfer],
    seed: int,
    details: Mapping[str, Any],
) -> Finding:
    """The claim's verdict, from which images each method classified correctly.

    Args:
        methods: all that raced.
        robustness: on the same corrupted images.
        transfers: on other data sets; none means that brittleness alone decides.
        seed: of the bootstrap.
        details: further facts for the report: sizes, what was not there.
    """
    candidates = [m.name for m in methods if m.kind == "hand-crafted" and m.training == SAME]
    brittle, *travels = _comparisons(candidates, robustness, transfers, seed)
    by_corruption = {
        corruption.name: _comparisons_under(corruption.name, brittle.handcrafted, robustness, seed)
        for corruption in CORRUPTIONS
    }
    table = methods_table(methods, robustness, seed)
    brittle = in_part(brittle, list(by_corruption.values()))
    comparisons = [brittle, *travels]
    return Finding(
        name=NAME,
        claim=CLAIM,
        verdict=verdict_of(comparisons),
        statement=_statement(comparisons, by_corruption, table),
        number=100 * brittle.gap,
        unit="percentage points that the mean accuracy under corruption of "
        f"{TITLES[NETWORK]} lies above that of {TITLES[brittle.handcrafted]}",
        interval=(100 * brittle.interval[0], 100 * brittle.interval[1]),
        uncertainty=f"bootstrap over {brittle.images:,} test images, each in "
        f"{len(robustness.conditions)} corrupted versions",
        tables={
            "methods": table,
            "robustness": robustness.table(),
            "transfer": transfer_table(transfers),
        },
        details={
            **details,
            "comparisons": [comparison.summary() for comparison in comparisons],
            "corruptions": {
                name: {"gap": comparison.gap, "interval": list(comparison.interval)}
                for name, comparison in by_corruption.items()
            },
        },
        question="Which features survive when the images change?",
        data=f"{title_of(details['dataset'])}: {details['training']:,} training images, the "
        f"same for every method but this pipeline’s models, and {details['test']:,} test images, "
        "the same for all; classifiers are also given "
        f"{count(details['copies'], 'randomly mapped copy', 'randomly mapped copies')} of each "
        "training image, LeNet-5 a fresh one in every epoch",
        limits="Severities of different corruptions cannot be compared, these corruptions are not "
        "all there are, and digits are not photographs. With other numbers of training images "
        "the order may be another.",
    )


def methods_metrics(finding: Finding) -> dict[str, Any]:
    """What `dvc metrics diff` compares: method → training → accuracies, all fractions."""
    metrics: dict[str, Any] = {}
    for row in finding.tables["methods"].drop(columns="kind").to_dict("records"):
        method, training = row.pop("method"), row.pop("training")
        metrics.setdefault(method, {})[training] = row | {"transfer": {}}
    for row in finding.tables["transfer"].to_dict("records"):
        transfer = metrics[row["method"]][row["training"]]["transfer"]
        transfer.setdefault(row["dataset"], {})[row["classifier"]] = row["accuracy"]
    return metrics


def _comparisons(
    candidates: Sequence[str],
    robustness: Robustness,
    transfers: Sequence[Transfer],
    seed: int,
) -> list[Comparison]:
    def race(question: str, scores: Mapping[Key, Hits]) -> Comparison:
        rivals = {name: _per_image(scores[name, SAME]) for name in candidates}
        return compare(question, _per_image(scores[NETWORK, SAME]), rivals, seed)

    comparisons = [race("brittle", robustness.corrupted)]
    for transfer in transfers:
        comparisons.append(race(f"domain-specific, {transfer.dataset}", transfer.refitted))
        if transfer.as_is:
            comparisons.append(race(f"failed to generalize, {transfer.dataset}", transfer.as_is))
    return comparisons


def _comparisons_under(
    corruption: str, rival: str, robustness: Robustness, seed: int
) -> Comparison:
    network, handcrafted = (
        _per_image(robustness.of_corruption((name, SAME), corruption)) for name in (NETWORK, rival)
    )
    return compare(corruption, network, {rival: handcrafted}, seed)


def _per_image(hits: Hits) -> Scores:
    """
    Shape: (S, N) or (N,) → (N,).
    """
    scores: Scores = hits.reshape(-1, hits.shape[-1]).mean(axis=0)
    return scores


def _statement(
    comparisons: Sequence[Comparison],
    by_corruption: Mapping[str, Comparison],
    table: pd.DataFrame,
) -> str:
    brittle, *others = comparisons
    network, rival = TITLES[brittle.network], TITLES[brittle.handcrafted]
    sentences = [
        f"Averaged over {len(by_corruption)} corruptions, {network} classifies "
        f"{percent(brittle.network_accuracy)} of the images correctly and {rival}, the most robust "
        f"hand-crafted feature, {percent(brittle.handcrafted_accuracy)}, both trained on the same "
        f"images: {_gap(brittle)}, so “brittle” {brittle.answer}."
    ]
    ahead = [name for name, c in by_corruption.items() if c.ahead]
    behind = [name for name, c in by_corruption.items() if c.interval[1] < 0]
    if ahead and behind:
        sentences.append(
            f"Taken one by one, {network} is clearly ahead under {listed(ahead)}, {rival} under "
            f"{listed(behind)}."
        )
    decisive = max(by_corruption.values(), key=lambda comparison: abs(comparison.gap))
    rest = [c.gap for c in by_corruption.values() if c is not decisive]
    if rest and float(np.mean(rest)) * brittle.gap < 0:
        sentences.append(
            f"The mean turns on {decisive.question}: without it the gap would be "
            f"{_points(float(np.mean(rest)))} points."
        )
    for comparison in others:
        word, _, dataset = comparison.question.partition(", ")
        how = {
            "domain-specific": "With frozen features and a new linear classifier on",
            "failed to generalize": "As trained, without any new fit, on",
        }[word]
        sentences.append(
            f"{how} {title_of(dataset)}, {network} reaches "
            f"{percent(comparison.network_accuracy)} and {TITLES[comparison.handcrafted]} "
            f"{percent(comparison.handcrafted_accuracy)}: {_gap(comparison)}, so “{word}” "
            f"{comparison.answer}."
        )
    if not others:
        sentences.append("No other data set was there to judge generalisation on.")
    pipeline = table[table["training"] == "pipeline"]
    if len(pipeline):
        kept = [
            f"{TITLES[row['method']]} {percent(row['corrupted'])}"
            for row in pipeline.to_dict("records")
        ]
        sentences.append(
            f"For comparison, under corruption this pipeline’s models, which saw all training "
            f"images, reach: {listed(kept)}."
        )
    return " ".join(sentences)


def _gap(comparison: Comparison) -> str:
    low, high = (_points(end) for end in comparison.interval)
    return (
        f"a gap of {_points(comparison.gap)} percentage points (95{NBSP}% interval {low} to {high})"
    )


def _points(fraction: float) -> str:
    return written(100 * fraction, "+.1f")


def captions(finding: Finding) -> dict[str, str]:
    """What each figure asks, of which data, and what it does not show; by the figure's name."""
    return {
        "robustness": f"{finding.question} Accuracy against severity on {finding.data}; broken "
        f"lines are this pipeline’s models, trained on all images. {finding.limits}",
        "corruptions": "Every corruption at every severity, on one test image; 0 is the image as "
        "stored. All methods are given these very bytes.",
        "views": "What does each feature make of one digit, clean and corrupted? Sobel, Canny and "
        "HOG drop the sign of a gradient, so under inversion they stay as they are; what a network "
        "learned need not. One scale for all Sobel maps and one for all learned maps. The circles "
        "are SIFT’s own keypoints; the classifier counts words on a regular grid. A picture is no "
        "verdict: that is in the numbers.",
    }
