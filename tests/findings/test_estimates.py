"""Means, intervals and differences, worked out by hand."""

import pandas as pd
import pytest

from cnnpipe.findings.estimates import Estimate, paired, summarize


def test_runs_give_students_interval():
    estimate = Estimate.over_runs([5.0, 5.0, 4.0])
    # t(0.975, 2) · 0.577/√3 = 1.434
    assert estimate == pytest.approx((4.667, 4.667 - 1.434, 4.667 + 1.434), abs=1e-3)
    assert estimate.times(10).interval == pytest.approx((32.33, 61.01), abs=0.01)
    assert estimate.range() == "3.2 to 6.1"
    assert Estimate(-5, -6.1, 3.2).range("+.0f") == "−6 to +3"


def test_differences_are_taken_run_by_run():
    rows = [("CNN", 1, 0.7), ("CNN", 2, 0.8), ("MLP", 2, 0.5), ("MLP", 1, 0.6)]
    table = pd.DataFrame(rows, columns=["network", "run", "accuracy"])
    assert paired(table, "network", "CNN", "MLP").to_dict() == pytest.approx({1: 0.1, 2: 0.3})


def test_summary_of_two_runs():
    table = pd.DataFrame({"network": "a", "shift": 0, "accuracy": [0.5, 0.6]})
    (row,) = summarize(table, by=["network", "shift"]).itertuples()
    assert row.accuracy == pytest.approx(0.55)
    assert row.low == 0  # 0.55 − 12.706·0.05 lies below
    assert row.high == 1
