"""Claim: ReLU avoids the vanishing gradient that sigmoid and tanh suffer from.

Backpropagation multiplies the gradient, at each layer, by the weights and by the activation's
derivative, which is at most ¼ for sigmoid, at most 1 (and that only at 0) for tanh, and 1 wherever
a neuron is active for ReLU:

    ∂L/∂x_l = W_lᵀ · (φ'(W_l·x_l) ⊙ ∂L/∂x_{l+1})

So whether the product shrinks is a matter of the weights' size as well, their standard deviation
gain / √fan_in. With one gain for each activation an experiment shows nothing but that choice. Here
every activation is measured at every gain of a list, with biases of zero. Sigmoid's outputs lie
around ½ and not around 0, so it is measured also with biases that make up for that, −½·Σw: as
σ(x) = (1 + tanh(x/2))/2, it is then a tanh network in other coordinates.

Experiment: plain stacks of 3×3 convolutions of equal width, without normalisation or shortcuts.
Measured before the first step, on one batch, is the root mean square gradient of each convolution's
output:

    v = log₁₀(rms gradient behind the last convolution / rms gradient behind the first)

v is how many orders of magnitude vanish on the way back; below 0 they explode. An activation keeps
the gradient if v lies between −1 and 1, within a factor of 10, at its best gain; the best is chosen
by a run that is not judged. The range of gains over which it does is reported in octaves. Gradients
of weights are not measured: they have the forward activations as a factor, which hides what
vanishes.

Shown if ReLU keeps the gradient and neither tanh nor sigmoid does at any gain; shown not to hold if
ReLU does not, or one of the others does. The number is v of tanh at its best gain.

Shorter stacks of each activation, and one of none, are then trained at these gains, each with the
learning rate of a list with which it does best on held-out images. By how much ReLU leads the stack
without activations, one linear map, is what non-linearity is worth.

Sources: Hochreiter, "The vanishing gradient problem during learning recurrent neural nets and
problem solutions", 1998; Glorot, Bengio, "Understanding the difficulty of training deep feedforward
neural networks", AISTATS 2010; Xiao et al., "Dynamical isometry and a mean field theory of CNNs",
ICML 2018.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.findings.estimates import Estimate, paired, summarize
from cnnpipe.findings.evidence import Evidence, above, all_of, negated, within
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import count, listed, percent, short
from cnnpipe.functional import cross_entropy
from cnnpipe.layers import AvgPool2d, Conv2d, Linear, ReLU, Sequential, Sigmoid, Tanh
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.activation import draw
from cnnpipe.principles.study import POINT, Study, accuracy, train, tuned

CLAIM = Claim(
    name="activation",
    sentence="ReLU avoids the vanishing gradient that sigmoid and tanh suffer from.",
    question="At which size of the weights does the gradient reach the first layer?",
    limits=(
        "Nothing here has batch normalisation or shortcuts, which change how gradients flow "
        "with every activation. Gradients are measured at the start; training changes them."
    ),
    draw=draw,
)

Unit = Literal["ReLU", "tanh", "sigmoid", "centred sigmoid", "none"]
"""What stands between two convolutions."""
LAYERS: Mapping[Unit, Callable[[], nn.Module]] = {
    "ReLU": ReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "centred sigmoid": Sigmoid,
    "none": nn.Identity,
}
UNITS: tuple[Unit, ...] = get_args(Unit)
RIVALS: tuple[Unit, ...] = ("tanh", "sigmoid", "centred sigmoid")
GAINS = [2 ** (step / 2) for step in range(-2, 8)]
"""½ to 11.3, half an octave apart: those made for ReLU, √2, for tanh, 5/3, and for sigmoid, 20/3,
lie between."""
VANISHED = 1.0
"""Orders of magnitude from which on a gradient has vanished: optimisers with a step size per weight
make up for less."""
BATCH_AT_THE_START = 32


def measure(study: Study) -> Finding:
    params = study.params.activation
    best = best_gains(sweep(study.run(f"{CLAIM.name}, tuning", 0)))
    start = study.repeat(CLAIM.name, params.runs, sweep)
    networks: dict[str, Callable[[], nn.Module]] = {
        unit: partial(stack, unit, best[unit], params.trained_depth, params.channels, study.classes)
        for unit in UNITS
        if unit != "sigmoid"  # the same function as the centred one, from a worse start
    }
    compare = partial(train_stacks, networks=networks)
    return judge(start, study.repeat(f"{CLAIM.name}-trained", params.runs, compare), best, study)


def stack(unit: Unit, gain: float, depth: int, channels: int, classes: int) -> nn.Sequential:
    """A plain stack: convolutions of 3×3 and activations on quarter-size maps, and logits.

    The maps are small, by pooling and a first stride of 2, for many layers to be affordable; the
    gradient's way through the layers does not depend on their size.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    plan: OrderedDict[str, nn.Module] = OrderedDict(shrink=AvgPool2d(2))  # (N, 1, 14, 14)
    for layer in range(1, depth + 1):
        first = layer == 1
        conv = Conv2d(1 if first else channels, channels, 3, stride=2 if first else 1, padding=1)
        nn.init.normal_(conv.weight, std=gain / math.sqrt(conv.weight[0].numel()))
        bias = conv.get_parameter("bias")
        nn.init.zeros_(bias)
        if unit == "centred sigmoid" and not first:  # the image is centred already
            with torch.no_grad():
                bias.copy_(-conv.weight.sum(dim=(1, 2, 3)) / 2)
        plan[f"conv{layer}"] = conv  # (N, channels, 7, 7)
        plan[f"act{layer}"] = LAYERS[unit]()
    plan["flatten"] = nn.Flatten()
    plan["output"] = Linear(7 * 7 * channels, classes)
    return Sequential(plan)


def sweep(run: Study) -> pd.DataFrame:
    """The gradient's size at each convolution before the first step, at every gain.

    Returns:
        columns unit, gain, layer, rms.
    """
    params = run.params.activation
    examples = run.training_examples(BATCH_AT_THE_START)
    rows = []
    for unit in UNITS[:-1]:
        for gain in GAINS:
            torch.manual_seed(run.seed)  # the same numbers for all, scaled by the gain
            model = stack(unit, gain, params.depth, params.channels, run.classes)
            sizes = gradients(model, *examples)
            rows += [(unit, gain, layer, rms) for layer, rms in enumerate(sizes, 1)]
    return pd.DataFrame(rows, columns=["unit", "gain", "layer", "rms"])


def gradients(model: nn.Sequential, images: Tensor, labels: Tensor) -> list[float]:
    """Root mean square of the gradient of each convolution's output, first to last."""
    outputs, x = [], images
    for layer in model:
        x = layer(x)
        if isinstance(layer, Conv2d):
            outputs.append(x)
    found = torch.autograd.grad(cross_entropy(x, labels), outputs)
    return [gradient.double().square().mean().sqrt().item() for gradient in found]


def vanished(rms: pd.DataFrame) -> pd.Series[float]:
    """v of each network: orders of magnitude from its last convolution's gradient to its first's.

    Args:
        rms: columns layer and rms, and columns that identify the network.
    """
    smallest = torch.finfo(torch.float64).tiny  # a gradient of exactly zero has no logarithm
    networks = [column for column in rms.columns if column not in ("layer", "rms")]
    ordered = rms.assign(rms=rms["rms"].clip(lower=smallest)).sort_values("layer", kind="stable")
    ends = ordered.groupby(networks, sort=False)["rms"].agg(["first", "last"])
    return (ends["last"] / ends["first"]).map(math.log10).rename("vanished")


def best_gains(rms: pd.DataFrame) -> dict[Unit, float]:
    """The gain of each activation at which least vanishes or explodes; 1 for none."""
    sizes = vanished(rms).abs().rename("size").reset_index()
    best = sizes.loc[sizes.groupby("unit", sort=False)["size"].idxmin()]
    gains = dict(zip(best["unit"], best["gain"].astype(float), strict=True))
    return gains | {"none": 1.0}


def train_stacks(run: Study, networks: Mapping[str, Callable[[], nn.Module]]) -> pd.DataFrame:
    """Accuracy of each activation's stack after the same training.

    Returns:
        columns network, accuracy.
    """
    params = run.params.activation
    images = params.steps * params.batch_size
    rates, examples = tuned(run, params, networks, images), run.training_examples(images)
    test = run.test_examples(params.test_images)
    rows = [
        (name, accuracy(train(build, examples, params.at(rates[name]), run.seed), test))
        for name, build in networks.items()
    ]
    return pd.DataFrame(rows, columns=["network", "accuracy"])


def keeps(by_run: Sequence[float]) -> Evidence:
    """That a gradient neither vanishes nor explodes, from v of each run."""
    return within(by_run, VANISHED)


def judge(
    start: pd.DataFrame, trained: pd.DataFrame, best: Mapping[Unit, float], study: Study
) -> Finding:
    """The finding from the gradients at every gain, and from the trained stacks.

    Args:
        start: rows of `sweep` of all runs.
        trained: rows of `train_stacks` of all runs.
        best: the gain at which each activation is judged.
        study: budget and data, for the words.
    """
    params = study.params.activation
    lost = vanished(start)
    by_gain: dict[tuple[str, float], list[float]] = {
        (unit, gain): lost.xs((unit, gain), level=("unit", "gain")).to_list()
        for unit in UNITS[:-1]
        for gain in GAINS
    }
    at_best = {unit: by_gain[unit, best[unit]] for unit in UNITS[:-1]}
    estimates = {unit: Estimate.over_runs(values) for unit, values in at_best.items()}
    octaves = {
        unit: sum(keeps(by_gain[unit, gain]).verdict() == "shown" for gain in GAINS) / 2
        for unit in UNITS[:-1]
    }
    evidence = all_of(keeps(at_best["ReLU"]), *(negated(keeps(at_best[unit])) for unit in RIVALS))
    lead = [100 * value for value in paired(trained, "network", "ReLU", "none")]
    ahead = Estimate.over_runs(lead)
    reached = trained.groupby("network", sort=False)["accuracy"].mean()
    kept = [
        f"{_change(estimate.mean)} with {unit} (gain {short(best[unit])}; octaves of gains that "
        f"keep it: {short(octaves[unit])})"
        for unit, estimate in estimates.items()
    ]
    after = listed(
        [f"{percent(value)} with {name}" for name, value in reached.items() if name != "none"]
    )
    summaries = [
        (unit, gain, *Estimate.over_runs(values)) for (unit, gain), values in by_gain.items()
    ]
    curves = pd.DataFrame(summaries, columns=["network", "gain", "vanished", "low", "high"])
    return CLAIM.finding(
        evidence,
        f"From the last to the first of {params.depth} plain convolutions, at the gain that is "
        f"best for each activation, the gradient {'; '.join(kept)}. After the same training "
        f"stacks of {params.trained_depth} convolutions classify {after} of the test images "
        f"correctly. Without any activation, as one linear map, "
        f"{percent(float(reached['none']))}: ReLU is worth {ahead.points()}; more than a point: "
        f"{above(lead, POINT).verdict()}.",
        estimates["tanh"],
        unit=(
            f"orders of magnitude of the gradient vanish with tanh at its best gain, over "
            f"{params.depth} convolutions"
        ),
        uncertainty=count(params.runs, "run"),
        data=(
            f"Plain stacks of {params.channels} channels. Gradients at the start over "
            f"{BATCH_AT_THE_START} images of {study.title}; training {params.steps} steps of "
            f"{params.batch_size} images; accuracy on {study.tested(params.test_images)} in each "
            "run."
        ),
        tables={
            "vanished": curves,
            "accuracy": summarize(trained, by=["network"]),
            "layers": _geometric_mean(start),
        },
        details={
            "depth": params.depth,
            "trained_depth": params.trained_depth,
            "best_gains": dict(best),
            "vanished": {unit: estimate.mean for unit, estimate in estimates.items()},
            "octaves": octaves,
            "keeps": {unit: keeps(values).verdict() for unit, values in at_best.items()},
            "lead_over_linear": ahead.mean,
        },
    )


def _geometric_mean(rms: pd.DataFrame) -> pd.DataFrame:
    """Over runs; of orders of magnitude the mean is that of the logarithms."""
    logarithms = rms.assign(rms=rms["rms"].clip(lower=1e-300).map(math.log10))
    table = logarithms.groupby(["unit", "gain", "layer"], sort=False)["rms"].mean().reset_index()
    return table.assign(rms=10.0 ** table["rms"])


def _change(orders: float) -> str:
    """Orders of magnitude that vanish, in words."""
    verb = "shrinks" if orders > 0 else "grows"
    if abs(orders) < VANISHED:
        return f"{verb} by a factor of {short(10 ** abs(orders))}"
    return f"{verb} by {abs(orders):.1f} orders of magnitude"
