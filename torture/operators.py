"""The operators, called at random and held against `cnnpipe.verify.reference`.

What is right, and how far rounding may carry a number from it, is said there. What a call looks
like is drawn in `random_calls`.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as torchs

from cnnpipe.functional import CONV2D_ALGORITHMS, UnsupportedError, conv2d_algorithm
from cnnpipe.params.loading import load_params
from cnnpipe.params.verify import VerifyParams
from cnnpipe.validate.schema import Params
from cnnpipe.verify.reference import Truth, compare, order_of, quantities, truths
from cnnpipe.verify.verification import OPERATORS
from torture import random_calls
from torture.campaign import Trial, promise
from torture.random_calls import Call, viewed, with_not_finite

FLOATS = (torch.float64, torch.float64, torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Drawn from: half of the calls have the bound that leaves least."""
WIDE = (torch.float64, torch.float32)
INTEGERS = (torch.uint8, torch.int32, torch.int64)
ALGORITHMS = ("auto", *(name for name in CONV2D_ALGORITHMS if name != "implicit_gemm"))
"""Those of a CPU."""
IN_PLACE = ("direct", "im2col")
"""Algorithms that multiply what the formula multiplies, and nothing else by zero."""


@promise(
    "conv2d with each algorithm, and convolve2d: value, gradients and second derivatives of random "
    "calls lie within the rounding bound of torch's and SciPy's in float64",
    full=4000,
    few=60,
)
def convolutions(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        operator = randomness.choice(["conv2d", "conv2d", "conv2d", "convolve2d"])
        call = random_calls.convolution(randomness, randomness.choice(FLOATS), operator=operator)
        if randomness.random() < 0.2:
            call = viewed(randomness, call)
        yield _held_against_reference(call, randomness)


@promise(
    "max_pool2d with its indices, and avg_pool2d: the same of random calls, integers included",
    full=4000,
    few=120,
)
def poolings(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        operator = randomness.choice(["max_pool2d", "avg_pool2d"])
        integers = INTEGERS if operator == "max_pool2d" else ()
        dtype = randomness.choice(FLOATS + integers)
        call = random_calls.pooling(randomness, dtype, operator=operator)
        if randomness.random() < 0.2:
            call = viewed(randomness, call)
        yield _held_against_reference(call, randomness)


@promise("relu, sigmoid and tanh: the same of tensors of 0 to 5 axes", full=1000, few=60)
def activations(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        call = random_calls.activation(randomness, randomness.choice(FLOATS))
        yield _held_against_reference(call, randomness)


@promise(
    "Views of any kind (permuted, stepped, repeated, overlapping, negated) are computed as what "
    "they show, stay as they were with all memory around them, and share none with a result",
    full=1000,
    few=60,
)
def views(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        call = viewed(randomness, _any_call(randomness, FLOATS))
        memories = {tensor.untyped_storage().data_ptr(): _memory(tensor) for tensor in call.tensors}
        before = {address: memory.clone() for address, memory in memories.items()}
        trial = _held_against_reference(call, randomness)
        said = [trial.said] if trial.said else []
        if any(not torch.equal(memories[address], old) for address, old in before.items()):
            said.append("an operand was changed")
        name, operator = _operator(call, randomness)
        try:
            results = quantities(operator, call.operands, call.probes)
        except UnsupportedError:
            results = {}
        except Exception as error:
            results = {}
            said.append(repr(error)[:200])
        # Autograd itself hands a probe on as the second derivative of a sum.
        first = [key for key in results if order_of(key) < 2 and results[key].numel()]
        if shared := [key for key in first if _address(results[key]) in memories]:
            said.append(f"{', '.join(shared)} of {name} share memory with an operand")
        yield Trial(trial.name, held=not said, said="; ".join(said))


@promise(
    "NaN and infinities: pooling, direct and im2col have them exactly where torch has (for finite "
    "weights); no operator hides one, or lets it into an image, group or kernel that has none",
    full=1500,
    few=80,
)
def not_finite(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        call = _any_call(randomness, WIDE, batched=True)
        tensors = call.operands | {"upstream": call.probes["upstream"]}
        for name in randomness.sample(list(tensors), randomness.randint(1, len(tensors))):
            tensors[name] = with_not_finite(randomness, tensors[name])
        probes = call.probes | {"upstream": tensors.pop("upstream")}
        call = Call(call.operator, tensors, call.arguments, probes)
        name, operator = _operator(call, randomness)
        try:
            said = _misplaced(call, name, operator)
        except UnsupportedError:
            operator = partial(operator, algorithm="im2col")
            said = _misplaced(call, name := "im2col", operator)
        except Exception as error:
            said = repr(error)[:200]
        yield Trial(f"{call} by {name}", held=not said, said=said)


@promise(
    "A wrong argument raises a ValueError or TypeError, or gives what torch gives; no channels "
    "may give nothing",
    full=1500,
    few=100,
)
def wrong_arguments(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        call = _any_call(randomness, (torch.float64,))
        arguments = {**call.operands, **call.reference_arguments()}
        name = randomness.choice(list(arguments))
        tensor = arguments[name] if isinstance(arguments[name], Tensor) else None
        wrong = randomness.choice(WRONG_VALUES) if tensor is None else _spoilt(randomness, tensor)
        yield _refused(call.operator, arguments | {name: wrong}, f"{call}; {name}={_brief(wrong)}")


WRONG_VALUES: tuple[Any, ...] = (
    *(0, -1, -7, 10**30, -(10**30), 2.5, 2.0, math.nan, math.inf, True, None, "same", "full", ""),
    *((), (1,), (1, 2, 3), (0, 1), (1, -1), (2.0, 1), (None, 1), ((1, 1), (1, 1)), [], [2, 0], {}),
    *(b"", b"ab", object(), Ellipsis, slice(1), 1j, np.array([1, 2]), np.float64(2)),
    *(torch.tensor([1, 2]), torch.tensor(1.5)),
)


def _spoilt(randomness: Random, tensor: Tensor) -> Any:
    """Something else in the place of a tensor."""
    others: tuple[Callable[[], Any], ...] = (
        *(lambda: None, lambda: 1.0, lambda: tensor.tolist(), lambda: tensor.numpy()),
        *(lambda: tensor[None, None], lambda: tensor.reshape(-1), lambda: tensor.sum()),
        *(lambda: tensor[..., :0], lambda: tensor[:0], lambda: tensor[..., None]),
        *(tensor.long, tensor.bool, tensor.half, tensor.to_sparse),
        lambda: tensor.to(torch.complex64),
        *(lambda: tensor.to(torch.float8_e4m3fn), lambda: tensor.to(torch.uint16)),
        *(lambda: torch.cat([tensor, tensor]), lambda: torch.cat([tensor, tensor], 1)),
        *(lambda: tensor.narrow(1, 0, 0), lambda: tensor.to("meta")),
    )
    try:
        return randomness.choice(others)()
    except (IndexError, RuntimeError):  # a tensor that cannot be spoilt so
        return None


def _brief(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.layout} {value.dtype} {list(value.shape)} on {value.device}"
    return f"{type(value).__name__} {str(value)[:30]}"


def _refused(operator: str, arguments: Mapping[str, Any], name: str) -> Trial:
    try:
        ours = OPERATORS[operator](**arguments)
    except (ValueError, TypeError):
        return Trial(name, held=True)
    except Exception as error:
        return Trial(name, held=False, said=repr(error)[:200])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = TORCHS[operator](**arguments)
    except Exception as error:
        nothing = not (ours[0] if isinstance(ours, tuple) else ours).numel()
        said = "" if nothing else f"computed; torch says {str(error)[:100]}"
        return Trial(name, held=nothing, said=said)
    value = theirs[0] if isinstance(theirs, tuple) else theirs
    empty = value.is_meta or not value.numel()
    atol = 0.0 if empty else 1e-9 * float(value.abs().max())
    try:
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=atol, equal_nan=True)
    except AssertionError as error:
        return Trial(name, held=False, said=f"not torch's: {str(error)[:100]}")
    return Trial(name, held=True)


def _convolve2d(input: Tensor, weight: Tensor, *arguments: Any, **named: Any) -> Tensor:
    return torchs.conv2d(input, weight.flip(-2, -1), *arguments, **named)


TORCHS: Mapping[str, Callable[..., Any]] = {
    "conv2d": torchs.conv2d,
    "convolve2d": _convolve2d,
    "max_pool2d": torchs.max_pool2d,
    "avg_pool2d": torchs.avg_pool2d,
    "relu": torchs.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def _any_call(randomness: Random, dtypes: Sequence[torch.dtype], *, batched: bool = False) -> Call:
    dtype = randomness.choice(dtypes)
    match operator := randomness.choice(list(OPERATORS)):
        case "conv2d" | "convolve2d":
            return random_calls.convolution(randomness, dtype, operator=operator, batched=batched)
        case "max_pool2d" | "avg_pool2d":
            return random_calls.pooling(randomness, dtype, operator=operator, batched=batched)
        case _:
            return random_calls.activation(randomness, dtype)


def _held_against_reference(call: Call, randomness: Random) -> Trial:
    """Every quantity of the call, by an algorithm that computes it."""
    truth = truths(call.operator, call.operands, call.probes, call.reference_arguments())
    while True:
        name, operator = _operator(call, randomness)
        try:
            results = quantities(operator, call.operands, call.probes)
        except UnsupportedError:
            continue
        except Exception as error:
            return Trial(f"{call} by {name}", held=False, said=repr(error)[:300])
        break
    if "forward_scipy" in truth:
        results["forward_scipy"] = results["forward"]
    wrong = [key for key in truth if not _is_right(call, key, results.get(key), truth[key], name)]
    if results["forward"].requires_grad != bool(call.probes.keys() - {"upstream"}):
        wrong.append("requires_grad")
    said = f"wrong: {', '.join(wrong)}" if wrong else ""
    return Trial(f"{call} by {name}", held=not wrong, said=said)


def _operator(call: Call, randomness: Random) -> tuple[str, Callable[..., Any]]:
    """An operator, and the name of the algorithm that it computes with."""
    operator = partial(OPERATORS[call.operator], **call.arguments)
    if "weight" not in call.operands:
        return call.operator, operator
    algorithm = randomness.choice(ALGORITHMS)
    operator = partial(operator, algorithm=algorithm)
    if algorithm == "auto":
        algorithm = conv2d_algorithm(
            call.operands["input"], call.operands["weight"], **call.arguments
        )
    return algorithm, operator


def _is_right(
    call: Call, quantity: str, actual: Tensor | None, truth: Truth, algorithm: str
) -> bool:
    """Within the tolerances of the pipeline's own verification."""
    params = _tolerances()
    tolerance = getattr(params.tolerance, str(truth.dtype).removeprefix("torch."), 1.0)
    factor = params.normwise.get(algorithm)  # type: ignore[call-overload]
    if factor is None or quantity.startswith("bias"):
        return bool(compare(actual, truth).bounds <= tolerance)
    truth = replace(truth, bound=truth.bound.nan_to_num(0, 0) + _bound_by_norms(call, quantity))
    return bool(compare(actual, truth, normwise=True).bounds <= tolerance * factor)


def _bound_by_norms(call: Call, quantity: str) -> float:
    """What is left of Σ|terms| where an output sees next to nothing: 8·u·‖a‖·‖b‖, and underflow.

    Winograd and FFT mix numbers that meet in no output. What they mix is bounded by Cauchy and
    Schwarz, for the two tensors whose product the quantity is.
    """
    tensors = {**call.operands, **{f"∂{name}": probe for name, probe in call.probes.items()}}
    pair = {
        "forward": ("input", "weight"),
        "forward_scipy": ("input", "weight"),
        "input_gradient": ("∂upstream", "weight"),
        "weight_gradient": ("input", "∂upstream"),
        "input_gradient_by_upstream": ("∂input", "weight"),
        "input_gradient_by_weight": ("∂input", "∂upstream"),
        "weight_gradient_by_upstream": ("input", "∂weight"),
        "weight_gradient_by_input": ("∂upstream", "∂weight"),
    }.get(quantity)
    if pair is None:  # zero: neither depends on the other
        return 0.0
    a, b = (tensors[name].double().nan_to_num(0, 0, 0) for name in pair)
    norms = float(a.norm()), float(b.norm())
    add = torch.finfo(torch.float32 if call.dtype.itemsize == 2 else call.dtype)
    underflow = add.smallest_normal * (a.numel() + b.numel()) * (1 + sum(norms))
    return float(8 * (add.eps / 2 * norms[0] * norms[1] + underflow))


@functools.cache
def _tolerances() -> VerifyParams:
    return load_params(Params, Path(__file__).parent.parent / "params.yaml").verify


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _memory(tensor: Tensor) -> Tensor:
    """All bytes of the memory that a tensor is a view of."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())


def _misplaced(call: Call, algorithm: str, operator: Callable[..., Any]) -> str:
    """What is wrong with a value or gradient, given that some operands are not finite."""
    with np.errstate(invalid="ignore"):
        truth = truths(call.operator, call.operands, call.probes, call.reference_arguments())
    results = quantities(operator, call.operands, call.probes)
    wrong = []
    for key in [key for key in results if order_of(key) < 2]:
        actual, right = results[key].detach(), truth[key]
        if actual.shape == right.value.shape and actual.is_floating_point():
            value = right.value
            # More may be lost than the formula loses, if only as something that is not finite.
            lost = _may_be_lost(call, key, algorithm) & ~actual.isfinite()
            lost &= value.isfinite() | value.isnan() | actual.isnan() | (actual == value)
            actual = torch.where(lost, value.to(actual.dtype), actual)
        if not _is_right(call, key, actual, right, algorithm):
            wrong.append(key)
    return f"wrong: {', '.join(wrong)}" if wrong else ""


def _may_be_lost(call: Call, quantity: str, algorithm: str) -> Tensor:
    """Where a NaN may stand that the formula does not have; it broadcasts to the quantity."""
    nowhere = torch.tensor(False)
    upstream = ~call.probes["upstream"].isfinite()
    if call.operator in ("relu", "sigmoid", "tanh") and quantity == "input_gradient":
        return upstream  # 0·∞ instead of 0, and ∞ − ∞·y instead of ∞·(1 − y)
    if "weight" not in call.operands or quantity == "bias_gradient":
        return nowhere
    G = call.arguments["groups"]
    x, w = (~call.operands[name].isfinite() for name in ("input", "weight"))
    if algorithm in IN_PLACE and not (quantity == "input_gradient" and w.any()):
        return nowhere
    w = w.unflatten(0, (G, -1)).flatten(3).any(3)  # (G, O/G, C/G)
    x = x.unflatten(1, (G, -1)).flatten(3).any(3)  # (N, G, C/G)
    g = upstream.unflatten(1, (G, -1)).flatten(3).any(3)  # (N, G, O/G)
    match quantity:
        case "forward":  # (N, O): an image's group, or a kernel
            mask = (x.any(2)[:, :, None] | w.any(2)).flatten(1)
        case "input_gradient":  # (N, C)
            mask = (g.any(2)[:, :, None] | w.any(1)).flatten(1)
        case _:  # of the weight: (O, C/G)
            mask = (g.any(0)[:, :, None] | x.any(0)[:, None]).flatten(0, 1)
    where: Tensor = mask[:, :, None, None]
    return where
