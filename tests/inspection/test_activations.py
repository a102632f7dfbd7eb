"""What is captured from a network: activations, kernels, contributions."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from cnnpipe.inspection.activations import (
    capture_activations,
    contributions,
    convolution_filters,
    distinct_layers,
    milestones,
)
from cnnpipe.models import build_model


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(1, 3, 3, bias=False),  # (N, 3, 4, 4)
            c1_act=nn.ReLU(),
            s2=nn.MaxPool2d(2),  # (N, 3, 2, 2)
            flatten=nn.Flatten(),  # (N, 12)
            output=nn.Linear(12, 2, bias=False),
        )
    ).eval()


IMAGES = torch.linspace(-1, 1, 72).reshape(2, 1, 6, 6)


def test_activations_are_the_outputs_of_the_layers_in_the_order_in_which_they_run(network):
    with capture_activations(network) as activations:
        logits = network(IMAGES)
    assert list(activations) == ["c1", "c1_act", "s2", "flatten", "output"]
    assert torch.equal(activations["c1"], network.c1(IMAGES))
    assert torch.equal(activations["c1_act"], network.c1(IMAGES).relu())
    assert torch.equal(activations["output"], logits)
    assert not any(values.requires_grad for values in activations.values())


def test_activations_survive_what_later_layers_do_in_place():
    network = nn.Sequential(OrderedDict(negate=nn.Linear(1, 1), act=nn.ReLU(inplace=True)))
    with torch.no_grad():
        network.negate.weight.fill_(-1)
        network.negate.bias.zero_()
    with torch.no_grad(), capture_activations(network) as activations:
        network(torch.tensor([[2.0]]))
    assert activations["negate"].item() == -2
    assert activations["act"].item() == 0


def test_chosen_layers_alone_are_captured_and_a_second_run_replaces_the_first(network):
    with capture_activations(network, ["s2"]) as activations:
        network(IMAGES)
        network(IMAGES[:1])
    assert list(activations) == ["s2"]
    assert len(activations["s2"]) == 1


def test_hooks_are_gone_afterwards_also_when_the_run_fails(network):
    with pytest.raises(RuntimeError), capture_activations(network):
        network(torch.zeros(1, 7, 6, 6))
    assert not any(layer._forward_hooks for layer in network.modules())


def test_unknown_layer_is_refused(network):
    with pytest.raises(ValueError, match=r"layers: got 'c9'; expected some of c1, c1_act, s2"):
        capture_activations(network, ["c9"]).__enter__()
    with pytest.raises(ValueError, match="layers: got 'c9'"):
        contributions(network, IMAGES[:1], ["c9"])


@pytest.mark.parametrize("backend", ["scratch", "torch"])
def test_filters_are_the_weights_of_every_convolution(backend):
    model = build_model("lenet5", backend=backend)
    filters = convolution_filters(model)
    assert {name: tuple(weight.shape) for name, weight in filters.items()} == {
        "c1": (6, 1, 5, 5),
        "c3": (16, 6, 5, 5),
        "c5": (120, 16, 5, 5),
    }
    assert torch.equal(filters["c3"], model.c3.weight)
    assert not any(weight.requires_grad for weight in filters.values())


def test_contributions_of_a_linear_layer_worked_by_hand():
    network = nn.Sequential(OrderedDict(flatten=nn.Flatten(), first=nn.Linear(2, 2, bias=False)))
    with torch.no_grad():
        network.first.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    (shares,) = contributions(network, torch.tensor([[[[1.0]], [[2.0]]]]), ["first"])
    #                            1·1  −2·2    3·1  4·2
    assert shares.tolist() == [[1.0, -4.0], [3.0, 8.0]]


def test_contributions_without_biases_add_up_to_the_response(network):
    image = IMAGES[:1]
    layers = ["c1_act", "s2", "output"]
    with capture_activations(network) as activations:
        network(image)
    shares = contributions(network, image, layers)
    assert [tuple(share.shape) for share in shares] == [(3, 1), (3, 3), (2, 3)]
    for layer, share in zip(layers, shares, strict=True):
        response = activations[layer][0].reshape(len(share), -1).sum(1)
        torch.testing.assert_close(share.sum(1), response)
    assert torch.equal(shares[1], shares[1].diag().diag()), "pooling mixes no maps"
    assert all(parameter.grad is None for parameter in network.parameters())


def test_layers_that_hand_numbers_on_are_left_out(network):
    network.append(nn.Dropout())
    with torch.no_grad(), capture_activations(network) as activations:
        network.eval()(IMAGES)
    assert list(distinct_layers(activations)) == ["c1", "c1_act", "s2", "output"]


def test_milestones_are_the_last_layers_of_equal_shape():
    shapes = {
        "block1_conv1": (1, 8, 4, 4),
        "block1_relu1": (1, 8, 4, 4),
        "block1_conv2": (1, 8, 4, 4),
        "block1_pool": (1, 8, 2, 2),
        "hidden": (1, 5),
        "hidden_relu": (1, 5),
        "alpha": (1, 2),
        "output": (1, 2),  # nothing in common: named after the last one
    }
    activations = {name: torch.zeros(shape) for name, shape in shapes.items()}
    assert milestones(activations) == {
        "block1": "block1_conv2",
        "block1_pool": "block1_pool",
        "hidden": "hidden_relu",
        "output": "output",
    }
