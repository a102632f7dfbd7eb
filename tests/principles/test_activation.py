"""Vanishing gradients: what is measured is right, and a shallow stack refutes the claim."""

import pandas as pd
import pytest
import torch
from torch import nn

from cnnpipe.layers import Conv2d, ReLU, Sigmoid, Tanh
from cnnpipe.params.principles import ActivationParams
from cnnpipe.principles.activation import dead_units, judge, measure, stack, vanished
from tests.helpers.tiny_study import tiny_study

PARAMS = ActivationParams(
    depths=[2, 12],
    trained_depths=[2],
    channels=8,
    seeds=3,
    steps=2,
    batch_size=32,
    lr=0.001,
    test_images=20,
)


def test_initial_weights_keep_the_variance_made_for_each_activation():
    for activation, variance in [("relu", 2), ("tanh", 25 / 9), ("sigmoid", 1)]:
        model = stack(activation, 3, 64, 10, seed=0)
        weight = model.conv3.weight
        assert weight.var().item() == pytest.approx(variance / (64 * 9), rel=0.05)
        assert not model.conv3.bias.any()
    default = stack("relu", 3, 64, 10, seed=0, start="default").conv3.weight
    assert default.var().item() == pytest.approx(1 / (3 * 64 * 9), rel=0.05)


def test_what_vanishes_is_the_ratio_of_the_last_gradient_to_the_first():
    rms = pd.DataFrame(
        {
            "activation": ["relu"] * 3 + ["tanh"] * 2,
            "layer": [3, 1, 2, 1, 2],
            "rms": [1e-2, 1e-5, 1e-3, 0.0, 1.0],
        }
    )
    lost = vanished(rms)
    assert lost["relu"] == pytest.approx(3)
    assert lost["tanh"] > 300  # a gradient of exactly zero is finite, if absurdly small


def test_dead_units_are_maps_that_pass_on_no_gradient():
    conv = Conv2d(1, 2, 1)
    with torch.no_grad():
        conv.weight.zero_()
        conv.bias.copy_(torch.tensor([-9.0, 0.1]))
    images = torch.zeros(3, 1, 4, 4)
    for activation in (ReLU(), Sigmoid(), Tanh()):
        assert dead_units(nn.Sequential(conv, activation), images) == 0.5


def test_shallow_stacks_refute_the_claim():
    shallow = PARAMS.model_copy(update={"depths": [2]})
    finding = measure(tiny_study(activation=shallow))
    assert finding.verdict == "not supported"
    assert finding.number < 1


def test_deep_stacks_support_it_in_part_as_tanh_does_not_vanish():
    finding = measure(tiny_study(activation=PARAMS))
    assert finding.verdict == "partly supported"
    assert finding.number > 3
    assert finding.details["vanished"]["tanh"] < 1
    assert "with ReLU too" in finding.statement


@pytest.mark.parametrize(
    ("relu", "tanh", "sigmoid", "verdict"),
    [
        (0.1, 3.0, 9.0, "supported"),
        (0.1, 0.2, 9.0, "partly supported"),
        (0.1, 0.2, 0.3, "not supported"),
        (2.0, 3.0, 9.0, "not supported"),
    ],
)
def test_verdict(relu, tanh, sigmoid, verdict):
    around = {
        name: [value - 0.01, value, value + 0.01]
        for name, value in {"relu": relu, "tanh": tanh, "sigmoid": sigmoid}.items()
    }
    assert judge(around) == verdict


def test_a_spread_over_seeds_decides_nothing():
    assert judge({"relu": [0.0, 0.1], "tanh": [0.0, 0.1], "sigmoid": [0.0, 9.0]}) == "not supported"
