"""Layers that are computed by one function compute what they do one after the other."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.utils.flop_counter import FlopCounterMode

from cnnpipe.functional.loops import compiler
from cnnpipe.layers import BatchNorm2d, Conv2d, Linear, MaxPool2d, ReLU, Sequential
from cnnpipe.models import build_model
from tests.helpers.oracle import randn

pytestmark = pytest.mark.skipif(
    compiler._MISSING is not None, reason=f"the compiler of loops {compiler._MISSING}"
)
FLOAT64: dict[str, Any] = {"dtype": torch.float64}


def norm(channels: int, **arguments: Any) -> BatchNorm2d:
    """With parameters and running statistics that are not 0 and 1."""
    layer = BatchNorm2d(channels, **arguments)
    names = ("weight", "bias", "running_mean", "running_var")
    with torch.no_grad():
        for seed, name in enumerate(names):
            if (values := getattr(layer, name)) is not None:
                values.copy_(randn(channels, seed=seed))
        if layer.running_var is not None:
            layer.running_var.abs_().add_(0.1)
    return layer


def pair(*layers: nn.Module) -> tuple[Sequential, nn.Sequential]:
    """The same layers in our container, and in torch's, which fuses nothing."""
    return Sequential(*layers), nn.Sequential(*copy.deepcopy(layers))


def is_fused(output: Tensor) -> bool:
    return type(output.grad_fn).__name__ == "_BlockBackward"


def assert_same(network: nn.Module, plain: nn.Module, x: Tensor, *, fused: bool) -> None:
    """Bits of the output and the buffers; gradients but for the order of sums."""
    results = []
    for each in (network, plain):
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        output = each(leaf)
        learned = [parameter for parameter in each.parameters() if parameter.requires_grad]
        upstream = randn(*output.shape, seed=7, dtype=x.dtype)
        results.append((output, torch.autograd.grad(output, [leaf, *learned], upstream)))
    (output, gradients), (expected, expected_gradients) = results
    assert is_fused(output) == fused
    assert torch.equal(output.isnan(), expected.isnan())
    assert torch.equal(output.nan_to_num(5), expected.nan_to_num(5))
    for buffer, same in zip(network.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, same, rtol=0, atol=0, equal_nan=True)
    tolerance = 1e-10 if x.dtype == torch.float64 else 1e-4
    for gradient, same in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, same, rtol=tolerance, atol=tolerance, equal_nan=True)
    assert gradients[0].is_contiguous() or not x.is_contiguous()  # it can be viewed as x can


SHAPES = [(4, 16, 28, 28), (3, 6, 9, 10), (5, 40, 7, 6), (2, 3, 4, 5), (2, 1, 4, 4), (0, 3, 4, 4)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fused_layers_compute_the_same(
    shape: tuple[int, ...], training: bool, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    x = randn(*shape, dtype=dtype).contiguous(memory_format=layout)
    channels = shape[1]
    for layers in (
        [norm(channels, dtype=dtype), ReLU()],
        [norm(channels, dtype=dtype), ReLU(), MaxPool2d(2)],
        [ReLU(), MaxPool2d(2)],
        [ReLU(), MaxPool2d(3)],
    ):
        network, plain = pair(*layers)
        assert_same(network.train(training), plain.train(training), x, fused=True)


CONVOLUTIONS: list[dict[str, Any]] = [
    {"padding": 1},
    {"padding": "same", "bias": False},
    {"stride": 2, "padding": 2},
    {"stride": (1, 2), "dilation": 2, "groups": 2},
    {"padding": 4},  # some windows see no pixel
]


class Reference(nn.Module):
    """torch's convolution or linear layer, with the weights of one of ours."""

    def __init__(self, layer: Conv2d | Linear) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer)

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        if isinstance(layer, Linear):
            return nn.functional.linear(x, layer.weight, layer.bias)
        windows = layer.stride, layer.padding, layer.dilation, layer.groups
        return nn.functional.conv2d(x, layer.weight, layer.bias, *windows)


def assert_close(network: nn.Module, plain: nn.Module, x: Tensor) -> None:
    """Outputs and all gradients of float64."""
    results = []
    for each in (network, plain):
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        output = each(leaf)
        upstream = randn(*output.shape, seed=7)
        results.append((output, torch.autograd.grad(output, [leaf, *each.parameters()], upstream)))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
    assert is_fused(results[0][0])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("arguments", CONVOLUTIONS, ids=str)
def test_convolution_with_what_follows_it(
    arguments: dict[str, Any], layout: torch.memory_format
) -> None:
    conv = Conv2d(4, 6, 3, **arguments, **FLOAT64)
    x = randn(3, 4, 9, 8).contiguous(memory_format=layout)
    for following in (
        [],
        [ReLU()],
        [MaxPool2d(2)],
        [ReLU(), MaxPool2d(2)],
        [norm(6, **FLOAT64)],
        [norm(6, **FLOAT64), ReLU(), MaxPool2d(2)],
    ):
        network = Sequential(conv, *following)
        plain = nn.Sequential(Reference(conv), *copy.deepcopy(following))
        for training in (True, False):
            assert_close(network.train(training), plain.train(training), x)


@pytest.mark.parametrize("images", [1, 5, 16, 37])
def test_linear_layer_with_relu(images: int) -> None:
    linear = Linear(7, 20, **FLOAT64)
    for following in ([], [ReLU()]):
        assert_close(
            Sequential(linear, *following),
            nn.Sequential(Reference(linear), *following),
            randn(images, 7),
        )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite(value: float) -> None:
    x = randn(2, 3, 6, 6)
    x[0, 0, 2, 2] = x[1, 1, 5, 5] = value
    for layers in ([norm(3, **FLOAT64), ReLU(), MaxPool2d(2)], [ReLU(), MaxPool2d(2)]):
        network, plain = pair(*layers)
        assert_same(network.eval(), plain.eval(), x, fused=True)


def test_equal_numbers_and_zeros() -> None:
    """The first of equal ones wins, and where ReLU gives 0 nothing passes."""
    x = torch.randint(-1, 2, (2, 3, 6, 6), generator=torch.Generator().manual_seed(0)).double()
    network, plain = pair(ReLU(), MaxPool2d(2))
    assert_same(network, plain, x, fused=True)


BATCH_NORMS: list[dict[str, Any]] = [
    {"momentum": None},
    {"momentum": 0.9, "eps": 0.5},
    {"track_running_stats": False},
]


@pytest.mark.parametrize("arguments", BATCH_NORMS, ids=str)
def test_arguments_of_the_normalization(arguments: dict[str, Any]) -> None:
    network, plain = pair(norm(3, **arguments, **FLOAT64), ReLU())
    for step in range(3):
        training = step < 2
        x = randn(2, 3, 5, 5, seed=step)
        assert_same(network.train(training), plain.train(training), x, fused=True)


def test_parameters_in_other_memory() -> None:
    """Every second number, and one for all channels."""
    network, plain = pair(norm(4, **FLOAT64), ReLU(), MaxPool2d(2))
    for each in (network, plain):
        each[0].weight = nn.Parameter(randn(8)[::2])
        each[0].bias = nn.Parameter(torch.ones(1, dtype=torch.float64).expand(4))
    assert_same(network, plain, randn(2, 4, 6, 6), fused=True)


class OtherReLU(ReLU):
    """A subclass may compute anything."""


LEFT_ALONE: dict[str, Callable[[], list[nn.Module]]] = {
    "relu only": lambda: [ReLU()],
    "pooling only": lambda: [MaxPool2d(2)],
    "in place": lambda: [norm(4, **FLOAT64), ReLU(inplace=True), MaxPool2d(2)],
    "subclass": lambda: [norm(4, **FLOAT64), OtherReLU()],
    "torch's": lambda: [nn.BatchNorm2d(4, **FLOAT64), nn.ReLU(), nn.MaxPool2d(2)],
    "not affine": lambda: [BatchNorm2d(4, affine=False, **FLOAT64), ReLU()],
    "stride": lambda: [ReLU(), MaxPool2d(2, 1)],
    "padding": lambda: [ReLU(), MaxPool2d(2, padding=1)],
    "dilation": lambda: [ReLU(), MaxPool2d(2, dilation=2)],
    "no square": lambda: [ReLU(), MaxPool2d((2, 1))],
    "ceil_mode": lambda: [ReLU(), MaxPool2d(2, ceil_mode=True)],
    "other order": lambda: [ReLU(), BatchNorm2d(4, affine=False, **FLOAT64), MaxPool2d(2)],
    "nothing": list,
}


@pytest.mark.parametrize("layers", LEFT_ALONE)
def test_other_layers_are_called_one_by_one(layers: str) -> None:
    network, plain = pair(*LEFT_ALONE[layers]())
    x = randn(2, 4, 7, 7).requires_grad_()
    output = network(x * 1)
    assert not is_fused(output)
    assert torch.equal(output, plain(x * 1))


def test_without_a_bias() -> None:
    network, plain = pair(norm(4, **FLOAT64), ReLU())
    network[0].bias = plain[0].bias = None
    assert_same(network, plain, randn(2, 4, 5, 5), fused=False)


def test_a_window_that_does_not_fit_is_refused() -> None:
    for layers in ([ReLU(), MaxPool2d(5)], [norm(4, **FLOAT64), ReLU(), MaxPool2d(5)]):
        with pytest.raises(ValueError, match="the window must fit into the padded input"):
            Sequential(*layers)(randn(2, 4, 4, 6))


def test_one_value_per_channel_is_refused() -> None:
    with pytest.raises(ValueError, match="expected more than 1 value per channel in training"):
        Sequential(norm(4, **FLOAT64), ReLU())(randn(1, 4, 1, 1))


def hooked_forward(layer: nn.Module, seen: list[str]) -> Any:
    return layer.register_forward_hook(lambda *_: seen.append("forward"))


def hooked_before(layer: nn.Module, seen: list[str]) -> Any:
    return layer.register_forward_pre_hook(lambda *_: seen.append("before"))


def hooked_backward(layer: nn.Module, seen: list[str]) -> Any:
    return layer.register_full_backward_hook(lambda *_: seen.append("backward"))


def hooked_before_backward(layer: nn.Module, seen: list[str]) -> Any:
    return layer.register_full_backward_pre_hook(lambda *_: seen.append("before backward"))


def hooked_globally(layer: nn.Module, seen: list[str]) -> Any:
    return nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.append("forward") if module is layer else None
    )


HOOKS = [hooked_forward, hooked_before, hooked_backward, hooked_before_backward, hooked_globally]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("place", range(3))
def test_hooks_see_every_layer(place: int, hook: Callable[[nn.Module, list[str]], Any]) -> None:
    network, plain = pair(norm(4, **FLOAT64), ReLU(), MaxPool2d(2))
    seen: list[str] = []
    handle = hook(network[place], seen)
    try:
        # If only the normalisation is watched, the two others are still one.
        others_are_fused = place == 0 and hook is not hooked_globally
        assert_same(network, plain, randn(2, 4, 6, 6), fused=others_are_fused)
    finally:
        handle.remove()
    assert len(seen) == 1
    assert_same(network, plain, randn(2, 4, 6, 6, seed=1), fused=True)


def test_a_forward_of_its_own_is_called() -> None:
    network = Sequential(ReLU(), MaxPool2d(2))
    network[0].forward = lambda x: x + 1  # type: ignore[method-assign]
    x = randn(1, 1, 2, 2)
    assert network(x).item() == x.max().item() + 1


@pytest.mark.parametrize("training", [True, False])
def test_derivatives_of_derivatives(training: bool) -> None:
    conv = Conv2d(2, 2, 3, padding=1, **FLOAT64)
    network, plain = pair(conv, norm(2, **FLOAT64), ReLU(), MaxPool2d(2))
    x = randn(3, 2, 4, 5).requires_grad_()
    assert torch.autograd.gradgradcheck(network.train(training), (x,))
    found = []
    for each in (network.train(training), plain.train(training)):
        first = torch.autograd.grad(each(x).sin().sum(), each[1].bias, create_graph=True)
        found.append(torch.autograd.grad(first[0].sin().sum(), [x, *each.parameters()]))
    torch.testing.assert_close(*found)


def batched_gradients(network: nn.Module, x: Tensor) -> Any:
    leaf = x.clone().requires_grad_()
    output = network(leaf)
    upstream = randn(3, *output.shape, seed=1)
    return torch.autograd.grad(output, leaf, upstream, is_grads_batched=True)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: 2 * parameter.detach() for name, parameter in network.named_parameters()}


def counted(network: nn.Module, x: Tensor) -> Any:
    with FlopCounterMode(display=False) as counter:
        output = network(x)
    return output, counter.get_total_flops()


def autocast(network: nn.Module, x: Tensor) -> Any:
    with torch.autocast("cpu", torch.bfloat16):
        return network.float()(x.float())


def changed_in_place(network: nn.Module, x: Tensor) -> Any:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(network(leaf).mul_(2).sum(), leaf)


USES: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "compile": lambda network, x: torch.compile(network, backend="aot_eager")(x),
    "FLOP counter": counted,
    "vmap": lambda network, x: vmap(network)(x[None]),
    "grad": lambda network, x: grad(lambda x: network(x).sum())(x),
    "jacrev": lambda network, x: jacrev(network)(x),
    "functional_call": lambda network, x: functional_call(network, weights(network), (x,)),
    "is_grads_batched": batched_gradients,
    "autocast": autocast,
    "in place": changed_in_place,
    "no_grad": torch.no_grad()(lambda network, x: network(x)),
    "inference_mode": torch.inference_mode()(lambda network, x: network(x).clone()),
    "checkpoint": lambda network, x: torch.utils.checkpoint.checkpoint(
        network, x, use_reentrant=False
    ),
    "deepcopy": lambda network, x: copy.deepcopy(network)(x),
    "trace": lambda network, x: torch.jit.trace(network, x)(x + 1),
    "negated": lambda network, x: network(torch._neg_view(x)),
}


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::torch.jit.TracerWarning"
)
@pytest.mark.parametrize("use", USES)
def test_pytorch_uses_fused_layers_as_others(use: str) -> None:
    network, plain = pair(Conv2d(2, 3, 3, **FLOAT64), norm(3, **FLOAT64), ReLU(), MaxPool2d(2))
    x = randn(2, 2, 6, 7)
    results = [USES[use](each.eval(), x) for each in (network, plain)]
    torch.testing.assert_close(*results)


def test_both_networks_are_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer is part of a block but those that are torch's, dropout and the last."""
    calls: list[str] = []
    for kind in (Conv2d, BatchNorm2d, ReLU, MaxPool2d, Linear):
        forward = kind.forward

        def watched(layer: Any, *inputs: Any, forward: Any = forward) -> Any:
            calls.append(type(layer).__name__)
            return forward(layer, *inputs)

        monkeypatch.setattr(kind, "forward", watched)
    for name in ("lenet5", "vgg"):
        calls.clear()
        build_model(name)(torch.zeros(2, 1, 28, 28))
        assert calls == ["Linear"]


def test_numbers_that_are_not_what_memory_holds() -> None:
    """The imaginary part of a conjugate is its negative, which nobody has written down yet."""
    conv = Conv2d(1, 2, 3, **FLOAT64)
    x = torch.complex(randn(1, 1, 5, 5), randn(1, 1, 5, 5, seed=1)).conj().imag
    assert x.is_neg()
    for network in (Sequential(conv, ReLU()), conv):
        torch.testing.assert_close(network(x), network(x.resolve_neg()))
        leaf = randn(1, 1, 5, 5).requires_grad_()
        output = network(leaf)
        upstream = torch._neg_view(randn(*output.shape))
        found = [torch.autograd.grad(network(leaf), leaf, g) for g in (upstream, +upstream)]
        torch.testing.assert_close(*found)
