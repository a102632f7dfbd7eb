"""Dropout: a product with random zeros, whose derivative is autograd's own."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnpipe.functional.arguments import FLOATS, as_probability, check_bool, check_dtype


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Silence each number with probability p, as `torch.nn.functional.dropout`.

    y = x·m / (1 − p), with m = 0 with probability p and else 1, so that the mean of y is x.

    The derivative is ∂y/∂x = m / (1 − p). The masks are drawn from torch's default generator,
    which `torch.manual_seed` seeds.

    Args:
        input: any shape.
        p: the probability of a zero.
        training: if False, the input is returned as it is.
        inplace: write the result into the input, which is returned.

    Raises:
        TypeError: an input that is not floating-point, or p is no number.
        ValueError: p is not in [0, 1].

    Source:
        Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov: Dropout: a simple way to prevent
        neural networks from overfitting (2014).

    >>> y = dropout(torch.ones(1000), p=0.75)
    >>> y.unique()  # 0 and 1 / (1 − 0.75)
    tensor([0., 4.])
    """
    check_dtype(input, "input", FLOATS)
    p = as_probability(p, "p")
    check_bool(training, "training")
    check_bool(inplace, "inplace")
    if not training or p == 0:
        return input
    # Not `bernoulli_`: on Intel's processors it takes its numbers from Intel's library and on
    # others from torch, so the same seed would give other masks there. `rand` is torch's
    # everywhere. float32, because numbers of 16 bits are too coarse to compare with p.
    kept = torch.rand(input.shape, dtype=torch.float32, device=input.device) >= p
    mask = kept.to(input.dtype)
    if p < 1:
        mask = mask / (1 - p)
    return input.mul_(mask) if inplace else input * mask
