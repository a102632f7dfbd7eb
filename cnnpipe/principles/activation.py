"""Claim: ReLU avoids the vanishing gradient that sigmoid and tanh suffer from.

Backpropagation multiplies the gradient, at each layer, by the weights and by the activation's
derivative, which is at most ¼ for sigmoid, at most 1 (and that only at 0) for tanh, and 1 wherever
a neuron is active for ReLU:

    ∂L/∂x_l = W_lᵀ · (φ'(W_l·x_l) ⊙ ∂L/∂x_{l+1})

Whether the product shrinks is a matter of the weights as well. So each activation gets the initial
weights made for it, which keep a signal's variance: normal with variance gain² / fan_in, gain √2
for ReLU, 5/3 for tanh, 1 for sigmoid. They are compared with the layers' default weights, of
variance 1 / (3·fan_in) for every activation.

Experiment: plain stacks of 3×3 convolutions of equal width, without normalisation or shortcuts, of
several depths and seeds. Measured are the root mean square gradient of each convolution's weights,
at the start on one batch and on through training; accuracy after the same number of steps; and dead
units, maps where the activation's derivative stays below a hundredth of its largest possible value
at every pixel of every test image.

    v = log₁₀(rms gradient of the last convolution / rms gradient of the first)

v is how many orders of magnitude vanish on the way back. The number is v of sigmoid minus v of ReLU
in the deepest stack at the start, each with the weights made for it.

One order of magnitude, a factor of 10, counts as vanishing: optimisers with a step size per weight
make up for less. The claim is supported if in the deepest stack, with the weights made for each,
ReLU's gradient keeps within that factor while those of sigmoid and of tanh both vanish; partly, if
only one of the two vanishes; otherwise not. A shallow stack, where nothing vanishes, refutes it.
Each comparison asks for the whole 95 % interval (Student's, over seeds).

Training is by AdamW, which divides each gradient by its own size: vanishing costs less than it
would under plain gradient descent.

Sources: Hochreiter, "The vanishing gradient problem during learning recurrent neural nets and
problem solutions", 1998; Glorot, Bengio, "Understanding the difficulty of training deep feedforward
neural networks", AISTATS 2010; He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from statistics import fmean
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.findings.finding import Finding, Verdict, decide
from cnnpipe.findings.intervals import mean_interval
from cnnpipe.findings.wording import percent, short
from cnnpipe.functional import cross_entropy
from cnnpipe.inspection.activations import capture_activations
from cnnpipe.layers import AvgPool2d, Conv2d, Linear, ReLU, Sequential, Sigmoid, Tanh
from cnnpipe.params.models import Activation
from cnnpipe.params.principles import ActivationParams
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.estimates import Estimate
from cnnpipe.principles.figures.activation import draw
from cnnpipe.principles.study import Examples, Study, accuracy, train

CLAIM = Claim(
    name="activation",
    sentence="ReLU avoids the vanishing gradient that sigmoid and tanh suffer from.",
    question="How much of the gradient reaches the first layer, with which activation?",
    limits=(
        "Nothing here has batch normalisation or shortcuts, which change how gradients flow "
        "with every activation. AdamW makes up for some of what vanishes."
    ),
    draw=draw,
)

Start = Literal["made for it", "default"]
"""The initial weights: made for the activation, or the layers' default."""

LAYERS: dict[Activation, type[nn.Module]] = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid}
GAINS: dict[Activation, float] = {"relu": math.sqrt(2), "tanh": 5 / 3, "sigmoid": 1.0}
TITLES: dict[Activation, str] = {"relu": "ReLU", "tanh": "tanh", "sigmoid": "sigmoid"}
VANISHED = 1.0
"""Orders of magnitude from which on a gradient has vanished."""
DEAD = 0.01
"""Of the largest derivative that an activation can have."""
BATCH_AT_THE_START = 128
COURSE = 10
"""Moments of training at which gradients are noted."""


def measure(study: Study) -> Finding:
    params = study.params.activation
    examples = study.training_examples(params.steps * params.batch_size)
    test = study.first_test_examples(params.test_images)
    start = gradients_at_the_start(examples, params, study.classes, study.seed)
    runs: list[dict[str, Any]] = []
    course: list[dict[str, Any]] = []
    for depth, activation, number in product(params.trained_depths, LAYERS, range(params.seeds)):
        seed = study.seed + number
        run = {"activation": activation, "depth": depth, "seed": number}

        def watch(step: int, model: nn.Module, run: dict[str, Any] = run) -> None:
            if step % max(1, params.steps // COURSE) == 0:
                course.extend(run | {"step": step} | row for row in _gradients(model))

        build = partial(stack, activation, depth, params.channels, study.classes)
        model = train(build, examples, params, seed, watch=watch)
        runs.append(run | {"accuracy": accuracy(model, test), "dead": dead_units(model, test[0])})
    return conclude(start, pd.DataFrame(runs), pd.DataFrame(course), study)


def stack(
    activation: Activation,
    depth: int,
    channels: int,
    classes: int,
    start: Start = "made for it",
) -> nn.Sequential:
    """A plain stack: convolutions of 3×3 and activations on quarter-size maps, and logits.

    The maps are small, by pooling and a first stride of 2, for many layers to be affordable; the
    gradient's way through the layers does not depend on their size.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    plan: OrderedDict[str, nn.Module] = OrderedDict(shrink=AvgPool2d(2))  # (N, 1, 14, 14)
    for layer in range(1, depth + 1):
        first = layer == 1
        conv = Conv2d(1 if first else channels, channels, 3, stride=2 if first else 1, padding=1)
        if start == "made for it":
            fan_in = conv.weight[0].numel()
            nn.init.normal_(conv.weight, std=GAINS[activation] / math.sqrt(fan_in))
            nn.init.zeros_(conv.get_parameter("bias"))
        plan[f"conv{layer}"] = conv  # (N, channels, 7, 7)
        plan[f"act{layer}"] = LAYERS[activation]()
    plan["flatten"] = nn.Flatten()
    plan["output"] = Linear(7 * 7 * channels, classes)
    return Sequential(plan)


def gradients_at_the_start(
    examples: Examples, params: ActivationParams, classes: int, seed: int
) -> pd.DataFrame:
    """The gradient's size at each convolution before the first step, on one batch.

    Returns:
        columns start, activation, depth, seed, layer, rms.
    """
    inputs, labels = (part[:BATCH_AT_THE_START] for part in examples)
    rows = []
    for start, activation, depth, number in product(
        get_args(Start), LAYERS, params.depths, range(params.seeds)
    ):
        torch.manual_seed(seed + number)
        model = stack(activation, depth, params.channels, classes, start)
        cross_entropy(model(inputs), labels).backward()
        place = {"start": start, "activation": activation, "depth": depth, "seed": number}
        rows += [place | row for row in _gradients(model)]
    return pd.DataFrame(rows)


def _gradients(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Root mean square of the gradient of each convolution's weights, first to last: layer, rms."""
    convolutions = (layer for layer in model.modules() if isinstance(layer, Conv2d))
    for number, layer in enumerate(convolutions, 1):
        gradient = layer.weight.grad
        rms = 0.0 if gradient is None else gradient.double().square().mean().sqrt().item()
        yield {"layer": number, "rms": rms}


@torch.inference_mode()
def dead_units(model: nn.Module, inputs: Tensor) -> float:
    """Share of the stack's maps whose activation passes on no gradient for any image.

    The derivatives are read off the output y: 1 where y > 0 for ReLU, 1 − y² for tanh, at most 1;
    y·(1 − y) for sigmoid, at most ¼.
    """
    kinds = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, (ReLU, Tanh, Sigmoid))
    }
    largest: dict[str, Tensor] = {}
    for batch in inputs.split(500):
        with capture_activations(model, kinds) as outputs:
            model(batch)
        for name, y in outputs.items():
            slope = _slope(kinds[name], y).amax(dim=(0, 2, 3))  # (C,)
            largest[name] = torch.maximum(slope, largest.get(name, slope))
    return (torch.cat(list(largest.values())) < DEAD).float().mean().item()


def _slope(layer: nn.Module, y: Tensor) -> Tensor:
    """The activation's derivative at outputs y, as a share of the largest possible."""
    if isinstance(layer, ReLU):
        return (y > 0).float()
    return 1 - y * y if isinstance(layer, Tanh) else 4 * y * (1 - y)


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


def judge(vanished: Mapping[Activation, Sequence[float]]) -> Verdict:
    """From the orders of magnitude that vanish with each activation, seed by seed."""
    intervals = {activation: mean_interval(values) for activation, values in vanished.items()}
    keeps = intervals["relu"][1] < VANISHED
    losing = [intervals[rival][0] > VANISHED for rival in ("sigmoid", "tanh")]
    return decide(keeps and all(losing), keeps and any(losing))


def conclude(
    start: pd.DataFrame, runs: pd.DataFrame, course: pd.DataFrame, study: Study
) -> Finding:
    """The finding from the gradients at the start, the trained stacks, and what came between."""
    params = study.params.activation
    deepest, trained = max(params.depths), max(params.trained_depths)
    lost = vanished(start).reset_index()
    by_seed = lost[lost["depth"] == deepest].set_index(["start", "activation"])["vanished"]
    made, default = (
        {activation: by_seed[start, activation].tolist() for activation in LAYERS}
        for start in get_args(Start)
    )
    # Seeds are paired: the same numbers are drawn for every activation, scaled by its gain.
    gaps = np.subtract(made["sigmoid"], made["relu"]).tolist()
    verdict = judge(made)
    after = runs[runs["depth"] == trained].groupby("activation")[["accuracy", "dead"]].mean()
    details: dict[str, Any] = {
        "deepest": deepest,
        "vanished": {activation: fmean(values) for activation, values in made.items()},
        "vanished_interval": {name: list(mean_interval(values)) for name, values in made.items()},
        "vanished_default": {activation: fmean(values) for activation, values in default.items()},
        "trained_depth": trained,
        "accuracy": after["accuracy"].to_dict(),
        "dead": after["dead"].to_dict(),
    }
    stacks = runs.groupby(["depth", "activation"], sort=False)[["accuracy", "dead"]]
    places = lost.groupby(["start", "activation", "depth"], sort=False)["vanished"]
    batch = min(BATCH_AT_THE_START, params.steps * params.batch_size)
    return CLAIM.finding(
        verdict,
        _statement(verdict, details),
        Estimate(fmean(gaps), *mean_interval(gaps)),
        unit=(
            f"orders of magnitude more of the gradient vanish with sigmoid than with ReLU, over "
            f"{deepest} convolutions at the start"
        ),
        uncertainty=f"{params.seeds} seeds",
        data=(
            f"Plain stacks of {params.channels} channels, {params.seeds} seeds each. Gradients at "
            f"the start over {batch} images of {study.title}; training {params.steps} steps of "
            f"{params.batch_size} images; accuracy on {study.tested(params)}."
        ),
        tables={
            "summary": stacks.mean().reset_index(),
            "vanished": places.agg(["mean", "min", "max"]).reset_index(),
            "start": _geometric_mean(start, ["start", "activation", "depth", "layer"]),
            "course": _geometric_mean(course, ["activation", "depth", "step", "layer"]),
            "runs": runs,
        },
        details=details,
    )


def _geometric_mean(rms: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Over seeds; of orders of magnitude the mean is that of the logarithms."""
    logarithms = rms.assign(rms=rms["rms"].clip(lower=1e-300).map(math.log10))
    table = logarithms.groupby(by, sort=False)["rms"].mean().reset_index()
    return table.assign(rms=10.0 ** table["rms"])


def _change(orders: float) -> str:
    """Orders of magnitude that vanish, in words."""
    verb = "shrinks" if orders > 0 else "grows"
    if abs(orders) < VANISHED:
        return f"{verb} by a factor of {short(10 ** abs(orders))}"
    return f"{verb} by {abs(orders):.1f} orders of magnitude"


def _statement(verdict: Verdict, details: Mapping[str, Any]) -> str:
    made, default = details["vanished"], details["vanished_default"]
    reached = [f"{TITLES[name]} {percent(details['accuracy'][name])}" for name in LAYERS]
    dead = [f"{TITLES[name]} {percent(details['dead'][name])}" for name in LAYERS]
    too = " too" if default["relu"] > VANISHED else ""
    return (
        f"{verdict.capitalize()}: from the last to the first of {details['deepest']} plain "
        f"convolutions the gradient {_change(made['relu'])} with ReLU, {_change(made['sigmoid'])} "
        f"with sigmoid and {_change(made['tanh'])} with tanh, each with the initial weights made "
        f"for it. With the layers' default weights it {_change(default['relu'])} with ReLU{too}. "
        f"After the same training, stacks of {details['trained_depth']} convolutions reach an "
        f"accuracy of: {', '.join(reached)}; dead units: {', '.join(dead)}."
    )
