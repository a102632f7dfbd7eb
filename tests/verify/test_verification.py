"""The verification is itself verified: each planted bug must be caught, by what it breaks.

The operators below are torch's own but for one thing, so that what fails is what was planted.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from cnnpipe.functional import CONV2D_ALGORITHMS
from cnnpipe.params.train import Algorithm
from cnnpipe.params.verify import Tolerance, VerifyParams
from cnnpipe.system.errors import InputError
from cnnpipe.verify.cases import Case, argument_grid, draw
from cnnpipe.verify.verification import (
    OPERATORS,
    Comparison,
    devices_with,
    require_pass,
    summarize,
    summary_table,
    to_markdown,
    verify,
)

TOLERANCE = Tolerance(float64=2, float32=1, float16=1, bfloat16=1)
PARAMS = VerifyParams(tolerance=TOLERANCE, normwise={"winograd": 16.0, "fft": 4.0})

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def run(
    name: str,
    operator: Callable[..., Any],
    dtypes: Sequence[torch.dtype] = (torch.float32,),
    keep: Callable[[int, Case], bool] = lambda index, case: True,
) -> list[Comparison]:
    """All comparisons of one operator with an implementation of it."""
    cases = [
        replace(case, dtypes=tuple(dtype for dtype in case.dtypes if dtype in dtypes))
        for index, case in enumerate(argument_grid())
        if case.operator == name and keep(index, case)
    ]
    return list(verify(PARAMS, 1, operators={name: operator}, algorithms=["direct"], cases=cases))


def failures(comparisons: Sequence[Comparison]) -> set[str]:
    return {comparison.quantity for comparison in comparisons if comparison.strain > 1}


class _Tampered(Function):
    """The identity, but for what it does to the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tamper: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.tamper = tamper
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.tamper(grad), None


def tampered(x: Tensor, tamper: Callable[[Tensor], Tensor]) -> Tensor:
    return _Tampered.apply(x, tamper)


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, *, algorithm: str = "", **rest: Any
) -> Tensor:
    return functional.conv2d(input, weight, bias, **rest)


def convolve2d(input: Tensor, weight: Tensor, *args: Any, **rest: Any) -> Tensor:
    return conv2d(input, weight.flip(-2, -1), *args, **rest)


TORCH = {
    "conv2d": conv2d,
    "convolve2d": convolve2d,
    "max_pool2d": functional.max_pool2d,
    "avg_pool2d": functional.avg_pool2d,
    "relu": functional.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_passes(name: str) -> None:
    assert failures(run(name, TORCH[name], [torch.float64, torch.float32])) == set()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", OPERATORS)
def test_this_project_passes(name: str, dtype: torch.dtype) -> None:
    assert failures(run(name, OPERATORS[name], [dtype])) == set()


def test_this_project_pools_integers() -> None:
    dtypes = [torch.uint8, torch.int32, torch.int64]
    comparisons = run("max_pool2d", OPERATORS["max_pool2d"], dtypes)
    assert {comparison.dtype for comparison in comparisons} == {"uint8", "int32", "int64"}
    assert failures(comparisons) == set()


def test_every_algorithm_can_be_verified() -> None:
    """`verify` takes its algorithms from the parameters' schema, which must know them all."""
    assert set(Algorithm.__args__) == {"auto", *CONV2D_ALGORITHMS}
    case = next(case for case in argument_grid() if case.operator == "conv2d")
    verified = {comparison.algorithm for comparison in verify(PARAMS, 1, cases=[case])}
    assert verified == set(Algorithm.__args__) - {"implicit_gemm"}  # which needs a GPU


# --- Planted in convolution


def flipped_kernel(input, weight, *args, **rest):
    return conv2d(input, weight.flip(-2, -1), *args, **rest)


def mirrored_kernel(input, weight, *args, **rest):
    return conv2d(input, weight.flip(-1), *args, **rest)


def shifted_padding(input, weight, bias=None, *, padding=0, **rest):
    if isinstance(padding, str):
        return conv2d(input, weight, bias, padding=padding, **rest)
    vertical, horizontal = pair(padding)
    sides = [horizontal, horizontal, vertical, vertical]
    if vertical:
        sides[2:] = [vertical - 1, vertical + 1]
    return conv2d(functional.pad(input, sides), weight, bias, **rest)


def padding_too_small(input, weight, bias=None, *, padding=0, **rest):
    if not isinstance(padding, str):
        padding = tuple(max(0, side - 1) for side in pair(padding))
    return conv2d(input, weight, bias, padding=padding, **rest)


def reflected_padding(input, weight, bias=None, *, padding=0, **rest):
    if isinstance(padding, str) or max(pair(padding)) > 2 or not input.numel():
        return conv2d(input, weight, bias, padding=padding, **rest)
    vertical, horizontal = pair(padding)
    sides = (horizontal, horizontal, vertical, vertical)
    return conv2d(functional.pad(input, sides, mode="reflect"), weight, bias, **rest)


def same_padding_before(input, weight, bias=None, *, padding=0, dilation=1, **rest):
    if padding == "same":
        extra = [d * (k - 1) for d, k in zip(pair(dilation), weight.shape[2:], strict=True)]
        (top, left), (bottom, right) = [-(-e // 2) for e in extra], [e // 2 for e in extra]
        input, padding = functional.pad(input, (left, right, top, bottom)), 0
    return conv2d(input, weight, bias, padding=padding, dilation=dilation, **rest)


def lost_dilation(input, weight, bias=None, *, dilation=1, **rest):
    return conv2d(input, weight, bias, **rest)


def lost_dilation_where_it_does_not_show(input, weight, bias=None, *, dilation=1, **rest):
    if rest.get("padding") == "same":
        return conv2d(input, weight, bias, **rest)
    return conv2d(input, weight, bias, dilation=dilation, **rest)


def swapped_dilation(input, weight, bias=None, *, dilation=1, **rest):
    return conv2d(input, weight, bias, dilation=pair(dilation)[::-1], **rest)


def swapped_stride(input, weight, bias=None, *, stride=1, **rest):
    return conv2d(input, weight, bias, stride=pair(stride)[::-1], **rest)


def ignored_groups(input, weight, bias=None, *, groups=1, **rest):
    """Every group looks at the first group's channels."""
    first = input.narrow(-3, 0, input.shape[-3] // groups)
    return conv2d(torch.cat([first] * groups, dim=-3), weight, bias, groups=groups, **rest)


def interleaved_groups(input, weight, bias=None, *, groups=1, **rest):
    channels = torch.arange(input.shape[-3]).view(groups, -1).t().flatten()
    return conv2d(input.index_select(-3, channels), weight, bias, groups=groups, **rest)


def bias_twice(input, weight, bias=None, **rest):
    return conv2d(input, weight, None if bias is None else 2 * bias, **rest)


def forgotten_bias(input, weight, bias=None, **rest):
    return conv2d(input, weight, None, **rest)


def unbatched_stays_batched(input, weight, bias=None, **rest):
    return conv2d(input if input.ndim == 4 else input[None], weight, bias, **rest)


def ignored_strides_of_memory(input, weight, bias=None, **rest):
    if input.numel() and not input.is_contiguous():
        storage = input.untyped_storage().nbytes() // input.element_size()
        if storage >= input.numel():
            input = input.as_strided(input.shape, torch.empty(input.shape).stride())
    return conv2d(input, weight, bias, **rest)


def returns_wider_dtype(input, weight, bias=None, **rest):
    return conv2d(input, weight, bias, **rest).double()


def lost_bias_gradient(input, weight, bias=None, **rest):
    return conv2d(input, weight, None if bias is None else bias.detach(), **rest)


def averaged_bias_gradient(input, weight, bias=None, **rest):
    if bias is not None and input.numel():
        bias = tampered(bias, lambda grad: grad / input.shape[0])
    return conv2d(input, weight, bias, **rest)


def transposed_weight_gradient(input, weight, bias=None, **rest):
    square = weight.shape[2] == weight.shape[3]
    tamper = (lambda grad: grad.mT) if square else (lambda grad: grad)
    return conv2d(input, tampered(weight, tamper), bias, **rest)


def flipped_weight_gradient(input, weight, bias=None, **rest):
    return conv2d(input, tampered(weight, lambda grad: grad.flip(-2, -1)), bias, **rest)


def shifted_input_gradient(input, weight, bias=None, **rest):
    return conv2d(tampered(input, lambda grad: grad.roll(1, -1)), weight, bias, **rest)


def weight_gradient_needs_input_gradient(input, weight, bias=None, **rest):
    return conv2d(input, weight if input.requires_grad else weight.detach(), bias, **rest)


def no_double_backward(input, weight, bias=None, **rest):
    return conv2d(tampered(input, torch.Tensor.detach), weight, bias, **rest)


class _WrongSecondOrder(Function):
    """The identity; its gradient is right and the gradient of that has the wrong sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return tampered(grad, torch.neg)


def wrong_double_backward(input, weight, bias=None, **rest):
    return conv2d(input, _WrongSecondOrder.apply(weight), bias, **rest)


PLANTED_IN_CONV2D = [
    (flipped_kernel, {"forward", "forward_scipy", "input_gradient"}),
    (mirrored_kernel, {"forward", "forward_scipy"}),
    (shifted_padding, {"forward", "forward_scipy"}),
    (padding_too_small, {"forward", "forward_scipy"}),
    (reflected_padding, {"forward", "forward_scipy"}),
    (same_padding_before, {"forward", "forward_scipy"}),
    (lost_dilation, {"forward", "forward_scipy"}),
    (lost_dilation_where_it_does_not_show, {"forward", "forward_scipy"}),
    (swapped_dilation, {"forward", "forward_scipy"}),
    (swapped_stride, {"forward", "forward_scipy"}),
    (ignored_groups, {"forward", "forward_scipy"}),
    (interleaved_groups, {"forward", "forward_scipy"}),
    (bias_twice, {"forward", "forward_scipy", "bias_gradient"}),
    (forgotten_bias, {"forward", "forward_scipy", "bias_gradient"}),
    (unbatched_stays_batched, {"forward", "forward_scipy"}),
    (ignored_strides_of_memory, {"forward", "forward_scipy"}),
    (returns_wider_dtype, {"forward"}),
    (lost_bias_gradient, {"bias_gradient"}),
    (averaged_bias_gradient, {"bias_gradient"}),
    (transposed_weight_gradient, {"weight_gradient"}),
    (flipped_weight_gradient, {"weight_gradient"}),
    (shifted_input_gradient, {"input_gradient"}),
    (weight_gradient_needs_input_gradient, {"weight_gradient"}),
    (no_double_backward, {"input_gradient_by_upstream", "input_gradient_by_weight"}),
    (wrong_double_backward, {"weight_gradient_by_input", "weight_gradient_by_upstream"}),
]


def planted(bugs: list[tuple[Callable[..., Any], set[str]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("operator", "caught_by"), bugs, ids=[operator.__name__ for operator, _ in bugs]
    )


def thinned(index: int, case: Case) -> bool:
    """Every fifth combination of the four arguments, and all special situations."""
    return len(case.arguments) < 4 or index % 5 == 0


@planted(PLANTED_IN_CONV2D)
def test_bug_in_conv2d_is_caught(operator: Callable[..., Tensor], caught_by: set[str]) -> None:
    assert failures(run("conv2d", operator, keep=thinned)) >= caught_by


def test_correlation_is_no_convolution() -> None:
    assert failures(run("convolve2d", conv2d)) >= {"forward", "forward_scipy"}


def added_up_in_16_bits(input, weight, bias=None, *, padding=0, **rest):
    """Right, but every partial sum is rounded to the dtype of the input."""
    batch, _, height, width = input.shape
    columns = functional.unfold(input, weight.shape[2:], padding=padding)  # (N, C·kH·kW, L)
    output = torch.zeros(batch, len(weight), columns.shape[2], dtype=input.dtype)
    for column, entry in zip(columns.unbind(1), weight.flatten(1).unbind(1), strict=True):
        output = output + column[:, None] * entry[:, None]
    return output.unflatten(2, (height, width)) + bias[:, None, None]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_sums_are_caught(dtype: torch.dtype) -> None:
    comparisons = run(
        "conv2d", added_up_in_16_bits, [dtype], keep=lambda _, case: case.values == "positive"
    )
    assert failures(comparisons) >= {"forward", "forward_scipy"}


def test_float64_computed_in_float32_is_caught() -> None:
    def narrow(input, weight, bias=None, **rest):
        bias = None if bias is None else bias.float()
        return conv2d(input.float(), weight.float(), bias, **rest).double()

    assert failures(run("conv2d", narrow, [torch.float64], thinned)) >= {
        "forward",
        "input_gradient",
        "weight_gradient",
    }


def fft_conv2d(input, weight, bias=None, *, padding=0, algorithm=""):
    """Cross-correlation by the convolution theorem: errors spread over the whole image."""
    vertical, horizontal = pair(padding)
    dtype = torch.promote_types(input.dtype, torch.float32)
    padded = functional.pad(input.to(dtype), (horizontal, horizontal, vertical, vertical))
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded)[:, None] * torch.fft.rfft2(weight.to(dtype), s=size).conj()
    full = torch.fft.irfft2(spectrum.sum(2), s=size)
    output = full[..., : size[0] - weight.shape[2] + 1, : size[1] - weight.shape[3] + 1]
    return output.to(input.dtype)


def test_algorithms_that_spread_errors_are_held_against_the_largest_bound() -> None:
    # Some windows see nothing but padding: there the sum is exactly zero, and FFT's is not.
    cases = [case for case in argument_grid() if case.arguments == {"padding": (4, 3)}]
    assert len(cases) == 1
    how = {"operators": {"conv2d": fft_conv2d}, "algorithms": ["direct"], "cases": cases}
    elementwise = list(verify(PARAMS, 1, **how))
    assert max(comparison.strain for comparison in elementwise) == math.inf

    params = VerifyParams(tolerance=TOLERANCE, normwise={"direct": 4.0})
    normwise = list(verify(params, 1, **how))
    assert failures(normwise) == set()
    assert {comparison.tolerance for comparison in normwise} == {4, 8}


# --- Planted in pooling


def zero_padding(input, *args, padding=0, **rest):
    vertical, horizontal = pair(padding)
    padded = functional.pad(input, (horizontal, horizontal, vertical, vertical))
    return functional.max_pool2d(padded, *args, **rest)


def last_of_equals(input, *args, **rest):
    """Windows are read backwards; with stride 1 they are the same windows."""
    if rest["stride"] != 1 or rest.get("ceil_mode"):
        return functional.max_pool2d(input, *args, **rest)
    pooled = functional.max_pool2d(input.flip(-2, -1), *args, **rest)
    output, indices = pooled if isinstance(pooled, tuple) else (pooled, None)
    if indices is None:
        return output.flip(-2, -1)
    return output.flip(-2, -1), input.shape[-2] * input.shape[-1] - 1 - indices.flip(-2, -1)


def shared_ties(input, *args, **rest):
    """The maximum as `amax` has it: equal entries share the gradient."""
    pooled = functional.max_pool2d(input, *args, **rest)
    output = pooled[0] if isinstance(pooled, tuple) else pooled
    plain = (
        not any(rest.get(name) for name in ("padding", "ceil_mode"))
        and rest.get("dilation", 1) == 1
    )
    if plain and input.ndim == 4:
        (kH, kW), step = pair(rest["kernel_size"]), pair(rest.get("stride") or rest["kernel_size"])
        windows = input.unfold(2, kH, step[0]).unfold(3, kW, step[1])
        output = windows.amax((-2, -1))
    return (output, pooled[1]) if isinstance(pooled, tuple) else output


def no_ceil_mode(input, *args, ceil_mode=False, **rest):
    return functional.max_pool2d(input, *args, **rest)


def no_pool_dilation(input, *args, dilation=1, **rest):
    return functional.max_pool2d(input, *args, **rest)


def stride_defaults_to_1(input, *args, stride=None, **rest):
    return functional.max_pool2d(input, *args, stride=stride or 1, **rest)


def nan_swallowed(input, *args, **rest):
    return functional.max_pool2d(input.nan_to_num(-math.inf), *args, **rest)


def indices_into_the_padded_image(input, *args, **rest):
    pooled = functional.max_pool2d(input, *args, **rest)
    if not isinstance(pooled, tuple):
        return pooled
    return pooled[0], pooled[1] + pair(rest["padding"])[0]


def forgotten_indices(input, *args, return_indices=False, **rest):
    return functional.max_pool2d(input, *args, **rest)


def detached_pool(input, *args, **rest):
    return functional.max_pool2d(tampered(input, torch.Tensor.detach), *args, **rest)


@planted(
    [
        (zero_padding, {"forward"}),
        (last_of_equals, {"input_gradient", "indices"}),
        (shared_ties, {"input_gradient"}),
        (no_ceil_mode, {"forward", "indices"}),
        (no_pool_dilation, {"forward"}),
        (stride_defaults_to_1, {"forward"}),
        (nan_swallowed, {"forward"}),
        (indices_into_the_padded_image, {"indices"}),
        (forgotten_indices, {"indices"}),
        (detached_pool, {"input_gradient_by_upstream"}),
    ]
)
def test_bug_in_max_pool2d_is_caught(operator: Callable[..., Any], caught_by: set[str]) -> None:
    assert failures(run("max_pool2d", operator)) >= caught_by


def test_gradients_of_shared_maxima_added_up_in_16_bits_are_caught() -> None:
    """Torch's own do so on the CPU."""
    comparisons = run("max_pool2d", functional.max_pool2d, [torch.bfloat16])
    assert failures(comparisons) == {"input_gradient"}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_integers_pooled_as_floats_are_caught(dtype: torch.dtype) -> None:
    def pool(input, *args, **rest):
        """Each dtype has its own way to go wrong: sign, padding, too many digits."""
        if dtype == torch.uint8:
            return functional.max_pool2d(input.to(torch.int8), *args, **rest)
        if dtype == torch.int32:
            return zero_padding(input, *args, **rest)
        pooled = functional.max_pool2d(input.float(), *args, **rest)
        return (pooled[0].long(), pooled[1]) if isinstance(pooled, tuple) else pooled.long()

    assert "forward" in failures(run("max_pool2d", pool, [dtype]))


def swapped_count_include_pad(input, *args, count_include_pad=True, **rest):
    return functional.avg_pool2d(input, *args, count_include_pad=not count_include_pad, **rest)


def whole_window_as_divisor(input, *args, divisor_override=None, **rest):
    """Windows that hang over the end are divided by their full area."""
    height, width = pair(rest["kernel_size"])
    divisor = divisor_override
    if rest.get("ceil_mode") and rest.get("count_include_pad", True):
        divisor = divisor or height * width
    return functional.avg_pool2d(input, *args, divisor_override=divisor, **rest)


def ignored_divisor_override(input, *args, divisor_override=None, **rest):
    return functional.avg_pool2d(input, *args, **rest)


def ignored_ceil_mode(input, *args, ceil_mode=False, **rest):
    return functional.avg_pool2d(input, *args, **rest)


def swapped_kernel(input, *args, kernel_size, **rest):
    return functional.avg_pool2d(input, *args, kernel_size=pair(kernel_size)[::-1], **rest)


def doubled_gradient(input, *args, **rest):
    return functional.avg_pool2d(tampered(input, lambda grad: 2 * grad), *args, **rest)


@planted(
    [
        (swapped_count_include_pad, {"forward", "input_gradient"}),
        (whole_window_as_divisor, {"forward", "input_gradient"}),
        (ignored_divisor_override, {"forward", "input_gradient"}),
        (ignored_ceil_mode, {"forward"}),
        (swapped_kernel, {"forward"}),
        (doubled_gradient, {"input_gradient"}),
    ]
)
def test_bug_in_avg_pool2d_is_caught(operator: Callable[..., Any], caught_by: set[str]) -> None:
    assert failures(run("avg_pool2d", operator)) >= caught_by


def test_float16_sum_that_overflows_is_caught() -> None:
    def pool(input, **rest):
        """The mean of nine numbers, whose sum passes through float16."""
        sums = functional.avg_pool2d(input.float(), divisor_override=1, **rest)
        return sums.to(input.dtype) / 9

    comparisons = run("avg_pool2d", pool, [torch.float16], lambda _, case: case.values == "large")
    assert failures(comparisons) == {"forward"}


# --- Planted in activations


def relu_of_clamp(input):
    """At zero, `clamp` lets the gradient through."""
    return input.clamp(min=0)


def relu_without_nan(input):
    return functional.relu(input.nan_to_num(0, math.inf, -math.inf))


def leaky_relu(input):
    return functional.leaky_relu(input, 1e-6)


def overflowing_sigmoid(input):
    return input.exp() / (1 + input.exp())


def sigmoid_of_tanh(input):
    """Equal on paper; for very negative numbers all digits cancel."""
    return (1 + (input / 2).tanh()) / 2


def sigmoid_with_the_gradient_of_tanh(input):
    y = torch.sigmoid(input).detach()
    return torch.sigmoid(tampered(input, lambda grad: grad * (1 + y) / y))


def sigmoid_of_wrong_second_order(input):
    return torch.sigmoid(_WrongSecondOrder.apply(input))


def cancelling_tanh(input):
    return (input.exp() - (-input).exp()) / (input.exp() + (-input).exp())


@pytest.mark.parametrize(
    ("name", "operator", "caught_by"),
    [
        ("relu", relu_of_clamp, {"input_gradient"}),
        ("relu", relu_without_nan, {"forward"}),
        ("relu", leaky_relu, {"forward", "input_gradient"}),
        ("sigmoid", overflowing_sigmoid, {"forward"}),
        ("sigmoid", sigmoid_of_tanh, {"forward"}),
        ("sigmoid", sigmoid_with_the_gradient_of_tanh, {"input_gradient"}),
        ("sigmoid", sigmoid_of_wrong_second_order, {"input_gradient_by_upstream"}),
        ("tanh", cancelling_tanh, {"forward"}),
    ],
)
def test_bug_in_an_activation_is_caught(
    name: str, operator: Callable[[Tensor], Tensor], caught_by: set[str]
) -> None:
    assert failures(run(name, operator)) >= caught_by


# --- Devices and cases


@pytest.mark.parametrize(
    ("accelerator", "dtype", "expected"),
    [
        (None, torch.float64, ["cpu"]),
        ("cuda", torch.float64, ["cpu", "cuda"]),
        ("mps", torch.float32, ["cpu", "mps"]),
        ("mps", torch.float64, ["cpu"]),  # has no float64
    ],
)
def test_devices(
    accelerator: str | None,
    dtype: torch.dtype,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = torch.device(accelerator) if accelerator else None
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: device)
    assert [device.type for device in devices_with(dtype)] == expected


def test_names_of_cases_are_their_identity() -> None:
    """Operands are drawn by name, and the report finds the worst case by it."""
    names = [(case.operator, str(case)) for case in argument_grid()]
    assert len(names) == len(set(names))


def test_operands_depend_on_nothing_but_case_and_seed() -> None:
    case = argument_grid()[0]
    (first, probes), (again, _), (other, _) = (
        draw(case, torch.float32, seed) for seed in (1, 1, 2)
    )
    assert first.keys() == {"input", "weight", "bias"}
    assert probes.keys() == {"input", "weight", "bias", "upstream"}
    assert torch.equal(first["input"], again["input"])
    assert not torch.equal(first["input"], other["input"])
    assert torch.equal(first["input"].half(), draw(case, torch.float16, 1)[0]["input"])


def test_layouts_are_what_they_are_called() -> None:
    for case in argument_grid():
        operands, probes = draw(case, torch.float32, 1)
        x = operands["input"]
        match case.layout:
            case "contiguous":
                assert x.is_contiguous()
            case "channels_last":
                assert x.is_contiguous(memory_format=torch.channels_last)
            case "transposed":
                assert x.stride(-2) == 1
            case "sliced":
                assert x.stride(-1) == 2
            case "expanded":
                assert x.stride(-1) == probes["upstream"].stride(-1) == 0


# --- The report


@pytest.fixture(scope="module")
def comparisons() -> list[Comparison]:
    """A flawless ReLU, and a sigmoid whose gradient is 1 % too large."""
    wrong = {
        "relu": torch.relu,
        "sigmoid": lambda x: torch.sigmoid(tampered(x, lambda g: g * 1.01)),
    }
    operators = {name: lambda input, f=f: f(input) for name, f in wrong.items()}
    cases = [
        replace(case, dtypes=(torch.float32, torch.float64))
        for case in argument_grid()
        if case.operator in operators and case.input == (50,)
    ]
    return list(verify(PARAMS, 1, operators=operators, cases=cases))


def test_report(comparisons: list[Comparison]) -> None:
    report = summarize(comparisons, seed=1)
    assert report["verdict"] == "fail"
    assert report["torch"] == torch.__version__
    assert (report["cases"], report["comparisons"], report["seed"]) == (2, 16, 1)
    assert [
        (check["operator"], check["algorithm"], check["device"], check["dtype"], check["verdict"])
        for check in report["checks"]
        if check["device"] == "cpu"
    ] == [
        ("relu", None, "cpu", "float32", "pass"),
        ("relu", None, "cpu", "float64", "pass"),
        ("sigmoid", None, "cpu", "float32", "fail"),
        ("sigmoid", None, "cpu", "float64", "fail"),
    ]
    errors = report["checks"][2]["errors"]
    assert list(errors) == ["forward", "input_gradient", "second_order"]
    assert errors["input_gradient"]["quantity"] == "input_gradient"
    assert errors["input_gradient"]["case"] == "input 50"
    assert errors["input_gradient"]["bounds"] > 1000
    assert 0.0025 > errors["input_gradient"]["absolute"] > 0.002  # 1 % of σ' ≤ 1/4
    assert errors["input_gradient"]["relative"] == pytest.approx(0.01, rel=1e-3)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_infinite_errors_can_be_written(comparisons: list[Comparison]) -> None:
    worst = replace(comparisons[0].error, bounds=math.inf, absolute=math.inf)
    report = summarize([replace(comparisons[0], error=worst)], seed=1)
    assert report["checks"][0]["errors"]["forward"]["bounds"] == "inf"
    assert "| inf " in summary_table(report)
    assert "inf (inf, 0.0e+00)" in to_markdown(report)
    json.dumps(report, allow_nan=False)


def test_failure_names_the_worst_offender(comparisons: list[Comparison]) -> None:
    with pytest.raises(
        InputError,
        match=r"failed verification; worst: sigmoid, float64 on cpu, input 50: "
        r"input_gradient\S* is off by \S+ rounding bounds \(tolerance 2\), \S+ absolute$",
    ):
        require_pass(summarize(comparisons, seed=1))


def test_a_pass_is_no_error(comparisons: list[Comparison]) -> None:
    flawless = [comparison for comparison in comparisons if comparison.operator == "relu"]
    require_pass(summarize(flawless, seed=1))


def test_the_tolerance_is_the_limit(comparisons: list[Comparison]) -> None:
    first = comparisons[0]
    at = replace(first, error=replace(first.error, bounds=first.tolerance))
    beyond = replace(first, error=replace(first.error, bounds=first.tolerance * 1.001))
    assert summarize([at], 1)["verdict"] == "pass"
    assert summarize([at, beyond], 1)["verdict"] == "fail"


def test_tables(comparisons: list[Comparison]) -> None:
    report = summarize([c for c in comparisons if c.device == "cpu"], seed=1)
    table = summary_table(report).splitlines()
    assert table[0] == "| operator | algorithm | device | float32 | float64 | verdict |"
    assert table[2] == "| relu     |           | cpu    | 0       | 0       | pass    |"
    assert table[3].startswith("| sigmoid  |")
    assert table[3].endswith("| FAIL    |")
    assert len(set(map(len, table))) == 1
    page = to_markdown(report)
    assert page.startswith("# Verification of the operators: fail\n")
    assert f"torch {torch.__version__}" in page
    assert summary_table(report) in page
    assert report["worst"] in page
