from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as torchs

from cnnpipe.functional import batch_norm
from tests.helpers.oracle import randn

ROWS = torch.tensor([[1.0], [3.0], [5.0], [7.0]], dtype=torch.float64)
"""One channel with mean 4, variance (9 + 1 + 1 + 9) / 4 = 5, unbiased 20 / 3."""
THREE, X = torch.ones(3), torch.ones(2, 3, 4, 4)


def test_worked_values_in_training() -> None:
    """ε = 4 makes r = 1/√(5 + 4) = 1/3, so x̂ = −1, −1/3, 1/3, 1."""
    x = ROWS.clone().requires_grad_()
    weight, bias = (torch.tensor([v], dtype=x.dtype, requires_grad=True) for v in (6.0, 10.0))
    running_mean, running_var = torch.tensor([8.0, 2.0]).double().split(1)
    y = batch_norm(x, running_mean, running_var, weight, bias, True, momentum=0.25, eps=4)
    assert y.flatten().tolist() == pytest.approx([4, 8, 12, 16])
    assert running_mean.item() == 7  # ¾·8 + ¼·4
    assert running_var.item() == pytest.approx(1.5 + 5 / 3)
    g = torch.tensor([[1.0], [0], [0], [0]], dtype=x.dtype)
    dx, d_weight, d_bias = torch.autograd.grad(y, (x, weight, bias), g)
    assert (d_weight.item(), d_bias.item()) == pytest.approx((-1, 1))
    # γ·r = 2, times g − (Σ g + x̂·Σ g·x̂) / 4 = g − (1 − x̂) / 4
    assert dx.flatten().tolist() == pytest.approx([1, -2 / 3, -1 / 3, 0])


def test_worked_values_in_evaluation() -> None:
    """μ = 1 and r = 1/√(12 + 4) = ¼: y = ¼·(x − 1)·8 − 1, and the slope is 2."""
    x, running_mean, running_var = (
        ROWS.clone().requires_grad_(),
        torch.ones(1),
        torch.tensor([12.0]),
    )
    weight, bias = torch.tensor([8.0]), torch.tensor([-1.0])
    operands = (tensor.double() for tensor in (running_mean, running_var, weight, bias))
    y = batch_norm(x, *operands, eps=4)
    assert y.flatten().tolist() == [-1, 3, 7, 11]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [2, 2, 2, 2]
    assert (running_mean.item(), running_var.item()) == (1, 12)


@pytest.mark.parametrize("shift", [1e3, 1e5])
def test_digits_remain_where_the_mean_is_large(shift: float) -> None:
    """The difference Σ x²/M − μ² would have none left: in float32, 1e10 is known to ±500."""
    x = randn(8, 2, 5, 5).float()
    x = (x + shift) - shift  # what a sum with the shift keeps
    actual = batch_norm(x + shift, training=True)
    torch.testing.assert_close(
        actual, torchs.batch_norm(x, None, None, training=True), rtol=1e-2, atol=2e-2
    )


def test_normalized_channels_have_mean_0_and_variance_1() -> None:
    y = batch_norm(3 * randn(8, 3, 5, 5) + 7, training=True, eps=1e-12)
    variance, mean = torch.var_mean(y, (0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(3, dtype=y.dtype))
    torch.testing.assert_close(variance, torch.ones(3, dtype=y.dtype))


def test_a_shift_and_a_scale_of_the_input_change_nothing() -> None:
    x, weight = randn(8, 3, 5, 5), randn(3)
    y = batch_norm(x, weight=weight, training=True, eps=1e-12)
    torch.testing.assert_close(batch_norm(4 * x - 7, weight=weight, training=True, eps=1e-12), y)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0)])
def test_an_empty_batch_leaves_all_as_it_was(shape: tuple[int, ...], training: bool) -> None:
    running, weight = torch.ones(3), torch.ones(3, requires_grad=True)
    y = batch_norm(torch.zeros(shape), running, running.clone(), weight, training=training)
    assert y.shape == shape
    assert running.tolist() == [1, 1, 1]
    y.sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_16_bits_beside_parameters_of_32(dtype: torch.dtype, training: bool) -> None:
    def results(operator: Any, images: torch.dtype, all: torch.dtype) -> tuple[list[Tensor], ...]:
        x = randn(4, 3, 5, 5).to(dtype).to(images).requires_grad_()
        running = [randn(3).to(all), randn(3).abs().to(all)]
        learned = [randn(3).to(all).requires_grad_(), randn(3).to(all).requires_grad_()]
        y = operator(x, *running, *learned, training=training)
        g = randn(*y.shape, seed=1).to(dtype).to(images)
        return [y, torch.autograd.grad(y, [x, *learned], g)[0]], [
            *torch.autograd.grad(operator(x, *running, *learned), learned, g),
            *running,
        ]

    narrow, wide = results(batch_norm, dtype, torch.float32)
    expected_narrow, expected_wide = results(torchs.batch_norm, torch.float64, torch.float64)
    for found, expected in zip(narrow, expected_narrow, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected.to(dtype))
    for found, expected in zip(wide, expected_wide, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_lies_in_memory_as_the_input(training: bool) -> None:
    """Whatever the order of the output's gradient: compilers are told so."""
    last = torch.channels_last
    for x, g in [(X, X.contiguous(memory_format=last)), (X.contiguous(memory_format=last), X)]:
        leaf = x.clone().requires_grad_()
        y = batch_norm(leaf, torch.ones(3), torch.ones(3), training=training)
        [gradient] = torch.autograd.grad(y, leaf, g)
        assert y.stride() == gradient.stride() == x.stride()


@pytest.mark.parametrize("first", ["batch_norm_sums", "batch_norm_input_gradient"])
def test_what_has_no_derivative_says_so(first: str) -> None:
    g, x, statistics = randn(4, 3).requires_grad_(), randn(4, 3), torch.ones(2, 3).double()
    operands = (g, x, statistics, 0.1)
    if first == "batch_norm_input_gradient":
        operands = (g, x, statistics, None, statistics, 0.1, True)  # type: ignore[assignment]
    with pytest.raises(NotImplementedError, match="expected create_graph=True"):
        getattr(torch.ops.cnnpipe, first)(*operands).sum().backward()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input": 1.0}, TypeError, "input: expected a Tensor, got float"),
        ({"input": X.int()}, TypeError, "input: expected one of float64.*, got torch.int32"),
        ({"input": THREE}, ValueError, r"input: expected shape \(N, C, …\), got \(3,\)"),
        ({"input": THREE[None]}, ValueError, r"more than 1 value per channel in .* \(1, 3\)"),
        ({"weight": 1.0}, TypeError, "weight: expected a Tensor, got float"),
        ({"weight": THREE[:2]}, ValueError, r"weight: expected shape \(3,\), got \(2,\)"),
        ({"bias": THREE.double()}, TypeError, "bias: expected one of float32, got torch.float64"),
        ({"bias": THREE.to("meta")}, ValueError, "bias: expected the input's cpu, got meta"),
        ({"running_mean": THREE}, ValueError, "running_var: expected both or none, got one"),
        ({"training": False}, ValueError, "expected tensors in evaluation, got None"),
        ({"training": 1}, TypeError, "training: expected True or False, got 1"),
        ({"momentum": None}, TypeError, "momentum: expected a number, got None"),
        ({"eps": "small"}, TypeError, "eps: expected a number, got 'small'"),
        ({"eps": 0}, ValueError, "eps: expected a number > 0 in training, got 0.0"),
        (
            {"eps": -1, "training": False, "running_mean": THREE, "running_var": THREE},
            ValueError,
            "eps: expected a number ≥ 0, got -1.0",
        ),
        (
            {"running_mean": THREE, "running_var": torch.ones(3, requires_grad=True)},
            ValueError,
            "running_var: expected a tensor that requires no gradient",
        ),
    ],
)
def test_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        batch_norm(**{"input": X, "training": True, **arguments})


@pytest.mark.parametrize("momentum", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("step", [1, 2])
def test_running_statistics_move_as_torchs_and_nothing_else(momentum: float, step: int) -> None:
    """Those of a view with gaps, too."""
    x = randn(2, 19, 3, 3, dtype=torch.float32)
    results = []
    for operator in (batch_norm, torchs.batch_norm):
        memory = [torch.full((19 * step,), value) for value in (5.0, 7.0)]
        operator(x, *(each[::step] for each in memory), training=True, momentum=momentum)
        results.append(torch.stack(memory))
    torch.testing.assert_close(*results)
