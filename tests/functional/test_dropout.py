from typing import Any

import pytest
import torch
from torch import nn
from torch.func import grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from cnnpipe import layers
from cnnpipe.functional import dropout
from tests.helpers.oracle import randn


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_the_mask_is_where_uniform_numbers_reach_p(dtype: torch.dtype) -> None:
    x = torch.ones(4, 5, dtype=dtype)
    torch.manual_seed(3)
    y = dropout(x, 0.3)
    torch.manual_seed(3)
    kept = torch.rand(4, 5) >= 0.3
    assert 0 < kept.sum() < 20
    # What is kept is 1 / (1 − p), rounded to the dtype
    assert torch.equal(y, torch.where(kept, torch.tensor(1.0, dtype=dtype) / 0.7, 0))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_mean_stays_and_a_fraction_p_is_zero(p: float) -> None:
    torch.manual_seed(0)
    y = dropout(torch.ones(100_000), p)
    # Five standard deviations of the mean of 100,000 masks
    deviation = 5 * (p * (1 - p) / 100_000) ** 0.5
    assert abs((y == 0).double().mean().item() - p) < deviation
    assert abs(y.double().mean().item() - 1) < deviation / (1 - p)


def test_the_gradient_is_the_mask_and_the_second_gradient_too() -> None:
    x = randn(50).requires_grad_()
    y = dropout(x, 0.4)
    mask = (y.detach() != 0).double() / 0.6
    upstream = randn(50, seed=1).requires_grad_()
    [gradient] = torch.autograd.grad(y, x, upstream, create_graph=True)
    torch.testing.assert_close(gradient, upstream * mask)
    [second] = torch.autograd.grad(gradient.sum(), upstream)
    torch.testing.assert_close(second, mask)


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False), (0.0, False)])
def test_nothing_is_dropped_or_drawn(p: float, training: bool) -> None:
    x, state = randn(5), torch.get_rng_state()
    assert dropout(x, p, training) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_p_of_1_drops_all() -> None:
    x = torch.tensor([1.0, -torch.inf, torch.nan], requires_grad=True)
    torch.testing.assert_close(dropout(x, 1.0), nn.functional.dropout(x, 1.0), equal_nan=True)
    dropout(x, 1.0)[0].backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 0]


def test_in_place_returns_its_input() -> None:
    leaf = torch.ones(100, requires_grad=True)
    x = leaf * 2
    y = dropout(x, 0.5, inplace=True)
    assert y is x
    assert set(y.tolist()) == {0, 4}
    y.sum().backward()
    torch.testing.assert_close(leaf.grad, y.detach())
    with pytest.raises(RuntimeError, match="leaf"):
        dropout(leaf, 0.5, inplace=True)


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_vmap_draws_as_it_is_told(randomness: str) -> None:
    for x, axis in ((torch.ones(1000), None), (torch.ones(3, 1000), 0)):
        drop = vmap(lambda x, _: dropout(x, 0.5), (axis, 0), randomness=randomness)
        y = drop(x, torch.zeros(3))
        assert y.shape == (3, 1000)
        assert torch.equal(y[0], y[1]) == (randomness == "same")


def test_vmap_refuses_randomness_unless_told() -> None:
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(dropout)(torch.ones(3, 4))


def test_function_transforms() -> None:
    results = []
    for function in (grad(lambda x: dropout(x, 0.5).sum()), lambda x: dropout(x, 0.5)):
        torch.manual_seed(1)
        results.append(function(torch.ones(50)))
    torch.testing.assert_close(*results)


def test_checkpointing_draws_the_same_mask_again() -> None:
    x = torch.ones(100, requires_grad=True)
    y: Any = checkpoint(lambda x: dropout(x * 1, 0.5), x, use_reentrant=False)
    y.sum().backward()
    torch.testing.assert_close(x.grad, y.detach())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_dropout_draws_the_same_mask(backend: str) -> None:
    torch.compiler.reset()
    layer, x = layers.Dropout(0.5), torch.ones(100, requires_grad=True)
    results = []
    for run in (layer, torch.compile(layer, backend=backend, fullgraph=True)):
        torch.manual_seed(2)
        y = run(x)
        results.append((y, *torch.autograd.grad(y.sum(), x)))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_exported_dropout_is_left_out_in_evaluation() -> None:
    program = torch.export.export(layers.Dropout(0.5).eval(), (torch.ones(3),))
    assert [node.op for node in program.graph.nodes] == ["placeholder", "output"]


def test_no_number_is_drawn_by_bernoulli() -> None:
    """Its CPU code differs between makes of CPU."""
    graph = make_fx(lambda x: dropout(x, 0.5))(torch.ones(3))
    names = " ".join(str(node.target) for node in graph.graph.nodes)
    assert "rand" in names
    assert "bernoulli" not in names


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1.0,), TypeError, "input: expected a Tensor, got float"),
        ((torch.tensor([1]),), TypeError, r"input: expected one of .*, got torch\.int64"),
        ((torch.ones(1), 1.5), ValueError, r"p: expected a number from 0 to 1, got 1\.5"),
        ((torch.ones(1), -0.1), ValueError, r"p: expected a number from 0 to 1, got -0\.1"),
        ((torch.ones(1), torch.nan), ValueError, "p: expected a number from 0 to 1, got nan"),
        ((torch.ones(1), "half"), TypeError, "p: expected a number, got 'half'"),
        ((torch.ones(1), True), TypeError, "p: expected a number, got True"),
        ((torch.ones(1), 0.5, 1), TypeError, "training: expected True or False, got 1"),
        ((torch.ones(1), 0.5, True, None), TypeError, "inplace: expected True or False, got None"),
    ],
)
def test_refuses(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dropout(*arguments)
