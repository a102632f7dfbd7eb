"""Every operator and algorithm: the grid of the verify stage, and finite differences."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from cnnpipe.functional import avg_pool2d, conv2d, max_pool2d, relu, sigmoid, tanh
from cnnpipe.verify.cases import FLOATS, INTEGERS, Case, argument_grid
from cnnpipe.verify.verification import OPERATORS, verify
from tests.helpers.oracle import CPU_ALGORITHMS, randn, tolerances


def cases_of(operator: str, dtype: torch.dtype) -> list[Case]:
    """All cases in float64; in other dtypes a fifth of the products of four and more arguments."""
    return [
        replace(case, dtypes=(dtype,))
        for index, case in enumerate(argument_grid())
        if case.operator == operator and dtype in case.dtypes
        if dtype == torch.float64 or len(case.arguments) < 4 or index % 5 == 0
    ]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("operator", OPERATORS)
def test_value_gradients_and_second_derivatives(operator: str, dtype: torch.dtype) -> None:
    comparisons = list(verify(tolerances(), seed=1, cases=cases_of(operator, dtype)))
    assert [str(comparison) for comparison in comparisons if comparison.strain > 1] == []
    convolves = operator in ("conv2d", "convolve2d")
    expected = {"auto", *CPU_ALGORITHMS} if convolves else {None}
    assert {comparison.algorithm for comparison in comparisons} >= expected


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_maximum_of_integers(dtype: torch.dtype) -> None:
    comparisons = list(verify(tolerances(), seed=1, cases=cases_of("max_pool2d", dtype)))
    assert {comparison.dtype for comparison in comparisons} == {str(dtype).removeprefix("torch.")}
    assert [str(comparison) for comparison in comparisons if comparison.strain > 1] == []


IMAGES, KERNELS, BIAS = randn(2, 2, 5, 5), randn(2, 2, 3, 3, seed=1), randn(2, seed=2)


@pytest.mark.parametrize(
    ("operator", "operands"),
    [
        *(
            (partial(conv2d, padding=1, algorithm=name), (IMAGES, KERNELS, BIAS))
            for name in CPU_ALGORITHMS
        ),
        (partial(conv2d, stride=2, padding=1, groups=2), (IMAGES, KERNELS[:, :1], BIAS)),
        (partial(max_pool2d, kernel_size=3, stride=2, padding=1, dilation=2), (IMAGES,)),
        (partial(avg_pool2d, kernel_size=3, stride=2, padding=1), (IMAGES,)),
        (partial(avg_pool2d, kernel_size=2, stride=3, ceil_mode=True), (IMAGES,)),
        *((activation, (IMAGES,)) for activation in (relu, sigmoid, tanh)),
    ],
)
def test_derivatives_are_those_of_finite_differences(
    operator: Callable[..., Any], operands: tuple[Tensor, ...]
) -> None:
    leaves = tuple(operand.clone().requires_grad_() for operand in operands)
    assert torch.autograd.gradcheck(operator, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(operator, leaves, fast_mode=True)
