"""Train both networks with each number of threads, and print what came out, as JSON.

    python -m tests.helpers.trained_bits interrupt | resume THREADS…

With `interrupt`, one more run leaves a checkpoint in the project of DVC_ROOT, which `resume` goes
on from.
"""

import hashlib
import json
import sys
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from cnnpipe.models import build_model
from cnnpipe.params.train import TrainParams
from cnnpipe.train import session
from cnnpipe.train.checkpoint import Checkpoints
from cnnpipe.train.loop import train
from tests.train.test_checkpoint import Killed
from tests.train.test_loop import NORMALIZATION, TRAINING, VALIDATION

SETTINGS = TrainParams(epochs=1, batch_size=32)
"""6 steps."""


def fingerprint(name: str, *, checkpoints: Checkpoints | None = None, kill_at: int = -1) -> str:
    """SHA-256 of a network's weights and of its curves."""
    torch.manual_seed(0)
    model = build_model(name, classes=2)
    steps = 0

    def count(module: nn.Module, _: Any) -> None:
        nonlocal steps
        steps += module.training
        if steps == kill_at:
            raise Killed

    model.register_forward_pre_hook(count)
    arguments = model, TRAINING, VALIDATION, SETTINGS, NORMALIZATION
    trained, curves = train(*arguments, seed=1, progress=False, checkpoints=checkpoints)
    result = hashlib.sha256(repr(curves).encode())
    for key, value in trained.state_dict().items():
        result.update(key.encode() + value.numpy().tobytes())
    return result.hexdigest()


def main(command: str, *threads: str) -> None:
    session.STEPS_BETWEEN_READINGS = 2  # so often there is a checkpoint
    found = {}
    for name in ("lenet5", "vgg"):
        checkpoints = Checkpoints(name, "key", interval=0)
        with checkpoints.locked():
            if command == "interrupt":
                with suppress(Killed):
                    fingerprint(name, checkpoints=checkpoints, kill_at=5)
            else:
                found[f"{name}, resumed"] = fingerprint(name, checkpoints=checkpoints)
        for number in threads:
            torch.set_num_threads(int(number))
            found[f"{name}, {number} threads"] = fingerprint(name)
    vectors = torch.backends.cpu.get_cpu_capability()
    print(json.dumps({"vectors": vectors, "fingerprints": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
