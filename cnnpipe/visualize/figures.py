"""Figures of one trained model, each with the facts that a report states about it.

Here networks meet pictures: `inspection` turns the network into arrays, `drawing` draws them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.data.dataset import Dataset
from cnnpipe.drawing.colours import Array
from cnnpipe.drawing.illustration import Illustration
from cnnpipe.findings.mistakes import named, worst_mistakes
from cnnpipe.findings.wording import percent, title_of
from cnnpipe.inspection.activations import (
    capture_activations,
    contributions,
    distinct_layers,
    milestones,
)
from cnnpipe.models import TrainedNetwork
from cnnpipe.visualize import confusion, feature_maps, journey, mistakes, reliability
from cnnpipe.visualize import curves as learning_curves


def result_figures(
    title: str,
    curves: pd.DataFrame,
    evaluation: Mapping[str, Any],
    predictions: pd.DataFrame,
    dataset: Dataset,
    most_mistakes: int,
) -> Iterator[Illustration]:
    """How training went, and what the network gets wrong.

    Curves, evaluation and predictions are those of reports/.
    """
    figure = learning_curves.draw(curves, f"{title}: learning curves")
    yield Illustration("curves", "curves", figure, {})
    figure = confusion.draw(
        np.array(evaluation["confusion"]), dataset.classes, f"{title}: what is taken for what"
    )
    yield Illustration("confusion", "confusion", figure, {})
    figure = reliability.draw(
        evaluation["reliability"],
        f"{title}: is it right as often as it says?",
        f"expected calibration error {100 * evaluation['ece']:.2f} percentage points; "
        "lines: 95 % intervals",
    )
    yield Illustration("reliability", "reliability", figure, {})
    worst = worst_mistakes(predictions, most_mistakes)
    images = dataset.test.images[worst["index"].to_list()].cpu().numpy()
    figure = mistakes.draw(images, worst, dataset.classes, f"{title}: the worst mistakes")
    rows = [named(row, dataset.classes) for row in worst.to_dict("records")]
    yield Illustration("mistakes", "mistakes", figure, {"mistakes": rows})


def sample_figures(
    network: TrainedNetwork, dataset: Dataset, drawn: Sequence[int]
) -> Iterator[Illustration]:
    """Test images, by their indices, on their way through every layer; the first one's journey."""
    title, model = title_of(network.name), network.model
    split, classes = dataset.test, dataset.classes
    images = split.images[list(drawn)]
    inputs = network.normalization(images)
    with torch.inference_mode(), capture_activations(model) as captured:
        probabilities = model(inputs).cpu().double().softmax(dim=1)
    activations = _behind_normalisation(model, distinct_layers(captured))
    arrays = {name: values.float().cpu().numpy() for name, values in activations.items()}
    answers = [
        named(
            {
                "index": index,
                "label": int(split.labels[index]),
                "prediction": int(row.argmax()),
                "confidence": float(row.max()),
            },
            classes,
        )
        for index, row in zip(drawn, probabilities, strict=True)
    ]

    stops = milestones(activations)
    shares = contributions(model, inputs[:1], list(stops.values()))
    figure = journey.draw(
        images[0].cpu().numpy(),
        {stop: arrays[layer][0] for stop, layer in stops.items()},
        [share.cpu().numpy() for share in shares],
        classes,
        f"From pixels to “{answers[0]['prediction']}”: a test image on its way through {title}",
    )
    yield Illustration("journey", "journey", figure, answers[0] | {"stops": list(stops)})
    for position, answer in enumerate(answers):
        figure = feature_maps.draw(
            images.cpu().numpy(),
            arrays,
            position,
            classes,
            f"{title}: test image {answer['index']} in every layer",
            f"a “{answer['label']}”, read as “{answer['prediction']}” "
            f"with {percent(answer['confidence'])}",
        )
        layers = [_layer_facts(name, values[position]) for name, values in arrays.items()]
        # Not by the image's index: the worst mistake of another experiment is another image, and
        # its figure takes the place of this one.
        name = f"feature_maps_{position}"
        yield Illustration(name, "feature_maps", figure, answer | {"layers": layers})


def _behind_normalisation(model: nn.Module, activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what a batch normalisation scales and shifts at once: both say the same."""
    names = list(activations)
    normalised = {
        before
        for before, name in pairwise(names)
        if isinstance(model.get_submodule(name), nn.BatchNorm2d)
    }
    return {name: activations[name] for name in names if name not in normalised}


def _layer_facts(name: str, values: Array) -> dict[str, Any]:
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
