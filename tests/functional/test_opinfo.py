"""PyTorch's own samples of calls (OpInfo): this project agrees with torch, or refuses by name."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing._internal import common_utils
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo import core

from cnnpipe.functional import (
    avg_pool2d,
    batch_norm,
    conv2d,
    cross_entropy,
    dropout,
    linear,
    max_pool2d,
    relu,
    sigmoid,
    tanh,
)
from cnnpipe.functional.arguments import FLOATS, NUMBERS, REALS

# PyTorch's samples forbid, when they are imported, to choose the arithmetic of a device: stages do.
torch.backends.flags_frozen.__globals__["__allow_nonbracketed_mutation_flag"] = True
# They ask which unittest they are drawn for, by a search through all modules that are imported.
core.extract_test_fn = common_utils.extract_test_fn = lambda: None

OURS: dict[str, Callable[..., Any]] = {
    "nn.functional.conv2d": conv2d,
    "nn.functional.max_pool2d": max_pool2d,
    "nn.functional.avg_pool2d": avg_pool2d,
    "nn.functional.relu": relu,
    "nn.functional.batch_norm": batch_norm,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "nn.functional.linear": linear,
    "nn.functional.dropout": dropout,
    "nn.functional.cross_entropy": cross_entropy,
}
COMPUTED = {
    "nn.functional.conv2d": NUMBERS,
    "nn.functional.max_pool2d": (*REALS, torch.bool),
    "nn.functional.avg_pool2d": REALS,
    "nn.functional.relu": REALS,
    "nn.functional.batch_norm": FLOATS,
    # Of integers torch makes floating-point numbers, which no layer here needs; and a network of
    # complex numbers has other activations than these.
    "sigmoid": FLOATS,
    "tanh": FLOATS,
    "nn.functional.linear": NUMBERS,
    "nn.functional.dropout": FLOATS,
    "nn.functional.cross_entropy": FLOATS,
}
KNOWN: dict[str, Callable[[Any], bool]] = {
    # Where numbers are silenced at random, torch silences others.
    "nn.functional.dropout": lambda sample: (
        sample.kwargs.get("p") in (0, 1) or not sample.kwargs.get("training", True)
    ),
    # Classes of the rows of a matrix, and their mean; torch has more.
    "nn.functional.cross_entropy": lambda sample: (
        sample.input.ndim == 2
        and sample.args[0].dtype == torch.int64
        and sample.kwargs in ({}, {"label_smoothing": 0.5})
    ),
}
"""The samples of what is computed here too, where it is not all of torch's."""
TORCH = {op.name: op for op in op_db if op.name in OURS and not op.variant_test_name}
CASES = [
    (name, dtype)
    for name, op in TORCH.items()
    for dtype in sorted(op.supported_dtypes("cpu"), key=str)
    if dtype is not torch.complex32  # experimental in torch itself
]


def samples(name: str, dtype: torch.dtype) -> Iterator[Any]:
    differentiable = dtype.is_floating_point or dtype.is_complex
    all_samples = TORCH[name].sample_inputs("cpu", dtype, requires_grad=differentiable)
    if name in KNOWN:
        all_samples = filter(KNOWN[name], all_samples)
    # There are 1,000 of max_pool2d, and one dtype tries them all.
    many = name == "nn.functional.max_pool2d" and dtype is not torch.float64
    yield from islice(all_samples, 0, 200, 7) if many else all_samples


def called(operator: Callable[..., Any], sample: Any) -> tuple[Any, list[Tensor]]:
    """The result, and the operands without gradient, which running statistics are, afterwards."""
    arguments = [
        value.clone() if isinstance(value, Tensor) and not value.requires_grad else value
        for value in sample.args
    ]
    result = operator(sample.input, *arguments, **sample.kwargs)
    constants = [value for value in arguments if isinstance(value, Tensor)]
    return result, [value for value in constants if not value.requires_grad]


def gradients(output: Any, operands: list[Tensor]) -> Any:
    first = output[0] if isinstance(output, tuple) else output
    wanted = [operand for operand in operands if operand.requires_grad]
    upstream = torch.linspace(-1, 1, first.numel()).view(first.shape).to(first.dtype)
    return torch.autograd.grad(first, wanted, upstream) if wanted else ()


def test_all_operators_have_samples() -> None:
    assert set(TORCH) == set(OURS)


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=str)
@pytest.mark.filterwarnings("ignore")  # of torch's operators, about their arguments
def test_samples(name: str, dtype: torch.dtype) -> None:
    digits = torch.finfo(dtype).eps if dtype.is_floating_point or dtype.is_complex else 0
    tolerance = {"rtol": 8 * digits, "atol": 400 * digits if digits < 1e-4 else 8 * digits}
    count = 0
    for sample in samples(name, dtype):
        operands = [value for value in (sample.input, *sample.args) if isinstance(value, Tensor)]
        count += 1
        if dtype not in COMPUTED[name]:
            with pytest.raises(TypeError, match="expected one of"):
                called(OURS[name], sample)
            continue
        if name == "nn.functional.batch_norm" and sample.input.ndim < 2:
            with pytest.raises(ValueError, match=r"expected shape \(N, C, …\)"):
                called(OURS[name], sample)
            continue
        expected, their_constants = called(TORCH[name].op, sample)
        actual, our_constants = called(OURS[name], sample)
        torch.testing.assert_close(actual, expected, **tolerance)
        torch.testing.assert_close(our_constants, their_constants, **tolerance)
        torch.testing.assert_close(
            gradients(actual, operands), gradients(expected, operands), **tolerance
        )
    assert count > 0
