"""Layers that are computed together, as one operator."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from cnnpipe.functional.block import Kernels, Normalization, are_readable, can_fuse, one_by_one
from cnnpipe.functional.block import block as fused
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
    relu: bool,
    pool: int,
    algorithm: str = "auto",
    **windows: Any,
) -> Tensor:
    """max over windows of max(0, γ·ẑ + β), where ẑ is z = input ⋆ weight + bias, normalised.

    As `cnnpipe.layers.Sequential` computes it: by one function where that can be.

    Args:
        input: (N, C, H, W).
        weight: the kernels, (O, C, kH, kW).
        bias: (O,).
        gamma: (O,), if z is normalised.
        beta: (O,), likewise.
        running_mean: (O,), in evaluation.
        running_var: (O,), likewise.
        norm: with which statistics z is normalised, if at all.
        relu: whether negative numbers become 0.
        pool: side of the pooling's windows and their stride; 1 is no pooling.
        algorithm: of the convolution.
        **windows: the convolution's padding and stride.
    """
    kernels = Kernels(weight, bias, **windows, algorithm=algorithm)
    normalization = None
    if gamma is not None and beta is not None:
        training = norm == "training"
        statistics = running_mean, running_var
        normalization = Normalization(*statistics, gamma, beta, training, momentum=0, eps=EPSILON)
    tensors = weight, bias, gamma, beta, running_mean, running_var
    fits = can_fuse(input, algorithm) and are_readable(input.get_device(), *tensors)
    compute = fused if fits else one_by_one
    return compute(input, kernels, normalization, has_relu=relu, pool=pool)
