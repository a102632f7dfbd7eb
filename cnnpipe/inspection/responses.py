"""A filter's responses to images: the strongest of each image, and the patches that they see.

Axes: N images, C channels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cnnpipe.inspection.activations import capture_activations
from cnnpipe.inspection.structure import hidden_convolutions


@dataclass(frozen=True)
class Strongest:
    """The largest response of each filter of a convolution to each image, and where it is."""

    values: Tensor  # (N, C)
    rows: Tensor  # (N, C)
    columns: Tensor  # (N, C)


@torch.inference_mode()
def strongest(model: nn.Sequential, inputs: Tensor) -> dict[str, Strongest]:
    """By the name of the convolution; behind its normalisation and activation."""
    responses = {name: layer.response.name for name, layer in hidden_convolutions(model).items()}
    found: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in responses}
    for batch in inputs.split(500):
        with capture_activations(model, responses.values()) as activations:
            model(batch)
        for name, response in responses.items():
            maps = activations[response]  # (N, C, H, W)
            values, places = maps.flatten(2).max(dim=2)
            found[name].append((values, places // maps.shape[3], places % maps.shape[3]))
    return {
        name: Strongest(*map(torch.cat, zip(*parts, strict=True))) for name, parts in found.items()
    }


def cut(image: Tensor, top: int, left: int, size: int) -> Tensor:
    """A square of the image, black where it reaches over the edge; all of it if that is smaller.

    Shape: uint8 (S, S) → (size, size), at most (S, S).
    """
    side = len(image)
    if size >= side:
        return image
    padded = nn.functional.pad(image, [size] * 4)
    return padded[top + size : top + 2 * size, left + size : left + 2 * size].contiguous()
