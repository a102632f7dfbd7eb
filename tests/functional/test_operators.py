"""Every operator and algorithm: the grid of the verify stage, and finite differences."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from cnnpipe.functional import (
    avg_pool2d,
    batch_norm,
    conv2d,
    cross_entropy,
    linear,
    max_pool2d,
    relu,
    sigmoid,
    tanh,
)
from cnnpipe.verify.cases import FLOATS
from cnnpipe.verify.reference import Operator
from cnnpipe.verify.verification import ALGORITHMS, OPERATORS, verify
from tests.helpers.oracle import CPU_ALGORITHMS, randn, some_cases, tolerances

Operands = tuple[Tensor, ...]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("operator", OPERATORS)
def test_value_gradients_and_second_derivatives(operator: str, dtype: torch.dtype) -> None:
    cases = some_cases(operator, dtype, all=dtype == torch.float64)
    comparisons = list(verify(tolerances(), seed=1, cases=cases))
    assert [str(comparison) for comparison in comparisons if comparison.strain > 1] == []
    expected = set(ALGORITHMS.get(operator, [None])) - {"implicit_gemm"}  # which needs a GPU
    assert {comparison.algorithm for comparison in comparisons} == expected


def test_maximum_of_integers() -> None:
    dtypes = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    cases = [replace(case, dtypes=dtypes) for case in some_cases("max_pool2d", torch.int64)]
    comparisons = list(verify(tolerances(), seed=1, cases=cases))
    assert len({comparison.dtype for comparison in comparisons}) == len(dtypes)
    assert [str(comparison) for comparison in comparisons if comparison.strain > 1] == []


LOSS = partial(cross_entropy, target=torch.tensor([4, 0, 2, 2, 1]), label_smoothing=0.1)
IMAGES, KERNELS, BIAS = randn(2, 2, 5, 5), randn(2, 2, 3, 3, seed=1), randn(2, seed=2)


def normalized(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return batch_norm(input, None, None, weight, bias, training=True)


def evaluated(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return batch_norm(input, BIAS, BIAS.square(), weight, bias)


each_operator = pytest.mark.parametrize(
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
        (partial(batch_norm, training=True), (IMAGES,)),
        *((norm, (IMAGES, KERNELS[0, :, 0, 0], BIAS)) for norm in (normalized, evaluated)),
        (linear, (IMAGES, randn(2, 5), BIAS)),
        (linear, (IMAGES[0, 0], randn(3, 5))),
        (LOSS, (IMAGES[0, 0],)),
    ],
)


@each_operator
def test_derivatives_are_those_of_finite_differences(
    operator: Operator, operands: Operands
) -> None:
    leaves = tuple(operand.clone().requires_grad_() for operand in operands)
    assert torch.autograd.gradcheck(operator, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(operator, leaves, fast_mode=True)


@each_operator
def test_vmap_is_one_more_batch(operator: Operator, operands: Operands) -> None:
    batches = [torch.stack([operand, 2 * operand, -operand]) for operand in operands]
    gradients = torch.func.grad(
        lambda *operands: operator(*operands).sin().sum(), argnums=tuple(range(len(operands)))
    )
    for function in (lambda *operands: (operator(*operands),), gradients):
        expected = stacked(function(*one) for one in zip(*batches, strict=True))
        torch.testing.assert_close(torch.func.vmap(function)(*batches), expected)
        of_images = torch.func.vmap(function, in_dims=(0, *[None] * len(operands[1:])))
        expected = stacked(function(images, *operands[1:]) for images in batches[0])
        torch.testing.assert_close(of_images(batches[0], *operands[1:]), expected)


def stacked(results: Iterable[Operands]) -> Operands:
    return tuple(torch.stack(tensors) for tensors in zip(*results, strict=True))


@pytest.mark.parametrize(
    "operator",
    [
        *(
            partial(conv2d, weight=KERNELS, padding=1, algorithm=name)
            for name in ("fft", "winograd")
        ),
        *(partial(pool, kernel_size=2) for pool in (max_pool2d, avg_pool2d)),
        *(relu, sigmoid, tanh),
        partial(batch_norm, training=True),
    ],
)
def test_channels_last_images_give_channels_last_maps(operator: Operator) -> None:
    images = IMAGES.contiguous(memory_format=torch.channels_last).requires_grad_()
    maps = operator(images)
    (gradient,) = torch.autograd.grad(maps, images, torch.ones_like(maps))
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
