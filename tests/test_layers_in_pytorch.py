"""What PyTorch does to modules it does to our layers as to its own: the same numbers come out."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from cnnpipe import layers
from tests.helpers.oracle import randn


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def pruned(layer: Any) -> Any:
    prune.l1_unstructured(layer, "weight", amount=0.4)
    prune.ln_structured(layer, "weight", amount=1, n=2, dim=0)
    return layer


def pruned_for_good(layer: Any) -> Any:
    prune.remove(pruned(layer), "weight")
    return layer


def parametrized(layer: Any) -> Any:
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


def hooked(layer: Any) -> Any:
    layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] + 1,))
    layer.register_forward_hook(lambda _, inputs, output: output * inputs[0].mean())
    layer.register_full_backward_hook(lambda _, grads, __: (grads[0] * 3,))
    return layer


CHANGES: dict[str, Callable[[Any], Any]] = {
    "pruned": pruned,
    "pruned for good": pruned_for_good,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "parametrized": parametrized,
    "hooked": hooked,
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "half and back": lambda layer: layer.half().double(),
    "bfloat16 and back": lambda layer: layer.bfloat16().double(),
    "channels last": lambda layer: layer.to(memory_format=torch.channels_last),
    "frozen": lambda layer: layer.requires_grad_(False),
    "moved to meta and back": lambda layer: layer.to("meta").to_empty(device="cpu"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("name", "arguments"), [("Conv2d", (2, 3, 3, 1, 1)), ("Linear", (5, 3))], ids=str
)
def test_layers_with_weights(name: str, arguments: tuple[int, ...], change: str) -> None:
    results = []
    for module in (layers, nn):
        torch.manual_seed(0)
        layer = CHANGES[change](getattr(module, name)(*arguments, dtype=torch.float64))
        if change == "moved to meta and back":
            torch.manual_seed(0)
            layer.reset_parameters()
        torch.manual_seed(1)  # spectral_norm draws
        images = randn(2, 2, 5, 5).requires_grad_()
        output = layer(images)
        learned = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        names = list(layer.state_dict())
        gradients = torch.autograd.grad(output.sin().sum(), [images, *learned])
        results.append((output, gradients, names))
    torch.testing.assert_close(results[0][:2], results[1][:2])
    assert results[0][2] == results[1][2]


NORMALIZATIONS: list[dict[str, Any]] = [
    {},
    {"momentum": None},  # the mean over all batches
    {"affine": False},
    {"track_running_stats": False},
    {"eps": 0.5, "momentum": 0.9},
]


@pytest.mark.parametrize("arguments", NORMALIZATIONS, ids=str)
@pytest.mark.parametrize(
    "change", [name for name in CHANGES if "_norm" not in name and name != "orthogonal"]
)
def test_batch_normalization(change: str, arguments: dict[str, Any]) -> None:
    results = []
    for module in (layers, nn):
        layer = module.BatchNorm2d(3, **arguments, dtype=torch.float64)
        if arguments.get("affine", True):
            layer = CHANGES[change](layer)
        if change == "moved to meta and back":
            layer.reset_parameters()
        found = [repr(layer)]
        for step in range(3):
            images = randn(2, 3, 5, 5, seed=step).requires_grad_()
            output = layer.train(step < 2)(images)
            learned = [parameter for parameter in layer.parameters() if parameter.requires_grad]
            found += [output, torch.autograd.grad(output.sin().sum(), [images, *learned])]
        results.append([*found, layer.state_dict()])
    assert results[0][0] == results[1][0]
    torch.testing.assert_close(results[0][1:], results[1][1:])


def test_batch_normalization_refuses_what_are_no_images() -> None:
    with pytest.raises(ValueError, match="expected 4D input"):
        layers.BatchNorm2d(3)(torch.zeros(2, 3))


@pytest.mark.parametrize("change", ["hooked", "deepcopy", "pickle"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        *[("MaxPool2d", (2,)), ("AvgPool2d", (2,)), ("ReLU", ()), ("Sigmoid", ()), ("Tanh", ())],
        ("Dropout", (1.0,)),
    ],
)
def test_other_layers(name: str, arguments: tuple[int, ...], change: str) -> None:
    results = []
    for module in (layers, nn):
        layer = CHANGES[change](getattr(module, name)(*arguments))
        images = randn(2, 2, 4, 4).requires_grad_()
        output = layer(images * 1)
        results.append((output, torch.autograd.grad(output.sin().sum(), images)))
    torch.testing.assert_close(*results)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # of torch: it copies
@pytest.mark.parametrize("padding", [1, (1, 2), "same", "valid", 0])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_modes(mode: str, padding: Any) -> None:
    results, names = [], []
    for module in (layers, nn):
        torch.manual_seed(0)
        layer: Any = module.Conv2d(
            2, 3, (2, 3), padding=padding, padding_mode=mode, dtype=torch.float64
        )
        images = randn(2, 2, 5, 6).requires_grad_()
        output = layer(images)
        results.append((output, torch.autograd.grad(output.sin().sum(), images)))
        names.append(repr(layer))
    assert names[0] == names[1]
    torch.testing.assert_close(*results)
