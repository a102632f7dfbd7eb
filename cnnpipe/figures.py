"""All figures of one trained model, each with the facts that a report states about it.

Here networks meet pictures: `features` turns the network into arrays, `plots` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from cnnpipe import plots
from cnnpipe.data import Dataset
from cnnpipe.errors import InputError
from cnnpipe.features import (
    capture_activations,
    contributions,
    convolution_filters,
    distinct_layers,
    milestones,
)
from cnnpipe.formatting import percent
from cnnpipe.params import ModelName, VisualizeParams
from cnnpipe.preprocessing import Normalization

TITLES: dict[ModelName, str] = {"lenet5": "LeNet-5", "vgg": "VGG"}


@dataclass(frozen=True)
class Illustration:
    """A figure and what it shows, in numbers."""

    name: str
    """Of the file, without its ending."""
    kind: str
    figure: Figure
    facts: dict[str, Any]


def result_figures(
    title: str,
    curves: pd.DataFrame,
    counts: Sequence[Sequence[int]],
    predictions: pd.DataFrame,
    dataset: Dataset,
    mistakes: int,
) -> Iterator[Illustration]:
    """How training went, and what the network gets wrong.

    Args:
        title: the network's name for people.
        curves: as reports/curves has them.
        counts: the confusion matrix, rows true, columns predicted.
        predictions: as reports/predictions has them.
        dataset: whose test split was predicted.
        mistakes: how many of the worst are drawn at most.
    """
    yield Illustration(
        "curves", "curves", plots.training_curves(curves, f"{title}: learning curves"), {}
    )
    figure = plots.confusion(np.array(counts), dataset.classes, f"{title}: what is taken for what")
    yield Illustration("confusion", "confusion", figure, {})
    worst = worst_mistakes(predictions, mistakes)
    images = dataset.test.images[worst["index"].to_list()].numpy()
    figure = plots.worst_mistakes(images, worst, dataset.classes, f"{title}: the worst mistakes")
    rows = [_named(row, dataset.classes) for row in worst.to_dict("records")]
    yield Illustration("mistakes", "mistakes", figure, {"mistakes": rows})


def worst_mistakes(predictions: pd.DataFrame, most: int) -> pd.DataFrame:
    """The wrong predictions, most confident first; of equally confident ones in the set's order."""
    wrong = predictions[predictions["prediction"] != predictions["label"]]
    return wrong.sort_values("confidence", ascending=False, kind="stable").head(most)


def filter_figures(title: str, model: nn.Module) -> Iterator[Illustration]:
    """The kernels of every convolution."""
    for layer, weights in convolution_filters(model).items():
        kernels = weights.cpu().numpy()
        yield Illustration(
            f"filters_{layer}",
            "filters",
            plots.filters(kernels, f"{title}: the kernels of {layer}"),
            {
                "layer": layer,
                "shape": list(kernels.shape),
                "limit": float(np.abs(kernels).max()),
                "mean": float(kernels.mean(dtype=np.float64)),
                "std": float(kernels.std(dtype=np.float64)),
            },
        )


def sample_figures(
    title: str,
    model: nn.Module,
    normalization: Normalization,
    dataset: Dataset,
    params: VisualizeParams,
) -> Iterator[Illustration]:
    """Chosen test images on their way through every layer, and the first one's journey.

    Raises:
        InputError: a chosen index is beyond the test set.
    """
    split, classes = dataset.test, dataset.classes
    for index in params.samples:
        if index >= len(split):
            raise InputError(
                f"visualize.samples: got {index}; expected at most {len(split) - 1}, as the test "
                f"set of {dataset.name} has {len(split)} images"
            )
    images = split.images[params.samples]
    inputs = normalization(images)
    with torch.inference_mode(), capture_activations(model) as captured:
        probabilities = model(inputs).double().softmax(dim=1)
    activations = distinct_layers(captured)
    arrays = {name: values.float().numpy() for name, values in activations.items()}
    answers = [
        _named(
            {
                "index": index,
                "label": int(split.labels[index]),
                "prediction": int(row.argmax()),
                "confidence": float(row.max()),
            },
            classes,
        )
        for index, row in zip(params.samples, probabilities, strict=True)
    ]

    yield _journey(title, model, inputs[:1], images[0], activations, answers[0], classes)
    for position, answer in enumerate(answers):
        figure = plots.feature_maps(
            images.numpy(),
            arrays,
            position,
            classes,
            f"{title}: test image {answer['index']} in every layer",
            f"a “{answer['label']}”, read as “{answer['prediction']}” "
            f"with {percent(answer['confidence'])}",
        )
        layers = [_layer_facts(name, values[position]) for name, values in arrays.items()]
        name = f"feature_maps_{answer['index']}"
        yield Illustration(name, "feature_maps", figure, answer | {"layers": layers})


def _journey(
    title: str,
    model: nn.Module,
    input: Tensor,
    image: Tensor,
    activations: dict[str, Tensor],
    answer: dict[str, Any],
    classes: Sequence[str],
) -> Illustration:
    stops = milestones(activations)
    shares = contributions(model, input, list(stops.values()))
    figure = plots.journey(
        image.numpy(),
        {stop: activations[layer][0].numpy() for stop, layer in stops.items()},
        [share.numpy() for share in shares],
        classes,
        f"From pixels to “{answer['prediction']}”: a test image on its way through {title}",
    )
    return Illustration("journey", "journey", figure, answer | {"stops": list(stops)})


def _layer_facts(name: str, values: plots.Array) -> dict[str, Any]:
    """What a feature-map figure shows of one layer, for those who read numbers."""
    maps = values.reshape(len(values), -1)  # (C, H·W)
    return {
        "layer": name,
        "shape": list(values.shape),
        "lowest": float(maps.min()),
        "highest": float(maps.max()),
        "zero": float((maps == 0).mean()),
        "silent": int((~maps.any(axis=1)).sum()),
    }


def _named(row: Mapping[Any, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Class names in place of class numbers."""
    return {**row, **{key: classes[int(row[key])] for key in ("label", "prediction")}}
