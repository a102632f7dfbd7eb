"""Paired comparison of two classifiers, against numbers worked by hand."""

import pytest

from cnnpipe.findings.mcnemar import mcnemar_p_value, paired_difference


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (2, 0, 0.5),  # 2 · (1/2)²
        (10, 0, 2 * 0.5**10),
        (1, 4, 2 * (1 + 5) / 32),  # at most one of five
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_exact_mcnemar_test(b, c, p):
    assert mcnemar_p_value(b, c) == pytest.approx(p)
    assert mcnemar_p_value(c, b) == pytest.approx(p)


def test_interval_of_the_difference_worked_by_hand():
    # b* = 15.5, c* = 5.5, n* = 102: (10 ± 1.95996 · √(21 − 100/102)) / 102
    low, high = paired_difference(15, 5, 100)
    assert low == pytest.approx((10 - 1.9599640 * 20.0196078**0.5) / 102)
    assert high == pytest.approx((10 + 1.9599640 * 20.0196078**0.5) / 102)


def test_interval_turns_with_the_order_and_does_not_vanish_without_changes():
    low, high = paired_difference(5, 15, 100)
    assert (-high, -low) == pytest.approx(paired_difference(15, 5, 100))
    low, high = paired_difference(0, 0, 100)
    assert -low == high > 0.01


@pytest.mark.parametrize(("b", "c"), [(-1, 0), (0, -1), (60, 41)])
def test_impossible_counts_are_refused(b, c):
    with pytest.raises(ValueError, match=rf"got b = {b} and c = {c} of n = 100; expected 0 ≤"):
        paired_difference(b, c, 100)
