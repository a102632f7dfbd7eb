"""Which pixels an answer rests on, three ways, and whether random weights would say the same.

Axes: N images, H height, W width; a is a map of a convolution, y the logit of the class asked for.

    gradient    |∂y/∂x|: how much the logit moves with a pixel
    grad_cam    Σ_c a_c · mean(∂y/∂a_c) over the maps c of the last convolution that has any extent
    occlusion   how much the logit falls when a square around the pixel is blackened

Grad-CAM and occlusion are signed: evidence against the class is negative. Grad-CAM's paper cuts it
off at zero; here it is kept, so that maps of networks with random weights can be compared.

The control is the model-randomisation test: a map that shows what the network has learned has to
change when the weights are random. What remains is what the image and the architecture alone give.
The number is Spearman's rank correlation of the two maps over all pixels of an image, averaged over
images and random networks; 1 is the same order of pixels, 0 no relation. A method passes if the
whole 95 % interval, bootstrap over the images, lies below one half; it fails if all of it lies
above. Otherwise it is not decided. The claim is about every method.

Sources: Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", 2013 (gradient);
Selvaraju et al., "Grad-CAM", ICCV 2017; Zeiler, Fergus, "Visualizing and understanding
convolutional networks", ECCV 2014 (occlusion); Adebayo et al., "Sanity checks for saliency maps",
NeurIPS 2018 (the control). The maps are computed by captum.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerGradCam, Occlusion, Saliency
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from cnnpipe.data.dataset import Dataset
from cnnpipe.explain.filters import evenly_spread
from cnnpipe.findings.evidence import Verdict
from cnnpipe.findings.intervals import bootstrap_interval
from cnnpipe.findings.wording import listed, title_of, written
from cnnpipe.inspection.structure import Field, hidden_convolutions
from cnnpipe.inspection.untrained import untrained
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.explain import AttributionParams

METHODS = {"gradient": "gradient", "grad_cam": "Grad-CAM", "occlusion": "occlusion"}
"""Their names in tables, and for people."""
CLAIM = "An attribution map shows what the network has learned, not what the image looks like."
LIMIT = 0.5
"""Rank correlation with random weights below which a map counts as learned."""

Maps = NDArray[np.float64]


@dataclass(frozen=True)
class Attributions:
    """Maps of a few images for a figure, and the comparison with random weights on many."""

    trained: Mapping[str, Maps]
    """Method → (N, H, W)."""
    random: Mapping[str, Maps]
    """The same of the first network of random weights."""
    correlations: pd.DataFrame
    """One row per method, random network and image: method, network, image, correlation."""

    def table(self, seed: int) -> pd.DataFrame:
        """One row per method: method, correlation, low, high, lowest and highest network."""
        rows = []
        for method in METHODS:
            of_method = self.correlations[self.correlations["method"] == method]
            by_image = of_method.groupby("image")["correlation"].mean()
            by_network = of_method.groupby("network")["correlation"].mean()
            low, high = bootstrap_interval(by_image, seed=seed)
            rows.append(
                {
                    "method": METHODS[method],
                    "correlation": float(by_image.mean()),
                    "low": low,
                    "high": high,
                    "lowest network": float(by_network.min()),
                    "highest network": float(by_network.max()),
                    "verdict": answer(low, high),
                }
            )
        return pd.DataFrame(rows)


def attribute(
    network: TrainedNetwork,
    dataset: Dataset,
    drawn: list[int],
    params: AttributionParams,
    seed: int,
) -> Attributions:
    """Explain the network's own answers, right or wrong, and compare with random weights.

    Args:
        network: of this project's layers.
        drawn: indices of the test images whose maps are wanted.
        seed: of the random weights; each further network takes the next one.
    """
    split, model, normalization = dataset.test, network.model, network.normalization
    compared = evenly_spread(len(split), params.images)
    inputs = normalization(split.images[torch.cat([torch.tensor(drawn), compared])])
    with torch.no_grad():
        classes = model(inputs).argmax(dim=1)
    statistics = normalization(dataset.train.images[evenly_spread(len(dataset.train), 500)])
    random = [untrained(model, statistics, seed=seed + k) for k in range(params.networks)]
    trained, *others = (
        maps(network, inputs, classes, params.window, normalization.background)
        for network in (model, *random)
    )
    rows = [
        {"method": method, "network": number, "image": int(image), "correlation": value}
        for method in METHODS
        for number, other in enumerate(others)
        for image, value in zip(
            compared,
            rank_correlations(trained[method][len(drawn) :], other[method][len(drawn) :]),
            strict=True,
        )
    ]
    ours, first = (
        {method: values[: len(drawn)] for method, values in of_network.items()}
        for of_network in (trained, others[0])
    )
    return Attributions(ours, first, pd.DataFrame(rows))


def maps(
    model: nn.Sequential, inputs: Tensor, classes: Tensor, window: int, black: float
) -> dict[str, Maps]:
    """Attribution of one logit of each image, by each method.

    Shape: inputs (N, 1, H, W), classes (N,) → method → (N, H, W).

    Args:
        window: side of the square that occlusion blackens, pixels.
        black: the value of a black pixel.
    """
    pixels = inputs.detach().clone().requires_grad_()
    gradient = Saliency(model).attribute(pixels, target=classes, abs=True)
    convolutions = hidden_convolutions(model, tuple(inputs.shape[1:])).values()
    # Maps of one pixel show no place.
    *_, last = (layer for layer in convolutions if layer.response.output_shape[1:] != (1, 1))
    coarse = LayerGradCam(model, last.response.module).attribute(pixels, target=classes)
    with torch.no_grad():
        occlusion = Occlusion(model).attribute(
            inputs,
            target=classes,
            sliding_window_shapes=(1, window, window),
            strides=(1, window // 2, window // 2),
            baselines=black,
        )
    return {
        "gradient": gradient[:, 0].cpu().double().numpy(),
        "grad_cam": placed(
            coarse[:, 0].detach().cpu().double().numpy(), last.field, inputs.shape[2]
        ),
        "occlusion": occlusion[:, 0].cpu().double().numpy(),
    }


def placed(coarse: Maps, field: Field, size: int) -> Maps:
    """Bring the maps of a convolution to the image's size, each value where its field's centre is.

    Bilinear between centres, constant beyond the outer ones. Stretching the map over the whole
    image, as is common, would move its values towards the edge wherever convolutions are unpadded.

    Shape: coarse (N, h, w) → (N, size, size).
    """
    pixels = np.arange(size)

    def weights(count: int) -> Maps:
        """Linear interpolation from `count` values to pixels, as a matrix (size, count)."""
        centres = field.start + (field.size - 1) / 2 + field.jump * np.arange(count)
        return np.stack([np.interp(pixels, centres, row) for row in np.eye(count)], axis=1)

    rows, columns = weights(coarse.shape[1]), weights(coarse.shape[2])
    return np.asarray(rows @ coarse @ columns.T)


def rank_correlations(one: Maps, other: Maps) -> list[float]:
    """Spearman's rank correlation of each pair of maps, ties at their mean rank.

    A map that is the same everywhere orders nothing: its correlation counts as 0.

    Shape: (N, H, W) twice → N numbers.
    """
    ranks = [rankdata(each.reshape(len(each), -1), axis=1) for each in (one, other)]
    a, b = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    lengths = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    products = (a * b).sum(axis=1)
    return [
        float(p / length) if length else 0.0 for p, length in zip(products, lengths, strict=True)
    ]


def answer(low: float, high: float) -> Verdict:
    """Whether a correlation is below the limit, from the ends of its interval."""
    if high < LIMIT:
        return "shown"
    return "shown not to hold" if low > LIMIT else "not decided"


def finding(attributions: Attributions, title: str, dataset: Dataset, seed: int) -> dict[str, Any]:
    """The outcome as the page quotes it: claim, verdict, statement, number.

    The method that depends least on the weights decides the number.
    """
    table = attributions.table(seed)
    worst = table.iloc[int(table["correlation"].argmax())]
    verdict = answer(table["low"].max(), table["high"].max())
    images = attributions.correlations["image"].nunique()
    networks = attributions.correlations["network"].nunique()
    parts = [
        f"{written(round(row['correlation'], 2) + 0.0, '.2f')} for {row['method']} "
        f"({row['verdict']})"
        for row in table.to_dict("records")
    ]
    return {
        "claim": CLAIM,
        "verdict": verdict,
        "statement": (
            f"The maps of {title} correlate with those of the same network "
            f"with random weights by {listed(parts)}, on a scale from 0, "
            "no relation, to 1, the same order of pixels."
        ),
        "number": float(worst["correlation"]),
        "unit": f"rank correlation, of {worst['method']}, which depends least on the weights",
        "interval": [float(worst["low"]), float(worst["high"])],
        "uncertainty": f"bootstrap over {images} test images, mean of {networks} random networks",
        "question": "Which pixels does the answer rest on, and would random weights say the same?",
        "data": (
            f"Test images of {title_of(dataset.name)}. What is explained is the logit of the class "
            f"that {title} answered, right or wrong. The number is of {images} further images, "
            "spread evenly."
        ),
        "scale": (
            "White is zero, blue above, orange below. Each map has a scale of its own, whose end "
            "stands below it: which pixels matter is compared, not how much. Grad-CAM’s maps, of "
            "few pixels, are brought to where their fields are centred."
        ),
        "limits": (
            "That a map which changes with the weights is a true explanation: the test can only "
            "refute. Occluded images are unlike those that the network was trained on."
        ),
    }
