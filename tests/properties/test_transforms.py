"""What torch does to a function or a layer as a whole: transforms, compilers, copies and modes.

The same is done to torch's operator, or nothing is done to ours, and both must agree.
"""

from __future__ import annotations

import copy
import io
import logging
import pickle
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from threading import Thread
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.utils.checkpoint import checkpoint

from cnnpipe import layers
from cnnpipe.verify.reference import Call, Operator, torch_arguments, torch_operator
from cnnpipe.verify.verification import OPERATORS
from tests.helpers.oracle import CPU_ALGORITHMS, algorithms_for
from tests.properties import calls
from tests.properties.calls import choice
from tests.properties.promises import promise

Bits = tuple[Tensor, ...]
Mode = Callable[[nn.Module, Tensor], Bits]


def functions(call: Call) -> tuple[list[Operator], Operator]:
    """Ours, by each algorithm, and torch's, as functions of the operands alone."""
    arguments = torch_arguments(call.arguments)
    arguments.pop("return_indices", None)

    def apply(operator: Operator, *operands: Tensor) -> Any:
        return operator(**dict(zip(call.operands, operands, strict=True)), **arguments)

    ours = OPERATORS[call.operator]
    by_algorithm = [
        partial(ours, algorithm=algorithm) if algorithm else ours
        for algorithm in algorithms_for(call)
    ]
    return (
        [partial(apply, operator) for operator in by_algorithm],
        partial(apply, torch_operator(call.operator)),
    )


class Operands:
    """Operands of a call, and with another axis, as `vmap` takes them: the first always has it."""

    def __init__(self, call: Call, data: st.DataObject) -> None:
        self.one = tuple(call.operands.values())
        self.upstream = call.probes["upstream"]
        self.axes = 0, *(data.draw(choice(None, 0, operand.ndim)) for operand in self.one[1:])
        self.out_axis = data.draw(st.integers(0, self.upstream.ndim))
        self.batches = [
            operand if axis is None else torch.stack([operand, 2 * operand], axis)
            for operand, axis in zip(self.one, self.axes, strict=True)
        ]


def scalar(operator: Operator) -> Operator:
    """A loss whose derivatives depend on the operator's output."""
    return lambda *operands: operator(*operands).sin().sum()


def gradient(operator: Operator, operands: Operands) -> Operator:
    """The gradient of the operator's loss by all operands."""
    return grad(scalar(operator), argnums=tuple(range(len(operands.one))))


def vjp_of(operator: Operator, operands: Operands) -> Any:
    output, pull, *_ = vjp(operator, *operands.one)
    return output, pull(operands.upstream)


def over_two_batches(operator: Operator, operands: Operands) -> Any:
    twice = [torch.stack([operand, -operand]) for operand in operands.batches]
    return vmap(vmap(operator, operands.axes))(*twice)


def second_gradient_of_each(operator: Operator, operands: Operands) -> Any:
    second = grad(lambda *operands: grad(scalar(operator))(*operands).pow(2).sum())
    return vmap(second, operands.axes)(*operands.batches)


TRANSFORMS: Mapping[str, Callable[[Operator, Operands], Any]] = {
    "grad": lambda f, x: gradient(f, x)(*x.one),
    "vjp": vjp_of,
    "jacrev": lambda f, x: jacrev(f)(*x.one),
    "jacrev(jacrev)": lambda f, x: jacrev(jacrev(scalar(f)))(*x.one),
    "jacfwd": lambda f, x: jacfwd(f)(*x.one),
    "jacfwd(jacfwd)": lambda f, x: jacfwd(jacfwd(scalar(f)))(*x.one),
    "hessian": lambda f, x: hessian(scalar(f))(*x.one),
    "vmap": lambda f, x: vmap(f, x.axes, x.out_axis)(*x.batches),
    "vmap(grad)": lambda f, x: vmap(gradient(f, x), x.axes)(*x.batches),
    "grad(vmap)": lambda f, x: gradient(vmap(f, x.axes), x)(*x.batches),
    "vmap(vmap)": over_two_batches,
    "vmap(grad(grad))": second_gradient_of_each,
}


@promise(
    "torch.func's grad, vjp, jacrev, jacfwd, hessian and vmap, alone and in one another, give of "
    "each operator what they give of torch's",
    full=600,
    few=50,
    call=calls.small_calls(),
    transform=choice(*TRANSFORMS),
    data=st.data(),
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script")  # of torch, about itself
def test_function_transforms(call: Call, transform: str, data: st.DataObject) -> None:
    by_algorithm, theirs = functions(call)
    operands = Operands(call, data)
    expected = TRANSFORMS[transform](theirs, operands)
    for ours in by_algorithm:
        alike(TRANSFORMS[transform](ours, operands), expected)


@promise(
    "Forward derivatives along any direction, also of gradients, are those of torch's operator",
    full=300,
    few=10,
    call=calls.small_calls(),
    of_gradient=st.booleans(),
)
@pytest.mark.filterwarnings("ignore:.torch.jit.script")  # of torch, about itself
def test_forward_derivatives(call: Call, of_gradient: bool) -> None:
    points = tuple(call.operands.values())
    directions = tuple(torch.linspace(-1, 1, x.numel()).view(x.shape).to(x.dtype) for x in points)

    def derivative(operator: Operator) -> Any:
        function = grad(scalar(operator)) if of_gradient else operator
        return jvp(function, points, directions)

    by_algorithm, theirs = functions(call)
    expected = derivative(theirs)
    for ours in by_algorithm:
        alike(derivative(ours), expected)


def alike(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8, equal_nan=True)


@promise(
    "Under autocast to 16 bits an operator returns torch's dtype, and a backward inside of it the "
    "same bits as one outside",
    full=400,
    few=30,
    call=calls.small_calls([torch.float32, torch.float32, torch.bfloat16]),
    dtype=choice(torch.bfloat16, torch.float16),
)
@pytest.mark.filterwarnings("ignore:.*TF32")  # of torch, about its own flags
def test_autocast(call: Call, dtype: torch.dtype) -> None:
    by_algorithm, theirs = functions(call)
    leaves = [operand.detach().requires_grad_() for operand in call.operands.values()]
    # Without oneDNN, whose grouped and dilated convolution in 16 bits can end the process.
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", dtype):
        expected = theirs(*leaves).dtype
    for ours in by_algorithm:
        with torch.autocast("cpu", dtype):
            in_16_bits = ours(*leaves)
        assert in_16_bits.dtype == expected
        for output in (in_16_bits, ours(*leaves)):
            with torch.autocast("cpu", dtype):
                inside = torch.autograd.grad(output, leaves, upstream(output), retain_graph=True)
            assert_same_bits(inside, torch.autograd.grad(output, leaves, upstream(output)))


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Sequential, Tensor]:
    """One to four layers, one after the other, and images for them."""
    channels = draw(choice(1, 2, 4, 8))
    images = draw(calls.numbers((2, channels, 9, 8), torch.float32))
    plan: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 4))):
        match draw(st.integers(0, 3)):
            case 0:
                out_channels = draw(choice(4, 8, 16))
                plan.append(draw(_convolutions(channels, out_channels)))
                channels = out_channels
            case 1:
                plan.append(layers.MaxPool2d(2, draw(choice(None, 1)), 1))
            case 2:
                plan.append(layers.AvgPool2d(3, 2, 1, count_include_pad=draw(st.booleans())))
            case _:
                plan.append(draw(choice(layers.ReLU, layers.Sigmoid, layers.Tanh))())
    return nn.Sequential(*plan), images


@st.composite
def _convolutions(draw: st.DrawFn, channels: int, out_channels: int) -> nn.Module:
    algorithm = draw(choice("auto", *CPU_ALGORITHMS))
    strided = algorithm in ("auto", "direct", "im2col", "fft") and draw(st.booleans())
    in_groups = strided and out_channels % channels == 0 and draw(st.booleans())
    torch.manual_seed(draw(calls.seeds))
    return layers.Conv2d(
        channels,
        out_channels,
        (draw(choice(2, 3)), 3),
        stride=(1, 2) if strided else 1,
        padding=(1, 2),
        groups=channels if in_groups else 1,
        bias=draw(st.booleans()),
        algorithm=algorithm,
    )


def upstream(output: Tensor) -> Tensor:
    """A gradient that is the same whenever the output's shape is."""
    return torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)


def value_and_gradients(run: Operator, network: nn.Module, images: Tensor) -> Bits:
    leaf = images.detach().clone().requires_grad_()
    output = run(leaf)
    sources = [leaf, *network.parameters()]
    return (output.detach(), *torch.autograd.grad(output, sources, upstream(output)))


def assert_same_bits(actual: Bits, expected: Bits) -> None:
    assert all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


@promise(
    "torch.compile (eager, aot_eager; graph breaks allowed) and torch.export give of random "
    "networks of the layers what they give uncompiled",
    full=12,
    few=1,
    drawn=networks(),
    how=choice("aot_eager", "eager", "export"),
)
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
def test_compilers(drawn: tuple[nn.Sequential, Tensor], how: str) -> None:
    network, images = drawn[0].double(), drawn[1].double()
    torch.compiler.reset()
    logging.disable(logging.WARNING)  # each graph break is one
    try:
        if how == "export":
            exported = torch.export.export(network.eval(), (images,)).module()
            alike(exported(images), network.eval()(images))
        else:
            compiled = torch.compile(network, backend=how)
            expected = value_and_gradients(network, network, images)
            alike(value_and_gradients(compiled, network, images), expected)
    finally:
        logging.disable(logging.NOTSET)


def saved(network: nn.Module) -> Any:
    memory = io.BytesIO()
    torch.save(network, memory)
    memory.seek(0)
    return torch.load(memory, weights_only=False)


def through_torch(network: nn.Module) -> nn.Module:
    """The weights go to torch's layers and back."""
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "groups"]
    theirs, ours = nn.Sequential(), copy.deepcopy(network)
    for layer in network.children():
        if isinstance(layer, layers.Conv2d):
            arguments = {name: getattr(layer, name) for name in names}
            theirs.append(nn.Conv2d(**arguments, bias=layer.bias is not None))
        else:
            theirs.append(nn.Identity())
    theirs.load_state_dict(network.state_dict(), strict=True)
    for parameter in ours.parameters():
        nn.init.zeros_(parameter)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()), strict=True)
    return ours


COPIES: Mapping[str, Callable[[nn.Module], Any]] = {
    "deepcopy": copy.deepcopy,
    "copy of a copy": lambda network: copy.deepcopy(copy.deepcopy(network)),
    "pickle": lambda network: pickle.loads(pickle.dumps(network)),
    "torch.save": saved,
    "state_dict through torch": through_torch,
}


@promise(
    "A layer's copy (deepcopy, pickle, torch.save, state_dict to torch's layer and back) computes "
    "the same bits, and keeps them when the original changes",
    full=600,
    few=30,
    drawn=networks(),
    way=choice(*COPIES),
)
def test_copies(drawn: tuple[nn.Sequential, Tensor], way: str) -> None:
    network, images = drawn
    expected = value_and_gradients(network, network, images)
    twin = COPIES[way](network)
    assert repr(twin) == repr(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert_same_bits(value_and_gradients(twin, twin, images), expected)


def in_inference_mode(network: nn.Module, images: Tensor) -> Bits:
    with torch.inference_mode():
        return (network(images.clone()).clone(),)


def without_gradients(network: nn.Module, images: Tensor) -> Bits:
    with torch.no_grad():
        output = network(images)
    assert not output.requires_grad
    return (output,)


def within(context: Callable[[], AbstractContextManager[Any]]) -> Mode:
    def mode(network: nn.Module, images: Tensor) -> Bits:
        with context():
            return value_and_gradients(network, network, images)

    return mode


def backward_twice(network: nn.Module, images: Tensor) -> Bits:
    leaf = images.detach().clone().requires_grad_()
    output, sources = network(leaf), [leaf, *network.parameters()]
    torch.autograd.grad(output, sources, upstream(output), retain_graph=True)
    return (output.detach(), *torch.autograd.grad(output, sources, upstream(output)))


def in_another_thread(network: nn.Module, images: Tensor) -> Bits:
    seen: list[Bits] = []
    thread = Thread(target=lambda: seen.append(value_and_gradients(network, network, images)))
    thread.start()
    thread.join()
    return seen[0]


def as_a_function(network: nn.Module, images: Tensor) -> Bits:
    weights = {name: tensor.detach() for name, tensor in network.named_parameters()}

    def output(weights: dict[str, Tensor], images: Tensor) -> Any:
        return functional_call(network, weights, (images,))

    value, pull, *_ = vjp(output, weights, images)
    of_weights, of_images = pull(upstream(value))
    return (value, of_images, *of_weights.values())


def overwritten(network: nn.Module, images: Tensor) -> Bits:
    """As by a layer that works in place behind each convolution and mean."""

    def run(x: Tensor) -> Tensor:
        for layer in network.children():
            x = layer(x)
            if isinstance(layer, layers.Conv2d | layers.AvgPool2d):
                x.mul_(2).div_(2)
        return x

    return value_and_gradients(run, network, images)


MODES: Mapping[str, Mode] = {
    "checkpoint": lambda network, images: value_and_gradients(
        lambda x: checkpoint(network, x, use_reentrant=False), network, images
    ),
    "inference_mode": in_inference_mode,
    "no_grad": without_gradients,
    "save_on_cpu": within(save_on_cpu),
    "saved-tensor hooks": within(partial(saved_tensors_hooks, pickle.dumps, pickle.loads)),
    "a second backward": backward_twice,
    "another thread": in_another_thread,
    "functional_call": as_a_function,
    "in-place changes of outputs": overwritten,
}


@promise(
    "Modes (checkpointing, inference_mode, no_grad, saved-tensor hooks, a second backward, another "
    "thread, functional_call, outputs overwritten in place) change no bit of what is computed",
    full=600,
    few=40,
    drawn=networks(),
    mode=choice(*MODES),
)
def test_modes(drawn: tuple[nn.Sequential, Tensor], mode: str) -> None:
    network, images = drawn
    expected = value_and_gradients(network, network, images)
    actual = MODES[mode](network, images)
    assert_same_bits(actual, expected[: len(actual)])
