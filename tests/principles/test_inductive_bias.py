"""Claim 10: pixels in a random order refute the bias."""

import pandas as pd
import pytest
import torch

from cnnpipe.params.principles import InductiveBiasParams
from cnnpipe.principles import inductive_bias
from cnnpipe.principles.inductive_bias import CNN, FLAT, UNSHARED, judge, sizes_within
from cnnpipe.principles.networks import MLP
from cnnpipe.principles.scrambled import ORDERED, SCRAMBLED, scrambled
from tests.helpers.tiny_study import TINY, tiny_study, with_scrambled_pixels


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
        ([5, 6, 7], [-1, 0, 1], "shown"),
        ([5, 6, 7], [5, 6, 7.1], "shown not to hold"),  # the advantage is not the order's
        ([0, 0.1, -0.1], [-6, -5, -4], "shown not to hold"),  # there is no advantage
        ([-5, 6, 17], [-1, 0, 1], "not decided"),  # the runs disagree
    ],
)
def test_the_verdict_follows_both_orders(ordered, control, verdict):
    rows = [
        (order, network, 100, size, run, accuracy)
        for order, ahead in ((ORDERED, ordered), (SCRAMBLED, control))
        for run, points in enumerate(ahead)
        for network, accuracy in (
            (CNN, 0.8 + points / 100),
            (UNSHARED, 0.8),
            (FLAT, 0.8),
            (MLP, 0.8),
        )
        for size in (60, 600)
    ]
    columns = ["order", "network", "parameters", "images", "run", "accuracy"]
    finding = judge(pd.DataFrame(rows, columns=columns), TINY)
    assert finding.verdict == verdict
    assert finding.number == pytest.approx(sum(ordered) / 3)
    assert finding.details["parts"]["locality"] == "shown not to hold"


def test_strokes_support_the_bias_and_scrambled_ones_refute_it():
    budget = InductiveBiasParams(
        sizes=[300], test_images=300, runs=3, steps=50, batch_size=16, lr=[0.01]
    )
    study = tiny_study(train=300, test=300, inductive_bias=budget)
    assert inductive_bias.measure(study).verdict == "shown"
    refuted = inductive_bias.measure(with_scrambled_pixels(study))
    assert refuted.verdict in ("not decided", "shown not to hold")
    assert refuted.number < 1
