import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, vmap

from cnnpipe.functional import cross_entropy
from tests.helpers.oracle import randn

LOGITS = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]], dtype=torch.float64)
TARGETS = torch.tensor([1, 1])


def test_worked_values() -> None:
    # softmax (1/4, 3/4) and (4/5, 1/5): (−log 3/4 − log 1/5) / 2 = log(20/3) / 2
    assert cross_entropy(LOGITS, TARGETS).item() == pytest.approx(math.log(20 / 3) / 2)
    # with ε = 1/2 the targets are (1/4, 3/4) twice
    logs = [1 / 4, 3 / 4, 4 / 5, 1 / 5]
    expected = -sum(q * math.log(p) for q, p in zip([1 / 4, 3 / 4] * 2, logs, strict=True)) / 2
    assert cross_entropy(LOGITS, TARGETS, 0.5).item() == pytest.approx(expected)


def test_worked_gradients() -> None:
    logits = LOGITS.clone().requires_grad_()
    [gradient] = torch.autograd.grad(cross_entropy(logits, TARGETS), logits)
    expected = torch.tensor([[1 / 4, -1 / 4], [4 / 5, -4 / 5]], dtype=torch.float64) / 2
    torch.testing.assert_close(gradient, expected)
    [gradient] = torch.autograd.grad(cross_entropy(logits, TARGETS, 0.5), logits)
    expected = torch.tensor([[0, 0], [11 / 20, -11 / 20]], dtype=torch.float64) / 2
    torch.testing.assert_close(gradient, expected)


def test_properties() -> None:
    logits, targets = randn(6, 5).requires_grad_(), torch.tensor([0, 1, 2, 3, 4, 0])
    loss = cross_entropy(logits, targets, 0.2)
    torch.testing.assert_close(cross_entropy(logits + randn(6, 1), targets, 0.2), loss)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cross_entropy(logits[order], targets[order], 0.2), loss)
    [gradient] = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient.sum(1), torch.zeros(6, dtype=torch.float64))
    # All classes alike: log C, whatever the target
    assert cross_entropy(torch.zeros(6, 5), targets, 0.3).item() == pytest.approx(math.log(5))


def losses(targets: Tensor, smoothing: float) -> list[Any]:
    return [
        lambda logits: cross_entropy(logits, targets, smoothing),
        lambda logits: nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing),
    ]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.filterwarnings("ignore:.torch.jit.script")  # of torch, about itself
def test_every_derivative(smoothing: float) -> None:
    targets, logits = torch.tensor([2, 0, 1, 1]), randn(4, 3).requires_grad_()
    ours, theirs = losses(targets, smoothing)
    assert gradcheck(
        ours,
        logits,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert gradgradcheck(ours, logits, check_batched_grad=True, check_fwd_over_rev=True)
    point = logits.detach()
    for derivative in (
        jacfwd,
        hessian,
        lambda f: jacrev(jacrev(f)),
        lambda f: jacfwd(jacfwd(f)),
        lambda f: jacrev(hessian(f)),
        lambda f: jacfwd(hessian(f)),
    ):
        torch.testing.assert_close(derivative(ours)(point), derivative(theirs)(point))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 1), (2, 0)])
def test_vmap(axes: tuple[int | None, ...]) -> None:
    operands = randn(4, 3), torch.tensor([2, 0, 1, 1])
    batches = [
        operand if axis is None else torch.stack([operand, operand.flip(0)], axis)
        for operand, axis in zip(operands, axes, strict=True)
    ]
    for ours, theirs in (
        (cross_entropy, nn.functional.cross_entropy),
        (grad(cross_entropy), grad(nn.functional.cross_entropy)),
    ):
        expected = torch.stack(
            [
                theirs(*one)
                for one in zip(
                    *(
                        [batch, batch] if axis is None else batch.unbind(axis)
                        for batch, axis in zip(batches, axes, strict=True)
                    ),
                    strict=True,
                )
            ]
        )
        torch.testing.assert_close(vmap(ours, axes)(*batches), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_16_bits_are_computed_in_32(dtype: torch.dtype) -> None:
    logits = (30 * randn(64, 200)).to(dtype).requires_grad_()
    wide, targets = logits.detach().float().requires_grad_(), torch.arange(64)
    for smoothing in (0.0, 0.1):
        loss, expected = (cross_entropy(z, targets, smoothing) for z in (logits, wide))
        assert torch.equal(loss, expected.to(dtype))
        [gradient], [of_wide] = (
            torch.autograd.grad(value, z) for value, z in ((loss, logits), (expected, wide))
        )
        assert torch.equal(gradient, of_wide.to(dtype))


def test_autocast_makes_32_bits_as_torchs_does() -> None:
    logits = randn(2, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert cross_entropy(logits, TARGETS).dtype == torch.float32
    assert cross_entropy(logits, TARGETS).dtype == torch.bfloat16


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_numbers_that_are_not_finite_go_where_they_go_in_torch(smoothing: float) -> None:
    for value in (torch.inf, -torch.inf, torch.nan, 1e308, -1e308):
        for place in ((0, 1), (1, 1)):  # of the target, and another
            found = []
            for loss in losses(torch.tensor([1, 0]), smoothing):
                logits = randn(2, 3)
                logits[place] = value
                logits.requires_grad_()
                output = loss(logits)
                found.append((output, *torch.autograd.grad(output, logits)))
            torch.testing.assert_close(*found, equal_nan=True)


def test_no_rows() -> None:
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.int64))
    assert loss.isnan()  # the mean of nothing
    assert torch.autograd.grad(loss, logits)[0].shape == (0, 3)


def test_training_lowers_it_to_the_entropy_of_the_targets() -> None:
    logits, targets, smoothing = randn(4, 3).requires_grad_(), torch.tensor([2, 0, 1, 1]), 0.3
    values = []
    for _ in range(300):
        loss = cross_entropy(logits, targets, smoothing)
        values.append(loss.item())
        [gradient] = torch.autograd.grad(loss, logits)
        logits = (logits - 4 * gradient).detach().requires_grad_()
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(values))
    entropy = -(0.8 * math.log(0.8) + 2 * 0.1 * math.log(0.1))
    assert values[-1] == pytest.approx(entropy)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0], TARGETS), TypeError, "input: expected a Tensor, got list"),
        ((LOGITS.long(), TARGETS), TypeError, r"input: expected one of .*, got torch\.int64"),
        ((LOGITS, TARGETS.int()), TypeError, r"target: expected one of int64, got torch\.int32"),
        ((LOGITS, LOGITS), TypeError, r"target: expected one of int64, got torch\.float64"),
        ((LOGITS[0], TARGETS), ValueError, r"input: expected shape \(N, C\), .*, got \(2,\)"),
        ((LOGITS[:, :0], TARGETS), ValueError, r"\(N, C\), C ≥ 1, got \(2, 0\)"),
        ((LOGITS, TARGETS[:1]), ValueError, r"target: expected shape \(2,\), got \(1,\)"),
        ((LOGITS, TARGETS.to("meta")), ValueError, "target: expected the input's cpu, got meta"),
        ((LOGITS, TARGETS + 1), ValueError, "target: expected classes 0 to 1, got 2 to 2"),
        ((LOGITS, TARGETS - 2), ValueError, "target: expected classes 0 to 1, got -1"),
        ((LOGITS, TARGETS, 1.5), ValueError, "label_smoothing: expected a number from 0 to 1"),
        ((LOGITS, TARGETS, None), TypeError, "label_smoothing: expected a number, got None"),
    ],
)
def test_refuses(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cross_entropy(*arguments)
