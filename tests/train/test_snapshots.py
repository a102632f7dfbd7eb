"""Snapshots of the first convolution: what they hold, and that taking them changes nothing else."""

from itertools import pairwise

import pytest
import torch

from cnnpipe.models import predict
from cnnpipe.system.artifacts import load_weights
from cnnpipe.train.snapshots import moments
from tests.train import test_checkpoint
from tests.train.test_checkpoint import Killed, assert_same, folder, opened, run, undisturbed
from tests.train.test_loop import NORMALIZATION, VALIDATION

__all__ = ["folder"]  # pytest uses it: each test has a project of its own


@pytest.mark.parametrize("steps", [1, 6, 445, 5340])
def test_moments_are_dense_early_and_reach_the_end(steps):
    chosen = sorted(moments(steps))
    assert (chosen[0], chosen[-1]) == (0, steps)
    assert len(chosen) == len(set(chosen)) <= min(61, steps + 1)
    if steps > 100:
        assert chosen[:4] == [0, 1, 2, 3]
        gaps = [b - a for a, b in pairwise(chosen)]
        assert max(gaps) <= -(-steps // 30), "the whole run is covered"


@pytest.mark.parametrize("name", ["lenet5", "vgg"])
def test_the_first_snapshot_is_noise_and_the_last_is_the_trained_network(name, tmp_path):
    file = tmp_path / "snapshots.safetensors"
    result = run(name, snapshots=file)
    assert_same(result, undisturbed(name))
    trained = result[0]
    tensors, _ = load_weights(file)
    assert tensors["steps"].tolist() == sorted(moments(36))
    assert torch.equal(tensors["kernels"][-1], trained[0].weight.half())
    start = test_checkpoint.fresh(name)
    assert torch.equal(tensors["kernels"][0], start[0].weight.half())
    logits = predict(trained, VALIDATION.images, NORMALIZATION)
    accuracy = (logits.argmax(1) == VALIDATION.labels).double().mean().item()
    assert tensors["accuracy"][-1].item() == pytest.approx(accuracy)
    assert tensors["accuracy"][0] < tensors["accuracy"][-1]
    assert ("bias" in tensors) == (trained[0].bias is not None)


def test_an_interrupted_run_gives_the_same_file(folder, tmp_path):
    """Before the first checkpoint, on an epoch's edge, and within the last epoch."""
    whole, resumed = (tmp_path / f"{name}.safetensors" for name in ("whole", "resumed"))
    run(snapshots=whole)
    for kill_at in (3, 13, 25):
        with opened().locked(), pytest.raises(Killed):
            run(checkpoints=opened(), kill_at=kill_at, snapshots=resumed)
        with opened().locked():
            run(checkpoints=opened(), snapshots=resumed)
            opened().remove()
        assert resumed.read_bytes() == whole.read_bytes(), kill_at
        resumed.unlink()
