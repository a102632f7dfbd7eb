"""The small networks that the claims compare, and their names in tables and figures.

They train in seconds, and classify a few per cent of the test images wrongly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from cnnpipe.functional import conv2d
from cnnpipe.functional.windows import pad, sliding_windows
from cnnpipe.geometry import WindowGeometry
from cnnpipe.layers import AvgPool2d, Conv2d, Linear, MaxPool2d, ReLU, Sequential

Reduction = Literal["max pooling", "average pooling", "blurred max pooling", "strided convolution"]
"""How a network makes its feature maps smaller."""
MAX: Reduction = "max pooling"
AVERAGE: Reduction = "average pooling"
BLUR: Reduction = "blurred max pooling"
STRIDE: Reduction = "strided convolution"
Form = Literal["shared", "local"]
"""Of a layer's weights: one kernel for all positions, or one for each."""
FORMS: tuple[Form, ...] = get_args(Form)
Head = Literal["position kept", "position dropped"]
"""What a linear classifier reads: every position of the maps, or each map's maximum alone."""
HEADS: tuple[Head, ...] = get_args(Head)
MLP = "MLP"


def pooling_network(reduction: Reduction, classes: int) -> nn.Sequential:
    """Two 5×5 convolutions and a linear layer; each convolution's maps are halved.

    With each pooling and with stride 2 in the convolutions themselves the maps have the same
    sizes and the network the same parameters.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    stride = 2 if reduction == STRIDE else 1
    layers: list[nn.Module] = []
    for in_channels, out_channels in pairwise((1, 8, 16)):
        layers += [Conv2d(in_channels, out_channels, 5, stride), ReLU()]
        layers += pooling_layers(reduction)
    return Sequential(*layers, nn.Flatten(), Linear(features(layers), classes))


def pooling_layers(reduction: Reduction) -> list[nn.Module]:
    """What halves maps behind a convolution; nothing where its own stride does.

    Blurred: the maximum around every pixel, then every second one of their means weighted by
    [1 2 1]/4 in both directions, which two averages of 2×2 make.

    Shape: (N, C, H, W) → (N, C, ⌊H/2⌋, ⌊W/2⌋), H and W even where blurred.

    Source: Zhang, "Making convolutional networks shift-invariant again", ICML 2019, for blurring.
    """
    layers: dict[Reduction, list[nn.Module]] = {
        MAX: [MaxPool2d(2)],
        AVERAGE: [AvgPool2d(2)],
        BLUR: [MaxPool2d(2, stride=1, padding=1), AvgPool2d(2, stride=1), AvgPool2d(2)],
        STRIDE: [],
    }
    return layers[reduction]


class LocallyConnected2d(nn.Module):
    """A convolution without sharing: each position has separate kernels and biases.

    y[n, o, p] = bias[p, o] + Σ_{c,i,j} window[n, c, p, i, j] · weight[p, o, (c, i, j)]

    The windows are images of one pixel, and a group of channels belongs to each position. It
    begins as the function of the convolution it is made from.

    Shape: (N, C, H, W) → (N, O, H_out, W_out).

    Args:
        convolution: whose windows and first weights it takes; groups and dilation 1.
        size: (H, W) of the input.
    """

    def __init__(self, convolution: Conv2d, size: tuple[int, int]) -> None:
        super().__init__()
        if isinstance(convolution.padding, str) or convolution.bias is None:
            raise ValueError("convolution: expected padding in pixels and a bias")
        vertical, horizontal = convolution.padding
        self.geometry = WindowGeometry(
            size,
            convolution.kernel_size,
            convolution.stride,
            (vertical, vertical, horizontal, horizontal),
        )
        self.positions = math.prod(self.geometry.output_size)
        kernels = convolution.weight.detach().flatten(1)  # (O, C·kH·kW)
        self.weight = nn.Parameter(kernels.repeat(self.positions, 1, 1))
        self.bias = nn.Parameter(convolution.bias.detach().repeat(self.positions, 1))

    def forward(self, input: Tensor) -> Tensor:
        windows = sliding_windows(pad(input, self.geometry), self.geometry)
        pixels = windows.permute(0, 2, 3, 1, 4, 5).reshape(len(input), -1, 1, 1)
        kernels = self.weight.flatten(0, 1)[:, :, None, None]  # (positions·O, C·kH·kW, 1, 1)
        outputs = conv2d(pixels, kernels, self.bias.flatten(), groups=self.positions)
        by_channel = outputs.view(len(input), self.positions, -1).transpose(1, 2)
        maps: Tensor = by_channel.unflatten(2, self.geometry.output_size)
        return maps


def twin(form: Form, head: Head, classes: int) -> nn.Sequential:
    """Two layers, each with ReLU, the first with max pooling, and a linear classifier.

    From the same seed both forms are the same function. Where positions are kept, the second layer
    has max pooling as well; where they are dropped, its pooling is over the whole map.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    kept = head == "position kept"
    layers: list[nn.Module] = []
    for convolution, side, window in [(Conv2d(1, 8, 5), 28, 2), (Conv2d(8, 16, 3), 12, 10)]:
        local = form == "local"
        layers += [LocallyConnected2d(convolution, (side, side)) if local else convolution]
        layers += [ReLU(), MaxPool2d(2 if kept else window)]
    return Sequential(*layers, nn.Flatten(), Linear(features(layers), classes))


def pyramid(form: Form, classes: int) -> nn.Sequential:
    """Windows and strides of 2 and nothing else: local connections, with shared weights or not.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    convolutions = Conv2d(1, 8, 5, stride=2), Conv2d(8, 16, 3, stride=2)
    layers: list[nn.Module] = []
    for convolution, side in zip(convolutions, (28, 12), strict=True):
        local = form == "local"
        layers += [LocallyConnected2d(convolution, (side, side)) if local else convolution, ReLU()]
    # (N, 16, 5, 5)
    return Sequential(*layers, nn.Flatten(), Linear(16 * 5 * 5, 64), ReLU(), Linear(64, classes))


def flat_network(classes: int) -> nn.Sequential:
    """One layer of windows in place of the pyramid's two, and about as many parameters.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    return Sequential(
        Conv2d(1, 8, 5, stride=4),  # (N, 8, 6, 6)
        ReLU(),
        nn.Flatten(),
        Linear(8 * 6 * 6, 90),
        ReLU(),
        Linear(90, classes),
    )


def perceptron(hidden: int, classes: int, layers: int = 1) -> nn.Sequential:
    """An MLP with hidden layers of one size.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    sizes = [28 * 28, *[hidden] * layers]
    hiddens = [part for pair in pairwise(sizes) for part in (Linear(*pair), ReLU())]
    return Sequential(nn.Flatten(), *hiddens, Linear(hidden, classes))


def features(layers: Sequence[nn.Module]) -> int:
    """How many numbers a chain of layers makes of an image."""
    output: Tensor = Sequential(*layers)(torch.zeros(1, 1, 28, 28))
    return output.numel()


def parameter_count(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())
