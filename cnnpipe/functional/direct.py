"""Convolution as its formula reads: a view of all windows, contracted with the kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnpipe.functional.windows import pad, sliding_windows
from cnnpipe.geometry import ConvolutionGeometry


def forward(x: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """y[n,o,y,x] = Σ_{c,i,j} x[n, c, y·s + i·d − p, x·s + j·d − p] · w[o,c,i,j]."""
    windows = sliding_windows(pad(x, geometry), geometry)  # (N, C, H_out, W_out, kH, kW)
    windows = windows.unflatten(1, (geometry.groups, -1))  # (N, G, C/G, H_out, W_out, kH, kW)
    w = w.unflatten(0, (geometry.groups, -1))  # (G, O/G, C/G, kH, kW)
    return torch.einsum("ngcyxij,gocij->ngoyx", windows, w).flatten(1, 2)  # (N, O, H_out, W_out)


def input_gradient(grad: Tensor, w: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """The stretched output gradient, cross-correlated with the flipped kernel."""
    stretched = grad.new_zeros((*grad.shape[:2], *geometry.stretched_size))
    stretched[..., :: geometry.stride[0], :: geometry.stride[1]] = grad
    adjoint = geometry.adjoint()
    windows = sliding_windows(pad(stretched, adjoint), adjoint)  # (N, O, H, W, kH, kW)
    windows = windows.unflatten(1, (geometry.groups, -1))  # (N, G, O/G, H, W, kH, kW)
    w = w.flip(-2, -1).unflatten(0, (geometry.groups, -1))  # (G, O/G, C/G, kH, kW)
    return torch.einsum("ngoyxij,gocij->ngcyx", windows, w).flatten(1, 2)  # (N, C, H, W)


def weight_gradient(x: Tensor, grad: Tensor, geometry: ConvolutionGeometry) -> Tensor:
    """∂/∂w[o,c,i,j] = Σ_{n,y,x} windows[n,c,y,x,i,j] · grad[n,o,y,x]."""
    windows = sliding_windows(pad(x, geometry), geometry)  # (N, C, H_out, W_out, kH, kW)
    windows = windows.unflatten(1, (geometry.groups, -1))  # (N, G, C/G, H_out, W_out, kH, kW)
    grad = grad.unflatten(1, (geometry.groups, -1))  # (N, G, O/G, H_out, W_out)
    return torch.einsum("ngcyxij,ngoyx->gocij", windows, grad).flatten(0, 1)  # (O, C/G, kH, kW)


def unsupported(x: Tensor, geometry: ConvolutionGeometry) -> str | None:  # noqa: ARG001
    """Computes every convolution."""
    return None
