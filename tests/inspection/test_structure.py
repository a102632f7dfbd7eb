"""A network's layers: shapes, counts, windows, fields, and which layers belong together."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from cnnpipe.inspection.structure import (
    Field,
    Window,
    hidden_convolutions,
    hidden_layers,
    layers_of,
)
from cnnpipe.layers import AvgPool2d, Conv2d, MaxPool2d
from cnnpipe.models import build_model


def test_lenet5_reads_like_the_papers_table():
    rows = {row.name: row for row in layers_of(build_model("lenet5"))}
    assert rows["c1"].output_shape == (6, 28, 28)
    assert rows["s2"].output_shape == (6, 14, 14)
    assert rows["c3"].output_shape == (16, 10, 10)
    assert rows["s4"].output_shape == (16, 5, 5)
    assert rows["c5"].output_shape == (120, 1, 1)
    assert rows["output"].output_shape == (10,)
    # one multiplication per weight and output position; biases multiply nothing
    assert rows["c1"].macs == 6 * 25 * 28 * 28
    assert rows["c3"].macs == 16 * 6 * 25 * 10 * 10
    assert rows["f6"].macs == 120 * 84
    assert rows["s2"].macs == rows["c1_act"].macs == 0


def test_vgg_blocks_follow_the_plan():
    model = build_model("vgg", blocks=[[4], [8, 8, 12]], hidden=20, classes=5)
    shapes = {row.name: row.output_shape for row in layers_of(model)}
    assert shapes["block1_conv1"] == (4, 28, 28)
    assert shapes["block2_conv3"] == (12, 14, 14)
    assert shapes["block2_pool"] == (12, 7, 7)
    assert shapes["flatten"] == (12 * 7 * 7,)
    assert shapes["output"] == (5,)


def test_following_an_image_leaves_the_model_as_it_was():
    model = build_model("vgg").train()
    layers_of(model)
    assert model.training
    assert model.block1_norm1.num_batches_tracked == 0


def test_a_layers_summary_holds_what_its_forward_pass_needs():
    rows = {layer.name: layer.summary() for layer in layers_of(build_model("vgg", blocks=[[4]]))}
    assert rows["block1_conv1"] == {
        "name": "block1_conv1",
        "kind": "Conv2d",
        "output_shape": [4, 28, 28],
        "parameters": 4 * 9,
        "macs": 4 * 9 * 28 * 28,
        "kernel_size": 3,
        "stride": 1,
        "padding": 1,
        "dilation": 1,
    }
    assert rows["block1_norm1"]["epsilon"] == 1e-5
    assert (rows["block1_pool"]["kernel_size"], rows["block1_pool"]["stride"]) == (2, 2)
    assert "kernel_size" not in rows["hidden"]


def test_windows_of_unequal_sides_are_refused():
    with pytest.raises(ValueError, match="kernel_size: expected the same on both axes"):
        layers_of(nn.Sequential(Conv2d(1, 1, (3, 5))))


def test_hidden_layers_end_before_the_next_layer_of_weights():
    layers = hidden_layers(build_model("lenet5"))
    assert [(layer.name, layer.response.name, layer.output.name) for layer in layers] == [
        ("c1", "c1_act", "s2"),
        ("c3", "c3_act", "s4"),
        ("c5", "c5_act", "flatten"),
        ("f6", "f6_act", "f6_act"),
    ]
    assert list(hidden_convolutions(build_model("lenet5"))) == ["c1", "c3", "c5"]


@pytest.mark.parametrize(
    ("layers", "field"),
    [
        # Output 3 of a pooling sees 6 … 7; a 3×3 with padding 1 sees 5 … 8; with dilation 2, 4 … 9.
        ([MaxPool2d(2)], (6, 2)),
        ([Conv2d(1, 1, 3, padding=1), MaxPool2d(2)], (5, 4)),
        ([Conv2d(1, 1, 3, padding=2, dilation=2), MaxPool2d(2)], (4, 6)),
    ],
)
def test_a_field_by_hand(layers, field):
    found = layers_of(nn.Sequential(*layers))[-1].field
    assert (found.first(3), found.size) == field


def test_fields_are_where_an_output_looks():
    torch.manual_seed(0)
    model = nn.Sequential(
        OrderedDict(
            a=Conv2d(1, 2, 3, padding=1),
            pool=AvgPool2d(2),
            b=Conv2d(2, 1, 3, stride=2, padding=1),
            flatten=nn.Flatten(),
            full=nn.Linear(49, 3),
        )
    )
    found = {layer.name: layer for layer in layers_of(model)}
    assert found["a"].field == Field(3, 1, -1)
    assert found["b"].field == Field(8, 4, -3)
    assert found["b"].window == Window(3, stride=2, padding=1)
    assert found["full"].field == Field(28, 0, 0)
    assert found["full"].window is None
    for name, depth, place in [("a", 1, 5), ("b", 3, 2)]:
        image = torch.rand(1, 1, 28, 28).requires_grad_()
        output = model[:depth](image)[0, 0, place, place]
        (gradient,) = torch.autograd.grad(output, image)
        seen = gradient[0, 0].abs().sum(dim=1).nonzero().flatten()
        first = found[name].field.first(place)
        assert seen.tolist() == list(range(first, first + found[name].field.size))
