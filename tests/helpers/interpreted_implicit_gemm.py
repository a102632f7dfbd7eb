"""The kernels of `implicit_gemm` against the oracle, in Triton's interpreter instead of on a GPU.

Triton decides when it is imported whether it interprets, so `test_implicit_gemm` runs this file in
a process of its own, with TRITON_INTERPRET=1.
"""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional as torchs

from cnnpipe.functional import conv2d, implicit_gemm
from cnnpipe.functional.implicit_gemm import forward, input_gradient, weight_gradient
from cnnpipe.geometry import ConvolutionGeometry
from cnnpipe.verify.cases import Case, argument_grid, draw
from cnnpipe.verify.reference import Call
from tests.helpers.oracle import assert_first_order_right, assert_right, call_of, randn
from tests.properties import calls
from tests.properties.promises import QUIET

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BATCHES = [case for case in argument_grid() if case.operator == "conv2d" and len(case.input) == 4]
# Interpreted kernels are slow: some of the products of all arguments and of `padding="same"`, and
# nearly all of the other cases; for most of them no second derivatives.
SOME = BATCHES[:81:16] + BATCHES[81:89:4] + BATCHES[89:-2]
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
