"""Learned filters against hand-crafted ones: matches are right, and random filters refute."""

import numpy as np
import pandas as pd
import pytest

from cnnpipe.principles import filters
from cnnpipe.principles.filters import (
    FIRSTS,
    best_match,
    likeness_of,
    random_filters,
    same_smoothness,
    templates,
)
from tests.helpers.tiny_study import TINY


@pytest.fixture(scope="module")
def of_the_pipeline():
    return filters.of_the_pipeline(TINY)


@pytest.mark.parametrize("size", [3, 5])
def test_templates_contain_what_the_books_give(size):
    names, bank = templates(size)
    assert len(names) == len(bank) == len(set(names))
    assert {name.split()[0] for name in names} == {"Sobel", "Laplacian", "blob", "Gabor"}
    assert np.isfinite(bank).all()
    if size == 3:
        np.testing.assert_array_equal(
            bank[names.index("Sobel at 0°")], [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
        )
    for name, template in zip(names, bank, strict=True):
        if not name.startswith("blob"):
            assert template.sum() == pytest.approx(0, abs=1e-12), name


def test_match_is_the_largest_cosine_for_any_sign_and_scale():
    bank = np.array([[[1.0, 0], [0, 0]], [[0, 1], [1, 0]]])
    weights = np.array([[[0.0, -3], [-3, 0]], [[3, 4], [0, 0]], [[0, 0], [0, 0]]])
    matches, best = best_match(weights, bank)
    np.testing.assert_allclose(matches, [1, 3 / 5, 0])  # 4/5·√½ < 3/5
    assert best[0] == 1
    assert best[1] == 0


def test_tuning_worked_by_hand(monkeypatch):
    monkeypatch.setattr(filters, "FREQUENCIES", np.array([0.25]))
    monkeypatch.setattr(filters, "ANGLES", np.array([0, 45, 90, 135]))
    edge, dot = np.zeros((2, 3, 3))
    edge[1], dot[1, 1] = [-1, 0, 1], 1
    # |exp(iπ/2·cos θ) − exp(−iπ/2·cos θ)| = 2·sin(π/2·cos θ): 2 upright, 0 level, and 45°
    # and 135° cancel
    aslant = 2 * np.sin(np.pi / 2 * 0.5**0.5)
    expected = 2 / (2 + 2 * aslant), 0
    np.testing.assert_allclose(filters.tuning(np.stack([edge, dot])), expected, atol=1e-12)


def test_edges_are_tuned_to_their_angle_and_round_templates_to_none():
    names, bank = templates(5)
    tuned = dict(zip(names, filters.tuning(bank), strict=True))
    assert tuned["Sobel at 0°"] == pytest.approx(tuned["Sobel at 90°"], abs=1e-9)
    assert tuned["Sobel at 0°"] > 0.3
    assert tuned["Laplacian of σ 1"] == pytest.approx(0, abs=1e-9)


def test_same_smoothness_keeps_the_amplitudes_of_the_spectrum():
    weights = np.random.default_rng(0).normal(size=(4, 5, 5))
    other = same_smoothness(weights, np.random.default_rng(1))
    assert not np.allclose(other, weights)
    np.testing.assert_allclose(np.abs(np.fft.fft2(other)), np.abs(np.fft.fft2(weights)))


def test_hand_crafted_filters_match_and_random_ones_do_not():
    rng = np.random.default_rng(0)
    _, bank = templates(5)
    table, nearest, _ = likeness_of(bank[::60], 200, rng)
    np.testing.assert_allclose(table["match"], 1)
    np.testing.assert_array_equal(nearest, bank[::60])
    table, _, chance = likeness_of(random_filters(100, bank, rng), 200, rng)
    assert table["match"].mean() == pytest.approx(chance.mean(), abs=0.03)
    assert (table["match"] - table["random as smooth"]).mean() < 0.02


@pytest.mark.parametrize(
    ("beyond", "verdict"),
    [
        ([0.1, 0.11, 0.12], "shown"),
        ([0.0, 0.001, 0.002], "shown not to hold"),
        ([-0.1, 0.03, 0.1], "not decided"),
    ],
)
def test_the_verdict_follows_likeness_beyond_smoothness(beyond, verdict, of_the_pipeline):
    runs = pd.DataFrame({"match": 0.8, "random": 0.5, "random as smooth": 0.8 - np.array(beyond)})
    runs = runs.assign(**{"tuning": [0.5, 0.6, 0.7], filters.TUNING_OF_RANDOM: 0.3})
    use = pd.DataFrame(
        [(first, 0.9 + run / 100, run) for run in range(3) for first in FIRSTS],
        columns=["network", "accuracy", "run"],
    )
    assert filters.judge(runs, use, of_the_pipeline, TINY).verdict == verdict


@pytest.mark.parametrize("first", FIRSTS)
def test_only_a_learned_first_layer_is_trained(first):
    network = filters.with_first_layer(first, 2)
    weight = next(iter(network.parameters()))
    assert weight.requires_grad == (first == "learned")
    if first == "frozen, hand-crafted":
        learned = weight.detach().double().flatten(0, 1).numpy()
        np.testing.assert_allclose(
            likeness_of(learned, 100, np.random.default_rng())[0]["match"], 1
        )
