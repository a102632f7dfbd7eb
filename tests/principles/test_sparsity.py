"""Sparse activations: zeros are counted right, and the verdict follows their share."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cnnpipe.layers import Conv2d, Linear, ReLU, Sigmoid
from cnnpipe.models import build_model
from cnnpipe.principles import sparsity
from cnnpipe.principles.sparsity import ALL, PLAIN, SPARSER, count_zeros, judge, measure
from tests.helpers.tiny_study import TINY


@pytest.fixture(scope="module")
def layers():
    """Of the pipeline's networks."""
    inputs, _ = TINY.test_examples(100)
    return sparsity.layer_by_layer(TINY, inputs)


def test_zeros_are_counted_by_image_and_layer():
    network = nn.Sequential(ReLU(), nn.Linear(4, 2, bias=False), ReLU())
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0, 1, 1, 1], [-1, -1, -1, -1]]))
    zeros = count_zeros(network, torch.tensor([[1.0, -1, -1, -1], [1, 1, 1, -1]]))
    np.testing.assert_allclose(zeros["0"].share, [3 / 4, 1 / 4])
    np.testing.assert_allclose(zeros["2"].share, [1 / 2, 1 / 2])
    np.testing.assert_allclose(zeros[ALL].share, [4 / 6, 2 / 6])
    assert {name: of.neurons for name, of in zeros.items()} == {"0": 4, "2": 2, ALL: 6}
    assert {name: of.never for name, of in zeros.items()} == {"0": 1 / 4, "2": 1 / 2, ALL: 2 / 6}


def test_a_network_without_activations_has_no_sparsity():
    with pytest.raises(ValueError, match="without activation functions"):
        count_zeros(nn.Linear(2, 2), torch.zeros(1, 2))


def test_sigmoid_refutes_the_claim():
    model = build_model("lenet5", activation="sigmoid", classes=2).eval()
    finding = measure(replace(TINY, models={"lenet5": model}))
    assert finding.verdict == "shown not to hold"
    assert finding.number == 0


@pytest.mark.parametrize(
    ("zero", "majority", "verdict"),
    [
        ([0.6, 0.61, 0.62], [1.0, 1.0, 1.0], "shown"),
        ([0.6, 0.61, 0.62], [0.9, 0.91, 0.9], "shown not to hold"),  # not for any image
        ([0.4, 0.41, 0.42], [0.2, 0.2, 0.2], "shown not to hold"),
        ([0.4, 0.51, 0.62], [1.0, 1.0, 1.0], "not decided"),  # the networks differ
    ],
)
def test_verdict(zero, majority, verdict, layers):
    finding = judge(two_networks(zero, majority), layers, TINY)
    assert finding.verdict == verdict


@pytest.mark.parametrize(
    ("lead", "answer"),
    [(0.02, "more than a point: shown)"), (0.0, "more than a point: shown not to hold)")],
)
def test_whether_sparser_networks_generalise_better_has_its_own_answer(lead, answer, layers):
    runs = two_networks([0.6, 0.61, 0.62], [1.0] * 3, lead)
    assert answer in judge(runs, layers, TINY).statement


def two_networks(zero, majority, lead=0.0):
    """The rows of as many runs, whose penalised networks are so much more accurate."""
    plain = pd.DataFrame({"zero": zero, "majority": majority, "products": 0.5, "accuracy": 0.9})
    plain["run"] = range(len(zero))
    sparser = plain.assign(network=SPARSER, accuracy=0.9 + lead + plain["run"] / 1000)
    return pd.concat([plain.assign(network=PLAIN), sparser], ignore_index=True)


def test_the_penalty_adds_its_slope_to_the_gradient_of_active_neurons():
    layer = sparsity.Penalised(ReLU())
    x = torch.tensor([[2.0, -1.0], [1.0, 3.0]], requires_grad=True)
    layer(x).sum().backward()
    expected = 1 + sparsity.PENALTY / 2  # mean over two images
    torch.testing.assert_close(x.grad, torch.tensor([[expected, 0], [expected, expected]]))


def test_products_by_zero_worked_by_hand():
    network = nn.Sequential(Conv2d(1, 2, 2, bias=False), nn.Flatten(), Linear(8, 3, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[[[0.0, 0], [0, 0]]], [[[1, 1], [1, 1]]]]))
    x = torch.ones(1, 1, 3, 3)
    x[0, 0, 0, 0] = 0
    # 1 of 2 kernels' 4·4 products each; 3 times the 4 of 8 inputs that the first kernel makes 0
    assert sparsity.products_by_zero(network, x) == pytest.approx((2 * 1 + 3 * 4) / (32 + 24))


def test_a_run_that_fails_leaves_the_network_as_it_was():
    network = nn.Sequential(Linear(4, 2), nn.Linear(3, 1))  # they do not fit each other
    with pytest.raises(RuntimeError):
        sparsity.products_by_zero(network, torch.zeros(1, 4))
    assert not network[0]._forward_hooks


def test_activations_of_all_kinds_are_seen():
    assert set(count_zeros(nn.Sequential(Sigmoid()), torch.zeros(2, 3))) == {"0", ALL}
