"""Whether an image is like those that a network was trained on.

    d(x) = 1 − max_i cos(f(x), f(x_i))

f(x) is what the network's last layer gets, x_i are training images. An image is unfamiliar if d is
larger than for 99 % of images that were held out of training, so that one familiar image in
hundred is called unfamiliar, too. A network's probabilities cannot say this: they sum to 1 over the
classes it knows, whatever the image.

The x_i are few, so that the page can hold them: those that lie farthest from each other, which
leaves no other training image far from all of them.

Axes: N images, F features.

Sources: Sun, Ming, Zhu, Li, "Out-of-distribution detection with deep nearest neighbors", ICML 2022;
Gonzalez, "Clustering to minimize the maximum intercluster distance", Theoretical Computer Science
38, 1985.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from cnnpipe.data.dataset import load_dataset, split_validation
from cnnpipe.data.raw import DESCRIPTION
from cnnpipe.models import TrainedNetwork, predict
from cnnpipe.params.data import SplitParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.section import Seed, Selection
from cnnpipe.system.artifacts import load_weights, project_root, save_weights, sha256_of
from cnnpipe.system.errors import InputError

CANDIDATES = 5000
"""Training images, spread evenly, of which neighbours are chosen; up to twice as many."""
NEIGHBOURS = 500
"""Training images to compare with: so chosen, as good as all candidates."""
FAMILIAR = 0.99
"""Share of the held-out images that count as familiar."""

KEPT = Path(".cnnpipe/familiarity")
"""Where measured features are kept in the project's root: measuring takes a few seconds."""


class Settings(Selection):
    """Which training images were held out."""

    seed: Seed
    data: SplitParams


@dataclass(frozen=True)
class Familiarity:
    """The training images as a network sees them, and how far an image usually is from them."""

    network: TrainedNetwork
    neighbours: Tensor
    """Of the training images, int8 (N, F): f(x_i), scaled so that its largest magnitude is 127."""
    usual: float
    """Distance that `FAMILIAR` of the held-out images do not exceed."""

    @classmethod
    def of(cls, network: TrainedNetwork, training: Tensor, held_out: Tensor) -> Self:
        """Measure what is usual.

        Shape: both uint8 (N, 28, 28).
        """
        candidates = directions(network, training[:: max(1, len(training) // CANDIDATES)])
        chosen = candidates[farthest(candidates, NEIGHBOURS)]
        neighbours = (127 * chosen / chosen.abs().amax(1, keepdim=True)).round().to(torch.int8)
        unmeasured = cls(network, neighbours, math.nan)
        return replace(unmeasured, usual=float(unmeasured.distances(held_out).quantile(FAMILIAR)))

    @classmethod
    def load(cls, network: TrainedNetwork, path: Path, raw: Path) -> Self:
        """What is usual for a trained network, measured once and then kept.

        Args:
            path: of the network's weights.
            raw: folder of the data set that it was trained on.

        Raises:
            InputError: the data set or params.yaml is missing or damaged.
        """
        settings = load_params(Settings)
        parts = sha256_of(path), sha256_of(raw / DESCRIPTION), settings.model_dump_json()
        origin = {"of": hashlib.sha256("".join(parts).encode()).hexdigest()}
        kept = project_root() / KEPT / f"{path.stem}.safetensors"
        with suppress(InputError):
            state, metadata = load_weights(kept)
            if metadata == origin:
                return cls(network, state["neighbours"], float(state["usual"]))
        splits = split_validation(load_dataset(raw).train, settings.data.validation, settings.seed)
        measured = cls.of(network, *(split.images for split in splits))
        with suppress(OSError):  # a read-only project is measured each time
            save_weights(kept, measured.tensors(), origin)
        return measured

    def tensors(self) -> dict[str, Tensor]:
        """What is kept of it in a file."""
        return {"neighbours": self.neighbours, "usual": torch.tensor(self.usual)}

    def is_familiar(self, images: Tensor) -> Tensor:
        """
        Shape: uint8 (N, 28, 28) → bool (N,).
        """
        return self.distances(images) <= self.usual

    def distances(self, images: Tensor) -> Tensor:
        """1 − the cosine of each image's features with those of the nearest neighbour.

        Shape: uint8 (N, 28, 28) → (N,).
        """
        neighbours = _unit(self.neighbours.float())
        return 1 - (directions(self.network, images) @ neighbours.T).amax(dim=1)


def directions(network: TrainedNetwork, images: Tensor) -> Tensor:
    """What the network's last layer gets, scaled to length 1.

    Shape: uint8 (N, 28, 28) → (N, F).
    """
    hidden = network.model[:-1]
    return _unit(predict(hidden, images, network.normalization).flatten(1))


def farthest(points: Tensor, count: int) -> list[int]:
    """Indices of `count` points: the first, then each time that which is farthest from all of them.

    Far is a small cosine. Shape: of length 1, (N, F).

    >>> east, nearly_east, north = [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]
    >>> farthest(torch.tensor([east, nearly_east, north]), 2)
    [0, 2]
    """
    chosen = [0]
    nearest = points @ points[0]  # cosine with the nearest one that is chosen
    while len(chosen) < min(count, len(points)):
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, points @ points[chosen[-1]])
    return chosen


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
