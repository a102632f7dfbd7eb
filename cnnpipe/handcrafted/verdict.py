"""Claim 11: hand-crafted features are "brittle, domain-specific, and failed to generalize".

Each word is a question that the numbers answer, of two hand-crafted features (h), HOG and SIFT, and
of LeNet-5 (c), all trained on the same images with the same random maps:

    brittle               is c's accuracy, averaged over corruptions and severities, above h's?
    domain-specific       features frozen, a new classifier on another data set: is c above h?
    failed to generalize  classifier frozen, too, on another set of the same classes: likewise?

The rivals were fixed beforehand, not chosen by the numbers that judge them. Every draw has its own
training images, initial weights and test images; a gap counts from one percentage point on, and the
answer is by a t-test over draws. Which corruptions the mean is over is a choice, and a single one
can decide it. So "brittle" must be shown twice: over draws, for these corruptions, and over
corruptions, as a sample of all that could have been taken.

The claim is shown if every word is, against both rivals, and shown not to hold if one clearly is
not: by a hand-crafted feature that is as robust as the network, or transfers as well. Without
another data set, "brittle" alone decides. Raw pixels are not a feature; they and the edge detectors
are measured on one draw, for comparison.

Effort of tuning: the features' settings and the regularisation were chosen by hand on 2,000
training images, LeNet-5's are those of the pipeline, chosen on held-out ones. None is tuned again
for the few images of a draw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cnnpipe.findings.estimates import Estimate
from cnnpipe.findings.evidence import Evidence, above, all_of
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import NBSP, count, listed, percent, title_of, written
from cnnpipe.handcrafted.corruptions import CORRUPTIONS
from cnnpipe.handcrafted.draws import RIVALS
from cnnpipe.handcrafted.methods import Method
from cnnpipe.handcrafted.robustness import Robustness, Transfer, methods_table, transfer_table
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
POINT = 0.01
"""The smallest gap that counts, one image in a hundred."""


@dataclass(frozen=True)
class Comparison:
    """One question: LeNet-5 against one hand-crafted feature, draw by draw."""

    word: str
    handcrafted: str
    network_accuracy: float
    handcrafted_accuracy: float
    gaps: Sequence[float]
    """Network less hand-crafted, of each draw."""
    evidence: Evidence
    dataset: str | None = None
    """Where it is not the one that the methods were trained on."""

    @property
    def gap(self) -> Estimate:
        return Estimate.over_runs(self.gaps)

    def summary(self) -> dict[str, Any]:
        return {
            "question": f"{self.word}, {self.dataset}" if self.dataset else self.word,
            "network": NETWORK,
            "handcrafted": self.handcrafted,
            "network_accuracy": self.network_accuracy,
            "handcrafted_accuracy": self.handcrafted_accuracy,
            "gap": self.gap.mean,
            "interval": list(self.gap.interval),
            "answer": self.evidence.verdict(),
        }


def compare(draws: pd.DataFrame, word: str, on: str, rival: str) -> Comparison:
    """LeNet-5 against a rival; `draws` are the rows of one word, and of one data set."""
    accuracy = draws.pivot_table(index=["run", "on"], columns="method", values="accuracy")
    gaps = accuracy[NETWORK] - accuracy[rival]
    by_draw = gaps.groupby("run").mean().to_list()
    evidence = above(by_draw, POINT)
    if word == "brittle":
        by_corruption = gaps.groupby("on").mean().to_list()
        evidence = all_of(evidence, above(by_corruption, POINT))
    return Comparison(
        word=word,
        handcrafted=rival,
        network_accuracy=float(accuracy[NETWORK].mean()),
        handcrafted_accuracy=float(accuracy[rival].mean()),
        gaps=by_draw,
        evidence=evidence,
        dataset=None if word == "brittle" else on,
    )


def judge(
    draws: pd.DataFrame,
    methods: Sequence[Method],
    robustness: Robustness,
    transfers: Sequence[Transfer],
    seed: int,
    details: Mapping[str, Any],
) -> Finding:
    """The claim's verdict over draws; and the tables of all methods, from one draw.

    `details` are further facts for the report: the experiment's sizes, and the data sets that were
    not there.
    """
    draws = draws.assign(place=draws["on"].where(draws["word"] != "brittle", "corruptions"))
    comparisons = [
        compare(rows, str(word), str(on), rival)
        for word, of_word in draws.groupby("word", sort=False)
        for on, rows in of_word.groupby("place", sort=False)
        for rival in RIVALS
    ]
    brittle = [one for one in comparisons if one.word == "brittle"]
    gap = Estimate.over_runs(np.mean([one.gaps for one in brittle], axis=0).tolist()).times(100)
    evidence = all_of(*(one.evidence for one in comparisons))
    table = methods_table(methods, robustness, seed)
    under = draws[draws["word"] == "brittle"].pivot_table(
        index="on", columns="method", values="accuracy", sort=False
    )
    return Finding(
        name=NAME,
        claim=CLAIM,
        evidence=evidence,
        verdict=evidence.verdict(),
        statement=_statement(comparisons, under, table),
        number=gap.mean,
        unit="percentage points that the mean accuracy under corruption of "
        f"{TITLES[NETWORK]} lies above that of {listed([TITLES[rival] for rival in RIVALS])}",
        interval=gap.interval,
        uncertainty=f"{details['draws']} draws of training and test images, each in "
        f"{sum(len(c.severities) for c in CORRUPTIONS)} corrupted versions",
        tables={
            "methods": table,
            "robustness": robustness.table(),
            "transfer": transfer_table(transfers),
            "draws": draws.drop(columns="place"),
        },
        details={
            **details,
            "comparisons": [comparison.summary() for comparison in comparisons],
            "corruptions": {
                corruption: {rival: float(row[NETWORK] - row[rival]) for rival in RIVALS}
                for corruption, row in under.iterrows()
            },
        },
        question="Which features survive when the images change?",
        data=f"{title_of(details['dataset'])}. Judged: {details['draws']} draws of "
        f"{details['draw_training']:,} training and {details['draw_test']:,} test images, the same "
        f"for all in a draw. In the table and the figure: {details['training']:,} training images, "
        f"the same for every method but this pipeline’s models, and {details['test']:,} test "
        "images. Classifiers are also given "
        f"{count(details['copies'], 'randomly mapped copy', 'randomly mapped copies')} of each "
        "training image, LeNet-5 a fresh one in every epoch",
        limits="Severities of different corruptions cannot be compared, and images of 28×28 are "
        "not photographs. With other numbers of training images the order may be another.",
    )


def _statement(comparisons: Sequence[Comparison], under: pd.DataFrame, table: pd.DataFrame) -> str:
    network, sentences = TITLES[NETWORK], []
    for rival in RIVALS:
        parts = [
            f"“{one.word}” is {one.evidence.verdict()}: {_how(one)} {network} reaches "
            f"{percent(one.network_accuracy)} and {TITLES[rival]} "
            f"{percent(one.handcrafted_accuracy)}, {_gap(one.gap)}"
            for one in comparisons
            if one.handcrafted == rival
        ]
        sentences.append(f"Against {TITLES[rival]}, {'; '.join(parts)}.")
        gaps = under[NETWORK] - under[rival]
        ahead, behind = (list(gaps[chosen].index) for chosen in (gaps > POINT, gaps < -POINT))
        if ahead and behind:
            sentences.append(
                f"By corruption, {network} is more than a point ahead on average under "
                f"{listed(ahead)}, and {TITLES[rival]} under {listed(behind)}."
            )
    if not any(one.dataset for one in comparisons):
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


def _how(comparison: Comparison) -> str:
    return {
        "brittle": "averaged over corruptions",
        "domain-specific": "with frozen features and a new linear classifier on "
        f"{title_of(str(comparison.dataset))}",
        "failed to generalize": "as trained, without any new fit, on "
        f"{title_of(str(comparison.dataset))}",
    }[comparison.word]


def _gap(gap: Estimate) -> str:
    points = gap.times(100)
    return (
        f"a gap of {written(points.mean, '+.1f')} percentage points (95{NBSP}% interval "
        f"{points.range('+.1f')})"
    )
