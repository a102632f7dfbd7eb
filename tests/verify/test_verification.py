"""The verification is itself verified: each planted bug must be caught, by what it breaks.

The operators below are torch's own with one change, so what fails is what was planted.
"""

import functools
import json
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cnnpipe.functional import CONV2D_ALGORITHMS
from cnnpipe.params.train import Algorithm
from cnnpipe.params.verify import Tolerance, VerifyParams
from cnnpipe.verify import verification
from cnnpipe.verify.cases import Case, argument_grid, draw
from cnnpipe.verify.reference import Call, Operator, torch_operator, truths
from cnnpipe.verify.verification import (
    OPERATORS,
    Comparison,
    summarize,
    summary_table,
    to_markdown,
    verify,
)
from tests.helpers.oracle import some_cases

TOLERANCE = Tolerance(float64=2, float32=1, float16=1, bfloat16=1)
PARAMS = VerifyParams(tolerance=TOLERANCE, normwise={"winograd": 16.0, "fft": 4.0})
Arguments = dict[str, Any]
Change = Callable[[Arguments], Arguments]


@pytest.fixture(scope="module", autouse=True)
def _each_truth_is_computed_once() -> Iterator[None]:
    """The planted bugs all run over the same cases."""
    known: dict[Any, Any] = {}

    def drawn(case: Case, dtype: torch.dtype, seed: int) -> Call:
        key = case.operator, str(case), dtype, seed
        return known.get(key) or known.setdefault(key, draw(case, dtype, seed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "draw", drawn)
        patch.setattr(verification, "truths", functools.cache(truths))
        yield


def compared(
    name: str, operator: Operator, dtype: torch.dtype = torch.float32
) -> Iterator[Comparison]:
    """All quantities of an implementation of one operator."""
    algorithm = "auto" if name == "block" else "direct"
    how = {"operators": {name: operator}, "algorithms": [algorithm]}
    return verify(PARAMS, 1, cases=some_cases(name, dtype), **how)


def failed(comparisons: Iterable[Comparison]) -> set[str]:
    return {comparison.quantity for comparison in comparisons if comparison.strain > 1}


def passed(comparisons: Iterable[Comparison], quantities: str) -> set[str]:
    """Those of the quantities that never fail; it looks no further when none is left."""
    left = set(quantities.split())
    for comparison in comparisons:
        if comparison.strain > 1:
            left.discard(comparison.quantity)
        if not left:
            break
    return left


def torchs(name: str, **arguments: Any) -> Any:
    """Torch's operator, which knows no algorithms."""
    arguments.pop("algorithm", None)
    return torch_operator(name)(**arguments)


def changed(name: str, change: Change = lambda arguments: arguments) -> Operator:
    """Torch's operator with other arguments than it is given."""
    return lambda **arguments: torchs(name, **change(arguments))


@pytest.mark.parametrize(
    ("name", "dtype", "caught"),
    [
        *((name, dtype, set()) for name in OPERATORS for dtype in (torch.float64, torch.float32)),
        # On the CPU torch adds the gradients of shared maxima in 16 bits.
        ("max_pool2d", torch.bfloat16, {"input_gradient"}),
        # It adds up the logits of all classes, which float16 cannot hold.
        ("cross_entropy", torch.float16, {"forward"}),
    ],
)
def test_torch_passes_but_for_16_bits(name: str, dtype: torch.dtype, caught: set[str]) -> None:
    assert failed(compared(name, changed(name), dtype)) == caught


def test_every_algorithm_can_be_verified() -> None:
    """`verify` takes its algorithms from the parameters' schema, which must know them all."""
    assert set(Algorithm.__args__) == {"auto", *CONV2D_ALGORITHMS}


# --- Changes of an operator's named arguments


def replaced(name: str, change: Callable[[Any], Any]) -> Change:
    """Another value of one argument, where it is given."""

    def another(arguments: Arguments) -> Arguments:
        if arguments.get(name) is None:
            return arguments
        return arguments | {name: change(arguments[name])}

    return another


def without(*names: str) -> Change:
    return lambda arguments: {key: value for key, value in arguments.items() if key not in names}


def tampered(x: Tensor, tamper: Callable[[Tensor], Tensor]) -> Tensor:
    """The same numbers, with another gradient."""
    twin = x.view_as(x)
    if twin.requires_grad:
        twin.register_hook(lambda grad: None if grad is None else tamper(grad))
    return twin


def wrong_second_order(x: Tensor) -> Tensor:
    """The same numbers with the right gradient, whose own gradient has the wrong sign."""
    return tampered(x, lambda grad: tampered(grad, torch.neg))


def gradient(name: str, tamper: Callable[[Tensor], Tensor]) -> Change:
    """Another gradient of one operand."""
    return replaced(name, lambda operand: tampered(operand, tamper))


def pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def swapped(value: int | tuple[int, int]) -> tuple[int, int]:
    return pair(value)[::-1]


def same(value: Any) -> bool:
    return isinstance(value, str)


# --- Planted in convolution

FORWARD = "forward forward_scipy"


def padded(arguments: Arguments, mode: str = "constant", shift: int = 0) -> Arguments:
    """The image with explicit padding, of which `shift` rows may stand at the wrong end."""
    if same(padding := arguments.get("padding", 0)):
        return arguments
    (vertical, horizontal), image = pair(padding), arguments["input"]
    if mode == "reflect" and (max(vertical, horizontal) > 2 or not image.numel()):
        return arguments
    shift = min(shift, vertical)
    sides = (horizontal, horizontal, vertical - shift, vertical + shift)
    return arguments | {"input": functional.pad(image, sides, mode), "padding": 0}


def smaller_padding(padding: Any) -> Any:
    return padding if same(padding) else tuple(max(0, side - 1) for side in pair(padding))


def same_padding_before(arguments: Arguments) -> Arguments:
    if not same(arguments.get("padding")) or arguments["padding"] == "valid":
        return arguments
    dilation, kernel = pair(arguments.get("dilation", 1)), arguments["weight"].shape[2:]
    extra = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    (top, left), (bottom, right) = [-(-e // 2) for e in extra], [e // 2 for e in extra]
    image = functional.pad(arguments["input"], (left, right, top, bottom))
    return arguments | {"input": image, "padding": 0}


def lost_dilation_where_it_does_not_show(arguments: Arguments) -> Arguments:
    return without("dilation")(arguments) if arguments.get("padding") == "same" else arguments


def first_group_only(arguments: Arguments) -> Arguments:
    groups, image = arguments.get("groups", 1), arguments["input"]
    first = image.narrow(-3, 0, image.shape[-3] // groups)
    return arguments | {"input": torch.cat([first] * groups, dim=-3)}


def interleaved_groups(arguments: Arguments) -> Arguments:
    groups, image = arguments.get("groups", 1), arguments["input"]
    channels = torch.arange(image.shape[-3]).view(groups, -1).t().flatten()
    return arguments | {"input": image.index_select(-3, channels)}


def ignored_strides_of_memory(image: Tensor) -> Tensor:
    if image.numel() and not image.is_contiguous():
        storage = image.untyped_storage().nbytes() // image.element_size()
        if storage >= image.numel():
            return image.as_strided(image.shape, torch.empty(image.shape).stride())
    return image


def averaged_bias_gradient(arguments: Arguments) -> Arguments:
    images = len(arguments["input"]) or 1
    return gradient("bias", lambda grad: grad / images)(arguments)


def transposed_where_square(grad: Tensor) -> Tensor:
    return grad.mT if grad.shape[2] == grad.shape[3] else grad


def weight_gradient_needs_input_gradient(arguments: Arguments) -> Arguments:
    if arguments["input"].requires_grad:
        return arguments
    return replaced("weight", Tensor.detach)(arguments)


def added_up_in_16_bits(**arguments: Any) -> Tensor:
    """Right, but each partial sum of the long sums is rounded to the dtype of the input."""
    images, weight = arguments["input"], arguments["weight"]
    if weight.shape[1] < 64:
        return torchs("conv2d", **arguments)
    columns = functional.unfold(images, weight.shape[2:], padding=1)  # (N, C·kH·kW, L)
    output = torch.zeros(len(images), len(weight), columns.shape[2], dtype=images.dtype)
    for column, entry in zip(columns.unbind(1), weight.flatten(1).unbind(1), strict=True):
        output = output + column[:, None] * entry[:, None]
    return output.unflatten(2, images.shape[2:]) + arguments["bias"][:, None, None]


def computed_in_float32(**arguments: Any) -> Tensor:
    tensors = {key: x.float() for key, x in arguments.items() if isinstance(x, Tensor)}
    return torchs("conv2d", **arguments | tensors).double()


def test_algorithms_that_spread_errors_are_held_against_the_largest_bound() -> None:
    # Some windows see nothing but padding: there the sum is exactly zero, and FFT's is not.
    cases = [case for case in argument_grid() if case.arguments == {"padding": (4, 3)}]
    assert len(cases) == 1
    how = {"algorithms": ["fft"], "cases": cases}
    strict = VerifyParams(tolerance=TOLERANCE, normwise={})
    assert max(comparison.strain for comparison in verify(strict, 1, **how)) == math.inf

    normwise = list(verify(PARAMS, 1, **how))
    assert failed(normwise) == set()
    assert {comparison.tolerance for comparison in normwise} == {4, 8}


# --- Planted in pooling


def zero_padding(arguments: Arguments) -> Arguments:
    vertical, horizontal = pair(arguments.get("padding", 0))
    sides = (horizontal, horizontal, vertical, vertical)
    return arguments | {"input": functional.pad(arguments["input"], sides), "padding": 0}


def last_of_equals(**arguments: Any) -> Any:
    """Windows are read backwards; with stride 1 they are the same windows."""
    if arguments["stride"] != 1 or arguments.get("ceil_mode"):
        return torchs("max_pool2d", **arguments)
    image = arguments.pop("input")
    result = torchs("max_pool2d", input=image.flip(-2, -1), **arguments)
    if not isinstance(result, tuple):
        return result.flip(-2, -1)
    return result[0].flip(-2, -1), image.shape[-2] * image.shape[-1] - 1 - result[1].flip(-2, -1)


def shared_ties(**arguments: Any) -> Any:
    """The maximum as `amax` has it: equal entries share the gradient."""
    result = torchs("max_pool2d", **arguments)
    output = result[0] if isinstance(result, tuple) else result
    image, kernel_size = arguments["input"], pair(arguments["kernel_size"])
    padded = any(arguments.get(name) for name in ("padding", "ceil_mode"))
    if not padded and arguments.get("dilation", 1) == 1 and image.ndim == 4:
        step = pair(arguments.get("stride") or kernel_size)
        windows = image.unfold(2, kernel_size[0], step[0]).unfold(3, kernel_size[1], step[1])
        output = windows.amax((-2, -1))
    return (output, result[1]) if isinstance(result, tuple) else output


def indices_into_the_padded_image(**arguments: Any) -> Any:
    result = torchs("max_pool2d", **arguments)
    if not isinstance(result, tuple):
        return result
    return result[0], result[1] + pair(arguments["padding"])[0]


def stride_defaults_to_1(arguments: Arguments) -> Arguments:
    return arguments | {"stride": arguments.get("stride") or 1}


def whole_window_as_divisor(arguments: Arguments) -> Arguments:
    """Windows that hang over the end are divided by their full area."""
    height, width = pair(arguments["kernel_size"])
    if arguments.get("ceil_mode") and arguments.get("count_include_pad", True):
        return arguments | {"divisor_override": arguments["divisor_override"] or height * width}
    return arguments


def pooled(change: Change) -> Operator:
    """The maximum of changed integers, as 64-bit integers again where that changed them."""

    def pool(**arguments: Any) -> Any:
        result = torchs("max_pool2d", **change(arguments))
        if arguments["input"].dtype != torch.int64:
            return result
        return (result[0].long(), result[1]) if isinstance(result, tuple) else result.long()

    return pool


def sum_in_16_bits(**arguments: Any) -> Tensor:
    """The mean of whole windows, with a sum that passes through float16."""
    if "divisor_override" in arguments:
        return torchs("avg_pool2d", **arguments)
    images, dtype = arguments["input"].float(), arguments["input"].dtype
    sums = functional.avg_pool2d(**arguments | {"input": images}, divisor_override=1)
    return sums.to(dtype) / arguments["kernel_size"] ** 2


# --- Planted in activations


def sigmoid_with_the_gradient_of_tanh(input):
    y = torch.sigmoid(input).detach()
    return torch.sigmoid(tampered(input, lambda grad: grad * (1 + y) / y))


# --- Planted in batch normalisation


def normalized(statistics: Callable[[Tensor, list[int]], tuple[Tensor, Tensor]]) -> Operator:
    """By other statistics of the batch, (C, 1, …) each, where it is training."""

    def normalize(**arguments: Any) -> Tensor:
        x = arguments["input"]
        if not arguments["training"]:
            return torchs("batch_norm", **arguments)
        mean, variance = statistics(x, [0, *range(2, x.ndim)])
        y = (x - mean) * (variance + arguments.get("eps", 1e-5)).rsqrt()
        weight, bias = (arguments.get(name) for name in ("weight", "bias"))
        y = y if weight is None else y * weight.view_as(mean)
        return (y if bias is None else y + bias.view_as(mean)).to(x.dtype)

    return normalize


def unbiased(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    mean, variance = in_the_dtype(x, axes)
    return mean, variance * (M := x[:, 0].numel()) / (M - 1)


def in_the_dtype(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    """The right ones, if 16 bits were enough."""
    mean = x.mean(axes, keepdim=True)
    return mean[0], (x - mean).square().mean(axes, keepdim=True)[0]


def constant(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    return in_the_dtype(x.detach(), axes)


def in_one_pass(x: Tensor, axes: list[int]) -> tuple[Tensor, Tensor]:
    mean = x.mean(axes, keepdim=True)
    return mean[0], (x.square().mean(axes, keepdim=True) - mean.square())[0]


# --- Planted in the fully connected layer


def linear_in_float32(**arguments: Any) -> Tensor:
    return torchs("linear", **{key: x.float() for key, x in arguments.items()}).double()


def linear_added_up_in_16_bits(**arguments: Any) -> Tensor:
    images, weight = arguments["input"], arguments["weight"]
    output = torch.zeros(*images.shape[:-1], len(weight), dtype=images.dtype)
    for column, entry in zip(images.unbind(-1), weight.unbind(1), strict=True):
        output = output + column[..., None] * entry
    return output + arguments["bias"] if "bias" in arguments else output


# --- Planted in the loss


def without_the_maximum(input, target, label_smoothing=0.0):
    chosen = (1 - label_smoothing) * input.gather(1, target[:, None]).squeeze(1)
    losses = input.exp().sum(1).log() - chosen - label_smoothing * input.mean(1)
    return losses.mean()


def smoothed_over_the_other_classes(input, target, label_smoothing=0.0):
    q = torch.full_like(input, label_smoothing / max(1, input.shape[1] - 1))
    q = q.scatter(1, target[:, None], 1 - label_smoothing)
    return torchs("cross_entropy", input=input, target=q)


# --- Planted in layers that are computed together


def pooled_before_normalising(**arguments: Any) -> Tensor:
    """As if γ could not be negative."""
    if arguments["norm"] != "evaluation" or "padding" in arguments:
        return torchs("block", **arguments)
    z = functional.conv2d(*(arguments[name] for name in ("input", "weight", "bias")))
    z = functional.max_pool2d(z, arguments["pool"])
    names = "running_mean", "running_var", "gamma", "beta"
    y = functional.batch_norm(z, *(arguments[name] for name in names))
    return functional.relu(y) if arguments["relu"] else y


def block_of_last_of_equals(**arguments: Any) -> Tensor:
    """Windows are read backwards."""
    if arguments["pool"] != 3 or arguments["weight"].shape[3] != 2:
        return torchs("block", **arguments)
    backwards = {name: arguments[name].flip(-2, -1) for name in ("input", "weight")}
    pool = arguments["pool"]
    z = torchs("block", **arguments | backwards | {"pool": 1}).flip(-2, -1)  # (…, 7, 7)
    rows = z[..., : z.shape[-2] // pool * pool, : z.shape[-1] // pool * pool].flip(-2, -1)
    return functional.max_pool2d(rows, pool).flip(-2, -1)


# --- What is planted, and what it must break

CHANGES: list[tuple[str, Change, str]] = [
    ("conv2d", replaced("weight", lambda w: w.flip(-2, -1)), f"{FORWARD} input_gradient"),
    ("conv2d", replaced("weight", lambda w: w.flip(-1)), FORWARD),
    ("conv2d", lambda arguments: padded(arguments, shift=1), FORWARD),
    ("conv2d", replaced("padding", smaller_padding), FORWARD),
    ("conv2d", lambda arguments: padded(arguments, "reflect"), FORWARD),
    ("conv2d", same_padding_before, FORWARD),
    ("conv2d", without("dilation"), FORWARD),
    ("conv2d", lost_dilation_where_it_does_not_show, FORWARD),
    ("conv2d", replaced("dilation", swapped), FORWARD),
    ("conv2d", replaced("stride", swapped), FORWARD),
    ("conv2d", first_group_only, FORWARD),
    ("conv2d", interleaved_groups, FORWARD),
    ("conv2d", replaced("bias", lambda b: 2 * b), f"{FORWARD} bias_gradient"),
    ("conv2d", without("bias"), f"{FORWARD} bias_gradient"),
    ("conv2d", replaced("input", lambda x: x if x.ndim == 4 else x[None]), FORWARD),
    ("conv2d", replaced("input", ignored_strides_of_memory), FORWARD),
    ("conv2d", replaced("bias", Tensor.detach), "bias_gradient"),
    ("conv2d", averaged_bias_gradient, "bias_gradient"),
    ("conv2d", gradient("weight", transposed_where_square), "weight_gradient"),
    ("conv2d", gradient("weight", lambda grad: grad.flip(-2, -1)), "weight_gradient"),
    ("conv2d", gradient("input", lambda grad: grad.roll(1, -1)), "input_gradient"),
    ("conv2d", weight_gradient_needs_input_gradient, "weight_gradient"),
    (
        "conv2d",
        gradient("input", Tensor.detach),
        "input_gradient_by_upstream input_gradient_by_weight",
    ),
    (
        "conv2d",
        replaced("weight", wrong_second_order),
        "weight_gradient_by_input weight_gradient_by_upstream",
    ),
    ("max_pool2d", zero_padding, "forward"),
    ("max_pool2d", without("ceil_mode"), "forward indices"),
    ("max_pool2d", without("dilation"), "forward"),
    ("max_pool2d", stride_defaults_to_1, "forward"),
    ("max_pool2d", replaced("input", lambda image: image.nan_to_num(-math.inf)), "forward"),
    ("max_pool2d", without("return_indices"), "indices"),
    ("max_pool2d", gradient("input", Tensor.detach), "input_gradient_by_upstream"),
    ("avg_pool2d", replaced("count_include_pad", operator.not_), "forward input_gradient"),
    ("avg_pool2d", whole_window_as_divisor, "forward input_gradient"),
    ("avg_pool2d", without("divisor_override"), "forward input_gradient"),
    ("avg_pool2d", without("ceil_mode"), "forward"),
    ("avg_pool2d", replaced("kernel_size", swapped), "forward"),
    ("avg_pool2d", gradient("input", lambda grad: 2 * grad), "input_gradient"),
    ("batch_norm", without("eps"), "forward input_gradient weight_gradient"),
    ("batch_norm", without("weight"), "forward input_gradient weight_gradient"),
    ("batch_norm", without("bias"), "forward bias_gradient"),
    ("batch_norm", replaced("running_mean", torch.neg), "forward weight_gradient"),
    ("batch_norm", replaced("running_var", torch.sqrt), "forward input_gradient"),
    ("batch_norm", replaced("input", ignored_strides_of_memory), "forward input_gradient"),
    ("batch_norm", gradient("bias", lambda grad: 2 * grad), "bias_gradient"),
    ("batch_norm", gradient("input", Tensor.detach), "input_gradient_by_upstream"),
    ("batch_norm", replaced("input", wrong_second_order), "input_gradient_by_input"),
    ("linear", replaced("weight", lambda w: w.flip(-1)), "forward input_gradient"),
    ("linear", without("bias"), "forward bias_gradient"),
    ("linear", replaced("input", ignored_strides_of_memory), "forward"),
    ("linear", averaged_bias_gradient, "bias_gradient"),
    ("linear", gradient("weight", lambda grad: grad.flip(-1)), "weight_gradient"),
    ("linear", weight_gradient_needs_input_gradient, "weight_gradient"),
    (
        "linear",
        gradient("input", Tensor.detach),
        "input_gradient_by_upstream input_gradient_by_weight",
    ),
    (
        "linear",
        replaced("weight", wrong_second_order),
        "weight_gradient_by_input weight_gradient_by_upstream",
    ),
    ("cross_entropy", without("label_smoothing"), "forward input_gradient"),
    ("cross_entropy", replaced("target", lambda t: t.flip(0)), "forward input_gradient"),
    (
        "cross_entropy",
        lambda arguments: arguments | {"reduction": "sum"},
        "forward input_gradient input_gradient_by_input",
    ),
    (
        "cross_entropy",
        gradient("input", lambda grad: grad - grad.mean(1, keepdim=True) / 1000),
        "input_gradient",
    ),
    (
        "cross_entropy",
        gradient("input", Tensor.detach),
        "input_gradient_by_upstream input_gradient_by_input",
    ),
    ("cross_entropy", replaced("input", wrong_second_order), "input_gradient_by_upstream"),
    ("block", replaced("relu", operator.not_), "forward input_gradient weight_gradient"),
    ("block", replaced("norm", lambda _: None), "forward input_gradient gamma_gradient"),
    ("block", replaced("gamma", torch.abs), "forward input_gradient gamma_gradient"),
    ("block", replaced("beta", torch.neg), "forward gamma_gradient"),
    ("block", replaced("running_var", torch.sqrt), "forward input_gradient"),
    ("block", gradient("weight", lambda grad: grad.flip(-1)), "weight_gradient"),
    ("block", gradient("beta", lambda grad: 2 * grad), "beta_gradient"),
    ("block", gradient("input", Tensor.detach), "input_gradient_by_upstream"),
    ("block", replaced("weight", wrong_second_order), "weight_gradient_by_input"),
]


@pytest.mark.parametrize(("name", "change", "caught_by"), CHANGES)
def test_changed_argument_is_caught(name: str, change: Change, caught_by: str) -> None:
    assert passed(compared(name, changed(name, change)), caught_by) == set()


BUGS: list[tuple[str, Operator, str]] = [
    ("conv2d", lambda **arguments: torchs("conv2d", **arguments).double(), "forward"),
    ("convolve2d", changed("conv2d"), FORWARD),
    ("max_pool2d", last_of_equals, "input_gradient indices"),
    ("max_pool2d", shared_ties, "input_gradient"),
    ("max_pool2d", indices_into_the_padded_image, "indices"),
    ("relu", lambda input: input.clamp(min=0), "input_gradient"),  # passes the gradient at zero
    ("relu", lambda input: functional.relu(input.nan_to_num(0, math.inf, -math.inf)), "forward"),
    ("relu", lambda input: functional.leaky_relu(input, 1e-6), "forward input_gradient"),
    ("sigmoid", lambda input: input.exp() / (1 + input.exp()), "forward"),  # overflows
    # Equal on paper; for very negative numbers all digits cancel.
    ("sigmoid", lambda input: (1 + (input / 2).tanh()) / 2, "forward"),
    ("sigmoid", sigmoid_with_the_gradient_of_tanh, "input_gradient"),
    (
        "sigmoid",
        lambda input: torch.sigmoid(wrong_second_order(input)),
        "input_gradient_by_upstream",
    ),
    ("tanh", lambda input: input.sinh() / input.cosh(), "forward"),  # ∞/∞
    ("batch_norm", normalized(unbiased), "forward input_gradient"),
    ("batch_norm", normalized(constant), "input_gradient input_gradient_by_input"),
    ("batch_norm", normalized(in_one_pass), "forward"),
    ("cross_entropy", without_the_maximum, "forward input_gradient"),  # overflows
    ("cross_entropy", smoothed_over_the_other_classes, "forward input_gradient"),
    ("block", pooled_before_normalising, "forward input_gradient"),
    ("block", block_of_last_of_equals, "input_gradient weight_gradient"),
]


@pytest.mark.parametrize(("name", "bug", "caught_by"), BUGS)
def test_bug_is_caught(name: str, bug: Operator, caught_by: str) -> None:
    assert passed(compared(name, bug), caught_by) == set()


# Each type has its own way to go wrong: precision, overflow, sign, padding, too many digits.
BUGS_OF_A_DTYPE: list[tuple[torch.dtype, str, Operator, str]] = [
    (torch.float64, "conv2d", computed_in_float32, "forward input_gradient weight_gradient"),
    (torch.float64, "linear", linear_in_float32, "forward input_gradient weight_gradient"),
    (torch.float16, "conv2d", added_up_in_16_bits, FORWARD),
    (torch.bfloat16, "conv2d", added_up_in_16_bits, FORWARD),
    (torch.bfloat16, "batch_norm", normalized(in_the_dtype), "forward"),
    (torch.bfloat16, "linear", linear_added_up_in_16_bits, "forward"),
    (torch.float16, "avg_pool2d", sum_in_16_bits, "forward"),
    (torch.uint8, "max_pool2d", pooled(replaced("input", Tensor.char)), "forward"),
    (torch.int32, "max_pool2d", pooled(zero_padding), "forward"),
    (torch.int64, "max_pool2d", pooled(replaced("input", Tensor.float)), "forward"),
]


@pytest.mark.parametrize(("dtype", "name", "bug", "caught_by"), BUGS_OF_A_DTYPE)
def test_bug_of_a_dtype_is_caught(
    dtype: torch.dtype, name: str, bug: Operator, caught_by: str
) -> None:
    assert passed(compared(name, bug, dtype), caught_by) == set()


# --- Devices and cases


def test_what_a_device_cannot_compute_is_a_failed_check_with_its_reason() -> None:
    """The meta device stands for a GPU that lacks a kernel."""

    def relu(input: Tensor) -> Tensor:
        if input.device.type == "meta":
            raise RuntimeError("no kernel\nand more")
        return torch.relu(input)

    case = next(case for case in argument_grid() if case.operator == "relu")
    devices = [torch.device("cpu"), torch.device("meta")]
    comparisons = verify(PARAMS, 1, operators={"relu": relu}, cases=[case], devices=devices)
    report = summarize(list(comparisons), seed=1)
    verdicts = {(check["device"], check["verdict"]) for check in report["checks"]}
    assert verdicts == {("cpu", "pass"), ("meta", "fail")}
    assert report["worst"].endswith(": no kernel")


def test_names_of_cases_are_their_identity() -> None:
    """Operands are drawn by name, and the report finds the worst case by it."""
    names = [(case.operator, str(case)) for case in argument_grid()]
    assert len(names) == len(set(names))


def test_operands_depend_on_nothing_but_case_and_seed() -> None:
    case = argument_grid()[0]
    call = draw(case, torch.float32, seed=1)
    assert call.operands.keys() == {"input", "weight", "bias"}
    assert call.probes.keys() == {"input", "weight", "bias", "upstream"}
    again, other, half = (
        draw(case, dtype, seed).operands["input"]
        for dtype, seed in [(torch.float32, 1), (torch.float32, 2), (torch.float16, 1)]
    )
    assert torch.equal(call.operands["input"], again)
    assert not torch.equal(call.operands["input"], other)
    assert torch.equal(call.operands["input"].half(), half)


def test_layouts_are_what_they_are_called() -> None:
    for case in argument_grid():
        call = draw(case, torch.float32, 1)
        x = call.operands["input"]
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
                assert x.stride(-1) == call.probes["upstream"].stride(-1) == 0


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


def test_the_tolerance_is_the_limit(comparisons: list[Comparison]) -> None:
    first = comparisons[0]
    at = replace(first, error=replace(first.error, bounds=first.tolerance))
    beyond = replace(first, error=replace(first.error, bounds=first.tolerance * 1.001))
    assert summarize([at], 1)["verdict"] == "pass"
    assert summarize([at, beyond], 1)["verdict"] == "fail"


def test_tables(comparisons: list[Comparison]) -> None:
    report = summarize(comparisons, seed=1)
    table = summary_table(report).splitlines()
    assert table[0] == "| operator | algorithm | within | device | float32 | float64 | verdict |"
    assert table[2] == "| relu     |           |        | cpu    | 0       | 0       | pass    |"
    assert table[3].startswith("| sigmoid  |")
    assert table[3].endswith("| FAIL    |")
    assert len(set(map(len, table))) == 1
    page = to_markdown(report)
    assert page.startswith("# Verification of the operators: fail\n")
    assert f"torch {torch.__version__}" in page
    assert summary_table(report) in page
    assert report["worst"] in page


def test_several_processes_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    some = argument_grid()[::40]
    monkeypatch.setattr(verification, "argument_grid", lambda: some)
    how = {"algorithms": ["im2col"], "devices": [verification.CPU], "transforms": {}}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one = list(verification.verify(PARAMS, 1, **how))
    finally:
        torch.set_num_threads(threads)
    several = verification.verify_side_by_side(PARAMS, 1, **how)
    assert list(map(str, several)) == list(map(str, one))
    assert len({comparison.operator for comparison in one}) > 5
