"""What the three operators of a convolution share: product rule, rule for vmap, and FLOPs."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any, ClassVar

from torch import Tensor

from cnnpipe.functional.operator import Batched, Operator, merge_axis
from cnnpipe.geometry import ConvolutionGeometry

Shape = Sequence[int]


def flops(images: Shape, w: Shape, numbers: Sequence[int]) -> int:
    """Floating-point operations of each derivative: two for each multiply-add, as torch counts."""
    return 2 * images[0] * prod(w) * prod(ConvolutionGeometry.of(numbers).output_size)


class ConvolutionOperator(Operator):
    """An operator of two operands (and a bias), the geometry's numbers and an algorithm.

    A subclass names the axes that groups divide: of each operand in `operand_axes`, of the result
    in `result_axis`. It is 1 for images, whose channels come second, and 0 for kernels and bias.
    """

    operand_axes: ClassVar[tuple[int, ...]]
    result_axis: ClassVar[int]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.how = inputs[-2:]
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @classmethod
    def jvp(cls, ctx: Any, *tangents: Any) -> Tensor:
        """The product rule: the operator is linear in each operand."""
        first, second = ctx.saved_tensors
        d_first, d_second, *d_bias = tangents[:-2]
        none = [None for _ in d_bias]
        terms = []
        if d_first is not None:
            terms.append(cls.call(d_first, second, *none, *ctx.how))
        if d_second is not None:
            terms.append(cls.call(first, d_second, *none, *ctx.how))
        for tangent in d_bias:
            if tangent is not None:
                zeros = cls.shape(first, second, None, *ctx.how).zero_()
                terms.append(zeros + tangent.view(-1, 1, 1))
        return reduce(operator.add, terms)

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Batched:
        """Compute a batch of B convolutions as one.

        With the same kernels for all they are one convolution of B times as many images, and else
        one of B times as many groups, because groups do not see each other's channels.
        """
        *operands, numbers, algorithm = inputs
        B, axis, axes = info.batch_size, cls.result_axis, cls.operand_axes
        if axis == 1 and not any(dim is not None for dim in in_dims[1 : len(operands)]):
            axis, axes = 0, (0,)
        else:
            numbers = [*numbers[:-1], B * numbers[-1]]
        for which, into in enumerate(axes):
            if operands[which] is not None:
                operands[which] = merge_axis(operands[which], in_dims[which], into, B)
        return cls.call(*operands, numbers, algorithm).unflatten(axis, (B, -1)), axis
