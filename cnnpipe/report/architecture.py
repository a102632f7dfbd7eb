"""Each network as a table of its layers: shapes, weights, multiply-adds, receptive fields."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from cnnpipe.data.idx import IMAGE_SIDE
from cnnpipe.geometry.receptive_field import receptive_field
from cnnpipe.networks import NETWORKS
from cnnpipe.report.inputs import ModelSources


@dataclass(frozen=True)
class LayerRow:
    """A layer, and what one of its outputs sees of the image along each axis."""

    name: str
    kind: str
    window: str
    """Of a convolution or pooling: kernel, and stride and padding where there are any."""
    shape: tuple[int, ...]
    parameters: int
    macs: int
    is_local: bool
    """Whether each of its outputs has a place in the image."""
    size: int
    """Pixels along one side of the field."""
    jump: int
    """Pixels between the fields of neighbours."""
    start: int
    """First pixel of output 0's field; negative in the padding."""


def layer_rows(model: ModelSources) -> list[LayerRow]:
    """The layers of a network in their order, as its evaluation describes them.

    The receptive field is that of `cnnpipe.geometry.receptive_field`. Its first pixel is

        start_l = start_{l−1} − padding·jump_{l−1},  start = 0 for the image.
    """
    layers = (model.evaluation or {}).get("layers", [])
    windows = [
        (each.get("kernel_size", 1), each.get("stride", 1), each.get("dilation", 1))
        for each in layers
    ]
    rows, start, jump = [], 0, 1
    for layer, field in zip(layers, receptive_field(windows), strict=True):
        start -= layer.get("padding", 0) * jump
        jump = field.jump
        rows.append(
            LayerRow(
                name=layer["name"],
                kind=layer["kind"],
                window=_window(layer),
                shape=tuple(layer["output_shape"]),
                parameters=layer["parameters"],
                macs=layer["macs"],
                is_local=len(layer["output_shape"]) == 3,
                size=field.size,
                jump=field.jump,
                start=start,
            )
        )
    return rows


def _window(layer: Mapping[str, Any]) -> str:
    if "kernel_size" not in layer:
        return "–"
    size = layer["kernel_size"]
    others = [
        f"{name} {layer[name]}"
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1))
        if layer.get(name, usual) != usual
    ]
    return ", ".join([f"{size}×{size}", *others])


def fully_connected(model: ModelSources) -> tuple[LayerRow, int] | None:
    """The first convolution, and the weights of a fully connected layer of the same sizes.

    Without biases: C·H·W inputs times O·H'·W' outputs.
    """
    rows = layer_rows(model)
    if not rows or rows[0].kind != "Conv2d":
        return None
    channels, height, width = rows[0].shape
    return rows[0], IMAGE_SIDE**2 * channels * height * width


def description(model: ModelSources) -> Markup:
    """What the network's own docstring says of it, without its source."""
    network = NETWORKS.get(model.name)
    text = inspect.cleandoc(network.__doc__ or "") if network else ""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    told = [part for part in paragraphs if not part.startswith("Source:")]
    marked = (re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(part))) for part in told)
    return Markup("".join(f"<p>{part}</p>\n" for part in marked))  # noqa: S704  (escaped above)
