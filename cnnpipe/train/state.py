"""Everything that changes while a network trains: captured for a checkpoint, restored from one."""

import copy
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from cnnpipe.params.train import TrainParams
from cnnpipe.system.optimizer import AdamW
from cnnpipe.train import distributed
from cnnpipe.train.snapshots import Snapshot


@dataclass(frozen=True)
class Epoch:
    """One row of the training curves; accuracies are fractions."""

    epoch: int
    train_loss: float
    """Mean over the epoch's augmented batches, while the weights change; with label smoothing."""
    train_accuracy: float
    validation_loss: float
    """Of the averaged weights at the end of the epoch, on images that are never trained on."""
    validation_accuracy: float
    learning_rate: float
    """At the epoch's last step."""


def learning_curves(history: list[Epoch]) -> pd.DataFrame:
    """A table of one row per epoch."""
    return pd.DataFrame(map(asdict, history))


@dataclass
class TrainingState:
    """The state of a run. A checkpoint holds all of it that changes from step to step."""

    model: nn.Module
    network: nn.Module
    """`model`, averaging its gradients over all processes."""
    averaged: "AveragedWeights"
    optimizer: torch.optim.Optimizer
    schedule: OneCycleLR
    generator: torch.Generator
    """Draws the order of the images and the random maps; dropout draws from torch's own."""
    epochs: int
    steps_per_epoch: int
    step: int = 0
    """Steps done."""
    order: Tensor | None = None
    """Order of the images in the current epoch, (images,)."""
    losses: list[float] = field(default_factory=list)
    """Of the epoch's steps that were read."""
    accuracies: list[float] = field(default_factory=list)
    history: list[Epoch] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    @classmethod
    def create(cls, model: nn.Module, params: TrainParams, steps_per_epoch: int, seed: int) -> Self:
        """The state before the first step."""
        torch.manual_seed(seed + distributed.rank())  # each process drops other neurons
        if next(model.parameters()).device.type == "cuda":
            model.to(memory_format=torch.channels_last)  # the layout that tensor cores read
        network = distributed.parallel(model)
        optimizer = AdamW(
            model.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True
        )
        total_steps = params.epochs * steps_per_epoch
        return cls(
            model,
            network,
            AveragedWeights(model, params.ema_decay),
            optimizer,
            OneCycleLR(optimizer, params.lr, total_steps, pct_start=params.warmup),
            torch.Generator().manual_seed(seed),
            params.epochs,
            steps_per_epoch,
        )

    @property
    def total_steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next step belongs to, from 1."""
        return 1 + self.step // self.steps_per_epoch

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
            "snapshots": [vars(snapshot) for snapshot in self.snapshots],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        self.model.load_state_dict(saved["model"])
        self.averaged.load_state_dict(saved["averaged"])
        _restore_optimizer(self.optimizer, saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.generator.set_state(saved["generator"])
        cpu, *others = saved["dropout"][distributed.rank()]
        torch.set_rng_state(cpu)
        for state in others:
            torch.get_device_module(self.device).set_rng_state(state, *self._generator)
        self.step, self.order = saved["step"], saved["order"]
        self.losses, self.accuracies = saved["losses"], saved["accuracies"]
        self.history = [Epoch(**epoch) for epoch in saved["history"]]
        self.snapshots = [Snapshot(**snapshot) for snapshot in saved["snapshots"]]

    def is_finite(self) -> bool:
        values = [*self.model.state_dict().values(), *self.averaged.module.state_dict().values()]
        return bool(torch.stack([value.isfinite().all() for value in values]).all())

    def _dropout_state(self) -> list[Tensor]:
        """The states of the generators that dropout draws from: the CPU's and the device's."""
        states = [torch.get_rng_state()]
        if self.device.type != "cpu":
            module = torch.get_device_module(self.device)
            states.append(module.get_rng_state(*self._generator))
        return states

    @property
    def _generator(self) -> list[torch.device]:
        """What names the device's generator: of `mps` there is one alone."""
        return [] if self.device.type == "mps" else [self.device]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load `state`, with the memory layout of each parameter for its moments.

    A file has no memory layout, and CUDA's fused kernels need the same for both. JSON has no
    numbers as keys.
    """
    moments_of = {int(number): moments for number, moments in state["state"].items()}
    optimizer.load_state_dict(state | {"state": moments_of})
    for parameter, moments in optimizer.state.items():
        for name, moment in moments.items():
            if isinstance(moment, Tensor) and moment.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(moment)


class AveragedWeights(nn.Module):
    """The exponential moving average of a model's parameters and buffers.

    a ← d·a + (1 − d)·w with d = min(decay, (1 + n)/(10 + n)) at update n; the first one copies w.
    With the smaller d of the first updates, the initial weights are forgotten also by a run of
    fewer than 1/(1 − decay) steps.

    The count n stays on the CPU, so that an update never waits for a GPU.

    Integers, the counts of batches of BatchNorm2d, are averaged apart: they change in the forward
    pass, and so can be averaged where that is recorded.
    """

    n_averaged: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(model)
        self.register_buffer("n_averaged", torch.tensor(0))
        self._decay = decay
        # Listed once, as walking through both networks takes longer than an update.
        self._floats, self._integers = (
            [_tensors(network, floats=floats) for network in (self.module, model)]
            for floats in (True, False)
        )

    @torch.no_grad()
    def update(self) -> None:
        """Follow the model's weights, after a step of the optimiser."""
        averages, values = self._floats
        share = 1 - self._d
        self.n_averaged += 1
        if share == 1:
            torch._foreach_copy_(averages, values)
        else:
            torch._foreach_lerp_(averages, values, share)

    @torch.no_grad()
    def update_counts(self, shares: Tensor) -> None:
        """Average the integers, all at once, and cut the means to integers.

        It comes after the model's forward pass and before `update`.

        Args:
            shares: what `shares` returns, on the model's device.
        """
        averages, values = self._integers
        if averages:
            mean = torch.stack(averages) * shares[0] + torch.stack(values) * shares[1]
            torch._foreach_copy_(averages, list(mean.to(averages[0].dtype)))

    def shares(self) -> Tensor:
        """d and 1 − d of the next update, (2,)."""
        return torch.tensor([self._d, 1 - self._d])

    @property
    def _d(self) -> float:
        n = int(self.n_averaged)
        return min(self._decay, (1 + n) / (10 + n)) if n else 0.0


def _tensors(network: nn.Module, *, floats: bool) -> list[Tensor]:
    """Parameters and buffers of floating-point numbers, or the others."""
    tensors = [*network.parameters(), *network.buffers()]
    return [tensor for tensor in tensors if tensor.is_floating_point() == floats]
