"""Fit a network: AdamW, one-cycle learning rate, random affine maps, averaged weights.

The whole data set lives on the device as bytes; a batch is an index away. Every random number comes
from generators seeded here, on the CPU, so a run depends on its parameters and seed alone. A run
that was interrupted goes on from its last checkpoint, to the same bits.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization, augment
from cnnpipe.models import predict
from cnnpipe.params.train import TrainParams
from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import choose_dtype
from cnnpipe.train import distributed
from cnnpipe.train.checkpoint import Checkpoints
from cnnpipe.train.state import Epoch, TrainingState

STEPS_BETWEEN_REPORTS = 20
"""Reading a loss waits for the device; once in so many steps it costs nothing that can be seen."""


class DivergedError(InputError):
    """The loss is no longer a number: these parameters do not train this network."""


def train(
    model: nn.Module,
    training: Split,
    validation: Split,
    params: TrainParams,
    normalization: Normalization,
    *,
    seed: int,
    progress: bool = True,
    checkpoints: Checkpoints | None = None,
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
        checkpoints: where the run goes on from, and leaves what it would go on from.
        observe: is given the averaged weights and the epoch after each epoch's last step, before
            the validation; it must draw no random numbers and leave the weights as they are.

    Raises:
        InputError: the training set is smaller than one batch, or a batch does not fall into
            equal parts for the processes.
        DivergedError: the loss became NaN or infinite; names the step.
    """
    device = training.images.device
    steps_per_epoch = len(training) // params.batch_size
    if steps_per_epoch == 0:
        raise InputError(
            f"batch_size: got {params.batch_size}; expected at most {len(training)}, "
            "the number of training images"
        )
    distributed.check_batch(params.batch_size, distributed.processes())
    torch.manual_seed(seed + distributed.rank())  # dropout: each process silences its own neurons
    generator = torch.Generator().manual_seed(seed)
    dtype = choose_dtype(params.precision, device)
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)  # the layout that tensor cores read

    network = distributed.parallel(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=params.lr, weight_decay=params.weight_decay, fused=True
    )
    total_steps = params.epochs * steps_per_epoch
    schedule = OneCycleLR(optimizer, params.lr, total_steps, pct_start=params.warmup)
    loss_function = nn.CrossEntropyLoss(label_smoothing=params.label_smoothing)
    averaged = AveragedModel(model, multi_avg_fn=_average(params.ema_decay), use_buffers=True)
    state = TrainingState(model, averaged, optimizer, schedule, generator)

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = network(images)
            loss = loss_function(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        averaged.update_parameters(model)
        return loss.detach(), (logits.detach().argmax(dim=1) == labels).float().mean()

    if checkpoints:
        first = distributed.rank() == 0
        if saved := distributed.from_first(checkpoints.load() if first else None):
            state.restore(saved)
        if saved and first:
            epoch = min(1 + state.step // steps_per_epoch, params.epochs)
            print(
                f"{checkpoints.name}: goes on after step {state.step:,} of {total_steps:,} "
                f"(epoch {epoch})",
                flush=True,
            )
    with tqdm(
        total=total_steps, initial=state.step, unit="step", disable=not progress, mininterval=1
    ) as bar:
        for epoch in range(1 + state.step // steps_per_epoch, params.epochs + 1):
            bar.set_description(f"epoch {epoch}/{params.epochs}")
            watch = _Watch(bar, state, checkpoints.folder if checkpoints else None)
            model.train()
            for images, labels in _batches(training, params, normalization, state):
                learning_rate = float(schedule.get_last_lr()[0])
                watch.record(*step(images, labels))
                schedule.step()
                state.step += 1
                if (
                    checkpoints
                    and watch.is_up_to_date
                    and state.step % steps_per_epoch  # the epoch's end saves what the epoch gave
                    and distributed.from_first(checkpoints.due())
                ):
                    _save(checkpoints, state)
            train_loss, train_accuracy = watch.finish()
            if distributed.rank() == 0:
                if observe:
                    observe(averaged.module, epoch)
                loss, accuracy = _loss_and_accuracy(averaged.module, validation, normalization)
                state.history.append(
                    Epoch(epoch, train_loss, train_accuracy, loss, accuracy, learning_rate)
                )
            state.end_epoch()
            if checkpoints:
                _save(checkpoints, state)
    return averaged.module.eval(), state.history


def _save(checkpoints: Checkpoints, state: TrainingState) -> None:
    """Take a checkpoint, unless the weights are no longer numbers: then the last one is worth more.

    A loss is known before the step that it leads to, so finite losses do not tell.
    """
    if not state.is_finite():
        return
    captured = state.capture()
    if distributed.rank() == 0:
        checkpoints.save(state.step, captured)


def _batches(
    split: Split, params: TrainParams, normalization: Normalization, state: TrainingState
) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch in random order, fresh or gone on with; images that fill no batch sit it out.

    Every process draws the same order and the same maps, and takes its part of each batch.
    """
    if state.order is None:
        state.order = torch.randperm(len(split), generator=state.generator)
    order = state.order.to(split.images.device)
    steps = len(split) // params.batch_size
    for index in range(state.step % steps, steps):
        batch = order[index * params.batch_size : (index + 1) * params.batch_size]
        batch = distributed.part_of(batch)
        images = normalization(split.images[batch])  # (N, 1, H, W)
        yield (
            augment(
                images,
                params.augment,
                normalization.background,
                state.generator,
                part=distributed.rank(),
                parts=distributed.processes(),
            ),
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

    def __init__(self, bar: tqdm[Any], state: TrainingState, kept_in: Path | None) -> None:
        self.bar = bar
        self.state = state
        self.first_step = state.step + 1 - len(state.losses)
        self.kept_in = kept_in
        self.waiting: list[tuple[Tensor, Tensor]] = []

    def record(self, loss: Tensor, accuracy: Tensor) -> None:
        self.waiting.append((loss, accuracy))
        if len(self.waiting) == STEPS_BETWEEN_REPORTS:
            self._read()

    @property
    def is_up_to_date(self) -> bool:
        """Whether every loss was read, and found to be a number."""
        return not self.waiting

    def finish(self) -> tuple[float, float]:
        """The epoch's mean loss and accuracy."""
        self._read()
        count = len(self.state.losses)
        return math.fsum(self.state.losses) / count, math.fsum(self.state.accuracies) / count

    def _read(self) -> None:
        if not self.waiting:
            return
        losses, accuracies = (
            distributed.mean(torch.stack(values)).tolist()
            for values in zip(*self.waiting, strict=True)
        )
        first = self.first_step + len(self.state.losses)
        for step, loss in enumerate(losses, start=first):
            if not math.isfinite(loss):
                if distributed.rank() > 0:  # every process knows, the first tells
                    sys.exit(distributed.LOST)
                has_checkpoint = self.kept_in is not None and any(self.kept_in.glob("step-*"))
                raise DivergedError(
                    f"the loss is {loss} at step {step} of {self.bar.total}; "
                    + (
                        f"the weights before are kept in {self.kept_in}"
                        if has_checkpoint
                        else "nothing was saved"
                    )
                    + "; a smaller lr usually helps"
                )
        self.state.losses += losses
        self.state.accuracies += accuracies
        self.waiting.clear()
        self.bar.set_postfix(
            loss=f"{losses[-1]:.3f}", accuracy=f"{accuracies[-1]:.3f}", refresh=False
        )
        self.bar.update(len(losses))
