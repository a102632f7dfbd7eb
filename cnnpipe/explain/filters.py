"""Every filter of every convolution: its norm, how often it is silent, what excites it, its worth.

A filter's response is its map behind normalisation and activation, before pooling. Axes: N images,
C filters, H height, W width.
"""

from collections.abc import Iterator, Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.data.dataset import Split
from cnnpipe.findings.mcnemar import paired_difference
from cnnpipe.functional import conv2d
from cnnpipe.inspection.activations import capture_activations, convolution_filters
from cnnpipe.inspection.responses import Strongest
from cnnpipe.inspection.structure import HiddenLayer, hidden_convolutions
from cnnpipe.layers import Conv2d, Linear, ReLU
from cnnpipe.models import PREDICTION_BATCH, TrainedNetwork


def describe_filters(
    network: TrainedNetwork,
    responses: Mapping[str, Strongest],
    split: Split,
    removal_images: int,
) -> pd.DataFrame:
    """One row for each filter of each convolution.

    A filter is silent on an image if its response is zero everywhere; one that is silent on all of
    them is dead. Only ReLU gives zeros, so behind other activations silence is not defined. The
    norm is that of all its weights, √(Σ w²); behind it batch normalisation, where there is one, may
    rescale.

    What a filter is worth is the accuracy lost when its response is set to zero: of the images,
    those that the network classifies correctly only with it, less those that it does only without.
    The 95 % interval is of `cnnpipe.findings.mcnemar.paired_difference`.

    Args:
        network: of this project's layers.
        responses: of `cnnpipe.inspection.responses.strongest` to the images on which silence is
            counted.
        removal_images: how many of the split, spread evenly, filters are removed on.

    Returns:
        columns layer, filter, norm, silent (fraction), newly_wrong, newly_right (images), images,
        accuracy_lost, low, high (fractions).
    """
    chosen = evenly_spread(len(split), removal_images)
    model = network.model
    removed = removals(model, network.normalization(split.images[chosen]), split.labels[chosen])
    weights = convolution_filters(model)
    rows = []
    for name, layer in hidden_convolutions(model).items():
        silent = (responses[name].values == 0).cpu().double().mean(dim=0)  # (C,)
        has_zeros = isinstance(layer.response.module, ReLU)
        for channel, kernel in enumerate(weights[name]):
            wrong, right = (int(images[channel]) for images in removed[name])
            low, high = paired_difference(wrong, right, len(chosen))
            rows.append(
                {
                    "layer": name,
                    "filter": channel,
                    "norm": kernel.cpu().double().norm().item(),
                    "silent": silent[channel].item() if has_zeros else float("nan"),
                    "newly_wrong": wrong,
                    "newly_right": right,
                    "images": len(chosen),
                    "accuracy_lost": (wrong - right) / len(chosen),
                    "low": low,
                    "high": high,
                }
            )
    return pd.DataFrame(rows)


def exciting_patches(
    model: nn.Sequential, responses: Mapping[str, Strongest], most: int
) -> pd.DataFrame:
    """The patches that excite each filter most, at most one from an image, strongest first.

    Filters that never respond have none.

    Args:
        responses: of `cnnpipe.inspection.responses.strongest`.
        most: patches of a filter.

    Returns:
        columns layer, filter, rank, image (index), response, top, left, size: the pixels that the
        response can see, which may reach over the image's edge.
    """
    layers = hidden_convolutions(model)
    rows = []
    for layer, found in responses.items():
        field = layers[layer].field
        values, first_rows, first_columns = (
            numbers.cpu() for numbers in (found.values, found.rows, found.columns)
        )
        order = values.argsort(dim=0, descending=True, stable=True)[:most]  # (most, C)
        for channel in range(order.shape[1]):
            for rank, image in enumerate(order[:, channel].tolist()):
                response = values[image, channel].item()
                if response == 0:
                    break
                top = field.first(int(first_rows[image, channel]))
                left = field.first(int(first_columns[image, channel]))
                rows.append((layer, channel, rank, image, response, top, left, field.size))
    columns = ["layer", "filter", "rank", "image", "response", "top", "left", "size"]
    return pd.DataFrame(rows, columns=columns)


@torch.inference_mode()
def removals(
    model: nn.Sequential, inputs: Tensor, labels: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Set each filter's response to zero, one at a time, and count the answers that it changes.

    Pooling keeps a map of zeros, so that the next layer of weights is given zeros for this channel.
    It is linear: its output is what it was, less the channel's own share of it. Only what comes
    after has to be computed again.

    Shape: inputs (N, 1, H, W), labels (N,).

    Returns:
        Name of the convolution → images that become wrong, images that become right: (C,) each.
    """
    batches = list(zip(inputs.split(PREDICTION_BATCH), labels.split(PREDICTION_BATCH), strict=True))
    counted = {}
    for name, layer in hidden_convolutions(model).items():
        changes = [_changes(model, layer, *batch) for batch in batches]  # (batches, 2, C)
        wrong, right = torch.stack(changes).sum(dim=0)
        counted[name] = wrong, right
    return counted


def _changes(model: nn.Sequential, removed: HiddenLayer, inputs: Tensor, labels: Tensor) -> Tensor:
    """How many images become wrong, and how many right, without each filter of a layer: (2, C)."""
    number = list(model).index(removed.output.module) + 1
    layer, rest = model[number], model[number + 1 :]
    with capture_activations(model, [removed.output.name]) as activations:
        before = model(inputs).argmax(dim=1) == labels
    channels = removed.response.output_shape[0]
    handed_on = activations[removed.output.name]
    whole = layer(handed_on)
    counts = []
    for share in _shares(layer, handed_on, channels):
        after = rest(whole - share).argmax(dim=1) == labels
        counts.append(torch.stack([(before & ~after).sum(), (after & ~before).sum()]))
    return torch.stack(counts, dim=1)


def _shares(layer: nn.Module, inputs: Tensor, channels: int) -> Iterator[Tensor]:
    """What each input channel adds to a layer's output, without the bias.

    Shape: inputs (N, channels, H, W), or flattened to (N, channels·H·W).
    """
    for channel in range(channels):
        if isinstance(layer, Conv2d):
            one = slice(channel, channel + 1)
            maps, kernel = inputs[:, one].contiguous(), layer.weight[:, one].contiguous()
            yield conv2d(maps, kernel, None, layer.stride, layer.padding, layer.dilation)
        elif isinstance(layer, Linear):
            columns = layer.weight.unflatten(1, (channels, -1))[:, channel]  # (out, H·W)
            yield inputs.unflatten(1, (channels, -1))[:, channel].flatten(1) @ columns.T


def evenly_spread(count: int, chosen: int) -> Tensor:
    """Indices that spread `chosen` of `count` images evenly; all of them if there are no more."""
    chosen = min(count, chosen)
    return torch.arange(chosen) * count // chosen
