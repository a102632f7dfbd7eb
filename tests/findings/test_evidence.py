"""Three answers: by numbers worked by hand, by SciPy, and by how often they are wrong."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import false_discovery_control, ttest_1samp

from cnnpipe.findings.estimates import Estimate
from cnnpipe.findings.evidence import (
    Evidence,
    above,
    all_of,
    fact,
    holm,
    negated,
    within,
)

RUNS, TRIALS = 8, 4000
NOISE = np.random.default_rng(0).standard_normal((TRIALS, RUNS))


def share(answer, mean, claim):
    """How often a claim about runs of this mean, one standard deviation apart, is so answered."""
    return np.mean([claim(values).verdict() == answer for values in NOISE + mean])


def test_p_values_are_those_of_a_t_test():
    values = [1.5, 0.2, 2.2, 1.1]
    found = above(values, 0.5)
    assert found.against_opposite == pytest.approx(
        ttest_1samp(values, 0.5, alternative="greater").pvalue
    )
    assert found.p_value == pytest.approx(ttest_1samp(values, 0.5).pvalue)


@pytest.mark.parametrize(
    ("values", "answer"),
    [([2, 2], "shown"), ([1, 1], "not decided"), ([0, 0], "shown not to hold")],
)
def test_runs_without_spread(values, answer):
    assert above(values, 1).verdict() == answer


def test_one_run_is_no_evidence():
    with pytest.raises(ValueError, match="got 1; expected at least 2"):
        above([1.0])


def test_sameness_takes_both_sides():
    assert within([0.1, -0.1, 0.2], 1).verdict() == "shown"
    assert within([1.1, 0.9, 1.0], 1).verdict() == "not decided"
    assert within([5.1, 4.9, 5.0], 1).verdict() == "shown not to hold"
    assert within([-5.1, -4.9, -5.0], 1).verdict() == "shown not to hold"


def test_a_claim_of_several_parts_is_as_sure_as_its_weakest():
    strong, weak, wrong = Evidence(0.001, 0.999), Evidence(0.2, 0.8), Evidence(0.99, 0.01)
    assert all_of(strong, strong).verdict() == "shown"
    assert all_of(strong, weak).verdict() == "not decided"
    assert all_of(strong, wrong).p_value == pytest.approx(0.04)  # 2 parts, 2 sides
    assert all_of(fact(True), strong).verdict() == "shown"
    assert all_of(fact(False), strong).verdict() == "shown not to hold"
    assert negated(strong).verdict() == "shown not to hold"


def test_holm_worked_by_hand_and_between_bonferroni_and_benjamini_hochberg():
    # 0.01·3, 0.03·2, and 0.04·1 is raised to the one before it
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {"a": 0.03, "b": 0.06, "c": 0.06}
    p_values = np.random.default_rng(1).random(9) ** 4
    adjusted = np.array(list(holm(dict(enumerate(p_values))).values()))
    assert (adjusted <= np.minimum(1, 9 * p_values)).all()
    assert (adjusted >= false_discovery_control(p_values)).all()


def test_where_the_truth_is_at_the_margin_answers_are_rarely_given():
    assert share("not decided", 1, partial(above, margin=1)) == pytest.approx(0.95, abs=0.012)
    assert share("shown", 1, partial(within, margin=1)) <= 0.05


def test_power_is_as_planned():
    """Eight runs show a difference 1.5 spreads beyond the margin in 95 of 100 studies."""
    assert share("shown", 2.5, partial(above, margin=1)) == pytest.approx(0.95, abs=0.02)
    assert share("shown", 0, partial(within, margin=2)) > 0.95


@pytest.mark.parametrize("draw", ["normal", "skewed"])
def test_intervals_cover_the_truth(draw):
    """Each run's number is a share of its own 1,000 images, of a network of its own."""
    generator = np.random.default_rng(2)
    truth, spread = (0.9, 0.01) if draw == "normal" else (0.98, 0.008)
    networks = np.clip(generator.normal(truth, spread, (TRIALS, RUNS)), 0, 1)
    shares = generator.binomial(1000, networks) / 1000
    covered = [low <= networks.mean() <= high for _, low, high in map(Estimate.over_runs, shares)]
    assert 0.93 < np.mean(covered) < 0.97
