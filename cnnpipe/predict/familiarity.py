"""Whether an image is like those that a network was trained on.

    d(x) = 1 − max_i cos(f(x), f(x_i))

f(x) is what the network's last layer gets, x_i are training images. An image is unfamiliar if d is
larger than for 99 % of images that were held out of training, so that one familiar image in
hundred is called unfamiliar, too. A network's probabilities cannot say this: they sum to 1 over the
classes it knows, whatever the image.

Axes: N images, F features.

Source: Sun, Ming, Zhu, Li, "Out-of-distribution detection with deep nearest neighbors", ICML 2022.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from cnnpipe.data.dataset import load_dataset, split_validation
from cnnpipe.data.raw import DESCRIPTION
from cnnpipe.models import PREDICTION_BATCH, TrainedNetwork, evaluation_mode
from cnnpipe.params.data import SplitParams
from cnnpipe.params.loading import load_params
from cnnpipe.params.section import Seed, Selection
from cnnpipe.system.artifacts import load_weights, project_root, save_weights, sha256_of
from cnnpipe.system.errors import InputError

NEIGHBOURS = 5000
"""Training images to compare with; four times as many tell hardly more."""
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
    features: Tensor
    """(N, F), of length 1."""
    usual: float
    """Distance that `FAMILIAR` of the held-out images do not exceed."""

    @classmethod
    def of(cls, network: TrainedNetwork, training: Tensor, held_out: Tensor) -> Self:
        """Measure what is usual.

        Shape: both uint8 (N, 28, 28).
        """
        features = _features(network, training[:: max(1, len(training) // NEIGHBOURS)])
        distances = _distances(_features(network, held_out), features)
        return cls(network, features, float(distances.quantile(FAMILIAR)))

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
                return cls(network, state["features"], float(state["usual"]))
        splits = split_validation(load_dataset(raw).train, settings.data.validation, settings.seed)
        measured = cls.of(network, *(split.images for split in splits))
        state = {"features": measured.features, "usual": torch.tensor(measured.usual)}
        with suppress(OSError):  # a read-only project is measured anew
            save_weights(kept, state, origin)
        return measured

    def is_familiar(self, images: Tensor) -> Tensor:
        """
        Shape: uint8 (N, 28, 28) → bool (N,).
        """
        return _distances(_features(self.network, images), self.features) <= self.usual


@torch.inference_mode()
def _features(network: TrainedNetwork, images: Tensor) -> Tensor:
    with evaluation_mode(network.model):
        batches = (network.normalization(batch) for batch in images.split(PREDICTION_BATCH))
        features = [network.model[:-1](batch).flatten(1) for batch in batches]
    directions = torch.cat(features).float()
    lengths = directions.square().sum(1, keepdim=True).sqrt()
    return directions / lengths.clamp_min(1e-12)


def _distances(features: Tensor, others: Tensor) -> Tensor:
    """1 − the cosine of each with the nearest of the others: (N, F), (M, F) → (N,)."""
    return 1 - (features @ others.T).amax(dim=1)
