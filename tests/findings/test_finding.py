"""What all experiments share: findings, intervals, the study, training."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from cnnpipe.principles.claims_figures import FIGURES
from torch import nn

from cnnpipe.findings.finding import Finding, bootstrap_interval, mean_interval, proportion_interval
from cnnpipe.params.loading import load_params
from cnnpipe.principles.claims import CLAIMS
from cnnpipe.principles.study import accuracy, fit
from cnnpipe.validate.schema import Params
from tests.helpers.project import ROOT
from tests.helpers.tiny_study import tiny_study

FOUND = {
    "name": "locality",
    "claim": "A neuron sees a patch.",
    "verdict": "supported",
    "statement": "It sees 3×3 pixels.",
    "unit": "pixels",
    "uncertainty": "exact",
    "tables": {"fields": pd.DataFrame({"side": [3]})},
}


def test_every_claim_has_its_name_figure_and_budget_in_the_same_order():
    names = [claim.NAME for claim in CLAIMS]
    assert names == [claim.__name__.rpartition(".")[2] for claim in CLAIMS]
    assert names == list(FIGURES)
    assert names == list(type(load_params(Params).principles).model_fields)


def test_summary_is_what_the_report_reads_and_json_can_hold():
    finding = Finding(**FOUND, number=3, interval=(2.5, 3.5))
    summary = json.loads(json.dumps(finding.summary(), allow_nan=False))
    assert summary["interval"] == [2.5, 3.5]
    assert summary["figure"] == "figures/principles/locality.png"
    assert summary["tables"] == {"fields": "principles/locality_fields.csv"}
    assert finding.metrics() == {"verdict": "supported", "number": 3, "low": 2.5, "high": 3.5}


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


def test_examples_are_drawn_by_the_seed_and_grow_by_adding():
    study = tiny_study(train=64, test=32)
    inputs, labels = study.training_examples(10)
    more, more_labels = study.training_examples(20)
    assert inputs.shape == (10, 1, 28, 28)
    assert torch.equal(more[:10], inputs)
    assert torch.equal(more_labels[:10], labels)
    assert len(study.test_examples(1000)[1]) == 32


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


CORNERS = torch.eye(4).reshape(4, 1, 2, 2)
SIDES = torch.tensor([0, 1, 0, 1])


def test_fit_learns_what_can_be_learned(linear):
    assert (
        accuracy(
            fit(linear, CORNERS, SIDES, steps=60, batch_size=4, lr=0.1, seed=0), CORNERS, SIDES
        )
        == 1
    )
    assert not linear.training


def test_fit_depends_on_its_seed_alone():
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(9)
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        fit(model, CORNERS, SIDES, steps=5, batch_size=2, lr=0.1, seed=seed)
        weights.append(model[1].weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_fit_shows_each_step_before_it_is_taken(linear):
    start, seen = linear[1].weight.detach().clone(), []

    def watch(step, model):
        seen.append((step, model[1].weight.detach().clone(), model[1].weight.grad is not None))

    fit(linear, CORNERS, SIDES, steps=3, batch_size=100, lr=0.1, seed=0, watch=watch)
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert torch.equal(seen[0][1], start)
    assert all(has_gradient for _, _, has_gradient in seen)


def test_documentation_names_every_claim():
    text = (ROOT / "docs/principles.md").read_text(encoding="utf-8")
    for claim in CLAIMS:
        assert f"`{claim.NAME}`" in text
