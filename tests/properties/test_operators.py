"""Random calls of the operators against the oracle, and what they refuse."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from cnnpipe.verify.cases import INTEGERS
from cnnpipe.verify.reference import (
    Call,
    order_of,
    quantities,
    torch_arguments,
    torch_operator,
    truths,
)
from cnnpipe.verify.verification import OPERATORS
from tests.helpers.oracle import algorithms_for, implementation, wrong
from tests.properties import calls
from tests.properties.promises import promise

ACTIVATIONS = ("relu", "sigmoid", "tanh")
IN_PLACE = ("direct", "im2col")
"""Algorithms that multiply what the formula multiplies, and nothing else by zero."""


@promise(
    "conv2d with each algorithm, and convolve2d: value, gradients and second derivatives of random "
    "calls lie within the rounding bound of torch's and SciPy's in float64",
    full=4000,
    few=80,
    call=calls.convolutions(four_sides=True),
)
def test_convolutions(call: Call) -> None:
    check(call)


@promise(
    "max_pool2d with its indices, and avg_pool2d: the same of random calls, integers included",
    full=4000,
    few=150,
    call=calls.poolings() | calls.poolings(dtypes=INTEGERS) | calls.poolings(),
)
def test_poolings(call: Call) -> None:
    check(call)


@promise(
    "relu, sigmoid and tanh: the same of tensors of 0 to 5 axes",
    full=1000,
    few=100,
    call=calls.activations(),
)
def test_activations(call: Call) -> None:
    for operator in ACTIVATIONS:
        check(replace(call, operator=operator))


@promise(
    "batch_norm, in training and evaluation: the same of tensors of 2 to 5 axes",
    full=1000,
    few=100,
    call=calls.normalizations() | calls.viewed(calls.normalizations()),
)
def test_normalizations(call: Call) -> None:
    check(call)


@promise(
    "linear and cross_entropy: the same of any shapes",
    full=1000,
    few=100,
    call=calls.linears() | calls.losses(),
)
def test_linear_and_loss(call: Call) -> None:
    check(call)


def check(call: Call) -> dict[str | None, dict[str, Tensor]]:
    """All quantities are right, and the result requires a gradient only if an operand does.

    Returns the quantities by algorithm.
    """
    truth_of = truths(call)
    learned = bool(call.probes.keys() - {"upstream"})
    found = {}
    for algorithm in algorithms_for(call):
        results = quantities(implementation(call, algorithm), call.operands, call.probes)
        off = wrong(call, algorithm, results=results, truth_of=truth_of)
        assert off == {}, f"{call} by {algorithm}"
        assert results["forward"].requires_grad == learned, f"{call} by {algorithm}"
        found[algorithm] = results
    return found


@promise(
    "Views of any kind (permuted, stepped, repeated, overlapping, negated) are computed as what "
    "they show, stay as they were with all memory around them, and share none with a result",
    full=1000,
    few=80,
    call=calls.viewed(calls.any_calls()),
)
def test_views(call: Call) -> None:
    memories = {address(tensor): memory(tensor) for tensor in call.tensors}
    before = {place: numbers.clone() for place, numbers in memories.items()}
    found = check(call)
    assert all(torch.equal(memories[place], numbers) for place, numbers in before.items())
    for algorithm, results in found.items():
        for quantity, result in results.items():
            # Autograd itself returns a probe as the second derivative of a sum.
            if order_of(quantity) < 2 and result.numel():
                assert address(result) not in memories, (quantity, algorithm)


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def memory(tensor: Tensor) -> Tensor:
    """All bytes of the memory that a tensor is a view of."""
    return torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())


@promise(
    "NaN and infinities: pooling, direct and im2col have them exactly where torch has (for finite "
    "weights); no operator hides one, or lets it into an image, group or kernel that has none",
    full=1500,
    few=80,
    call=calls.with_not_finite(calls.any_calls(calls.WIDE, batched=True)),
)
def test_not_finite(call: Call) -> None:
    with np.errstate(invalid="ignore"):
        truth_of = truths(call)
    truth_of = {key: truth for key, truth in truth_of.items() if order_of(key) < 2}
    truth_of.pop("forward_scipy", None)
    for algorithm in algorithms_for(call):
        results = quantities(implementation(call, algorithm), call.operands, call.probes)
        for quantity, truth in truth_of.items():
            actual, value = results[quantity].detach(), truth.value
            if actual.shape == value.shape and actual.is_floating_point():
                # More may be lost than the formula loses, if only as something not finite.
                lost = may_be_lost(call, quantity, algorithm) & ~actual.isfinite()
                lost &= value.isfinite() | value.isnan() | actual.isnan() | (actual == value)
                results[quantity] = torch.where(lost, value.to(actual.dtype), actual)
        off = wrong(call, algorithm, truth_of=truth_of, results=results)
        assert off == {}, f"{call} by {algorithm}"


def may_be_lost(call: Call, quantity: str, algorithm: str | None) -> Tensor:
    """Where a NaN may stand that the formula does not have; it broadcasts to the quantity."""
    nowhere = torch.tensor(False)
    upstream = ~call.probes["upstream"].isfinite()
    if call.operator in ACTIVATIONS and quantity == "input_gradient":
        return upstream  # 0·∞ instead of 0, and ∞ − ∞·y instead of ∞·(1 − y)
    if algorithm is None or quantity == "bias_gradient":
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


WRONG_VALUES: tuple[Any, ...] = (
    *(0, -1, -7, 10**30, -(10**30), 2.5, 2.0, math.nan, math.inf, True, None, "same", "full", ""),
    *((), (1,), (1, 2, 3), (0, 1), (1, -1), (2.0, 1), (None, 1), ((1, 1), (1, 1)), [], [2, 0], {}),
    *(b"", b"ab", object(), Ellipsis, slice(1), 1j, np.array([1, 2]), np.float64(2)),
    *(torch.tensor([1, 2]), torch.tensor(1.5)),
)
WRONG_TENSORS: tuple[Callable[[Tensor], Any], ...] = (
    *(lambda x: None, lambda x: 1.0, Tensor.tolist, Tensor.numpy),
    *(lambda x: x[None, None], lambda x: x.reshape(-1), Tensor.sum),
    *(lambda x: x[..., :0], lambda x: x[:0], lambda x: x[..., None]),
    *(Tensor.long, Tensor.bool, Tensor.half, Tensor.to_sparse),
    *(lambda x, dtype=dtype: x.to(dtype) for dtype in (torch.complex64, torch.uint16)),
    lambda x: x.to(torch.float8_e4m3fn),
    *(lambda x: torch.cat([x, x]), lambda x: torch.cat([x, x], 1)),
    *(lambda x: x.narrow(1, 0, 0), lambda x: x.to("meta")),
)


@promise(
    "A wrong argument raises a ValueError or TypeError, or gives what torch gives; no channels "
    "may give nothing",
    full=1500,
    few=120,
    call=calls.any_calls([torch.float64]),
    data=st.data(),
)
def test_wrong_arguments(call: Call, data: st.DataObject) -> None:
    arguments = {**call.operands, **torch_arguments(call.arguments)}
    name = data.draw(st.sampled_from(list(arguments)), label="argument")
    if isinstance(arguments[name], Tensor):
        try:
            value = data.draw(st.sampled_from(WRONG_TENSORS))(arguments[name])
        except (IndexError, RuntimeError):  # this tensor cannot be made wrong in this way
            value = None
    else:
        value = data.draw(st.sampled_from(WRONG_VALUES))
    arguments[name] = value
    try:
        ours = OPERATORS[call.operator](**arguments)
    except (ValueError, TypeError):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = torch_operator(call.operator)(**arguments)
    except Exception:
        assert not (ours[0] if isinstance(ours, tuple) else ours).numel()
        return
    largest = theirs[0] if isinstance(theirs, tuple) else theirs
    empty = largest.is_meta or not largest.numel()
    atol = 0.0 if empty else 1e-9 * float(largest.abs().max())
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=atol, equal_nan=True)
