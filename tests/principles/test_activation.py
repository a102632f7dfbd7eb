"""Vanishing gradients: what is measured is right, and an activation that keeps them refutes."""

import pandas as pd
import pytest
import torch
from torch import nn

from cnnpipe.functional import cross_entropy
from cnnpipe.layers import Conv2d
from cnnpipe.principles import activation
from cnnpipe.principles.activation import (
    GAINS,
    UNITS,
    best_gains,
    gradients,
    judge,
    stack,
    vanished,
)
from tests.helpers.tiny_study import TINY, measured


def test_initial_weights_have_the_gain_that_is_asked_for():
    for gain in (0.5, 2):
        model = stack("tanh", gain, 3, 64, 10)
        assert model.conv3.weight.std().item() == pytest.approx(gain / (64 * 9) ** 0.5, rel=0.03)
        assert not model.conv3.bias.any()


def test_centred_sigmoid_is_a_tanh_network_in_other_coordinates():
    """σ(x) = (1 + tanh(x/2))/2, so weights four times as large behind it do what tanh's do."""
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    outputs = []
    for unit, gain in (("tanh", 1.0), ("centred sigmoid", 4.0)):
        torch.manual_seed(1)
        model = stack(unit, gain, 3, 4, 10)
        with torch.no_grad():
            model.conv1.weight.mul_(0.5 if unit == "centred sigmoid" else 1)  # 2·x, not 4·x
        outputs.append(model[:-2](images)[..., 1:-1, 1:-1])  # padding is 0, and not ½
    tanh, sigmoid = outputs
    inner = slice(2, 3)
    torch.testing.assert_close(
        2 * sigmoid[..., inner, inner] - 1, tanh[..., inner, inner], atol=1e-5, rtol=0
    )


def test_gradients_are_those_of_the_convolutions_outputs():
    model = nn.Sequential(Conv2d(1, 1, 1, bias=False), Conv2d(1, 2, 1, bias=False), nn.Flatten())
    images, labels = torch.ones(1, 1, 1, 1), torch.tensor([0])
    first, last = gradients(model, images, labels)
    logits = model(images).detach().requires_grad_()
    (expected,) = torch.autograd.grad(cross_entropy(logits, labels), logits)
    assert last == pytest.approx(expected.square().mean().sqrt().item())
    through = (model[1].weight.flatten() @ expected.flatten()).item()
    assert first == pytest.approx(abs(through))


def test_what_vanishes_is_the_ratio_of_the_last_gradient_to_the_first():
    rms = pd.DataFrame(
        {
            "unit": ["ReLU"] * 3 + ["tanh"] * 2,
            "layer": [3, 1, 2, 1, 2],
            "rms": [1e-2, 1e-5, 1e-3, 0.0, 1.0],
        }
    )
    lost = vanished(rms)
    assert lost["ReLU"] == pytest.approx(3)
    assert lost["tanh"] > 300  # a gradient of exactly zero is finite, if absurdly small


def test_one_gain_of_each_activation_is_found_at_which_least_vanishes():
    start = measured(activation).details
    assert set(start["best_gains"]) == set(UNITS)
    assert start["octaves"]["tanh"] > 0


def judged(lost):
    """The finding where these orders vanish with each activation in three runs, at any gain."""
    rows = [
        (unit, gain, layer, 10.0 ** ((orders + run / 100) * (layer - 1)), run)
        for unit, orders in lost.items()
        for gain in GAINS
        for layer in (1, 2)
        for run in range(3)
    ]
    start = pd.DataFrame(rows, columns=["unit", "gain", "layer", "rms", "run"])
    trained = pd.DataFrame(
        [(unit, 0.9 + run / 100, run) for unit in UNITS for run in range(3)],
        columns=["network", "accuracy", "run"],
    )
    best = best_gains(start[start["run"] == 0].drop(columns="run"))
    return judge(start, trained, best, TINY)


@pytest.mark.parametrize(
    ("relu", "tanh", "sigmoid", "verdict"),
    [
        (0.1, 3, 9, "shown"),
        (0.1, 0.2, 9, "shown not to hold"),  # tanh keeps it, too
        (0.1, 3, 0.1, "shown not to hold"),
        (2, 3, 9, "shown not to hold"),  # ReLU does not
        (0.1, 1, 9, "not decided"),
    ],
)
def test_verdict(relu, tanh, sigmoid, verdict):
    lost = {"ReLU": relu, "tanh": tanh, "sigmoid": sigmoid, "centred sigmoid": sigmoid}
    assert judged(lost).verdict == verdict
