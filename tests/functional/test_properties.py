"""What is true of the operators whatever their arguments: against the reference, and as algebra.

Numbers are drawn from a seed, shapes and arguments by hypothesis, which shrinks what fails.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from cnnpipe.functional import (
    CONV2D_ALGORITHMS,
    UnsupportedError,
    avg_pool2d,
    conv2d,
    convolve2d,
    max_pool2d,
    relu,
    sigmoid,
    tanh,
)
from cnnpipe.verify.reference import compare, output_shape, quantities, truths
from tests.helpers.torch_reference import randn

Pair = tuple[int, int]
Arguments = dict[str, Any]

seldom = settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.filter_too_much],
)
algorithms = st.sampled_from(
    ["auto", *(name for name in CONV2D_ALGORITHMS if name != "implicit_gemm")]
)
elementwise = st.sampled_from(["auto", "direct", "im2col", "toeplitz", "taps"])
"""Those whose rounding does not spread; winograd's and fft's is bounded in `torture.operators`."""
seeds = st.integers(0, 99)


def pairs(least: int, most: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Tensor, Tensor, Arguments]:
    """Images, kernels and arguments of any convolution whose window fits."""
    kernel_size, dilation, padding = draw(pairs(1, 5)), draw(pairs(1, 3)), draw(pairs(0, 5))
    stride, more = draw(pairs(1, 3)), draw(pairs(0, 7))
    groups, channels, images = (
        draw(st.integers(1, 3)),
        draw(pairs(1, 5)),
        draw(st.integers(0, 3)),
    )
    size = [
        max(1, d * (k - 1) + 1 - 2 * p) + extra
        for k, d, p, extra in zip(kernel_size, dilation, padding, more, strict=True)
    ]
    seed = draw(seeds)
    x = randn(images, groups * channels[0], *size, seed=seed)
    w = randn(groups * channels[1], channels[0], *kernel_size, seed=seed + 1)
    return x, w, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@st.composite
def poolings(draw: st.DrawFn) -> tuple[Tensor, Arguments]:
    """Feature maps with many ties, and arguments whose window fits."""
    kernel_size, more, stride = draw(pairs(1, 5)), draw(pairs(0, 8)), draw(pairs(1, 5))
    height, width = (min(draw(st.integers(0, 4)), k // 2) for k in kernel_size)
    size = [
        max(1, k - 2 * p) + extra
        for k, p, extra in zip(kernel_size, (height, width), more, strict=True)
    ]
    generator = torch.Generator().manual_seed(draw(seeds))
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), *size)
    maps = torch.randint(-3, 4, shape, generator=generator).double()
    arguments = {"kernel_size": kernel_size, "stride": stride, "padding": (height, width)}
    return maps, arguments | {"ceil_mode": draw(st.booleans())}


def close(actual: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10 * max(scale, 1))


def computed(algorithm: str, x: Tensor, w: Tensor, **arguments: Any) -> Tensor:
    """By the algorithm, or hypothesis draws another call."""
    try:
        return conv2d(x, w, algorithm=algorithm, **arguments)
    except UnsupportedError:
        assume(False)
        raise


def assert_matches_reference(
    name: str,
    operator: Callable[..., Any],
    operands: dict[str, Tensor],
    arguments: Arguments,
) -> None:
    """Value, gradients and second derivatives, within rounding bounds."""
    shapes: dict[str, Any] = {key: value.shape for key, value in operands.items()}
    shapes["upstream"] = output_shape(name, operands, arguments)
    dtype = operands["input"].dtype
    probes = {
        key: randn(*shape, seed=seed, dtype=dtype)
        for seed, (key, shape) in enumerate(shapes.items(), start=7)
    }
    results = quantities(functools.partial(operator, **arguments), operands, probes)
    results["forward_scipy"] = results["forward"]
    for key, truth in truths(name, operands, probes, arguments).items():
        assert compare(results.get(key), truth).bounds <= 2, key


@seldom
@given(problem=convolutions(), algorithm=elementwise, halves=st.booleans())
def test_convolution_is_that_of_the_reference(
    problem: tuple[Tensor, Tensor, Arguments], algorithm: str, halves: bool
) -> None:
    x, w, arguments = problem
    dtype = torch.bfloat16 if halves else torch.float64
    operands = {"input": x.to(dtype), "weight": w.to(dtype), "bias": w[:, 0, 0, 0].to(dtype)}
    computed(algorithm, operands["input"], operands["weight"], **arguments)
    for name, operator in (("conv2d", conv2d), ("convolve2d", convolve2d)):
        ours = functools.partial(operator, algorithm=algorithm)
        assert_matches_reference(name, ours, operands, arguments)


@seldom
@given(problem=poolings(), dilation=st.integers(1, 2), divisor=st.sampled_from([None, 3, -1]))
def test_pooling_is_that_of_the_reference(
    problem: tuple[Tensor, Arguments], dilation: int, divisor: int | None
) -> None:
    maps, arguments = problem
    average = arguments | {"divisor_override": divisor, "count_include_pad": False}
    assert_matches_reference("avg_pool2d", avg_pool2d, {"input": maps}, average)
    arguments = arguments | {"dilation": dilation, "return_indices": True}
    try:
        maximum, _ = max_pool2d(maps, **arguments)
    except ValueError:  # the dilated window does not fit
        return
    assume((maximum > -math.inf).all())  # torch writes out of bounds where all is padding
    assert_matches_reference("max_pool2d", max_pool2d, {"input": maps}, arguments)


# --- Convolution is linear in both, and knows no place


@seldom
@given(problem=convolutions(), algorithm=algorithms, factors=st.tuples(*[st.floats(-9, 9)] * 2))
def test_linear_in_the_input_and_in_the_kernel(
    problem: tuple[Tensor, Tensor, Arguments], algorithm: str, factors: tuple[float, float]
) -> None:
    (x, w, arguments), (a, b) = problem, factors
    conv = functools.partial(computed, algorithm, **arguments)
    z, v = randn(*x.shape, seed=300), randn(*w.shape, seed=301)
    close(conv(a * x + b * z, w), a * conv(x, w) + b * conv(z, w), w[0].numel() * 99)
    close(conv(x, a * w + b * v), a * conv(x, w) + b * conv(x, v), w[0].numel() * 99)


@seldom
@given(problem=convolutions(), algorithm=algorithms)
def test_gradients_are_adjoint(problem: tuple[Tensor, Tensor, Arguments], algorithm: str) -> None:
    x, w, arguments = problem
    x.requires_grad_(), w.requires_grad_()
    y = computed(algorithm, x, w, **arguments)
    g = randn(*y.shape, seed=302)
    of_x, of_w = torch.autograd.grad(y, (x, w), g)
    # One trilinear form: ⟨y, g⟩ = ⟨x, ∂x⟩ = ⟨w, ∂w⟩.
    total = (y * g).sum()
    close((x * of_x).sum(), total, y.numel() * w[0].numel())
    close((w * of_w).sum(), total, y.numel() * w[0].numel())


@seldom
@given(problem=convolutions(), algorithm=algorithms, steps=pairs(-3, 3))
def test_equivariant_under_shifts_by_whole_strides(
    problem: tuple[Tensor, Tensor, Arguments], algorithm: str, steps: Pair
) -> None:
    x, w, arguments = problem
    down, across = (n * s for n, s in zip(steps, arguments["stride"], strict=True))
    wide = torch.nn.functional.pad(x, [30] * 4)  # so that nothing leaves at a border
    moved = torch.roll(wide, (down, across), (-2, -1))
    y, shifted = (computed(algorithm, image, w, **arguments) for image in (wide, moved))
    close(shifted, torch.roll(y, steps, (-2, -1)), w[0].numel() * 9)


@seldom
@given(problem=convolutions(), algorithm=algorithms)
def test_mathematics_and_networks_differ_by_a_flip(
    problem: tuple[Tensor, Tensor, Arguments], algorithm: str
) -> None:
    x, w, arguments = problem
    expected = computed(algorithm, x, w.flip(-2, -1), **arguments)
    assert torch.equal(convolve2d(x, w, algorithm=algorithm, **arguments), expected)


def full(image: Tensor, kernel: Tensor, algorithm: str) -> Tensor:
    """Every place where the two overlap at all."""
    kH, kW = kernel.shape[-2:]
    try:
        return convolve2d(image, kernel, padding=(kH - 1, kW - 1), algorithm=algorithm)
    except UnsupportedError:
        assume(False)
        raise


@seldom
@given(sizes=st.tuples(pairs(1, 8), pairs(1, 8)), algorithm=algorithms)
def test_full_convolution_commutes(sizes: tuple[Pair, Pair], algorithm: str) -> None:
    a, b = randn(1, 1, *sizes[0]), randn(1, 1, *sizes[1], seed=1)
    close(full(a, b, algorithm), full(b, a, algorithm), 99)


@seldom
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


# --- Each argument says what it says


@seldom
@given(problem=convolutions(), algorithm=algorithms)
def test_a_stride_leaves_out_windows(
    problem: tuple[Tensor, Tensor, Arguments], algorithm: str
) -> None:
    x, w, arguments = problem
    down, across = arguments["stride"]
    every = conv2d(x, w, **arguments | {"stride": 1})
    close(computed(algorithm, x, w, **arguments), every[..., ::down, ::across], w[0].numel() * 9)


@seldom
@given(problem=convolutions(), algorithm=algorithms)
def test_dilation_puts_zeros_into_the_kernel_and_padding_around_the_image(
    problem: tuple[Tensor, Tensor, Arguments], algorithm: str
) -> None:
    x, w, arguments = problem
    (down, across), (vertical, horizontal) = arguments["dilation"], arguments["padding"]
    kH, kW = w.shape[-2:]
    holes = w.new_zeros(*w.shape[:2], down * (kH - 1) + 1, across * (kW - 1) + 1)
    holes[..., ::down, ::across] = w
    wide = torch.nn.functional.pad(x, [horizontal, horizontal, vertical, vertical])
    expected = conv2d(wide, holes, stride=arguments["stride"], groups=arguments["groups"])
    close(computed(algorithm, x, w, **arguments), expected, w[0].numel() * 9)


@seldom
@given(problem=convolutions(), algorithm=algorithms)
def test_groups_are_convolutions_beside_each_other(
    problem: tuple[Tensor, Tensor, Arguments], algorithm: str
) -> None:
    x, w, arguments = problem
    parts = x.chunk(arguments["groups"], 1), w.chunk(arguments["groups"], 0)
    apart = [
        conv2d(images, kernels, **arguments | {"groups": 1})
        for images, kernels in zip(*parts, strict=True)
    ]
    close(computed(algorithm, x, w, **arguments), torch.cat(apart, 1), w[0].numel() * 9)


@seldom
@given(problem=convolutions(), algorithm=algorithms)
def test_images_of_a_batch_do_not_see_each_other(
    problem: tuple[Tensor, Tensor, Arguments], algorithm: str
) -> None:
    x, w, arguments = problem
    assume(len(x) > 0)
    together = computed(algorithm, x, w, **arguments)
    alone = [computed(algorithm, image, w, **arguments) for image in x]
    close(together, torch.stack(alone), w[0].numel() * 9)


# --- Pooling


@seldom
@given(problem=poolings())
def test_the_maximum_is_monotone_and_an_entry(problem: tuple[Tensor, Arguments]) -> None:
    maps, arguments = problem
    maximum, indices = max_pool2d(maps, return_indices=True, **arguments)
    assert torch.equal(maps.flatten(-2).gather(-1, indices.flatten(-2)), maximum.flatten(-2))
    larger = maps + randn(*maps.shape).abs()
    assert (max_pool2d(larger, **arguments) >= maximum).all()
    for increasing in (torch.exp, torch.atan, lambda x: 3 * x - 1):  # these do not reorder
        assert torch.equal(max_pool2d(increasing(maps), **arguments), increasing(maximum))


@seldom
@given(problem=poolings())
def test_the_maximums_gradient_is_handed_on_whole(problem: tuple[Tensor, Arguments]) -> None:
    maps, arguments = problem
    maps.requires_grad_()
    maximum, indices = max_pool2d(maps, return_indices=True, **arguments)
    g = randn(*maximum.shape)
    (gradient,) = torch.autograd.grad(maximum, maps, g)
    expected = torch.zeros_like(maps).flatten(-2)
    expected.scatter_add_(-1, indices.flatten(-2), g.flatten(-2))
    close(gradient.flatten(-2), expected)


@seldom
@given(size=pairs(8, 12), first=st.integers(1, 4), second=st.integers(1, 4))
def test_two_maxima_in_a_row_are_one(size: Pair, first: int, second: int) -> None:
    maps = randn(2, 3, *size)
    in_a_row = max_pool2d(max_pool2d(maps, first, 1), second, 1)
    assert torch.equal(in_a_row, max_pool2d(maps, first + second - 1, 1))


@seldom
@given(problem=poolings(), value=st.floats(-1e6, 1e6))
def test_the_mean_keeps_constants_and_lies_between(
    problem: tuple[Tensor, Arguments], value: float
) -> None:
    maps, arguments = problem
    mean = functools.partial(avg_pool2d, count_include_pad=False, **arguments)
    constant = torch.full_like(maps, value)
    close(mean(constant), torch.full_like(mean(constant), value), abs(value))
    assert (mean(maps) <= max_pool2d(maps, **arguments) + 1e-12).all()
    assert (mean(maps) >= -max_pool2d(-maps, **arguments) - 1e-12).all()


@seldom
@given(problem=poolings())
def test_the_mean_is_a_convolution(problem: tuple[Tensor, Arguments]) -> None:
    maps, arguments = problem
    arguments = arguments | {"ceil_mode": False}
    try:
        mean = avg_pool2d(maps, **arguments)
    except ValueError:  # the window fitted by ceil_mode only
        return
    kH, kW = arguments.pop("kernel_size")
    kernels = maps.new_full((maps.shape[1], 1, kH, kW), 1 / (kH * kW))
    del arguments["ceil_mode"]
    close(mean, conv2d(maps, kernels, groups=maps.shape[1], **arguments), 9)


# --- Activations


@seldom
@given(values=st.lists(st.floats(-700, 700), max_size=9))
def test_symmetries_of_the_activations(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    assert torch.equal(relu(x) - relu(-x), x)
    assert torch.equal(tanh(-x), -tanh(x))
    close(sigmoid(x) + sigmoid(-x), torch.ones_like(x))
    close(tanh(x), 2 * sigmoid(2 * x) - 1)
