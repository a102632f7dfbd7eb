"""Confidence intervals, against numbers worked by hand."""

import numpy as np
import pytest

from cnnpipe.findings.intervals import (
    bootstrap_interval,
    mean_and_sd,
    mean_interval,
    proportion_interval,
)


def test_mean_and_standard_deviation():
    assert mean_and_sd([8, 10, 12]) == (10, 2)  # √((4 + 0 + 4) / 2) = 2
    assert mean_and_sd([5.0]) == (5, None)
    assert mean_and_sd([]) == (None, None)


def test_interval_of_a_mean_is_students():
    # mean 2, s = 1, n = 3; t(0.975, 2 degrees of freedom) = 4.303: 2 ± 4.303 / √3
    assert mean_interval([1, 2, 3]) == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)


def test_one_run_has_no_interval():
    with pytest.raises(ValueError, match="got 1; expected at least 2"):
        mean_interval([1.0])


def test_interval_of_a_proportion_is_wilsons():
    # 8 of 10: centre (8 + 1.92)/(10 + 3.84) = 0.7168, half-width 0.2267
    assert proportion_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_interval_of_a_bootstrap_is_that_of_the_mean_and_its_seeds():
    values = np.random.default_rng(0).normal(5, 1, 400)
    low, high = bootstrap_interval(values, seed=1)
    assert (low, high) == bootstrap_interval(values, seed=1)
    # standard error 1/√400 = 0.05
    assert high - low == pytest.approx(2 * 1.96 * 0.05, rel=0.2)
    assert low < values.mean() < high
