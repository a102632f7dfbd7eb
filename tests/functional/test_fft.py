import pytest

from cnnpipe.functional import fft
from cnnpipe.geometry import ConvolutionGeometry
from tests.helpers.oracle import assert_right, call_of, randn


def test_lengths_of_the_circle_are_products_of_2_3_and_5() -> None:
    assert [n for n in range(1, 33) if fft._smooth(n) == n] == [
        *(1, 2, 3, 4, 5, 6, 8, 9, 10, 12, 15, 16, 18, 20, 24, 25, 27, 30, 32)
    ]
    assert fft._smooth(1025) == 1080  # 2³·3³·5


def test_zeros_after_an_image_are_also_those_before_the_next() -> None:
    # 28 + max(3, 2) = 31 down, and 28 + 0 across; behind both comes the next smooth number.
    geometry = ConvolutionGeometry((28, 28), (6, 1), padding=(3, 2, 0, 0))
    assert fft._period(geometry) == (32, 30)


@pytest.mark.parametrize("kernel_size", [(7, 7), (11, 8), (1, 13), (16, 15), (2, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_large_kernels(kernel_size: tuple[int, int], groups: int) -> None:
    kH, kW = kernel_size
    x, w = randn(2, 4, 16, 15), randn(6, 4 // groups, kH, kW, seed=1)
    for padding in [(0, 0, 0, 0), (kH // 2, kH // 2, kW // 2, kW // 2), (kH, 0, 1, kW + 1)]:
        assert_right(call_of("conv2d", x, w, padding=padding, groups=groups), "fft")
