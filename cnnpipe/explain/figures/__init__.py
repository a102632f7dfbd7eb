"""Figures of what a model's filters do and what its answers rest on, with the facts about them."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from torch import Tensor, nn

from cnnpipe.data.dataset import Dataset
from cnnpipe.drawing.colours import Array
from cnnpipe.drawing.illustration import Illustration
from cnnpipe.drawing.kernels import draw as draw_kernels
from cnnpipe.explain.attribution import METHODS, Attributions
from cnnpipe.explain.figures.attribution import draw as draw_attributions
from cnnpipe.explain.figures.patches import draw as draw_patches
from cnnpipe.findings.mistakes import named
from cnnpipe.inspection.activations import convolution_filters
from cnnpipe.inspection.responses import cut
from cnnpipe.inspection.structure import hidden_convolutions


def filter_figures(
    title: str, model: nn.Sequential, filters: pd.DataFrame, patches: pd.DataFrame, images: Tensor
) -> Iterator[Illustration]:
    """The kernels of every convolution, and the patches that excite its filters.

    Args:
        filters, patches: tables of `cnnpipe.explain.filters`.
        images: of the split that the patches are of, uint8 (N, H, W).
    """
    layers = hidden_convolutions(model)
    for layer, weights in convolution_filters(model).items():
        kernels = weights.cpu().numpy()
        rows = filters[filters["layer"] == layer]
        dead = rows.loc[rows["silent"] == 1, "filter"].tolist()
        facts = {"layer": layer, "shape": list(kernels.shape)}
        numbers = {
            "limit": float(np.abs(kernels).max()),
            "mean": float(kernels.mean(dtype=np.float64)),
            "std": float(kernels.std(dtype=np.float64)),
            "dead": dead,
        }
        heading = f"{title}: the kernels of {layer}"
        figure = draw_kernels(kernels, heading, dead=dead)
        yield Illustration(f"filters_{layer}", "filters", figure, facts | numbers)
        shown = _cut_out(patches[patches["layer"] == layer], images)
        heading = f"{title}: what excites the filters of {layer}"
        figure = draw_patches(rows, shown, heading)
        field = layers[layer].field.size
        yield Illustration(f"patches_{layer}", "patches", figure, facts | {"field": field})


def _cut_out(patches: pd.DataFrame, images: Tensor) -> dict[int, list[Array]]:
    """The patches of each filter that has any."""
    shown: dict[int, list[Array]] = {}
    for row in patches.to_dict("records"):
        place = int(row["top"]), int(row["left"]), int(row["size"])
        patch = cut(images[int(row["image"])], *place)
        shown.setdefault(int(row["filter"]), []).append(patch.numpy())
    return shown


def attribution_figure(
    title: str, attributions: Attributions, dataset: Dataset, drawn: Sequence[int], answers: Tensor
) -> Illustration:
    """Which pixels the answers to some test images rest on, with trained and with random weights.

    Args:
        drawn, answers: indices of the images, and the class that the network gave each.
    """
    split, classes = dataset.test, dataset.classes
    rows = [
        named({"index": index, "label": split.labels[index], "prediction": answer}, classes)
        for index, answer in zip(drawn, answers, strict=True)
    ]
    captions = [
        f"{row['index']}: “{row['label']}”"
        + ("" if row["label"] == row["prediction"] else f" as “{row['prediction']}”")
        for row in rows
    ]
    figure = draw_attributions(
        split.images[list(drawn)].numpy(),
        attributions.trained,
        attributions.random,
        captions,
        METHODS,
        f"{title}: which pixels the answer rests on",
    )
    return Illustration("attribution", "attribution", figure, {"images": rows})
