"""Claim: the first layer learns, from data alone, filters like those once designed by hand.

The hand-crafted templates, of the filter's size: Sobel edges at every angle, Gabor waves (Daugman
1985), Laplacians of Gaussians (Marr, Hildreth 1980), and Gaussian blobs, round and elongated. The
match of a filter w is that with the best template t:

    m(w) = max over t of |⟨w, t⟩| / (‖w‖·‖t‖)

m² is the share of the filter's energy that lies in the template. The sign does not count, because
the next layer's weights can have either sign.

Experiment: each run trains a LeNet-5 and takes the mean of m over its first-layer filters, less
that of random filters of the same size, distributed as the layers' initial weights. Chance must be
subtracted because every small filter matches some template: 3×3 weights are a point on a sphere of
eight dimensions, which the templates cover densely, so VGG's are shown without a verdict. Second
control: random filters as smooth as the learned ones, with the Fourier amplitudes of a learned
filter and random phases. A match that these reach as well shows smoothness, not edges or blobs.

Whether a filter detects edges of one direction is read from its tuning: 0 for one that responds
alike to gratings of all angles, 1 for one that responds to a single angle. A round blob has 0. It
is held against that of random filters, and has an answer of its own, beside the verdict.

Likeness is not use. So the runs also train a small network whose first layer is learned, frozen at
a hand-crafted bank (Sobel and Gabor at four angles each), or frozen at random, all else alike.

The claim is shown if learned filters match better than random ones as smooth, by more than
`LIKENESS`; shown not to hold if they do clearly less, as random filters do. The number is that
difference. What learning the first layer is worth has answers of its own, beside the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from cnnpipe.findings.estimates import Estimate, paired, summarize
from cnnpipe.findings.evidence import above
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import count, title_of, written
from cnnpipe.inspection.activations import convolution_filters
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.filters import draw
from cnnpipe.principles.networks import MAX, pooling_network
from cnnpipe.principles.replicas import replica
from cnnpipe.principles.study import POINT, Study, accuracy, train

CLAIM = Claim(
    name="filters",
    sentence=(
        "The first layer learns, from data alone, filters like those once designed by hand: "
        "edge and blob detectors."
    ),
    question="How near does each learned filter come to a hand-crafted one, and would chance?",
    limits=(
        "A likeness of weights: it does not show that the network needs edges. "
        "The bank is a choice; a larger one matches everything better, chance included."
    ),
    draw=draw,
)

Array = NDArray[np.float64]
ANGLES = np.arange(0, 180, 15)
"""Degrees; the sign being free, half a turn is a full one."""
SMOOTH_DRAWS = 200
"""Random filters as smooth as a learned one, for each."""
FREQUENCIES = np.arange(1, 6) / 10
"""Of the gratings that tuning is measured with, cycles per pixel; ½ is the highest of a grid."""
TUNED = 0.1
"""Difference of two mean tunings from which on it counts."""
LIKENESS = 0.02
"""Difference of two mean cosines from which on it counts."""
First = Literal["learned", "frozen, hand-crafted", "frozen, random"]
FIRSTS: tuple[First, ...] = get_args(First)
"""What the first layer's weights are, while the others learn."""
TUNING_OF_RANDOM = "tuning of random"
BANK = [
    *(f"Sobel at {angle}°" for angle in (0, 45, 90, 135)),
    *(f"Gabor of λ 5, σ 2, phase 0° at {angle}°" for angle in (0, 45, 90, 135)),
]
"""Templates of 5×5 that a first layer of eight filters is frozen at."""


def measure(study: Study) -> Finding:
    params = study.params.filters
    likeness = study.repeat(CLAIM.name, params.runs, of_a_new_network)
    use = study.repeat(f"{CLAIM.name}-use", params.runs, with_first_layers)
    return judge(likeness, use, of_the_pipeline(study), study)


def of_a_new_network(run: Study) -> pd.DataFrame:
    """Likeness and tuning of one newly trained LeNet-5.

    Returns:
        one row, columns match, random, random as smooth, tuning, tuning of random.
    """
    params = run.params.filters
    learned = first_layer(replica(run, run.models["lenet5"], params))
    rng = np.random.default_rng(run.seed)
    table = likeness_of(learned, params.draws, rng)[0]
    row = table[["match", "random", "random as smooth"]].mean().to_frame().T
    random = random_filters(params.draws, learned, rng)
    return row.assign(**{"tuning": tuning(learned).mean(), TUNING_OF_RANDOM: tuning(random).mean()})


def likeness_of(
    learned: Array, draws: int, rng: np.random.Generator
) -> tuple[pd.DataFrame, Array, Array]:
    """How well each filter matches its best template, and how well random ones do.

    Shape: learned (n, k, k).

    Returns:
        columns match, template, random (mean), random as smooth (mean), better than random (share
        of them); the best templates (n, k, k); and the matches of the random filters (draws,).
    """
    names, bank = templates(learned.shape[-1])
    matches, best = best_match(learned, bank)
    chance, _ = best_match(random_filters(draws, learned, rng), bank)
    smooth = np.stack(
        [best_match(same_smoothness(learned, rng), bank)[0] for _ in range(SMOOTH_DRAWS)]
    )  # (draws, filters)
    table = pd.DataFrame(
        {
            "match": matches,
            "template": [names[template] for template in best],
            "random": float(chance.mean()),
            "random as smooth": smooth.mean(axis=0),
            "better than random": [float((chance < match).mean()) for match in matches],
        }
    )
    return table, bank[best], chance


def of_the_pipeline(study: Study) -> dict[str, pd.DataFrame]:
    """The filters that the pipeline's networks learned, to be drawn: matches, weights, random."""
    rng = np.random.default_rng(study.seed)
    tables, pixels, histograms = [], [], []
    for model, network in study.models.items():
        learned = first_layer(network)
        table, nearest, chance = likeness_of(learned, study.params.filters.draws, rng)
        tables.append(table.assign(model=model, filter=range(len(table))))
        for i, (weights, template) in enumerate(zip(learned, nearest, strict=True)):
            sign = np.sign((weights * template).sum())
            pixels += list(_pixels(model, i, {"learned": weights, "template": sign * template}))
        numbers, edges = np.histogram(chance, bins=50, range=(0, 1))
        bins = {"model": model, "from": edges[:-1], "to": edges[1:], "filters": numbers}
        histograms.append(pd.DataFrame(bins))
    return {
        "matches": pd.concat(tables, ignore_index=True),
        "weights": pd.DataFrame(pixels),
        "random": pd.concat(histograms, ignore_index=True),
    }


def with_first_layers(run: Study) -> pd.DataFrame:
    """Accuracy of a small network whose first layer is learned, or frozen in one of two ways.

    Returns:
        columns network, accuracy.
    """
    params = run.params.filters
    examples = run.training_examples(params.steps * params.batch_size)
    test = run.test_examples(params.test_images)
    rows = []
    for first in FIRSTS:
        build = partial(with_first_layer, first, run.classes)
        rows.append((first, accuracy(train(build, examples, params, run.seed), test)))
    return pd.DataFrame(rows, columns=["network", "accuracy"])


def with_first_layer(first: First, classes: int) -> nn.Sequential:
    """The network with max pooling of `networks`; frozen weights have the size of initial ones.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    network = pooling_network(MAX, classes)
    weight = next(iter(network.parameters()))  # (8, 1, 5, 5)
    if first == "frozen, hand-crafted":
        named = dict(zip(*templates(weight.shape[-1]), strict=True))
        bank = torch.from_numpy(_unit(np.stack([named[name] for name in BANK])))
        with torch.no_grad():
            weight.copy_(bank.view_as(weight) * weight.norm() / len(BANK) ** 0.5)
    if first != "learned":
        weight.requires_grad_(False)
    return network


def judge(
    likeness: pd.DataFrame, use: pd.DataFrame, drawn: Mapping[str, pd.DataFrame], study: Study
) -> Finding:
    """The verdict over newly trained networks.

    Args:
        likeness: rows of `of_a_new_network` of all runs.
        use: rows of `with_first_layers` of all runs.
        drawn: of `of_the_pipeline`.
        study: budget and data, for the words.
    """
    params = study.params.filters
    gain, beyond = (
        (likeness["match"] - likeness[kind]).to_list() for kind in ("random", "random as smooth")
    )
    estimate = Estimate.over_runs(beyond)
    tuned = (likeness["tuning"] - likeness[TUNING_OF_RANDOM]).to_list()
    worth = {
        first: [100 * lead for lead in paired(use, "network", "learned", first)]
        for first in FIRSTS[1:]
    }
    leads = [
        f"{Estimate.over_runs(values).points()} ahead of one {first} (more than a point: "
        f"{above(values, POINT).verdict()})"
        for first, values in worth.items()
    ]
    cosines = drawn["matches"].groupby("model", sort=False)[["match", "random as smooth"]].mean()
    of_pipeline = [
        f"{title_of(str(model))} {row['match']:.2f} against {row['random as smooth']:.2f}"
        for model, row in cosines.iterrows()
    ]
    return CLAIM.finding(
        above(beyond, LIKENESS),
        f"In {count(len(likeness), 'newly trained LeNet-5', 'newly trained LeNet-5s')} the mean "
        f"cosine of a learned filter with its best template is {likeness['match'].mean():.2f}: "
        f"{_more(Estimate.over_runs(gain))} than of random filters, and {_more(estimate)} than of "
        f"random filters as smooth. In the networks that the pipeline trained, one of each, it is "
        f"in {' and in '.join(of_pipeline)} as smooth. To the angle of an edge learned filters are "
        f"tuned by {likeness['tuning'].mean():.2f} of 1, {_more(Estimate.over_runs(tuned))} than "
        f"random ones (more than {TUNED:.1f}: {above(tuned, TUNED).verdict()}). As for use, a "
        f"learned first layer is {' and '.join(leads)}.",
        estimate,
        unit="more cosine with the best hand-crafted template than random filters as smooth, in "
        "LeNet-5",
        uncertainty=f"{count(len(likeness), 'network')}, each trained on its own images",
        data=(
            f"{study.title}: each network is trained for {params.steps} steps of "
            f"{params.batch_size} images; {params.draws:,} random filters of each size; accuracy "
            f"on {study.tested(params.test_images)} in each run."
        ),
        tables={
            "matches": drawn["matches"],
            "weights": drawn["weights"],
            "random": drawn["random"],
            "use": summarize(use, by=["network"]),
            "runs": likeness,
        },
        details={
            "gain": float(np.mean(gain)),
            "beyond_smoothness": estimate.mean,
            "tuning": float(likeness["tuning"].mean()),
            "worth": {first: float(np.mean(values)) for first, values in worth.items()},
        },
    )


def first_layer(model: nn.Module) -> Array:
    """The kernels of the first convolution, whatever channel they read, one by one.

    Shape: (O·C, k, k).
    """
    weights = next(iter(convolution_filters(model).values()))
    return weights.double().flatten(0, 1).numpy()


def random_filters(draws: int, like: Array, rng: np.random.Generator) -> Array:
    """Uniform about zero, as the layers draw them; their scale does not matter to a cosine.

    Shape: like (n, k, k) → (draws, k, k).
    """
    return rng.uniform(-1, 1, (draws, *like.shape[1:]))


def same_smoothness(filters: Array, rng: np.random.Generator) -> Array:
    """Keep each filter's Fourier amplitudes, and with them its smoothness, with random phases.

    The phases are those of white noise, so that the result is real.

    Shape: (n, k, k) → (n, k, k).
    """
    spectrum = np.fft.fft2(rng.standard_normal(filters.shape))
    return np.fft.ifft2(np.abs(np.fft.fft2(filters)) * spectrum / np.abs(spectrum)).real


def tuning(filters: Array) -> Array:
    """How much each filter prefers one angle of a grating, from 0 to 1.

    A grating of frequency f and angle θ excites a filter w with the amplitude

        A(f, θ) = |Σ_p w[p]·exp(2πi·f·(p_x·cos θ + p_y·sin θ))|

    At the frequency of its largest amplitude the tuning is |Σ_θ A(θ)·exp(2iθ)| / Σ_θ A(θ), which is
    one minus the circular variance.

    Shape: (n, k, k) → (n,).

    Source: Ringach, Shapley, Hawken, "Orientation selectivity in macaque V1: diversity and laminar
    dependence", Journal of Neuroscience 22, 2002.
    """
    along = np.stack(
        [_grid(filters.shape[-1], float(angle))[0] for angle in ANGLES]
    )  # (angles, k, k)
    gratings = np.exp(2j * np.pi * FREQUENCIES[:, None, None, None] * along)
    amplitudes = np.abs(np.tensordot(filters, gratings, axes=([1, 2], [2, 3])))  # (n, f, angles)
    best = amplitudes.max(axis=2).argmax(axis=1)
    at_best = amplitudes[np.arange(len(filters)), best]  # (n, angles)
    tuned: Array = np.abs(at_best @ np.exp(2j * np.radians(ANGLES))) / at_best.sum(axis=1)
    return tuned


def best_match(filters: Array, bank: Array) -> tuple[Array, NDArray[np.intp]]:
    """Largest |cosine| with any template, and which one it is.

    Shape: filters (n, k, k), bank (T, k, k) → (n,), (n,).
    """
    cosines = np.abs(_unit(filters) @ _unit(bank).T)  # (n, T)
    return cosines.max(axis=1), cosines.argmax(axis=1)


def _unit(filters: Array) -> Array:
    """
    Shape: (n, k, k) → (n, k²) of norm 1, or 0 for a filter of zeros.
    """
    flat = filters.reshape(len(filters), -1)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return flat / np.where(norms > 0, norms, 1)


def templates(size: int) -> tuple[list[str], Array]:
    """The hand-crafted filters of one size, each with a name that begins with its family.

    Shape: names (T), bank (T, size, size).
    """
    named = [*_sobel(size), *_laplacian(size), *_blob(size), *_gabor(size)]
    return [name for name, _ in named], np.stack([template for _, template in named])


def _grid(size: int, angle: float = 0.0) -> tuple[Array, Array]:
    """Coordinates (along, across) of the pixels, from the centre, turned by an angle in degrees."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return x * cos + y * sin, y * cos - x * sin


def _sobel(size: int) -> Iterator[tuple[str, Array]]:
    """Smoothing (binomial) across, difference along: [1 2 1]ᵀ × [−1 0 1] for 3×3, steered."""
    smooth = np.ones(1)
    for _ in range(size - 1):
        smooth = np.convolve(smooth, [1, 1])
    difference = np.array([-1.0, 1.0])
    for _ in range(size - 2):
        difference = np.convolve(difference, [1, 1])
    horizontal = np.outer(smooth, difference)
    for angle in ANGLES:
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        yield f"Sobel at {angle}°", cos * horizontal + sin * horizontal.T


def _laplacian(size: int) -> Iterator[tuple[str, Array]]:
    """(1 − r²/2σ²)·exp(−r²/2σ²), less its mean: no response to an even grey."""
    x, y = _grid(size)
    for sigma in np.array([0.15, 0.2, 0.25, 0.3]) * size:
        q = (x**2 + y**2) / (2 * sigma**2)
        template = (1 - q) * np.exp(-q)
        yield f"Laplacian of σ {sigma:.2g}", template - template.mean()


def _blob(size: int) -> Iterator[tuple[str, Array]]:
    """exp(−(u²/σ² + v²/(aσ)²)/2): bright or dark spots and bars, with their mean."""
    for sigma in np.array([0.15, 0.2, 0.3, 0.4]) * size:
        for elongation, angle in [(1, 0), *product([2, 4], ANGLES.tolist())]:
            u, v = _grid(size, angle)
            template = np.exp(-((u / sigma) ** 2 + (v / (elongation * sigma)) ** 2) / 2)
            yield f"blob of σ {sigma:.2g}, {elongation}:1 at {angle}°", template


def _gabor(size: int) -> Iterator[tuple[str, Array]]:
    """exp(−(u² + v²)/2σ²)·cos(2πu/λ + φ), less its mean; λ > 2, the shortest wave of a grid."""
    for sigma, wavelength, phase, angle in product(
        np.array([0.25, 0.4]) * size, np.array([0.7, 1.0, 1.5]) * size, [0, 45, 90, 135], ANGLES
    ):
        u, v = _grid(size, float(angle))
        wave = np.cos(2 * np.pi * u / wavelength + np.radians(phase))
        template = np.exp(-(u**2 + v**2) / (2 * sigma**2)) * wave
        name = f"Gabor of λ {wavelength:.2g}, σ {sigma:.2g}, phase {phase}° at {angle}°"
        yield name, template - template.mean()


def _pixels(model: str, number: int, shown: Mapping[str, Array]) -> Iterator[dict[str, Any]]:
    """A row per weight, each picture scaled to a largest magnitude of 1."""
    for kind, image in shown.items():
        for (row, column), value in np.ndenumerate(image / (np.abs(image).max() or 1.0)):
            place = {"model": model, "filter": number, "kind": kind, "row": row, "column": column}
            yield place | {"value": float(value)}


def _more(difference: Estimate) -> str:
    return f"{written(difference.mean, '+.2f')} ({difference.range('+.2f')}) more"
