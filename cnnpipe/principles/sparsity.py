"""Claim: activations are sparse; most neurons are inactive for any given input.

ReLU gives max(0, x), so a neuron whose weighted sum is negative gives exactly zero. A neuron here
is one pixel of one feature map behind an activation function, or one unit of a hidden layer.

    s(x) = (neurons that give exactly 0 for image x) / (neurons)

Experiment: each run trains LeNet-5 anew, on its own images from its own initial weights, and takes
s for test images that it draws, over all activation functions together. One trained network would
be a sample of one: zeros differ more between networks than between images. The networks that the
pipeline trained are shown layer by layer beside themselves with random weights, where a symmetric
weighted sum is negative half of the time. Neurons that are zero for every image are also counted,
as they carry no information.

"Most" is more than half. The claim is shown if the mean of s over networks lies above ½, and
s(x) > ½ for more than `ANY` of the images ("any given input"); shown not to hold if either lies
clearly below. Networks in which half of the neurons or more are active refute it, as with sigmoid
or tanh, which are never exactly zero.

That zeros make a network efficient is not measured: dense arithmetic multiplies them all the same.
Whether sparser networks generalise better is asked of the same runs, as the correlation of s with
accuracy.

Source: Glorot, Bordes, Bengio, "Deep sparse rectifier neural networks", AISTATS 2011.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.findings.estimates import Estimate
from cnnpipe.findings.evidence import above, all_of
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import NBSP, count, percent, title_of, written
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.inspection.untrained import untrained
from cnnpipe.layers import ReLU, Sigmoid, Tanh
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.sparsity import draw
from cnnpipe.principles.replicas import replica
from cnnpipe.principles.study import Study, accuracy

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
    params = study.params.sparsity
    inputs, _ = study.test_examples(params.test_images)
    runs = study.repeat(CLAIM.name, params.runs, of_a_new_network)
    return judge(runs, layer_by_layer(study, inputs), study)


def of_a_new_network(run: Study) -> pd.DataFrame:
    """Zeros in one newly trained LeNet-5: one row, columns zero, majority, accuracy."""
    params = run.params.sparsity
    network = replica(run, run.models["lenet5"], params)
    test = run.test_examples(params.test_images)
    share = count_zeros(network, test[0])[ALL].share
    row = {
        "zero": share.mean(),
        "majority": (share > MOST).mean(),
        "accuracy": accuracy(network, test),
    }
    return pd.DataFrame([row])


def layer_by_layer(study: Study, inputs: Tensor) -> pd.DataFrame:
    """Zeros of each layer of the pipeline's networks, as trained and with random weights.

    Returns:
        columns model, state, layer, neurons, zero (mean share), 5 % of images, 95 % of images, zero
        for every image (share of the neurons).
    """
    rows = []
    for name, model in study.models.items():
        fresh = untrained(model, inputs[:500], seed=study.seed)
        for state, network in [("untrained", fresh), ("trained", model)]:
            for layer, zeros in count_zeros(network, inputs).items():
                bottom, top = np.quantile(zeros.share, [0.05, 0.95])
                rows.append(
                    {
                        "model": name,
                        "state": state,
                        "layer": layer,
                        "neurons": zeros.neurons,
                        "zero": float(zeros.share.mean()),
                        "5 % of images": float(bottom),
                        "95 % of images": float(top),
                        "zero for every image": zeros.never,
                    }
                )
    return pd.DataFrame(rows)


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


def judge(runs: pd.DataFrame, layers: pd.DataFrame, study: Study) -> Finding:
    """The verdict over newly trained networks.

    Args:
        runs: rows of `of_a_new_network` of all runs.
        layers: of `layer_by_layer`.
        study: budget and data, for the words.
    """
    params = study.params.sparsity
    zero, majority = runs["zero"].to_list(), runs["majority"].to_list()
    estimate = Estimate.over_runs(zero)
    mean = estimate._replace(low=max(0.0, estimate.low), high=min(1.0, estimate.high))
    totals = layers[layers["layer"] == ALL].set_index(["model", "state"])
    of_pipeline = [
        f"{title_of(name)} {percent(totals['zero'][name, 'trained'])} (untrained "
        f"{percent(totals['zero'][name, 'untrained'])}; zero for every image "
        f"{percent(totals['zero for every image'][name, 'trained'])})"
        for name in layers["model"].unique()
    ]
    related = float(runs["zero"].corr(runs["accuracy"])) if runs["zero"].std() > 0 else 0.0
    related = related if related == related else 0.0  # all networks equally accurate
    return CLAIM.finding(
        all_of(above(zero, MOST), above(majority, ANY)),
        f"In {count(len(runs), 'newly trained LeNet-5', 'newly trained LeNet-5s')} "
        f"{percent(mean.mean)} of the hidden neurons are exactly zero for an image on average "
        f"(95{NBSP}% interval {percent(mean.low)} to {percent(mean.high)}), and more than half of "
        f"them are for {percent(float(runs['majority'].mean()))} of the images. In the networks "
        f"that the pipeline trained, one of each: {', '.join(of_pipeline)}. Among the new networks "
        f"the correlation of zeros and accuracy is {written(related, '+.2f')}.",
        mean,
        unit="of the hidden neurons of LeNet-5 are exactly zero for an image",
        uncertainty=f"{count(len(runs), 'network')}, each trained on its own images",
        data=(
            f"{study.title}: each network is trained for {params.steps} steps of "
            f"{params.batch_size} images and looks at {study.tested(params.test_images)}; every "
            "neuron behind an activation function, each pixel of a feature map counted once."
        ),
        tables={"layers": layers, "runs": runs},
        details={
            "images_with_most_inactive": float(runs["majority"].mean()),
            "correlation_with_accuracy": related,
            "images": min(params.test_images, len(study.dataset.test)),
        },
    )
