"""Claim: local connectivity. A neuron sees a k×k patch, and through more layers a larger one.

Through layers l of kernel size k, stride s and dilation d the field grows as

    size_l = size_{l−1} + d·(k − 1)·jump_{l−1},   jump_l = jump_{l−1}·s,   size_0 = jump_0 = 1.

Experiment, on the trained networks and test images, layer by layer, for the neuron in the middle:

- Gradients: which pixels of the image have a gradient? All channels are measured at once, in a
  random mixture. Outside of the theoretical field each gradient must be exactly zero, not small.
- Pixels replaced: everything outside of the field becomes another image. A gradient describes small
  changes of this image; this covers large ones. The neuron must not change by a single bit.
- The effective field: the mean size of the gradients within. The side of a square with as many
  pixels as there are above 4.55 % of the peak (two standard deviations of a Gaussian), the standard
  deviation of the gradients' positions against that of evenly spread ones, and how well a Gaussian
  describes their profile.

Refuted by one gradient outside of the field, or one bit that changes. The first fully connected
layer of each network, which sees all pixels, is measured for contrast. Layers whose field covers
the whole image have nothing outside, and are not counted.

Why look nearby? Because near pixels are more related than distant ones. Each run draws training
images, and takes the mean size |r| of the correlation of two pixels at every distance; the same
images with their pixels in a random order are the control. The number is |r| of pixels at most
`NEAR` apart less that of pixels `FAR` apart or more. Shown if it is above `RELATED`; as scrambled
images show, where it is zero, data can refute it.

Sources: Araujo, Norris, Sim, "Computing receptive fields of convolutional neural networks", Distill
2019; Luo, Li, Urtasun, Zemel, "Understanding the effective receptive field in deep convolutional
neural networks", NeurIPS 2016.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnpipe.findings.estimates import Estimate
from cnnpipe.findings.evidence import above, all_of, fact
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.intervals import mean_interval
from cnnpipe.findings.wording import NBSP, count, percent, short
from cnnpipe.inspection.structure import Field, layers_of
from cnnpipe.layers import Linear
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.locality import draw
from cnnpipe.principles.scrambled import ORDERED, ORDERS, SCRAMBLED, scrambled
from cnnpipe.principles.study import Study

CLAIM = Claim(
    name="locality",
    sentence=(
        "Local connectivity: a neuron sees only a k×k patch of the layer before it, and so, "
        "through the layers, only a known field of the image; and near pixels are more related "
        "than distant ones."
    ),
    question="Which pixels can a neuron see, and which does it look at?",
    limits=(
        "What the neuron looks for. Neurons near the edge, whose fields are cut off; and the "
        "effective field of other images than these."
    ),
    draw=draw,
)
NEAR, FAR = 2, 8
"""Pixels from centre to centre."""
RELATED = 0.1
"""Difference of two mean correlations from which on it counts, a small effect."""
VISIBLE = 0.0455
"""Of the peak: what a Gaussian has left at two standard deviations' probability (Luo et al.)."""

Array = NDArray[np.float64]


def measure(study: Study) -> Finding:
    inputs, _ = study.test_examples(study.params.locality.images)
    columns = [f"x{x}" for x in range(inputs.shape[-1])]
    rows, maps = [], []
    for model, network in study.models.items():
        for number, layer in enumerate(layers_of(network), 1):
            linear = isinstance(layer.module, Linear)
            if not (linear or layer.window):
                continue
            upto = nn.Sequential(*list(network)[:number])
            row, field_map = measure_field(upto, layer.field, inputs, study.seed)
            place = {"model": model, "layer": layer.name}
            rows.append(place | {"local": not linear} | row)
            maps += [
                place | {"row": y} | dict(zip(columns, line, strict=True))
                for y, line in enumerate(field_map.round(4).tolist())
            ]
            if linear:  # the contrast: one is enough
                break
    relations = study.repeat(CLAIM.name, study.params.locality.runs, relate)
    return judge(pd.DataFrame(rows), pd.DataFrame(maps), relations, study)


def relate(run: Study) -> pd.DataFrame:
    """How closely pixels are related, by their distance, on training images of one run.

    Returns:
        columns order, distance (pixels, rounded down), correlation (mean |r| of the pairs).
    """
    images, _ = run.training_examples(run.params.locality.images)
    tables = []
    for order, ordered in ((ORDERED, images), (SCRAMBLED, scrambled(images, run.seed))):
        table = correlation_by_distance(ordered[:, 0].double().numpy())
        tables.append(table.assign(order=order))
    return pd.concat(tables, ignore_index=True)


def correlation_by_distance(images: Array) -> pd.DataFrame:
    """Mean |r| of two pixels over all pairs of each distance; pixels that never vary are left out.

    Shape: (N, H, W).

    Returns:
        columns distance (pixels, rounded down), correlation.
    """
    varies = images.std(axis=0) > 0
    places = np.argwhere(varies)
    related = np.abs(np.corrcoef(images[:, varies], rowvar=False))
    first, second = np.triu_indices(len(places), k=1)
    distance = np.hypot(*(places[first] - places[second]).T).astype(int)
    pairs = pd.DataFrame({"distance": distance, "correlation": related[first, second]})
    sums: pd.DataFrame = pairs.groupby("distance")["correlation"].mean().reset_index()
    return sums


def measure_field(
    network: nn.Module, field: Field, inputs: Tensor, seed: int
) -> tuple[dict[str, Any], Array]:
    """What the neuron in the middle of a layer's maps sees.

    Shape: inputs (N, 1, H, W); the network's output (N, C, H_out, W_out) or (N, C).

    Args:
        network: up to and with the layer, in evaluation mode.
        field: what it is to see, by theory.
        inputs: images.
        seed: of the mixture of the channels.

    Returns:
        a row of the table, and the map (H, W) of the mean size of the gradients, relative to the
        peak. The columns of the row:

        theory: side of the field, pixels; may be larger than the image.
        first, last: its pixels that lie in the image, on either axis.
        outside: gradients outside of it that are not zero, over all images.
        asked: gradients outside of it, over all images.
        changed: numbers of the layer that changed when all outside was replaced.
        seen: side of the smallest square that holds every gradient.
        effective: side of the square of as many pixels as have a gradient above `VISIBLE` of the
            peak.
        spread, spread_low, spread_high: standard deviation of the gradients' positions over that of
            evenly spread ones; mean over the images and its interval.
        gaussian: share of the profile's variance that a Gaussian of its mean and deviation
            explains, R².
    """
    images = inputs.detach().clone().requires_grad_()
    outputs = network(images)
    middle = _middle(outputs)  # (N, C)
    generator = torch.Generator().manual_seed(seed)
    mixture = torch.randn(middle.shape, generator=generator)
    (gradient,) = torch.autograd.grad((middle * mixture).sum(), images)
    sizes = gradient[:, 0].abs().double().numpy()  # (N, H, W)

    unit = outputs.shape[-1] // 2 if outputs.ndim == 4 else 0
    first = max(field.first(unit), 0)
    last = min(field.first(unit) + field.size, inputs.shape[-1]) - 1
    box = (slice(first, last + 1),) * 2
    side = last - first + 1
    even = np.sqrt((side**2 - 1) / 12)  # deviation of evenly spread positions
    outside = np.ones(sizes.shape[1:], dtype=bool)
    outside[box] = False

    mean = sizes.mean(axis=0)
    peak = mean.max() or 1.0
    seen = np.argwhere(mean > 0)
    spread = [float(_deviation(image) / even) for image in sizes if image.any() and side > 1]
    low, high = mean_interval(spread) if len(spread) > 1 else (np.nan, np.nan)
    row = {
        "theory": field.size,
        "first": first,
        "last": last,
        "outside": int(np.count_nonzero(sizes[:, outside])),
        "asked": len(sizes) * int(outside.sum()),
        "changed": _changed(network, inputs, middle.detach(), box),
        "seen": int(np.ptp(seen, axis=0).max()) + 1 if len(seen) else 0,
        "effective": float(np.sqrt((mean > VISIBLE * peak).sum())),
        "spread": (low + high) / 2,
        "spread_low": low,
        "spread_high": high,
        "gaussian": _gaussian_fit(mean[box]),
    }
    return row, mean / peak


def _middle(output: Tensor) -> Tensor:
    """
    Shape: (N, C, H, W) or (N, C) → (N, C).
    """
    return output[:, :, output.shape[2] // 2, output.shape[3] // 2] if output.ndim == 4 else output


@torch.no_grad()
def _changed(network: nn.Module, inputs: Tensor, middle: Tensor, box: tuple[slice, slice]) -> int:
    """How many numbers change when all outside of the box comes from the next image."""
    replaced = inputs.roll(1, dims=0)
    replaced[:, :, *box] = inputs[:, :, *box]
    return int((_middle(network(replaced)) != middle).sum())


def _deviation(weights: Array) -> float:
    """Standard deviation of the positions of a map's mass, root mean square of both axes."""
    variances = []
    for axis in (0, 1):
        profile = weights.sum(axis=axis) / weights.sum()
        positions = np.arange(len(profile))
        variances.append((profile * (positions - profile @ positions) ** 2).sum())
    return float(np.sqrt(np.mean(variances)))


def _gaussian_fit(field: Array) -> float:
    """R² of a Gaussian with the profile's own mean and deviation; 0 where a flat line fits better.

    Shape: (side, side).
    """
    profile = field.sum(axis=0) + field.sum(axis=1)
    positions = np.arange(len(profile))
    if profile.std() == 0:
        return 0.0
    shares = profile / profile.sum()
    mean = shares @ positions
    gaussian = np.exp(-((positions - mean) ** 2) / (2 * (shares @ (positions - mean) ** 2)))
    scaled = gaussian * (gaussian @ profile) / (gaussian @ gaussian)
    unexplained = ((profile - scaled) ** 2).sum() / ((profile - profile.mean()) ** 2).sum()
    return max(0.0, float(1 - unexplained))


def judge(
    layers: pd.DataFrame, maps: pd.DataFrame, relations: pd.DataFrame, study: Study
) -> Finding:
    """Nothing may come from outside of a local layer's field; near pixels must be more related."""
    local = layers[layers["local"] & (layers["asked"] > 0)]
    full = layers[~layers["local"]]
    nearer = {order: nearer_by(relations[relations["order"] == order]) for order in ORDERS}
    gain = Estimate.over_runs(nearer[ORDERED])
    control = Estimate.over_runs(nearer[SCRAMBLED])
    outside, asked, changed = (int(local[c].sum()) for c in ("outside", "asked", "changed"))
    sides = local["last"] - local["first"] + 1
    filled = int((local["seen"] == sides).sum())
    statement = (
        f"In {count(len(local), 'convolution and pooling layer')} of "
        f"{count(layers['model'].nunique(), 'network')}, {outside:,} of {asked:,} gradients "
        "outside of the theoretical field are not zero, and when everything outside is replaced by "
        f"another image {changed:,} of the neuron’s numbers change. The field is used to its edges "
        f"in {filled} of {len(local)} layers."
    )
    inner = local[sides == local["theory"]]  # not cut by the edge
    if len(inner):
        deepest = inner.sort_values("theory").iloc[-1]
        narrower = deepest["spread_high"] < 1
        statement += (
            f" Within it the influence is {'' if narrower else 'not '}concentrated: in "
            f"{deepest['layer']} it spreads {short(deepest['spread'])} times as wide as an even "
            f"one (95{NBSP}% interval {short(deepest['spread_low'])} to "
            f"{short(deepest['spread_high'])}), and a Gaussian explains "
            f"{percent(deepest['gaussian'])} of its profile; "
            f"{short(deepest['effective'])} of {deepest['theory']} pixels of the side matter."
        )
    if len(full):
        statement += (
            f" A fully connected layer sees {full['seen'].max()}×{full['seen'].max()} pixels."
        )
    statement += (
        f" Pixels at most {NEAR} apart correlate by {short(gain.mean)} more than pixels {FAR} or "
        f"more apart (95{NBSP}% interval {gain.range('.3f')}; with the pixels in a random order by "
        f"{short(control.mean)})."
    )
    images = min(study.params.locality.images, len(study.dataset.test))
    return CLAIM.finding(
        all_of(fact(not outside and not changed), above(nearer[ORDERED], RELATED)),
        statement,
        gain,
        unit=f"more correlation of pixels at most {NEAR} apart than of pixels {FAR} apart or more",
        uncertainty=f"{count(study.params.locality.runs, 'run')}, each with its own images; the "
        "fields are exact: zero means zero, not small",
        data=(
            f"The neuron in the middle of each layer’s maps, over {count(images, 'test image')} of "
            f"{study.title}; the networks as trained. Correlations over as many training images in "
            "each run."
        ),
        tables={
            "layers": layers,
            "maps": maps,
            "relations": relations.groupby(["order", "distance"], sort=False)["correlation"]
            .mean()
            .reset_index(),
        },
        details={"outside": outside, "asked": asked, "changed": changed, "filled": filled},
    )


def nearer_by(relations: pd.DataFrame) -> list[float]:
    """Mean |r| at `NEAR` or less, less that at `FAR` or more, run by run."""
    near = relations[relations["distance"] <= NEAR].groupby("run")["correlation"].mean()
    far = relations[relations["distance"] >= FAR].groupby("run")["correlation"].mean()
    return [float(difference) for difference in near - far]
