"""What convolution and the fully connected layer share: operators that are linear in two operands.

Both are a bilinear map y = x ⋆ w, which the trilinear form T(x, w, g) = Σ g · (x ⋆ w) holds
together with its derivatives; see `cnnpipe.functional.convolution`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any, ClassVar

from torch import Tensor

from cnnpipe.functional.operator import Operator

Shape = Sequence[int]


class BilinearOperator(Operator):
    """An operator of two operands, perhaps a bias, and other arguments."""

    has_bias: ClassVar[bool] = False

    @staticmethod
    def spread(bias: Tensor) -> Tensor:
        """The bias, broadcast to the result."""
        raise NotImplementedError

    @classmethod
    def setup_context(
        cls,
        ctx: Any,
        inputs: tuple[Any, ...],
        output: Tensor,  # noqa: ARG003
    ) -> None:
        ctx.how = inputs[2 + cls.has_bias :]
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @classmethod
    def jvp(cls, ctx: Any, *tangents: Any) -> Tensor:
        """The product rule: the operator is linear in each operand."""
        first, second = ctx.saved_tensors
        d_first, d_second, *others = tangents
        rest = [None] * cls.has_bias + list(ctx.how)
        terms = []
        if d_first is not None:
            terms.append(cls.call(d_first, second, *rest))
        if d_second is not None:
            terms.append(cls.call(first, d_second, *rest))
        if cls.has_bias and others[0] is not None:
            terms.append(cls.shape(first, second, *rest).zero_() + cls.spread(others[0]))
        return reduce(operator.add, terms)
