"""Batch normalisation: the values of each channel are shifted and scaled to mean 0, variance 1.

A channel has M values x, over all images and pixels. With r = 1/√(σ² + ε) and x̂ = (x − μ)·r

    μ = Σ x / M,   σ² = Σ (x − μ)² / M,   y = γ·x̂ + β

Backward, for the output's gradient g: ∂L/∂β = Σ g and ∂L/∂γ = Σ g·x̂. In training μ and σ² are
functions of every x. With ∂x̂/∂σ² = −½·r²·x̂, and no path from μ through σ², as Σ (x − μ) = 0,

    ∂L/∂σ² = −½·γ·r²·Σ g·x̂,   ∂L/∂μ = −γ·r·Σ g,   ∂σ²/∂x = 2·(x − μ)/M,   ∂μ/∂x = 1/M

    ∂L/∂x = γ·r·g + ∂L/∂σ²·∂σ²/∂x + ∂L/∂μ·∂μ/∂x = γ·r·(g − (Σ g + x̂·Σ g·x̂) / M)

In evaluation μ and σ² are constants, and γ·r·g remains. Either map from g to ∂L/∂x is symmetric, so
forward mode applies it to the tangent of x.

Each formula is a function of plain tensor operations. The operators compute by them, and where
derivatives of derivatives are wanted, PyTorch differentiates them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from typing import Any

import torch
from torch import Tensor

from cnnpipe.functional import block_kernels, loops
from cnnpipe.functional.arguments import FLOATS, as_float, check_bool, check_dtype
from cnnpipe.functional.block_kernels import Block
from cnnpipe.functional.onnx import onnx_operator
from cnnpipe.functional.operator import (
    Batched,
    Operator,
    are_plain,
    is_differentiated,
    is_transformed,
    merge_axis,
)
from cnnpipe.functional.windows import accumulation_dtype, empty_in_order_of, in_order_of


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel over the batch, as `torch.nn.functional.batch_norm`.

    y = (x − μ) / √(σ² + eps) · weight + bias

    In training μ and σ² are the mean and the biased variance of the channel's values in this batch,
    and the running statistics move towards them:

    running ← (1 − momentum)·running + momentum·(μ, or the unbiased variance M/(M − 1)·σ²)

    In evaluation they are `running_mean` and `running_var`, as constants.

    Shape:
        input (N, C) or (N, C, …), all others (C,) → like the input

    Args:
        input: M = N·… values of each channel.
        running_mean: what evaluation takes for μ; training overwrites it, if it is given.
        running_var: what evaluation takes for σ², likewise.
        weight: factor of each channel; 1 if None.
        bias: added to each channel; 0 if None.
        training: take the statistics of this batch.
        momentum: how far the running statistics move.
        eps: added to the variance; positive in training.

    Raises:
        TypeError: not floating-point tensors, all of the input's dtype or, beside an input of 16
            bits, of float32; or a number that is not one.
        ValueError: shapes or devices that do not fit together, no running statistics in
            evaluation, or one value per channel in training, which has no variance.

    Source:
        Ioffe, Szegedy: Batch normalization: accelerating deep network training by reducing
        internal covariate shift (2015).

    >>> maps = torch.tensor([[1.0], [3.0]])  # mean 2, variance 1
    >>> batch_norm(maps, weight=torch.tensor([5.0]), bias=torch.tensor([10.0]), training=True)
    tensor([[ 5.0000],
            [15.0000]])
    """
    check_batch_norm(input, running_mean, running_var, weight, bias, training, eps)
    momentum = as_float(momentum, "momentum")
    statistics = statistics_of(input, running_mean, running_var, training, momentum)
    return BatchNorm.call(input, statistics, weight, bias, float(eps), training)


def check_batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
) -> None:
    """Refuse what `batch_norm` cannot compute with; numbers in the tensors do not matter."""
    check_dtype(input, "input", FLOATS)
    if input.ndim < 2:
        raise ValueError(f"input: expected shape (N, C, …), got {tuple(input.shape)}")
    if (running_mean is None) != (running_var is None):
        raise ValueError("running_mean, running_var: expected both or none, got one of them")
    running = {"running_mean": running_mean, "running_var": running_var}
    channels = input.shape[1]
    allowed = sorted({input.dtype, accumulation_dtype(input.dtype)}, key=str)
    for name, tensor in {**running, "weight": weight, "bias": bias}.items():
        if tensor is None:
            continue
        check_dtype(tensor, name, allowed)
        if tensor.shape != (channels,):
            raise ValueError(f"{name}: expected shape ({channels},), got {tuple(tensor.shape)}")
        if tensor.device != input.device:
            raise ValueError(f"{name}: expected the input's {input.device}, got {tensor.device}")
        if name in running and tensor.requires_grad:
            raise ValueError(f"{name}: expected a tensor that requires no gradient")
    check_bool(training, "training")
    eps = as_float(eps, "eps")
    if not (eps > 0 if training else eps >= 0):
        limit = "> 0 in training" if training else "≥ 0"
        raise ValueError(f"eps: expected a number {limit}, got {eps}")
    if training and _values_per_channel(input) == 1:
        raise ValueError(
            f"input: expected more than 1 value per channel in training, got shape "
            f"{tuple(input.shape)}"
        )
    if not training and running_mean is None:
        raise ValueError("running_mean, running_var: expected tensors in evaluation, got None")


def statistics_of(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    measure: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """μ and σ² (2, C); in training the running ones move.

    `measure` computes those of a batch, `BatchStatistics` if None.
    """
    if not training:
        running = torch.stack([running_mean, running_var])  # type: ignore[list-item]  # checked
        return running.to(accumulation_dtype(input.dtype))
    statistics = (measure or BatchStatistics.call)(input.detach())
    if running_mean is not None and running_var is not None:
        count = _values_per_channel(input)
        update_running(running_mean, running_var, statistics, count, momentum)
    return statistics


def update_running(
    running_mean: Tensor, running_var: Tensor, statistics: Tensor, count: int, momentum: float
) -> None:
    """Move the running statistics, in place, towards those of a batch; an empty one has none.

    Args:
        running_mean: (C,).
        running_var: (C,).
        statistics: of the batch, (2, C).
        count: values in each channel of the batch.
        momentum: how far.
    """
    if count == 0:
        return
    # From ½ on, lerp_ has another formula than the loop.
    if momentum < 0.5 and not is_transformed():  # which looks no further under a compiler
        tensors = statistics, running_mean, running_var
        dense = are_plain(*tensors) and all(tensor.is_contiguous() for tensor in tensors)
        if dense and _is_compiled(*tensors):
            factor = count / (count - 1)
            block_kernels.move(running_mean, running_var, statistics, momentum, factor)
            return
    mean, variance = statistics.unbind()
    unbiased = variance * (count / (count - 1))
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    running_var.lerp_(unbiased.to(running_var.dtype), momentum)


# The formulas, in float32 at least.


def _statistics(x: Tensor) -> Tensor:
    """μ and σ² of each channel, (2, C).

    In two passes, because Σ x²/M − μ² loses all digits where the mean is large. Those of an empty
    batch are 0.
    """
    if _values_per_channel(x) == 0:
        return x.new_zeros((2, x.shape[1]), dtype=accumulation_dtype(x.dtype))
    mean = x.mean(_reduced(x), dtype=accumulation_dtype(x.dtype))
    variance = (x - _along(x, mean)).square().mean(_reduced(x))
    return torch.stack([mean, variance])


def _normalize(
    x: Tensor,
    statistics: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    out: Tensor | None = None,
) -> Tensor:
    """(x − μ)·(γ·r) + β; into `out`, which cannot be differentiated, in one pass."""
    mean, scale = _shift_and_scale(statistics, weight, eps)
    centred, scale = x - _along(x, mean), _along(x, scale)
    if bias is None:
        y = torch.mul(centred, scale, out=out)
    else:
        y = torch.addcmul(_along(x, bias), centred, scale, out=out)
    return y.to(x.dtype)


def _sums(g: Tensor, x: Tensor, statistics: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Σ g·x̂ and Σ g of each channel, (C,)."""
    mean, r = _shift_and_scale(statistics, None, eps)
    products = g * (x - _along(x, mean))
    return r * products.sum(_reduced(x)), g.sum(_reduced(x), dtype=r.dtype)


def _input_gradient(
    g: Tensor,
    x: Tensor,
    statistics: Tensor,
    weight: Tensor | None,
    means: Sequence[Tensor] | None,
    eps: float,
    out: Tensor | None = None,
) -> Tensor:
    """γ·r·(g − (Σ g + x̂·Σ g·x̂) / M) in training, γ·r·g in evaluation, which has no `means`."""
    mean, r = _shift_and_scale(statistics, None, eps)
    if means is not None:
        products, total = means
        path = torch.addcmul(_along(x, total), x - _along(x, mean), _along(x, r * products))
        g = g - path
    scale = r if weight is None else r * weight
    return torch.mul(g, _along(x, scale), out=out).to(x.dtype)


def _means(x: Tensor, sums: Sequence[Tensor]) -> list[Tensor]:
    return [each / _values_per_channel(x) for each in sums]


def _shift_and_scale(
    statistics: Tensor, weight: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """μ and γ·r."""
    mean, variance = statistics.unbind()
    r = torch.rsqrt(variance + eps)
    return mean, r if weight is None else r * weight


# The same formulas as compiled loops.


def _is_compiled(x: Tensor, *others: Tensor | None) -> bool:
    one_dtype = all(other is None or other.dtype == x.dtype for other in others)
    return one_dtype and x.dtype.itemsize >= 4 and loops.unsupported(x) is None


def _block(x: Tensor, eps: float) -> Block:
    return Block.of(_images(x).shape, x.dtype, eps)


def _images(x: Tensor) -> Tensor:
    """(N, C, …) as (N, C, H, W), channels last."""
    if x.ndim != 4:
        x = (x.flatten(2) if x.ndim > 2 else x.unsqueeze(2)).unsqueeze(3)
    return x.contiguous(memory_format=torch.channels_last)


def _filled(
    x: Tensor, statistics: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(μ, σ²), γ and β, of which those that are missing are 1 and 0."""
    gamma = x.new_ones(x.shape[1]) if weight is None else weight.contiguous()
    beta = x.new_zeros(x.shape[1]) if bias is None else bias.contiguous()
    return statistics.contiguous(), gamma, beta


def _reduced(x: Tensor) -> list[int]:
    """All axes but that of the channels."""
    return [0, *range(2, x.ndim)]


def _along(x: Tensor, values: Tensor) -> Tensor:
    """One value for each channel, to be broadcast against x."""
    return values.view(-1, *[1] * (x.ndim - 2))


def _values_per_channel(x: Tensor) -> int:
    return x.shape[0] * prod(x.shape[2:])


class _OfChannels(Operator):
    """An operator that treats each channel by itself.

    All operands and the result have their channels on axis 1, or on their only axis.
    """

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *operands: Any) -> Batched:
        """Compute a batch of B calls as one with B times as many channels."""
        B = info.batch_size
        merged = [
            merge_axis(operand, axis, min(1, operand.ndim - (axis is not None) - 1), B)
            if isinstance(operand, Tensor)
            else operand
            for operand, axis in zip(operands, in_dims, strict=True)
        ]
        return cls.call(*merged).unflatten(1, (B, -1)), 1


class BatchStatistics(_OfChannels):
    """x → (μ, σ²), (2, C); their derivatives are part of `BatchNorm`'s."""

    schema = "batch_statistics(Tensor x) -> Tensor"
    onnx = staticmethod(_statistics)

    @staticmethod
    def compute(x: Tensor) -> Tensor:
        if _is_compiled(x) and len(x):
            return block_kernels.statistics(_images(x))
        return _statistics(x)

    @staticmethod
    def shape(x: Tensor) -> Tensor:
        return x.new_empty((2, x.shape[1]), dtype=accumulation_dtype(x.dtype))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None]:
        return (None,)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:
        return None


class BatchNorm(_OfChannels):
    """(x, (μ, σ²), γ, β) → y.

    With `training` the derivative by x includes the path through the statistics, of which x must be
    the origin; the statistics themselves get no gradient.
    """

    schema = (
        "batch_norm(Tensor x, Tensor statistics, Tensor? weight, Tensor? bias, float eps, "
        "bool training) -> Tensor"
    )

    @staticmethod
    def compute(
        x: Tensor,
        statistics: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        training: bool,
    ) -> Tensor:
        if _is_compiled(x, weight, bias):
            block, parameters = _block(x, eps), _filled(x, statistics, weight, bias)
            y = block_kernels.forward(block, _images(x), parameters).reshape(x.shape)
        else:
            y = _normalize(x, statistics, weight, bias, eps, out=torch.empty_like(x))
        return in_order_of(x, y)

    @staticmethod
    def shape(x: Tensor, *_: Any) -> Tensor:
        return empty_in_order_of(x, x.shape)

    @staticmethod
    def onnx(
        x: Tensor,
        statistics: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        eps: float,
        training: bool,
    ) -> Tensor:
        mean, variance = statistics.unbind()
        weight = torch.ones_like(mean) if weight is None else weight
        bias = torch.zeros_like(mean) if bias is None else bias
        operands = (x, weight, bias, mean, variance)
        return onnx_operator("BatchNormalization", operands, x, epsilon=eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, statistics, weight, bias, *ctx.how = inputs
        ctx.bias_dtype = None if bias is None else bias.dtype
        ctx.save_for_backward(x, statistics, weight)
        ctx.save_for_forward(x, statistics, weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, statistics, weight = ctx.saved_tensors
        eps, training = ctx.how
        needs_x, _, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        dx = None
        if is_differentiated():
            statistics = _statistics(x) if training else statistics
            of_weight, of_bias = sums = _sums(g, x, statistics, eps)
            if needs_x:
                means = _means(x, sums) if training else None
                dx = _input_gradient(g, x, statistics, weight, means, eps)
        else:
            both = BatchNormSums.call(g, x, statistics, eps)
            of_weight, of_bias = both.unbind()
            if needs_x:
                dx = BatchNormInputGradient.call(g, x, statistics, weight, both, eps, training)
        return (
            dx,
            None,
            of_weight.to(weight.dtype) if needs_weight else None,
            of_bias.to(ctx.bias_dtype) if needs_bias else None,
            None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        x, statistics, weight = ctx.saved_tensors
        eps, training = ctx.how
        d_x, _, d_weight, d_bias, *_ = tangents
        statistics = _statistics(x) if training else statistics
        terms = []
        if d_x is not None:
            sums = _sums(d_x, x, statistics, eps)
            means = _means(x, sums) if training else None
            terms.append(_input_gradient(d_x, x, statistics, weight, means, eps))
        if d_weight is not None:
            terms.append(_normalize(x, statistics, d_weight, None, eps))
        if d_bias is not None:
            terms.append(torch.zeros_like(x) + _along(x, d_bias.to(x.dtype)))
        return reduce(operator.add, terms)


class _Gradient(_OfChannels):
    """A part of `BatchNorm.backward` where nobody wants its derivative."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(*_: Any) -> tuple[None, ...]:
        raise NotImplementedError("batch_norm: expected create_graph=True in the first gradient")

    jvp = backward


class BatchNormSums(_Gradient):
    """(g, x, (μ, σ²)) → (Σ g·x̂, Σ g), (2, C): the gradients of γ and β."""

    schema = "batch_norm_sums(Tensor g, Tensor x, Tensor statistics, float eps) -> Tensor"

    @staticmethod
    def compute(g: Tensor, x: Tensor, statistics: Tensor, eps: float) -> Tensor:
        if _is_compiled(x, g):
            block, parameters = _block(x, eps), _filled(x, statistics)
            return block_kernels.sums(block, _images(g), _images(x), parameters)
        return torch.stack(_sums(g, x, statistics, eps))

    @staticmethod
    def shape(g: Tensor, x: Tensor, statistics: Tensor, eps: float) -> Tensor:
        return torch.empty_like(statistics)


class BatchNormInputGradient(_Gradient):
    """(g, x, (μ, σ²), γ, (Σ g·x̂, Σ g)) → ∂L/∂x."""

    schema = (
        "batch_norm_input_gradient(Tensor g, Tensor x, Tensor statistics, Tensor? weight, "
        "Tensor sums, float eps, bool training) -> Tensor"
    )

    @staticmethod
    def compute(
        g: Tensor,
        x: Tensor,
        statistics: Tensor,
        weight: Tensor | None,
        sums: Tensor,
        eps: float,
        training: bool,
    ) -> Tensor:
        means = sums / max(1, _values_per_channel(x)) if training else None
        if _is_compiled(x, g, weight):
            block, parameters = _block(x, eps), _filled(x, statistics, weight)
            operands = _images(g), _images(x), parameters, means
            gradient = block_kernels.input_gradient(block, *operands).reshape(x.shape)
        else:
            of_channels = None if means is None else means.unbind()
            out = torch.empty_like(x)
            gradient = _input_gradient(g, x, statistics, weight, of_channels, eps, out)
        return in_order_of(x, gradient)

    @staticmethod
    def shape(g: Tensor, x: Tensor, *_: Any) -> Tensor:
        return empty_in_order_of(x, x.shape)
