"""Layers that `cnnpipe.layers.Sequential` computes together, as one operator."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from torch import Tensor, nn
from torch.func import functional_call

from cnnpipe.layers import BatchNorm2d, Conv2d, MaxPool2d, ReLU, Sequential
from cnnpipe.verify.reference import EPSILON

Norm = Literal["training", "evaluation"] | None


def block(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    *,
    norm: Norm,
    algorithm: str = "auto",
    **arguments: Any,
) -> Tensor:
    """max over windows of max(0, γ·ẑ + β), where ẑ is z = input ⋆ weight + bias, normalised.

    Args:
        input: (N, C, H, W).
        weight: the kernels, (O, C, kH, kW).
        bias: (O,).
        gamma: (O,), if z is normalised.
        beta: (O,), likewise.
        running_mean: (O,), in evaluation.
        running_var: (O,), likewise.
        norm: with which statistics z is normalised, if at all.
        algorithm: of the convolution.
        **arguments: padding and stride of the convolution, relu and pool of what follows.
    """
    named = {
        "0.weight": weight,
        "0.bias": bias,
        "1.weight": gamma,
        "1.bias": beta,
        "1.running_mean": running_mean,
        "1.running_var": running_var,
    }
    tensors = {name: tensor for name, tensor in named.items() if tensor is not None}
    layers = _layers(*weight.shape[:2], algorithm, norm, **arguments)
    result: Tensor = functional_call(layers, tensors, (input,))
    return result


@lru_cache
def _layers(
    outputs: int,
    inputs: int,
    algorithm: str,
    norm: Norm,
    *,
    padding: int = 0,
    stride: int = 1,
    relu: bool,
    pool: int,
) -> Sequential:
    """The layers without numbers: a call's tensors take the place of their parameters."""
    # The size of the kernels is that of the call's weight.
    conv = Conv2d(inputs, outputs, 1, stride, padding, device="meta", algorithm=algorithm)
    layers: list[nn.Module] = [conv]
    if norm:
        training = norm == "training"
        layer = BatchNorm2d(outputs, EPSILON, track_running_stats=not training, device="meta")
        layers.append(layer.train(training))
    if relu:
        layers.append(ReLU())
    if pool > 1:
        layers.append(MaxPool2d(pool))
    return Sequential(*layers)
