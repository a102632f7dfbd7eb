"""Vanishing gradients: what is measured is right, and a shallow stack refutes the claim."""

import pandas as pd
import pytest
import torch
from torch import nn

from cnnpipe.layers import Conv2d, ReLU, Sigmoid, Tanh
from cnnpipe.principles import activation
from cnnpipe.principles.activation import dead_units, judge, stack, vanished
from tests.helpers.tiny_study import BUDGETS, measured, tiny_study


def test_initial_weights_keep_the_variance_made_for_each_activation():
    for name, variance in [("relu", 2), ("tanh", 25 / 9), ("sigmoid", 1)]:
        model = stack(name, 3, 64, 10)
        weight = model.conv3.weight
        assert weight.var().item() == pytest.approx(variance / (64 * 9), rel=0.05)
        assert not model.conv3.bias.any()
    default = stack("relu", 3, 64, 10, start="default").conv3.weight
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
    for layer in (ReLU(), Sigmoid(), Tanh()):
        assert dead_units(nn.Sequential(conv, layer), images) == 0.5


def test_shallow_stacks_refute_the_claim():
    shallow = BUDGETS.activation.model_copy(update={"depths": [2]})
    finding = activation.measure(tiny_study(activation=shallow))
    assert finding.verdict == "not supported"
    assert finding.number < 1


def test_deep_stacks_support_it_in_part_as_tanh_does_not_vanish():
    finding = measured(activation)
    assert finding.verdict == "partly supported"
    assert finding.number > 3
    assert finding.details["vanished"]["tanh"] < 1
    assert "with ReLU too" in finding.statement


@pytest.mark.parametrize(
    ("relu", "tanh", "sigmoid", "verdict"),
    [
        ([0.1, 0.11], [3, 3.01], [9, 9.01], "supported"),
        ([0.1, 0.11], [0.2, 0.21], [9, 9.01], "partly supported"),
        ([0.1, 0.11], [0.2, 0.21], [0.3, 0.31], "not supported"),
        ([2, 2.01], [3, 3.01], [9, 9.01], "not supported"),
        ([0.0, 0.1], [0.0, 0.1], [0.0, 9.0], "not supported"),  # the seeds disagree
    ],
)
def test_verdict(relu, tanh, sigmoid, verdict):
    assert judge({"relu": relu, "tanh": tanh, "sigmoid": sigmoid}) == verdict
