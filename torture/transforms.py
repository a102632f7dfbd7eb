"""What torch does to a function or a layer as a whole: transforms, compilers, copies and modes.

Each time the same is done to torch's operator, or nothing is done to ours, and both must agree.
"""

from __future__ import annotations

import copy
import io
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.func import functional_call, grad, jacrev, vjp, vmap
from torch.utils.checkpoint import checkpoint

from cnnpipe import layers
from cnnpipe.functional import UnsupportedError
from cnnpipe.verify.verification import OPERATORS
from torture import random_calls
from torture.campaign import Trial, promise
from torture.operators import ALGORITHMS, TORCHS
from torture.random_calls import Call, Tensors

Operator = Callable[..., Any]


@promise(
    "torch.func's grad, vjp, jacrev and vmap, alone and in one another, give of each operator what "
    "they give of torch's",
    full=600,
    few=30,
)
def function_transforms(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        call = _small_call(randomness)
        ours, theirs, by = _both(call, randomness)
        name, transform = randomness.choice(list(TRANSFORMS.items()))
        seed = randomness.getrandbits(60)
        yield _alike(
            f"{name} of {call} by {by}",
            partial(transform, ours, call, Random(seed)),
            partial(transform, theirs, call, Random(seed)),
        )


def _gradient(operator: Operator, call: Call, randomness: Random) -> Any:
    operands = tuple(call.operands.values())
    return grad(_scalar(operator), argnums=tuple(range(len(operands))))(*operands)


def _vjp(operator: Operator, call: Call, randomness: Random) -> Any:
    output, pull, *_ = vjp(operator, *call.operands.values())
    return output, pull(call.probes["upstream"])


def _jacobian(operator: Operator, call: Call, randomness: Random) -> Any:
    return jacrev(operator)(*call.operands.values())


def _hessian(operator: Operator, call: Call, randomness: Random) -> Any:
    return jacrev(jacrev(_scalar(operator)))(*call.operands.values())


def _over_a_batch(operator: Operator, call: Call, randomness: Random) -> Any:
    operands, axes = _stacked(call, randomness, 3)
    out_axis = randomness.randint(0, call.probes["upstream"].ndim)
    return vmap(operator, in_dims=axes, out_dims=out_axis)(*operands)


def _gradient_of_each(operator: Operator, call: Call, randomness: Random) -> Any:
    """What differentially private training needs."""
    operands, axes = _stacked(call, randomness, 2)
    each = grad(_scalar(operator), argnums=tuple(range(len(operands))))
    return vmap(each, in_dims=axes)(*operands)


def _gradient_of_all(operator: Operator, call: Call, randomness: Random) -> Any:
    operands, axes = _stacked(call, randomness, 2)
    every = vmap(operator, in_dims=axes)
    total = _scalar(lambda *operands: every(*operands))
    return grad(total, argnums=tuple(range(len(operands))))(*operands)


def _over_two_batches(operator: Operator, call: Call, randomness: Random) -> Any:
    operands, axes = _stacked(call, randomness, 2)
    twice = [torch.stack([operand, -operand]) for operand in operands]
    return vmap(vmap(operator, in_dims=axes))(*twice)


def _vmapped_hessian(operator: Operator, call: Call, randomness: Random) -> Any:
    operands, axes = _stacked(call, randomness, 2)
    second = grad(lambda *operands: grad(_scalar(operator))(*operands).pow(2).sum())
    return vmap(second, in_dims=axes)(*operands)


TRANSFORMS: Mapping[str, Callable[[Operator, Call, Random], Any]] = {
    "grad": _gradient,
    "vjp": _vjp,
    "jacrev": _jacobian,
    "jacrev(jacrev)": _hessian,
    "vmap": _over_a_batch,
    "vmap(grad)": _gradient_of_each,
    "grad(vmap)": _gradient_of_all,
    "vmap(vmap)": _over_two_batches,
    "vmap(grad(grad))": _vmapped_hessian,
}


@promise(
    "Forward-mode derivatives, which the operators do not have, are refused by name",
    full=60,
    few=4,
)
def forward_mode(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        call = _small_call(randomness)
        ours, _, by = _both(call, randomness)
        operands = tuple(call.operands.values())
        said = "computed something"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch, about itself
            try:
                torch.func.jvp(ours, operands, operands)
            except (RuntimeError, NotImplementedError) as error:
                said = "" if "jvp" in str(error) else str(error)[:200]
        yield Trial(f"jvp of {call} by {by}", held=not said, said=said)


@promise(
    "torch.compile (eager, aot_eager; graph breaks allowed) and torch.export give of random "
    "networks of the layers what they give uncompiled",
    full=12,
    few=0,
)
def compilers(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        network, images = _network(randomness)
        network, images = network.double(), images.double()
        how = randomness.choice(["eager", "aot_eager", "export"])
        torch.compiler.reset()
        logging.disable(logging.WARNING)  # each graph break is one
        if how == "export":
            run: Operator = lambda network=network, images=images: torch.export.export(  # noqa: E731
                network.eval(), (images,)
            ).module()(images)
            plain: Operator = lambda network=network, images=images: network.eval()(images)  # noqa: E731
        else:
            compiled = torch.compile(network, backend=how)
            run = partial(_value_and_gradients, compiled, network, images)
            plain = partial(_value_and_gradients, network, network, images)
        yield _alike(f"{how} of {network}", run, plain)
        logging.disable(logging.NOTSET)


@promise(
    "A layer's copy (deepcopy, pickle, torch.save, state_dict to torch's layer and back) computes "
    "the same bits, and keeps them when the original changes",
    full=600,
    few=30,
)
def copies(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        network, images = _network(randomness)
        name, duplicate = randomness.choice(list(COPIES.items()))
        said = ""
        expected = _value_and_gradients(network, network, images)
        twin = duplicate(network)
        if repr(twin) != repr(network):
            said = f"became {twin}"
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        if not _equal(_value_and_gradients(twin, twin, images), expected):
            said = "computes something else"
        yield Trial(f"{name} of {network}", held=not said, said=said)


def _saved(network: nn.Module) -> Any:
    memory = io.BytesIO()
    torch.save(network, memory)
    memory.seek(0)
    return torch.load(memory, weights_only=False)


def _by_way_of_torch(network: nn.Module) -> nn.Module:
    """The weights go to torch's layers and back."""
    theirs, ours = _in_torch(network), copy.deepcopy(network)
    theirs.load_state_dict(network.state_dict(), strict=True)
    for parameter in ours.parameters():
        nn.init.zeros_(parameter)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()), strict=True)
    return ours


COPIES: Mapping[str, Callable[[nn.Module], Any]] = {
    "deepcopy": copy.deepcopy,
    "copy of a copy": lambda network: copy.deepcopy(copy.deepcopy(network)),
    "pickle": lambda network: pickle.loads(pickle.dumps(network)),
    "torch.save": _saved,
    "state_dict through torch": _by_way_of_torch,
}


@promise(
    "Modes (checkpointing, inference_mode, no_grad, saved-tensor hooks, a second backward, another "
    "thread, functional_call, outputs overwritten in place) change no bit of what is computed",
    full=600,
    few=30,
)
def modes(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        network, images = _network(randomness)
        name, mode = randomness.choice(list(MODES.items()))
        expected = _value_and_gradients(network, network, images)
        try:
            actual = mode(network, images)
        except Exception as error:
            yield Trial(f"{name} of {network}", held=False, said=repr(error)[:300])
            continue
        held = _equal(actual, expected[: len(actual)])
        yield Trial(f"{name} of {network}", held=held, said="" if held else "other numbers")


def _checkpointed(network: nn.Module, images: Tensor) -> tuple[Any, ...]:
    return _value_and_gradients(
        lambda x: checkpoint(network, x, use_reentrant=False), network, images
    )


def _inference(network: nn.Module, images: Tensor) -> tuple[Any, ...]:
    with torch.inference_mode():
        return (network(images.clone()).clone(),)


def _without_gradients(network: nn.Module, images: Tensor) -> tuple[Any, ...]:
    with torch.no_grad():
        output = network(images)
    if output.requires_grad:
        raise RuntimeError("the output requires a gradient")
    return (output,)


def _kept_elsewhere(network: nn.Module, images: Tensor) -> tuple[Any, ...]:
    with save_on_cpu():
        return _value_and_gradients(network, network, images)


def _kept_as_bytes(network: nn.Module, images: Tensor) -> tuple[Any, ...]:
    with saved_tensors_hooks(pickle.dumps, pickle.loads):
        return _value_and_gradients(network, network, images)


def _backward_twice(network: nn.Module, images: Tensor) -> tuple[Any, ...]:
    leaf = images.detach().clone().requires_grad_()
    output, sources = network(leaf), [leaf, *network.parameters()]
    upstream = _upstream(output)
    torch.autograd.grad(output, sources, upstream, retain_graph=True)
    return (output.detach(), *torch.autograd.grad(output, sources, upstream))


def _in_another_thread(network: nn.Module, images: Tensor) -> tuple[Any, ...]:
    seen: list[tuple[Any, ...]] = []
    thread = Thread(target=lambda: seen.append(_value_and_gradients(network, network, images)))
    thread.start()
    thread.join()
    return seen[0]


def _as_a_function(network: nn.Module, images: Tensor) -> tuple[Any, ...]:
    weights = {name: tensor.detach() for name, tensor in network.named_parameters()}

    def output(weights: Tensors, images: Tensor) -> Tensor:
        result: Tensor = functional_call(network, weights, (images,))
        return result

    value, pull, *_ = vjp(output, weights, images)
    of_weights, of_images = pull(_upstream(value))
    return (value, of_images, *of_weights.values())


def _overwritten(network: nn.Module, images: Tensor) -> tuple[Any, ...]:
    """As by a layer that works in place behind each convolution and mean."""
    leaf = images.detach().clone().requires_grad_()
    x = leaf
    assert isinstance(network, nn.Sequential)
    for layer in network:
        x = layer(x)
        if isinstance(layer, layers.Conv2d | layers.AvgPool2d):
            x.mul_(2).div_(2)
    output, sources = x, [leaf, *network.parameters()]
    return (output.detach(), *torch.autograd.grad(output, sources, _upstream(output)))


MODES: Mapping[str, Callable[[nn.Module, Tensor], tuple[Any, ...]]] = {
    "checkpoint": _checkpointed,
    "inference_mode": _inference,
    "no_grad": _without_gradients,
    "save_on_cpu": _kept_elsewhere,
    "saved-tensor hooks": _kept_as_bytes,
    "a second backward": _backward_twice,
    "another thread": _in_another_thread,
    "functional_call": _as_a_function,
    "in-place changes of outputs": _overwritten,
}


@promise(
    "Under autocast to 16 bits an operator returns torch's dtype, and a backward inside of it the "
    "same bits as one outside",
    full=400,
    few=20,
)
def autocast(count: int, randomness: Random, folder: Path) -> Iterator[Trial]:
    for _ in range(count):
        call = _small_call(
            randomness, randomness.choice([torch.float32, torch.float32, torch.bfloat16])
        )
        ours, theirs, by = _both(call, randomness)
        leaves = [tensor.detach().requires_grad_() for tensor in call.operands.values()]
        said = ""
        with torch.autocast("cpu", randomness.choice([torch.bfloat16, torch.float16])):
            output = ours(*leaves)
            if output.dtype != theirs(*leaves).dtype:
                said = f"{output.dtype}, torch {theirs(*leaves).dtype}"
            upstream = _upstream(output)
            inside = torch.autograd.grad(output, leaves, upstream, retain_graph=True)
        outside = torch.autograd.grad(output, leaves, upstream)
        if not _equal(inside, outside):
            said = "another gradient inside"
        yield Trial(f"{call} by {by}", held=not said, said=said)


def _small_call(randomness: Random, dtype: torch.dtype = torch.float64) -> Call:
    """Any operator; small, as a Jacobian has a number for each pair of numbers, and not empty."""
    while True:
        match operator := randomness.choice(list(OPERATORS)):
            case "conv2d" | "convolve2d":
                call = random_calls.convolution(randomness, dtype, operator=operator)
            case "max_pool2d" | "avg_pool2d":
                call = random_calls.pooling(randomness, dtype, operator=operator)
            case _:
                call = random_calls.activation(randomness, dtype)
        sizes = [tensor.numel() for tensor in call.tensors]
        if sum(sizes) < 400 and all(sizes):
            operands = {name: tensor.clamp(-1, 1) for name, tensor in call.operands.items()}
            return replace(call, operands=operands)


def _both(call: Call, randomness: Random) -> tuple[Operator, Operator, str]:
    """Ours and torch's as functions of the operands alone, and the algorithm of ours."""
    names = list(call.operands)
    arguments = call.reference_arguments()
    arguments.pop("return_indices", None)
    algorithm = {"algorithm": randomness.choice(ALGORITHMS)} if "weight" in names else {}
    try:
        OPERATORS[call.operator](**call.operands, **call.arguments, **algorithm)
    except UnsupportedError:
        algorithm = {"algorithm": "auto"}

    def apply(operator: Operator, *operands: Tensor, **rest: Any) -> Any:
        return operator(**dict(zip(names, operands, strict=True)), **arguments, **rest)

    ours = partial(apply, OPERATORS[call.operator], **algorithm)
    return ours, partial(apply, TORCHS[call.operator]), algorithm.get("algorithm", call.operator)


def _scalar(operator: Operator) -> Operator:
    """A loss whose derivatives depend on the operator's output."""
    return lambda *operands: operator(*operands).sin().sum()


def _stacked(
    call: Call, randomness: Random, size: int
) -> tuple[list[Tensor], tuple[int | None, ...]]:
    """Some of the operands with another axis, the first of them always, and which axis it is."""
    operands, axes = [], []
    for position, operand in enumerate(call.operands.values()):
        axis = randomness.choice([None, 0, operand.ndim]) if position else 0
        if axis is not None:
            operand = torch.stack([operand * (1 + n) for n in range(size)], axis)
        operands.append(operand)
        axes.append(axis)
    return operands, tuple(axes)


def _alike(name: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> Trial:
    try:
        actual = ours()
    except Exception as error:
        return Trial(name, held=False, said=f"{type(error).__name__}: {error}"[:300])
    try:
        torch.testing.assert_close(actual, theirs(), rtol=1e-8, atol=1e-8, equal_nan=True)
    except AssertionError as error:
        return Trial(name, held=False, said=str(error)[:300])
    return Trial(name, held=True)


def _equal(actual: tuple[Any, ...], expected: tuple[Any, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))


def _network(randomness: Random) -> tuple[nn.Sequential, Tensor]:
    """One to four layers, one after the other, and images for them."""
    channels = randomness.choice([1, 2, 4, 8])
    images = random_calls.numbers(randomness, (2, channels, 9, 8), torch.float32)
    plan: list[nn.Module] = []
    for _ in range(randomness.randint(1, 4)):
        match randomness.randrange(4):
            case 0:
                out_channels = randomness.choice([4, 8, 16])
                plan.append(_convolution(randomness, channels, out_channels))
                channels = out_channels
            case 1:
                plan.append(layers.MaxPool2d(2, randomness.choice([None, 1]), 1))
            case 2:
                plan.append(layers.AvgPool2d(3, 2, 1, count_include_pad=randomness.random() < 0.5))
            case _:
                plan.append(randomness.choice([layers.ReLU, layers.Sigmoid, layers.Tanh])())
    return nn.Sequential(*plan), images


def _convolution(randomness: Random, channels: int, out_channels: int) -> nn.Module:
    algorithm = randomness.choice(ALGORITHMS)
    strided = algorithm in ("auto", "direct", "im2col", "fft") and randomness.random() < 0.5
    groups = channels if strided and out_channels % channels == 0 else 1
    return layers.Conv2d(
        channels,
        out_channels,
        (randomness.randint(2, 3), 3),
        stride=(1, 2) if strided else 1,
        padding=(1, 2),
        groups=randomness.choice([1, groups]),
        bias=randomness.random() < 0.5,
        algorithm=algorithm,
    )


def _in_torch(network: nn.Module) -> nn.Module:
    """The same network of torch's layers."""
    assert isinstance(network, nn.Sequential)
    return nn.Sequential(
        *(
            getattr(nn, type(layer).__name__)(**_arguments(layer))
            if isinstance(layer, layers.Conv2d)
            else nn.Identity()
            for layer in network
        )
    )


def _arguments(layer: layers.Conv2d) -> dict[str, Any]:
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "groups"]
    return {name: getattr(layer, name) for name in names} | {"bias": layer.bias is not None}


def _upstream(output: Tensor) -> Tensor:
    """A gradient that is the same whenever the output's shape is."""
    return torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)


def _value_and_gradients(
    run: Callable[[Tensor], Tensor], network: nn.Module, images: Tensor
) -> tuple[Tensor, ...]:
    leaf = images.detach().clone().requires_grad_()
    output = run(leaf)
    sources = [leaf, *network.parameters()]
    return (output.detach(), *torch.autograd.grad(output, sources, _upstream(output)))
