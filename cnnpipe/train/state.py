"""What changes while a network trains: captured for a checkpoint, restored from one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from cnnpipe.train import distributed


@dataclass(frozen=True)
class Epoch:
    """One row of the training curves; accuracies are fractions."""

    epoch: int
    train_loss: float
    """Mean over the epoch's augmented batches, while the weights move; with label smoothing."""
    train_accuracy: float
    validation_loss: float
    """Of the averaged weights at the end of the epoch, on images that are never trained on."""
    validation_accuracy: float
    learning_rate: float
    """At the epoch's last step."""


@dataclass
class TrainingState:
    """All that changes in a run. Between two steps this is what a checkpoint holds."""

    model: nn.Module
    averaged: AveragedModel
    optimizer: torch.optim.Optimizer
    schedule: OneCycleLR
    generator: torch.Generator
    """Of the order of the images and the random maps; dropout draws from torch's own."""
    step: int = 0
    """Steps done."""
    order: Tensor | None = None
    """Of the images in the epoch that is under way, (images,)."""
    losses: list[float] = field(default_factory=list)
    """Of the epoch's steps so far."""
    accuracies: list[float] = field(default_factory=list)
    history: list[Epoch] = field(default_factory=list)

    def end_epoch(self) -> None:
        self.order = None
        self.losses, self.accuracies = [], []

    def capture(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "generator": self.generator.get_state(),
            "dropout": distributed.from_all(self._dropout_state()),
            "step": self.step,
            "order": self.order,
            "losses": self.losses,
            "accuracies": self.accuracies,
            "history": [asdict(epoch) for epoch in self.history],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.averaged.load_state_dict(saved["averaged"])
        _restore_optimizer(self.optimizer, saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.generator.set_state(saved["generator"])
        cpu, *gpu = saved["dropout"][distributed.rank()]
        torch.set_rng_state(cpu)
        if gpu:
            torch.cuda.set_rng_state(gpu[0], self._device)
        self.step, self.order = saved["step"], saved["order"]
        self.losses, self.accuracies = saved["losses"], saved["accuracies"]
        self.history = [Epoch(**epoch) for epoch in saved["history"]]

    def is_finite(self) -> bool:
        values = [*self.model.state_dict().values(), *self.averaged.state_dict().values()]
        return all(bool(value.isfinite().all()) for value in values)

    def _dropout_state(self) -> list[Tensor]:
        gpu = [torch.cuda.get_rng_state(self._device)] if self._device.type == "cuda" else []
        return [torch.get_rng_state(), *gpu]

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load `state`, its tensors laid out in memory as their parameters are.

    A file has no memory layout, and CUDA's fused kernels want a parameter and its moments alike.
    """
    optimizer.load_state_dict(state)
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if isinstance(moment, Tensor) and moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(moment)
