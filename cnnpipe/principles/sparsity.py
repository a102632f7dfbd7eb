"""Claim: activations are sparse; most neurons are inactive for any given input.

ReLU gives max(0, x), so a neuron whose weighted sum is negative gives exactly zero. A neuron here
is one pixel of one feature map behind an activation function, or one unit of a hidden layer.

    s(x) = (neurons that give exactly 0 for image x) / (neurons)

Experiment: s for each of the first images of the test set, over every activation function of both
networks together and layer by layer, as trained and with fresh random weights. The untrained
network tells what training adds: a symmetric random weighted sum is negative half of the time,
whatever it has learned. Neurons that are zero for every image are counted apart, as they code
nothing.

"Most" is more than half. The claim is supported if in every network the mean of s lies above ½ with
all of its interval, and s(x) > ½ for at least 99 of 100 images ("any given input"); partly, if only
some network reaches both, or all of them reach the first; otherwise not. Half or more of the
neurons at work refute it, as with sigmoid or tanh, which are never exactly zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.findings.finding import Finding, Verdict, decide
from cnnpipe.findings.intervals import bootstrap_interval
from cnnpipe.findings.wording import percent, title_of
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.inspection.untrained import untrained
from cnnpipe.layers import ReLU, Sigmoid, Tanh
from cnnpipe.params.models import ModelName
from cnnpipe.principles.study import Study

NAME = "sparsity"
CLAIM = "Activations are sparse: most neurons are inactive for any given input."

MOST = 0.5
ANY = 0.99
"""Share of the images that stands for "any given input"."""
ALL = "all neurons"


@dataclass(frozen=True)
class Zeros:
    """Where a network is silent."""

    share: dict[str, np.ndarray]
    """Layer → share of its neurons that are zero, (images,); the last entry is of all layers."""
    neurons: dict[str, int]
    never: dict[str, float]
    """Layer → share of its neurons that are zero for every image."""


def measure(study: Study) -> Finding:
    inputs, _ = study.first_test_examples(study.params.sparsity.test_images)
    rows, sparsity, majority = [], {}, {}
    for name, model in study.models.items():
        fresh = untrained(model, inputs[:500], seed=study.seed)
        for state, network in [("untrained", fresh), ("trained", model)]:
            zeros = count_zeros(network, inputs)
            rows += [{"model": name, "state": state, **row} for row in _rows(zeros, study.seed)]
        sparsity[name] = zeros.share[ALL]
        majority[name] = float((zeros.share[ALL] > MOST).mean())
    table = pd.DataFrame(rows)
    means = {name: float(shares.mean()) for name, shares in sparsity.items()}
    intervals = {
        name: bootstrap_interval(shares, seed=study.seed) for name, shares in sparsity.items()
    }
    # The claim is about every network, so the least sparse one decides.
    least = min(means, key=means.__getitem__)
    verdict = judge({name: low for name, (low, _) in intervals.items()}, majority)
    before = table[(table["state"] == "untrained") & (table["layer"] == ALL)]
    details = {
        "means": means,
        "intervals": {name: list(interval) for name, interval in intervals.items()},
        "images_with_most_inactive": majority,
        "untrained_means": dict(zip(before["model"], before["zero"], strict=True)),
        "images": len(inputs),
    }
    return Finding(
        name=NAME,
        claim=CLAIM,
        verdict=verdict,
        statement=_statement(verdict, table, majority, len(inputs)),
        number=means[least],
        unit=(
            "of the hidden neurons are exactly zero for an image, "
            f"in {title_of(least)}, the least sparse"
        ),
        interval=intervals[least],
        uncertainty=f"bootstrap over {len(inputs):,} test images",
        tables={"layers": table},
        details=details,
        question="Which share of its neurons is exactly zero while a network looks at an image?",
        data=(
            f"The first {len(inputs):,} test images of {title_of(study.dataset.name)}; every "
            "neuron behind "
            "an activation function, each pixel of a feature map counted once."
        ),
        limits=(
            "Zeros save no work by themselves: dense arithmetic multiplies them all the same. On "
            "digits much of the picture is background, which photographs do not have."
        ),
    )


@torch.inference_mode()
def count_zeros(model: nn.Module, inputs: Tensor) -> Zeros:
    """Zeros behind each activation function, image by image.

    Raises:
        ValueError: the network has no activation function.
    """
    layers = [
        name for name, layer in model.named_modules() if isinstance(layer, (ReLU, Sigmoid, Tanh))
    ]
    if not layers:
        raise ValueError("model: got a network without activation functions; expected some")
    counts: dict[str, list[Tensor]] = {name: [] for name in layers}
    ever: dict[str, Tensor] = {}
    for batch in inputs.split(250):
        with capture_activations(model, layers) as activations:
            model(batch)
        for name, output in activations.items():
            active = output.flatten(1) != 0  # (N, neurons)
            counts[name].append((~active).sum(dim=1))
            fired = active.any(dim=0)
            ever[name] = fired | ever[name] if name in ever else fired
    neurons = {name: len(fired) for name, fired in ever.items()}
    silent = {name: torch.cat(counts[name]).numpy() for name in ever}
    mute = {name: int((~fired).sum()) for name, fired in ever.items()}
    neurons[ALL], silent[ALL] = sum(neurons.values()), np.sum(list(silent.values()), axis=0)
    mute[ALL] = sum(mute.values())
    return Zeros(
        share={name: silent[name] / neurons[name] for name in neurons},
        neurons=neurons,
        never={name: mute[name] / neurons[name] for name in neurons},
    )


def judge(lowest: Mapping[ModelName, float], majority: Mapping[ModelName, float]) -> Verdict:
    """From the lower ends of the mean's interval, and the shares of images with s(x) > ½."""
    most = [low > MOST for low in lowest.values()]
    always = [
        low > MOST and share >= ANY
        for low, share in zip(lowest.values(), majority.values(), strict=True)
    ]
    return decide(all(always), any(always) or all(most))


def _rows(zeros: Zeros, seed: int) -> list[dict[str, object]]:
    rows = []
    for layer, shares in zeros.share.items():
        low, high = bootstrap_interval(shares, seed=seed)
        bottom, top = np.quantile(shares, [0.05, 0.95])
        rows.append(
            {
                "layer": layer,
                "neurons": zeros.neurons[layer],
                "zero": float(shares.mean()),
                "low": low,
                "high": high,
                "5 % of images": float(bottom),
                "95 % of images": float(top),
                "zero for every image": zeros.never[layer],
            }
        )
    return rows


def _statement(
    verdict: Verdict, table: pd.DataFrame, majority: Mapping[ModelName, float], images: int
) -> str:
    rows = table[table["layer"] == ALL].to_dict("records")
    totals = {(row["model"], row["state"]): row for row in rows}
    parts = []
    for name, share in majority.items():
        trained, fresh = totals[name, "trained"], totals[name, "untrained"]
        parts.append(
            f"in {title_of(name)} {percent(trained['zero'])} of the hidden neurons are exactly "
            "zero for an "
            f"image on average (untrained {percent(fresh['zero'])}), and more than half of them "
            f"are for {percent(share)} of {images:,} images"
        )
    layers = table[(table["state"] == "trained") & (table["layer"] != ALL)]
    extremes = layers.loc[[layers["zero"].idxmin(), layers["zero"].idxmax()]]
    low, high = (
        f"{percent(row['zero'])} in {row['layer']} of {title_of(row['model'])}"
        for row in extremes.to_dict("records")
    )
    never = ", ".join(
        f"{percent(totals[name, 'trained']['zero for every image'])} in {title_of(name)}"
        for name in majority
    )
    return (
        f"{verdict.capitalize()}: {'; '.join(parts)}. By layer it is from {low} to {high}; "
        f"neurons that are zero for every one of these images: {never}."
    )
