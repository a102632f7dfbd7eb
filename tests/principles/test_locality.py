"""Receptive fields: by theory, by gradients, by pixels replaced; and a layer that has none."""

import pandas as pd
import pytest
import torch
from torch import nn

from cnnpipe.layers import Conv2d, MaxPool2d
from cnnpipe.params.principles import LocalityParams
from cnnpipe.principles import locality
from cnnpipe.principles.figures.locality import draw
from cnnpipe.principles.locality import (
    Box,
    Window,
    field_of,
    judge,
    measure_field,
    row,
    stages,
    window_of,
)
from tests.helpers.tiny_study import tiny_study

IMAGES = torch.randn(6, 1, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def finding():
    return locality.measure(tiny_study(locality=LocalityParams(images=8)))


def fields(network, windows):
    field = measure_field(network.eval(), windows, IMAGES, seed=0)
    layer = {"model": "tiny", "layer": "layer", "local": True}
    maps = pd.DataFrame({"model": [], "layer": [], "row": [], "x0": []})
    return judge(pd.DataFrame([layer | row(field)]), maps, "noise", len(IMAGES))


def test_field_is_traced_back_through_stride_padding_and_dilation():
    # Output 3 of a pooling sees 6 … 7; a 3×3 with padding 1 sees 5 … 8; with dilation 2, 4 … 9.
    assert field_of(3, [Window(2, 2)]) == Box(6, 7)
    assert field_of(3, [Window(3, 1, 1), Window(2, 2)]) == Box(5, 8)
    assert field_of(3, [Window(3, 1, 2, 2), Window(2, 2)]) == Box(4, 9)


def test_stages_are_the_sliding_layers_and_the_first_full_one():
    network = tiny_study().models["lenet5"]
    names = [(name, windows) for name, _, windows in stages(network)]
    assert [name for name, _ in names] == ["c1", "s2", "c3", "s4", "c5", "f6"]
    assert names[1][1] == [Window(5, 1, 2), Window(2, 2)]
    assert names[-1][1] is None


def test_windows_of_unequal_sides_are_refused():
    with pytest.raises(ValueError, match="kernel_size: expected the same on both axes"):
        window_of(Conv2d(1, 1, (3, 5)))


def test_lenet5s_fields_are_those_of_the_theory(finding):
    layers = finding.tables["layers"]
    lenet5 = layers[layers["model"] == "lenet5"].set_index("layer")
    # 5; 5 + 1; 6 + 4·2; 14 + 1·2; 16 + 4·4
    assert lenet5["theory"].tolist()[:5] == [5, 6, 14, 16, 32]
    assert lenet5.loc["c1", ["first", "last", "seen"]].tolist() == [12, 16, 5]
    assert (lenet5["outside"] == 0).all()


def test_the_claim_holds(finding):
    assert finding.verdict == "supported"
    assert finding.number == 0
    assert finding.details["asked"] > 10_000


def test_a_real_convolution_is_local():
    network = nn.Sequential(Conv2d(1, 4, 3, padding=1), MaxPool2d(2))
    assert fields(network, [Window(3, 1, 1), Window(2, 2)]).verdict == "supported"


def test_a_fully_connected_layer_refutes_it():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 144), nn.Unflatten(1, (1, 12, 12)))
    finding = fields(network, [Window(3, 1, 1)])
    assert finding.verdict == "not supported"
    assert finding.number == len(IMAGES) * (144 - 9)
    assert finding.details["changed"] == len(IMAGES)


def test_a_single_weight_outside_of_the_field_refutes_it():
    network = nn.Sequential(Conv2d(1, 1, 5, padding=2))
    with torch.no_grad():
        network[0].weight.zero_()[0, 0, 1:4, 1:4] = 1
        network[0].weight[0, 0, 0, 0] = 1e-6
    assert fields(network, [Window(3, 1, 1)]).number == len(IMAGES)


def test_spread_of_even_gradients_is_one_and_of_a_bell_less():
    network = nn.Sequential(Conv2d(1, 1, 9, padding=4))
    distance = torch.arange(-4, 5.0)
    bell = torch.exp(-(distance**2) / 2)
    nn.init.ones_(network[0].weight)
    even = measure_field(network, [Window(9, 1, 4)], IMAGES, seed=0)
    network[0].weight.data.copy_(torch.outer(bell, bell))
    belled = measure_field(network, [Window(9, 1, 4)], IMAGES, seed=0)
    assert even.spread == pytest.approx([1.0] * len(IMAGES))
    assert even.effective == 9
    # Standard deviation 1 against √((9² − 1)/12) = 2.58.
    assert belled.spread == pytest.approx([0.387] * len(IMAGES), abs=0.002)
    assert belled.gaussian > 0.99
    # exp(−d²/2) > 0.0455 where d² < 6.18: the 21 pixels with d² ≤ 5
    assert belled.effective == pytest.approx(21**0.5)


def test_figure_outlines_every_local_field(finding):
    layers = finding.tables["layers"]
    figure = draw(finding.tables, finding.details)
    outlined = [axes.patches[0].get_width() for axes in figure.axes if axes.patches]
    local = layers[layers["local"]]
    assert outlined == (local["last"] - local["first"] + 1).tolist()
