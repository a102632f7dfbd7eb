"""A filter's responses: which layer gives them, which pixels they see, what excites them most.

Axes: N images, C channels, H height, W width. A network is a chain of layers; its hidden stages are
found by their kind, so that the same functions serve every plan that params.yaml allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnpipe.geometry import receptive_field
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.layers import AvgPool2d, Conv2d, MaxPool2d


@dataclass(frozen=True)
class Stage:
    """A layer of weights with all that follows it up to the next one."""

    name: str
    """Of the layer of weights."""
    response: str
    """Last layer before pooling: behind normalisation and activation, still at full resolution."""
    output: str
    """Last layer before the next layer of weights."""


@dataclass(frozen=True)
class Window:
    """The pixels that a convolution's responses see, along one axis."""

    size: int
    jump: int
    start: int
    """First pixel that response 0 sees; negative in the padding."""


def stages(model: nn.Sequential) -> list[Stage]:
    """The hidden stages of a chain of layers; the last layer of weights gives the logits."""
    found: list[Stage] = []
    for name, layer in model.named_children():
        if _has_weights(layer):
            found.append(Stage(name, name, name))
        elif found:
            pools = isinstance(layer, (MaxPool2d, AvgPool2d, nn.Flatten, nn.Dropout))
            response = found[-1].response if pools else name
            found[-1] = Stage(found[-1].name, response, name)
    return found[:-1]


def _has_weights(layer: nn.Module) -> bool:
    """A convolution or a fully connected layer, but no normalisation, whose weight is a vector."""
    weight = getattr(layer, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim > 1


def windows(model: nn.Sequential) -> dict[str, Window]:
    """Where the responses of each convolution look, by its name."""
    chain: list[tuple[int, int, int]] = []
    found: dict[str, Window] = {}
    start, jump = 0, 1
    for name, layer in model.named_children():
        if not isinstance(layer, (Conv2d, MaxPool2d, AvgPool2d)):
            continue
        kernel_size, stride, padding, dilation = (
            _first(getattr(layer, key, 1))
            for key in ("kernel_size", "stride", "padding", "dilation")
        )
        start -= padding * jump
        chain.append((kernel_size, stride, dilation))
        field = receptive_field(chain)[-1]
        jump = field.jump
        if isinstance(layer, Conv2d):
            found[name] = Window(field.size, field.jump, start)
    return found


def _first(value: int | Sequence[int]) -> int:
    """Along the height; windows are square here."""
    return value if isinstance(value, int) else value[0]


@dataclass(frozen=True)
class Strongest:
    """The largest response of each filter of a convolution to each image, and where it is."""

    values: Tensor
    """(N, C)."""
    rows: Tensor
    """(N, C)."""
    columns: Tensor
    """(N, C)."""


@torch.inference_mode()
def strongest(model: nn.Sequential, inputs: Tensor) -> dict[str, Strongest]:
    """By the name of the convolution; behind its normalisation and activation."""
    convolutions = [stage for stage in stages(model) if stage.name in windows(model)]
    found: dict[str, list[tuple[Tensor, Tensor]]] = {stage.name: [] for stage in convolutions}
    width: dict[str, int] = {}
    for batch in inputs.split(500):
        with capture_activations(model, [stage.response for stage in convolutions]) as activations:
            model(batch)
        for stage in convolutions:
            maps = activations[stage.response]  # (N, C, H, W)
            values, places = maps.flatten(2).max(dim=2)
            found[stage.name].append((values, places))
            width[stage.name] = maps.shape[3]
    gathered = {}
    for name, parts in found.items():
        values, places = (torch.cat(part) for part in zip(*parts, strict=True))
        gathered[name] = Strongest(values, places // width[name], places % width[name])
    return gathered


def cut(image: Tensor, top: int, left: int, size: int) -> Tensor:
    """A square of the image, black where it reaches over the edge; all of it if that is smaller.

    Shape: uint8 (S, S) → (size, size), at most (S, S).
    """
    side = len(image)
    if size >= side:
        return image
    padded = nn.functional.pad(image, [size] * 4)
    return padded[top + size : top + 2 * size, left + size : left + 2 * size].contiguous()
