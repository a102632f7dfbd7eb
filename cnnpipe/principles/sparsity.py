"""Claim: activations are sparse; most neurons are inactive for any given input.

ReLU gives max(0, x), so a neuron whose weighted sum is negative gives exactly zero. A neuron here
is one pixel of one feature map behind an activation function, or one unit of a hidden layer.

    s(x) = (neurons that give exactly 0 for image x) / (neurons)

Experiment: each run trains a LeNet-5 on its own images from its own initial weights, and takes
s for test images that it draws, over all activation functions together. One trained network would
be a sample of one: zeros differ more between networks than between images. The networks that the
pipeline trained are shown layer by layer beside themselves with random weights, where a symmetric
weighted sum is negative half of the time. Neurons that are zero for every image are also counted,
as they carry no information.

"Most" is more than half. The claim is shown if the mean of s over networks lies above ½, and
s(x) > ½ for more than `ANY` of the images ("any given input"); shown not to hold if either lies
clearly below. Networks in which half of the neurons or more are active refute it, as with sigmoid
or tanh, which are never exactly zero.

Two more answers stand beside the verdict. Efficiency: dense arithmetic multiplies zeros all the
same, so that sparse is no faster here; the share of multiplications by zero is the most that
skipping them could save. Generalisation: each run trains a second network from the same start on
the same images, with an L1 penalty on its activations, which makes it sparser:

    loss = cross-entropy + `PENALTY` · mean over images of Σ a, over all activations a ≥ 0

Source: Glorot, Bordes, Bengio, "Deep sparse rectifier neural networks", AISTATS 2011.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.findings.estimates import Estimate, paired
from cnnpipe.findings.evidence import above, all_of
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import NBSP, count, percent, title_of, written
from cnnpipe.functional import conv2d
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.inspection.untrained import untrained
from cnnpipe.layers import Conv2d, Linear, ReLU, Sigmoid, Tanh
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.sparsity import draw
from cnnpipe.principles.replicas import replica
from cnnpipe.principles.study import POINT, Study, accuracy

CLAIM = Claim(
    name="sparsity",
    sentence="Activations are sparse: most neurons are inactive for any given input.",
    question="Which share of its neurons is exactly zero while a network looks at an image?",
    limits=(
        "One strength of the penalty that makes networks sparser, in brief training. On digits "
        "much of the picture is background, which photographs do not have."
    ),
    draw=draw,
)

PENALTY = 1e-4
MOST = 0.5
ANY = 0.99
"""Share of the images that stands for "any given input"."""
ALL = "all neurons"
PLAIN, SPARSER = "as it is", "with an L1 penalty"


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
    """Zeros in one newly trained LeNet-5, and in one with penalised activations.

    Returns:
        two rows, columns network, zero, majority, products, accuracy.
    """
    params, model = run.params.sparsity, run.models["lenet5"]
    test = run.test_examples(params.test_images)
    rows = []
    for name, architecture in ((PLAIN, model), (SPARSER, penalised(model))):
        network = replica(run, architecture, params)
        share = count_zeros(network, test[0])[ALL].share
        row = {
            "network": name,
            "zero": share.mean(),
            "majority": (share > MOST).mean(),
            "products": products_by_zero(network, test[0]),
            "accuracy": accuracy(network, test),
        }
        rows.append(row)
    return pd.DataFrame(rows)


class Penalised(nn.Module):
    """An activation whose outputs cost `PENALTY` each, by what that adds to their gradient."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self.activation(input)
        if output.requires_grad:
            slope = PENALTY / len(output) * output.detach().sign()
            output.register_hook(lambda gradient: gradient + slope)
        return output


def penalised(model: nn.Sequential) -> nn.Sequential:
    """A copy whose activations are penalised in training."""
    copied = copy.deepcopy(model)
    for name, layer in copied.named_children():
        if isinstance(layer, ReLU):
            setattr(copied, name, Penalised(layer))
    return copied


@torch.inference_mode()
def products_by_zero(model: nn.Module, inputs: Tensor) -> float:
    """Share of the multiplications in all layers of weights whose input is exactly 0."""
    zero = total = 0.0

    def count_products(layer: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        nonlocal zero, total
        zeros = (arguments[0] == 0).float()
        ones = torch.ones_like(next(layer.parameters())[:1])  # each sum counts its zeros
        if isinstance(layer, Conv2d):
            sums = conv2d(zeros, ones, None, layer.stride, layer.padding)
        else:
            sums = zeros.sum(dim=1)
        zero += sums.double().sum().item() * output.shape[1]
        total += output.numel() * ones.numel()

    layers = [layer for layer in model.modules() if isinstance(layer, Conv2d | Linear)]
    hooks = [layer.register_forward_hook(count_products) for layer in layers]
    try:
        for batch in inputs.split(250):
            model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return zero / total


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
    plain, sparser = (runs[runs["network"] == name] for name in (PLAIN, SPARSER))
    zero, majority = plain["zero"].to_list(), plain["majority"].to_list()
    estimate = Estimate.over_runs(zero)
    mean = estimate._replace(low=max(0.0, estimate.low), high=min(1.0, estimate.high))
    totals = layers[layers["layer"] == ALL].set_index(["model", "state"])
    of_pipeline = [
        f"{title_of(name)} {percent(totals['zero'][name, 'trained'])} (untrained "
        f"{percent(totals['zero'][name, 'untrained'])}; zero for every image "
        f"{percent(totals['zero for every image'][name, 'trained'])})"
        for name in layers["model"].unique()
    ]
    lead = [100 * value for value in paired(runs, "network", SPARSER, PLAIN)]
    ahead = Estimate.over_runs(lead)
    return CLAIM.finding(
        all_of(above(zero, MOST), above(majority, ANY)),
        f"In {count(len(plain), 'newly trained LeNet-5', 'newly trained LeNet-5s')} "
        f"{percent(mean.mean)} of the hidden neurons are exactly zero for an image on average "
        f"(95{NBSP}% interval {percent(mean.low)} to {percent(mean.high)}), and more than half of "
        f"them are for {percent(float(plain['majority'].mean()))} of the images. In the networks "
        f"that the pipeline trained, one of each: {', '.join(of_pipeline)}. Of the "
        f"multiplications in the new networks {percent(float(plain['products'].mean()))} are by "
        f"zero. With an L1 penalty on activations {percent(float(sparser['zero'].mean()))} of the "
        f"neurons are zero, and accuracy changes by {written(ahead.mean, '+.1f')} points "
        f"(95{NBSP}% interval {ahead.range('+.1f')}; more than a point: "
        f"{above(lead, POINT).verdict()}).",
        mean,
        unit="of the hidden neurons of LeNet-5 are exactly zero for an image",
        uncertainty=f"{count(len(plain), 'network')}, each trained on its own images",
        data=(
            f"{study.title}: each network is trained for {params.steps} steps of "
            f"{params.batch_size} images and looks at {study.tested(params.test_images)}; every "
            "neuron behind an activation function, each pixel of a feature map counted once."
        ),
        tables={"layers": layers, "runs": runs},
        details={
            "images_with_most_inactive": float(plain["majority"].mean()),
            "products_by_zero": float(plain["products"].mean()),
            "lead_with_penalty": ahead.mean,
            "images": min(params.test_images, len(study.dataset.test)),
        },
    )
