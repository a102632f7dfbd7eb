"""Train a network: AdamW, one-cycle learning rate, random affine maps, averaged weights.

`train` runs the epochs, `train_epoch` the batches of one, `train_step` is one step of the
optimiser, `evaluate` measures the averaged weights. On a CUDA GPU all of a step but the optimiser
becomes one call (graph.py). Checkpoints, several processes and the progress bar are in session.py.

The whole data set lives on the device as bytes; a batch is an index away. All random numbers come
from generators that are seeded here, so a run depends on its parameters and seed alone. They draw
on the CPU, except for dropout, which draws on the device: its masks are others on a GPU. An
interrupted run continues from its last checkpoint and ends with the same bits.

Axes: N batch, H height, W width.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization, random_affine_maps, resample
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
Measure = Callable[..., Tensor]
"""Loss and accuracy (2,) on a batch as `batches` describes it; the gradients are left behind."""


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
        partial(measure_batch, state, params, training, normalization),
        state.device,
        record=distributed.processes() == 1,
    )
    with Session(state, checkpoints, progress, curves) as session:
        for number in session.epochs():
            loss, accuracy, lr = train_epoch(session, len(training), params, measure, watch)
            if distributed.rank() == 0:
                averaged = state.averaged.module
                if observe:
                    observe(averaged, number)
                measured = evaluate(averaged, validation, normalization)
                session.after_epoch(Epoch(number, loss, accuracy, *measured, lr))
        watch.finish()
    return state.averaged.module.eval(), state.history


def train_epoch(
    session: Session, images: int, params: TrainParams, measure: Measure, watch: Snapshots
) -> tuple[float, float, float]:
    """The mean loss and accuracy of the epoch's steps, and the learning rate of its last step."""
    state = session.state
    state.model.train()
    for batch in batches(state, images, params):
        watch.look()
        lr = float(state.schedule.get_last_lr()[0])
        session.after_step(train_step(state, batch, measure))
    return (*session.means(), lr)


def train_step(state: TrainingState, batch: Sequence[Tensor], measure: Measure) -> Tensor:
    """One step of the optimiser; the loss and the accuracy on the batch before it."""
    measured = measure(state.averaged.shares(), *batch)
    state.optimizer.step()  # its schedule moves numbers that a graph would freeze
    state.averaged.update()
    state.schedule.step()
    state.step += 1
    return measured


def measure_batch(
    state: TrainingState,
    params: TrainParams,
    split: Split,
    normalization: Normalization,
    shares: Tensor,
    indices: Tensor,
    maps: Tensor | None = None,
) -> Tensor:
    """The whole of a `Measure`: make the batch, forward pass, backward pass, average counts."""
    images = normalization(split.images[indices])  # (N, 1, H, W)
    if maps is not None:
        images = resample(images, maps, normalization.background)
    measured = forward_and_backward(state, params, images, split.labels[indices])
    state.averaged.update_counts(shares)
    return measured


def forward_and_backward(
    state: TrainingState, params: TrainParams, images: Tensor, labels: Tensor
) -> Tensor:
    """Loss and accuracy (2,); the gradients are left in the weights."""
    dtype = choose_dtype(params.precision, images.device)
    with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
        logits = state.network(images)  # (N, classes)
        loss = loss_function(params.backend)(logits, labels, label_smoothing=params.label_smoothing)
    state.optimizer.zero_grad()
    loss.backward()
    accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
    return torch.stack([loss.detach(), accuracy])


def batches(state: TrainingState, images: int, params: TrainParams) -> Iterator[list[Tensor]]:
    """The remaining batches of an epoch in random order; an incomplete last batch is dropped.

    A batch is the indices of its images (N,) and, if they are augmented, their maps (N, 2, 3).
    Every process draws the same order and the same maps, and gets its part of each batch.
    """
    if state.order is None:
        state.order = torch.randperm(images, generator=state.generator)
    order = state.order.to(state.device)
    for index in range(state.step % state.steps_per_epoch, state.steps_per_epoch):
        indices = order[index * params.batch_size : (index + 1) * params.batch_size]
        maps = random_affine_maps(params.batch_size, params.augment, state.generator)
        yield [distributed.part_of(each) for each in (indices, maps) if each is not None]


def evaluate(model: nn.Module, split: Split, normalization: Normalization) -> tuple[float, float]:
    """The cross-entropy and accuracy of `model` on `split`."""
    logits = predict(model, split.images, normalization)  # (N, classes)
    loss = cross_entropy(logits, split.labels).item()
    return loss, (logits.argmax(dim=1) == split.labels).float().mean().item()
