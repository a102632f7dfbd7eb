"""Random calls of the operators: shapes, arguments, numbers and views that nobody would list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor

from cnnpipe.geometry import output_size, window_extent
from cnnpipe.verify.reference import output_shape

HUGE = 10**6
"""Pixels that no image here has: a stride or dilation of as many is as good as any longer one."""

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Call:
    """An operator's operands and arguments, and the gradients that it is probed with."""

    operator: str
    operands: Tensors
    arguments: Mapping[str, Any]
    probes: Tensors
    """As `cnnpipe.verify.reference.quantities` takes them."""

    @property
    def dtype(self) -> torch.dtype:
        return self.operands["input"].dtype

    @property
    def tensors(self) -> list[Tensor]:
        return [*self.operands.values(), *self.probes.values()]

    def reference_arguments(self) -> dict[str, Any]:
        """The same for torch, whose steps have to fit into 32 bits."""
        return {name: _shorter(value) for name, value in self.arguments.items()}

    def __str__(self) -> str:
        shapes = (f"{name} {list(tensor.shape)}" for name, tensor in self.operands.items())
        arguments = (f"{name}={value!r}" for name, value in self.arguments.items())
        learned = ", ".join(name for name in self.probes if name != "upstream") or "nothing"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.operator} {', '.join([*shapes, *arguments])}; {dtype}; {learned} learned"


def _shorter(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(min(number, HUGE) for number in value)
    return min(value, HUGE) if isinstance(value, int) and not isinstance(value, bool) else value


def convolution(
    randomness: Random, dtype: torch.dtype, *, operator: str = "conv2d", batched: bool = False
) -> Call:
    """Any convolution; half of them with stride 1, dilation 1 and one group, as most are."""
    plain = randomness.random() < 0.5
    axes = [_convolution_axis(randomness, plain) for _ in range(2)]
    sizes, kernel_size, strides, paddings, dilations = zip(*axes, strict=True)
    groups = 1 if plain else randomness.choice([1, 1, 2, 3, 5])
    channels = [randomness.choice([1, 1, 2, 3, 4, 5]) for _ in range(2)]
    if randomness.random() < 0.2:  # enough for the algorithms that want many
        channels = [randomness.choice([8, 9, 16, 17]) for _ in range(2)]
    elif plain and randomness.random() < 0.03 and max(kernel_size) <= 3:
        channels, sizes = [128, 128], tuple(min(size, 7) for size in sizes)
        paddings = tuple(max(p, 1) for p in paddings)
    padding: Any = paddings
    if randomness.random() < 0.1:
        padding = "valid" if _fits(sizes, kernel_size, dilations) else "same"
        strides = strides if padding == "valid" else (1, 1)
    shapes: dict[str, Sequence[int]] = {
        "input": (*_batch(randomness, batched), groups * channels[0], *sizes),
        "weight": (groups * channels[1], channels[0], *kernel_size),
    }
    if randomness.random() < 0.5:
        shapes["bias"] = (groups * channels[1],)
    operands = {name: numbers(randomness, shape, dtype) for name, shape in shapes.items()}
    arguments = {
        "stride": _one_or_both(randomness, strides),
        "padding": padding if isinstance(padding, str) else _one_or_both(randomness, padding),
        "dilation": _one_or_both(randomness, dilations),
        "groups": groups,
    }
    return _with_probes(randomness, operator, operands, arguments)


def _convolution_axis(randomness: Random, plain: bool) -> tuple[int, int, int, int, int]:
    """Size, kernel size, stride, padding and dilation of one axis, with room for a window."""
    kernel_size = randomness.choice([1, 2, 3, 3, 4, 5, 5, 7, 8])
    dilation = 1 if plain else randomness.choice([1, 1, 2, 3, 4])
    if kernel_size == 1 and not plain and randomness.random() < 0.1:
        dilation = randomness.choice([HUGE, 2**62])
    extent = window_extent(kernel_size, dilation)
    padding = randomness.choice([0, 0, 1, kernel_size // 2, kernel_size, randomness.randrange(9)])
    stride = 1 if plain else randomness.choice([1, 2, 2, 3, 7, randomness.choice([HUGE, 2**62])])
    more = randomness.choice([0, 0, 1, 2, randomness.randrange(12)])
    size = max(1, extent - 2 * padding) + more
    if randomness.random() < 0.2:
        size = max(size, randomness.choice([2, 3, 5, 7, 11, 13, 17]))
    return size, kernel_size, stride, padding, dilation


def _fits(sizes: Sequence[int], kernel_size: Sequence[int], dilations: Sequence[int]) -> bool:
    axes = zip(sizes, kernel_size, dilations, strict=True)
    return all(size >= window_extent(k, d) for size, k, d in axes)


def pooling(
    randomness: Random, dtype: torch.dtype, *, operator: str, batched: bool = False
) -> Call:
    """Any pooling whose windows all see a pixel; torch writes where it may not if one sees none."""
    dilated = operator == "max_pool2d" and randomness.random() < 0.4
    ceil_mode = randomness.random() < 0.5
    axes = [_pooling_axis(randomness, dilated, ceil_mode) for _ in range(2)]
    sizes, kernel_size, strides, paddings, dilations = zip(*axes, strict=True)
    shape = (*_batch(randomness, batched), randomness.choice([1, 1, 2, 3, 5]), *sizes)
    arguments: dict[str, Any] = {
        "kernel_size": _one_or_both(randomness, kernel_size),
        "stride": None if strides == kernel_size else _one_or_both(randomness, strides),
        "padding": _one_or_both(randomness, paddings),
        "ceil_mode": ceil_mode,
    }
    if operator == "max_pool2d":
        arguments["dilation"] = _one_or_both(randomness, dilations)
        arguments["return_indices"] = randomness.random() < 0.5
    else:
        arguments["count_include_pad"] = randomness.random() < 0.5
        arguments["divisor_override"] = randomness.choice([None, None, 1, 7, -3])
    return _with_probes(
        randomness, operator, {"input": numbers(randomness, shape, dtype)}, arguments
    )


def _pooling_axis(
    randomness: Random, dilated: bool, ceil_mode: bool
) -> tuple[int, int, int, int, int]:
    while True:
        kernel_size = randomness.choice([1, 2, 2, 3, 3, 4, 5, 7])
        dilation = randomness.choice([1, 2, 3, 5]) if dilated else 1
        if dilated and kernel_size == 1 and randomness.random() < 0.2:
            dilation = randomness.choice([HUGE, 2**62])
        padding = randomness.randint(0, kernel_size // 2)
        stride = randomness.choice([kernel_size, kernel_size, 1, 2, 3, 4, HUGE, 2**62])
        size = randomness.choice([1, 2, 3, 4, 5, 7, 8, 11, 13, randomness.randrange(1, 20)])
        starts = _starts(size, kernel_size, stride, padding, dilation, ceil_mode)
        if starts and all(_sees_a_pixel(at, size, kernel_size, dilation) for at in starts):
            return size, kernel_size, stride, padding, dilation


def _starts(
    size: int, kernel_size: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> list[int]:
    try:
        count = output_size(size, kernel_size, stride, padding, dilation, ceil_mode)
    except ValueError:
        return []
    return [window * stride - padding for window in range(count)]


def _sees_a_pixel(start: int, size: int, kernel_size: int, dilation: int) -> bool:
    return any(0 <= start + tap * dilation < size for tap in range(kernel_size))


def activation(randomness: Random, dtype: torch.dtype) -> Call:
    operator = randomness.choice(["relu", "sigmoid", "tanh"])
    shape = [randomness.choice([0, 1, 1, 2, 3, 5, 7]) for _ in range(randomness.randrange(6))]
    operands = {"input": numbers(randomness, shape, dtype) * randomness.choice([1, 1, 5, 30])}
    # Their terms are known for a learned input only; see `cnnpipe.verify.reference`.
    probes = {name: numbers(randomness, shape, dtype) for name in ("upstream", "input")}
    return Call(operator, operands, {}, probes)


def _batch(randomness: Random, batched: bool) -> list[int]:
    if not batched and randomness.random() < 0.1:
        return []
    return [randomness.choice([0, 1, 1, 2, 2, 3, 5] if not batched else [2, 3])]


def _one_or_both(randomness: Random, pair: tuple[int, ...]) -> int | tuple[int, ...]:
    """A pair of equal numbers may be written as one."""
    return pair[0] if pair[0] == pair[1] and randomness.random() < 0.5 else pair


def _with_probes(
    randomness: Random, operator: str, operands: Tensors, arguments: dict[str, Any]
) -> Call:
    """Gradients for the output and a random choice of the operands; integers have none."""
    call = Call(operator, operands, arguments, {})
    if not call.dtype.is_floating_point:
        return call
    learned = [name for name in operands if randomness.random() < 0.75]
    shapes: dict[str, Sequence[int]] = {name: operands[name].shape for name in learned}
    shapes["upstream"] = output_shape(operator, operands, call.reference_arguments())
    probes = {name: numbers(randomness, shape, call.dtype) for name, shape in shapes.items()}
    return Call(operator, operands, arguments, probes)


def numbers(randomness: Random, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Random numbers of one of several kinds; the sums of all are far from overflow."""
    generator = torch.Generator().manual_seed(randomness.getrandbits(60))
    uniform = torch.rand(list(shape), generator=generator, dtype=torch.float64)
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        kinds = [uniform * 3, uniform * 100 + limits.min, torch.where(uniform < 0.5, 0, limits.max)]
        return randomness.choice(kinds).to(dtype)
    kind = randomness.randrange(10)
    match kind:
        case 0:  # ties
            drawn = (uniform * 3).floor() - 1
        case 1:  # every window a tie
            drawn = torch.full_like(uniform, randomness.choice([-1.0, 0.0, 0.5]))
        case 2:
            drawn = -uniform
        case 3:  # zeros of both signs, and a few other numbers
            drawn = torch.where(uniform < 0.9, 0.0, uniform).copysign(uniform - 0.4)
        case 4:  # beside the smallest of the dtype: some are subnormal
            drawn = (4 * uniform - 2) * torch.finfo(dtype).smallest_normal
        case 5 if torch.finfo(dtype).bits > 16:
            drawn = (2 * uniform - 1) * 2.0 ** randomness.randint(-20, 20)
        case _:
            drawn = 2 * uniform - 1
    return drawn.to(dtype)


def with_not_finite(randomness: Random, tensor: Tensor) -> Tensor:
    """A copy in which up to three numbers are NaN or infinite."""
    copy = tensor.clone()
    if copy.numel():
        for _ in range(randomness.randint(1, 3)):
            place = randomness.randrange(copy.numel())
            copy.view(-1)[place] = randomness.choice([math.nan, math.inf, -math.inf])
    return copy


def as_view(randomness: Random, tensor: Tensor) -> Tensor:
    """The same shape, and but for repeated ones the same numbers, lying in memory in any way."""
    for _ in range(randomness.randint(1, 3)):
        tensor = _one_view(randomness, tensor)
    return tensor


def _one_view(randomness: Random, tensor: Tensor) -> Tensor:
    if not tensor.ndim:
        return torch.stack([tensor, tensor])[1]
    axis = randomness.randrange(tensor.ndim)
    match randomness.randrange(8):
        case 0:  # any order of axes in memory; channels last is one of them
            order = randomness.sample(range(tensor.ndim), tensor.ndim)
            back = [order.index(axis) for axis in range(tensor.ndim)]
            return tensor.permute(order).contiguous().permute(back)
        case 1:  # every second or third
            step = randomness.choice([2, 3])
            offset = randomness.randrange(step)
            wide = tensor.repeat_interleave(step, axis)
            return wide[(*[slice(None)] * axis, slice(offset, None, step))]
        case 2:  # one number, many times: stride 0
            return tensor.narrow(axis, 0, min(1, tensor.shape[axis])).expand_as(tensor)
        case 3:  # somewhere in a larger tensor
            before, after = (randomness.randrange(3) for _ in range(2))
            ends = [tensor.narrow(axis, 0, min(n, tensor.shape[axis])) for n in (before, after)]
            wide = torch.cat([ends[0], tensor, ends[1]], axis)
            return wide.narrow(axis, ends[0].shape[axis], tensor.shape[axis])
        case 4:  # neighbours overlap in memory, as windows do
            line = tensor.reshape(-1)
            steps = [randomness.choice([0, 1, 1, 2]) for _ in tensor.shape]
            last = sum(max(0, n - 1) * s for n, s in zip(tensor.shape, steps, strict=True))
            if last >= len(line):
                return tensor
            return line.as_strided(tensor.shape, steps)
        case 5 if tensor.dtype in (torch.float32, torch.float64):  # negated when read
            return torch.complex(tensor.neg(), tensor.neg()).conj().imag
        case 6 if tensor.shape[axis] == 1:  # a step that is never taken
            steps = list(tensor.stride())
            steps[axis] = randomness.choice([0, 1, 10**9])
            return tensor.as_strided(tensor.shape, steps, tensor.storage_offset())
        case _:
            return tensor


def viewed(randomness: Random, call: Call) -> Call:
    """The call with all of its tensors as views."""
    operands = {name: as_view(randomness, tensor) for name, tensor in call.operands.items()}
    probes = {name: as_view(randomness, tensor) for name, tensor in call.probes.items()}
    return Call(call.operator, operands, call.arguments, probes)
