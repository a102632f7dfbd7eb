import functools
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.nn import functional as torchs

from cnnpipe.functional import (
    compiled,
    conv2d,
    conv2d_algorithm,
    convolve2d,
    fft,
    im2col,
    winograd,
)
from cnnpipe.verify.cases import FLOATS, UNUSUAL_LAYOUTS, Case, case_of, draw
from tests.helpers.oracle import (
    CPU_ALGORITHMS,
    assert_right,
    call_of,
    computes,
    first_order,
    randn,
)

each_algorithm = pytest.mark.parametrize("algorithm", [*CPU_ALGORITHMS, "auto"])


# What each algorithm must compute, and what it must refuse instead of computing something else.
ANYTHING = {"stride": 2, "dilation": (1, 3), "groups": 2, "padding": 4}
STRIDE_1 = {"padding": 2}


@pytest.mark.parametrize(
    ("algorithm", "arguments", "computed"),
    [
        *(
            (name, arguments, True)
            for name in ("direct", "im2col", "fft", "compiled", "auto")
            for arguments in (ANYTHING, STRIDE_1)
        ),
        ("winograd", STRIDE_1, True),
        *(("winograd", {key: ANYTHING[key]}, False) for key in ("stride", "dilation")),
        ("winograd", {"groups": 2}, True),
        ("implicit_gemm", STRIDE_1, False),
    ],
)
def test_what_an_algorithm_computes(
    algorithm: str, arguments: dict[str, Any], computed: bool
) -> None:
    x, w = randn(2, 4, 7, 7), randn(2, 4 // arguments.get("groups", 1), 3, 3, seed=1)
    assert computes(algorithm, call_of("conv2d", x, w, **arguments)) == computed


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        *((dtype, "compiled") for dtype in FLOATS),
        *((dtype, "im2col") for dtype in (torch.uint8, torch.int64, torch.complex64)),
    ],
    ids=str,
)
def test_the_rule_for_auto(dtype: torch.dtype, expected: str) -> None:
    images, kernels = torch.ones(2, 4, 9, 9, dtype=dtype), torch.ones(4, 2, 3, 3, dtype=dtype)
    assert conv2d_algorithm(images, kernels, stride=2, groups=2) == expected


@each_algorithm
def test_worked_example(algorithm: str) -> None:
    image = torch.tensor([[[[0.0, 1, 2], [3, 4, 5], [6, 7, 8]]]])
    kernel = torch.tensor([[[[0.0, 1], [2, 3]]]])
    # 0·0 + 1·1 + 3·2 + 4·3 = 19   1·0 + 2·1 + 4·2 + 5·3 = 25
    # 3·0 + 4·1 + 6·2 + 7·3 = 37   4·0 + 5·1 + 7·2 + 8·3 = 43
    expected = torch.tensor([[[[19.0, 25], [37, 43]]]])
    torch.testing.assert_close(conv2d(image, kernel, algorithm=algorithm), expected)


@each_algorithm
def test_gradients_of_the_worked_example(algorithm: str) -> None:
    image = torch.tensor([[[[0.0, 1, 2], [3, 4, 5], [6, 7, 8]]]], requires_grad=True)
    kernel = torch.tensor([[[[0.0, 1], [2, 3]]]], requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    conv2d(image, kernel, bias, algorithm=algorithm).sum().backward()
    # A pixel's gradient is the sum of the weights that meet it: the middle one meets all four.
    assert image.grad is not None
    expected = torch.tensor([[0.0, 1, 1], [2, 6, 4], [2, 5, 3]])
    torch.testing.assert_close(image.grad[0, 0], expected, atol=1e-5, rtol=0)
    # A weight's gradient is the sum of the pixels that it meets: 0 + 1 + 3 + 4 = 8, …
    assert kernel.grad is not None
    expected = torch.tensor([[8.0, 12], [20, 24]])
    torch.testing.assert_close(kernel.grad[0, 0], expected, atol=1e-4, rtol=0)
    assert bias.grad is not None
    assert bias.grad.tolist() == [4]  # four output pixels


# What the grid of the verify stage (test_operators.py) lacks, or has for some algorithms only.
conv = functools.partial(case_of, "conv2d", bias=True)
SPECIAL_CASES = [
    conv((2, 4, 4, 4), (16, 4, 1, 1), padding=(0, 3)),
    conv((3, 6, 6), (2, 3, 4, 3), padding="same"),
    conv((0, 3, 6, 6), (2, 3, 3, 3), stride=2),
    # The one window along the width lies in the padding: no pixel there has any gradient.
    conv((1, 2, 4, 5), (3, 2, 3, 1), stride=(1, 20), padding=(0, 3)),
    conv((1, 1, 1, 1), (1, 1, 1, 1), padding=6),  # more outputs than pixels
    conv((1, 1, 6, 6), (1, 1, 3, 3)),  # exactly one tile of winograd
    conv((1, 1, 7, 7), (1, 1, 3, 3)),  # and one pixel more
    # Steps that are never taken may be of any length.
    conv((2, 3, 5, 5), (2, 3, 1, 3), stride=(1, 2**62), padding=1),
    conv((2, 3, 5, 5), (2, 3, 1, 3), stride=10**6),
    conv((2, 3, 5, 5), (2, 3, 1, 3), stride=2, dilation=(2**62, 1)),
    *(conv((2, 4, 6, 5), (4, 4, 3, 3), padding=1, layout=layout) for layout in UNUSUAL_LAYOUTS),
]


@each_algorithm
@pytest.mark.parametrize("case", SPECIAL_CASES, ids=str)
def test_special_cases(algorithm: str, case: Case) -> None:
    call = draw(case, torch.float64, seed=1)
    if computes(algorithm, call):
        assert_right(call, algorithm)


# Two images fit into a block: the last block is full, short, or one image alone.
@pytest.mark.parametrize("images", [1, 4, 5, 6])
@pytest.mark.parametrize(
    ("algorithm", "module", "limit", "bytes_of_two"),
    [
        ("im2col", im2col, "CACHE_BYTES", 11_000),  # an image: 25·9·3·8 bytes = 5,400 of columns
        ("fft", fft, "BLOCK_BYTES", 22_000),  # 8·8 pixels·(3 + 16 channels)·8 bytes = 9,728
        ("winograd", winograd, "BLOCK_BYTES", 45_000),  # 36·4 tiles·(3 + 16)·8 bytes = 21,888
    ],
)
def test_several_blocks_of_images(
    images: int,
    algorithm: str,
    module: Any,
    limit: str,
    bytes_of_two: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, limit, bytes_of_two)
    operands = randn(images, 3, 5, 5), randn(16, 3, 3, 3, seed=1)
    assert_right(call_of("conv2d", *operands, padding=1), algorithm)


# Relative to the largest number of each result: a few roundings of the dtype in which it is stored;
# in float32 and float64 winograd's transforms add their own, measured at 2e-6 and 4e-15.
@pytest.mark.parametrize(
    ("algorithm", "channels", "taps", "limits"),
    [
        *(("fft", 32, taps, (4e-15, 2e-6, 1e-3, 8e-3)) for taps in (3, 7, 14)),
        *(("winograd", 64, taps, (2e-14, 1e-5, 1e-3, 8e-3)) for taps in (1, 3, 5)),
    ],
)
def test_rounding_of_algorithms_that_mix_outputs(
    algorithm: str, channels: int, taps: int, limits: tuple[float, ...]
) -> None:
    for dtype, limit in zip(FLOATS, limits, strict=True):
        x, w = randn(4, channels, 14, 14), randn(channels, channels, taps, taps, seed=1)
        call = call_of("conv2d", x.to(dtype), w.to(dtype))
        exact = replace(
            call,
            operands={name: operand.double() for name, operand in call.operands.items()},
            probes={name: probe.double() for name, probe in call.probes.items()},
        )
        expected = first_order(exact, torchs.conv2d)
        for quantity, actual in first_order(call, algorithm=algorithm).items():
            right = expected[quantity]
            assert actual.dtype == dtype
            assert (actual - right).abs().max() < limit * right.abs().max()


@each_algorithm
def test_derivative_of_third_order(algorithm: str) -> None:
    def third(operator: Any) -> Tensor:
        x, w = randn(2, 2, 5, 5).requires_grad_(), randn(3, 2, 3, 3, seed=1).requires_grad_()
        loss = operator(x, w).pow(3).sum()
        for operand in (x, w, x):
            (gradient,) = torch.autograd.grad(loss, operand, create_graph=True)
            loss = gradient.pow(2).sum()
        return loss

    actual = third(functools.partial(conv2d, algorithm=algorithm))
    torch.testing.assert_close(actual, third(torchs.conv2d))


@each_algorithm
def test_only_input_and_weight_are_kept_for_the_backward(algorithm: str) -> None:
    kept: list[Tensor] = []
    x, w = randn(2, 3, 8, 8).requires_grad_(), randn(4, 3, 3, 3, seed=1).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        conv2d(x, w, randn(4).requires_grad_(), padding=1, algorithm=algorithm)
    assert {tensor.data_ptr() for tensor in kept} == {x.data_ptr(), w.data_ptr()}


@pytest.mark.parametrize(("frozen", "spared"), [("x", "input_gradient"), ("w", "weight_gradient")])
def test_gradients_nobody_asks_for_are_not_computed(
    frozen: str, spared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = randn(2, 3, 6, 6).requires_grad_(frozen != "x")
    w = randn(4, 3, 3, 3, seed=1).requires_grad_(frozen != "w")
    both = ("input_gradient", "weight_gradient")
    spies = {name: Mock(wraps=getattr(compiled, name)) for name in both}
    for name, spy in spies.items():
        monkeypatch.setattr(compiled, name, spy)
    conv2d(x, w, algorithm="compiled").sum().backward()
    assert [name for name in both if not spies[name].called] == [spared]


@each_algorithm
@pytest.mark.parametrize(
    "dtypes",
    [
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32),
    ],
    ids=str,
)
def test_autocast_is_that_of_torch(algorithm: str, dtypes: tuple[torch.dtype, ...]) -> None:
    x = randn(2, 4, 6, 6, dtype=dtypes[0]).requires_grad_()
    w = randn(4, 4, 3, 3, seed=1, dtype=dtypes[1]).requires_grad_()
    b = randn(4, dtype=dtypes[1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, expected = conv2d(x, w, b, algorithm=algorithm), torchs.conv2d(x, w, b)
    torch.testing.assert_close(y, expected, atol=0.13, rtol=0)
    assert [grad.dtype for grad in torch.autograd.grad(y.sum(), (x, w))] == list(dtypes)


X, W, B = torch.zeros(2, 2, 6, 6), torch.zeros(6, 2, 3, 3), torch.zeros(6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1], W), TypeError, "input: expected a Tensor, got list"),
        ((X, None), TypeError, "weight: expected a Tensor, got NoneType"),
        ((X, W, 1.0), TypeError, "bias: expected a Tensor, got float"),
        ((X.bool(), W), TypeError, "input: expected one of .*, got torch.bool"),
        ((X, W.bool()), TypeError, "weight: expected one of .*, got torch.bool"),
        ((X, W.double()), TypeError, "weight: expected the input's torch.float32, got torch.fl"),
        ((X, W, B.half()), TypeError, "bias: expected the input's torch.float32, got torch.fl"),
        ((X, W.to("meta")), ValueError, "weight: expected the input's cpu, got meta"),
        ((X[0, 0], W), ValueError, r"input: expected shape \(N, C, H, W\) or .*, got \(6, 6\)"),
        ((X, W[0]), ValueError, r"weight: expected shape .*, got \(2, 3, 3\)"),
        ((X[:, :1], W), ValueError, r"input: expected 2 channels \(1 groups of .* 2\), got 1"),
        ((X, W, B[:5]), ValueError, r"bias: expected shape \(6,\), got \(5,\)"),
        ((X.to_sparse(), W), TypeError, "input: expected a dense tensor, got .* torch.sparse_coo"),
        ((X.to(torch.float8_e4m3fn), W), TypeError, "expected one of .*, got torch.float8"),
        ((X[..., :0], W), ValueError, r"input: expected pixels, got shape \(2, 2, 6, 0\)"),
        ((X, W[:0]), ValueError, r"weight: expected channels to map, got shape \(0, 2, 3, 3\)"),
        ((X, W, B, 10**30), ValueError, "stride: expected an int of 64 bits, got 1000"),
        ((X, W, B, b"ab"), TypeError, "stride: expected an int, got b'ab'"),
        ((X, W[..., :0]), ValueError, "weight: expected a kernel of at least 1×1, got 3×0"),
        ((X, W, B, 0), ValueError, "stride: expected an int ≥ 1, got 0"),
        ((X, W, B, 1.5), TypeError, "stride: expected an int, got 1.5"),
        ((X, W, B, True), TypeError, "stride: expected an int, got True"),
        ((X, W, B, (1, 2, 3)), ValueError, r"stride: expected .* a pair of ints, got \(1, 2, 3\)"),
        ((X, W, B, 1, -1), ValueError, "padding: expected an int ≥ 0, got -1"),
        ((X, W, B, 1, "full"), ValueError, "padding: expected ints, 'same' or 'valid', got 'full'"),
        ((X, W, B, 2, "same"), ValueError, r"padding: 'same' expects stride 1, got .*\(2, 2\)"),
        ((X, W, B, 1, 0, 0), ValueError, "dilation: expected an int ≥ 1, got 0"),
        ((X, W, B, 1, 0, 3), ValueError, "7×7 pixels .* fit into the padded input, got 6×6"),
        ((X, W, B, 1, 0, 1, 0), ValueError, "groups: expected an int ≥ 1, got 0"),
        ((X, W, B, 1, 0, 1, 4), ValueError, "groups: expected a divisor of the 6 output channels"),
    ],
)
def test_refuses(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        conv2d(*arguments)


@pytest.mark.parametrize("weight", [None, torch.zeros(3)])
def test_convolve2d_refuses_before_it_flips(weight: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="weight: expected"):
        convolve2d(X, weight)


def test_refuses_an_unknown_algorithm() -> None:
    with pytest.raises(ValueError, match=r"one of auto, direct, .*, got 'fastest'"):
        conv2d(X, W, algorithm="fastest")
