"""Strategies for calls of the operators: any shapes, arguments, numbers and views in memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from cnnpipe.geometry import output_size, window_extent
from cnnpipe.verify.cases import INTEGERS, Values, draw_probes, random_numbers
from cnnpipe.verify.reference import LONG_STEP, Call

DTYPES = (torch.float64, torch.float64, torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Half of the calls have the bound that leaves least room."""
WIDE = (torch.float64, torch.float32)
LONG_STEPS = (LONG_STEP, 2**62)

seeds = st.integers(0, 2**32 - 1)
one_in_five = st.integers(0, 4).map(lambda number: number == 4)


@functools.cache  # making a strategy takes longer than drawing from it
def choice(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


@st.composite
def convolutions(
    draw: st.DrawFn,
    *,
    dtypes: Sequence[torch.dtype] = DTYPES,
    batched: bool = False,
    four_sides: bool = False,
) -> Call:
    """Any convolution; half of them with stride 1, dilation 1 and one group, as most are.

    Args:
        dtypes: to choose from.
        batched: only batches of two or three images.
        four_sides: also other padding at the end than at the start; see `tests.helpers.oracle`.
    """
    dtype, operator = draw(choice(*dtypes)), draw(choice(*["conv2d"] * 3, "convolve2d"))
    plain = draw(st.booleans())
    axes = [draw(_convolution_axes(plain)) for _ in range(2)]
    sizes, kernel_size, strides, paddings, dilations = (list(x) for x in zip(*axes, strict=True))
    groups = 1 if plain else draw(choice(1, 1, 2, 3, 5))
    channels = [draw(choice(1, 1, 2, 3, 4, 5)) for _ in range(2)]
    if draw(one_in_five):  # as many as a vector of the compiled loops has lanes, and one more
        channels = [draw(choice(8, 9, 16, 17)) for _ in range(2)]
    padding: Any = one_or_both(draw, paddings)
    kind = draw(st.integers(0, 9))
    if kind == 9:
        spans = [window_extent(k, d) for k, d in zip(kernel_size, dilations, strict=True)]
        fits = all(size >= span for size, span in zip(sizes, spans, strict=True))
        padding, strides = ("valid", strides) if fits else ("same", [1, 1])
    elif kind >= 7 and four_sides and operator == "conv2d":
        more = [draw(st.integers(0, 3)) for _ in range(2)]
        padding = (paddings[0], paddings[0] + more[0], paddings[1] + more[1], paddings[1])
    shapes: dict[str, Sequence[int]] = {
        "input": (*batch_of(draw, batched), groups * channels[0], *sizes),
        "weight": (groups * channels[1], channels[0], *kernel_size),
    }
    if draw(st.booleans()):
        shapes["bias"] = (groups * channels[1],)
    arguments = {
        "stride": one_or_both(draw, strides),
        "padding": padding,
        "dilation": one_or_both(draw, dilations),
        "groups": groups,
    }
    return draw(_calls(operator, shapes, dtype, arguments))


@st.composite
def _convolution_axes(draw: st.DrawFn, plain: bool) -> tuple[int, int, int, int, int]:
    """Size, kernel size, stride, padding and dilation of one axis, with room for a window."""
    kernel_size = draw(choice(1, 2, 3, 3, 4, 5, 5, 7, 8))
    dilation = stride = 1
    if not plain:
        dilation = draw(choice(1, 1, 2, 3, 4))
        stride = draw(choice(1, 2, 2, 3, 7, *LONG_STEPS))
        if kernel_size == 1 and draw(one_in_five):
            dilation = draw(choice(*LONG_STEPS))
    extent = window_extent(kernel_size, dilation)
    padding = draw(choice(0, 0, 1, kernel_size // 2, kernel_size, *range(9)))
    size = max(1, extent - 2 * padding) + draw(choice(0, 0, 0, 1, 1, 2, 2, *range(12)))
    if draw(one_in_five):
        size = max(size, draw(choice(2, 3, 5, 7, 11, 13, 17)))
    return size, kernel_size, stride, padding, dilation


@st.composite
def poolings(
    draw: st.DrawFn, *, dtypes: Sequence[torch.dtype] = DTYPES, batched: bool = False
) -> Call:
    """Any pooling whose windows all see a pixel; if one does not, torch writes out of bounds."""
    dtype = draw(choice(*dtypes))
    maximum = dtype in INTEGERS or draw(st.booleans())
    dilated = maximum and draw(st.booleans())
    ceil_mode = draw(st.booleans())
    axes = [draw(_pooling_axes(dilated, ceil_mode)) for _ in range(2)]
    sizes, kernel_size, strides, paddings, dilations = (list(x) for x in zip(*axes, strict=True))
    shape = (*batch_of(draw, batched), draw(choice(1, 1, 2, 3, 5)), *sizes)
    arguments: dict[str, Any] = {
        "kernel_size": one_or_both(draw, kernel_size),
        "stride": None if strides == kernel_size else one_or_both(draw, strides),
        "padding": one_or_both(draw, paddings),
        "ceil_mode": ceil_mode,
    }
    if maximum:
        arguments["dilation"] = one_or_both(draw, dilations)
        arguments["return_indices"] = draw(st.booleans())
    else:
        arguments["count_include_pad"] = draw(st.booleans())
        arguments["divisor_override"] = draw(choice(None, None, 1, 7, -3))
    operator = "max_pool2d" if maximum else "avg_pool2d"
    return draw(_calls(operator, {"input": shape}, dtype, arguments))


@st.composite
def _pooling_axes(
    draw: st.DrawFn, dilated: bool, ceil_mode: bool
) -> tuple[int, int, int, int, int]:
    while True:
        kernel_size = draw(choice(1, 2, 2, 3, 3, 4, 5, 7))
        dilation = draw(choice(1, 2, 3, 5)) if dilated else 1
        if dilated and kernel_size == 1 and draw(one_in_five):
            dilation = draw(choice(*LONG_STEPS))
        padding = draw(st.integers(0, kernel_size // 2))
        stride = draw(choice(kernel_size, kernel_size, 1, 2, 3, 4, *LONG_STEPS))
        size = draw(choice(1, 2, 3, 4, 5, 7, 8, 11, 13, *range(1, 20)))
        if _sees_pixels(size, kernel_size, stride, padding, dilation, ceil_mode):
            return size, kernel_size, stride, padding, dilation


def _sees_pixels(
    size: int, kernel_size: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> bool:
    """Whether the window fits and none of its places lies in the padding only."""
    try:
        count = output_size(size, kernel_size, stride, padding, dilation, ceil_mode)
    except ValueError:
        return False
    starts = [window * stride - padding for window in range(count)]
    return all(
        any(0 <= start + tap * dilation < size for tap in range(kernel_size)) for start in starts
    )


@st.composite
def activations(draw: st.DrawFn, *, dtypes: Sequence[torch.dtype] = DTYPES) -> Call:
    """An activation of a tensor with 0 to 5 axes."""
    operator, dtype = draw(choice("relu", "sigmoid", "tanh")), draw(choice(*dtypes))
    axes = draw(choice(*range(6)))
    shape = [draw(choice(0, 1, 1, 2, 3, 5, 7)) for _ in range(axes)]
    x = draw(numbers(shape, dtype)) * draw(choice(1, 1, 5, 30))
    if draw(st.booleans()):
        x = x.round()  # zeros of both signs, where the slope of the ReLU jumps
    # The reference knows the terms of an input that requires a gradient only.
    probes = {name: draw(numbers(shape, dtype)) for name in ("upstream", "input")}
    return Call(operator, {"input": x}, {}, probes)


@st.composite
def normalizations(draw: st.DrawFn, *, dtypes: Sequence[torch.dtype] = DTYPES) -> Call:
    """Batch normalisation of a batch with 2 to 5 axes, in training or in evaluation."""
    dtype, training = draw(choice(*dtypes)), draw(st.booleans())
    C = draw(choice(1, 2, 3, 5))
    sizes = [draw(choice(1, 2, 3, 4)) for _ in range(draw(st.integers(0, 3)))]
    shapes: dict[str, Sequence[int]] = {"input": (draw(choice(0, 2, 2, 3, 8)), C, *sizes)}
    names = [] if training else ["running_mean", "running_var"]
    names += [name for name in ("weight", "bias") if draw(st.booleans())]
    # Where a channel varies little, derivatives have powers of 1/√eps, too large for 16 bits.
    eps = draw(choice(1e-5, 0.1, 1.0) if dtype in WIDE else choice(0.5, 1.0))
    shapes |= dict.fromkeys(names, (C,))
    call = draw(_calls("batch_norm", shapes, dtype, {"training": training, "eps": eps}))
    positive = {name: x.abs() for name, x in call.operands.items() if name == "running_var"}
    return replace(call, operands={**call.operands, **positive})


@st.composite
def linears(
    draw: st.DrawFn, *, dtypes: Sequence[torch.dtype] = DTYPES, batched: bool = False
) -> Call:
    """A fully connected layer behind any number of axes."""
    count = 1 if batched else draw(choice(0, 1, 1, 2))
    axes = [draw(choice(2, 3) if batched else choice(0, 1, 2, 3, 5)) for _ in range(count)]
    in_features, out_features = (draw(choice(1, 2, 3, 5, 8, 17)) for _ in range(2))
    shapes: dict[str, Sequence[int]] = {
        "input": (*axes, in_features),
        "weight": (out_features, in_features),
    }
    if draw(st.booleans()):
        shapes["bias"] = (out_features,)
    return draw(_calls("linear", shapes, draw(choice(*dtypes)), {}))


@st.composite
def losses(draw: st.DrawFn, *, dtypes: Sequence[torch.dtype] = DTYPES) -> Call:
    """A cross-entropy; the reference knows the terms of logits that require a gradient only."""
    dtype, rows = draw(choice(*dtypes)), draw(choice(1, 2, 3, 7, 64))
    shape = rows, draw(choice(1, 2, 3, 10, 33))
    logits = draw(numbers(shape, dtype)) * draw(choice(1, 1, 5, 30))
    targets = draw(st.lists(st.integers(0, shape[1] - 1), min_size=rows, max_size=rows))
    probes = {"upstream": draw(numbers((), dtype)), "input": draw(numbers(shape, dtype))}
    arguments = {"label_smoothing": draw(choice(0.0, 0.05, 0.5, 1.0))}
    operands = {"input": logits, "target": torch.tensor(targets)}
    return Call("cross_entropy", operands, arguments, probes)


def any_calls(
    dtypes: Sequence[torch.dtype] = DTYPES, *, batched: bool = False
) -> st.SearchStrategy[Call]:
    """A call of any operator."""
    return (
        convolutions(dtypes=dtypes, batched=batched)
        | poolings(dtypes=dtypes, batched=batched)
        | activations(dtypes=dtypes)
        | linears(dtypes=dtypes, batched=batched)
    )


@st.composite
def small_calls(draw: st.DrawFn, dtypes: Sequence[torch.dtype] = (torch.float64,)) -> Call:
    """Any call that is not empty, and small: a Jacobian has a number for each pair of numbers."""
    call = draw(
        any_calls(dtypes).filter(
            lambda call: (
                sum(sizes := [tensor.numel() for tensor in call.tensors]) < 400 and all(sizes)
            )
        )
    )
    return replace(call, operands={name: x.clamp(-1, 1) for name, x in call.operands.items()})


def batch_of(draw: st.DrawFn, batched: bool) -> list[int]:
    if batched:
        return [draw(choice(2, 3))]
    return [] if draw(st.integers(0, 9)) == 9 else [draw(choice(1, 0, 1, 2, 2, 3, 5))]


def one_or_both(draw: st.DrawFn, pair: Sequence[int]) -> int | tuple[int, ...]:
    """A pair of equal numbers may be written as one."""
    return pair[0] if pair[0] == pair[1] and draw(st.booleans()) else tuple(pair)


@st.composite
def _calls(
    draw: st.DrawFn,
    operator: str,
    shapes: Mapping[str, Sequence[int]],
    dtype: torch.dtype,
    arguments: Mapping[str, Any],
) -> Call:
    """Numbers for the operands, the output's gradient and those of some operands' gradients."""

    def drawn(shape: Sequence[int]) -> Tensor:
        return draw(numbers(shape, dtype))

    operands = {name: drawn(shape) for name, shape in shapes.items()}
    frozen = [name for name in operands if draw(choice(True, False, False, False))]
    probes = draw_probes(operator, operands, arguments, drawn, frozen)
    return Call(operator, operands, arguments, probes)


@st.composite
def numbers(draw: st.DrawFn, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Random numbers of one of several kinds; the sums of all are far from overflow."""
    generator = torch.Generator().manual_seed(draw(seeds))
    if not dtype.is_floating_point:
        return random_numbers(shape, draw(choice("uniform", "negative", "large")), dtype, generator)
    values: Values = draw(choice(*["uniform"] * 7, "negative", "ties", "ties"))
    drawn = random_numbers(shape, values, torch.float64, generator)
    match draw(st.integers(0, 9)):
        case 9:  # every window a tie
            drawn.fill_(draw(choice(-1.0, 0.0, 0.5)))
        case 8:  # zeros of both signs, and a few other numbers
            drawn = torch.where(drawn.abs() < 0.9, 0.0 * drawn, drawn)
        case 7:  # near the smallest number of the dtype: some are subnormal
            drawn *= 2 * torch.finfo(dtype).smallest_normal
        case 6 if torch.finfo(dtype).bits > 16:
            drawn *= 2.0 ** draw(st.integers(-20, 20))
    return drawn.to(dtype)


@st.composite
def with_not_finite(draw: st.DrawFn, calls: st.SearchStrategy[Call]) -> Call:
    """A call in which some tensors have up to three numbers that are NaN or infinite."""
    call = draw(calls)
    tensors = {**call.operands, "upstream": call.probes["upstream"]}
    for name in draw(st.lists(st.sampled_from(list(tensors)), min_size=1, unique=True)):
        if tensors[name].numel():
            tensors[name] = tensors[name].clone()
            for _ in range(draw(st.integers(1, 3))):
                place = draw(st.integers(0, tensors[name].numel() - 1))
                tensors[name].view(-1)[place] = draw(choice(math.nan, math.inf, -math.inf))
    probes = {**call.probes, "upstream": tensors.pop("upstream")}
    return replace(call, operands=tensors, probes=probes)


@st.composite
def viewed(draw: st.DrawFn, calls: st.SearchStrategy[Call]) -> Call:
    """A call with all of its tensors as views."""
    call = draw(calls)
    operands, probes = (
        {name: draw(_views(tensor)) for name, tensor in tensors.items()}
        for tensors in (call.operands, call.probes)
    )
    return replace(call, operands=operands, probes=probes)


@st.composite
def _views(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    """The same shape and, except for repeated ones, the same numbers, in any order in memory."""
    for _ in range(draw(st.integers(1, 3))):
        tensor = draw(_one_view(tensor))
    return tensor


@st.composite
def _one_view(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    if not tensor.ndim:
        return torch.stack([tensor, tensor])[1]
    axis = draw(st.integers(0, tensor.ndim - 1))
    match draw(st.integers(0, 7)):
        case 0:  # any order of axes in memory; channels last is one of them
            order = draw(st.permutations(range(tensor.ndim)))
            back = [order.index(axis) for axis in range(tensor.ndim)]
            return tensor.permute(order).contiguous().permute(back)
        case 1:  # every second or third number
            step = draw(choice(2, 3))
            offset = draw(st.integers(0, step - 1))
            wide = tensor.repeat_interleave(step, axis)
            return wide[(*[slice(None)] * axis, slice(offset, None, step))]
        case 2:  # one number, many times: stride 0
            return tensor.narrow(axis, 0, min(1, tensor.shape[axis])).expand_as(tensor)
        case 3:  # a part of a larger tensor
            before, after = (draw(st.integers(0, 2)) for _ in range(2))
            ends = [tensor.narrow(axis, 0, min(n, tensor.shape[axis])) for n in (before, after)]
            wide = torch.cat([ends[0], tensor, ends[1]], axis)
            return wide.narrow(axis, ends[0].shape[axis], tensor.shape[axis])
        case 4:  # neighbours overlap in memory, as windows do
            line = tensor.reshape(-1)
            steps = [draw(choice(0, 1, 1, 2)) for _ in tensor.shape]
            last = sum(max(0, n - 1) * s for n, s in zip(tensor.shape, steps, strict=True))
            return tensor if last >= len(line) else line.as_strided(tensor.shape, steps)
        case 5 if tensor.dtype in WIDE:  # negated when read
            return torch.complex(tensor.neg(), tensor.neg()).conj().imag
        case 6 if tensor.shape[axis] == 1:  # a step that is never taken
            steps = list(tensor.stride())
            steps[axis] = draw(choice(0, 1, 10**9))
            return tensor.as_strided(tensor.shape, steps, tensor.storage_offset())
        case _:
            return tensor
