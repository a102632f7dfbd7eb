"""The small networks that the claims compare, and their names in tables and figures.

They train in seconds, and classify a few per cent of the test images wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from cnnpipe.layers import AvgPool2d, Conv2d, Linear, MaxPool2d, ReLU, Sequential

Reduction = Literal["max pooling", "average pooling", "strided convolution", "no pooling"]
"""How a network makes its feature maps smaller; the last one does not."""
MAX: Reduction = "max pooling"
AVERAGE: Reduction = "average pooling"
STRIDE: Reduction = "strided convolution"
NO_POOLING: Reduction = "no pooling"
MAX_ON_MOVED = "max pooling, trained on moved images"
LINEAR, MLP, CNN = "linear model", "MLP", "CNN"


def pooling_network(reduction: Reduction, classes: int) -> nn.Sequential:
    """Two 5×5 convolutions and a linear layer; each convolution's maps are halved, or are not.

    With either pooling and with stride 2 in the convolutions themselves the maps have the same
    sizes and the network the same parameters. Without any the linear layer has more.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    stride = 2 if reduction == STRIDE else 1
    layers: list[nn.Module] = []
    for in_channels, out_channels in pairwise((1, 8, 16)):
        layers += [Conv2d(in_channels, out_channels, 5, stride), ReLU()]
        if reduction in (MAX, AVERAGE):
            layers.append(MaxPool2d(2) if reduction == MAX else AvgPool2d(2))
    return Sequential(*layers, nn.Flatten(), Linear(features(layers), classes))


def strided_network(classes: int) -> nn.Sequential:
    """Local connections and shared weights and nothing else: strides of 2 instead of pooling.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    return Sequential(
        Conv2d(1, 8, 5, stride=2),  # (N, 8, 12, 12)
        ReLU(),
        Conv2d(8, 16, 3, stride=2),  # (N, 16, 5, 5)
        ReLU(),
        nn.Flatten(),
        Linear(16 * 5 * 5, 64),
        ReLU(),
        Linear(64, classes),
    )


def perceptron(hidden: int, classes: int) -> nn.Sequential:
    """An MLP with one hidden layer.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    return Sequential(nn.Flatten(), Linear(28 * 28, hidden), ReLU(), Linear(hidden, classes))


def perceptron_as_large_as(network: nn.Module, classes: int) -> nn.Sequential:
    """An MLP whose one hidden layer has as many neurons as give it the parameters of `network`."""
    per_neuron = 28 * 28 + 1 + classes  # weights in, bias, weights out
    return perceptron(round((parameter_count(network) - classes) / per_neuron), classes)


def features(layers: Sequence[nn.Module]) -> int:
    """How many numbers a chain of layers makes of an image."""
    output: Tensor = Sequential(*layers)(torch.zeros(1, 1, 28, 28))
    return output.numel()


def parameter_count(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
