"""Moved images, and the answers on them, which three claims compare between networks.

Axes: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.data.preprocessing import moved
from cnnpipe.findings.estimates import paired
from cnnpipe.params.principles import ShiftParams
from cnnpipe.principles.networks import parameter_count
from cnnpipe.principles.study import Study, accuracy, train, tuned

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
    run: Study,
    params: ShiftParams,
    networks: Mapping[str, Callable[[], nn.Module]],
    trained_on_moved: Sequence[str] = (),
) -> pd.DataFrame:
    """Accuracy of every network in one run, on test images moved ever further.

    Args:
        run: data, and the seed that draws images, initial weights and order.
        params: budget, and the largest shift.
        networks: what builds them, by name.
        trained_on_moved: names of those whose training images are moved at random.

    Returns:
        columns network, parameters, shift (pixels), accuracy (fraction).
    """
    fill = run.normalization.background
    images, labels = run.training_examples(params.train_images)
    test_images, test_labels = run.test_examples(params.test_images)
    rates, rows = tuned(run, params, networks, params.train_images), []
    for name, build in networks.items():
        seen = images
        if name in trained_on_moved:
            seen = moved_at_random(images, params.judged_shift, fill, run.seed)
        network = train(build, (seen, labels), params.at(rates[name]), run.seed)
        for shift in range(params.largest_shift + 1):
            reached = accuracy(network, (moved_in_turn(test_images, shift, fill), test_labels))
            rows.append((name, parameter_count(network), shift, reached))
    return pd.DataFrame(rows, columns=["network", "parameters", "shift", "accuracy"])


def points_lost(accuracies: pd.DataFrame, shift: int) -> dict[str, list[float]]:
    """Percentage points of accuracy that moving the images costs each network, run by run.

    Args:
        accuracies: columns network, run, shift (pixels), accuracy.
        shift: pixels.
    """
    return {
        str(network): [100 * float(lost) for lost in paired(runs, "shift", 0, shift)]
        for network, runs in accuracies.groupby("network", sort=False)
    }
