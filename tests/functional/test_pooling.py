from typing import Any

import pytest
import torch
from torch.nn import functional as torchs

from cnnpipe.functional import avg_pool2d, max_pool2d

IMAGE = torch.tensor([[[[1.0, 2, 5, 0], [3, 4, 1, 1], [0, 0, 7, 2], [0, 9, 3, 8]]]])


def test_worked_maximum() -> None:
    # max(1, 2, 3, 4) = 4   max(5, 0, 1, 1) = 5
    # max(0, 0, 0, 9) = 9   max(7, 2, 3, 8) = 8
    maximum, indices = max_pool2d(IMAGE, 2, return_indices=True)
    assert maximum.tolist() == [[[[4, 5], [9, 8]]]]
    assert indices.tolist() == [[[[5, 2], [13, 15]]]]  # 4 lies at row 1, column 1: 1·4 + 1


def test_worked_mean() -> None:
    # (1 + 2 + 3 + 4) / 4 = 2.5    (5 + 0 + 1 + 1) / 4 = 1.75
    # (0 + 0 + 0 + 9) / 4 = 2.25   (7 + 2 + 3 + 8) / 4 = 5
    assert avg_pool2d(IMAGE, 2).tolist() == [[[[2.5, 1.75], [2.25, 5]]]]


def test_worked_mean_at_the_border() -> None:
    ones = torch.ones(1, 1, 3, 3)
    # Windows of 2×2 at −1, 1 and, with ceil_mode, at 3, which the last pixel of padding makes 1×1.
    counted = avg_pool2d(ones, 2, padding=1)
    assert counted.tolist() == [[[[0.25, 0.5], [0.5, 1]]]]
    assert avg_pool2d(ones, 2, padding=1, count_include_pad=False).tolist() == [[[[1, 1], [1, 1]]]]
    assert avg_pool2d(ones, 2, divisor_override=8).tolist() == [[[[0.5]]]]
    assert avg_pool2d(ones, 2, ceil_mode=True).tolist() == [[[[1, 1], [1, 1]]]]


def test_gradient_goes_to_the_first_maximum() -> None:
    image = torch.tensor([[[1.0, 3], [3, 3]]], requires_grad=True)
    maximum, indices = max_pool2d(image, 2, return_indices=True)
    maximum.sum().backward()
    assert indices.tolist() == [[[1]]]
    assert image.grad is not None
    assert image.grad.tolist() == [[[0, 1], [0, 0]]]


def test_gradients_of_overlapping_windows_add_up() -> None:
    image = torch.tensor([[[0.0, 9, 0]]], requires_grad=True)
    max_pool2d(image, (1, 2), stride=1).sum().backward()
    assert image.grad is not None
    assert image.grad.tolist() == [[[0, 2, 0]]]


def test_window_of_nothing_but_minus_infinity_points_at_a_pixel() -> None:
    image = torch.full((1, 4, 5), -torch.inf)
    for arguments in ({"padding": 1}, {"padding": 1, "dilation": 2}, {"ceil_mode": True}):
        actual = max_pool2d(image, 3, 2, return_indices=True, **arguments)
        expected = torchs.max_pool2d(image, 3, 2, return_indices=True, **arguments)
        torch.testing.assert_close(actual, expected)


def test_window_of_nothing_but_padding_points_into_the_image() -> None:
    # Entries −1 and 2 of two pixels: dilation 3 steps over both.
    maximum, indices = max_pool2d(
        torch.zeros(1, 2, 2), 2, 3, 1, dilation=3, ceil_mode=True, return_indices=True
    )
    assert maximum.tolist() == [[[-torch.inf]]]
    assert 0 <= indices.item() < 4


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
@pytest.mark.parametrize("images", [(0, 3), (0,)])
def test_empty_batch(pool: Any, images: tuple[int, ...]) -> None:
    x = torch.zeros(*images, 4, 4, requires_grad=True)
    y = pool(x, 2)
    assert y.shape == (*images, 2, 2)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0], 2), TypeError, "input: expected a Tensor, got list"),
        ((IMAGE[0, 0], 2), ValueError, r"expected shape .* \(C, H, W\), got \(4, 4\)"),
        ((IMAGE.cfloat(), 2), TypeError, "input: expected one of .*, got torch.complex64"),
        ((IMAGE[..., :0], 2, 2, 1), ValueError, r"expected pixels, got shape \(1, 1, 4, 0\)"),
        ((IMAGE, 0), ValueError, "kernel_size: expected an int ≥ 1, got 0"),
        ((IMAGE, 2.0), TypeError, "kernel_size: expected an int, got 2.0"),
        ((IMAGE, (2, 2, 2)), ValueError, r"kernel_size: .* pair of ints, got \(2, 2, 2\)"),
        ((IMAGE, 2, 0), ValueError, "stride: expected an int ≥ 1, got 0"),
        ((IMAGE, 2, 1, -1), ValueError, "padding: expected an int ≥ 0, got -1"),
        ((IMAGE, 3, 1, 2), ValueError, r"at most half of kernel_size \(3, 3\), got \(2, 2\)"),
        ((IMAGE, 5), ValueError, "kernel_size 5 with dilation 1 covers 5 pixels, got .* of 4"),
    ],
)
def test_refuses(
    pool: Any, arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pool(*arguments)


def test_refuses_what_only_one_of_them_knows() -> None:
    with pytest.raises(TypeError, match="ceil_mode: expected True or False, got 1"):
        max_pool2d(IMAGE, 2, ceil_mode=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"expected one of .*, got torch\.uint16"):
        max_pool2d(IMAGE.to(torch.uint16), 2)
    with pytest.raises(TypeError, match="count_include_pad: expected True or False, got None"):
        avg_pool2d(IMAGE, 2, count_include_pad=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dilation: expected an int ≥ 1, got 0"):
        max_pool2d(IMAGE, 2, dilation=0)
    with pytest.raises(ValueError, match="divisor_override: expected an int other than 0, got 0"):
        avg_pool2d(IMAGE, 2, divisor_override=0)
    with pytest.raises(TypeError, match=r"divisor_override: expected an int, got 0\.5"):
        avg_pool2d(IMAGE, 2, divisor_override=0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected one of .*, got torch\.bool"):
        avg_pool2d(IMAGE.bool(), 2)
