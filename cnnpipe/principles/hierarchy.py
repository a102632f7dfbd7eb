"""Claim: features form a hierarchy: each layer builds on the one before it, from edges to objects.

If layers build on each other, the class of an image must be easier to read from later layers. Three
measures of the output of each layer of weights (after activation and pooling), the first two also
for the same network with random weights:

- Linear probes (Alain, Bengio 2016): how well a linear classifier predicts the class from a layer's
  output x, by ridge regression on one-hot labels with a penalty λ of least leave-one-out error:

      W = argmin ‖X·W − Y‖² + λ‖W‖²

- What excites a filter most: the test images with its largest responses, cut to the pixels that
  this response sees, and how many of them are of one class.
- Receptive fields, by `cnnpipe.geometry`.

Any network that is trained well enough has rising probes, because its last layers were trained to
be read linearly. So the control is the same architecture trained on the same images with their
pixels in one random order, where nothing is an edge or a part that could be composed:

    rise     accuracy of the probe of the last hidden layer − that of the first
    number   rise on images as they are − rise on scrambled ones, in percentage points

Each run trains one LeNet-5 on each order. Probes learn from training images that the network has
not seen, and are judged on test images that the run draws. The claim is shown if the number is
above a point, and receptive fields grow; shown not to hold if it is clearly less: then rising
probes show training, and no hierarchy. With scrambled images in place of the real ones it must not
be shown.

The same network with random weights is probed as well: architecture alone makes larger fields. What
excites filters is shown for the pipeline's networks, without a verdict.

Probes read classes, not sizes. So each test image is shown again with its square tiles in a random
order: pieces as large as a tile survive, and their arrangement is lost. The strongest responses of
a filter to both versions are correlated over the images. Filters that find small things anywhere
keep their responses, those that find larger ones keep them in larger tiles only. By how much the
correlation falls from the first convolution to the last is compared with both controls, beside the
verdict. More than with random weights means that training makes later filters depend on larger
areas; only more than on scrambled images, which have areas but no parts, would speak of parts.

Sources: Alain, Bengio, "Understanding intermediate layers using linear classifier probes", 2016;
Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnpipe.findings.estimates import Estimate, summarize
from cnnpipe.findings.evidence import above, all_of, fact
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import count, percent, title_of
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.inspection.responses import Strongest, cut, strongest
from cnnpipe.inspection.structure import Field, hidden_convolutions, hidden_layers
from cnnpipe.inspection.untrained import untrained
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.hierarchy import draw
from cnnpipe.principles.replicas import replica
from cnnpipe.principles.scrambled import ORDERED, ORDERS, SCRAMBLED, scrambled
from cnnpipe.principles.study import POINT, Examples, Study

CLAIM = Claim(
    name="hierarchy",
    sentence=(
        "Features form a hierarchy: early layers find simple ones such as edges, "
        "deeper layers combine them into ever more complex ones."
    ),
    question="What does each layer know of the class, and what excites its filters?",
    limits=(
        "That the class is ever easier to read does not show that features are parts or "
        "objects, nor that a person would name them. Patches show what excites a filter, not "
        "what leaves it cold."
    ),
    draw=draw,
)

PIXELS = "pixels"
UNTRAINED = "random weights"
PENALTIES = 10.0 ** np.arange(-4, 3)
"""λ, as multiples of the mean squared length of an example."""
TILES = (4, 7, 14)
"""Pixels along the side of the tiles that are shuffled."""
JUDGED_TILE = 7
"""Larger than the first convolution's field, and smaller than the others'."""
FALL = 0.1
"""Difference of two correlations from which on it counts."""
TOP = 10
"""Most exciting images of a filter among which classes are counted."""

Array = NDArray[np.float64]


def measure(study: Study) -> Finding:
    probes = study.repeat(CLAIM.name, study.params.hierarchy.runs, probe_new_networks)
    return judge(probes, what_excites(study), study)


def probe_new_networks(run: Study) -> pd.DataFrame:
    """Accuracy of the probes of each layer of a LeNet-5 trained on images as they are, of one
    trained on scrambled images, and of one with random weights.

    Returns:
        columns state, layer, accuracy (fraction), and those of `kept_in_tiles`, which are empty but
        for convolutions; the first layer is the image.
    """
    params, model = run.params.hierarchy, run.models["lenet5"]
    seen = params.steps * params.batch_size
    images, labels = run.training_examples(seen + params.images)
    seen = len(labels) - min(params.images, len(labels) // 2)
    test_images, test_labels = run.test_examples(params.test_images)
    rows: list[dict[str, Any]] = []
    for state in (*ORDERS, UNTRAINED):
        inputs, tests = images, test_images
        if state == SCRAMBLED:
            inputs, tests = scrambled(images, run.seed), scrambled(test_images, run.seed)
        if state == UNTRAINED:
            network = untrained(model, inputs[:500], seed=run.seed)
        else:
            network = replica(run, model, params, (inputs[:seen], labels[:seen]))
        learned, judged = ({PIXELS: x} | outputs(network, x) for x in (inputs[seen:], tests))
        kept = kept_in_tiles(network, tests, run.seed)
        for layer in learned:
            examples = (learned[layer], labels[seen:]), (judged[layer], test_labels)
            reached = float(probe(*examples, run.classes).mean())
            rows.append(
                {"state": state, "layer": layer, "accuracy": reached, **kept.get(layer, {})}
            )
    return pd.DataFrame(rows)


def kept_in_tiles(
    model: nn.Sequential, images: Tensor, seed: int
) -> Mapping[str, Mapping[str, float]]:
    """How well strongest responses to images with shuffled tiles follow those to the images.

    Returns:
        by convolution, then by size of the tiles: the correlation over images, mean over filters.
    """
    whole = {layer: found.values for layer, found in strongest(model, images).items()}
    kept: dict[str, dict[str, float]] = {layer: {} for layer in whole}
    for tile in TILES:
        for layer, found in strongest(model, in_shuffled_tiles(images, tile, seed)).items():
            kept[layer][_tiles(tile)] = correlation(whole[layer], found.values)
    return kept


def in_shuffled_tiles(images: Tensor, tile: int, seed: int) -> Tensor:
    """The square tiles of each image in a random order of its own.

    Shape: (N, 1, S, S) → (N, 1, S, S), S a multiple of `tile`.
    """
    N, tiles = len(images), images.shape[-1] // tile
    cut = images.reshape(N, tiles, tile, tiles, tile).transpose(2, 3).flatten(1, 2)
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(N, tiles**2, generator=generator).argsort(dim=1)
    shuffled = cut[torch.arange(N)[:, None], order]  # (N, tiles², tile, tile)
    whole: Tensor = shuffled.unflatten(1, (tiles, tiles)).transpose(2, 3).reshape(images.shape)
    return whole


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's r over examples, averaged over columns; those that are constant are left out.

    Shape: (N, C) both.
    """
    a, b = (values.double() - values.double().mean(dim=0) for values in (first, second))
    r: Tensor = (a * b).sum(dim=0) / (a.norm(dim=0) * b.norm(dim=0))  # 0 / 0 is NaN
    return r.nanmean().nan_to_num().item()


def what_excites(study: Study) -> dict[str, pd.DataFrame]:
    """Of the pipeline's networks: which classes, and which patches, excite filters most.

    Returns:
        purity: columns model, state, layer, purity.
        patches: a row per patch, with its pixels.
    """
    params = study.params.hierarchy
    inputs, labels = study.test_examples(params.test_images)
    images = study.dataset.test.drawn(params.test_images, study.seed).images
    purities, patches = [], []
    for name, model in study.models.items():
        field_of = {layer: hidden.field for layer, hidden in hidden_convolutions(model).items()}
        fresh = untrained(model, inputs[:500], seed=study.seed)
        for state, network in [("untrained", fresh), ("trained", model)]:
            for layer, responses in strongest(network, inputs).items():
                place = {"model": name, "layer": layer}
                pure = purity(responses.values, labels)
                purities.append(place | {"state": state, "purity": pure})
                if state == "trained":
                    chosen = params.filters, params.patches
                    cut = _patches(responses, field_of[layer], images, *chosen)
                    patches += [place | patch for patch in cut]
    return {"purity": pd.DataFrame(purities), "patches": pd.DataFrame(patches)}


def rises(probes: pd.DataFrame, state: str) -> list[float]:
    """Percentage points from the probe of the first layer to that of the last, run by run."""
    of_state = probes[(probes["state"] == state) & (probes["layer"] != PIXELS)]
    ends = of_state.groupby("run", sort=False)["accuracy"].agg(["first", "last"])
    return [100 * float(rise) for rise in ends["last"] - ends["first"]]


def falls(probes: pd.DataFrame, state: str) -> list[float]:
    """How much less correlation the last convolution keeps than the first, run by run."""
    kept = probes[probes["state"] == state].dropna().groupby("run", sort=False)[_tiles(JUDGED_TILE)]
    ends = kept.agg(["first", "last"])
    return [float(fall) for fall in ends["first"] - ends["last"]]


def judge(probes: pd.DataFrame, excites: Mapping[str, pd.DataFrame], study: Study) -> Finding:
    """The verdict, by how much more probes rise where images have edges and parts.

    Args:
        probes: rows of `probe_new_networks` of all runs.
        excites: of `what_excites`.
        study: networks and budget.
    """
    params = study.params.hierarchy
    fields = {
        name: [hidden.field.size for hidden in hidden_convolutions(model).values()]
        for name, model in study.models.items()
    }
    grow = fields["lenet5"] == sorted(set(fields["lenet5"]))
    by_state = {state: rises(probes, state) for state in (*ORDERS, UNTRAINED)}
    more = np.subtract(by_state[ORDERED], by_state[SCRAMBLED]).tolist()
    estimate = Estimate.over_runs(more)
    rise = {state: Estimate.over_runs(values) for state, values in by_state.items()}
    table = summarize(probes, by=["state", "layer"])
    ends = table[table["layer"] != PIXELS].groupby("state", sort=False)["accuracy"]
    reached = {state: (percent(a.iloc[0]), percent(a.iloc[-1])) for state, a in ends}
    images = min(params.test_images, len(study.dataset.test))
    fall = {
        control: np.subtract(falls(probes, ORDERED), falls(probes, control)).tolist()
        for control in (UNTRAINED, SCRAMBLED)
    }
    sizes = [_tiles(tile) for tile in TILES]
    shuffled = probes.dropna().groupby(["state", "layer"], sort=False)[sizes].mean().reset_index()
    at_ends = {
        state: " and ".join(f"{r:.2f}" for r in kept.iloc[[0, -1]])
        for state, kept in shuffled.groupby("state", sort=False)[_tiles(JUDGED_TILE)]
    }
    of_trained = excites["purity"][excites["purity"]["state"] == "trained"]
    purities = of_trained.groupby("model", sort=False)["purity"]
    pure = [
        f"from {percent(p.iloc[0], 0)} to {percent(p.iloc[-1], 0)} in {title_of(str(model))}"
        for model, p in purities
    ]
    return CLAIM.finding(
        all_of(fact(grow), above(more, POINT)),
        f"In LeNet-5 a linear probe's accuracy goes, from the first layer to the last hidden one, "
        f"from {reached[ORDERED][0]} to {reached[ORDERED][1]}: it changes by "
        f"{rise[ORDERED].points()}. Trained on images whose pixels are in one random order, "
        f"without edges or parts, it changes by {rise[SCRAMBLED].points()}, with random weights by "
        f"{rise[UNTRAINED].points()}. So the order of the pixels makes a difference of "
        f"{estimate.points()}. Receptive fields grow from {fields['lenet5'][0]} to "
        f"{fields['lenet5'][-1]} pixels. With {_tiles(JUDGED_TILE)} pixels in random order an "
        f"image excites the filters of the first and of the last convolution as before with a "
        f"correlation of {at_ends[ORDERED]}, with random weights of {at_ends[UNTRAINED]} and on "
        f"scrambled images of {at_ends[SCRAMBLED]}; a fall that is more than {FALL:.1f} larger: "
        f"{above(fall[UNTRAINED], FALL).verdict()} against the former, "
        f"{above(fall[SCRAMBLED], FALL).verdict()} against the latter. Of the {TOP} images "
        f"that excite a trained filter most, "
        f"those of one class go {' and '.join(pure)} with depth.",
        estimate,
        unit=(
            "percentage points that a linear probe gains more from the first layer to the last "
            "hidden one than where the pixels are in a random order, in LeNet-5"
        ),
        uncertainty=f"{count(params.runs, 'run')}, paired: each trains two networks",
        data=(
            f"{study.title}: each run trains for {params.steps} steps of {params.batch_size} "
            f"images; probes learn from {params.images:,} other training images and are judged on "
            f"{images:,} test images, among which filters find what excites them; the filters "
            "shown are spread evenly over a layer."
        ),
        tables={"probes": table, "shuffled": shuffled, "runs": probes, **excites},
        details={
            "rise": {state: one.mean for state, one in rise.items()},
            "rise_interval": {state: list(one.interval) for state, one in rise.items()},
            "receptive_fields": fields,
            "tiles": _tiles(JUDGED_TILE),
            "top": TOP,
            "chance": 1 / study.classes,
        },
    )


@torch.inference_mode()
def outputs(model: nn.Sequential, inputs: Tensor) -> dict[str, Tensor]:
    """The outputs of the hidden layers, in order, by the name of the layer of weights.

    Shape: inputs (N, 1, H, W) → (N, features) each.
    """
    layers = hidden_layers(model)
    with capture_activations(model, [layer.output.name for layer in layers]) as activations:
        model(inputs)
    return {layer.name: activations[layer.output.name].flatten(1) for layer in layers}


def probe(training: Examples, test: Examples, classes: int) -> Array:
    """Which test examples a linear classifier of the given features gets right, as 0 and 1.

    Ridge regression of one-hot labels on centred features, W = (XᵀX + λ)⁻¹·Xᵀ·Y, in the
    coordinates of XᵀX's eigenvectors. An example left out would be missed by
    residual_i / (1 − 1/n − H_ii) with H = X·(XᵀX + λ)⁻¹·Xᵀ, so that choosing λ costs no further
    fits; 1/n is the intercept's part, without which the smallest λ would always seem best.

    Shape: inputs (n, …) to learn from, (m, …) to test → (m,).

    Source: Rifkin, Lippert, "Notes on regularized least squares", 2007, for the example left out.
    """
    (inputs, labels), (test_inputs, test_labels) = training, test
    X, T = inputs.flatten(1).double(), test_inputs.flatten(1).double()
    mean = X.mean(dim=0)
    X, T = X - mean, T - mean
    if X.shape[1] > len(X):  # W is in the space that the examples span
        Q = torch.from_numpy(scipy.linalg.qr(X.T.numpy(), mode="economic")[0])  # (features, n)
        X, T = X @ Q, T @ Q
    Y = nn.functional.one_hot(labels, classes).double()
    level = Y.mean(dim=0)
    # Not torch.linalg.eigh: MKL's at times does not converge where most features are constant.
    values, V = map(torch.from_numpy, scipy.linalg.eigh((X.T @ X).numpy()))  # V·diag(values)·Vᵀ
    values = values.clamp(min=0)
    Z = X @ V  # (n, features)
    rotated = Z.T @ (Y - level)
    scale = (values.sum() / len(X)).clamp(min=torch.finfo(torch.float64).tiny)
    fits = []
    for penalty in PENALTIES:
        shrink = 1 / (values + penalty * scale)  # (features,)
        B = shrink[:, None] * rotated  # (features, classes)
        leverage = Z.square() @ shrink  # (n,), the diagonal of H
        left_out = (Y - level - Z @ B) / (1 - 1 / len(X) - leverage)[:, None]
        fits.append((left_out.square().mean().item(), B))
    _, B = min(fits, key=lambda fit: fit[0])
    logits = T @ (V @ B) + level  # (m, classes)
    right: Array = (logits.argmax(dim=1) == test_labels).double().numpy()
    return right


def purity(values: Tensor, labels: Tensor) -> float:
    """Mean over filters: share of the commonest class among the images that excite it most.

    Filters that respond to all images alike are left out.

    Shape: values (N, C), labels (N,).
    """
    alive = values.amax(dim=0) > values.amin(dim=0)
    top = values[:, alive].argsort(dim=0, descending=True, stable=True)[:TOP]  # (TOP, C)
    counts = nn.functional.one_hot(labels[top]).sum(dim=0)  # (C, classes)
    return (counts.amax(dim=1) / len(top)).mean().item()


def _patches(
    responses: Strongest, field: Field, images: Tensor, filters: int, patches: int
) -> Iterator[dict[str, Any]]:
    """The most exciting patches of some filters, evenly spread over the layer's."""
    channels = responses.values.shape[1]
    for channel in np.linspace(0, channels - 1, min(filters, channels)).round().astype(int):
        order = responses.values[:, channel].argsort(descending=True, stable=True)
        for rank, image in enumerate(order[:patches].tolist()):
            top = field.first(int(responses.rows[image, channel]))
            left = field.first(int(responses.columns[image, channel]))
            patch = cut(images[image], top, left, field.size)
            yield {
                "filter": int(channel),
                "rank": rank,
                "image": image,
                "response": responses.values[image, channel].item(),
                "field": field.size,
                "side": len(patch),
                "pixels, two hexadecimal digits each, row by row": patch.numpy().tobytes().hex(),
            }


def _tiles(side: int) -> str:
    return f"tiles of {side}×{side}"
