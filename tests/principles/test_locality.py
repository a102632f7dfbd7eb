"""Receptive fields: by theory, by gradients, by pixels replaced; and a layer that has none."""

import pandas as pd
import pytest
import torch
from torch import nn

from cnnpipe.inspection.structure import Field, layers_of
from cnnpipe.layers import Conv2d, MaxPool2d
from cnnpipe.principles import locality
from cnnpipe.principles.locality import correlation_by_distance, judge, measure_field
from cnnpipe.principles.scrambled import ORDERED, ORDERS
from tests.helpers.tiny_study import TINY, measured

IMAGES = torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(0))
THREE = Field(size=3, jump=1, start=-1)
"""Of a 3×3 convolution with padding 1."""


@pytest.fixture
def finding():
    return measured(locality)


def verdict_on(network, field):
    row, _ = measure_field(network.eval(), field, IMAGES, seed=0)
    layer = {"model": "tiny", "layer": "layer", "local": True}
    maps = pd.DataFrame({"model": [], "layer": [], "row": [], "x0": []})
    return judge(pd.DataFrame([layer | row]), maps, relations(0.9, 0.1), TINY)


def relations(near, far):
    """Correlations of three runs, near and far, on images as they are; none on scrambled ones."""
    rows = [
        (order, distance, value * (order == ORDERED) + run / 1000 * distance, run)
        for order in ORDERS
        for distance, value in ((1, near), (20, far))
        for run in (0, 1, 2)
    ]
    return pd.DataFrame(rows, columns=["order", "distance", "correlation", "run"])


@pytest.mark.parametrize(
    ("near", "far", "verdict"),
    [(0.9, 0.1, "shown"), (0.2, 0.2, "shown not to hold"), (0.29, 0.2, "not decided")],
)
def test_near_pixels_must_be_more_related(near, far, verdict, finding):
    tables = finding.tables["layers"], finding.tables["maps"]
    assert judge(*tables, relations(near, far), TINY).verdict == verdict


def test_correlations_worked_by_hand():
    column = torch.randn(500, 3, 1, generator=torch.Generator().manual_seed(0)).double()
    images = torch.cat([column, -column, torch.ones_like(column)], dim=2)  # (N, 3, 3)
    table = correlation_by_distance(images.numpy()).set_index("distance")["correlation"]
    # At distance 1, and 1.4, 4 of 11 pairs are of one row, r = −1; the others are unrelated.
    assert table[1] == pytest.approx(3 / 11, abs=0.05)
    assert table[2] < 0.1


def test_the_claim_holds_for_lenet5s_fields_as_the_theory_has_them(finding):
    layers = finding.tables["layers"]
    lenet5 = layers[layers["model"] == "lenet5"].set_index("layer")
    assert lenet5.index.tolist() == ["c1", "s2", "c3", "s4", "c5", "f6"]
    assert lenet5["local"].tolist() == [True] * 5 + [False]
    # 5; 5 + 1; 6 + 4·2; 14 + 1·2; 16 + 4·4; and a fully connected layer sees all
    assert lenet5["theory"].tolist() == [5, 6, 14, 16, 32, 28]
    assert lenet5.loc["c1", ["first", "last", "seen"]].tolist() == [12, 16, 5]
    assert (lenet5["outside"] == 0).all()
    assert finding.verdict != "shown not to hold"
    assert finding.details["outside"] == 0
    assert finding.details["asked"] > 10_000


def test_a_real_convolution_is_local():
    network = nn.Sequential(Conv2d(1, 4, 3, padding=1), MaxPool2d(2))
    field = layers_of(network, IMAGES.shape[1:])[-1].field
    assert verdict_on(network, field).verdict == "shown"


def test_a_fully_connected_layer_refutes_it():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 144), nn.Unflatten(1, (1, 12, 12)))
    finding = verdict_on(network, THREE)
    assert finding.verdict == "shown not to hold"
    assert finding.details["outside"] == len(IMAGES) * (144 - 9)
    assert finding.details["changed"] == len(IMAGES)


def test_a_single_weight_outside_of_the_field_refutes_it():
    network = nn.Sequential(Conv2d(1, 1, 5, padding=2))
    with torch.no_grad():
        network[0].weight.zero_()[0, 0, 1:4, 1:4] = 1
        network[0].weight[0, 0, 0, 0] = 1e-6
    assert verdict_on(network, THREE).details["outside"] == len(IMAGES)


def test_spread_of_even_gradients_is_one_and_of_a_bell_less():
    network = nn.Sequential(Conv2d(1, 1, 9, padding=4))
    field = Field(size=9, jump=1, start=-4)
    bell = torch.exp(-(torch.arange(-4, 5.0) ** 2) / 2)
    nn.init.ones_(network[0].weight)
    even, _ = measure_field(network, field, IMAGES, seed=0)
    network[0].weight.data.copy_(torch.outer(bell, bell))
    belled, _ = measure_field(network, field, IMAGES, seed=0)
    assert even["spread_low"] == pytest.approx(1)
    assert even["spread_high"] == pytest.approx(1)
    assert even["effective"] == 9
    # Standard deviation 1 against √((9² − 1)/12) = 2.58.
    assert belled["spread"] == pytest.approx(0.387, abs=0.002)
    assert belled["gaussian"] > 0.99
    # exp(−d²/2) > 0.0455 where d² < 6.18: the 21 pixels with d² ≤ 5
    assert belled["effective"] == pytest.approx(21**0.5)


def test_figure_outlines_every_local_field(finding):
    layers = finding.tables["layers"]
    figure = locality.CLAIM.draw(finding.tables, finding.details)
    outlined = [axes.patches[0].get_width() for axes in figure.axes if axes.patches]
    local = layers[layers["local"]]
    assert outlined == (local["last"] - local["first"] + 1).tolist()
