"""The softmax cross-entropy of `loss.py` as compiled loops, in float64 within."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cnnpipe.functional.loops import Array, Index, Nest, Vector, compiled, dtype_name
from cnnpipe.functional.loops.elementary import exp, log

LANES = 16
"""Classes that are computed side by side."""
IMAGES = 128
"""Of one task: with less to do a thread would take longer to wake up."""


def losses(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """log Σ_c e^z − Σ_c q·z of each image: (N, C), (N,) → (N,)."""
    N, C = logits.shape
    result = logits.new_empty(N)
    kernel = _losses(dtype_name(logits.dtype), C, smoothing)
    kernel(-(-N // IMAGES), N, logits.contiguous(), targets.contiguous(), result)
    return result


def gradient(logits: Tensor, targets: Tensor, smoothing: float, factor: Tensor) -> Tensor:
    """(s − q)·factor: (N, C), (N,), () → (N, C)."""
    result = torch.empty_like(logits, memory_format=torch.contiguous_format)
    N, C = logits.shape
    kernel = _gradient(dtype_name(logits.dtype), C, smoothing)
    kernel(
        -(-N // IMAGES), N, logits.contiguous(), targets.contiguous(), factor.contiguous(), result
    )
    return result


@compiled
def _losses(nest: Nest, dtype: str, C: int, smoothing: float) -> None:
    """One task: the losses of some images."""
    images = nest.size()
    all_logits, targets = nest.array(dtype, C), nest.array("int64")
    result = nest.array(dtype)
    for image in _images(nest, images):
        logits = all_logits.at(image)
        largest = _largest(nest, logits, C)
        powers, total = (nest.variable(nest.number(0.0, "float64")) for _ in range(2))
        for c, count in nest.blocks(C, LANES):
            z = _shifted(nest, logits, c, count, largest)
            powers.value = powers.value + exp(nest, z).sum_of_first(count)
            total.value = total.value + z.sum_of_first(count)
        chosen = nest.cast(logits.load(targets.integer(image)), "float64") - largest
        loss = log(nest, powers.value) - nest.number(1 - smoothing, "float64") * chosen
        if smoothing:  # else 0·(−∞) would be NaN
            loss = loss - nest.number(smoothing / C, "float64") * total.value
        result.store(nest.cast(loss, dtype), image)


@compiled
def _gradient(nest: Nest, dtype: str, C: int, smoothing: float) -> None:
    """One task: the gradients of some images' logits."""
    images = nest.size()
    all_logits, targets = nest.array(dtype, C), nest.array("int64")
    factor = nest.repeated(nest.cast(nest.array(dtype).load(0), "float64"), LANES)
    result = nest.array(dtype, C)
    chosen, other = (
        nest.number(q, "float64", LANES) for q in (1 - smoothing + smoothing / C, smoothing / C)
    )
    for image in _images(nest, images):
        logits = all_logits.at(image)
        largest = _largest(nest, logits, C)
        powers = nest.variable(nest.number(0.0, "float64"))
        for c, count in nest.blocks(C, LANES):
            z = _shifted(nest, logits, c, count, largest)
            powers.value = powers.value + exp(nest, z).sum_of_first(count)
        target = targets.integer(image)
        for c, count in nest.blocks(C, LANES):
            softmax = exp(nest, _shifted(nest, logits, c, count, largest))
            softmax = softmax / nest.repeated(powers.value, LANES)
            excess = softmax - nest.where(nest.lane_is(target - c, LANES), chosen, other)
            result.store(nest.cast(excess * factor, dtype), image, c, first=count)


def _images(nest: Nest, count: Index) -> Iterator[Index]:
    first = nest.task * IMAGES
    return nest.range(first, (first + IMAGES).at_most(count))


def _largest(nest: Nest, logits: Array, C: int) -> Vector:
    """The largest logit of an image; NaN if one is."""
    largest = nest.variable(logits.load(0))
    for c in nest.range(1, C):
        largest.value = nest.maximum(largest.value, logits.load(c))
    return nest.cast(largest.value, "float64")


def _shifted(nest: Nest, logits: Array, c: Index, count: int, largest: Vector) -> Vector:
    z = nest.cast(logits.load(c, lanes=LANES, first=count), "float64")
    return z - nest.repeated(largest, LANES)
