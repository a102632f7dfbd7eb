import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as torchs

from cnnpipe.functional import relu, sigmoid, tanh
from tests.helpers.oracle import randn

PAIRS = [(relu, torchs.relu), (sigmoid, torch.sigmoid), (tanh, torch.tanh)]


def value_and_slope(operator: Any, x: float) -> tuple[float, float]:
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = operator(leaf)
    y.backward()
    assert leaf.grad is not None
    return y.item(), leaf.grad.item()


def test_worked_values() -> None:
    assert value_and_slope(relu, 2.5) == (2.5, 1)
    assert value_and_slope(relu, -2.5) == (0, 0)
    assert value_and_slope(relu, 0.0) == (0, 0)  # the convention at the kink
    assert value_and_slope(sigmoid, 0.0) == (0.5, 0.25)  # ½·(1 − ½)
    assert value_and_slope(tanh, 0.0) == (0, 1)
    # σ(ln 3) = 1 / (1 + 1/3) = 3/4, slope 3/4·1/4;  tanh(ln 2) = (2 − ½) / (2 + ½) = 3/5
    assert value_and_slope(sigmoid, math.log(3)) == pytest.approx((0.75, 0.1875), rel=1e-15)
    assert value_and_slope(tanh, math.log(2)) == pytest.approx((0.6, 0.64), rel=1e-15)


@pytest.mark.parametrize(("ours", "torchs"), PAIRS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=str)
def test_extreme_values(ours: Any, torchs: Any, dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    x = torch.tensor(
        [torch.nan, torch.inf, -torch.inf, info.max, info.min, 100, -100, 0.0, -0.0], dtype=dtype
    )
    torch.testing.assert_close(ours(x), torchs(x), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_relu_of_integers(dtype: torch.dtype) -> None:
    x = torch.tensor([0, 1, 200], dtype=dtype)
    assert relu(x).tolist() == [0, 1, 200]
    assert relu(x).dtype == dtype


def test_relu_in_place_overwrites_its_input() -> None:
    def gradient(operator: Any) -> Tensor:
        x = randn(20).requires_grad_()
        y = x * 2
        z = operator(y)
        assert z.data_ptr() == y.data_ptr()
        assert (y >= 0).all()
        z.pow(2).sum().backward()
        assert x.grad is not None
        return x.grad

    torch.testing.assert_close(
        gradient(functools.partial(relu, inplace=True)),
        gradient(functools.partial(torchs.relu, inplace=True)),
    )


@pytest.mark.parametrize(
    ("operator", "x", "message"),
    [
        *((operator, 1.0, "input: expected a Tensor, got float") for operator, _ in PAIRS),
        (relu, torch.tensor([1j]), r"expected one of float64.*int64, got torch\.complex64"),
        (sigmoid, torch.tensor([1]), r"expected one of .*bfloat16, got torch\.int64"),
        (tanh, torch.tensor([1]), r"expected one of .*bfloat16, got torch\.int64"),
    ],
)
def test_refuses(operator: Any, x: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        operator(x)
