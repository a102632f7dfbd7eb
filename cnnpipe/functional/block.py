"""Batch normalisation, ReLU and max pooling in one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cnnpipe import loops
from cnnpipe.functional import block_kernels
from cnnpipe.functional.activation import relu
from cnnpipe.functional.block_kernels import Block
from cnnpipe.functional.normalization import BatchNorm, checked_statistics
from cnnpipe.functional.operator import is_differentiated, is_transformed
from cnnpipe.functional.pooling import max_pool2d
from cnnpipe.geometry import output_size


def can_fuse(input: Tensor) -> bool:
    """Whether these images can be computed in one pass.

    A single autograd function does it, which a compiler, a transform or a mode of PyTorch could not
    look into: they get one operator after the other.
    """
    return (
        input.ndim == 4
        and input.dtype in (torch.float32, torch.float64)
        and loops.unsupported(input) is None
        and not is_transformed(input)
    )


def relu_pool2d(input: Tensor, pool: int) -> Tensor:
    """`max_pool2d(relu(input), pool)`, for images that `can_fuse`."""
    result: Tensor = _Block.apply(input, None, None, None, None, pool, False)
    return result


def norm_relu_pool2d(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    training: bool,
    momentum: float,
    eps: float,
    *,
    pool: int,
) -> Tensor:
    """`max_pool2d(relu(batch_norm(…)), pool)`, for images that `can_fuse`; 1 is no pooling.

    Arguments and errors are those of `batch_norm`.
    """
    statistics = checked_statistics(
        input, running_mean, running_var, weight, bias, training, momentum, eps
    )
    result: Tensor = _Block.apply(input, statistics, weight, bias, eps, pool, training)
    return result


class _Block(torch.autograd.Function):
    """(x, (μ, σ²), γ, β) → max over windows of max(0, γ·x̂ + β); without γ of max(0, x)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        statistics: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float | None,
        pool: int,
        training: bool,
    ) -> Tensor:
        if pool > 1:
            for size in x.shape[2:]:
                output_size(size, pool, pool)  # refuses a window that does not fit
        parameters = [p for p in (statistics, weight, bias) if p is not None]
        ctx.block, ctx.training = Block.of(x, eps, has_relu=True, pool=pool), training
        ctx.save_for_backward(x, *parameters)
        return block_kernels.forward(ctx.block, _channels_last(x), _dense(parameters))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        if is_differentiated() or is_transformed(g):
            return _Block._by_operators(ctx, g, x, parameters)
        g, last, parameters = _channels_last(g), _channels_last(x), _dense(parameters)
        sums = means = None
        if parameters:
            sums = block_kernels.sums(ctx.block, g, last, parameters)
            means = sums / (x.numel() // ctx.block.channels) if ctx.training else None
        dx = None
        if ctx.needs_input_grad[0]:
            dx = block_kernels.input_gradient(ctx.block, g, last, parameters, means)
            dx = dx.contiguous() if x.is_contiguous() else dx
        return dx, None, *([None, None] if sums is None else sums), None, None, None

    @staticmethod
    def _by_operators(
        ctx: Any, g: Tensor, x: Tensor, parameters: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        """By one operator after the other: they can be differentiated and transformed."""
        wanted = [tensor for tensor in (x, *parameters[1:]) if tensor.requires_grad]
        is_recorded = torch.is_grad_enabled()
        with torch.enable_grad():
            y = x
            if parameters:
                y = BatchNorm.call(x, *parameters, ctx.block.epsilon, ctx.training)
            y = relu(y)
            y = max_pool2d(y, ctx.block.pool) if ctx.block.pool > 1 else y
        found = iter(torch.autograd.grad(y, wanted, g, create_graph=is_recorded))
        gradients = [next(found) if needed else None for needed in ctx.needs_input_grad[:4]]
        return *gradients, None, None, None


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def _dense(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [parameter.contiguous() for parameter in parameters]
