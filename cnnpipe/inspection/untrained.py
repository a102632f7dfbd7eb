"""A network with random weights in place of the trained ones."""

import copy

import torch
from torch import Tensor, nn


@torch.no_grad()
def untrained(model: nn.Sequential, inputs: Tensor, *, seed: int) -> nn.Sequential:
    """A copy of a network with fresh random weights: what its architecture does by itself.

    Batch normalisation takes its statistics from `inputs`, as it would at the first training step.
    The copy is in evaluation mode.

    Shape: inputs (N, 1, H, W), normalised images.
    """
    torch.manual_seed(seed)
    copied = fresh(model).eval()
    for layer in copied.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train()
            layer.momentum = None  # the statistics of this one batch, not a moving average
    copied(inputs)
    return copied.eval()


def fresh(model: nn.Sequential) -> nn.Sequential:
    """A copy with new random weights, drawn by torch's seed."""
    copied = copy.deepcopy(model)
    for layer in copied.modules():
        if callable(reset := getattr(layer, "reset_parameters", None)):
            reset()
    return copied
