"""Two kinds of autograd `Function`, each with its rule for the axis that `torch.func.vmap` adds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor
from torch.autograd import Function

from cnnpipe.functional import im2col

Batched = tuple[Tensor, int]
"""A result under vmap, and which of its axes is the one that was added."""


class BatchFunction(Function):
    """A function that treats every entry of a batch by itself, whatever axes the batch has.

    For pooling, these are the axes before height and width; for an activation, all of them.
    """

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Batched:
        """Move the added axis to the front of each tensor; an operand without it is repeated."""
        moved = [
            value
            if not isinstance(value, Tensor) or axis == 0
            else value.expand(info.batch_size, *value.shape)
            if axis is None
            else value.movedim(axis, 0)
            for value, axis in zip(inputs, in_dims, strict=True)
        ]
        return cls.apply(*moved), 0


class ConvolutionFunction(Function):
    """A function of two operands (and a bias), the convolution's geometry and an algorithm.

    A subclass names the axes that groups divide: of each operand in `operand_axes`, of the result
    in `result_axis`. It is 1 for images, whose channels come second, and 0 for kernels and bias.
    """

    operand_axes: ClassVar[tuple[int, ...]]
    result_axis: ClassVar[int]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.geometry, ctx.algorithm = inputs[-2:]
        ctx.save_for_backward(*inputs[:2])

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> Batched:
        """Compute a batch of B convolutions as one.

        With the same kernels for all they are one convolution of B times as many images, and else
        one of B times as many groups, because groups do not see each other's channels.
        """
        *operands, geometry, algorithm = inputs
        B, axis, axes = info.batch_size, cls.result_axis, cls.operand_axes
        if axis == 1 and not any(dim is not None for dim in in_dims[1:]):
            axis, axes = 0, (0,)
        else:
            geometry = replace(geometry, groups=B * geometry.groups)
            if algorithm.unsupported(operands[0], geometry):
                algorithm = im2col
        for which, into in enumerate(axes):
            if operands[which] is not None:
                operands[which] = _merge(operands[which], in_dims[which], into, B)
        return cls.apply(*operands, geometry, algorithm).unflatten(axis, (B, -1)), axis


def _merge(tensor: Tensor, added: int | None, axis: int, size: int) -> Tensor:
    """Merge the added axis into another one; a tensor without it is repeated."""
    if added is None:
        shape = (*tensor.shape[:axis], size, *tensor.shape[axis:])
        return tensor.unsqueeze(axis).expand(shape).flatten(axis, axis + 1)
    return tensor.movedim(added, axis).flatten(axis, axis + 1)
