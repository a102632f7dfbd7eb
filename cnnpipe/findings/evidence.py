"""What the numbers of independent runs show about a claim: three answers, and how sure they are.

A claim about a mean θ has a margin, the smallest difference that counts, fixed before the runs:

    above    θ > margin            t-test of the runs' mean against the margin
    within   −margin < θ < margin  two one-sided t-tests: a claim that two things are the same
    all_of   several at once

A claim is "shown" if the data reject its opposite, "shown not to hold" if they reject the claim,
and otherwise "not decided": too few runs, or an effect too near to the margin. The test is
two-sided, at `LEVEL`. What follows from definitions is not tested but tried out case by case: it is
"verified", or one case refutes it.

Sources: Student, "The probable error of a mean", Biometrika 6, 1908; Schuirmann, "A comparison of
the two one-sided tests procedure and the power approach", Journal of Pharmacokinetics and
Biopharmaceutics 15, 1987; Berger, "Multiparameter hypothesis testing and acceptance sampling",
Technometrics 24, 1982; Holm, "A simple sequentially rejective multiple test procedure",
Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import t

Verdict = Literal["shown", "shown not to hold", "not decided", "verified"]
LEVEL = 0.05
"""Largest probability of a wrong answer, "shown" or "shown not to hold", where neither is true."""


class Evidence(NamedTuple):
    """p-values of the two one-sided tests about a claim."""

    against_opposite: float
    """Small where the data show that the claim holds."""
    against_claim: float
    """Small where they show that it does not."""

    @property
    def p_value(self) -> float:
        """Two-sided: twice the smaller one, at most 1."""
        return min(1.0, 2 * min(self))

    def verdict(self, p_value: float | None = None) -> Verdict:
        """The answer, by this p-value instead of its own where it was adjusted for other claims."""
        if (self.p_value if p_value is None else p_value) > LEVEL:
            return "not decided"
        return "shown" if self.against_opposite < self.against_claim else "shown not to hold"


def above(values: Sequence[float], margin: float = 0.0) -> Evidence:
    """Evidence that the mean of independent runs lies above a margin.

    T = (x̄ − margin) / (s/√n) has Student's distribution with n − 1 degrees of freedom where the
    mean is the margin.

    Args:
        values: one number of each run; differences, where runs are paired.
        margin: in the same unit.

    Raises:
        ValueError: fewer than two values.

    >>> above([3.1, 2.8, 3.4, 2.9], margin=1).verdict()
    'shown'
    >>> above([3.1, 2.8, 3.4, 2.9], margin=10).verdict()
    'shown not to hold'
    >>> above([3.1, -2.8, 3.4, -2.9], margin=1).verdict()
    'not decided'
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"values: got {n}; expected at least 2, as one run has no spread")
    distance = float(np.mean(values)) - margin
    error = float(np.std(values, ddof=1)) / np.sqrt(n)
    if error == 0:
        statistic = float(np.copysign(np.inf, distance)) if distance else 0.0
    else:
        statistic = distance / error
    return Evidence(float(t.sf(statistic, n - 1)), float(t.cdf(statistic, n - 1)))


def within(values: Sequence[float], margin: float) -> Evidence:
    """Evidence that the mean of independent runs lies between −margin and margin.

    Both one-sided tests must pass for that; one of them must fail clearly for the contrary.

    >>> within([0.2, -0.1, 0.1, -0.2], margin=1).verdict()
    'shown'
    """
    return all_of(above(values, -margin), above([-value for value in values], -margin))


def fact(holds: bool) -> Evidence:
    """Of what needs no test, because every case was tried."""
    return Evidence(0.0, 1.0) if holds else Evidence(1.0, 0.0)


def negated(claim: Evidence) -> Evidence:
    """Evidence for the opposite."""
    return Evidence(claim.against_claim, claim.against_opposite)


def all_of(*parts: Evidence) -> Evidence:
    """Evidence for a claim of several parts, which must all hold.

    It is shown by the weakest part, which needs no correction (intersection–union test), and shown
    not to hold by the part that fails most clearly, times the number of parts (Bonferroni).
    """
    return Evidence(
        max(part.against_opposite for part in parts),
        min(1.0, len(parts) * min(part.against_claim for part in parts)),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted for the number of claims, by Holm's steps.

    Of m, the k-th smallest is multiplied by m − k + 1, and none falls below the one before it. Then
    the probability of any wrong answer among the m is at most `LEVEL`, however they are related.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}
