"""Train a network: AdamW, one-cycle learning rate, random affine maps, averaged weights.

`train` runs the epochs, `train_epoch` the batches of one, `train_step` is one step of the
optimiser, `evaluate` measures the averaged weights. On a CUDA GPU the forward and backward pass of
a step become one call (graph.py). Checkpoints, several processes and the progress
bar are in session.py.

The whole data set lives on the device as bytes; a batch is an index away. All random numbers come
from generators that are seeded here, so a run depends on its parameters and seed alone. They draw
on the CPU, except for dropout, which draws on the device: its masks are others on a GPU. An
interrupted run continues from its last checkpoint and ends with the same bits.

Axes: N batch, H height, W width.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization, augment
from cnnpipe.functional import cross_entropy
from cnnpipe.models import loss_function, predict
from cnnpipe.params.train import TrainParams
from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import choose_dtype
from cnnpipe.train import distributed
from cnnpipe.train.checkpoint import Checkpoints
from cnnpipe.train.graph import Graphed
from cnnpipe.train.session import Session
from cnnpipe.train.snapshots import Snapshots
from cnnpipe.train.state import Epoch, TrainingState

DEFAULTS = TrainParams()
Measure = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""Loss and accuracy on images with labels; the gradients of the weights are left in them."""


def train(
    model: nn.Module,
    training: Split,
    validation: Split,
    params: TrainParams = DEFAULTS,
    normalization: Normalization | None = None,
    *,
    seed: int = 1,
    progress: bool = True,
    checkpoints: Checkpoints | None = None,
    observe: Callable[[nn.Module, int], None] | None = None,
    curves: Path | None = None,
    snapshots: Path | None = None,
) -> tuple[nn.Module, list[Epoch]]:
    """Train `model`; return a model with the averaged weights, and the learning curves.

    Args:
        model: freshly initialised, on the device to train on. It is changed.
        training, validation: images and labels on the same device.
        params: settings of the run.
        normalization: of the images; measured on `training` if not given.
        seed: of the order of the images, the random maps and dropout.
        progress: show a bar with loss, accuracy and time left in a terminal, else a line an epoch.
        checkpoints: where the run continues from and where it saves its state.
        observe: called with the averaged weights and the epoch's number after each epoch, before
            the validation; it must draw no random numbers and must not change the weights.
        curves: file for the learning curves, written after each epoch, so that `dvc plots show` and
            editors show a run as it goes.
        snapshots: file for the first convolution's weights at some 60 moments, written at the end.

    Raises:
        InputError: the training set is smaller than one batch, or a batch cannot be divided
            equally among the processes.
        DivergedError: the loss became NaN or infinite; names the step.
    """
    steps = len(training) // params.batch_size
    if steps == 0:
        raise InputError(
            f"batch_size: got {params.batch_size}; expected at most {len(training)}, "
            "the number of training images"
        )
    distributed.check_batch(params.batch_size, distributed.processes())
    normalization = normalization or Normalization.of(training.images)
    state = TrainingState.create(model, params, steps, seed)
    watch = Snapshots(state, validation, normalization, snapshots)
    measure = Graphed(
        partial(forward_and_backward, state, params, choose_dtype(params.precision, state.device)),
        record=state.device.type == "cuda" and distributed.processes() == 1,
    )
    with Session(state, checkpoints, progress, curves) as session:
        for number in session.epochs():
            loss, accuracy, lr = train_epoch(
                session, training, params, normalization, measure, watch
            )
            if distributed.rank() == 0:
                averaged = state.averaged.module
                if observe:
                    observe(averaged, number)
                measured = evaluate(averaged, validation, normalization)
                session.after_epoch(Epoch(number, loss, accuracy, *measured, lr))
        watch.finish()
    return state.averaged.module.eval(), state.history


def train_epoch(
    session: Session,
    training: Split,
    params: TrainParams,
    normalization: Normalization,
    measure: Measure,
    watch: Snapshots,
) -> tuple[float, float, float]:
    """The mean loss and accuracy of the epoch's steps, and the learning rate of its last step."""
    state = session.state
    state.model.train()
    for images, labels in batches(state, training, params, normalization):
        watch.look()
        lr = float(state.schedule.get_last_lr()[0])
        session.after_step(*train_step(state, images, labels, measure))
    return (*session.means(), lr)


def train_step(
    state: TrainingState,
    images: Tensor,
    labels: Tensor,
    measure: Measure,
) -> tuple[Tensor, ...]:
    """One step of the optimiser; the loss and the accuracy on the batch before it."""
    measured = measure(images, labels)
    state.optimizer.step()
    state.averaged.update_parameters(state.model)
    state.schedule.step()
    state.step += 1
    return measured


def forward_and_backward(
    state: TrainingState, params: TrainParams, dtype: torch.dtype, images: Tensor, labels: Tensor
) -> tuple[Tensor, ...]:
    """The whole of a `Measure`."""
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        logits = state.network(images)  # (N, classes)
        loss = loss_function(params.backend)(logits, labels, label_smoothing=params.label_smoothing)
    state.optimizer.zero_grad()
    loss.backward()
    return loss.detach(), (logits.detach().argmax(dim=1) == labels).float().mean()


def batches(
    state: TrainingState, split: Split, params: TrainParams, normalization: Normalization
) -> Iterator[tuple[Tensor, Tensor]]:
    """The remaining batches of an epoch in random order; an incomplete last batch is dropped.

    Every process draws the same order and the same maps, and gets its part of each batch.
    """
    if state.order is None:
        state.order = torch.randperm(len(split), generator=state.generator)
    order = state.order.to(split.images.device)
    for index in range(state.step % state.steps_per_epoch, state.steps_per_epoch):
        batch = order[index * params.batch_size : (index + 1) * params.batch_size]
        batch = distributed.part_of(batch)
        images = augment(
            normalization(split.images[batch]),  # (N, 1, H, W)
            params.augment,
            normalization.background,
            state.generator,
            part=distributed.rank(),
            parts=distributed.processes(),
        )
        yield images, split.labels[batch]


def evaluate(model: nn.Module, split: Split, normalization: Normalization) -> tuple[float, float]:
    """The cross-entropy and accuracy of `model` on `split`."""
    logits = predict(model, split.images, normalization)  # (N, classes)
    loss = cross_entropy(logits, split.labels).item()
    return loss, (logits.argmax(dim=1) == split.labels).float().mean().item()
