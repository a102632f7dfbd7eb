"""Learned filters against hand-crafted ones: matches are right, and random filters refute."""

import numpy as np
import pytest
import torch

from cnnpipe.principles.estimates import Estimate
from cnnpipe.principles.filters import best_match, judge, measure, same_smoothness, templates
from tests.helpers.tiny_study import BUDGETS, tiny_study


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
    filters = np.array([[[0.0, -3], [-3, 0]], [[3, 4], [0, 0]], [[0, 0], [0, 0]]])
    matches, best = best_match(filters, bank)
    np.testing.assert_allclose(matches, [1, 3 / 5, 0])  # 4/5·√½ < 3/5
    assert best[0] == 1
    assert best[1] == 0


def test_same_smoothness_keeps_the_amplitudes_of_the_spectrum():
    filters = np.random.default_rng(0).normal(size=(4, 5, 5))
    other = same_smoothness(filters, np.random.default_rng(1))
    assert not np.allclose(other, filters)
    np.testing.assert_allclose(np.abs(np.fft.fft2(other)), np.abs(np.fft.fft2(filters)))


def test_random_filters_refute_the_claim():
    finding = measure(tiny_study(filters=BUDGETS.filters, seed=3))
    assert finding.verdict == "not supported"
    assert abs(finding.number) < 0.15
    assert finding.statement.startswith("Not supported: ")


def test_hand_crafted_filters_support_the_claim():
    study = tiny_study(filters=BUDGETS.filters)
    for model in study.models.values():
        first = next(layer for layer in model if hasattr(layer, "kernel_size"))
        _, bank = templates(first.weight.shape[-1])
        chosen = torch.from_numpy(bank[:: len(bank) // len(first.weight)][: len(first.weight)])
        with torch.no_grad():
            first.weight.copy_(chosen[:, None])
    finding = measure(study)
    assert finding.verdict == "supported"
    np.testing.assert_allclose(finding.tables["matches"]["match"], 1)


@pytest.mark.parametrize(
    ("gains", "beyond", "verdict"),
    [
        ([0.1, 0.2], [0.1, 0.1], "supported"),
        ([0.1, 0.2], [0.1, -0.1], "partly supported"),
        ([0.1, -0.2], [-0.1, -0.1], "partly supported"),
        ([-0.1, -0.1], [0.1, 0.1], "not supported"),
    ],
)
def test_verdict_follows_the_lower_ends(gains, beyond, verdict):
    over_random, over_smooth = (
        {name: Estimate(low + 0.3, low, low + 0.6) for name, low in zip("ab", lows, strict=True)}
        for lows in (gains, beyond)
    )
    assert judge(over_random, over_smooth) == verdict
