import itertools
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as torchs

from cnnpipe.functional import winograd
from cnnpipe.functional.convolution import _CrossCorrelation
from cnnpipe.geometry import ConvolutionGeometry
from tests.helpers.torch_reference import assert_matches_torch, randn

Sides = tuple[int, int, int, int]


def test_numerators_of_the_points() -> None:
    # At 0: (z² − 4/9)·(z² − 9/4) = z⁴ − 97/36·z² + 1; at 2/3: z·(z + 2/3)·(z² − 9/4).
    at_0, at_two_thirds, *_ = winograd._numerators()
    assert at_0 == (1, 0, Fraction(-97, 36), 0, 1, 0)
    assert at_two_thirds == (0, Fraction(-3, 2), Fraction(-9, 4), Fraction(2, 3), 1, 0)


@pytest.mark.parametrize("taps", range(1, 6))
def test_interpolation_is_exact(taps: int) -> None:
    # In rational numbers: Σ_p A[p,i]·K[p,j]·B[p,l] is 1 where l = i + j, else 0.
    outputs = 7 - taps
    matrices = winograd._powers(outputs), winograd._lagrange(taps), winograd._numerators()
    for i, j, pixel in itertools.product(range(outputs), range(taps), range(6)):
        total = sum(a[i] * k[j] * b[pixel] for a, k, b in zip(*matrices, strict=True))
        assert total == (pixel == i + j)


def assert_computes(x: Tensor, w: Tensor, padding: Sides = (0, 0, 0, 0), groups: int = 1) -> None:
    """The output and both gradients are torch's."""
    top, bottom, left, right = padding
    geometry = ConvolutionGeometry(
        (x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]), padding=padding, groups=groups
    )
    assert winograd.unsupported(x, geometry) is None
    assert_matches_torch(
        lambda x, w: _CrossCorrelation.apply(x, w, None, geometry, winograd),
        lambda x, w: torchs.conv2d(torchs.pad(x, (left, right, top, bottom)), w, groups=groups),
        x,
        w,
    )


def test_worked_example() -> None:
    image = torch.tensor([[[[0.0, 1, 2], [3, 4, 5], [6, 7, 8]]]])
    kernel = torch.tensor([[[[0.0, 1], [2, 3]]]])
    # 0·0 + 1·1 + 3·2 + 4·3 = 19   1·0 + 2·1 + 4·2 + 5·3 = 25
    # 3·0 + 4·1 + 6·2 + 7·3 = 37   4·0 + 5·1 + 7·2 + 8·3 = 43
    actual = winograd.forward(image, kernel, ConvolutionGeometry((3, 3), (2, 2)))
    torch.testing.assert_close(actual, torch.tensor([[[[19.0, 25], [37, 43]]]]))


@pytest.mark.parametrize("kernel_size", list(itertools.product(range(1, 6), repeat=2)))
@pytest.mark.parametrize("groups", [1, 2])
def test_every_kernel_size(kernel_size: tuple[int, int], groups: int) -> None:
    assert_computes(
        randn(2, 4, 9, 8), randn(6, 4 // groups, *kernel_size, seed=1), (1, 0, 2, 1), groups
    )


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    extra=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    kernel_size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    padding=st.tuples(*[st.integers(0, 6)] * 4),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    groups=st.integers(1, 3),
    images=st.integers(0, 3),
)
@example((0, 0), (1, 1), (6, 6, 6, 6), (1, 1), 1, 1)  # the input's gradient is cut from the tiles
@example((3, 3), (3, 3), (0, 0, 0, 0), (1, 1), 1, 1)  # just one tile
@example((4, 4), (3, 3), (0, 0, 0, 0), (1, 1), 1, 1)  # and a pixel more
def test_matches_torch_at_random(
    extra: tuple[int, int],
    kernel_size: tuple[int, int],
    padding: Sides,
    channels: tuple[int, int],
    groups: int,
    images: int,
) -> None:
    rows = max(1, kernel_size[0] - sum(padding[:2])) + extra[0]
    columns = max(1, kernel_size[1] - sum(padding[2:])) + extra[1]
    assert_computes(
        randn(images, groups * channels[0], rows, columns),
        randn(groups * channels[1], channels[0], *kernel_size, seed=1),
        padding,
        groups,
    )


@pytest.mark.parametrize("images", [1, 4, 5, 6])
def test_several_blocks_of_images(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # An image takes 36·4 tiles·(3 + 5 channels)·8 bytes = 9,216: two fit, the last may be alone.
    monkeypatch.setattr(winograd, "BLOCK_BYTES", 20_000)
    assert_computes(randn(images, 3, 7, 6), randn(5, 3, 3, 3, seed=1), (1, 1, 1, 1))


def test_any_memory_layout() -> None:
    x, w = randn(2, 4, 7, 6), randn(4, 4, 3, 3, seed=1)
    for layout in (
        lambda t: t.contiguous(memory_format=torch.channels_last),
        lambda t: t.mT.contiguous().mT,
        lambda t: t.repeat_interleave(2, -1)[..., ::2],
        lambda t: t[:, :1].expand_as(t),
    ):
        assert_computes(layout(x), layout(w), (1, 1, 1, 1))


def test_result_is_channels_last() -> None:
    geometry = ConvolutionGeometry((8, 8), (3, 3))
    y = winograd.forward(randn(2, 4, 8, 8), randn(4, 4, 3, 3), geometry)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_operands_are_left_alone() -> None:
    geometry = ConvolutionGeometry((8, 8), (3, 3), padding=(1, 1, 1, 1))
    operands = {"x": randn(2, 3, 8, 8), "w": randn(3, 3, 3, 3), "grad": randn(2, 3, 8, 8)}
    before = {name: tensor.clone() for name, tensor in operands.items()}
    winograd.forward(operands["x"], operands["w"], geometry)
    winograd.input_gradient(operands["grad"], operands["w"], geometry)
    winograd.weight_gradient(operands["x"], operands["grad"], geometry)
    torch.testing.assert_close(operands, before, rtol=0, atol=0)


# Relative to the largest number of each result, a few roundings of the type in which it is stored;
# in float32 and float64 the transforms' own are added, measured at 2e-6 and 4e-15.
@pytest.mark.parametrize(
    ("dtype", "error"),
    [
        (torch.float64, 2e-14),
        (torch.float32, 1e-5),
        (torch.float16, 1e-3),
        (torch.bfloat16, 8e-3),
    ],
)
@pytest.mark.parametrize("taps", [1, 3, 5])
def test_rounding(taps: int, dtype: torch.dtype, error: float) -> None:
    x, w = randn(4, 64, 14, 14, dtype=dtype), randn(64, 64, taps, taps, seed=1, dtype=dtype)
    geometry = ConvolutionGeometry((14, 14), (taps, taps))
    leaves = [tensor.to(torch.float64, copy=True).requires_grad_() for tensor in (x, w)]
    expected = torchs.conv2d(*leaves)
    grad = randn(*expected.shape, seed=2, dtype=dtype)
    gradients = torch.autograd.grad(expected, leaves, grad.double())
    for actual, exact in [
        (winograd.forward(x, w, geometry), expected),
        (winograd.input_gradient(grad, w, geometry), gradients[0]),
        (winograd.weight_gradient(x, grad, geometry), gradients[1]),
    ]:
        assert actual.dtype == dtype
        assert (actual - exact).abs().max() < error * exact.abs().max()


def test_points_halve_the_error_of_the_textbooks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = randn(8, 64, 14, 14, dtype=torch.float32), randn(64, 64, 3, 3, dtype=torch.float32)
    geometry, exact = ConvolutionGeometry((14, 14), (3, 3)), torchs.conv2d(x.double(), w.double())

    def error() -> float:
        return float((winograd.forward(x, w, geometry) - exact).norm())

    ours = error()
    caches: list[Any] = [winograd._powers, winograd._lagrange, winograd._numerators]
    monkeypatch.setattr(winograd, "POINTS", tuple(map(Fraction, (0, 1, -1, 2, -2))))
    try:
        for cached in caches:
            cached.cache_clear()
        assert error() > 1.7 * ours
    finally:
        for cached in caches:
            cached.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"kernel_size": (3, 6)}, "expects kernels of 1 to 5 pixels, got 3×6"),
        ({"kernel_size": (7, 7)}, "expects kernels of 1 to 5 pixels, got 7×7"),
        ({"kernel_size": (3, 3), "stride": (2, 1)}, "expects stride 1, got (2, 1)"),
        ({"kernel_size": (3, 3), "dilation": (1, 2)}, "expects dilation 1, got (1, 2)"),
        ({"kernel_size": (1, 5)}, None),
    ],
)
def test_unsupported(arguments: dict[str, Any], reason: str | None) -> None:
    geometry = ConvolutionGeometry(input_size=(9, 9), **arguments)
    assert winograd.unsupported(torch.zeros(1, 1, 9, 9), geometry) == reason
