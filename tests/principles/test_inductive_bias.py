"""Claim 10: pixels in a random order refute the bias."""

import pandas as pd
import pytest
import torch

from cnnpipe.params.principles import InductiveBiasParams
from cnnpipe.principles import inductive_bias
from cnnpipe.principles.inductive_bias import ORDERED, SCRAMBLED, judge, scrambled, sizes_within
from tests.helpers.tiny_study import TINY, tiny_study, with_scrambled_pixels

STUDY = tiny_study(
    train=300,
    test=300,
    inductive_bias=InductiveBiasParams(
        sizes=[100, 300], test_images=300, seeds=3, steps=30, batch_size=32, lr=0.01
    ),
)


def test_scrambling_is_one_order_for_all_images():
    images = torch.arange(8.0).view(2, 1, 2, 2)
    first, second = scrambled(images, seed=0).flatten(1)
    assert sorted(first.tolist()) == [0, 1, 2, 3]
    assert (second - first).tolist() == [4] * 4
    image = torch.arange(784.0).view(1, 1, 28, 28)
    assert not torch.equal(scrambled(image, seed=0), scrambled(image, seed=1))


def test_sizes_end_with_the_images_there_are():
    assert sizes_within([60, 600, 6000, 60000], 1437) == [60, 600, 1437]
    assert sizes_within([60, 600], 1437) == [60, 600]


@pytest.mark.parametrize(
    ("ordered", "control", "verdict"),
    [
        ([5, 6, 7], [-1, 0, 1], "supported"),
        ([5, 6, 7], [-3, -2.5, -2], "supported"),
        ([5, 6, 7], [2, 2.1, 2.2], "partly supported"),
        ([5, 6, 7], [5, 6, 7.1], "not supported"),  # the advantage is not the order's
        ([-1, 0, 1], [-6, -5, -4], "not supported"),  # there is no advantage
        ([-5, 6, 17], [-1, 0, 1], "not supported"),  # the seeds disagree
    ],
)
def test_the_verdict_follows_both_orders(ordered, control, verdict):
    rows = [
        (order, network, 100, size, seed, accuracy)
        for order, ahead in ((ORDERED, ordered), (SCRAMBLED, control))
        for seed, points in enumerate(ahead)
        for network, accuracy in (("CNN", 0.8 + points / 100), ("MLP", 0.8))
        for size in (60, 600)
    ]
    columns = ["order", "network", "parameters", "images", "seed", "accuracy"]
    finding = judge(pd.DataFrame(rows, columns=columns), TINY)
    assert finding.verdict == verdict
    assert finding.number == pytest.approx(sum(ordered) / 3)


def test_strokes_support_the_bias_and_scrambled_ones_refute_it():
    finding = inductive_bias.measure(STUDY)
    assert finding.verdict == "supported"
    assert finding.interval[0] > 0
    assert "ahead of an MLP" in finding.statement
    assert inductive_bias.measure(with_scrambled_pixels(STUDY)).verdict == "not supported"
