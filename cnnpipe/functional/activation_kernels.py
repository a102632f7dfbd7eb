"""The sigmoid of `activation.py` as a compiled loop, in float64 within."""

from __future__ import annotations

from torch import Tensor

from cnnpipe.functional.loops import Nest, compiled, dtype_name
from cnnpipe.functional.loops.elementary import exp

LANES = 8
"""Numbers that are computed side by side."""
NUMBERS = 4096
"""Of one task: with fewer a thread would take longer to wake up."""


def sigmoid_(numbers: Tensor) -> Tensor:
    """Replace x by 1 / (1 + e^−x): any shape whose numbers lie side by side in memory."""
    size = numbers.numel()
    _sigmoid(dtype_name(numbers.dtype))(-(-size // NUMBERS), size, numbers)
    return numbers


@compiled
def _sigmoid(nest: Nest, dtype: str) -> None:
    """One task: some of the numbers. With p = e^−|x| it is 1 / (1 + p), for x < 0 p / (1 + p)."""
    size, numbers = nest.size(), nest.array(dtype)
    first = nest.task * NUMBERS
    zero, one = (nest.number(value, "float64", LANES) for value in (0.0, 1.0))
    for at in nest.range(first, (first + NUMBERS).at_most(size), LANES):
        x = nest.cast(numbers.load(at, lanes=LANES, first=size - at), "float64")
        is_negative = x.compare("<", zero)
        p = exp(nest, nest.where(is_negative, x, zero - x))
        value = nest.where(is_negative, p, one) / (one + p)
        numbers.store(nest.cast(value, dtype), at, first=size - at)
