"""Several runs that differ in their seed alone: mean, standard deviation, and their vote.

Axes: S seeds, N images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cnnpipe.findings.intervals import mean_and_sd
from cnnpipe.system.errors import InputError


@dataclass(frozen=True)
class Run:
    """What one seed's experiment left."""

    seed: int
    evaluation: Mapping[str, Any]
    """As reports/evaluation has it."""
    predictions: pd.DataFrame
    """As reports/predictions has them."""
    timing: Mapping[str, Any]
    """As reports/timings has it."""


def summarize_runs(runs: Sequence[Run]) -> dict[str, Any]:
    """The entry of one model in reports/records.json.

    Returns:
        mean and standard deviation of the test accuracies; the vote of all runs; and each run with
        its seconds, hardware and versions.

    Raises:
        InputError: no run, or runs that were judged on different images.
    """
    if not runs:
        raise InputError("no run to summarize; expected at least one seed")
    labels = runs[0].predictions["label"].tolist()
    for run in runs:
        if run.predictions["label"].tolist() != labels:
            raise InputError(
                f"seeds {runs[0].seed} and {run.seed} were judged on different test images; "
                "expected one data set"
            )
    mean, sd = mean_and_sd([float(run.evaluation["test_accuracy"]) for run in runs])
    errors = vote_errors([run.predictions for run in runs])
    return {
        "dataset": runs[0].evaluation["dataset"],
        "images": len(labels),
        "seeds": len(runs),
        "mean_test_accuracy": mean,
        "sd_test_accuracy": sd,
        "vote": {"test_errors": errors, "test_accuracy": (len(labels) - errors) / len(labels)},
        "runs": [
            {
                "seed": run.seed,
                "test_errors": run.evaluation["test_errors"],
                "test_accuracy": run.evaluation["test_accuracy"],
                **run.timing,
            }
            for run in runs
        ],
    }


def vote_errors(tables: Sequence[pd.DataFrame]) -> int:
    """Images that the majority of several networks gets wrong.

    Of classes with equally many votes the one with the larger sum of confidence wins; of equal
    sums the first class.

    Args:
        tables: of each network, columns label, prediction, confidence; the same N images.
    """
    answers = zip(
        *(zip(table["prediction"], table["confidence"], strict=True) for table in tables),
        strict=True,
    )
    labels = tables[0]["label"]
    return sum(_winner(answer) != label for answer, label in zip(answers, labels, strict=True))


def _winner(answers: Sequence[tuple[int, float]]) -> int:
    votes = Counter(label for label, _ in answers)
    confidence = {k: sum(value for label, value in answers if label == k) for k in votes}
    return max(sorted(votes), key=lambda k: (votes[k], confidence[k]))
