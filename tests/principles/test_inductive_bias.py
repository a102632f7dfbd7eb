"""Claim 10: networks of one size, and permuted pixels that refute the bias."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from cnnpipe.data.dataset import Split
from cnnpipe.params.principles import InductiveBiasParams
from cnnpipe.principles import inductive_bias
from cnnpipe.principles.moved_images import parameter_count
from tests.helpers.tiny_study import tiny_study

PARAMS = InductiveBiasParams(
    sizes=[100, 300], test_images=300, seeds=3, steps=30, batch_size=32, lr=0.01
)
STUDY = tiny_study(train=300, test=300, inductive_bias=PARAMS)


def with_scrambled_pixels(study):
    def scramble(split):
        images = inductive_bias.scrambled(split.images.unsqueeze(1), seed=5).squeeze(1)
        return Split(images, split.labels)

    dataset = study.dataset
    scrambled = replace(dataset, train=scramble(dataset.train), test=scramble(dataset.test))
    return replace(study, dataset=scrambled)


@pytest.fixture(scope="module")
def finding():
    return inductive_bias.measure(STUDY)


def test_both_networks_are_of_one_size():
    network = inductive_bias.convolutional_network(10)
    # (25 + 1)·8 + (8·9 + 1)·16 + (400 + 1)·64 + (64 + 1)·10
    assert parameter_count(network) == 208 + 1168 + 25_664 + 650
    mlp = parameter_count(inductive_bias.perceptron_as_large_as(network, 10))
    assert mlp == 35 * (784 + 1 + 10) + 10
    assert abs(mlp / parameter_count(network) - 1) < 0.01


def test_scrambling_is_one_order_for_all_images():
    images = torch.arange(8.0).view(2, 1, 2, 2)
    first, second = inductive_bias.scrambled(images, seed=0).flatten(1)
    assert sorted(first.tolist()) == [0, 1, 2, 3]
    assert (second - first).tolist() == [4] * 4
    assert not torch.equal(
        inductive_bias.scrambled(torch.arange(784.0).view(1, 1, 28, 28), seed=0),
        inductive_bias.scrambled(torch.arange(784.0).view(1, 1, 28, 28), seed=1),
    )


def test_sizes_end_with_the_images_there_are():
    assert inductive_bias.sizes_within([60, 600, 6000, 60000], 1437) == [60, 600, 1437]
    assert inductive_bias.sizes_within([60, 600], 1437) == [60, 600]


def test_advantage_is_taken_seed_by_seed():
    rows = [
        (inductive_bias.ORDERED, network, size, seed, accuracy)
        for network, size, seed, accuracy in [
            ("CNN", 60, 1, 0.7),
            ("CNN", 60, 2, 0.8),
            ("MLP", 60, 2, 0.5),
            ("MLP", 60, 1, 0.6),
        ]
    ]
    table = pd.DataFrame(rows, columns=["order", "network", "images", "seed", "accuracy"])
    advantage = inductive_bias.advantages(table, inductive_bias.ORDERED)
    assert advantage[60].tolist() == pytest.approx([10, 30])


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
    assert inductive_bias.judge(ordered, control) == verdict


def test_strokes_support_the_bias(finding):
    assert finding.verdict == "supported"
    assert finding.interval[0] > 0
    assert "ahead of an MLP" in finding.statement


def test_permuted_pixels_refute_the_bias():
    finding = inductive_bias.measure(with_scrambled_pixels(STUDY))
    assert finding.verdict == "not supported"
