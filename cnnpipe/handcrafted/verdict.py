"""Claim 11: hand-crafted features are "brittle, domain-specific, and failed to generalize".

Each word is a question that the numbers answer, of the best hand-crafted method (h) and of LeNet-5
(c), both trained on the same images with the same random maps:

    brittle               is c's accuracy, averaged over corruptions and severities, above h's?
    domain-specific       features frozen, a new classifier on another data set: is c above h?
    failed to generalize  classifier frozen, too, on another set of the same classes: likewise?

The answer is "shown" if the 95 % interval of the gap c − h, a bootstrap over test images, is above
zero, "shown not to hold" if it is below, and otherwise "not decided". Which corruptions the mean is
over is a choice, and a single one can decide it: the statement names it.

The claim is shown if all three are, and shown not to hold if one is not to hold. The best
hand-crafted method is chosen by the same numbers by which it is judged. This favours it, so it
cannot be the reason for a yes. Raw pixels are not a feature; they are measured for comparison.

Refuted by: a hand-crafted feature that is as robust as the network, and transfers as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cnnpipe.findings.evidence import Verdict
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.intervals import Interval, bootstrap_interval
from cnnpipe.findings.wording import NBSP, count, listed, percent, title_of, written
from cnnpipe.handcrafted.corruptions import CORRUPTIONS
from cnnpipe.handcrafted.methods import Key, Method, Training
from cnnpipe.handcrafted.robustness import Hits, Robustness, Transfer, methods_table, transfer_table
from cnnpipe.networks import NEEDED, NETWORKS

NAME = "handcrafted"
CLAIM = "Hand-crafted features are brittle, domain-specific, and failed to generalize."
TITLES = {
    "pixels": "raw pixels",
    "sobel": "Sobel edges",
    "canny": "Canny edges",
    "hog": "HOG",
    "sift": "SIFT words",
    **{name: network.title for name, network in NETWORKS.items()},
}
NETWORK = NEEDED
SAME: Training = "augmented"
"""The training that both sides of a comparison have had."""

Scores = NDArray[np.floating[Any]]
"""(N,): the share of an image's versions that a method classifies correctly."""


@dataclass(frozen=True)
class Comparison:
    """One question: LeNet-5 against the best hand-crafted method, on the same test images."""

    word: str
    """Of the claim; or the name of the one corruption that is compared."""
    handcrafted: str
    network_accuracy: float
    handcrafted_accuracy: float
    gap: float
    """Network less hand-crafted."""
    interval: Interval
    """95 %, of the gap."""
    images: int
    dataset: str | None = None
    """Where it is not the one that the methods were trained on."""

    @property
    def answer(self) -> Verdict:
        """Whether the network is ahead, as far as chance lets the images say so."""
        if self.interval[0] > 0:
            return "shown"
        return "shown not to hold" if self.interval[1] < 0 else "not decided"

    def summary(self) -> dict[str, Any]:
        return {
            "question": f"{self.word}, {self.dataset}" if self.dataset else self.word,
            "network": NETWORK,
            "handcrafted": self.handcrafted,
            "network_accuracy": self.network_accuracy,
            "handcrafted_accuracy": self.handcrafted_accuracy,
            "gap": self.gap,
            "interval": list(self.interval),
            "images": self.images,
            "answer": self.answer,
        }


def compare(
    word: str,
    hits: Mapping[Key, Hits],
    rivals: Sequence[str],
    seed: int,
    dataset: str | None = None,
) -> Comparison:
    """LeNet-5 against the best of `rivals`, which are hand-crafted methods, by the same training.

    Shape: hits of each method (versions, N) or (N,).
    """

    def scores(method: str) -> Scores:
        return np.asarray(np.atleast_2d(hits[method, SAME]).mean(axis=0))

    network, handcrafted = scores(NETWORK), {name: scores(name) for name in rivals}
    best = max(handcrafted, key=lambda name: float(handcrafted[name].mean()))
    difference = network - handcrafted[best]
    return Comparison(
        word=word,
        handcrafted=best,
        network_accuracy=float(network.mean()),
        handcrafted_accuracy=float(handcrafted[best].mean()),
        gap=float(difference.mean()),
        interval=bootstrap_interval(difference, seed=seed),
        images=len(difference),
        dataset=dataset,
    )


def judge(
    methods: Sequence[Method],
    robustness: Robustness,
    transfers: Sequence[Transfer],
    seed: int,
    details: Mapping[str, Any],
) -> Finding:
    """The claim's verdict, from which images each method classified correctly.

    Without another data set, brittleness alone decides. `details` are further facts for the report:
    the experiment's sizes, and the data sets that were not there.
    """
    candidates = [m.name for m in methods if m.kind == "hand-crafted" and m.training == SAME]
    brittle = compare("brittle", robustness.versions, candidates, seed)
    by_corruption = [
        compare(name, hits, [brittle.handcrafted], seed)
        for name, hits in robustness.corrupted.items()
    ]
    comparisons = [brittle]
    for transfer in transfers:
        of_word = {"domain-specific": transfer.refitted, "failed to generalize": transfer.as_is}
        comparisons += [
            compare(word, hits, candidates, seed, transfer.dataset)
            for word, hits in of_word.items()
            if hits
        ]
    table = methods_table(methods, robustness, seed)
    return Finding(
        name=NAME,
        claim=CLAIM,
        evidence=None,
        verdict=whole([comparison.answer for comparison in comparisons]),
        statement=_statement(comparisons, by_corruption, table),
        number=100 * brittle.gap,
        unit="percentage points that the mean accuracy under corruption of "
        f"{TITLES[NETWORK]} lies above that of {TITLES[brittle.handcrafted]}",
        interval=(100 * brittle.interval[0], 100 * brittle.interval[1]),
        uncertainty=f"bootstrap over {brittle.images:,} test images, each in "
        f"{sum(len(c.severities) for c in CORRUPTIONS)} corrupted versions",
        tables={
            "methods": table,
            "robustness": robustness.table(),
            "transfer": transfer_table(transfers),
        },
        details={
            **details,
            "comparisons": [comparison.summary() for comparison in comparisons],
            "corruptions": {
                comparison.word: {"gap": comparison.gap, "interval": list(comparison.interval)}
                for comparison in by_corruption
            },
        },
        question="Which features survive when the images change?",
        data=f"{title_of(details['dataset'])}: {details['training']:,} training images, the "
        f"same for every method but this pipeline’s models, and {details['test']:,} test images, "
        "the same for all; classifiers are also given "
        f"{count(details['copies'], 'randomly mapped copy', 'randomly mapped copies')} of each "
        "training image, LeNet-5 a fresh one in every epoch",
        limits="Severities of different corruptions cannot be compared, these corruptions are not "
        "all there are, and images of 28×28 are not photographs. With other numbers of training "
        "images the order may be another.",
    )


def whole(answers: Sequence[Verdict]) -> Verdict:
    """The answer to a claim of several parts, all of which must hold."""
    if "shown not to hold" in answers:
        return "shown not to hold"
    return "not decided" if "not decided" in answers else "shown"


def _statement(
    comparisons: Sequence[Comparison],
    by_corruption: Sequence[Comparison],
    table: pd.DataFrame,
) -> str:
    brittle, *others = comparisons
    network, rival = TITLES[NETWORK], TITLES[brittle.handcrafted]
    sentences = [
        f"Averaged over {len(by_corruption)} corruptions, {network} classifies "
        f"{percent(brittle.network_accuracy)} of the images correctly and {rival}, the most robust "
        f"hand-crafted feature, {percent(brittle.handcrafted_accuracy)}, both trained on the same "
        f"images: {_gap(brittle)}, so “brittle” is {brittle.answer}."
    ]
    ahead = [c.word for c in by_corruption if c.interval[0] > 0]
    behind = [c.word for c in by_corruption if c.interval[1] < 0]
    if ahead and behind:
        sentences.append(
            f"Taken one by one, {network} is clearly ahead under {listed(ahead)}, {rival} under "
            f"{listed(behind)}."
        )
    decisive = max(by_corruption, key=lambda comparison: abs(comparison.gap))
    rest = [c.gap for c in by_corruption if c is not decisive]
    if rest and float(np.mean(rest)) * brittle.gap < 0:
        sentences.append(
            f"The mean turns on {decisive.word}: without it the gap would be "
            f"{_points(float(np.mean(rest)))} points."
        )
    for comparison in others:
        how = {
            "domain-specific": "With frozen features and a new linear classifier on",
            "failed to generalize": "As trained, without any new fit, on",
        }[comparison.word]
        sentences.append(
            f"{how} {title_of(str(comparison.dataset))}, {network} reaches "
            f"{percent(comparison.network_accuracy)} and {TITLES[comparison.handcrafted]} "
            f"{percent(comparison.handcrafted_accuracy)}: {_gap(comparison)}, so "
            f"“{comparison.word}” is {comparison.answer}."
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
