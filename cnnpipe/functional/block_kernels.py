"""Batch normalisation, ReLU and max pooling in one pass over memory, as compiled loops.

Between two convolutions lie operators that compute little, and read and write much. Here the
numbers of a window stay in registers from the first of these operators to the last:

    x̂ = (x − μ)/√(σ² + ε),   y = max over the window of max(0, γ·x̂ + β)

The backward pass computes x̂ and each window's winner again instead of keeping them. Its formulas
are those of normalization.py and pooling.py. One task is one image; sums over images are added up
afterwards, in the order of the images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypedDict, TypeVar

import torch
from torch import Tensor

from cnnpipe.functional import loops
from cnnpipe.functional.compiled_kernels import total
from cnnpipe.functional.loops import Array, Index, Nest, Variable, Vector, compiled, dtype_name

T = TypeVar("T")


@dataclass(frozen=True)
class Block:
    """What code is compiled for: all but the number of images."""

    dtype: str
    height: int
    width: int
    channels: int
    epsilon: float | None = None
    """Added to the variance; None: nothing is normalised."""
    has_relu: bool = False
    pool: int = 1
    """Side of the pooling's window and its stride."""

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        dtype: torch.dtype,
        epsilon: float | None = None,
        has_relu: bool = False,
        pool: int = 1,
    ) -> Block:
        """For images (N, C, H, W)."""
        _, C, H, W = shape
        return cls(dtype_name(dtype), H, W, C, epsilon, has_relu, pool)

    @property
    def lanes(self) -> int:
        most = 16 if self.dtype == "float32" else 8
        return most if self.channels > most // 2 else most // 2

    @property
    def rows(self) -> int:
        return self.height // self.pool

    @property
    def columns(self) -> int:
        return self.width // self.pool

    def inputs(self, nest: Nest) -> Array:
        """The next argument: (N, H, W, C)."""
        C = self.channels
        return nest.array(self.dtype, self.height * self.width * C, self.width * C, C)

    def outputs(self, nest: Nest) -> Array:
        """The next argument: (N, H_out, W_out, C)."""
        C = self.channels
        return nest.array(self.dtype, self.rows * self.columns * C, self.columns * C, C)

    def pairs(self, nest: Nest) -> Array:
        """The next argument, two numbers for each channel of each image: (N, 2, C)."""
        return nest.array(self.dtype, 2 * self.channels, self.channels)

    def number(self, nest: Nest, value: float) -> Vector:
        return nest.number(value, self.dtype, self.lanes)


def statistics(x: Tensor) -> Tensor:
    """Mean and biased variance of each channel: (N, C, H, W), channels last → (2, C)."""
    block = Block.of(x.shape, x.dtype)
    pairs = x.new_empty((x.shape[0], 2, block.channels))
    _statistics(block)(x.shape[0], x, pairs)
    result = x.new_empty((2, block.channels))
    _combined(block)(1, x.shape[0], pairs, result)
    return result


def move(mean: Tensor, variance: Tensor, target: Tensor, momentum: float, factor: float) -> None:
    """Move a mean and a variance (C,) in place towards (μ, factor·σ²) (2, C)."""
    channels = len(mean)
    numbers = _numbers(momentum, factor, target.dtype)
    _moved(dtype_name(target.dtype))(1, channels, target, numbers, mean, variance)


@lru_cache(256)
def _numbers(momentum: float, factor: float, dtype: torch.dtype) -> Tensor:
    return torch.tensor([momentum, factor], dtype=dtype)


def forward(block: Block, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """y of images with channels last; the parameters are (μ, σ²), γ and β, or none.

    Shape:
        x (N, C, H, W), (μ, σ²) (2, C), γ (C,), β (C,) → (N, C, H // pool, W // pool);
        x (N, C), images of one pixel → (N, C)
    """
    if block.pool == 1:
        y = torch.empty_like(x)
    else:
        shape = x.shape[0], block.channels, block.rows, block.columns
        y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)  # no view
    _forward(block)(x.shape[0], x, y, *parameters)
    return y


def sums(block: Block, g: Tensor, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Σ g'·x̂ and Σ g' (2, C), where g' is the gradient that reaches γ·x̂ + β."""
    pairs = x.new_empty((x.shape[0], 2, block.channels))
    _sums(block)(x.shape[0], g, x, pairs, *parameters)
    return total(pairs)


def input_gradient(
    block: Block, g: Tensor, x: Tensor, parameters: Sequence[Tensor], means: Tensor | None = None
) -> Tensor:
    """∂L/∂x; in training `means` are the `sums` divided by the numbers of a channel."""
    dx = torch.empty_like(x)
    further = parameters if means is None else (*parameters, means)
    _input_gradient(block, means is not None)(x.shape[0], g, x, dx, *further)
    return dx


class _Lanes(TypedDict):
    lanes: int
    first: int | Index | None


def _vectors(nest: Nest, block: Block) -> Iterator[tuple[Index, _Lanes]]:
    """The vectors of a pixel: first channel, and what a load or store of it needs."""
    is_full = block.channels % block.lanes == 0
    for c in nest.range(0, block.channels, block.lanes):
        yield c, {"lanes": block.lanes, "first": None if is_full else block.channels - c}


@compiled
def _statistics(nest: Nest, block: Block) -> None:
    """Mean and Σ (x − mean)² of each channel of the image."""
    x, pairs = block.inputs(nest).at(nest.task), block.pairs(nest).at(nest.task)
    count, zero = block.number(nest, block.height * block.width), block.number(nest, 0.0)
    for c, lanes in _vectors(nest, block):
        sums = _chains(nest, block.width, zero)
        for row in nest.range(block.height):
            for column, chain in _columns(nest, block.width, sums):
                chain.value = chain.value + x.load(row, column, c, **lanes)
        mean = _sum(sums) / count
        squares = _chains(nest, block.width, zero)
        for row in nest.range(block.height):
            for column, chain in _columns(nest, block.width, squares):
                distance = x.load(row, column, c, **lanes) - mean
                chain.value = nest.fma(distance, distance, chain.value)
        pairs.store(mean, 0, c, first=lanes["first"])
        pairs.store(_sum(squares), 1, c, first=lanes["first"])


@compiled
def _combined(nest: Nest, block: Block) -> None:
    """The only task: mean and variance of all images from those of each.

    Source: Chan, Golub, LeVeque: Algorithms for computing the sample variance (1983).
    """
    count = nest.size()
    pairs, result = block.pairs(nest), nest.array(block.dtype, block.channels)
    pixels, zero = block.number(nest, block.height * block.width), block.number(nest, 0.0)
    images = nest.repeated(nest.converted(count, block.dtype), block.lanes)
    for c, lanes in _vectors(nest, block):
        means, squares = nest.variable(zero), nest.variable(zero)
        for image in nest.range(count):
            means.value = means.value + pairs.load(image, 0, c, **lanes)
        mean = means.value / images
        for image in nest.range(count):
            distance = pairs.load(image, 0, c, **lanes) - mean
            within = pairs.load(image, 1, c, **lanes)
            squares.value = squares.value + nest.fma(distance * distance, pixels, within)
        result.store(mean, 0, c, first=lanes["first"])
        result.store(squares.value / (images * pixels), 1, c, first=lanes["first"])


@compiled
def _moved(nest: Nest, dtype: str) -> None:
    """The only task: one running statistic after the other."""
    channels = nest.size()
    target, numbers = nest.array(dtype, channels), nest.array(dtype)
    running = [nest.array(dtype) for _ in range(2)]
    lanes = loops.lanes(dtype)
    momentum, factor = (numbers.broadcast(k, lanes=lanes) for k in range(2))
    for c in nest.range(0, channels, lanes):
        first = channels - c
        mean, variance = (target.load(k, c, lanes=lanes, first=first) for k in range(2))
        for array, new in zip(running, (mean, variance * factor), strict=True):
            old = array.load(c, lanes=lanes, first=first)
            array.store(nest.fma(new - old, momentum, old), c, first=first)


class _Parameters:
    """The next arguments, (μ, σ²), γ and β, unless nothing is normalised."""

    def __init__(self, nest: Nest, block: Block) -> None:
        self._nest, self._block = nest, block
        if block.epsilon is not None:
            self._statistics = nest.array(block.dtype, block.channels)
            self._weight, self._bias = nest.array(block.dtype), nest.array(block.dtype)

    def load(self, c: Index, lanes: _Lanes) -> None:
        """Those of one vector of channels."""
        block = self._block
        if block.epsilon is not None:
            self._mean, variance = (self._statistics.load(k, c, **lanes) for k in range(2))
            root = self._nest.square_root(variance + block.number(self._nest, block.epsilon))
            self._inverse = block.number(self._nest, 1.0) / root
            self.scale = self._weight.load(c, **lanes) * self._inverse
            self._shift = self._bias.load(c, **lanes)

    def normalised(self, x: Vector) -> Vector:
        """x̂."""
        return (x - self._mean) * self._inverse

    def output(self, x: Vector) -> Vector:
        """γ·x̂ + β, not less than 0 with ReLU."""
        if self._block.epsilon is not None:
            x = self._nest.fma(x - self._mean, self.scale, self._shift)
        if self._block.has_relu:
            x = self._nest.maximum(x, self._block.number(self._nest, 0.0))
        return x

    def routed(self, g: Vector, window: Sequence[Vector]) -> list[Vector]:
        """What reaches each number of a window before ReLU and pooling.

        All of it goes to the winner, the first of equal ones, times the slope of ReLU, which is 1
        where its output is not 0.
        """
        nest, zero = self._nest, self._block.number(self._nest, 0.0)
        largest, *others = (self.output(x) for x in window)
        is_larger = []
        for y in others:
            is_larger.append(nest.logical_or(y.compare(">", largest), y.is_nan()))
            largest = nest.where(is_larger[-1], y, largest)
        if self._block.has_relu:
            is_zero = largest.compare("==", zero)
            g = g * nest.where(is_zero, zero, self._block.number(nest, 1.0))
        routed = []
        for larger in reversed(is_larger):  # the last one larger than all before it wins
            routed.append(nest.where(larger, g, zero))
            g = nest.where(larger, zero, g)
        return [g, *reversed(routed)]


@compiled
def _forward(nest: Nest, block: Block) -> None:
    x, y = block.inputs(nest).at(nest.task), block.outputs(nest).at(nest.task)
    parameters = _Parameters(nest, block)
    for c, lanes in _vectors(nest, block):
        parameters.load(c, lanes)
        for row in nest.range(block.rows):
            for column in nest.range(block.columns):
                largest, *others = (
                    parameters.output(x.load(*place, c, **lanes))
                    for place in _window(block, row, column)
                )
                for entry in others:
                    largest = nest.maximum(largest, entry)
                y.store(largest, row, column, c, first=lanes["first"])


@compiled
def _sums(nest: Nest, block: Block) -> None:
    g, x = block.outputs(nest).at(nest.task), block.inputs(nest).at(nest.task)
    pairs = block.pairs(nest).at(nest.task)
    parameters = _Parameters(nest, block)
    zero = block.number(nest, 0.0)
    for c, lanes in _vectors(nest, block):
        parameters.load(c, lanes)
        products, sums = (_chains(nest, block.columns, zero) for _ in range(2))
        chains = list(zip(products, sums, strict=True))
        for row in nest.range(block.rows):
            for column, (product, sum) in _columns(nest, block.columns, chains):
                window = [x.load(*place, c, **lanes) for place in _window(block, row, column)]
                routed = parameters.routed(g.load(row, column, c, **lanes), window)
                for entry, part in zip(window, routed, strict=True):
                    product.value = nest.fma(part, parameters.normalised(entry), product.value)
                    sum.value = sum.value + part
        pairs.store(_sum(products), 0, c, first=lanes["first"])
        pairs.store(_sum(sums), 1, c, first=lanes["first"])


@compiled
def _input_gradient(nest: Nest, block: Block, training: bool) -> None:
    g, x = block.outputs(nest).at(nest.task), block.inputs(nest).at(nest.task)
    dx = block.inputs(nest).at(nest.task)
    parameters = _Parameters(nest, block)
    means = nest.array(block.dtype, block.channels) if training else None
    for c, lanes in _vectors(nest, block):
        parameters.load(c, lanes)
        of_means = [means.load(k, c, **lanes) for k in range(2)] if means else []
        for place, entry, part in _before_relu(nest, block, parameters, g, x, c, lanes):
            if of_means:
                part = part - nest.fma(parameters.normalised(entry), *of_means)
            if block.epsilon is not None:
                part = part * parameters.scale
            dx.store(part, *place, c, first=lanes["first"])


def _before_relu(
    nest: Nest,
    block: Block,
    parameters: _Parameters,
    g: Array,
    x: Array,
    c: Index,
    lanes: _Lanes,
) -> Iterator[tuple[tuple[Index, Index], Vector, Vector]]:
    """Each pixel with its number in x and the gradient that reaches it from ReLU and pooling."""
    for row in nest.range(block.rows):
        for column in nest.range(block.columns):
            places = _window(block, row, column)
            window = [x.load(*place, c, **lanes) for place in places]
            routed = parameters.routed(g.load(row, column, c, **lanes), window)
            yield from zip(places, window, routed, strict=True)
    for place in _outside(nest, block):
        yield place, x.load(*place, c, **lanes), block.number(nest, 0.0)


def _window(block: Block, row: Index, column: Index) -> list[tuple[Index, Index]]:
    taps = range(block.pool)
    return [(row * block.pool + i, column * block.pool + j) for i in taps for j in taps]


def _outside(nest: Nest, block: Block) -> Iterator[tuple[Index, Index]]:
    """The last pixels of odd sizes, which lie in no window."""
    below, beside = block.rows * block.pool, block.columns * block.pool
    for row in nest.range(below):
        for column in nest.range(beside, block.width):
            yield row, column
    for row in nest.range(below, block.height):
        for column in nest.range(block.width):
            yield row, column


def _chains(nest: Nest, width: int, zero: Vector) -> list[Variable]:
    """Sums that grow side by side, so that no addition waits for the one before it."""
    return [nest.variable(zero) for _ in range(next(n for n in (4, 2, 1) if width % n == 0))]


def _columns(nest: Nest, width: int, chains: Sequence[T]) -> Iterator[tuple[Index, T]]:
    """The columns of a row, each with the chain that it is added to."""
    for column in nest.range(0, width, len(chains)):
        for k, chain in enumerate(chains):
            yield column + k, chain


def _sum(chains: Sequence[Variable]) -> Vector:
    first, *others = (chain.value for chain in chains)
    return sum(others, start=first)
