"""Mean and spread of runs; 95 % intervals of their mean, of a proportion, of a mean of examples."""

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, t

Interval = tuple[float, float]


def mean_and_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean Σ x / n and standard deviation √(Σ (x − mean)² / (n − 1)) of independent runs.

    No run has no mean; one run has no deviation.
    """
    return (
        statistics.fmean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None,
    )


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's 95 % interval of the mean of independent runs: x̄ ± t₀.₉₇₅,ₙ₋₁ · s/√n.

    Raises:
        ValueError: fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"values: got {n}; expected at least 2, as one run has no spread")
    mean = float(np.mean(values))
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return mean - half, mean + half


def proportion_interval(successes: int, trials: int) -> Interval:
    """Wilson's 95 % interval of a proportion: `successes` of `trials` independent examples.

    Raises:
        ValueError: no trials, or more successes than trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", Journal
    of the American Statistical Association 22, 1927.
    """
    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(values: ArrayLike, *, seed: int) -> Interval:
    """The percentile bootstrap's 95 % interval of the mean of independent examples, as images are.

    The mean of n values drawn with replacement, 1,000 times; 2.5 % of them lie beyond each end.

    Source: Efron, Tibshirani, "An introduction to the bootstrap", 1993, chapter 13.
    """
    array = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(array), size=(1000, len(array)))
    low, high = np.quantile(array[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
