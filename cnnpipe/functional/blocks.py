"""Normalise, ReLU and max pooling in one pass over memory, forward and backward.

Between two convolutions of a network lie operators that compute little and read and write much.
Here the numbers of one window stay in registers from the first of these operators to the last:

    x̂ = (x − μ)/√(σ² + ε),  y = max over 2×2 of max(0, γ·x̂ + β)

The backward pass computes x̂ and the winner of each window again, instead of keeping them.

Source: Ioffe, Szegedy: Batch normalization (2015), section 3, for the derivative.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cnnpipe.functional.compiled import total
from cnnpipe.loops import Array, Index, Nest, Vector, compiled


@dataclass(frozen=True)
class _Case:
    """What code is compiled for: all but the number of images."""

    dtype: str
    height: int
    width: int
    channels: int
    pool: int
    """Side of the pooling's window, which is also its stride; 1 is none."""
    has_norm: bool

    @property
    def lanes(self) -> int:
        most = 16 if self.dtype == "float32" else 8
        return most if self.channels > most // 2 else most // 2

    @property
    def vectors(self) -> int:
        return -(-self.channels // self.lanes)

    @property
    def rows(self) -> int:
        return self.height // self.pool

    @property
    def columns(self) -> int:
        return self.width // self.pool

    def inputs(self, nest: Nest) -> Array:
        C = self.channels
        return nest.array(self.dtype, self.height * self.width * C, self.width * C, C)

    def outputs(self, nest: Nest) -> Array:
        C = self.channels
        return nest.array(self.dtype, self.rows * self.columns * C, self.columns * C, C)

    def parts(self, nest: Nest) -> Array:
        """Two numbers for each channel and image."""
        return nest.array(self.dtype, 2 * self.channels, self.channels)

    def filled(self, vector: Index) -> Index | None:
        return self.channels - vector * self.lanes if self.channels % self.lanes else None

    def vectors_of_pixel(self, nest: Nest) -> Any:
        for vector in nest.range(self.vectors):
            yield vector * self.lanes, {"lanes": self.lanes, "first": self.filled(vector)}


@compiled
def _statistics(nest: Nest, case: _Case) -> None:
    """One task: mean and sum of squared distances from it, of each channel of one image."""
    x, parts = case.inputs(nest), case.parts(nest)
    image, (H, W) = nest.task, (case.height, case.width)
    count = nest.number(H * W, case.dtype, case.lanes)
    for c, lanes in case.vectors_of_pixel(nest):
        zero = nest.number(0.0, case.dtype, case.lanes)
        chains = [nest.variable(zero) for _ in range(_chains(W))]
        for row in nest.range(H):
            for column in nest.range(0, W, len(chains)):
                for k, chain in enumerate(chains):
                    chain.value = chain.value + x.load(image, row, column + k, c, **lanes)
        mean = _sum(chains) / count
        for chain in chains:
            chain.value = zero
        for row in nest.range(H):
            for column in nest.range(0, W, len(chains)):
                for k, chain in enumerate(chains):
                    distance = x.load(image, row, column + k, c, **lanes) - mean
                    chain.value = nest.fma(distance, distance, chain.value)
        parts.store(mean, image, 0, c, first=lanes["first"])
        parts.store(_sum(chains), image, 1, c, first=lanes["first"])


@compiled
def _combined(nest: Nest, case: _Case) -> None:
    """The only task: mean and biased variance of all images from those of each (Chan et al.)."""
    images = nest.size()
    parts, statistics = case.parts(nest), nest.array(case.dtype, case.channels)
    pixels = nest.number(case.height * case.width, case.dtype, case.lanes)
    count = nest.repeated(nest.converted(images, case.dtype), case.lanes)
    for c, lanes in case.vectors_of_pixel(nest):
        total, squares = (nest.variable(nest.number(0.0, case.dtype, case.lanes)) for _ in "ab")
        for image in nest.range(images):
            total.value = total.value + parts.load(image, 0, c, **lanes)
        mean = total.value / count
        for image in nest.range(images):
            distance = parts.load(image, 0, c, **lanes) - mean
            within = parts.load(image, 1, c, **lanes)
            squares.value = squares.value + nest.fma(distance * distance, pixels, within)
        statistics.store(mean, 0, c, first=lanes["first"])
        statistics.store(squares.value / (count * pixels), 1, c, first=lanes["first"])


class _Channel:
    """What one vector of channels is normalised with."""

    def __init__(self, nest: Nest, case: _Case, numbers: Array | None, c: Index, lanes: Any) -> None:
        self._nest, self._case = nest, case
        if numbers is not None:  # mean, variance, ε, γ, β
            mean, variance, epsilon, gamma, beta = (numbers.load(k, c, **lanes) for k in range(5))
            one = nest.number(1.0, case.dtype, case.lanes)
            self.mean, self.gamma, self.beta = mean, gamma, beta
            self.inverse = one / nest.square_root(variance + epsilon)
            self.scale = gamma * self.inverse

    def normalised(self, x: Vector) -> Vector:
        """x̂."""
        return (x - self.mean) * self.inverse

    def output(self, x: Vector) -> Vector:
        """max(0, γ·x̂ + β)."""
        zero = self._nest.number(0.0, self._case.dtype, self._case.lanes)
        if self._case.has_norm:
            x = self._nest.fma(x - self.mean, self.scale, self.beta)
        return self._nest.maximum(x, zero)


@compiled
def _forward(nest: Nest, case: _Case) -> None:
    """One task: one image."""
    x, y = case.inputs(nest), case.outputs(nest)
    numbers = nest.array(case.dtype, case.channels) if case.has_norm else None
    image = nest.task
    for c, lanes in case.vectors_of_pixel(nest):
        channel = _Channel(nest, case, numbers, c, lanes)
        for row in nest.range(case.rows):
            for column in nest.range(case.columns):
                window = [
                    channel.output(x.load(image, *place, c, **lanes))
                    for place in _window(case, row, column)
                ]
                largest = window[0]
                for entry in window[1:]:
                    largest = nest.maximum(largest, entry)
                y.store(largest, image, row, column, c, first=lanes["first"])


def _routed(nest: Nest, case: _Case, channel: _Channel, entries: list[Vector], g: Vector) -> list[Vector]:
    """The gradient before the normalisation: the window's winner gets g·[y ≠ 0], others nothing."""
    zero, one = (nest.number(v, case.dtype, case.lanes) for v in (0.0, 1.0))
    outputs = [channel.output(x) for x in entries]
    largest, wins = outputs[0], [None]
    for entry in outputs[1:]:
        larger = nest.either_of(entry.compare(">", largest), entry.is_nan())
        largest = nest.where(larger, entry, largest)
        wins.append(larger)
    slope = nest.where(largest.compare("==", zero), zero, one)
    gated = g * slope
    routed: list[Vector] = []
    taken = None
    for larger in reversed(wins):  # the last one that was larger than all before
        if larger is None:
            routed.append(gated if taken is None else nest.where(taken, zero, gated))
        else:
            mine = larger if taken is None else nest.but_not(larger, taken)
            routed.append(nest.where(mine, gated, zero))
            taken = larger if taken is None else nest.either_of(taken, larger)
    return routed[::-1]


@compiled
def _gradient_sums(nest: Nest, case: _Case) -> None:
    """One task: Σ g·x̂ and Σ g of one image, g being the gradient of γ·x̂ + β."""
    x, g, parts = case.inputs(nest), case.outputs(nest), case.parts(nest)
    numbers = nest.array(case.dtype, case.channels)
    image = nest.task
    for c, lanes in case.vectors_of_pixel(nest):
        channel = _Channel(nest, case, numbers, c, lanes)
        zero = nest.number(0.0, case.dtype, case.lanes)
        n = _chains(case.columns)
        products, sums = ([nest.variable(zero) for _ in range(n)] for _ in "ab")
        for row in nest.range(case.rows):
            for column in nest.range(0, case.columns, n):
                for k in range(n):
                    upstream = g.load(image, row, column + k, c, **lanes)
                    places = _window(case, row, column + k)
                    entries = [x.load(image, *place, c, **lanes) for place in places]
                    for entry, routed in zip(entries, _routed(nest, case, channel, entries, upstream)):
                        products[k].value = nest.fma(routed, channel.normalised(entry), products[k].value)
                        sums[k].value = sums[k].value + routed
        parts.store(_sum(products), image, 0, c, first=lanes["first"])
        parts.store(_sum(sums), image, 1, c, first=lanes["first"])


@compiled
def _input_gradient(nest: Nest, case: _Case, training: bool) -> None:
    """One task: one image."""
    x, g, dx = case.inputs(nest), case.outputs(nest), case.inputs(nest)
    numbers = nest.array(case.dtype, case.channels) if case.has_norm else None
    means = nest.array(case.dtype, case.channels) if training else None
    image = nest.task
    for c, lanes in case.vectors_of_pixel(nest):
        channel = _Channel(nest, case, numbers, c, lanes)
        if means:
            mean_product, mean = (means.load(k, c, **lanes) for k in range(2))

        def write(place: tuple[Index, Index], entry: Vector, part: Vector) -> None:
            if training:
                part = part - nest.fma(channel.normalised(entry), mean_product, mean)
            if case.has_norm:
                part = part * channel.scale
            dx.store(part, image, *place, c, first=lanes["first"])

        for row in nest.range(case.rows):
            for column in nest.range(case.columns):
                places = _window(case, row, column)
                entries = [x.load(image, *place, c, **lanes) for place in places]
                upstream = g.load(image, row, column, c, **lanes)
                routed = _routed(nest, case, channel, entries, upstream)
                for place, entry, part in zip(places, entries, routed):
                    write(place, entry, part)
        # The last row and column of an odd size, which no window covers.
        zero = nest.number(0.0, case.dtype, case.lanes)
        for row, column in _uncovered(nest, case):
            write((row, column), x.load(image, row, column, c, **lanes), zero)


def _uncovered(nest: Nest, case: _Case) -> Iterator[tuple[Index, Index]]:
    below, beside = case.rows * case.pool, case.columns * case.pool
    for row in nest.range(below):
        for column in nest.range(beside, case.width):
            yield row, column
    for row in nest.range(below, case.height):
        for column in nest.range(case.width):
            yield row, column


def _window(case: _Case, row: Index, column: Index) -> list[tuple[Index, Index]]:
    s = case.pool
    return [(row * s + i, column * s + j) for i in range(s) for j in range(s)]


def _chains(width: int) -> int:
    """Sums that grow side by side, so that no addition waits for the one before."""
    return next(count for count in (4, 2, 1) if width % count == 0)


def _sum(chains: Any) -> Vector:
    first, *others = chains
    result = first.value
    for chain in others:
        result = result + chain.value
    return result


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, statistics, eps, pool, training):
        N, C, H, W = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        case = _Case(str(x.dtype).removeprefix("torch."), H, W, C, pool, weight is not None)
        y = x.new_empty((N, case.rows, case.columns, C))
        numbers = []
        if weight is not None:
            epsilon = x.new_full((1, C), eps)
            numbers = [torch.cat([statistics, epsilon, weight[None], bias[None]])]
        _forward(case)(N, x, y, *numbers)
        ctx.case, ctx.training = case, training
        ctx.save_for_backward(x, *numbers)
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, g):
        x, *numbers = ctx.saved_tensors
        case, N = ctx.case, len(x)
        g = g.contiguous(memory_format=torch.channels_last)
        dx = x.new_empty((N, case.height, case.width, case.channels))
        if not numbers:
            _input_gradient(case, False)(N, x, g, dx)
            return dx.permute(0, 3, 1, 2), *[None] * 6
        parts = x.new_empty((N, 2, case.channels))
        _gradient_sums(case)(N, x, g, parts, *numbers)
        sums = total(parts)
        means = [sums / (N * case.height * case.width)] if ctx.training else []
        _input_gradient(case, ctx.training)(N, x, g, dx, *numbers, *means)
        return dx.permute(0, 3, 1, 2), sums[0], sums[1], *[None] * 4


def batch_statistics(x: Tensor) -> Tensor:
    N, C, H, W = x.shape
    x = x.contiguous(memory_format=torch.channels_last)
    case = _Case(str(x.dtype).removeprefix("torch."), H, W, C, 1, True)
    parts = x.new_empty((N, 2, C))
    _statistics(case)(N, x, parts)
    statistics = x.new_empty((2, C))
    _combined(case)(1, N, parts, statistics)
    return statistics


def block(x, norm, pool):
    if norm is None:
        return _Block.apply(x, None, None, None, 0.0, pool, False)
    if norm.training:
        with torch.no_grad():
            statistics = batch_statistics(x)
            M = x.numel() // x.shape[1]
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(statistics[0], norm.momentum)
            norm.running_var.lerp_(statistics[1] * (M / (M - 1)), norm.momentum)
    else:
        statistics = torch.stack([norm.running_mean, norm.running_var])
    return _Block.apply(x, norm.weight, norm.bias, statistics, norm.eps, pool, norm.training)
