"""What the three operators of a convolution share: rule for vmap, and FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

from torch import Tensor

from cnnpipe.functional.bilinear import BilinearOperator, Shape
from cnnpipe.functional.operator import Batched, merge_axis
from cnnpipe.geometry import ConvolutionGeometry


def flops(images: Shape, w: Shape, numbers: Sequence[int]) -> int:
    """Floating-point operations of each derivative: two for each multiply-add, as torch counts."""
    return 2 * images[0] * prod(w) * prod(ConvolutionGeometry.of(numbers).output_size)


class ConvolutionOperator(BilinearOperator):
    """An operator of two operands (and a bias), the geometry's numbers and an algorithm.

    A subclass names the axes that groups divide: of each operand in `operand_axes`, of the result
    in `result_axis`. It is 1 for images, whose channels come second, and 0 for kernels and bias.
    """

    operand_axes: ClassVar[tuple[int, ...]]
    result_axis: ClassVar[int]

    @staticmethod
    def spread(bias: Tensor) -> Tensor:
        return bias.view(-1, 1, 1)

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
