"""Attribution on networks whose answer is known, and the control against random weights."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cnnpipe.explain.attribution import (
    METHODS,
    Attributions,
    attribute,
    finding,
    maps,
    placed,
    rank_correlations,
)
from cnnpipe.inspection.structure import Field
from cnnpipe.layers import Conv2d, ReLU
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.explain import AttributionParams
from tests.helpers.tiny_study import TINY

PARAMS = AttributionParams(images=10, networks=2, window=7)


@pytest.fixture
def corner():
    """Logit 1 is the sum of the four pixels at the top left; logit 0 is its negative."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("conv", Conv2d(1, 1, 1, bias=False))
    model.add_module("act", ReLU())
    model.add_module("flatten", nn.Flatten())
    model.add_module("output", nn.Linear(64, 2, bias=False))
    with torch.no_grad():
        model.conv.weight.fill_(1)
        weight = torch.zeros(2, 8, 8)
        weight[1, :2, :2] = 1
        weight[0, :2, :2] = -1
        model.output.weight.copy_(weight.flatten(1))
    return model.eval()


def test_each_method_points_at_the_pixels_that_the_logit_is_made_of(corner):
    images = torch.rand(2, 1, 8, 8) + 0.1
    found = maps(corner, images, torch.tensor([1, 1]), window=2, black=0.0)
    assert list(found) == list(METHODS)
    expected = np.zeros((8, 8))
    expected[:2, :2] = 1
    np.testing.assert_allclose(found["gradient"][0], expected)
    # One map a = the image, and mean(∂y/∂a) = 4/64
    np.testing.assert_allclose(found["grad_cam"][0], images[0, 0].numpy() * 4 / 64, rtol=1e-6)
    # A 2×2 window, moved by 1: pixel (0, 0) is covered once, and all four pixels with it
    fall = images[0, 0, :2, :2].sum().item()
    assert found["occlusion"][0][0, 0] == pytest.approx(fall, rel=1e-5)
    assert np.abs(found["occlusion"][0][3:, 3:]).max() < 1e-6


def test_what_speaks_against_the_class_is_negative(corner):
    found = maps(corner, torch.ones(1, 1, 8, 8), torch.tensor([0]), window=2, black=0.0)
    assert found["occlusion"][0][0, 0] == pytest.approx(-4)
    assert (found["grad_cam"] < 0).all()


def test_coarse_maps_stand_where_their_fields_are_centred():
    # Fields of 3 pixels from pixel 0 on, every 4 pixels: centres at 1 and 5
    found = placed(np.array([[[0.0, 4.0], [0.0, 4.0]]]), Field(3, 4, 0), 8)
    np.testing.assert_allclose(found[0][0], [0, 0, 1, 2, 3, 4, 4, 4])
    assert found.shape == (1, 8, 8)


def test_rank_correlation_worked_by_hand():
    one = np.array([[[1.0, 2.0], [3.0, 4.0]]] * 4)
    other = np.array(
        [
            [[10.0, 20.0], [30.0, 400.0]],  # the same order
            [[4.0, 3.0], [2.0, 1.0]],  # the opposite one
            [[2.0, 1.0], [3.0, 4.0]],  # 1 − 6·(1 + 1)/(4·15)
            [[5.0, 5.0], [5.0, 5.0]],  # no order at all
        ]
    )
    assert rank_correlations(one, other) == pytest.approx([1, -1, 0.8, 0])


@pytest.mark.parametrize(
    ("correlations", "verdict"),
    [
        ((0.1, 0.2, 0.3), "shown"),
        ((0.1, 0.9, 0.3), "shown not to hold"),
        ((0.1, 0.5, 0.3), "not decided"),
    ],
)
def test_the_method_that_depends_least_on_the_weights_decides_the_number(correlations, verdict):
    rows = [
        {"method": method, "network": 0, "image": image, "correlation": correlation}
        for method, correlation in zip(METHODS, correlations, strict=True)
        for image in range(3)
    ]
    outcome = finding(Attributions({}, {}, pd.DataFrame(rows)), "VGG", TINY.dataset, 0)
    assert outcome["verdict"] == verdict
    assert outcome["number"] == pytest.approx(max(correlations))


def explain(name, seed=0):
    network = TrainedNetwork(name, TINY.models[name], TINY.normalization)
    return attribute(network, TINY.dataset, [3, 1], PARAMS, seed)


@pytest.fixture(scope="module")
def of_lenet():
    return explain("lenet5")


def test_maps_of_a_network_that_is_itself_random_are_compared_with_other_draws(of_lenet):
    assert {name: values.shape for name, values in of_lenet.trained.items()} == dict.fromkeys(
        METHODS, (2, 28, 28)
    )
    assert len(of_lenet.correlations) == len(METHODS) * PARAMS.networks * PARAMS.images
    table = of_lenet.table(seed=0)
    assert ((table["low"] <= table["correlation"]) & (table["correlation"] <= table["high"])).all()


def test_a_control_that_equals_the_network_refutes_the_claim(monkeypatch):
    monkeypatch.setattr(
        "cnnpipe.explain.attribution.untrained", lambda model, *_args, **_options: model
    )
    found = explain("vgg")
    assert found.table(seed=0)["correlation"].tolist() == pytest.approx([1, 1, 1])
    outcome = finding(found, "VGG", TINY.dataset, 0)
    assert outcome["verdict"] == "shown not to hold"
    assert outcome["statement"].startswith("The maps of VGG correlate")
    assert outcome["number"] == pytest.approx(1)


def test_same_seed_same_numbers(of_lenet):
    pd.testing.assert_frame_equal(of_lenet.correlations, explain("lenet5").correlations)
    assert not of_lenet.correlations.equals(explain("lenet5", seed=6).correlations)
