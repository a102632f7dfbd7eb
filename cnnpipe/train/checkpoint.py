"""Checkpoints of a training run: everything that it needs to continue with the same bits.

    .cnnpipe/checkpoints/<model>-<key>[-<name of the DVC experiment>]/
        step-0001200.safetensors    the newest two: if one is damaged, the other is used
        step-0001480.safetensors
        lock                        held by the only process that writes here

DVC deletes a stage's outputs before it runs, so checkpoints are no outputs. The key is a hash of
everything that the weights depend on (`run_key`): a run with another parameter, other data or
changed code never uses them.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import filelock
import torch
from torch import Tensor

import cnnpipe.functional
from cnnpipe.data.dataset import Split
from cnnpipe.params.runtime import RuntimeParams
from cnnpipe.params.train import TrainParams
from cnnpipe.system.artifacts import load_weights, project_root, save_weights, sha256_of
from cnnpipe.system.errors import InputError
from cnnpipe.system.hardware import choose_device
from cnnpipe.train import distributed

KEPT = 2


class Checkpoints:
    """The checkpoints of one run, newest last."""

    def __init__(self, name: str, key: str, *, interval: float) -> None:
        """
        Args:
            name: of the run, in messages and in the folder's name.
            key: distinguishes this run from every other, see `run_key`.
            interval: seconds between two checkpoints.
        """
        experiment = os.environ.get("DVC_EXP_NAME")
        parts = [name, key, *([experiment] if experiment else [])]
        self.folder = project_root() / ".cnnpipe" / "checkpoints" / "-".join(parts)
        self.name = name
        self.key = key
        self.interval = interval
        self._started = self._saved = time.monotonic()
        self._seconds_before = 0.0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process out of this folder until the block or this process ends.

        The lock is the operating system's, so a killed process leaves none behind.

        Raises:
            InputError: another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / "lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise InputError(
                f"{self.name}: another process trains with the same parameters, data and code "
                f"(it holds {self.folder / 'lock'}); wait for it, or stop it"
            ) from None
        try:
            for unfinished in self.folder.glob(".*.tmp"):  # of a process killed while it saved
                unfinished.unlink()
            yield
        finally:
            if not self.files():
                shutil.rmtree(self.folder, ignore_errors=True)
            lock.release()

    def files(self) -> list[Path]:
        """The checkpoints that exist, oldest first."""

        steps = {
            file: file.stem.removeprefix("step-")
            for file in self.folder.glob("step-*.safetensors")
            if file.is_file()
        }
        # A person's copy, "step-0000034 (copy)", is not one of them.
        found = [file for file, step in steps.items() if step.isdecimal()]
        return sorted(found, key=lambda file: int(steps[file]))

    def due(self) -> bool:
        """Whether `interval` has passed since the last checkpoint."""
        return time.monotonic() - self._saved >= self.interval

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write a checkpoint after `step` steps, then delete all but the newest two.

        The state comes back as JSON gives it back: tuples as lists, all keys as texts.
        """
        tensors: dict[str, Tensor] = {}

        def named(value: object) -> dict[str, str]:
            if not isinstance(value, Tensor):
                raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")
            name = str(len(tensors))
            tensors[name] = value
            return {"tensor": name}

        text = json.dumps(state, default=named)
        metadata = {"key": self.key, "seconds": repr(self.seconds), "state": text}
        save_weights(self.folder / f"step-{step:07d}.safetensors", tensors, metadata)
        for old in self.files()[:-KEPT]:
            old.unlink()
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The newest intact state, or None, with which a run starts from the beginning.

        A damaged file is named in a warning and deleted.
        """
        files = self.files()
        for file in reversed(files):
            try:
                state, self._seconds_before = self._read(file)
                return state
            except InputError as error:
                _warn(f"{str(error).partition('; delete it')[0]}; it is not used")
                file.unlink()
        if files:
            _warn(f"{self.name}: no checkpoint is intact; training starts from the beginning")
        return None

    def _read(self, file: Path) -> tuple[dict[str, Any], float]:
        """The state in a file, and the seconds up to it."""
        tensors, metadata = load_weights(file)
        if metadata.get("key") != self.key:
            raise InputError(f"{file}: damaged: of another run")

        def tensor_or_mapping(value: dict[str, Any]) -> Any:
            return tensors[value["tensor"]] if value.keys() == {"tensor"} else value

        try:
            state = json.loads(metadata["state"], object_hook=tensor_or_mapping)
            return state, float(metadata["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{file}: damaged: not the state of a run ({error!r})") from None

    def remove(self) -> None:
        """Delete the checkpoints: the run's results are on disk."""
        for file in self.files():
            file.unlink()

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run, without the steps that interruptions lost."""
        return self._seconds_before + time.monotonic() - self._started


@contextmanager
def resumable(
    name: str,
    run: TrainParams,
    runtime: RuntimeParams,
    seed: int,
    splits: Sequence[Split],
    script: Path,
) -> Iterator[tuple[torch.device, Checkpoints]]:
    """Join this run's other processes, if it has several, and keep out runs with the same key.

    Yields:
        the device of this process, and the checkpoints.
    """
    data = [tensor for split in splits for tensor in (split.images, split.labels)]
    with distributed.process_group(choose_device(runtime.device)) as device:
        torch.empty(0, device=device)  # a GPU's first use takes seconds, which are not training
        key = run_key(run, seed, data, script, device.type, distributed.processes())
        checkpoints = Checkpoints(name, key, interval=runtime.checkpoint)
        with checkpoints.locked() if distributed.rank() == 0 else nullcontext():
            yield device, checkpoints


def _warn(text: str) -> None:
    print(f"Warning: {text}", file=sys.stderr, flush=True)


def run_key(
    run: TrainParams,
    seed: int,
    tensors: Iterable[Tensor],
    script: Path,
    device: str,
    processes: int,
) -> str:
    """16 hexadecimal digits of a SHA-256 over everything that a run's weights depend on.

    Besides the arguments: the imported files of cnnpipe, all operators, torch's version, and the
    number of threads, which decides how torch splits sums.

    Args:
        tensors: the images and labels, training and validation.
        script: the stage's file.
        device: its kind.
    """
    data = hashlib.sha256()
    for tensor in tensors:
        data.update(json.dumps([str(tensor.dtype), list(tensor.shape)]).encode())
        data.update(tensor.cpu().contiguous().numpy().data)
    code = {
        name: sha256_of(Path(file))
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "cnnpipe" and (file := getattr(module, "__file__", None))
    }
    # Operators are imported when they are first used, so they are listed from the folder.
    for operator in Path(cnnpipe.functional.__path__[0]).glob("*.py"):
        code[f"functional/{operator.name}"] = sha256_of(operator)
    inputs = {
        "run": run.model_dump(),
        "seed": seed,
        "data": data.hexdigest(),
        "code": code,
        "script": sha256_of(script),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": device,
        "processes": processes,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
