"""Means over runs with their 95 % intervals, and differences run by run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from cnnpipe.findings.intervals import Interval, mean_interval
from cnnpipe.findings.wording import NBSP, written


class Estimate(NamedTuple):
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def over_runs(cls, values: Sequence[float]) -> Self:
        """Of independent runs: Student's interval."""
        return cls(mean(values), *mean_interval(values))

    @property
    def interval(self) -> Interval:
        return self.low, self.high

    def times(self, factor: float) -> Self:
        """In another unit, such as percentage points instead of fractions."""
        return self._replace(
            mean=factor * self.mean, low=factor * self.low, high=factor * self.high
        )

    def range(self, form: str = ".1f") -> str:
        """The ends in words, each in Python's format `form`: "1.0 to 3.0"."""
        return f"{written(self.low, form)} to {written(self.high, form)}"

    def points(self) -> str:
        """Percentage points with their interval: "+2.0 points (95 % interval +1.0 to +3.0)"."""
        form = "+.1f"
        return f"{written(self.mean, form)} points (95{NBSP}% interval {self.range(form)})"


def paired(
    accuracies: pd.DataFrame, column: str, first: Any, second: Any, by: Sequence[str] = ("run",)
) -> pd.Series[float]:
    """How much more accuracy there is where `column` is `first` than where it is `second`.

    Args:
        accuracies: columns accuracy, `column` and those of `by`.
        column: names what is compared.
        first: a value of it.
        second: another one.
        by: columns that are equal in both rows of a difference.

    Returns:
        the differences, indexed by `by`.
    """
    accuracy = accuracies.set_index([column, *by])["accuracy"]
    difference: pd.Series[float] = accuracy[first] - accuracy[second]
    return difference


def summarize(accuracies: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean over the runs with its 95 % interval, in the order in which the rows came.

    Args:
        accuracies: a column accuracy, and those of `by`.
        by: what is kept apart.

    Returns:
        the columns of `by`, then accuracy, low, high.
    """
    rows = []
    for key, values in accuracies.groupby(list(by), sort=False)["accuracy"]:
        low, high = mean_interval(values.to_list())
        mean = float(np.mean(values))
        rows.append([*key, mean, max(0.0, low), min(1.0, high)])  # no accuracy lies beyond 0, 1
    return pd.DataFrame(rows, columns=[*by, "accuracy", "low", "high"])
