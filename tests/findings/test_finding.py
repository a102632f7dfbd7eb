"""What an experiment finds: complete, finite, and as JSON holds it."""

import json

import pandas as pd
import pytest

from cnnpipe.findings.evidence import Evidence
from cnnpipe.findings.finding import Finding, adjusted

FOUND = {
    "name": "locality",
    "claim": "A neuron sees a patch.",
    "evidence": Evidence(0.01, 0.99),
    "verdict": "shown",
    "statement": "It sees 3×3 pixels.",
    "unit": "pixels",
    "uncertainty": "exact",
    "tables": {"fields": pd.DataFrame({"side": [3]})},
}


def test_summary_is_what_the_report_reads_and_json_can_hold():
    finding = Finding(**FOUND, number=3, interval=(2.5, 3.5))
    summary = json.loads(json.dumps(finding.summary(), allow_nan=False))
    assert summary["interval"] == [2.5, 3.5]
    assert summary["figure"] == "figures/principles/locality.png"
    assert summary["tables"] == {"fields": "principles/locality_fields.csv"}
    assert finding.metrics() == {"verdict": "shown", "number": 3, "low": 2.5, "high": 3.5}


def test_what_is_exact_has_no_interval_and_its_own_number_as_both_ends():
    finding = Finding(**FOUND, number=3, interval=None)
    assert finding.summary()["interval"] is None
    assert (finding.metrics()["low"], finding.metrics()["high"]) == (3, 3)


@pytest.mark.parametrize(
    ("number", "interval"), [(float("nan"), None), (1.0, (0.0, float("inf"))), (1.0, (2.0, 1.0))]
)
def test_a_number_that_cannot_be_judged_is_refused(number, interval):
    with pytest.raises(ValueError, match=r"locality: got number .* expected finite numbers"):
        Finding(**FOUND, number=number, interval=interval)


def test_with_many_claims_a_verdict_takes_stronger_evidence():
    finding = Finding(**FOUND, number=3, interval=(2.5, 3.5))
    identity = Finding(**FOUND | {"evidence": None, "verdict": "verified"}, number=0, interval=None)
    both = adjusted({"a": finding, "b": finding, "c": identity})  # 0.02 · 2
    assert [one.verdict for one in both.values()] == ["shown", "shown", "verified"]
    three = adjusted({"a": finding, "b": finding, "c": finding})  # 0.02 · 3
    assert {one.verdict for one in three.values()} == {"not decided"}
