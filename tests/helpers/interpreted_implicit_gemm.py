"""The kernels of `implicit_gemm` against the truth, in Triton's interpreter instead of on a GPU.

Triton decides when it is imported whether it interprets, so `test_implicit_gemm` runs this file in
a process of its own, with TRITON_INTERPRET=1.
"""

import functools
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as torchs

from cnnpipe.functional import convolution, implicit_gemm
from cnnpipe.functional.convolution_arguments import convolution_geometry
from cnnpipe.functional.implicit_gemm import forward, input_gradient, weight_gradient
from cnnpipe.geometry import ConvolutionGeometry
from cnnpipe.verify.cases import Case, argument_grid, draw
from cnnpipe.verify.reference import compare, quantities, truths
from tests.helpers.torch_reference import assert_matches_torch, randn

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
BATCHES = [case for case in argument_grid() if case.operator == "conv2d" and len(case.input) == 4]
# Some of the products of all arguments, of `padding="same"`, and nearly all of the other cases.
SOME = BATCHES[:81:16] + BATCHES[81:89:4] + BATCHES[89:-2]
CASES = list(zip(SOME, itertools.cycle(DTYPES), strict=False))


def conv2d(
    input: Tensor,
    weight: Tensor,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    geometry = convolution_geometry(input, weight, stride, padding, dilation, groups)
    assert implicit_gemm.unsupported(input, geometry) is None
    output: Tensor = convolution._CrossCorrelation.apply(
        input, weight, None, geometry, implicit_gemm
    )
    return output


def draw_without_bias(case: Case, dtype: torch.dtype) -> tuple[dict[str, Tensor], ...]:
    operands, probes = draw(case, dtype, seed=1)
    for tensors in (operands, probes):
        tensors.pop("bias", None)
    return operands, probes


@pytest.mark.parametrize(("case", "dtype"), CASES, ids=str)
def test_verification_case(case: Case, dtype: torch.dtype) -> None:
    operands, probes = draw_without_bias(case, dtype)
    truth = truths("conv2d", operands, probes, case.arguments)
    x, w, grad = operands["input"], operands["weight"], probes["upstream"]
    arguments = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | dict(case.arguments)
    geometry = convolution_geometry(x, w, **arguments)
    for quantity, actual in {
        "forward": forward(x, w, geometry),
        "input_gradient": input_gradient(grad, w, geometry),
        "weight_gradient": weight_gradient(x, grad, geometry),
    }.items():
        if quantity in truth:
            error = compare(actual, truth[quantity])
            assert error.bounds <= 1, f"{quantity}: {error}"


@pytest.mark.parametrize(
    ("arguments", "dtype"),
    [
        ({"padding": 1}, torch.bfloat16),
        ({"stride": 2, "dilation": 3, "groups": 2}, torch.float32),
    ],
)
def test_derivatives_of_second_order(arguments: dict[str, int], dtype: torch.dtype) -> None:
    operands = {
        "input": randn(2, 4, 9, 8, dtype=dtype),
        "weight": randn(6, 4 // arguments.get("groups", 1), 3, 2, seed=1, dtype=dtype),
    }
    probes = {name: randn(*x.shape, seed=2, dtype=dtype) for name, x in operands.items()}
    shape = torchs.conv2d(operands["input"], operands["weight"], **arguments).shape
    probes["upstream"] = randn(*shape, seed=3, dtype=dtype)
    results = quantities(functools.partial(conv2d, **arguments), operands, probes)
    for quantity, truth in truths("conv2d", operands, probes, arguments).items():
        if quantity != "forward_scipy":
            error = compare(results[quantity], truth)
            assert error.bounds <= 1, f"{quantity}: {error}"


@settings(derandomize=True, deadline=None, max_examples=10)
@given(data=st.data())
def test_any_geometry(data: st.DataObject) -> None:
    def pair(least: int, most: int) -> tuple[int, int]:
        return data.draw(st.integers(least, most)), data.draw(st.integers(least, most))

    kernel_size, stride, dilation, extra = pair(1, 4), pair(1, 4), pair(1, 4), pair(0, 6)
    (top, bottom), (left, right) = pair(0, 4), pair(0, 4)
    channels, groups = pair(1, 5), data.draw(st.integers(1, 3))
    size = [
        max(1, d * (k - 1) + 1 - p + e)
        for k, d, p, e in zip(
            kernel_size, dilation, (top + bottom, left + right), extra, strict=True
        )
    ]
    geometry = ConvolutionGeometry(
        (size[0], size[1]), kernel_size, stride, (top, bottom, left, right), dilation, groups
    )

    def ours(x: Tensor, w: Tensor) -> Tensor:
        y: Tensor = convolution._CrossCorrelation.apply(x, w, None, geometry, implicit_gemm)
        return y

    def torchs_own(x: Tensor, w: Tensor) -> Tensor:
        x = torchs.pad(x, (left, right, top, bottom))
        return torchs.conv2d(x, w, stride=stride, dilation=dilation, groups=groups)

    assert_matches_torch(
        ours,
        torchs_own,
        randn(2, groups * channels[0], *size, dtype=torch.float32),
        randn(groups * channels[1], channels[0], *kernel_size, seed=1, dtype=torch.float32),
        atol=1e-4,
        rtol=1e-5,
    )


# Several tiles of 64, the last of which is not full; blocks of the sum within one tap and across
# taps; sums in several parts.
@pytest.mark.parametrize(
    ("channels", "dtype"),
    [((64, 70), torch.float32), ((64, 70), torch.bfloat16), ((35, 130), torch.float16)],
)
def test_sizes_around_those_of_the_tiles(channels: tuple[int, int], dtype: torch.dtype) -> None:
    x = randn(2, channels[0], 7, 9, dtype=dtype)
    w = randn(channels[1], channels[0], 2, 2, seed=1, dtype=dtype)
    assert_within_rounding(x.abs(), w.abs())  # adding them up in 16 bits would lose most


@pytest.mark.parametrize("tile", [(128, 128, 64), (64, 32, 16)])
def test_result_does_not_depend_on_the_tile(
    tile: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = implicit_gemm._Blocks(*tile)
    monkeypatch.setattr(implicit_gemm._Blocks, "for_product", lambda *_: blocks)
    assert_within_rounding(
        randn(2, 7, 9, 8, dtype=torch.float16), randn(24, 7, 3, 3, seed=1, dtype=torch.float16)
    )


def assert_within_rounding(x: Tensor, w: Tensor) -> None:
    operands = {"input": x, "weight": w}
    shape = torchs.conv2d(x, w, padding=1).shape
    probes = {"upstream": randn(*shape, seed=2, dtype=x.dtype), "input": x, "weight": w}
    truth = truths("conv2d", operands, probes, {"padding": 1})
    leaves = [x.clone().requires_grad_(), w.clone().requires_grad_()]
    y = conv2d(*leaves, padding=1)
    gradients = torch.autograd.grad(y, leaves, probes["upstream"])
    for name, actual in zip(
        ("forward", "input_gradient", "weight_gradient"), (y, *gradients), strict=True
    ):
        error = compare(actual, truth[name])
        assert error.bounds <= 1, f"{name}: {error}"


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
    assert_matches_torch(
        functools.partial(conv2d, padding=1),
        functools.partial(torchs.conv2d, padding=1),
        x,
        w,
        atol=1e-4,
        rtol=1e-5,
    )


@pytest.mark.parametrize("arguments", [{"padding": 1}, {"stride": 2, "dilation": 2}])
def test_nan_spreads_no_farther_than_in_the_formula(arguments: dict[str, int]) -> None:
    # Tiles reach beyond the sums and the pixels, and a NaN that is multiplied by zero stays one.
    x, w = randn(2, 3, 8, 7, dtype=torch.float32), randn(4, 3, 3, 3, seed=1, dtype=torch.float32)
    grad = randn(*torchs.conv2d(x, w, **arguments).shape, seed=2, dtype=torch.float32)
    x[0, 1, 7, 6] = grad[1, 2, -1, -1] = torch.nan
    leaves = [x.requires_grad_(), w.requires_grad_()]
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    y, expected = conv2d(*leaves, **arguments), torchs.conv2d(*exact, **arguments)
    assert torch.equal(y.isnan(), expected.isnan())
    for actual, reference in zip(
        torch.autograd.grad(y, leaves, grad),
        torch.autograd.grad(expected, exact, grad.double()),
        strict=True,
    ):
        assert torch.equal(actual.isnan(), reference.isnan())
