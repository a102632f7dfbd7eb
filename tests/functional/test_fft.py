import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as torchs

from cnnpipe.functional import fft
from cnnpipe.functional.convolution import _CrossCorrelation
from cnnpipe.geometry import ConvolutionGeometry
from tests.helpers.torch_reference import assert_matches_torch, randn

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]


def test_lengths_of_the_circle_are_products_of_2_3_and_5() -> None:
    assert [n for n in range(1, 33) if fft._smooth(n) == n] == [
        *(1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 18, 20, 24, 25, 27, 30, 32)
    ]
    assert fft._smooth(1025) == 1080  # 2³·3³·5


def test_the_zeros_behind_an_image_are_those_before_the_next() -> None:
    # 28 + max(3, 2) = 31 down, and 28 + 0 across; behind both comes the next smooth number.
    geometry = ConvolutionGeometry((28, 28), (6, 1), padding=(3, 2, 0, 0))
    assert fft._period(geometry) == (32, 30)


def assert_computes(
    x: Tensor,
    w: Tensor,
    padding: Sides = (0, 0, 0, 0),
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> None:
    """The output and both gradients are torch's."""
    top, bottom, left, right = padding
    geometry = ConvolutionGeometry(
        (x.shape[2], x.shape[3]), (w.shape[2], w.shape[3]), stride, padding, dilation, groups
    )
    assert fft.unsupported(x, geometry) is None
    assert_matches_torch(
        lambda x, w: _CrossCorrelation.apply(x, w, None, geometry, fft),
        lambda x, w: torchs.conv2d(
            torchs.pad(x, (left, right, top, bottom)), w, None, stride, 0, dilation, groups
        ),
        x,
        w,
    )


def test_worked_example() -> None:
    image = torch.tensor([[[[0.0, 1, 2], [3, 4, 5], [6, 7, 8]]]])
    kernel = torch.tensor([[[[0.0, 1], [2, 3]]]])
    # 0·0 + 1·1 + 3·2 + 4·3 = 19   1·0 + 2·1 + 4·2 + 5·3 = 25
    # 3·0 + 4·1 + 6·2 + 7·3 = 37   4·0 + 5·1 + 7·2 + 8·3 = 43
    actual = fft.forward(image, kernel, ConvolutionGeometry((3, 3), (2, 2)))
    torch.testing.assert_close(actual, torch.tensor([[[[19.0, 25], [37, 43]]]]))


@pytest.mark.parametrize("kernel_size", [(7, 7), (11, 8), (1, 13), (16, 15), (2, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_large_kernels(kernel_size: Pair, groups: int) -> None:
    kH, kW = kernel_size
    x, w = randn(2, 4, 16, 15), randn(6, 4 // groups, kH, kW, seed=1)
    for padding in [(0, 0, 0, 0), (kH // 2, kH // 2, kW // 2, kW // 2), (kH, 0, 1, kW + 1)]:
        assert_computes(x, w, padding, groups=groups)


@pytest.mark.parametrize(
    ("stride", "dilation", "groups"),
    list(itertools.product([(1, 1), (2, 3)], [(1, 1), (3, 2)], [1, 4])),
)
def test_stride_dilation_and_groups(stride: Pair, dilation: Pair, groups: int) -> None:
    x, w = randn(2, 4, 12, 13), randn(8, 4 // groups, 4, 3, seed=1)
    for padding in [(0, 0, 0, 0), (2, 2, 1, 1), (0, 3, 5, 0)]:
        assert_computes(x, w, padding, stride, dilation, groups)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    extra=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    kernel_size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    padding=st.tuples(*[st.integers(0, 6)] * 4),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    groups=st.integers(1, 3),
    images=st.integers(0, 3),
)
@example((0, 0), (1, 1), (6, 6, 6, 6), (1, 1), (1, 1), (1, 1), 1, 1)  # more outputs than pixels
def test_matches_torch_at_random(
    extra: Pair,
    kernel_size: Pair,
    padding: Sides,
    stride: Pair,
    dilation: Pair,
    channels: Pair,
    groups: int,
    images: int,
) -> None:
    borders = sum(padding[:2]), sum(padding[2:])
    rows, columns = (
        max(1, d * (k - 1) + 1 - border) + more
        for d, k, border, more in zip(dilation, kernel_size, borders, extra, strict=True)
    )
    assert_computes(
        randn(images, groups * channels[0], rows, columns),
        randn(groups * channels[1], channels[0], *kernel_size, seed=1),
        padding,
        stride,
        dilation,
        groups,
    )


@pytest.mark.parametrize("images", [1, 4, 5, 6])
def test_several_blocks_of_images(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # An image takes 9·8 pixels·(3 + 5 channels)·8 bytes = 4,608: two fit, the last may be alone.
    monkeypatch.setattr(fft, "BLOCK_BYTES", 10_000)
    assert_computes(randn(images, 3, 8, 7), randn(5, 3, 3, 3, seed=1), (1, 1, 1, 1))


def test_any_memory_layout() -> None:
    x, w = randn(2, 4, 7, 6), randn(4, 4, 3, 3, seed=1)
    for layout in (
        lambda t: t.contiguous(memory_format=torch.channels_last),
        lambda t: t.mT.contiguous().mT,
        lambda t: t.repeat_interleave(2, -1)[..., ::2],
        lambda t: t[:, :1].expand_as(t),
    ):
        assert_computes(layout(x), layout(w), (1, 1, 1, 1))


def test_results_are_channels_last() -> None:
    geometry = ConvolutionGeometry((8, 8), (3, 3))
    y = fft.forward(randn(2, 4, 8, 8), randn(4, 4, 3, 3), geometry)
    assert y.is_contiguous(memory_format=torch.channels_last)
    x = fft.input_gradient(y, randn(4, 4, 3, 3), geometry)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_operands_are_left_alone() -> None:
    geometry = ConvolutionGeometry((8, 8), (3, 3), padding=(1, 1, 1, 1))
    operands = {"x": randn(2, 3, 8, 8), "w": randn(3, 3, 3, 3), "grad": randn(2, 3, 8, 8)}
    before = {name: tensor.clone() for name, tensor in operands.items()}
    fft.forward(operands["x"], operands["w"], geometry)
    fft.input_gradient(operands["grad"], operands["w"], geometry)
    fft.weight_gradient(operands["x"], operands["grad"], geometry)
    torch.testing.assert_close(operands, before, rtol=0, atol=0)


# Relative to the largest number of each result: a few roundings of the type in which it is stored.
@pytest.mark.parametrize(
    ("dtype", "error"),
    [
        (torch.float64, 4e-15),
        (torch.float32, 2e-6),
        (torch.float16, 1e-3),
        (torch.bfloat16, 8e-3),
    ],
)
@pytest.mark.parametrize("taps", [3, 7, 14])
def test_rounding(taps: int, dtype: torch.dtype, error: float) -> None:
    x, w = randn(4, 32, 14, 14, dtype=dtype), randn(32, 32, taps, taps, seed=1, dtype=dtype)
    geometry = ConvolutionGeometry((14, 14), (taps, taps))
    leaves = [tensor.to(torch.float64, copy=True).requires_grad_() for tensor in (x, w)]
    expected = torchs.conv2d(*leaves)
    grad = randn(*expected.shape, seed=2, dtype=dtype)
    gradients = torch.autograd.grad(expected, leaves, grad.double())
    for actual, exact in [
        (fft.forward(x, w, geometry), expected),
        (fft.input_gradient(grad, w, geometry), gradients[0]),
        (fft.weight_gradient(x, grad, geometry), gradients[1]),
    ]:
        assert actual.dtype == dtype
        assert (actual - exact).abs().max() < error * exact.abs().max()
