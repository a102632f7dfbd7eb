"""Fit a network: AdamW, one-cycle learning rate, random affine maps, averaged weights.

The whole data set lives on the device as bytes; a batch is an index away. Every random number comes
from generators seeded here, on the CPU, so a run depends on its parameters and seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from cnnpipe.data import Split
from cnnpipe.errors import InputError
from cnnpipe.hardware import choose_dtype
from cnnpipe.models import predict
from cnnpipe.params import TrainParams
from cnnpipe.preprocessing import Normalization, augment

STEPS_BETWEEN_REPORTS = 20
"""Reading a loss waits for the device; once in so many steps it costs nothing that can be seen."""


class DivergedError(InputError):
    """The loss is no longer a number: these parameters do not train this network."""


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


def train(
    model: nn.Module,
    training: Split,
    validation: Split,
    params: TrainParams,
    normalization: Normalization,
    *,
    seed: int,
    progress: bool = True,
    observe: Callable[[nn.Module, int], None] | None = None,
) -> tuple[nn.Module, list[Epoch]]:
    """Train `model`; return the averaged weights as a model of their own, and the curves.

    Args:
        model: freshly initialised, on the device to train on. It is changed.
        training, validation: images and labels on the same device.
        params: settings of the run, already merged for this model.
        normalization: measured on `training`.
        seed: of the order of the images, the random maps and dropout.
        progress: show a bar with loss, accuracy and time left.
        observe: is given the averaged weights and the epoch after each epoch's last step, before
            the validation; it must draw no random numbers and leave the weights as they are.

    Raises:
        InputError: the training set is smaller than one batch.
        DivergedError: the loss became NaN or infinite; names the step.
    """
    device = training.images.device
    steps_per_epoch = len(training) // params.batch_size
    if steps_per_epoch == 0:
        raise InputError(
            f"batch_size: got {params.batch_size}; expected at most {len(training)}, "
            "the number of training images"
        )
    torch.manual_seed(seed)  # dropout
    generator = torch.Generator().manual_seed(seed)
    dtype = choose_dtype(params.precision, device)
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)  # the layout that tensor cores read

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True
    )
    total_steps = params.epochs * steps_per_epoch
    schedule = OneCycleLR(optimizer, params.lr, total_steps, pct_start=params.warmup)
    loss_function = nn.CrossEntropyLoss(label_smoothing=params.label_smoothing)
    averaged = AveragedModel(model, multi_avg_fn=_average(params.ema_decay), use_buffers=True)

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(images)
            loss = loss_function(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        averaged.update_parameters(model)
        return loss.detach(), (logits.detach().argmax(dim=1) == labels).float().mean()

    history: list[Epoch] = []
    with tqdm(total=total_steps, unit="step", disable=not progress, mininterval=1) as bar:
        for epoch in range(1, params.epochs + 1):
            bar.set_description(f"epoch {epoch}/{params.epochs}")
            watch = _Watch(bar, first_step=1 + (epoch - 1) * steps_per_epoch)
            model.train()
            for images, labels in _batches(training, params, normalization, generator):
                learning_rate = float(schedule.get_last_lr()[0])
                watch.record(*step(images, labels))
                schedule.step()
            train_loss, train_accuracy = watch.finish()
            if observe is not None:
                observe(averaged.module, epoch)
            loss, accuracy = _loss_and_accuracy(averaged.module, validation, normalization)
            history.append(Epoch(epoch, train_loss, train_accuracy, loss, accuracy, learning_rate))
    return averaged.module.eval(), history


def _batches(
    split: Split, params: TrainParams, normalization: Normalization, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in a fresh random order; the images that fill no whole batch sit it out."""
    order = torch.randperm(len(split), generator=generator).to(split.images.device)
    for start in range(0, len(split) - params.batch_size + 1, params.batch_size):
        batch = order[start : start + params.batch_size]
        images = normalization(split.images[batch])  # (N, 1, H, W)
        yield (
            augment(images, params.augment, normalization.background, generator),
            split.labels[batch],
        )


def _average(decay: float) -> Callable[[Any, Any, Any], None]:
    """a ← d·a + (1 − d)·w with d = min(decay, (1 + n)/(10 + n)) at the n-th update.

    The smaller d of the first updates lets a run that is short against 1/(1 − decay) steps forget
    the weights that it started from.
    """

    def update(averages: Any, weights: Any, count: Any) -> None:
        d = min(decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(d)(averages, weights, count)

    return update


def _loss_and_accuracy(
    model: nn.Module, split: Split, normalization: Normalization
) -> tuple[float, float]:
    logits = predict(model, split.images, normalization)  # (N, classes)
    loss = nn.functional.cross_entropy(logits, split.labels).item()
    return loss, (logits.argmax(dim=1) == split.labels).float().mean().item()


class _Watch:
    """Follows one epoch: the bar, the means, and the first loss that is not a number.

    Values stay on the device and are read in groups, since reading one waits for the device.
    """

    def __init__(self, bar: tqdm[Any], first_step: int) -> None:
        self.bar = bar
        self.first_step = first_step
        self.waiting: list[tuple[Tensor, Tensor]] = []
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def record(self, loss: Tensor, accuracy: Tensor) -> None:
        self.waiting.append((loss, accuracy))
        if len(self.waiting) == STEPS_BETWEEN_REPORTS:
            self._read()

    def finish(self) -> tuple[float, float]:
        """The epoch's mean loss and accuracy."""
        self._read()
        count = len(self.losses)
        return math.fsum(self.losses) / count, math.fsum(self.accuracies) / count

    def _read(self) -> None:
        if not self.waiting:
            return
        losses, accuracies = (
            torch.stack(values).tolist() for values in zip(*self.waiting, strict=True)
        )
        for step, loss in enumerate(losses, start=self.first_step + len(self.losses)):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} at step {step} of {self.bar.total}; "
                    "nothing was saved; a smaller lr usually helps"
                )
        self.losses += losses
        self.accuracies += accuracies
        self.waiting.clear()
        self.bar.set_postfix(
            loss=f"{losses[-1]:.3f}", accuracy=f"{accuracies[-1]:.3f}", refresh=False
        )
        self.bar.update(len(losses))
