"""Sparse activations: zeros are counted right, and the verdict follows their share."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cnnpipe.layers import ReLU, Sigmoid
from cnnpipe.models import build_model
from cnnpipe.principles.sparsity import ALL, count_zeros, judge, measure
from tests.helpers.tiny_study import TINY


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
    assert finding.verdict == "not supported"
    assert finding.number == 0
    assert finding.statement.startswith("Not supported: in LeNet-5 0.0")


def test_networks_that_are_mostly_zero_support_the_claim():
    model = build_model("lenet5", classes=2).eval()
    with torch.no_grad():
        for layer in model:
            if getattr(layer, "bias", None) is not None:
                layer.bias -= 0.5
    finding = measure(replace(TINY, models={"lenet5": model}))
    assert finding.verdict == "supported"
    assert finding.number > 0.9
    assert finding.interval[0] <= finding.number <= finding.interval[1]


@pytest.mark.parametrize(
    ("lowest", "majority", "verdict"),
    [
        ([0.6, 0.51], [1.0, 0.99], "supported"),
        ([0.6, 0.51], [1.0, 0.98], "partly supported"),
        ([0.6, 0.51], [0.9, 0.9], "partly supported"),
        ([0.6, 0.49], [1.0, 0.4], "partly supported"),
        ([0.6, 0.49], [0.9, 0.4], "not supported"),
        ([0.5, 0.49], [1.0, 1.0], "not supported"),
    ],
)
def test_verdict(lowest, majority, verdict):
    named = [dict(zip(["a", "b"], values, strict=True)) for values in (lowest, majority)]
    assert judge(*named) == verdict


def test_activations_of_all_kinds_are_seen():
    assert set(count_zeros(nn.Sequential(Sigmoid()), torch.zeros(2, 3))) == {"0", ALL}
