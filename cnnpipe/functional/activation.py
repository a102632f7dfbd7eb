"""Activation functions with their derivatives, which need the output alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnpipe.functional.arguments import check_bool, check_floating_point, check_real
from cnnpipe.functional.autograd import BatchFunction
from cnnpipe.functional.windows import accumulation_dtype


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x), elementwise; NaN stays NaN.

    y' = [y ≠ 0], as y is never negative: 1 where x > 0 (and where it is NaN), else 0. At x = 0,
    where there is no derivative, 0 is the usual choice. It is multiplied with the incoming
    gradient: where y' is 0, an infinite gradient becomes NaN and so stays visible (torch gives 0).

    Args:
        input: any shape.
        inplace: overwrite the input instead of making a new tensor.

    Raises:
        TypeError: a boolean or complex input.

    Source:
        Nair, Hinton: Rectified linear units improve restricted Boltzmann machines (2010).

    >>> relu(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """
    check_real(input, "input")
    check_bool(inplace, "inplace")
    output: Tensor = _ReLU.apply(input, inplace)
    return output


def sigmoid(input: Tensor) -> Tensor:
    """σ(x) = 1 / (1 + e^−x), elementwise.

    σ' = e^−x / (1 + e^−x)² = σ·(1 − σ).

    Raises:
        TypeError: an input that is not floating-point.

    >>> sigmoid(torch.tensor([0.0, -1000.0]))  # 1 / (1 + 1), and no overflow
    tensor([0.5000, 0.0000])
    """
    check_floating_point(input, "input")
    output: Tensor = _Sigmoid.apply(input)
    return output


def tanh(input: Tensor) -> Tensor:
    """tanh(x) = (e^x − e^−x) / (e^x + e^−x), elementwise.

    With t = e^(−2|x|) − 1 it is −t / (t + 2) with the sign of x: nothing overflows for large x, and
    `expm1` keeps all digits of small ones. tanh' = 1 − tanh².

    Raises:
        TypeError: an input that is not floating-point.

    >>> x = torch.zeros(1, requires_grad=True)
    >>> tanh(x).backward()
    >>> x.grad  # 1 − tanh²(0)
    tensor([1.])
    """
    check_floating_point(input, "input")
    output: Tensor = _Tanh.apply(input)
    return output


class _ReLU(BatchFunction):
    @staticmethod
    def forward(x: Tensor, inplace: bool) -> Tensor:
        return x.clamp_min_(0) if inplace else x.clamp_min(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, bool], output: Tensor) -> None:
        x, inplace = inputs
        if inplace:
            ctx.mark_dirty(x)
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return _Gate.apply(g, y.detach()), None


class _Gate(BatchFunction):
    """[y ≠ 0]·g, linear in g and its own adjoint."""

    @staticmethod
    def forward(g: Tensor, y: Tensor) -> Tensor:
        # As numbers, because products are an order of magnitude faster on a CPU than masks.
        slope = torch.ne(y, 0, out=torch.empty_like(y))
        return slope.mul_(g)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return _Gate.apply(g, y), None


class _Sigmoid(BatchFunction):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        wide = x.to(accumulation_dtype(x.dtype))
        return wide.neg().exp_().add_(1).reciprocal_().to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, _: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        grad: Tensor = torch.addcmul(g, g, y, value=-1) * y  # g·(1 − y)·y
        return grad


class _Tanh(BatchFunction):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        wide = x.to(accumulation_dtype(x.dtype))
        t = wide.abs().mul_(-2).expm1_()
        return (-t).div_(t + 2).copysign_(wide).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, _: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.addcmul(g, g, y * y, value=-1)  # g·(1 − y²)
