"""Moved images, and the accuracy on them, which claims 5 and 6 compare between networks.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.data.preprocessing import moved
from cnnpipe.params.principles import ShiftParams
from cnnpipe.principles.estimates import paired
from cnnpipe.principles.networks import parameter_count
from cnnpipe.principles.study import Study, accuracy, train

DIRECTIONS = [(0, 1), (0, -1), (1, 0), (-1, 0)]
"""Right, left, down, up, as (rows, columns)."""


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
    for seed in study.seeds(params):
        moved_images = moved_at_random(images, params.judged_shift, fill, seed)
        for name, build in networks.items():
            own = moved_images if name in trained_on_moved else images
            network = train(build, (own, labels), params, seed)
            for shift in range(params.largest_shift + 1):
                reached = accuracy(network, (moved_in_turn(test_images, shift, fill), test_labels))
                rows.append((name, parameter_count(network), seed, shift, reached))
    return pd.DataFrame(rows, columns=["network", "parameters", "seed", "shift", "accuracy"])


def points_lost(accuracies: pd.DataFrame, shift: int) -> dict[str, list[float]]:
    """Percentage points of accuracy that moving the images costs each network, from each seed.

    Args:
        accuracies: columns network, seed, shift (pixels), accuracy.
        shift: pixels.
    """
    return {
        str(network): [100 * float(lost) for lost in paired(runs, "shift", 0, shift)]
        for network, runs in accuracies.groupby("network", sort=False)
    }
