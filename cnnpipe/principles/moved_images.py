"""Moved images, and the small networks whose accuracy on them claims 5 and 6 compare.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from cnnpipe.findings.intervals import mean_interval
from cnnpipe.geometry import output_size
from cnnpipe.layers import AvgPool2d, Conv2d, MaxPool2d, ReLU
from cnnpipe.params.principles import ShiftParams
from cnnpipe.principles.study import Study, accuracy, trials

Reduction = Literal["max pooling", "average pooling", "strided convolution", "no pooling"]
"""How a network makes its feature maps smaller; the last one does not."""

DIRECTIONS = [(0, 1), (0, -1), (1, 0), (-1, 0)]
"""Right, left, down, up, as (rows, columns)."""

KERNEL, CHANNELS = 5, (1, 8, 16)
"""Of the small networks: what they are trained in seconds with, and err on few per cent with."""


def moved(images: Tensor, rows: int, columns: int, fill: float) -> Tensor:
    """Images moved down and right by whole pixels; what comes in at the edges is `fill`.

    Shape: (…, H, W) → (…, H, W).
    """
    return pad(images, (columns, -columns, rows, -rows), value=fill)


def moved_in_turn(images: Tensor, pixels: int, fill: float) -> Tensor:
    """Every image moved equally far, the first one right, then left, down, up, and so on.

    Shape: (N, C, H, W) → (N, C, H, W).
    """
    result = torch.empty_like(images)
    turns = len(DIRECTIONS)
    for turn, (rows, columns) in enumerate(DIRECTIONS):
        result[turn::turns] = moved(images[turn::turns], rows * pixels, columns * pixels, fill)
    return result


def moved_at_random(images: Tensor, pixels: int, fill: float, seed: int) -> Tensor:
    """Every image moved by its own whole number of pixels per axis, up to `pixels` either way.

    Shape: (N, C, H, W) → (N, C, H, W).
    """
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.randint(-pixels, pixels + 1, (len(images), 2), generator=generator)
    result = torch.empty_like(images)
    for rows, columns in offsets.unique(dim=0).tolist():
        chosen = (offsets == torch.tensor([rows, columns])).all(dim=1)
        result[chosen] = moved(images[chosen], rows, columns, fill)
    return result


def train_and_move(
    study: Study,
    params: ShiftParams,
    networks: Mapping[str, Callable[[], nn.Module]],
    trained_on_moved: Sequence[str] = (),
) -> pd.DataFrame:
    """Accuracy of every network, from every seed, on test images moved ever further.

    Args:
        study: data and first seed.
        params: budget, and the largest shift.
        networks: what builds them, by name.
        trained_on_moved: names of those whose training images are moved at random.

    Returns:
        columns network, parameters, seed, shift (pixels), accuracy (fraction).
    """
    fill = study.normalization.background
    images, labels = study.training_examples(params.train_images)
    test_images, test_labels = study.test_examples(params.test_images)
    rows = []
    for seed in range(study.seed, study.seed + params.seeds):
        own = {
            name: moved_at_random(images, params.judged_shift, fill, seed)
            for name in trained_on_moved
        }
        examples = {name: (own.get(name, images), labels) for name in networks}
        for name, network in trials(networks, examples, params, seed):
            for shift in range(params.largest_shift + 1):
                reached = accuracy(network, (moved_in_turn(test_images, shift, fill), test_labels))
                rows.append((name, parameter_count(network), seed, shift, reached))
    return pd.DataFrame(rows, columns=["network", "parameters", "seed", "shift", "accuracy"])


def convolutional_network(reduction: Reduction, classes: int, size: int = 28) -> nn.Sequential:
    """Two 5×5 convolutions and a linear layer; each convolution's maps are halved, or are not.

    With either pooling and with stride 2 in the convolutions themselves the maps have the same
    sizes and the network the same parameters. Without any the linear layer has more.

    Shape: (N, 1, size, size) → (N, classes).
    """
    stride = 2 if reduction == "strided convolution" else 1
    layers: list[nn.Module] = []
    for in_channels, out_channels in pairwise(CHANNELS):
        layers += [Conv2d(in_channels, out_channels, KERNEL, stride), ReLU()]
        size = output_size(size, KERNEL, stride)
        if reduction in ("max pooling", "average pooling"):
            layers.append(MaxPool2d(2) if reduction == "max pooling" else AvgPool2d(2))
            size = output_size(size, 2, 2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS[-1] * size**2, classes))


def multilayer_perceptron(hidden: int, classes: int, size: int = 28) -> nn.Sequential:
    """One hidden layer.

    Shape: (N, 1, size, size) → (N, classes).
    """
    return nn.Sequential(
        nn.Flatten(), nn.Linear(size**2, hidden), ReLU(), nn.Linear(hidden, classes)
    )


def parameter_count(model: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def points_lost(accuracies: pd.DataFrame, network: str, shift: int) -> list[float]:
    """Percentage points of accuracy that moving the images costs a network, from each seed.

    Args:
        accuracies: columns network, seed, shift, accuracy.
        network: its name there.
        shift: pixels.
    """
    runs = accuracies[accuracies["network"] == network].set_index(["shift", "seed"])["accuracy"]
    return [100 * float(lost) for lost in runs[0] - runs[shift]]


def summarize(accuracies: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean over the seeds with its 95 % interval, in the order in which the rows came.

    Args:
        accuracies: a column accuracy, and those of `by`.
        by: what is kept apart.

    Returns:
        the columns of `by`, then accuracy, low, high.
    """
    rows = []
    for key, values in accuracies.groupby(list(by), sort=False)["accuracy"]:
        low, high = mean_interval(values.to_list())
        mean = float(np.mean(values))
        rows.append([*key, mean, max(0.0, low), min(1.0, high)])  # no accuracy lies beyond 0, 1
    return pd.DataFrame(rows, columns=[*by, "accuracy", "low", "high"])
