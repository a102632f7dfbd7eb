"""Algebra that the operators obey, whatever their arguments.

What stride, dilation, groups, batches and the flip of the kernel mean is checked with SciPy, whose
convolution has none of them: `cnnpipe.verify.reference.scipy_convolution` builds them around it.
"""

import functools
from typing import Any

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cnnpipe.functional import (
    UnsupportedError,
    avg_pool2d,
    conv2d,
    convolve2d,
    max_pool2d,
    relu,
    sigmoid,
    tanh,
)
from cnnpipe.verify.reference import Call, Operator
from tests.helpers.oracle import randn
from tests.properties import calls
from tests.properties.promises import QUIET

Pair = tuple[int, int]
Arguments = dict[str, Any]
Convolution = tuple[Tensor, Tensor, Arguments, str]
Pooling = tuple[Tensor, Arguments]

some = settings(QUIET, max_examples=40, derandomize=True)
seeds = st.integers(0, 99)
algorithms = st.sampled_from(calls.ALGORITHMS)


def pairs(least: int, most: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


def parts_of_convolution(drawn: tuple[Call, str]) -> Convolution:
    call, algorithm = drawn
    return call.operands["input"], call.operands["weight"], dict(call.arguments), algorithm


def parts_of_pooling(call: Call) -> Pooling:
    keys = ("kernel_size", "stride", "padding", "ceil_mode")
    return call.operands["input"], {key: call.arguments[key] for key in keys}


convolutions = calls.by_algorithm(
    calls.convolutions(dtypes=[torch.float64], operators=["conv2d"], extreme=False)
).map(parts_of_convolution)
"""Images, kernels, arguments and an algorithm for them."""
poolings = calls.poolings(dtypes=[torch.float64], operators=["avg_pool2d"], extreme=False).map(
    parts_of_pooling
)
"""Feature maps, and arguments that both poolings have."""


def close(actual: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10 * max(scale, 1))


def computed(
    algorithm: str, x: Tensor, w: Tensor, operator: Operator = conv2d, **arguments: Any
) -> Tensor:
    """By the algorithm, or hypothesis draws another call."""
    try:
        return operator(x, w, algorithm=algorithm, **arguments)
    except UnsupportedError:
        assume(False)
        raise


# --- Convolution is linear in both operands, and equivariant


@some
@given(problem=convolutions, factors=st.tuples(*[st.floats(-9, 9)] * 2))
def test_linear_in_the_input_and_in_the_kernel(
    problem: Convolution, factors: tuple[float, float]
) -> None:
    (x, w, arguments, algorithm), (a, b) = problem, factors
    conv = functools.partial(computed, algorithm, **arguments)
    z, v = randn(*x.shape, seed=300), randn(*w.shape, seed=301)
    close(conv(a * x + b * z, w), a * conv(x, w) + b * conv(z, w), w[0].numel() * 99)
    close(conv(x, a * w + b * v), a * conv(x, w) + b * conv(x, v), w[0].numel() * 99)


@some
@given(problem=convolutions)
def test_gradients_are_adjoint(problem: Convolution) -> None:
    x, w, arguments, algorithm = problem
    x.requires_grad_(), w.requires_grad_()
    y = computed(algorithm, x, w, **arguments)
    g = randn(*y.shape, seed=302)
    of_x, of_w = torch.autograd.grad(y, (x, w), g)
    # One trilinear form: ⟨y, g⟩ = ⟨x, ∂x⟩ = ⟨w, ∂w⟩.
    total = (y * g).sum()
    close((x * of_x).sum(), total, y.numel() * w[0].numel())
    close((w * of_w).sum(), total, y.numel() * w[0].numel())


@some
@given(problem=convolutions, steps=pairs(-3, 3))
def test_equivariant_under_shifts_by_whole_strides(problem: Convolution, steps: Pair) -> None:
    x, w, arguments, algorithm = problem
    down, across = (n * s for n, s in zip(steps, arguments["stride"], strict=True))
    wide = torch.nn.functional.pad(x, [30] * 4)  # so that nothing leaves at a border
    moved = torch.roll(wide, (down, across), (-2, -1))
    y, shifted = (computed(algorithm, image, w, **arguments) for image in (wide, moved))
    close(shifted, torch.roll(y, steps, (-2, -1)), w[0].numel() * 9)


def full(image: Tensor, kernel: Tensor, algorithm: str) -> Tensor:
    """Every place where the two overlap at all."""
    kH, kW = kernel.shape[-2:]
    return computed(algorithm, image, kernel, convolve2d, padding=(kH - 1, kW - 1))


@some
@given(sizes=st.tuples(pairs(1, 8), pairs(1, 8)), algorithm=algorithms)
def test_full_convolution_commutes(sizes: tuple[Pair, Pair], algorithm: str) -> None:
    a, b = randn(1, 1, *sizes[0]), randn(1, 1, *sizes[1], seed=1)
    close(full(a, b, algorithm), full(b, a, algorithm), 99)


@some
@given(sizes=st.tuples(pairs(1, 9), pairs(1, 3), pairs(1, 3)), channels=st.tuples(*[seeds] * 2))
def test_two_convolutions_in_a_row_are_one(
    sizes: tuple[Pair, Pair, Pair], channels: tuple[int, int]
) -> None:
    C, M = (1 + number % 4 for number in channels)
    x, v, w = randn(2, C, *sizes[0]), randn(M, C, *sizes[1], seed=1), randn(3, M, *sizes[2], seed=2)
    in_a_row = full(full(x, v, "auto"), w, "auto")
    # The kernel of both: v's input channels are the batch, its output channels w's input.
    both = full(v.transpose(0, 1), w, "auto").transpose(0, 1)
    close(in_a_row, full(x, both, "auto"), 999)


# --- Pooling


@some
@given(problem=poolings)
def test_the_maximum_is_monotone_and_an_entry(problem: Pooling) -> None:
    maps, arguments = problem
    maximum, indices = max_pool2d(maps, return_indices=True, **arguments)
    assert torch.equal(maps.flatten(-2).gather(-1, indices.flatten(-2)), maximum.flatten(-2))
    larger = maps + randn(*maps.shape).abs()
    assert (max_pool2d(larger, **arguments) >= maximum).all()
    for increasing in (torch.exp, torch.atan, lambda x: 3 * x - 1):  # these do not reorder
        assert torch.equal(max_pool2d(increasing(maps), **arguments), increasing(maximum))


@some
@given(size=pairs(8, 12), first=st.integers(1, 4), second=st.integers(1, 4))
def test_two_maxima_in_a_row_are_one(size: Pair, first: int, second: int) -> None:
    maps = randn(2, 3, *size)
    in_a_row = max_pool2d(max_pool2d(maps, first, 1), second, 1)
    assert torch.equal(in_a_row, max_pool2d(maps, first + second - 1, 1))


@some
@given(problem=poolings, value=st.floats(-1e6, 1e6))
def test_the_mean_keeps_constants_and_lies_between(problem: Pooling, value: float) -> None:
    maps, arguments = problem
    mean = functools.partial(avg_pool2d, count_include_pad=False, **arguments)
    constant = torch.full_like(maps, value)
    close(mean(constant), torch.full_like(mean(constant), value), abs(value))
    assert (mean(maps) <= max_pool2d(maps, **arguments) + 1e-12).all()
    assert (mean(maps) >= -max_pool2d(-maps, **arguments) - 1e-12).all()


# --- Activations


@some
@given(values=st.lists(st.floats(-700, 700), max_size=9))
def test_symmetries_of_the_activations(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    assert torch.equal(relu(x) - relu(-x), x)
    assert torch.equal(tanh(-x), -tanh(x))
    close(sigmoid(x) + sigmoid(-x), torch.ones_like(x))
    close(tanh(x), 2 * sigmoid(2 * x) - 1)
