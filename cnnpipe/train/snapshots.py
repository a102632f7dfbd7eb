"""The first convolution's weights at some 60 moments of a run, in which noise becomes strokes.

They are kept with the state of the run, so that an interrupted run ends with the same file.

Axes: M moments, C output channels, kH kW kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization
from cnnpipe.models import predict
from cnnpipe.system.artifacts import save_weights
from cnnpipe.train import distributed

if TYPE_CHECKING:
    from cnnpipe.train.state import TrainingState

SPACED = 30
"""Moments with equal factors between them, and moments with equal steps between them."""
EARLY = 0.1
"""Part of the run that those with equal factors divide: the first steps change most."""
IMAGES = 500
"""Validation images for the accuracy of a moment, few because there are many moments."""


@dataclass(frozen=True)
class Snapshot:
    """One moment of a run. The weights are the averaged ones, like those that a run ends with."""

    step: int
    """Steps done."""
    accuracy: float
    """Of the whole network, on the first `IMAGES` validation images."""
    kernels: Tensor
    """float16 (C, 1, kH, kW)."""
    bias: Tensor | None
    """float16 (C,); None where the layer has none."""


def moments(steps: int) -> set[int]:
    """Numbers of steps after which a snapshot is taken: close to each other early, then even.

    >>> sorted(moments(5340))[:12]
    [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 17]
    >>> sorted(moments(5340))[-3:]
    [4984, 5162, 5340]
    """
    early = np.geomspace(1, max(1, EARLY * steps), SPACED)
    even = np.linspace(0, steps, SPACED + 1)
    return {round(step) for step in np.concatenate([early, even]).tolist()}


class Snapshots:
    """Takes the snapshots of a run, keeps them in its state, and writes them at the end."""

    def __init__(
        self,
        state: TrainingState,
        validation: Split,
        normalization: Normalization,
        file: Path | None,
    ) -> None:
        """
        Args:
            file: to write; without one, and on all processes but the first, none are taken.
        """
        self._state = state
        self._file = file if distributed.rank() == 0 else None
        self._images, self._labels = validation.images[:IMAGES], validation.labels[:IMAGES]
        self._normalization = normalization
        self._moments = moments(state.total_steps) if self._file else set()

    def look(self) -> None:
        """Take one if this is the moment for it; no random number is drawn."""
        state = self._state
        if state.step not in self._moments:
            return
        model = state.averaged.module
        logits = predict(model, self._images, self._normalization)  # (N, classes)
        accuracy = (logits.argmax(dim=1) == self._labels).float().mean().item()
        first: Any = next(model.children())
        bias = None if first.bias is None else _kept(first.bias)
        state.snapshots.append(Snapshot(state.step, accuracy, _kept(first.weight), bias))

    def finish(self) -> None:
        """Write steps (M,), accuracy (M,), kernels (M, C, 1, kH, kW), and bias (M, C) if any."""
        if not self._file:
            return
        self.look()
        taken = self._state.snapshots
        tensors = {
            "steps": torch.tensor([each.step for each in taken]),
            "accuracy": torch.tensor([each.accuracy for each in taken]),
            "kernels": torch.stack([each.kernels for each in taken]),
        }
        biases = [each.bias for each in taken if each.bias is not None]
        if biases:
            tensors["bias"] = torch.stack(biases)
        save_weights(self._file, tensors, {})


def _kept(values: Tensor) -> Tensor:
    """A copy on the CPU, in the order of memory that a file has."""
    return values.detach().to("cpu", torch.float16, copy=True).contiguous()
