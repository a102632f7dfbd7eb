"""Each network as a table of its layers: shapes, weights, multiply-adds, receptive fields."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from cnnpipe.data.idx import IMAGE_SIDE
from cnnpipe.geometry.receptive_field import ReceptiveField, receptive_field
from cnnpipe.networks import NETWORKS
from cnnpipe.report.inputs import ModelSources


@dataclass(frozen=True)
class LayerRow:
    """A layer, and what one of its outputs sees of the image along each axis."""

    layer: Mapping[str, Any]
    """As the evaluation describes it."""
    field: ReceptiveField
    start: int
    """First pixel of output 0's field; negative in the padding."""

    @property
    def is_local(self) -> bool:
        """Whether each of its outputs has a place in the image."""
        return len(self.layer["output_shape"]) == 3

    @property
    def window(self) -> str:
        """Of a convolution or pooling: kernel, and stride and padding where there are any."""
        if "kernel_size" not in self.layer:
            return "–"
        size = self.layer["kernel_size"]
        others = [
            f"{name} {self.layer[name]}"
            for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1))
            if self.layer.get(name, usual) != usual
        ]
        return ", ".join([f"{size}×{size}", *others])


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
        rows.append(LayerRow(layer, field, start))
    return rows


def fully_connected(model: ModelSources) -> tuple[LayerRow, int] | None:
    """The first convolution, and the weights of a fully connected layer of the same sizes.

    Without biases: C·H·W inputs times O·H'·W' outputs.
    """
    rows = layer_rows(model)
    if not rows or rows[0].layer["kind"] != "Conv2d":
        return None
    channels, height, width = rows[0].layer["output_shape"]
    return rows[0], IMAGE_SIDE**2 * channels * height * width


def description(model: ModelSources) -> Markup:
    """What the network's own docstring says of it, without its source."""
    network = NETWORKS.get(model.name)
    text = inspect.cleandoc(network.__doc__ or "") if network else ""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    told = [part for part in paragraphs if not part.startswith("Source:")]
    marked = (re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(part))) for part in told)
    return Markup("".join(f"<p>{part}</p>\n" for part in marked))  # noqa: S704  (escaped above)
