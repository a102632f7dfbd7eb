"""What `torch.onnx.export` writes for an operator: the one of ONNX that computes the same.

Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnpipe.geometry import WindowGeometry


def onnx_operator(
    name: str,
    inputs: tuple[Tensor | None, ...],
    result: Tensor,
    geometry: WindowGeometry | None = None,
    **attributes: Any,
) -> Tensor:
    """A node of the exported graph.

    Args:
        name: of the operator in ONNX.
        inputs: its operands.
        result: has the result's shape and dtype.
        geometry: its windows, if it has any.
        attributes: what else it needs.
    """
    if geometry is not None:
        top, bottom, left, right = geometry.padding
        attributes |= {
            "kernel_shape": list(geometry.kernel_size),
            "strides": list(geometry.stride),
            "pads": [top, left, bottom, right],
        }
        if geometry.dilation != (1, 1):
            attributes["dilations"] = list(geometry.dilation)
    node: Tensor = torch.onnx.ops.symbolic(
        name, inputs, attributes, dtype=result.dtype, shape=result.shape
    )
    return node
