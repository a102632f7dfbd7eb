"""The comparison that the operators' tests share: ours against torch's, forward and backward."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Operator = Callable[..., Any]


def assert_matches_torch(
    ours: Operator, torchs: Operator, *operands: Tensor, atol: float = 1e-11, rtol: float = 1e-11
) -> None:
    """Same shape, dtype and values, and the same gradient of every operand."""
    expected, expected_gradients = _value_and_gradients(torchs, operands)
    actual, actual_gradients = _value_and_gradients(ours, operands)
    torch.testing.assert_close(actual, expected, atol=atol, rtol=rtol, equal_nan=True)
    for index, (a, e) in enumerate(zip(actual_gradients, expected_gradients, strict=True)):
        torch.testing.assert_close(
            a,
            e,
            atol=atol,
            rtol=rtol,
            equal_nan=True,
            msg=lambda text, i=index: f"gradient of operand {i}: {text}",
        )


def _value_and_gradients(
    operator: Operator, operands: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    leaves = [operand.detach().requires_grad_() for operand in operands]
    output = operator(*leaves)
    generator = torch.Generator().manual_seed(output.numel())
    grad = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output.dtype)
    return output.detach(), torch.autograd.grad(output, leaves, grad)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers, the same in every run whatever ran before."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
