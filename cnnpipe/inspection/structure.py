"""The layers of a network in order: their shapes, their windows, and which pixels they see.

Axes: C channels, H height, W width. A network is a chain of layers. Layers are distinguished by
what they hold (a kernel, weights), so the same functions serve every network of params.yaml.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from cnnpipe.data.idx import IMAGE_SIDE
from cnnpipe.functional.arguments import as_pair
from cnnpipe.geometry import receptive_field
from cnnpipe.models import evaluation_mode

Shape = tuple[int, ...]
"""Without the batch: (C, H, W), or (C,) where no axes H and W are left."""
IMAGE: Shape = (1, IMAGE_SIDE, IMAGE_SIDE)


@dataclass(frozen=True)
class Window:
    """How a convolution or a pooling slides over its input, the same along both axes."""

    kernel_size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @classmethod
    def of(cls, layer: nn.Module) -> Self | None:
        """The window of a layer; None if it has none.

        Raises:
            ValueError: its two axes differ.
        """
        if not hasattr(layer, "kernel_size"):
            return None
        arguments = {}
        for name in ("kernel_size", "stride", "padding", "dilation"):
            vertical, horizontal = as_pair(getattr(layer, name, 1), name, least=0)
            if vertical != horizontal:
                raise ValueError(
                    f"{name}: expected the same on both axes, got {vertical, horizontal}"
                )
            arguments[name] = vertical
        return cls(**arguments)


@dataclass(frozen=True)
class Field:
    """The receptive fields of a layer's outputs: the pixels that each sees, along one axis."""

    size: int
    jump: int
    """Pixels between the fields of two neighbouring outputs."""
    start: int
    """First pixel that output 0 sees; negative in the padding."""

    def first(self, output: int) -> int:
        """First pixel that an output sees; the last one is `size` − 1 pixels further."""
        return self.start + output * self.jump


@dataclass(frozen=True)
class Layer:
    """One layer of a network, as an image meets it."""

    name: str
    module: nn.Module
    input_shape: Shape
    output_shape: Shape
    window: Window | None
    """None unless the layer is a convolution or a pooling."""
    field: Field
    """Where no axes H and W are left, the whole image."""

    @property
    def kind(self) -> str:
        return type(self.module).__name__

    @property
    def has_weights(self) -> bool:
        """Whether it is a convolution or a fully connected layer; a normalisation is neither."""
        weight = getattr(self.module, "weight", None)
        return isinstance(weight, Tensor) and weight.ndim > 1

    @property
    def is_convolution(self) -> bool:
        return self.has_weights and self.window is not None

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations for one image, in convolutions and linear layers.

        Each weight of a linear layer is used once, of a convolution once per output position.
        """
        if not self.has_weights:
            return 0
        positions = self.output_shape[1] * self.output_shape[2] if self.is_convolution else 1
        return self.module.get_parameter("weight").numel() * positions

    def summary(self) -> dict[str, Any]:
        """The entry of reports/evaluation/<model>.json."""
        return {
            "name": self.name,
            "kind": self.kind,
            "output_shape": list(self.output_shape),
            "parameters": self.parameters,
            "macs": self.macs,
            **(asdict(self.window) if self.window else {}),
            **({"epsilon": self.module.eps} if isinstance(self.module, nn.BatchNorm2d) else {}),
        }


@torch.no_grad()
def layers_of(model: nn.Sequential, input_shape: Shape = IMAGE) -> list[Layer]:
    """Follow one image through the network, layer by layer; the network is left as it is.

    Raises:
        ValueError: the two axes of a window differ.
    """
    activation = next(model.parameters(), torch.empty(0)).new_zeros(1, *input_shape)
    layers: list[Layer] = []
    chain: list[tuple[int, int, int]] = []
    field = Field(size=1, jump=1, start=0)
    with evaluation_mode(model):
        for name, module in model.named_children():
            before = tuple(activation.shape[1:])
            activation = module(activation)
            window = Window.of(module)
            if activation.ndim != 4:
                field = Field(size=input_shape[1], jump=0, start=0)
            elif window:
                chain.append((window.kernel_size, window.stride, window.dilation))
                now = receptive_field(chain)[-1]
                field = Field(now.size, now.jump, field.start - window.padding * field.jump)
            layers.append(Layer(name, module, before, tuple(activation.shape[1:]), window, field))
    return layers


@dataclass(frozen=True)
class HiddenLayer:
    """A layer of weights with all that follows it up to the next one."""

    weights: Layer
    response: Layer
    """The last one before pooling: behind normalisation and activation, at full resolution."""
    output: Layer
    """The last one before the next layer of weights."""

    @property
    def name(self) -> str:
        return self.weights.name

    @property
    def field(self) -> Field:
        """What its responses see."""
        return self.weights.field


def hidden_layers(model: nn.Sequential, input_shape: Shape = IMAGE) -> list[HiddenLayer]:
    """All layers of weights but the last, which gives the logits."""
    found: list[HiddenLayer] = []
    for layer in layers_of(model, input_shape):
        if layer.has_weights:
            found.append(HiddenLayer(layer, layer, layer))
        elif found:
            reduces = layer.window is not None or isinstance(layer.module, nn.Flatten | nn.Dropout)
            response = found[-1].response if reduces else layer
            found[-1] = replace(found[-1], response=response, output=layer)
    return found[:-1]


def hidden_convolutions(model: nn.Sequential, input_shape: Shape = IMAGE) -> dict[str, HiddenLayer]:
    """Those of the hidden layers that are convolutions, by name."""
    layers = hidden_layers(model, input_shape)
    return {layer.name: layer for layer in layers if layer.weights.is_convolution}
