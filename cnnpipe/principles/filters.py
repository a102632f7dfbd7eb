"""Claim: the first layer learns, from data alone, filters like those once designed by hand.

The hand-crafted templates, of the filter's size: Sobel edges at every angle, Gabor waves (Daugman
1985), Laplacians of Gaussians (Marr, Hildreth 1980), and Gaussian blobs, round and elongated. The
match of a filter w is that with the best template t:

    m(w) = max over t of |⟨w, t⟩| / (‖w‖·‖t‖)

m² is the share of the filter's energy that lies in the template. The sign does not count, because
the next layer's weights can have either sign.

Experiment: m of each first-layer filter of the trained networks, and m of random filters of the
same size, distributed as the layers' initial weights. The number is the difference of the means.
Chance must be subtracted because every small filter matches some template: 3×3 weights are a point
on a sphere of eight dimensions, which the templates cover densely. Second control: random filters
as smooth as the learned ones, with the Fourier amplitudes of a learned filter and random phases. A
match that these reach as well shows smoothness, not edges or blobs.

The claim is supported if in every network the learned filters match better than random ones of both
kinds, with all of the 95 % interval (bootstrap over the learned filters) above 0; partly, if in
some network they match better than plain random ones; otherwise not: random filters refute it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from cnnpipe.findings.finding import Finding, Verdict, decide
from cnnpipe.findings.wording import count, title_of, written
from cnnpipe.inspection.activations import convolution_filters
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.estimates import Estimate, intervals, least, means
from cnnpipe.principles.figures.filters import draw
from cnnpipe.principles.study import Study

CLAIM = Claim(
    name="filters",
    sentence=(
        "The first layer learns, from data alone, filters like those once designed by hand: "
        "edge and blob detectors."
    ),
    question="How near does each learned filter come to a hand-crafted one, and would chance?",
    limits=(
        "A likeness of weights, not of use: it does not show that the network needs edges. "
        "The bank is a choice; a larger one matches everything better, chance included."
    ),
    draw=draw,
)

Array = NDArray[np.float64]
ANGLES = np.arange(0, 180, 15)
"""Degrees; the sign being free, half a turn is a full one."""
SMOOTH_DRAWS = 200
"""Random filters as smooth as a learned one, for each."""


def measure(study: Study) -> Finding:
    rng = np.random.default_rng(study.seed)
    draws = study.params.filters.draws
    rows, pixels, histograms = [], [], []
    for model, network in study.models.items():
        learned = first_layer(network)
        names, bank = templates(learned.shape[-1])
        matches, best = best_match(learned, bank)
        chance, _ = best_match(random_filters(draws, learned, rng), bank)
        smooth = np.stack(
            [best_match(same_smoothness(learned, rng), bank)[0] for _ in range(SMOOTH_DRAWS)]
        )  # (draws, filters)
        for i, (match, template) in enumerate(zip(matches, best, strict=True)):
            rows.append(
                {
                    "model": model,
                    "filter": i,
                    "match": match,
                    "family": names[template].split()[0],
                    "template": names[template],
                    "random": float(chance.mean()),
                    "random as smooth": float(smooth[:, i].mean()),
                    "better than random": float((chance < match).mean()),
                }
            )
            sign = np.sign((learned[i] * bank[template]).sum())
            shown = {"learned": learned[i], "template": sign * bank[template]}
            pixels += list(_pixels(model, i, shown))
        numbers, edges = np.histogram(chance, bins=50, range=(0, 1))
        bins = {"model": model, "from": edges[:-1], "to": edges[1:], "filters": numbers}
        histograms.append(pd.DataFrame(bins))
    table = pd.DataFrame(rows)
    gains, beyond = (gain_over(table, kind, study.seed) for kind in ("random", "random as smooth"))
    verdict = judge(gains, beyond)
    decisive = least(gains)
    return CLAIM.finding(
        verdict,
        _statement(verdict, table, gains, beyond),
        gains[decisive],
        unit=(
            "more cosine with the best hand-crafted template than random filters of the same size, "
            f"in {title_of(decisive)}, which gains least"
        ),
        uncertainty=f"bootstrap over {count(int((table['model'] == decisive).sum()), 'filter')}",
        data=f"All {len(table)} first-layer filters; {draws:,} random filters of each size.",
        tables={
            "matches": table,
            "weights": pd.DataFrame(pixels),
            "random": pd.concat(histograms, ignore_index=True),
        },
        details={
            "gain": means(gains),
            "gain_interval": intervals(gains),
            "beyond_smoothness": means(beyond),
            "beyond_smoothness_interval": intervals(beyond),
        },
    )


def gain_over(matches: pd.DataFrame, kind: str, seed: int) -> dict[str, Estimate]:
    """By how much the filters of each network match better than one kind of random ones."""
    gain = matches["match"] - matches[kind]
    return {
        str(model): Estimate.over_examples(values.to_list(), seed)
        for model, values in gain.groupby(matches["model"], sort=False)
    }


def judge(gains: Mapping[str, Estimate], beyond: Mapping[str, Estimate]) -> Verdict:
    """From the gain of each network over random filters, and over random ones as smooth."""
    better = [gain.low > 0 for gain in gains.values()]
    both = [holds and beyond[model].low > 0 for model, holds in zip(gains, better, strict=True)]
    return decide(all(both), any(better))


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


def _statement(
    verdict: Verdict,
    table: pd.DataFrame,
    gains: Mapping[str, Estimate],
    beyond: Mapping[str, Estimate],
) -> str:
    cosines = table.groupby("model")[["match", "random", "random as smooth"]].mean()
    sentences = [
        f"In {title_of(model)} the mean cosine of a learned filter with its best template is "
        f"{cosines['match'][model]:.2f}, of a random filter {cosines['random'][model]:.2f}, "
        f"{_more(gain)}; of a random filter as smooth {cosines['random as smooth'][model]:.2f}, "
        f"{_more(beyond[model])}"
        for model, gain in gains.items()
    ]
    rare = int((table["better than random"] > 0.95).sum())
    return (
        f"{verdict.capitalize()}: i{'. '.join(sentences)[1:]}. "
        f"{rare} of {count(len(table), 'learned filter')} match better than 95 % of random ones; "
        "chance alone would give one in twenty."
    )


def _more(difference: Estimate) -> str:
    return f"a difference of {written(difference.mean, '+.2f')} ({difference.range('+.2f')})"
