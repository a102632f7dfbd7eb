"""The kernels of `implicit_gemm` and of blocks, in Triton's interpreter instead of on a GPU.

Triton decides when it is imported whether it interprets, so `test_implicit_gemm` runs this file in
a process of its own, with TRITON_INTERPRET=1.
"""

import copy
import itertools
from collections.abc import Iterator
from functools import partial
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional as torchs

from cnnpipe.functional import block_kernels, conv2d, gpu_block, implicit_gemm
from cnnpipe.functional.block_kernels import Block
from cnnpipe.functional.implicit_gemm import forward, input_gradient, weight_gradient
from cnnpipe.functional.loops import compiler
from cnnpipe.geometry import ConvolutionGeometry
from cnnpipe.layers import BatchNorm2d, Conv2d, MaxPool2d, ReLU, Sequential
from cnnpipe.verify.cases import Case, argument_grid, draw
from cnnpipe.verify.reference import Call
from tests.helpers.oracle import assert_first_order_right, assert_right, call_of, randn
from tests.properties import calls
from tests.properties.promises import QUIET

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BATCHES = [case for case in argument_grid() if case.operator == "conv2d" and len(case.input) == 4]
# Interpreted kernels are slow: some of the products of all arguments and of `padding="same"`, and
# nearly all of the other small cases; for most of them no second derivatives.
SMALL = [case for case in BATCHES[89:] if prod(case.input) <= 1000]
SOME = BATCHES[:81:16] + BATCHES[81:89:4] + SMALL
CASES = list(zip(SOME, itertools.cycle(DTYPES), strict=False))


@pytest.mark.parametrize(("case", "dtype"), CASES, ids=str)
def test_verification_case(case: Case, dtype: torch.dtype) -> None:
    assert_first_order_right(draw(case, dtype, seed=1), "implicit_gemm")


@pytest.mark.parametrize(
    ("arguments", "dtype"),
    [
        ({"padding": 1}, torch.bfloat16),
        ({"stride": 2, "dilation": 3, "groups": 2}, torch.float32),
    ],
)
def test_derivatives_of_second_order(arguments: dict[str, int], dtype: torch.dtype) -> None:
    x = randn(2, 4, 9, 8, dtype=dtype)
    w = randn(6, 4 // arguments.get("groups", 1), 3, 2, seed=1, dtype=dtype)
    assert_right(call_of("conv2d", x, w, **arguments), "implicit_gemm")


@settings(QUIET, derandomize=True, max_examples=10)
@given(call=calls.convolutions(dtypes=DTYPES, four_sides=True))
def test_any_geometry(call: Call) -> None:
    assert_first_order_right(call, "implicit_gemm")


# Several tiles of 64, the last of which is not full; blocks of the sum within one tap and across
# taps; sums in several parts.
@pytest.mark.parametrize(
    ("channels", "dtype"),
    [((64, 70), torch.float32), ((64, 70), torch.bfloat16), ((35, 130), torch.float16)],
)
def test_sizes_around_those_of_the_tiles(channels: tuple[int, int], dtype: torch.dtype) -> None:
    x = randn(2, channels[0], 7, 9, dtype=dtype)
    w = randn(channels[1], channels[0], 2, 2, seed=1, dtype=dtype)
    # Adding them up in 16 bits would lose most.
    assert_first_order_right(call_of("conv2d", x.abs(), w.abs(), padding=1), "implicit_gemm")


@pytest.mark.parametrize("tile", [(128, 128, 64), (64, 32, 16)])
def test_result_does_not_depend_on_the_tile(
    tile: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = implicit_gemm._Blocks(*tile)
    monkeypatch.setattr(implicit_gemm._Blocks, "for_product", lambda *_: blocks)
    x = randn(2, 7, 9, 8, dtype=torch.float16)
    w = randn(24, 7, 3, 3, seed=1, dtype=torch.float16)
    assert_first_order_right(call_of("conv2d", x, w, padding=1), "implicit_gemm")


def test_long_sums_are_split_alike_every_time() -> None:
    x, grad = randn(2, 3, 20, 20, dtype=torch.float32), randn(2, 4, 18, 18, dtype=torch.float32)
    geometry = ConvolutionGeometry((20, 20), (3, 3))
    first, second = (weight_gradient(x, grad, geometry) for _ in range(2))
    assert torch.equal(first, second)
    # 2·18·18 = 648 pixels, 16 at a time: at least 8·16 = 128 to a part.
    blocks = implicit_gemm._Blocks.for_product(torch.float32, 4, 27, 3)
    assert blocks.part(648, blocks.tiles(4, 27)) == 128


def test_results_lie_channels_last_and_are_new() -> None:
    x = randn(2, 4, 6, 5, dtype=torch.float32)
    w, grad = randn(3, 4, 1, 1, dtype=torch.float32), randn(2, 3, 6, 5, dtype=torch.float32)
    geometry = ConvolutionGeometry((6, 5), (1, 1))
    for result in (forward(x, w, geometry), input_gradient(grad, w, geometry)):
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert result.data_ptr() not in (x.data_ptr(), w.data_ptr(), grad.data_ptr())


def test_nothing_is_read_beyond_a_slice_of_channels() -> None:
    wide = torch.full((2, 6, 6, 12), torch.nan)
    wide[..., 4:9] = randn(2, 6, 6, 5, dtype=torch.float32)
    x = wide[..., 4:9].permute(0, 3, 1, 2)
    assert implicit_gemm._channels_last(x) is x  # no copy hides the neighbours
    w = randn(3, 5, 3, 3, seed=1, dtype=torch.float32)
    assert_first_order_right(call_of("conv2d", x, w, padding=1), "implicit_gemm")


@pytest.mark.parametrize("arguments", [{"padding": 1}, {"stride": 2, "dilation": 2}])
def test_nan_spreads_no_farther_than_in_the_formula(arguments: dict[str, int]) -> None:
    # Tiles reach beyond the sums and the pixels, and a NaN that is multiplied by zero stays one.
    x, w = randn(2, 3, 8, 7, dtype=torch.float32), randn(4, 3, 3, 3, seed=1, dtype=torch.float32)
    grad = randn(*torchs.conv2d(x, w, **arguments).shape, seed=2, dtype=torch.float32)
    x[0, 1, 7, 6] = grad[1, 2, -1, -1] = torch.nan
    leaves = [x.requires_grad_(), w.requires_grad_()]
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    ours = partial(conv2d, algorithm="implicit_gemm")
    y, expected = ours(*leaves, **arguments), torchs.conv2d(*exact, **arguments)
    assert torch.equal(y.isnan(), expected.isnan())
    for actual, reference in zip(
        torch.autograd.grad(y, leaves, grad),
        torch.autograd.grad(expected, exact, grad.double()),
        strict=True,
    ):
        assert torch.equal(actual.isnan(), reference.isnan())


@pytest.mark.parametrize(
    ("epsilon", "has_relu", "pool", "dtype"),
    [
        *((1e-5, True, 2, dtype) for dtype in (torch.float32, torch.bfloat16)),
        (1e-5, False, 1, torch.bfloat16),
        (1e-5, False, 3, torch.float32),
        (None, True, 2, torch.bfloat16),
    ],
)
def test_a_block_computes_what_compiled_loops_compute(
    epsilon: float | None, has_relu: bool, pool: int, dtype: torch.dtype
) -> None:
    """From the same numbers: many are equal, some are NaN, and the last pixels are not pooled."""
    shape = (2, 70, 7, 8)  # more channels than a tile has
    x = randn(*shape, dtype=torch.float32).mul(2).round().to(dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    statistics = gpu_block.statistics(x)
    torch.testing.assert_close(statistics, block_kernels.statistics(x.float()))
    x[0, 3, 0, 1] = x[0, 3, 1, 0] = torch.nan
    gamma, beta = randn(70, dtype=torch.float32), randn(70, seed=1, dtype=torch.float32)
    parameters = [] if epsilon is None else [statistics, gamma, beta]
    block = Block.of(shape, torch.float32, epsilon, has_relu, pool)
    g = randn(2, 70, 7 // pool, 8 // pool, seed=2, dtype=torch.float32).to(dtype)
    g = g.contiguous(memory_format=torch.channels_last)

    def all_of(kernels: Any, g: torch.Tensor, x: torch.Tensor) -> Iterator[torch.Tensor]:
        yield kernels.forward(block, x, parameters)
        means = None
        if parameters:
            x = x.nan_to_num()  # whose products are no numbers either
            sums = kernels.sums(block, g, x, parameters)
            yield sums
            means = sums / (2 * 7 * 8)
        yield kernels.input_gradient(block, g, x, parameters, means)
        yield kernels.input_gradient(block, g, x, parameters)

    expected = all_of(block_kernels, g.float(), x.float())
    for actual, exact in zip(all_of(gpu_block, g, x), expected, strict=True):
        assert actual.stride() == exact.stride()
        rounding = 1e-5 if actual.dtype == torch.float32 else 2**-7  # the interpreter cuts
        torch.testing.assert_close(actual.float(), exact, rtol=rounding, atol=1e-5, equal_nan=True)


BLOCKS = [case for case in argument_grid() if case.operator == "block"]


@pytest.mark.parametrize(
    ("case", "dtype", "algorithm"),
    # In turns, as a block's own kernels do not depend on what computes its convolution.
    list(
        zip(
            BLOCKS[::3] + BLOCKS[1::3],
            itertools.cycle(DTYPES),
            itertools.cycle(["auto", "implicit_gemm"]),
            strict=False,
        )
    ),
    ids=str,
)
def test_verification_case_of_a_block(
    case: Case, dtype: torch.dtype, algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So "auto" takes what it takes on a GPU.
    monkeypatch.setattr(compiler, "_MISSING", "is missing")
    launched = []
    forward = gpu_block.forward
    monkeypatch.setattr(
        gpu_block, "forward", lambda *operands: launched.append(1) or forward(*operands)
    )
    assert_first_order_right(draw(case, dtype, seed=1), algorithm)
    norm, relu, pool = (case.arguments[name] for name in ("norm", "relu", "pool"))
    assert bool(launched) == (norm is not None or relu or pool > 1)


@pytest.mark.parametrize("algorithm", ["auto", "implicit_gemm"])
def test_results_of_a_block_may_be_overwritten(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "_MISSING", "is missing")
    x = randn(2, 3, 6, 6, dtype=torch.float32).requires_grad_()
    for layers in ([ReLU(inplace=True)], [ReLU(), MaxPool2d(2)]):
        y = Sequential(Conv2d(3, 4, 3, algorithm=algorithm), *layers)(x)
        y.mul_(2).sum().backward()


def test_more_pixels_than_kernels_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Sequential(Conv2d(3, 4, 3, padding=2), BatchNorm2d(4), ReLU(), MaxPool2d(2))
    x = randn(2, 3, 6, 6, dtype=torch.float32)
    expected = copy.deepcopy(network)(x)
    monkeypatch.setattr(compiler, "_MISSING", "is missing")
    limit = x.numel() // 3  # the convolution has more
    monkeypatch.setattr(
        implicit_gemm, "too_many_pixels", lambda pixels: "too many" if pixels > limit else None
    )
    y = network(x)
    assert type(y.grad_fn).__name__ != "_BlockBackward"
    torch.testing.assert_close(y, expected)


def test_of_16_bits_the_second_derivative_takes_the_same_winners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Numbers that differ, but not in 16 bits."""
    monkeypatch.setattr(compiler, "_MISSING", "is missing")
    norm = BatchNorm2d(4)
    torch.nn.init.constant_(norm.bias, 30.0)
    network = Sequential(norm, ReLU(), MaxPool2d(2))
    x = randn(8, 4, 8, 8, dtype=torch.bfloat16).requires_grad_()
    upstream = randn(8, 4, 4, 4, dtype=torch.bfloat16, seed=1)
    once, twice = (
        torch.autograd.grad(network(x), x, upstream, create_graph=again)[0]
        for again in (False, True)
    )
    assert (once - twice).abs().max() < 0.1 * once.abs().max()


@pytest.mark.parametrize("training", [True, False])
def test_a_block_of_layers_takes_these_kernels_and_derives_twice(training: bool) -> None:
    def gradients(algorithm: str) -> Iterator[torch.Tensor]:
        torch.manual_seed(0)
        # In training its bias changes nothing, and the bias's gradient is rounding.
        convolution = Conv2d(3, 5, 3, padding=1, bias=not training, algorithm=algorithm)
        network = Sequential(convolution, BatchNorm2d(5), ReLU(), MaxPool2d(2)).train(training)
        x = randn(4, 3, 7, 6, dtype=torch.float32).requires_grad_()
        leaves = [x, *network.parameters()]
        y = network(x)
        assert type(y.grad_fn).__name__ == "_BlockBackward"
        yield from [y, *torch.autograd.grad(y.square().sum(), leaves, retain_graph=True)]
        slopes = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
        yield from torch.autograd.grad(sum(slope.square().sum() for slope in slopes), leaves)
        yield from network.buffers()

    for actual, expected in zip(gradients("implicit_gemm"), gradients("auto"), strict=True):
        scale = expected.abs().max().item()
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4 * scale + 1e-4)
