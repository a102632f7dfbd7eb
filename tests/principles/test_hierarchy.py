"""Hierarchy: probes are right, and images without edges or parts refute the claim."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from cnnpipe.principles import hierarchy
from cnnpipe.principles.hierarchy import UNTRAINED, judge, probe, purity, what_excites
from cnnpipe.principles.scrambled import ORDERED, SCRAMBLED
from tests.helpers.tiny_study import BUDGETS, TINY, tiny_study, with_scrambled_pixels


@pytest.fixture(scope="module")
def excites():
    return what_excites(TINY)


def probes(ordered, control, fall=0.5):
    """Probes of three runs, which rise by these points from the first layer on; the correlations
    of trained networks fall by so much, those of the others by 0.2."""
    falls = {ORDERED: fall, SCRAMBLED: 0.2, UNTRAINED: 0.2}
    rows = [
        (state, layer, 0.5 + points / 100 * place, run, *[0.9 - falls[state] * place] * 3)
        for state, rise in ((ORDERED, ordered), (SCRAMBLED, control), (UNTRAINED, [-9, -9, -9]))
        for run, points in enumerate(rise)
        for place, layer in enumerate(["c1", "c3"])
    ]
    tiles = [f"tiles of {side}×{side}" for side in hierarchy.TILES]
    return pd.DataFrame(rows, columns=["state", "layer", "accuracy", "run", *tiles])


@pytest.mark.parametrize(
    ("ordered", "control", "verdict"),
    [
        ([8, 9, 10], [1, 2, 3.1], "shown"),
        ([8, 9, 10], [8, 9, 10.1], "shown not to hold"),  # they rise as much without edges
        ([8, 9, 10], [3, 9, 15], "not decided"),
    ],
)
def test_probes_must_rise_more_than_where_nothing_is_an_edge(ordered, control, verdict, excites):
    finding = judge(probes(ordered, control), excites, TINY)
    assert finding.verdict == verdict
    assert finding.number == pytest.approx(np.mean(np.subtract(ordered, control)))


@pytest.mark.parametrize(("fall", "answer"), [(0.5, "shown"), (0.2, "shown not to hold")])
def test_later_filters_must_depend_more_on_the_arrangement_of_tiles(fall, answer, excites):
    finding = judge(probes([8, 9, 10], [1, 2, 3], fall), excites, TINY)
    assert f"0.1 larger: {answer} against the former, {answer} against the latter" in (
        finding.statement
    )


def test_tiles_are_shuffled_whole_and_a_filter_of_their_size_hardly_notices():
    images = torch.arange(16.0).reshape(1, 1, 4, 4).repeat(50, 1, 1, 1)
    shuffled = hierarchy.in_shuffled_tiles(images, 2, seed=0)
    corners = {tuple(image[0, :2, :2].flatten().tolist()) for image in shuffled}
    assert corners == {(0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15)}
    assert torch.equal(shuffled.flatten(1).sort(dim=1).values, images.flatten(1))


def test_correlation_is_the_mean_over_filters_that_respond_differently():
    first = torch.tensor([[1.0, 1, 5], [2, 2, 5], [3, 3, 5]])
    second = torch.tensor([[2.0, 3, 1], [4, 2, 2], [6, 1, 3]])
    assert hierarchy.correlation(first, second) == pytest.approx((1 - 1) / 2)
    assert hierarchy.correlation(first[:, :1], second[:, :1]) == pytest.approx(1)


def test_networks_trained_on_scrambled_images_do_not_show_it():
    """The networks are really trained; where all images are scrambled, one more time is no loss."""
    budget = BUDGETS.hierarchy.model_copy(update={"steps": 40, "runs": 3, "test_images": 200})
    study = with_scrambled_pixels(tiny_study(train=700, test=200, hierarchy=budget))
    assert hierarchy.measure(study).verdict != "shown"


@pytest.mark.parametrize(("features", "penalty"), [(8, 0.1), (60, 1.0)])
def test_probe_is_ridge_regression_with_the_penalty_of_least_error_left_out(
    features, penalty, monkeypatch
):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 3
    X = torch.randn(40, features, generator=generator) + nn.functional.one_hot(labels, features)
    T = torch.randn(200, features, generator=generator) + 3
    monkeypatch.setattr(hierarchy, "PENALTIES", np.array([penalty]))
    right = probe((X, labels), (T, torch.zeros(200, dtype=torch.int64)), 3)
    values = np.linalg.eigvalsh(np.cov(X.numpy().T, bias=True) * 40)
    ridge = Ridge(alpha=penalty * values.sum() / 40).fit(X.numpy(), np.eye(3)[labels])
    np.testing.assert_array_equal(right, ridge.predict(T.numpy()).argmax(axis=1) == 0)


def test_penalty_is_chosen_by_the_examples_left_out(monkeypatch):
    """Pure noise beside one weak feature: without a large penalty the fit is of the noise."""
    generator = torch.Generator().manual_seed(0)
    labels, test_labels = torch.arange(60) % 2, torch.arange(400) % 2
    noisy = [(torch.randn(len(y), 60, generator=generator), y) for y in (labels, test_labels)]
    for values, y in noisy:
        values[:, 0] += 3.0 * y
    chosen = probe(*noisy, 2).mean()
    monkeypatch.setattr(hierarchy, "PENALTIES", np.array([1e-4]))
    assert chosen > probe(*noisy, 2).mean() + 0.05


def test_dead_neurons_change_no_probe():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    X, T = (torch.randn(60, 40, generator=generator) for _ in range(2))
    X, T = (values + 2 * nn.functional.one_hot(labels, 40) for values in (X, T))
    right = probe((X, labels), (T, labels), 3)
    dead = torch.full((60, 300), 0.5)
    with_dead = [(torch.cat([values, dead], dim=1), labels) for values in (X, T)]
    np.testing.assert_array_equal(probe(*with_dead, 3), right)


def test_purity_counts_the_commonest_class_of_filters_that_tell_images_apart():
    labels = torch.arange(20) // 10
    ordered = torch.arange(20.0).flip(0)  # the first ten images are all of class 0
    mixed = torch.tensor([1.0, 0.0]).repeat(10) + torch.arange(20) / 1000  # five of each
    dead = torch.zeros(20)
    assert purity(ordered[:, None], labels) == 1
    assert purity(torch.stack([ordered, mixed, dead], dim=1), labels) == pytest.approx(0.75)
