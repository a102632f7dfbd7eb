"""A map of images: where they lie in what a network's last layer gets, seen along two axes.

    place = A·f/|f| + b

f is what the last layer gets. A and b are fitted to training images by least squares, so that each
class comes near its place on a circle: class 0 at the top, the others clockwise in their order. The
projection is linear and fixed, so an image that was in no data set has a place as well: between
the classes if the network sees parts of several in it.

Axes: N images, F features, K classes.
"""

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from cnnpipe.data.dataset import Dataset, Split
from cnnpipe.explain.familiarity import CANDIDATES, Familiarity, directions
from cnnpipe.explain.filters import evenly_spread
from cnnpipe.findings.mistakes import worst_mistakes
from cnnpipe.models import TrainedNetwork

SHOWN = 1400
"""Test images on the map, spread evenly."""
MISTAKES = 100
"""The most confident mistakes, at most this many, are on the map in any case."""


def embed(
    network: TrainedNetwork,
    dataset: Dataset,
    splits: tuple[Split, Split],
    predictions: pd.DataFrame,
) -> dict[str, Tensor]:
    """What the page needs to place an image on the map, and to tell whether it is familiar.

    Args:
        splits: training images, and those that were held out.
        predictions: for the test set, as reports/predictions has them.

    Returns:
        axes (F + 1, 2), whose last row is b; images (N,), indices of the test images; places
        (N, 2), x to the right and y up; and what `Familiarity` keeps.
    """
    training, held_out = splits
    sample = evenly_spread(len(training), CANDIDATES)
    features = directions(network, training.images[sample])
    axes = fit(features, training.labels[sample], len(dataset.classes))
    shown = evenly_spread(len(dataset.test), SHOWN).tolist()
    mistakes = worst_mistakes(predictions, MISTAKES)["index"].tolist()
    images = torch.tensor(sorted({*shown, *mistakes}))
    places = project(directions(network, dataset.test.images[images]), axes)
    familiarity = Familiarity.of(network, training.images, held_out.images)
    return {"axes": axes, "images": images, "places": places, **familiarity.tensors()}


def fit(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """A and b as one matrix.

    Shape: (N, F), (N,) → (F + 1, 2).
    """
    angles = 2 * np.pi * labels.numpy() / classes
    targets = np.stack([np.sin(angles), np.cos(angles)], axis=1)  # (N, 2)
    with_one = np.pad(features.double().numpy(), ((0, 0), (0, 1)), constant_values=1)
    with threadpool_limits(1):  # the weight of a dead neuron is rounding, which depends on them
        solution = np.linalg.lstsq(with_one, targets, rcond=1e-6)[0]
    return torch.from_numpy(solution).float()


def project(features: Tensor, axes: Tensor) -> Tensor:
    """
    Shape: (N, F), (F + 1, 2) → (N, 2).
    """
    return features @ axes[:-1] + axes[-1]
