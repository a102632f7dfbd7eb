"""The fully connected layer x·Wᵀ + b and its derivative of every order.

As convolution, it is linear in the input and linear in the weight, so one trilinear form holds all
of it (see `cnnpipe.functional.convolution`):

    T(x, W, g) = Σ g · (x·Wᵀ) = Σ_{n,o,i} g[n,o] · x[n,i] · W[o,i]

    ∂T/∂g = x·Wᵀ   the forward pass
    ∂T/∂x = g·W    the gradient of the input
    ∂T/∂W = gᵀ·x   the gradient of the weight

These operators take stacks of matrices, x (…, N, I), W (…, O, I) and g (…, N, O); the
axes in front are those of `torch.func.vmap`.
"""

from __future__ import annotations

from math import prod
from typing import Any

from torch import Tensor

from cnnpipe.functional import compiled, loops
from cnnpipe.functional.arguments import NUMBERS, check_devices, check_dtype, check_dtypes
from cnnpipe.functional.autocast import cast_operand
from cnnpipe.functional.bilinear import BilinearOperator, Shape
from cnnpipe.functional.onnx import onnx_operator
from cnnpipe.functional.operator import Batched, Operator


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A learned linear map and a shift, as `torch.nn.functional.linear`.

    y[…,o] = bias[o] + Σ_i input[…,i] · weight[o,i]

    Shape:
        input (…, in), weight (out, in), bias (out,) → (…, out)

    Raises:
        TypeError: not tensors of numbers of one dtype.
        ValueError: shapes that do not fit together.

    >>> weight, bias = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.0, 0.5])
    >>> linear(torch.tensor([10.0, 1.0]), weight, bias)  # 10·1 + 1·2, 10·3 + 1·4 + 0.5
    tensor([12.0000, 34.5000])
    """
    check_linear(input, weight, bias)
    input, weight = cast_operand(input), cast_operand(weight)
    bias = None if bias is None else cast_operand(bias)
    check_dtypes(input, weight, bias)
    if input.ndim == 1:
        return _Linear.call(input.unsqueeze(0), weight, bias).squeeze(0)
    rows = _Linear.call(input.flatten(0, -2), weight, bias)
    return rows.unflatten(0, input.shape[:-1]) if input.ndim > 2 else rows


def check_linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Kinds, shapes and devices; dtypes are compared after autocast."""
    check_dtype(input, "input", NUMBERS)
    check_dtype(weight, "weight", NUMBERS)
    if bias is not None:
        check_dtype(bias, "bias", NUMBERS)
    if weight.ndim != 2:
        raise ValueError(f"weight: expected shape (out, in), got {tuple(weight.shape)}")
    out_features, in_features = weight.shape
    if input.ndim < 1 or input.shape[-1] != in_features:
        raise ValueError(f"input: expected shape (…, {in_features}), got {tuple(input.shape)}")
    if bias is not None and bias.shape != (out_features,):
        raise ValueError(f"bias: expected shape ({out_features},), got {tuple(bias.shape)}")
    check_devices(input, weight, bias)


def _is_compiled(*operands: Tensor) -> bool:
    """Whether these are matrices that compiled loops can compute with."""
    matrices = all(operand.ndim == 2 and operand.numel() for operand in operands)
    return matrices and loops.unsupported(operands[0]) is None


def _of(rows: Tensor, w: Tensor) -> compiled.Linear:
    outputs, inputs = w.shape
    return compiled.linear(len(rows), outputs, inputs, rows.dtype)


class _LinearOperator(BilinearOperator):
    """A product of two stacks of matrices."""

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *operands: Any) -> Batched:
        """Compute a batch of B products as one: of B times as many rows if all share the weight."""
        first, *shared = operands
        if in_dims[0] is None or any(axis is not None for axis in in_dims[1:]):
            return super().vmap(info, in_dims, *operands)
        rows = first.movedim(in_dims[0], -3).flatten(-3, -2)
        result = cls.call(rows, *shared).unflatten(-2, (info.batch_size, -1))
        return result, result.ndim - 3


class _Linear(_LinearOperator):
    """(x, w, bias) → ∂T/∂g + bias."""

    schema = "linear(Tensor x, Tensor w, Tensor? bias) -> Tensor"
    has_bias = True

    @staticmethod
    def spread(bias: Tensor) -> Tensor:
        return bias.unsqueeze(-2)

    @staticmethod
    def compute(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        if _is_compiled(x, w):
            return _of(x, w).forward(x, w, bias)  # its sums start with the bias
        y = x @ w.mT
        return y if bias is None else y.add_(_Linear.spread(bias))

    @staticmethod
    def shape(x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty((*x.shape[:-1], w.shape[-2]))

    @classmethod
    def onnx(cls, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        y = onnx_operator("MatMul", (x, w.mT), cls.shape(x, w, bias))
        return y if bias is None else y + cls.spread(bias)

    @staticmethod
    def flops(x: Shape, w: Shape, bias: Shape | None, y: Shape) -> int:
        return 2 * prod(x) * w[-2]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        needs_x, needs_w, needs_bias, *_ = ctx.needs_input_grad
        return (
            _InputGradient.call(g, w.conj()) if needs_x else None,
            _WeightGradient.call(x.conj(), g) if needs_w else None,
            _BiasGradient.call(g) if needs_bias else None,
        )


class _InputGradient(_LinearOperator):
    """(g, w) → ∂T/∂x."""

    schema = "linear_input_gradient(Tensor g, Tensor w) -> Tensor"

    @staticmethod
    def compute(g: Tensor, w: Tensor) -> Tensor:
        return _of(g, w).input_gradient(g, w) if _is_compiled(g, w) else g @ w

    @staticmethod
    def shape(g: Tensor, w: Tensor) -> Tensor:
        return g.new_empty((*g.shape[:-1], w.shape[-1]))

    @staticmethod
    def flops(g: Shape, w: Shape, x: Shape) -> int:
        return 2 * prod(g) * w[-1]

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, ...]:
        g, w = ctx.saved_tensors
        needs_g, needs_w, *_ = ctx.needs_input_grad
        return (
            _Linear.call(x, w.conj(), None) if needs_g else None,
            _WeightGradient.call(x, g.conj()) if needs_w else None,
        )


class _WeightGradient(BilinearOperator):
    """(x, g) → ∂T/∂W."""

    schema = "linear_weight_gradient(Tensor x, Tensor g) -> Tensor"

    @staticmethod
    def compute(x: Tensor, g: Tensor) -> Tensor:
        if _is_compiled(x, g):
            sizes = len(x), g.shape[1], x.shape[1]
            return compiled.linear(*sizes, x.dtype).weight_gradient(x, g)
        return g.mT @ x

    @staticmethod
    def shape(x: Tensor, g: Tensor) -> Tensor:
        return x.new_empty((*x.shape[:-2], g.shape[-1], x.shape[-1]))

    @staticmethod
    def flops(x: Shape, g: Shape, w: Shape) -> int:
        return 2 * prod(x) * g[-1]

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        needs_x, needs_g, *_ = ctx.needs_input_grad
        return (
            _InputGradient.call(g.conj(), w) if needs_x else None,
            _Linear.call(x.conj(), w, None) if needs_g else None,
        )


class _BiasGradient(Operator):
    """g → Σ_n g."""

    schema = "linear_bias_gradient(Tensor g) -> Tensor"

    @staticmethod
    def compute(g: Tensor) -> Tensor:
        if not _is_compiled(g):
            return g.sum(-2)
        return compiled.channel_sums(g)

    @staticmethod
    def shape(g: Tensor) -> Tensor:
        return g.new_empty((*g.shape[:-2], g.shape[-1]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.rows = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, bias: Tensor) -> tuple[Tensor]:
        return (_Linear.spread(bias).expand(ctx.rows),)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return _BiasGradient.call(tangent)
