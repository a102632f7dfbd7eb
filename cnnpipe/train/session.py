"""All of a training run that is not arithmetic: continuing it, saving it, showing its progress.

Only process 0 saves, prints and shows a bar.
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from tqdm import tqdm

from cnnpipe.models import layers_on
from cnnpipe.params.train import TrainParams
from cnnpipe.system.artifacts import save_csv
from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import choose_dtype, describe, overlooked_gpu
from cnnpipe.train import distributed
from cnnpipe.train.checkpoint import Checkpoints
from cnnpipe.train.state import Epoch, TrainingState, learning_curves

STEPS_BETWEEN_READINGS = 20
"""Reading a loss waits for the device; reading 20 of them at once costs no measurable time."""


def announce(name: str, run: TrainParams, device: torch.device) -> dict[str, str | int]:
    """Say what computes a run before its first step; the same for the file beside its result."""
    how = describe(device) | {
        "precision": str(choose_dtype(run.precision, device)).removeprefix("torch."),
        "processes": distributed.processes(),
        "layers": layers_on(device, run.backend, run.algorithm),
    }
    if distributed.rank() == 0:
        print("{}: on {device}, {processor}, {precision}, {layers}".format(name, **how), flush=True)
        if device.type == "cpu" and overlooked_gpu():
            print(f"{name}: NVIDIA's driver is installed, but torch finds no GPU", flush=True)
    return how


class DivergedError(InputError):
    """The loss is NaN or infinite: these parameters cannot train this network."""


class Session:
    """A run from its start or its last checkpoint to its end: `with Session(…) as session`."""

    def __init__(
        self,
        state: TrainingState,
        checkpoints: Checkpoints | None,
        progress: bool,
        curves: Path | None,
    ) -> None:
        self.state = state
        self.checkpoints = checkpoints
        self._curves = curves
        self._shows = progress and distributed.rank() == 0
        if checkpoints:
            self._resume(checkpoints)
        self._bar = tqdm(
            total=state.total_steps,
            initial=state.step,
            unit="step",
            disable=not self._shows or None,  # None: shown in a terminal only
            mininterval=1,
        )
        self._unread: list[Tensor] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _resume(self, checkpoints: Checkpoints) -> None:
        state, is_first = self.state, distributed.rank() == 0
        saved = distributed.from_first(checkpoints.load() if is_first else None)
        if not saved:
            return
        state.restore(saved)
        if is_first:
            self._save_curves()
            epoch = min(state.epoch, state.epochs)
            print(
                f"{checkpoints.name}: goes on after step {state.step:,} of {state.total_steps:,} "
                f"(epoch {epoch})",
                flush=True,
            )

    def epochs(self) -> Iterator[int]:
        """The numbers of the epochs that are not done yet; a checkpoint is taken after each."""
        for epoch in range(self.state.epoch, self.state.epochs + 1):
            self._bar.set_description(f"epoch {epoch}/{self.state.epochs}")
            yield epoch
            self.state.end_epoch()
            self._save()

    def after_epoch(self, epoch: Epoch) -> None:
        """Add an epoch to the learning curves, and print it where no bar is shown."""
        self.state.history.append(epoch)
        self._save_curves()
        if self._shows and self._bar.disable:
            print(
                f"epoch {epoch.epoch}/{self.state.epochs}: "
                f"loss {epoch.train_loss:.4f}, accuracy {epoch.train_accuracy:.2%}, "
                f"validation {epoch.validation_loss:.4f}, {epoch.validation_accuracy:.2%}",
                flush=True,
            )

    def after_step(self, measured: Tensor) -> None:
        """Keep a step's loss and accuracy (2,); every few steps read them and save, if it is time.

        The values stay on the device until they are read.

        Raises:
            DivergedError: a loss is NaN or infinite.
        """
        self._unread.append(measured)
        if len(self._unread) < STEPS_BETWEEN_READINGS:
            return
        self._read()
        # The checkpoint after an epoch's last step is taken once the epoch's results are known.
        is_inside_epoch = self.state.step % self.state.steps_per_epoch
        if self.checkpoints and is_inside_epoch and distributed.from_first(self.checkpoints.due()):
            self._save()

    def means(self) -> tuple[float, float]:
        """The mean loss and accuracy of the epoch's steps."""
        if self._unread:
            self._read()
        losses, accuracies = self.state.losses, self.state.accuracies
        return math.fsum(losses) / len(losses), math.fsum(accuracies) / len(accuracies)

    def _read(self) -> None:
        losses, accuracies = distributed.mean(torch.stack(self._unread, dim=1)).tolist()
        self._unread.clear()
        for step, loss in enumerate(losses, start=self.state.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise self._diverged(step, loss)
        self.state.losses += losses
        self.state.accuracies += accuracies
        self._bar.set_postfix(
            loss=f"{losses[-1]:.3f}", accuracy=f"{accuracies[-1]:.3f}", refresh=False
        )
        self._bar.update(len(losses))

    def _save_curves(self) -> None:
        if self._curves and self.state.history:
            save_csv(self._curves, learning_curves(self.state.history))

    def _diverged(self, step: int, loss: float) -> DivergedError:
        if distributed.rank() > 0:
            sys.exit(distributed.LOST)  # process 0 reports the error
        kept = self.checkpoints and self.checkpoints.files()
        where = f"the weights before are kept in {kept[0].parent}" if kept else "nothing was saved"
        return DivergedError(
            f"the loss is {loss} at step {step} of {self.state.total_steps}; {where}; "
            "a smaller lr usually helps"
        )

    def _save(self) -> None:
        """Take a checkpoint, unless a weight is NaN or infinite: then the last one is worth more.

        A loss is computed before its step changes the weights, so finite losses are not enough.
        """
        if not self.checkpoints or not self.state.is_finite():
            return
        captured = self.state.capture()
        if distributed.rank() == 0:
            self.checkpoints.save(self.state.step, captured)
