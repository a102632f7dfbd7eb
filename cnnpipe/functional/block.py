"""Layers that follow each other as one function: a product with weights, and what comes after it.

The product is a convolution or a fully connected layer; after it come batch normalisation, ReLU and
max pooling, or some of them.

One after the other, each of these operators passes through PyTorch's dispatcher, checks shapes that
it saw a step ago, and reads from memory what the one before has written. Here all that follows from
the shapes is decided once and kept, autograd records a single function, and what lies between the
convolutions is computed in one pass.

On a CPU all of it is compiled loops. On a CUDA device the convolution is `im2col` or
`implicit_gemm` and the rest GPU kernels, if Triton is there; else one layer follows the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cnnpipe.functional import block_kernels, compiled, gpu_block, im2col, implicit_gemm, loops
from cnnpipe.functional.activation import relu
from cnnpipe.functional.arguments import IntOrPair, as_float, check_dtypes
from cnnpipe.functional.autocast import cast_operand, operand_dtype, without_autocast
from cnnpipe.functional.block_kernels import Block
from cnnpipe.functional.convolution import (
    Algorithm,
    channel_sums,
    check_support,
    conv2d,
    cross_correlation,
)
from cnnpipe.functional.convolution_arguments import (
    Padding,
    check_operands,
    convolution_geometry,
)
from cnnpipe.functional.linear import check_linear, linear
from cnnpipe.functional.normalization import (
    BatchNorm,
    batch_norm,
    check_batch_norm,
    statistics_of,
)
from cnnpipe.functional.operator import (
    are_plain,
    is_differentiated,
    is_observed,
    is_transformed,
)
from cnnpipe.functional.pooling import max_pool2d
from cnnpipe.functional.windows import accumulation_dtype
from cnnpipe.geometry import ConvolutionGeometry, output_size

ALGORITHMS = ("auto", "compiled", "implicit_gemm")
"""Of a convolution that can be part of a block."""


class Kernels(NamedTuple):
    """Arguments of `conv2d` after the input; with a matrix for weight, those of `linear`."""

    weight: Tensor
    bias: Tensor | None = None
    stride: IntOrPair = 1
    padding: Padding = 0
    dilation: IntOrPair = 1
    groups: int = 1
    algorithm: str = "auto"


class Normalization(NamedTuple):
    """Arguments of `batch_norm` after the input."""

    running_mean: Tensor | None
    running_var: Tensor | None
    weight: Tensor
    bias: Tensor
    training: bool
    momentum: float
    eps: float


def can_fuse(input: Tensor, algorithm: str = "auto") -> bool:
    """Whether these images, or rows of numbers, can be computed by one function.

    A compiler, a transform or a mode of PyTorch could not look into it: they get one operator after
    the other.

    Args:
        algorithm: of the convolution that comes first.
    """
    if algorithm != "implicit_gemm" and loops.unsupported(input) is None:
        return (
            input.ndim in (2, 4)
            and input.dtype in (torch.float32, torch.float64)
            and not is_transformed()
            and are_plain(input)
        )
    if input.ndim != 4 or input.numel() == 0 or is_observed() or not are_plain(input):
        return False
    if algorithm == "implicit_gemm":  # which says itself what it cannot compute
        return True
    return algorithm != "compiled" and not gpu_block.unsupported(input, operand_dtype(input))


def are_readable(device: int, *tensors: Tensor | None) -> bool:
    """Whether all numbers of these tensors stand, as they are, in the memory of one device.

    Args:
        device: as `Tensor.get_device` numbers it, the CPU as −1.
    """
    for tensor in tensors:
        if tensor is not None and tensor.get_device() != device:
            return False
    return are_plain(*tensors)


def block(
    input: Tensor,
    kernels: Kernels | None = None,
    normalization: Normalization | None = None,
    *,
    has_relu: bool,
    pool: int,
) -> Tensor:
    """`max_pool2d(relu(batch_norm(conv2d(input, …), …)), pool)`, or `relu(linear(input, …))`.

    Shape:
        (N, C, H, W) → (N, O, H_out // pool, W_out // pool), or (N, I) → (N, O)

    Args:
        input: what `can_fuse`.
        kernels: tensors that `are_readable`; None: there is no product.
        normalization: None: nothing is normalised, as after `linear`.
        has_relu: whether negative numbers become 0.
        pool: side of the pooling's windows and their stride; 1 is no pooling.

    Raises: what the operators raise.
    """
    algorithm = "compiled" if loops.unsupported(input) is None else "im2col"
    if kernels is not None and kernels.algorithm == "implicit_gemm":
        algorithm = kernels.algorithm
    if kernels is not None and algorithm != "compiled":
        input, weight, bias = map(_cast, (input, *kernels[:2]))
        kernels = kernels._replace(weight=weight, bias=bias)
    plan = _Plan.of(input, kernels, normalization, has_relu, pool, algorithm)
    if isinstance(plan.product, _Convolution):
        check_support(algorithm, input, plan.product.geometry)
    if plan.is_too_large:
        return one_by_one(input, kernels, normalization, has_relu=has_relu, pool=pool)
    result: Tensor = _Block.apply(
        plan,
        normalization,
        input,
        *((None, None) if kernels is None else kernels[:2]),
        *((None, None) if normalization is None else normalization[2:4]),
    )
    return result


class _Plan:
    """What shapes and arguments decide."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        threads: int,  # noqa: ARG002 (the product asks for it)
        kernels: tuple[Any, ...] | None,
        normalization: tuple[Any, ...] | None,
        has_relu: bool,
        pool: int,
        algorithm: str,
    ) -> None:
        self.windows: list[Any] = []
        self.product: compiled.Convolution | compiled.Linear | _Convolution | None = None
        self.kernels: Any = block_kernels if algorithm == "compiled" else gpu_block
        if kernels is not None:
            weight, bias, *self.windows, _ = kernels
            x, w, bias = map(_nothing, ((shape, dtype, False), weight, bias))
            N, outputs, inputs = shape[0], w.shape[0], w.shape[1]
            if w.ndim == 2:
                check_linear(x, w, bias)
                self.product = compiled.linear(N, outputs, inputs, dtype)
                size = 1, 1
            else:
                check_operands(x, w, bias, self.windows[-1])
                geometry = convolution_geometry(x, w, *self.windows)
                if algorithm == "compiled":
                    self.product = compiled.convolution(N, outputs, inputs, geometry, dtype)
                else:
                    self.product = _Convolution(_ON_A_GPU[algorithm], geometry)
                size = geometry.output_size
            check_dtypes(x, w, bias)
            shape = N, outputs, *size
        epsilon = None
        if normalization is not None:
            *tensors, training, epsilon = normalization
            z = _nothing((shape, dtype, False))
            mean, variance, gamma, beta = map(_nothing, tensors)
            check_batch_norm(z, mean, variance, gamma, beta, training, epsilon)
        self.block = None
        self.is_too_large = False
        if epsilon is not None or has_relu or pool > 1:
            if pool > 1:
                for length in shape[2:]:
                    output_size(length, pool, pool)  # refuses a window that does not fit
            self.block = Block.of(shape, dtype, epsilon, has_relu, pool)
            if self.kernels is gpu_block:
                pixels = shape[0] * prod(shape[2:])
                self.is_too_large = implicit_gemm.too_many_pixels(pixels) is not None

    @staticmethod
    def of(
        input: Tensor,
        kernels: Kernels | None,
        normalization: Normalization | None,
        has_relu: bool,
        pool: int,
        algorithm: str,
    ) -> _Plan:
        described = None
        if kernels is not None:
            w, b, *windows = kernels
            described = (_described(w), _described(b), *windows)
        norm = None
        if normalization is not None:
            *tensors, training, momentum, eps = normalization
            as_float(momentum, "momentum")  # which may be another one at each step
            norm = (*map(_described, tensors), training, eps)
        threads = torch.get_num_threads()
        return _plan(input.shape, input.dtype, threads, described, norm, has_relu, pool, algorithm)


_plan = lru_cache(compiled.KEPT)(_Plan)


def _described(tensor: Tensor | None) -> tuple[Any, ...] | None:
    """All that decides about a tensor, but its numbers."""
    return None if tensor is None else (tensor.shape, tensor.dtype, tensor.requires_grad)


def _cast(tensor: Tensor | None) -> Any:
    return None if tensor is None else cast_operand(tensor)


class _Convolution(NamedTuple):
    """By an algorithm of `_ON_A_GPU`; what `compiled.Convolution` is to compiled loops."""

    algorithm: Algorithm
    geometry: ConvolutionGeometry

    def forward(self, x: Tensor, w: Tensor, bias: Tensor | None) -> Tensor:
        with without_autocast(x):
            return cross_correlation(self.algorithm, x, w, bias, self.geometry)

    def input_gradient(self, grad: Tensor, w: Tensor) -> Tensor:
        with without_autocast(grad):
            return self.algorithm.input_gradient(grad, w, self.geometry)

    def weight_gradient(self, x: Tensor, grad: Tensor) -> Tensor:
        with without_autocast(x):
            return self.algorithm.weight_gradient(x, grad, self.geometry)


_ON_A_GPU: dict[str, Algorithm] = {"im2col": im2col, "implicit_gemm": implicit_gemm}


def _nothing(described: tuple[Any, ...] | None) -> Any:
    """A tensor without numbers."""
    if described is None:
        return None
    shape, dtype, requires_grad = described
    return torch.empty(shape, dtype=dtype, device="meta", requires_grad=requires_grad)


class _Block(torch.autograd.Function):
    """(x, w, b, γ, β) → max over windows of max(0, γ·ẑ + β) of z = x ⋆ w + b."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: _Plan,
        normalization: Normalization | None,
        x: Tensor,
        w: Tensor | None,
        b: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
    ) -> Tensor:
        ctx.plan = plan
        statistics = None
        y = z = _dense(x) if plan.product is None or w is None else plan.product.forward(x, w, b)
        if normalization:
            ctx.training = normalization.training
            mean, variance, _, _, training, momentum, _ = normalization
            statistics = statistics_of(
                z, mean, variance, training, momentum, measure=plan.kernels.statistics
            )
        if plan.block:
            y = plan.kernels.forward(plan.block, z, _those_there(statistics, gamma, beta))
        ctx.save_for_backward(x, w, b, z if plan.block else None, statistics, gamma, beta)
        # It may be a view of new memory, which autograd lets nobody overwrite.
        return y if plan.kernels is block_kernels else y.detach()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w, _, z, statistics, gamma, beta = ctx.saved_tensors
        is_seen = is_transformed() if ctx.plan.kernels is block_kernels else is_observed()
        if is_differentiated() or is_seen or not are_readable(x.get_device(), g):
            return _by_operators(ctx, g)
        plan, g = ctx.plan, _dense(g)
        _, _, needs_x, needs_w, needs_b, *_ = ctx.needs_input_grad
        d_gamma = d_beta = dx = dw = db = None
        if plan.block:
            parameters = _those_there(statistics, gamma, beta)
            means = None
            if parameters:
                d_gamma, d_beta = sums = plan.kernels.sums(plan.block, g, z, parameters)
                means = sums / (z.numel() // plan.block.channels) if ctx.training else None
            if needs_x or needs_w or needs_b:
                g = plan.kernels.input_gradient(plan.block, g, z, parameters, means)
        if needs_x:
            dx = plan.product.input_gradient(g, w) if plan.product else g
            dx = dx.contiguous() if x.is_contiguous() else dx
        if needs_w:
            dw = plan.product.weight_gradient(x, g).contiguous()
        if needs_b:
            db = channel_sums(g)
        return None, None, dx, dw, db, d_gamma, d_beta


def one_by_one(
    input: Tensor,
    kernels: Kernels | None = None,
    normalization: Normalization | None = None,
    *,
    has_relu: bool,
    pool: int,
) -> Tensor:
    """What `block` computes of images, by one operator after the other; arguments as there."""
    y = input if kernels is None else conv2d(input, *kernels[:-1], algorithm=kernels.algorithm)
    y = y if normalization is None else batch_norm(y, *normalization)
    y = relu(y) if has_relu else y
    if pool > 1:
        y = max_pool2d(y, pool)
    return y


def _by_operators(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients by one operator after the other: they can be differentiated and transformed."""
    x, w, b, _, statistics, gamma, beta = operands = ctx.saved_tensors
    leaves = (None, None, *operands[:3], *operands[5:])
    wanted = [t for t, is_needed in zip(leaves, ctx.needs_input_grad, strict=True) if is_needed]
    is_recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        y, plan = x, ctx.plan
        if w is not None:
            y = conv2d(y, w, b, *plan.windows) if w.ndim == 4 else linear(y, w, b)
        y = y.to(accumulation_dtype(y.dtype))  # kernels, too, select before they round
        if statistics is not None:
            y = BatchNorm.call(y, statistics, gamma, beta, plan.block.epsilon, ctx.training)
        if plan.block and plan.block.has_relu:
            y = relu(y)
        if plan.block and plan.block.pool > 1:
            y = max_pool2d(y, plan.block.pool)
        y = y.to(g.dtype)
    found = iter(torch.autograd.grad(y, wanted, g, create_graph=is_recorded))
    return tuple(next(found) if is_needed else None for is_needed in ctx.needs_input_grad)


def _dense(tensor: Tensor) -> Tensor:
    """Images with channels last, or rows."""
    if tensor.ndim == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor.contiguous()


def _those_there(*parameters: Tensor | None) -> Sequence[Tensor]:
    return [parameter.contiguous() for parameter in parameters if parameter is not None]
