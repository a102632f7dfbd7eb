"""Calls of the operators, checked with the oracle of the verify stage and its tolerances."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from cnnpipe.functional import (
    CONV2D_ALGORITHMS,
    UnsupportedError,
    conv2d,
    convolution,
)
from cnnpipe.functional.convolution_arguments import convolution_geometry
from cnnpipe.geometry import ConvolutionGeometry
from cnnpipe.params.loading import load_params
from cnnpipe.params.section import Selection
from cnnpipe.params.verify import VerifyParams
from cnnpipe.verify.cases import Case, argument_grid, draw_probes
from cnnpipe.verify.reference import (
    Call,
    Operator,
    Truth,
    allow_mixing,
    judge,
    order_of,
    quantities,
    truths,
)
from cnnpipe.verify.verification import ALGORITHMS, OPERATORS
from tests.helpers.project import ROOT

CPU_ALGORITHMS = tuple(name for name in CONV2D_ALGORITHMS if name != "implicit_gemm")


class Settings(Selection):
    verify: VerifyParams


@functools.cache
def tolerances() -> VerifyParams:
    return load_params(Settings, ROOT / "params.yaml").verify


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normally distributed numbers that depend on the shape and the seed only."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def some_cases(operator: str, dtype: torch.dtype, *, all: bool = False) -> list[Case]:
    """An operator's cases: if not all, a fifth of the products of four and more arguments."""
    return [
        replace(case, dtypes=(dtype,))
        for index, case in enumerate(argument_grid())
        if case.operator == operator and dtype in case.dtypes
        if all or len(case.arguments) < 4 or index % 5 == 0
    ]


def call_of(operator: str, *operands: Tensor, **arguments: Any) -> Call:
    """A call with a random gradient for the output and for the gradient of every operand."""
    named = dict(zip(("input", "weight", "bias"), operands, strict=False))
    generator = torch.Generator().manual_seed(7)
    probes = draw_probes(
        operator,
        named,
        arguments,
        lambda shape: torch.randn(shape, generator=generator, dtype=torch.float64).to(operands[0]),
    )
    return Call(operator, named, arguments, probes)


def implementation(call: Call, algorithm: str | None = None) -> Operator:
    """The project's operator as a function of the call's operands by name."""
    operator = _padded_on_four_sides if has_four_sides(call) else OPERATORS[call.operator]
    operator = partial(operator, **call.arguments)
    return partial(operator, algorithm=algorithm) if algorithm else operator


def has_four_sides(call: Call) -> bool:
    """Whether the padding is that of the top, bottom, left and right."""
    padding = call.arguments.get("padding")
    return isinstance(padding, tuple) and len(padding) == 4


def _padded_on_four_sides(*, padding: tuple[int, int, int, int], **rest: Any) -> Tensor:
    """`conv2d` with padding that it takes for "same" only: top, bottom, left, right."""

    def geometry(*arguments: Any) -> ConvolutionGeometry:
        return replace(convolution_geometry(*arguments), padding=padding)

    top, bottom, left, right = padding
    with patch.object(convolution, "convolution_geometry", geometry):
        return conv2d(**rest, padding=(max(top, bottom), max(left, right)))


def computes(algorithm: str, call: Call) -> bool:
    """Whether an algorithm supports a convolution."""
    try:
        implementation(call, algorithm)(**call.operands)
    except UnsupportedError:
        return False
    return True


def algorithms_for(call: Call) -> list[str | None]:
    """The algorithms that compute a call; None if its operator has only one."""
    if call.operator not in ALGORITHMS:
        return [None]
    named = CPU_ALGORITHMS if has_four_sides(call) else ("auto", *CPU_ALGORITHMS)
    return [algorithm for algorithm in named if computes(algorithm, call)]


def wrong(
    call: Call,
    algorithm: str | None = None,
    *,
    results: Mapping[str, Tensor] | None = None,
    truth_of: Mapping[str, Truth] | None = None,
) -> dict[str, float]:
    """The quantities of a call with errors beyond their tolerance, in units of the tolerance.

    Args:
        call: the operands, arguments and probes.
        algorithm: of a convolution; `UnsupportedError` if it does not support this one.
        results: the quantities to check; those of the project's operator by default.
        truth_of: the truths to check them against; all by default.
    """
    params = tolerances()
    limit = getattr(params.tolerance, str(call.dtype).removeprefix("torch."), 1.0)
    factors: dict[str, float] = dict(params.normwise.items())
    factor = factors.get(algorithm) if algorithm else None
    if results is None:
        results = quantities(implementation(call, algorithm), call.operands, call.probes)
    truth_of = truths(call) if truth_of is None else truth_of
    if factor is not None:
        truth_of, limit = allow_mixing(truth_of, call), limit * factor
    return {
        quantity: error.bounds / limit
        for quantity, error in judge(results, truth_of, normwise=factor is not None).items()
        if not error.bounds <= limit
    }


def assert_right(call: Call, algorithm: str | None = None) -> None:
    """The value, every gradient and every second derivative are those of the oracle."""
    assert wrong(call, algorithm) == {}, f"{call} by {algorithm}"


def first_order(
    call: Call, operator: Operator | None = None, *, algorithm: str | None = None
) -> dict[str, Tensor]:
    """The value and every gradient, without the second derivatives of `quantities`.

    Args:
        call: the operands, arguments and probes.
        operator: called with operands by name; the project's own by default.
        algorithm: of the project's convolution.
    """
    learned = [name for name in call.operands if name in call.probes]
    leaves = {name: x.detach().requires_grad_(name in learned) for name, x in call.operands.items()}
    output = (operator or implementation(call, algorithm))(**leaves)
    sources = [leaves[name] for name in learned]
    gradients = torch.autograd.grad(output, sources, call.probes["upstream"]) if learned else ()
    of_names = (f"{name}_gradient" for name in learned)
    return {"forward": output, **dict(zip(of_names, gradients, strict=True))}


def assert_first_order_right(call: Call, algorithm: str | None = None) -> None:
    """The value and every gradient are those of the oracle; arguments as in `first_order`."""
    results = first_order(call, algorithm=algorithm)
    truth_of = {name: truth for name, truth in truths(call).items() if order_of(name) < 2}
    assert wrong(call, algorithm, results=results, truth_of=truth_of) == {}, call
