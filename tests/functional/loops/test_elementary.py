"""exp and log against 40 decimal digits."""

import math
from collections.abc import Callable, Iterable
from decimal import Decimal, localcontext

import pytest
import torch
from torch import Tensor

from cnnpipe.functional.loops import Nest, Vector, compiled
from cnnpipe.functional.loops.elementary import LEAST, exp, log

LANES = 4


@compiled
def _exp(nest: Nest, lanes: int) -> None:
    _each(nest, exp, lanes)


@compiled
def _log(nest: Nest, lanes: int) -> None:
    _each(nest, log, lanes)


def _each(nest: Nest, function: Callable[[Nest, Vector], Vector], lanes: int) -> None:
    """y = function(x) of vectors, one for each task."""
    x, y = nest.array("float64"), nest.array("float64")
    y.store(function(nest, x.load(nest.task * lanes, lanes=lanes)), nest.task * lanes)


def values(kernel: Callable[[int], Callable[..., None]], x: Tensor, lanes: int) -> Tensor:
    y = torch.empty_like(x)
    kernel(lanes)(len(x) // lanes, x, y)
    return y


def grid(*parts: Iterable[float]) -> Tensor:
    """All numbers, repeated until they fill vectors."""
    numbers = [number for part in parts for number in part]
    return torch.tensor(numbers + numbers[-1:] * (-len(numbers) % LANES), dtype=torch.float64)


def largest_error(x: Tensor, y: Tensor, function: Callable[[Decimal], Decimal]) -> float:
    """In units in the last place of the true values."""
    with localcontext() as context:
        context.prec = 40
        errors = []
        for argument, value in zip(x.tolist(), y.tolist(), strict=True):
            truth = function(Decimal(argument))
            errors.append(abs(Decimal(value) - truth) / Decimal(math.ulp(float(truth))))
        return float(max(errors))


def linspace(first: float, last: float, count: int) -> list[float]:
    return torch.linspace(first, last, count, dtype=torch.float64).tolist()


def powers_of_two(*exponents: int) -> list[float]:
    return [2.0**exponent for exponent in range(*exponents)]


@pytest.mark.parametrize("lanes", [1, LANES])
def test_exp(lanes: int) -> None:
    small = [-power for power in powers_of_two(-1074, 9)]
    halves = [-(k + 0.5) * math.log(2) for k in range(1021)]  # where k changes
    x = grid(linspace(LEAST, 0.0, 5000), linspace(-1.0, 0.0, 2000), small, halves, [LEAST, -0.0])
    assert largest_error(x, values(_exp, x, lanes), Decimal.exp) < 1


def test_exp_at_the_ends() -> None:
    below = math.nextafter(LEAST, -math.inf)
    x = grid([0.0, LEAST, below, -1e300, -math.inf, math.nan, -math.nan, 0.0])
    y = values(_exp, x, LANES).tolist()
    assert y[0] == 1
    assert y[1] == pytest.approx(math.exp(LEAST), rel=1e-15)
    assert y[2:5] == [0, 0, 0]
    assert math.isnan(y[5])
    assert math.isnan(y[6])


def test_log() -> None:
    around = [math.sqrt(2) * power for power in powers_of_two(0, 9)]  # where k changes
    x = grid(linspace(1.0, 2.0, 3000), linspace(1.0, 1e5, 3000), powers_of_two(0, 1023), around)
    x = torch.cat([x, x.nextafter(torch.tensor(math.inf))])
    assert largest_error(x, values(_log, x, 1), Decimal.ln) < 3


def test_log_at_the_ends() -> None:
    y = values(_log, grid([1.0, math.nan, 10.0, 1.0]), 1).tolist()
    assert y[0] == 0
    assert math.isnan(y[1])
    assert y[2] == pytest.approx(math.log(10), rel=1e-15)
