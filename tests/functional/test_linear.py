from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from cnnpipe.functional import linear
from tests.helpers.oracle import assert_right, call_of, randn

X = torch.tensor([[1.0, 2, 3], [0, 1, -1]])
W = torch.tensor([[1.0, 0, 2], [3, -1, 1]])
BIAS = torch.tensor([0.5, 10])


def test_worked_values() -> None:
    # 1·1 + 2·0 + 3·2 + 0.5 = 7.5    1·3 − 2·1 + 3·1 + 10 = 14
    # 0·1 + 1·0 − 1·2 + 0.5 = −1.5   0·3 − 1·1 − 1·1 + 10 = 8
    assert linear(X, W, BIAS).tolist() == [[7.5, 14], [-1.5, 8]]
    assert linear(X[0], W).tolist() == [7, 4]


def test_worked_gradients() -> None:
    x, w, bias = (tensor.clone().requires_grad_() for tensor in (X, W, BIAS))
    upstream = torch.tensor([[1.0, 0], [2, 1]])
    dx, dw, dbias = torch.autograd.grad(linear(x, w, bias), (x, w, bias), upstream)
    assert dx.tolist() == [[1, 0, 2], [5, -1, 5]]  # the second row: 2·(1, 0, 2) + 1·(3, −1, 1)
    assert dw.tolist() == [[1, 4, 1], [0, 1, -1]]  # the first row: 1·(1, 2, 3) + 2·(0, 1, −1)
    assert dbias.tolist() == [3, 1]


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5), (0, 5), (2, 0, 5), (2, 1, 3, 1, 5)])
def test_any_axes_in_front(shape: tuple[int, ...]) -> None:
    for operands in [(randn(*shape), randn(3, 5), randn(3)), (randn(*shape), randn(3, 5))]:
        assert_right(call_of("linear", *operands))


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (0, 0)])
def test_no_features(sizes: tuple[int, int]) -> None:
    x, w, bias = (t.requires_grad_() for t in (randn(2, sizes[1]), randn(*sizes), randn(sizes[0])))
    actual, expected = linear(x, w, bias), nn.functional.linear(x, w, bias)
    torch.testing.assert_close(actual, expected)
    for found in (actual, expected):
        found.sum().backward()
    assert w.grad is not None
    assert w.grad.shape == sizes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64], ids=str)
def test_each_derivative_keeps_the_dtype(dtype: torch.dtype) -> None:
    x, w, g = (torch.ones(shape, dtype=dtype) for shape in ((2, 3), (4, 3), (2, 4)))
    ours = torch.ops.cnnpipe
    assert ours.linear(x, w, None).dtype == dtype
    assert ours.linear_input_gradient(g, w).dtype == dtype
    assert ours.linear_weight_gradient(x, g).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.filterwarnings("ignore:.torch.jit.script")  # of torch, about itself
def test_every_derivative(dtype: torch.dtype) -> None:
    real = not dtype.is_complex

    def numbers(*shape: int) -> Tensor:
        one, other = randn(*shape), randn(*shape, seed=1)
        return (one if real else torch.complex(one, other)).requires_grad_()

    operands = numbers(2, 3), numbers(2, 3), numbers(2)
    assert gradcheck(
        linear,
        operands,
        check_forward_ad=True,
        check_batched_grad=real,
        check_batched_forward_grad=real,
    )
    assert gradgradcheck(
        linear,
        operands,
        check_batched_grad=real,
        check_fwd_over_rev=True,
        check_rev_over_rev=True,
    )


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str
)
def test_integers(dtype: torch.dtype) -> None:
    least, most = torch.iinfo(dtype).min, torch.iinfo(dtype).max
    operands = [torch.randint(least, most, size).to(dtype) for size in ((4, 5), (3, 5), (3,))]
    assert torch.equal(linear(*operands), nn.functional.linear(*operands))  # sums wrap around


@pytest.mark.parametrize("with_bias", [True, False])
def test_vmap_over_rows_alone_stays_one_product(with_bias: bool) -> None:
    x, w = randn(3, 2, 5), randn(4, 5)
    rest = (w, randn(4)) if with_bias else (w, None)
    graph = make_fx(torch.func.vmap(lambda one: linear(one, *rest)))(x)
    [call] = [node for node in graph.graph.nodes if "linear" in str(node.target)]
    assert call.meta["val"].shape == (6, 4)
    torch.testing.assert_close(graph(x), linear(x, *rest))


@pytest.mark.parametrize("in_dims", [(0, 0, 0), (1, None, 0), (None, 1, None), (2, 2, None)])
def test_vmap_over_weights(in_dims: tuple[int | None, ...]) -> None:
    operands = [
        torch.stack([t, 2 * t, -t], axis) if axis is not None else t
        for t, axis in zip((randn(2, 5), randn(4, 5), randn(4)), in_dims, strict=True)
    ]
    actual = torch.func.vmap(linear, in_dims)(*operands)
    torch.testing.assert_close(actual, torch.func.vmap(nn.functional.linear, in_dims)(*operands))


def test_vmap_over_rows_of_vmap_over_weights() -> None:
    x, w = randn(3, 2, 5), randn(6, 4, 5)
    actual = torch.func.vmap(lambda rows: torch.func.vmap(lambda one: linear(rows, one))(w))(x)
    torch.testing.assert_close(actual, torch.einsum("bni,koi->bkno", x, w))


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5)])
def test_flops_are_those_of_torch(shape: tuple[int, ...]) -> None:
    counts = []
    for operator in (linear, nn.functional.linear):
        operands = [t.requires_grad_() for t in (randn(*shape), randn(3, 5), randn(3))]
        with FlopCounterMode(display=False) as counter:
            operator(*operands).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0], W), TypeError, "input: expected a Tensor, got list"),
        ((X, W.bool()), TypeError, r"weight: expected one of .*, got torch\.bool"),
        ((X, W[0]), ValueError, r"weight: expected shape \(out, in\), got \(3,\)"),
        ((X[:, :2], W), ValueError, r"input: expected shape \(…, 3\), got \(2, 2\)"),
        ((torch.tensor(1.0), W), ValueError, r"input: expected shape \(…, 3\), got \(\)"),
        ((X, W, BIAS[:1]), ValueError, r"bias: expected shape \(2,\), got \(1,\)"),
        ((X, W.double()), TypeError, r"weight: expected the input's torch\.float32, got .*64"),
        ((X, W, BIAS.double()), TypeError, r"bias: expected the input's torch\.float32, got .*64"),
        ((X, W.to("meta")), ValueError, "weight: expected the input's cpu, got meta"),
    ],
)
def test_refuses(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        linear(*arguments)
