"""Activation functions with their derivatives, which need the output alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnpipe.functional import activation_kernels, loops
from cnnpipe.functional.arguments import FLOATS, REALS, check_bool, check_dtype
from cnnpipe.functional.onnx import onnx_operator
from cnnpipe.functional.operator import Operator
from cnnpipe.functional.windows import accumulation_dtype


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x), elementwise; NaN stays NaN.

    y' = [y ≠ 0], as y is never negative: 1 where x > 0 (and where it is NaN), else 0. At x = 0,
    where there is no derivative, 0 is the usual choice. It is multiplied with the incoming
    gradient: where y' is 0, an infinite gradient becomes NaN and so stays visible (torch gives 0).

    Args:
        input: any shape.
        inplace: write the result into the input, which is returned.

    Raises:
        TypeError: a boolean or complex input.

    Source:
        Nair, Hinton: Rectified linear units improve restricted Boltzmann machines (2010).

    >>> relu(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """
    check_dtype(input, "input", REALS)
    check_bool(inplace, "inplace")
    output = _ReLU.call(input)
    return input.copy_(output) if inplace else output


def sigmoid(input: Tensor) -> Tensor:
    """σ(x) = 1 / (1 + e^−x), elementwise.

    σ' = e^−x / (1 + e^−x)² = σ·(1 − σ).

    Raises:
        TypeError: an input that is not floating-point.

    >>> sigmoid(torch.tensor([0.0, -1000.0]))  # 1 / (1 + 1), and no overflow
    tensor([0.5000, 0.0000])
    """
    check_dtype(input, "input", FLOATS)
    return _Sigmoid.call(input)


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
    check_dtype(input, "input", FLOATS)
    return _Tanh.call(input)


class _Elementwise(Operator):
    """x → y, entry by entry, with a derivative that needs y alone."""

    @staticmethod
    def shape(x: Tensor) -> Tensor:
        return torch.empty_like(x)

    @classmethod
    def onnx(cls, x: Tensor) -> Tensor:
        return onnx_operator(cls.__name__.strip("_").capitalize(), (x,), x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @classmethod
    def jvp(cls, ctx: Any, tangent: Tensor) -> Tensor:
        result: Tensor = cls.backward(ctx, tangent)[0]  # the Jacobian is diagonal
        return result


class _ReLU(_Elementwise):
    schema = "relu(Tensor x) -> Tensor"

    @staticmethod
    def compute(x: Tensor) -> Tensor:
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
        (y,) = ctx.saved_tensors
        return (_Gate.call(g, y.detach()),)


class _Gate(Operator):
    """[y ≠ 0]·g, linear in g and its own adjoint."""

    schema = "gate(Tensor g, Tensor y) -> Tensor"

    @staticmethod
    def compute(g: Tensor, y: Tensor) -> Tensor:
        # As numbers, because products are an order of magnitude faster on a CPU than masks.
        slope = torch.ne(y, 0, out=torch.empty_like(y))
        return slope.mul_(g)

    @staticmethod
    def shape(g: Tensor, y: Tensor) -> Tensor:
        return torch.empty_like(y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        return _Gate.call(g, *ctx.saved_tensors), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _Gate.call(tangent, *ctx.saved_tensors)


class _Sigmoid(_Elementwise):
    schema = "sigmoid(Tensor x) -> Tensor"

    @staticmethod
    def compute(x: Tensor) -> Tensor:
        y = torch.empty_like(x, dtype=accumulation_dtype(x.dtype)).copy_(x)
        if loops.unsupported(x) is None:
            return activation_kernels.sigmoid_(y).to(x.dtype)
        return y.neg_().exp_().add_(1).reciprocal_().to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
        (y,) = ctx.saved_tensors
        return (torch.addcmul(g, g, y, value=-1) * y,)  # g·(1 − y)·y


class _Tanh(_Elementwise):
    schema = "tanh(Tensor x) -> Tensor"

    @staticmethod
    def compute(x: Tensor) -> Tensor:
        wide = x.to(accumulation_dtype(x.dtype))
        t = wide.abs().mul_(-2).expm1_()
        return (-t).div_(t + 2).copysign_(wide).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
        (y,) = ctx.saved_tensors
        return (torch.addcmul(g, g, y * y, value=-1),)  # g·(1 − y²)
