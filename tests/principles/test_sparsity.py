"""Sparse activations: zeros are counted right, and the verdict follows their share."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cnnpipe.layers import ReLU, Sigmoid
from cnnpipe.models import build_model
from cnnpipe.principles import sparsity
from cnnpipe.principles.sparsity import ALL, count_zeros, judge, measure
from tests.helpers.tiny_study import TINY, measured


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
def test_verdict(zero, majority, verdict):
    runs = pd.DataFrame({"zero": zero, "majority": majority, "accuracy": 0.9})
    layers = measured(sparsity).tables["layers"]
    assert judge(runs, layers, TINY).verdict == verdict


def test_activations_of_all_kinds_are_seen():
    assert set(count_zeros(nn.Sequential(Sigmoid()), torch.zeros(2, 3))) == {"0", ALL}
