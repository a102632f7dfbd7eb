"""The calls that operators are verified with: their arguments, values and memory layouts."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from cnnpipe.verify.reference import (
    EPSILON,
    Call,
    block_convolution,
    output_shape,
    statistics_of,
)

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.uint8, torch.int32, torch.int64)

Values = Literal["uniform", "positive", "negative", "ties", "large", "offset", "special"]
Layout = Literal["contiguous", "channels_last", "transposed", "sliced", "expanded"]
UNUSUAL_LAYOUTS: tuple[Layout, ...] = get_args(Layout)[1:]


@dataclass(frozen=True)
class Case:
    """One call of an operator, up to dtype, device and algorithm."""

    operator: str
    input: tuple[int, ...]
    """Shape."""
    weight: tuple[int, ...] | None
    """Shape of a convolution's kernels, a linear layer's weight or a normalisation's factors."""
    bias: bool
    arguments: Mapping[str, Any]
    values: Values = "uniform"
    """Of the input."""
    layout: Layout = "contiguous"
    """How all operands and probes lie in memory."""
    frozen: tuple[str, ...] = ()
    """Operands that require no gradient."""
    dtypes: tuple[torch.dtype, ...] = FLOATS

    def __str__(self) -> str:
        shapes = {"input": self.input, "weight": self.weight}
        return ", ".join(
            [f"{name} {'×'.join(map(str, shape))}" for name, shape in shapes.items() if shape]
            + ["bias"] * self.bias
            + [f"{name}={value}" for name, value in self.arguments.items()]
            + [f"{self.values} values"] * (self.values != "uniform")
            + [self.layout] * (self.layout != "contiguous")
            + [f"{name} frozen" for name in self.frozen]
        )


def argument_grid() -> list[Case]:
    """All cases: the product of the arguments that interact, and each special situation once."""
    return [
        *_conv2d_cases(),
        *_convolve2d_cases(),
        *_max_pool2d_cases(),
        *_avg_pool2d_cases(),
        *_activation_cases(),
        *_batch_norm_cases(),
        *_linear_cases(),
        *_cross_entropy_cases(),
        *_block_cases(),
    ]


def _conv2d_cases() -> Iterator[Case]:
    conv = partial(case_of, "conv2d")
    image, deep = (2, 4, 9, 8), (4, 64, 14, 14)
    for arguments in _product(
        stride=[1, 2, (3, 2)], padding=[0, 1, (2, 1)], dilation=[1, 2, (1, 3)], groups=[1, 2, 4]
    ):
        yield conv(image, (8, 4 // arguments["groups"], 3, 2), bias=True, **arguments)
    for kernel, dilation in product([(1, 1), (3, 3), (2, 4), (5, 2)], [1, (2, 1)]):
        yield conv(image, (3, 4, *kernel), padding="same", dilation=dilation)
    yield conv(image, (3, 4, 3, 3), padding="valid")
    for kernel in [(1, 1), (1, 5), (4, 2), (9, 8)]:
        yield conv(image, (3, 4, *kernel), bias=True)
    yield conv(image, (3, 4, 1, 1), stride=2)  # some pixels are never seen
    yield conv(image, (3, 4, 2, 2), padding=(4, 3))  # some windows see nothing but padding
    yield conv((2, 1, 28, 28), (6, 1, 5, 5), bias=True, padding=2)  # LeNet-5's first layer
    yield conv((4, 9, 8), (6, 2, 3, 3), bias=True, groups=2)  # unbatched
    yield conv((0, 4, 9, 8), (3, 4, 3, 3), bias=True)
    yield conv((1, 1, 1, 1), (1, 1, 1, 1), bias=True)
    for layout in UNUSUAL_LAYOUTS:
        yield conv(image, (6, 4, 3, 3), bias=True, stride=(1, 2), padding=(1, 2), layout=layout)
    yield conv(image, (6, 4, 3, 3), bias=True, frozen=("input",))  # a network's first layer
    yield conv(image, (6, 4, 3, 3), bias=True, frozen=("weight", "bias"))
    # Long sums; where all terms are positive, adding them in 16 bits loses most.
    yield conv(deep, (8, 64, 3, 3), bias=True, padding=1)
    yield conv(deep, (8, 64, 3, 3), bias=True, padding=1, values="positive")


def _convolve2d_cases() -> Iterator[Case]:
    convolve = partial(case_of, "convolve2d", (2, 4, 9, 8))
    for arguments in _product(padding=[0, (2, 1), "same"], dilation=[1, (1, 2)], groups=[1, 2]):
        yield convolve((6, 4 // arguments["groups"], 3, 4), bias=True, **arguments)
    yield convolve((3, 4, 3, 2), stride=(2, 3))
    yield case_of("convolve2d", (4, 9, 8), (3, 4, 3, 2), bias=True)


def _max_pool2d_cases() -> Iterator[Case]:
    pool = partial(case_of, "max_pool2d")
    maps = (2, 3, 9, 8)
    every = FLOATS + INTEGERS
    for arguments in _product(
        kernel_size=[2, 3, (3, 2)],
        stride=[None, 1, (1, 3)],
        padding=[0, 1],
        dilation=[1, 2],
        ceil_mode=[False, True],
        return_indices=[True],
    ):
        yield pool(maps, values="ties", dtypes=every, **arguments)  # in nearly every window
    pool = partial(pool, kernel_size=3, stride=2, padding=1)
    for values in ("uniform", "negative", "large", "special"):
        yield pool(maps, values=values, dtypes=every)
        yield pool(maps, values=values, dtypes=every, return_indices=True)
    for layout in UNUSUAL_LAYOUTS:
        yield pool(maps, values="ties", layout=layout, return_indices=True)
    yield pool((3, 9, 8), dtypes=every)  # unbatched
    yield pool((0, 3, 9, 8))
    # Up to 225 windows share a maximum and add their gradients, which are all positive.
    yield pool((2, 3, 28, 28), kernel_size=15, stride=1, padding=7, values="positive")


def _avg_pool2d_cases() -> Iterator[Case]:
    pool = partial(case_of, "avg_pool2d")
    maps = (2, 3, 9, 8)
    for arguments in _product(
        kernel_size=[2, 3, (3, 2)],
        stride=[None, 1, (2, 3)],
        padding=[0, 1],
        ceil_mode=[False, True],
        count_include_pad=[True, False],
        divisor_override=[None, 5],
    ):
        yield pool(maps, **arguments)
    # A sum over 196 pixels, and one that float16 cannot hold where it can hold the mean.
    yield pool((2, 3, 28, 28), kernel_size=14, stride=1, padding=7, values="positive")
    pool = partial(pool, kernel_size=3, stride=2, padding=1)
    for values in ("large", "special"):
        yield pool(maps, values=values)
    for layout in UNUSUAL_LAYOUTS:
        yield pool(maps, layout=layout)
    yield pool((3, 9, 8))  # unbatched
    yield pool((0, 3, 9, 8))


def _activation_cases() -> Iterator[Case]:
    for activation in (partial(case_of, name) for name in ("relu", "sigmoid", "tanh")):
        for values in ("uniform", "ties", "special"):
            yield activation((2, 3, 9, 8), values=values)
        for layout in UNUSUAL_LAYOUTS:
            yield activation((2, 3, 9, 8), layout=layout)
        yield activation((50,))
        yield activation((0, 3))


def _batch_norm_cases() -> Iterator[Case]:
    norm, both = partial(case_of, "batch_norm"), (True, False)
    for shape, bias, training in product([(4, 3, 5, 6), (16, 3)], both, both):
        yield norm(shape, (3,), bias=bias, training=training, eps=0.25)
    for training in both:
        norm = partial(case_of, "batch_norm", training=training)
        for shape in [(4, 3, 7), (2, 3, 4, 3, 2)]:
            yield norm(shape, (3,), bias=True)
        yield norm((4, 3, 5, 6))  # nothing learned
        yield norm((0, 3, 5, 6), (3,), bias=True)
        norm = partial(norm, bias=True)
        yield norm((8, 3, 9, 8), (3,), values="positive")
        yield norm((8, 3, 9, 8), (3,), values="special")
        if training:  # few values, so that rounding explains little
            yield norm((6, 3), (3,), values="offset")
        for layout in UNUSUAL_LAYOUTS:
            yield norm((4, 3, 5, 6), (3,), layout=layout)
        yield norm((4, 3, 5, 6), (3,), frozen=("input",))
        yield norm((4, 3, 5, 6), (3,), frozen=("weight", "bias"))


def _linear_cases() -> Iterator[Case]:
    linear = partial(case_of, "linear")
    for shape, bias in product([(5, 7), (7,), (2, 3, 7)], [True, False]):
        yield linear(shape, (4, 7), bias=bias)
    yield linear((0, 7), (4, 7), bias=True)
    yield linear((1, 1), (1, 1), bias=True)
    for layout in ("transposed", "sliced", "expanded"):
        yield linear((5, 7), (4, 7), bias=True, layout=layout)
    yield linear((5, 7), (4, 7), bias=True, frozen=("input",))
    yield linear((5, 7), (4, 7), bias=True, frozen=("weight", "bias"))
    yield linear((5, 7), (4, 7), bias=True, values="special")
    # Long sums, also of positive terms alone.
    yield linear((64, 576), (32, 576), bias=True)
    yield linear((64, 576), (32, 576), bias=True, values="positive")


def _cross_entropy_cases() -> Iterator[Case]:
    loss = partial(case_of, "cross_entropy")
    for shape, smoothing in product([(6, 10), (1, 3), (128, 10), (3, 500)], [0.0, 0.1, 1.0]):
        yield loss(shape, label_smoothing=smoothing)
    for values in ("negative", "ties", "large", "special"):
        for smoothing in (0.0, 0.1):
            yield loss((40, 7), values=values, label_smoothing=smoothing)
    for layout in ("transposed", "sliced"):
        yield loss((6, 10), layout=layout, label_smoothing=0.1)
    yield loss((5, 1))  # one class: nothing can be lost


def _block_cases() -> Iterator[Case]:
    """Inputs are −1, 0 and 1, so that many numbers of a window are equal."""
    block = partial(case_of, "block", values="ties", bias=True)
    norms = "training", "evaluation"
    ends = (True, 1), (True, 2), (False, 1), (False, 3)  # a GPU compiles kernels for each
    for norm, (relu, pool) in product((*norms, None), ends):
        yield block((4, 3, 9, 8), (5, 3, 3, 2), norm=norm, relu=relu, pool=pool)
    for norm in norms:
        block = partial(block, norm=norm, relu=True, pool=2)
        yield block((4, 3, 9, 8), (5, 3, 3, 3), padding=1)
        yield block((4, 3, 9, 8), (5, 3, 3, 3), padding=2, stride=2)
        yield block((2, 1, 12, 12), (70, 1, 5, 5))  # more channels than a tile has
        yield block((4, 3, 9, 8), (5, 3, 3, 3), padding=1, frozen=("input",))
        for layout in UNUSUAL_LAYOUTS[:-1]:  # "expanded" would change the numbers behind β
            yield block((4, 3, 9, 8), (5, 3, 3, 3), layout=layout)


def _product(**choices: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """The arguments with each combination of their values."""
    for values in product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def case_of(
    operator: str,
    input: tuple[int, ...],
    weight: tuple[int, ...] | None = None,
    *,
    bias: bool = False,
    values: Values = "uniform",
    layout: Layout = "contiguous",
    frozen: tuple[str, ...] = (),
    dtypes: tuple[torch.dtype, ...] = FLOATS,
    **arguments: Any,
) -> Case:
    """A case, with the operator's arguments written as the operator takes them."""
    return Case(operator, input, weight, bias, arguments, values, layout, frozen, dtypes)


def draw(case: Case, dtype: torch.dtype, seed: int) -> Call:
    """A case as a call, with random tensors on the CPU that depend on no other case."""
    name = f"{case.operator} {case}"
    generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
    rest: Values = "positive" if case.values == "positive" else "uniform"
    numbers = partial(random_numbers, dtype=dtype, generator=generator)
    operands = {"input": numbers(case.input, case.values)}
    if case.operator == "block":
        operands |= _block_operands(case, numbers, operands["input"])
    elif case.weight:
        operands["weight"] = numbers(case.weight, rest)
        if case.bias:
            operands["bias"] = numbers(case.weight[:1], rest)
    if case.operator == "batch_norm" and not case.arguments["training"]:
        operands["running_mean"] = numbers(case.input[1:2], rest)
        operands["running_var"] = numbers(case.input[1:2], "positive")
    if case.operator == "cross_entropy":
        rows, classes = case.input
        operands["target"] = torch.randint(classes, (rows,), generator=generator)
    probes = draw_probes(
        case.operator, operands, case.arguments, partial(numbers, values=rest), case.frozen
    )
    operands, probes = (lay_out(x, case.layout, torch.device("cpu")) for x in (operands, probes))
    return Call(case.operator, operands, case.arguments, probes)


def _block_operands(case: Case, numbers: Callable[..., Tensor], input: Tensor) -> dict[str, Tensor]:
    """Operands of a block with which rounding never decides what ReLU or a pooling selects.

    Kernels are integers and biases lie in the middle between two, so those of z = x ⋆ w + b are
    exact in every dtype: two of a channel are equal or differ by 1 at least. With
    β = (μ − h)·γ/√(σ² + ε), h an integer, ReLU's corner is at z = h. |γ| is at least 1, so that
    no y underflows, and |z − h| is below 64, so that 8 digits of y (bfloat16) tell all z apart.
    """
    assert case.weight is not None
    outputs = case.weight[:1]
    weight, bias = numbers(case.weight, "ties"), numbers(outputs, "ties") + 0.5
    operands = {"weight": weight, "bias": bias}
    if case.arguments["norm"] is None:
        return operands
    if case.arguments["norm"] == "training":
        z = block_convolution(case.arguments)(input.double(), weight.double(), bias.double())
        mean, variance = statistics_of(z)
    else:
        mean, variance = numbers(outputs, "uniform"), 1 + numbers(outputs, "positive")
        operands |= {"running_mean": mean, "running_var": variance}
    gamma = numbers(outputs, "uniform")
    gamma = torch.where(gamma < 0, gamma - 1, gamma + 1)
    corner = mean.double() - mean.double().round()
    beta = corner * gamma.double() / (variance.double() + EPSILON).sqrt()
    return {**operands, "gamma": gamma, "beta": beta.to(gamma.dtype)}


def draw_probes(
    operator: str,
    operands: Mapping[str, Tensor],
    arguments: Mapping[str, Any],
    numbers: Callable[[Sequence[int]], Tensor],
    frozen: Sequence[str] = (),
) -> dict[str, Tensor]:
    """The probes of a call for all operands but the frozen ones; integers have no gradients.

    Args:
        numbers: makes a tensor of a shape.
    """
    if not operands["input"].is_floating_point():
        return {}
    shapes = {
        name: x.shape
        for name, x in operands.items()
        if x.is_floating_point() and name not in (*frozen, "running_mean", "running_var")
    }
    shapes["upstream"] = output_shape(operator, operands, arguments)
    return {name: numbers(shape) for name, shape in shapes.items()}


def random_numbers(
    shape: Sequence[int], values: Values, dtype: torch.dtype, generator: torch.Generator
) -> Tensor:
    """Random numbers of a kind, drawn in float64: every dtype gets the same ones, rounded."""
    uniform = torch.rand(list(shape), generator=generator, dtype=torch.float64)  # in [0, 1)
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        match values:
            case "large":
                return torch.where(uniform < 0.5, limits.min, limits.max).to(dtype)
            case "negative":
                return (uniform * 100).to(dtype) + limits.min
            case _:
                return (uniform * 3).to(dtype)
    match values:
        case "uniform":
            numbers = 2 * uniform - 1
        case "positive":
            numbers = uniform
        case "negative":
            numbers = uniform - 2
        case "ties":
            numbers = (3 * uniform).floor() - 1
        case "large":
            numbers = 20_000 + 10_000 * uniform  # float16 ends at 65,504: a sum of four overflows
        case "offset":
            numbers = 1000 + uniform  # the mean is 3000 times the standard deviation
        case "special":
            numbers = 100 * (2 * uniform - 1)
            for start, value in enumerate([0.0, math.nan, math.inf, -math.inf]):
                numbers.view(-1)[start :: 19 + 2 * start] = value
    return numbers.to(dtype)


def lay_out(
    tensors: Mapping[str, Tensor], layout: Layout, device: torch.device
) -> dict[str, Tensor]:
    """Bring tensors to a device, in a memory layout that copying between devices may have lost."""
    return {name: _in_memory(tensor.to(device), layout) for name, tensor in tensors.items()}


def _in_memory(tensor: Tensor, layout: Layout) -> Tensor:
    """The same numbers, lying differently; `expanded` repeats the first column in all others."""
    match layout:
        case "channels_last" if tensor.ndim == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        case "transposed" if tensor.ndim > 1:
            return tensor.mT.contiguous().mT
        case "sliced" if tensor.ndim:
            return tensor.repeat_interleave(2, -1)[..., ::2]
        case "expanded":
            return tensor[..., :1].expand_as(tensor)
        case _:
            return tensor
