"""Claim: activations are sparse; most neurons are inactive for any given input.

ReLU gives max(0, x), so a neuron whose weighted sum is negative gives exactly zero. A neuron here
is one pixel of one feature map behind an activation function, or one unit of a hidden layer.

    s(x) = (neurons that give exactly 0 for image x) / (neurons)

Experiment: s for each of the first images of the test set, over all activation functions of a
network together and layer by layer, as trained and with random weights. The untrained network shows
what training adds: a symmetric random weighted sum is negative half of the time. Neurons that are
zero for every image are also counted separately, as they carry no information.

"Most" is more than half. The claim is supported if in every network the mean of s lies above ½ with
all of its interval, and s(x) > ½ for at least 99 of 100 images ("any given input"); partly, if only
some network reaches both, or all of them reach the first; otherwise not. Networks in which half of
the neurons or more are active refute it, as with sigmoid or tanh, which are never exactly zero.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.findings.finding import Finding, Verdict, decide
from cnnpipe.findings.wording import percent, title_of
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.inspection.untrained import untrained
from cnnpipe.layers import ReLU, Sigmoid, Tanh
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.estimates import Estimate, intervals, least, means
from cnnpipe.principles.figures.sparsity import draw
from cnnpipe.principles.study import Study

CLAIM = Claim(
    name="sparsity",
    sentence="Activations are sparse: most neurons are inactive for any given input.",
    question="Which share of its neurons is exactly zero while a network looks at an image?",
    limits=(
        "Zeros save no work by themselves: dense arithmetic multiplies them all the same. On "
        "digits much of the picture is background, which photographs do not have."
    ),
    draw=draw,
)

MOST = 0.5
ANY = 0.99
"""Share of the images that stands for "any given input"."""
ALL = "all neurons"


@dataclass(frozen=True)
class Zeros:
    """How many neurons of a layer are zero."""

    neurons: int
    share: np.ndarray
    """Of its neurons that are zero, (images,)."""
    never: float
    """Share of its neurons that are zero for every image."""


def measure(study: Study) -> Finding:
    inputs, _ = study.first_test_examples(study.params.sparsity.test_images)
    rows = []
    sparsity: dict[str, Estimate] = {}
    majority: dict[str, float] = {}
    for name, model in study.models.items():
        fresh = untrained(model, inputs[:500], seed=study.seed)
        for state, network in [("untrained", fresh), ("trained", model)]:
            for layer, zeros in count_zeros(network, inputs).items():
                mean = Estimate.over_examples(zeros.share, study.seed)
                bottom, top = np.quantile(zeros.share, [0.05, 0.95])
                rows.append(
                    {
                        "model": name,
                        "state": state,
                        "layer": layer,
                        "neurons": zeros.neurons,
                        "zero": mean.mean,
                        "low": mean.low,
                        "high": mean.high,
                        "5 % of images": float(bottom),
                        "95 % of images": float(top),
                        "zero for every image": zeros.never,
                    }
                )
        # The last of the rows is of all neurons of the trained network.
        sparsity[name], majority[name] = mean, float((zeros.share > MOST).mean())
    table = pd.DataFrame(rows)
    decisive = least(sparsity)
    verdict = judge({name: mean.low for name, mean in sparsity.items()}, majority)
    before = table[(table["state"] == "untrained") & (table["layer"] == ALL)]
    return CLAIM.finding(
        verdict,
        _statement(verdict, table, majority, len(inputs)),
        sparsity[decisive],
        unit=(
            "of the hidden neurons are exactly zero for an image, "
            f"in {title_of(decisive)}, the least sparse"
        ),
        uncertainty=f"bootstrap over {len(inputs):,} test images",
        data=(
            f"The first {len(inputs):,} test images of {study.title}; every neuron behind an "
            "activation function, each pixel of a feature map counted once."
        ),
        tables={"layers": table},
        details={
            "means": means(sparsity),
            "intervals": intervals(sparsity),
            "images_with_most_inactive": majority,
            "untrained_means": dict(zip(before["model"], before["zero"], strict=True)),
            "images": len(inputs),
        },
    )


@torch.inference_mode()
def count_zeros(model: nn.Module, inputs: Tensor) -> dict[str, Zeros]:
    """Zeros behind each activation function, and at last of all of them.

    Raises:
        ValueError: the network has no activation function.
    """
    layers = [
        name for name, layer in model.named_modules() if isinstance(layer, (ReLU, Sigmoid, Tanh))
    ]
    if not layers:
        raise ValueError("model: got a network without activation functions; expected some")
    counts: dict[str, list[Tensor]] = defaultdict(list)
    never: dict[str, Tensor] = {}
    for batch in inputs.split(250):
        with capture_activations(model, layers) as outputs:
            model(batch)
        zeros = {name: output.flatten(1) == 0 for name, output in outputs.items()}  # (N, neurons)
        zeros[ALL] = torch.cat(list(zeros.values()), dim=1)
        for name, zero in zeros.items():
            counts[name].append(zero.sum(dim=1))
            always = zero.all(dim=0)
            never[name] = always & never.get(name, always)
    return {
        name: Zeros(
            neurons=len(always),
            share=torch.cat(counts[name]).numpy() / len(always),
            never=int(always.sum()) / len(always),
        )
        for name, always in never.items()
    }


def judge(lowest: Mapping[str, float], majority: Mapping[str, float]) -> Verdict:
    """From the lower ends of the mean's interval, and the shares of images with s(x) > ½."""
    most = [low > MOST for low in lowest.values()]
    always = [holds and majority[name] >= ANY for name, holds in zip(lowest, most, strict=True)]
    return decide(all(always), any(always) or all(most))


def _statement(
    verdict: Verdict, table: pd.DataFrame, majority: Mapping[str, float], images: int
) -> str:
    totals = table[table["layer"] == ALL].set_index(["model", "state"])
    parts = [
        f"in {title_of(name)} {percent(totals['zero'][name, 'trained'])} of the hidden neurons are "
        f"exactly zero for an image on average (untrained "
        f"{percent(totals['zero'][name, 'untrained'])}), and more than half of them are for "
        f"{percent(share)} of {images:,} images"
        for name, share in majority.items()
    ]
    layers = table[(table["state"] == "trained") & (table["layer"] != ALL)]
    extremes = layers.loc[[layers["zero"].idxmin(), layers["zero"].idxmax()]]
    low, high = (
        f"{percent(row['zero'])} in {row['layer']} of {title_of(row['model'])}"
        for row in extremes.to_dict("records")
    )
    never = ", ".join(
        f"{percent(totals['zero for every image'][name, 'trained'])} in {title_of(name)}"
        for name in majority
    )
    return (
        f"{verdict.capitalize()}: {'; '.join(parts)}. By layer it is from {low} to {high}; "
        f"neurons that are zero for every one of these images: {never}."
    )
