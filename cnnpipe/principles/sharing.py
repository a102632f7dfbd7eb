"""Claim 4: weight sharing. One kernel for all positions, instead of weights for each.

A layer from C channels of H×W pixels to O channels of the same size has

    shared           O·C·k²                3×3, 64 → 64 channels: 36,864, at any H and W
    locally connected  H·W · O·C·k²        the same windows, with separate weights for each
    fully connected  (O·H·W) · (C·H·W)     every output joined to every input

weights (biases apart: O, O·H·W and O·H·W). Experiment:

- Counts: the layers are built at each size of feature map and their numbers counted.
- What sharing buys: a small network of two convolutions, and its twin with locally connected layers
  of the same dimensions. The twin begins as *the same function*, weight for weight, so that nothing
  but the freedom of its weights differs. Same images, same batches, same optimiser; each takes the
  learning rate of a list with which it classifies most held-out images correctly.

Supported if the shared form has the fewest weights on every feature map of at least 2×2 pixels, and
classifies more test images correctly than the locally connected one at the smallest training set,
where what is built in matters most: the 95 % interval of the difference, paired by seed, is above
zero. Partly supported if the counts hold and the interval holds zero. Refuted where it lies below,
as with the pixels in a random order, where neighbouring pixels are unrelated.

The lead is small beside the choices that it depends on; docs/principles.md lists those tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Literal, get_args

import numpy as np
import pandas as pd
from torch import Tensor, nn

from cnnpipe.findings.finding import Finding, decide
from cnnpipe.findings.intervals import mean_interval
from cnnpipe.findings.wording import count, listed, percent, written
from cnnpipe.functional.windows import pad, sliding_windows
from cnnpipe.geometry import WindowGeometry
from cnnpipe.layers import Conv2d, Linear, MaxPool2d, ReLU, Sequential
from cnnpipe.params.principles import Schedule
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.estimates import Estimate, paired
from cnnpipe.principles.figures.sharing import draw
from cnnpipe.principles.networks import parameter_count
from cnnpipe.principles.study import Study, accuracy, train

CLAIM = Claim(
    name="sharing",
    sentence=(
        "Weight sharing: a 3×3 convolution from 64 to 64 channels has 36,864 weights at any size "
        "of feature map, the fully connected layer with the same dimensions far more, and the "
        "network learns better for it."
    ),
    question="What would it cost to give each position its own weights, and would it help?",
    limits=(
        "Other designs, on which this small lead depends: see docs/principles.md. Deeper "
        "networks, augmentation, longer training; and images that are not centred, "
        "where weights that know only one place should fare worse."
    ),
    draw=draw,
)
FEATURE_MAPS = (1, 2, 3, 4, 7, 8, 14, 16, 28, 32, 56, 112, 224)
"""Sides at which the weights are counted: those of LeNet-5, VGG-16 and ours, and the smallest."""
EXAMPLES = (7, 28, 224)
"""Sides that the verdict quotes."""
HELD_OUT = 1000
"""Training images, other than those trained on, that choose the learning rate."""
Form = Literal["shared", "local"]
FORMS: tuple[Form, ...] = get_args(Form)


def measure(study: Study) -> Finding:
    return judge(compare(study), count_weights(FEATURE_MAPS), study)


class LocallyConnected2d(nn.Module):
    """A convolution without sharing: each position has separate kernels and biases.

    y[n, o, p] = bias[o, p] + Σ_{c,i,j} window[n, c, p, i, j] · weight[p, (c, i, j), o]

    It begins as the function of the convolution it is made from.

    Shape: (N, C, H, W) → (N, O, H_out, W_out).

    Args:
        convolution: whose windows and first weights it takes; groups and dilation 1.
        size: (H, W) of the input.
    """

    def __init__(self, convolution: Conv2d, size: tuple[int, int]) -> None:
        super().__init__()
        if isinstance(convolution.padding, str) or convolution.bias is None:
            raise ValueError("convolution: expected padding in pixels and a bias")
        vertical, horizontal = convolution.padding
        self.geometry = WindowGeometry(
            size,
            convolution.kernel_size,
            convolution.stride,
            (vertical, vertical, horizontal, horizontal),
        )
        positions = math.prod(self.geometry.output_size)
        kernels = convolution.weight.detach().flatten(1).T  # (C·kH·kW, O)
        self.weight = nn.Parameter(kernels.repeat(positions, 1, 1))  # (positions, C·kH·kW, O)
        self.bias = nn.Parameter(convolution.bias.detach().repeat(positions, 1, 1))

    def forward(self, input: Tensor) -> Tensor:
        windows = sliding_windows(pad(input, self.geometry), self.geometry)
        rows = windows.permute(2, 3, 0, 1, 4, 5).flatten(3).flatten(0, 1)  # (positions, N, C, k²)
        outputs: Tensor = self.bias + rows.flatten(2) @ self.weight  # (positions, N, O)
        maps: Tensor = outputs.permute(1, 2, 0).unflatten(2, self.geometry.output_size)
        return maps


def network(form: Form, classes: int) -> nn.Sequential:
    """Two layers, each with ReLU and max pooling, and a linear classifier.

    From the same seed both forms are the same function.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    convolutions = Conv2d(1, 8, 5), Conv2d(8, 16, 3)
    layers: list[nn.Module] = []
    for convolution, side in zip(convolutions, (28, 12), strict=True):
        local = form == "local"
        layers += [LocallyConnected2d(convolution, (side, side)) if local else convolution]
        layers += [ReLU(), MaxPool2d(2)]
    return Sequential(*layers, nn.Flatten(), Linear(16 * 5 * 5, classes))


def count_weights(sides: Sequence[int], channels: int = 64) -> pd.DataFrame:
    """Weights without biases of the three forms at each size of feature map, stride 1, padded.

    Returns:
        columns side, shared, local, full, ratio (full over shared).
    """
    # On the meta device a layer has its true shape and no memory.
    convolution = Conv2d(channels, channels, 3, padding="same", bias=False, device="meta")
    shared = convolution.weight.numel()
    rows = []
    for side in sides:
        features = channels * side**2
        full = Linear(features, features, bias=False, device="meta").weight.numel()
        rows.append((side, shared, side**2 * shared, full, full / shared))
    return pd.DataFrame(rows, columns=["side", "shared", "local", "full", "ratio"])


def compare(study: Study) -> pd.DataFrame:
    """Train both forms at each training-set size and seed.

    Returns:
        columns train_size, form, seed, parameters, lr, accuracy (on the test images).
    """
    params = study.params.sharing
    inputs, labels = study.training_examples(max(params.train_sizes) + HELD_OUT)
    held_out = min(HELD_OUT, len(labels) // 4)
    # The first images train: a larger budget keeps those of a smaller one.
    sizes = sorted({min(size, len(labels) - held_out) for size in params.train_sizes})
    validation = inputs[-held_out:], labels[-held_out:]
    test = study.test_examples(params.test_images)

    def trained(form: Form, size: int, seed: int, lr: float) -> nn.Module:
        schedule = Schedule(steps=params.steps, batch_size=params.batch_size, lr=lr)
        build = partial(network, form, study.classes)
        return train(build, (inputs[:size], labels[:size]), schedule, seed)

    rows = []
    for size, form in product(sizes, FORMS):
        tried = {lr: trained(form, size, study.seed, lr) for lr in params.lr}
        lr = max(tried, key=lambda lr: accuracy(tried[lr], validation))
        for seed in range(study.seed, study.seed + params.seeds):
            best = tried[lr] if seed == study.seed else trained(form, size, seed, lr)
            rows.append((size, form, seed, parameter_count(best), lr, accuracy(best, test)))
    columns = ["train_size", "form", "seed", "parameters", "lr", "accuracy"]
    return pd.DataFrame(rows, columns=columns)


def summarize(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy by training-set size and form, and how far shared weights are ahead.

    Returns:
        columns train_size, form, parameters, accuracy, low, high, ahead, ahead_low, ahead_high: the
        mean over seeds with its interval, and the same of the difference to "shared" by seed.
    """
    rows = []
    for (size, of_size), form in product(runs.groupby("train_size"), FORMS):
        of_form = of_size[of_size["form"] == form]
        parameters = of_form["parameters"].iloc[0]
        rows.append((size, form, parameters, *_mean(of_form["accuracy"]), *_lead(of_size, form)))
    ends = ["accuracy", "low", "high", "ahead", "ahead_low", "ahead_high"]
    return pd.DataFrame(rows, columns=["train_size", "form", "parameters", *ends])


def judge(runs: pd.DataFrame, weights: pd.DataFrame, study: Study) -> Finding:
    """Counts at every size, and the lead of shared weights at the smallest training set."""
    params = study.params.sharing
    sizes = sorted({int(size) for size in runs["train_size"]})
    leads = {size: _lead(runs[runs["train_size"] == size]) for size in sizes}
    smallest, largest = sizes[0], sizes[-1]
    lead = leads[smallest]
    summary = summarize(runs)
    reached = summary[summary["train_size"] == smallest].set_index("form")["accuracy"].map(percent)
    larger = weights[weights["side"] >= 2]
    fewest = bool((larger["shared"] < larger[["local", "full"]].min(axis=1)).all())
    parameters = runs.groupby("form")["parameters"].first().to_dict()
    full = {int(side): int(n) for side, n in zip(weights["side"], weights["full"], strict=True)}
    convolution = int(weights["shared"].iloc[0])
    examples = [f"{full[side]:,} at {side}×{side}" for side in EXAMPLES if side in full]
    fewer = [f"{side}×{side}: {n:,}" for side, n in full.items() if n <= convolution]
    statement = (
        f"A 3×3 convolution from 64 to 64 channels has {convolution:,} weights; "
        f"the fully connected layer with the same dimensions has {', '.join(examples)}"
        + (f" (and no more than that only at {', '.join(fewer)})" if fewer else "")
        + f". Trained on {count(smallest, 'image')}, shared weights classify {reached['shared']} "
        "of the test images correctly, the unshared twin with "
        f"{parameters['local'] / parameters['shared']:.0f} times the parameters "
        f"{reached['local']}: sharing is worth {_points(lead)}"
        + (f"; with {largest:,} images {_points(leads[largest])}." if largest > smallest else ".")
    )
    seeds = count(params.seeds, "seed")
    return CLAIM.finding(
        decide(fewest and lead.low > 0, fewest and lead.high >= 0),
        statement,
        lead.times(100),
        unit=(
            "percentage points of accuracy that sharing is worth, trained on "
            f"{count(smallest, 'image')}"
        ),
        uncertainty=f"{seeds}, paired: same start, same batches",
        data=(
            f"{study.title}, {listed([f'{size:,}' for size in sizes])} training images, "
            f"{count(params.test_images, 'test image')}, {seeds}, {count(params.steps, 'step')} of "
            f"{count(params.batch_size, 'image')} each."
        ),
        tables={"weights": weights, "accuracy": summary, "runs": runs},
        details={
            "shared_weights": convolution,
            "full_weights": {str(side): n for side, n in full.items()},
            "networks": parameters,
        },
    )


def _lead(runs: pd.DataFrame, form: Form = "local") -> Estimate:
    """How far shared weights are ahead of a form at one training-set size."""
    return _mean(paired(runs, "form", "shared", form))


def _mean(values: pd.Series[float]) -> Estimate:
    return Estimate(float(np.mean(values)), *mean_interval(values.tolist()))


def _points(lead: Estimate) -> str:
    points = lead.times(100)
    return (
        f"{written(points.mean, '+.1f')} percentage points (95 % interval {points.range('+.1f')})"
    )
