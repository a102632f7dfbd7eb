"""Batch normalisation, ReLU and max pooling as one operator, where it is compiled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnpipe.functional import block_kernels
from cnnpipe.functional.block_kernels import Block


class NormReluPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight, bias, statistics, epsilon, pool, training):
        x = x.contiguous(memory_format=torch.channels_last)
        block = Block.of(x, epsilon, relu=True, pool=pool)
        parameters = () if statistics is None else (statistics, weight, bias)
        ctx.block, ctx.training = block, training
        ctx.save_for_backward(x, *parameters)
        return block_kernels.forward(block, x, parameters)

    @staticmethod
    def backward(ctx: Any, g: Tensor):
        x, *parameters = ctx.saved_tensors
        block = ctx.block
        g = g.contiguous(memory_format=torch.channels_last)
        if not parameters:
            return block_kernels.input_gradient(block, g, x, parameters), *[None] * 6
        sums = block_kernels.sums(block, g, x, parameters)
        means = sums / (x.numel() // block.channels) if ctx.training else None
        dx = block_kernels.input_gradient(block, g, x, parameters, means)
        return dx, *sums, None, None, None, None


def block(x, norm, pool):
    if norm is None:
        return NormReluPool.apply(x, None, None, None, None, pool, False)
    if norm.training:
        with torch.no_grad():
            statistics = block_kernels.statistics(x.contiguous(memory_format=torch.channels_last))
            M = x.numel() // x.shape[1]
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(statistics[0], norm.momentum)
            norm.running_var.lerp_(statistics[1] * (M / (M - 1)), norm.momentum)
    else:
        statistics = torch.stack([norm.running_mean, norm.running_var])
    return NormReluPool.apply(x, norm.weight, norm.bias, statistics, norm.eps, pool, norm.training)
