import itertools
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch.nn import functional as torchs

from cnnpipe.functional import winograd
from cnnpipe.geometry import ConvolutionGeometry
from tests.helpers.oracle import assert_right, call_of, randn


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


@pytest.mark.parametrize("kernel_size", list(itertools.product(range(1, 6), repeat=2)))
@pytest.mark.parametrize("groups", [1, 2])
def test_every_kernel_size(kernel_size: tuple[int, int], groups: int) -> None:
    operands = randn(2, 4, 9, 8), randn(6, 4 // groups, *kernel_size, seed=1)
    call = call_of("conv2d", *operands, padding=(1, 0, 2, 1), groups=groups)
    assert_right(call, "winograd")


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
