"""A data set as tensors, and the validation split.

Axes: N images, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnnpipe.data.raw import read_raw

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Split:
    """Images and their labels, in the same order."""

    images: Tensor
    """(N, 28, 28), uint8."""
    labels: Tensor
    """(N,), int64."""

    @classmethod
    def of(cls, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
        """A copy of images and labels as they are stored."""
        # Here, so that downloading, which needs no tensors, does not wait for torch.
        import torch

        return cls(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Tensor) -> Split:
        return Split(self.images[indices], self.labels[indices])

    def drawn(self, count: int, seed: int) -> Split:
        """`count` of the examples, or all if there are fewer, drawn at random."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        return self[torch.randperm(len(self), generator=generator)[:count]]

    def to(self, device: torch.device | str) -> Split:
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split

    def to(self, device: torch.device) -> Dataset:
        return replace(self, train=self.train.to(device), test=self.test.to(device))


def load_dataset(folder: Path) -> Dataset:
    """Read a folder that `download` filled, and check every byte of it.

    Raises:
        InputError: a file is missing or damaged; the text names it and the cure.
    """
    raw = read_raw(folder)
    return Dataset(
        name=raw.name,
        classes=raw.classes,
        train=Split.of(raw.train_images, raw.train_labels),
        test=Split.of(raw.test_images, raw.test_labels),
    )


def split_validation(train: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Hold out a fraction of every class at random; both parts keep the order of `train`.

    A class gives at least one image to each part, unless it has only one, which stays in training.

    Args:
        fraction: of each class's images, between 0 and 1.
        seed: the same seed holds out the same images.

    Returns:
        training, validation
    """
    import torch

    labels = train.labels.numpy()
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = held_out_of(len(members), fraction)
        held_out[generator.permutation(members)[:count]] = True
    mask = torch.from_numpy(held_out)
    return train[~mask], train[mask]


def held_out_of(images: int, fraction: float) -> int:
    """How many of a class's images are held out: one at least, but never all of them."""
    return min(max(1, round(fraction * images)), images - 1)
