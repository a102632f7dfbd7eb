"""Claim 4: weight sharing. One kernel for all positions, instead of weights for each.

A layer from C channels of H×W pixels to O channels of the same size has

    shared           O·C·k²                3×3, 64 → 64 channels: 36,864, at any H and W
    locally connected  H·W · O·C·k²        the same windows, with weights of their own
    fully connected  (O·H·W) · (C·H·W)     every output joined to every input

weights (biases apart: O, O·H·W and O·H·W). Experiment:

- Counts: the layers are built at each size of feature map and their numbers counted.
- What sharing buys: a small network of two convolutions, and its twin with locally connected layers
  of the same dimensions. The twin begins as *the same function*, weight for weight, so that nothing
  but the freedom of its weights differs. Same images, same batches, same optimiser; each takes the
  learning rate of a list that serves it best on images held out of training.

Supported if the shared form has the fewest weights on every feature map of at least 2×2 pixels, and
classifies more test images correctly than the locally connected one at the smallest training set,
where what is built in matters most: the 95 % interval of the difference, paired by seed, is above
zero. Partly supported if the counts hold and the interval holds zero. Refuted where it lies below,
as with the pixels in a random order: there a patch means nothing that could be shared.

The lead is small beside the choices that it depends on; docs/principles.md lists those tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.findings.finding import Finding, decide
from cnnpipe.findings.intervals import mean_interval
from cnnpipe.findings.wording import count, listed, percent, title_of, written
from cnnpipe.functional.windows import pad, sliding_windows
from cnnpipe.geometry import WindowGeometry, conv2d_parameters
from cnnpipe.layers import Conv2d, MaxPool2d, ReLU
from cnnpipe.params.principles import Schedule, SharingParams
from cnnpipe.principles.moved_images import parameter_count
from cnnpipe.principles.study import Examples, Study, accuracy, fit

NAME = "sharing"
CLAIM = (
    "Weight sharing: a 3×3 convolution from 64 to 64 channels has 36,864 weights at any size of "
    "feature map, the fully connected layer with the same dimensions far more, and the network "
    "learns better for it."
)
FEATURE_MAPS = (1, 2, 3, 4, 7, 8, 14, 16, 28, 32, 56, 112, 224)
"""Sides at which the weights are counted: those of LeNet-5, VGG-16 and ours, and the smallest."""
EXAMPLES = (7, 28, 224)
"""Sides that the verdict quotes."""
HELD_OUT = 1000
"""Training images, other than those trained on, that choose the learning rate."""
Form = Literal["shared", "local"]
FORMS: tuple[Form, ...] = get_args(Form)


class LocallyConnected2d(nn.Module):
    """A convolution without sharing: each position has kernels and biases of its own.

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


def build(form: Form, classes: int, seed: int, side: int = 28) -> nn.Sequential:
    """Two layers, each with ReLU and max pooling, and a linear classifier.

    From the same seed both forms are the same function.

    Shape: (N, 1, side, side) → (N, classes).
    """
    torch.manual_seed(seed)
    convolutions = Conv2d(1, 8, 5), Conv2d(8, 16, 3)  # 28 → 24, pooled to 12, → 10 pixels
    layers: list[nn.Module] = []
    sizes = [side]
    for convolution in convolutions:
        size = sizes[-1], sizes[-1]
        local = form == "local"
        layers += [LocallyConnected2d(convolution, size) if local else convolution]
        layers += [ReLU(), MaxPool2d(2)]
        sizes.append((sizes[-1] - convolution.kernel_size[0] + 1) // 2)
    output = nn.Linear(16 * sizes[-1] ** 2, classes)
    return nn.Sequential(*layers, nn.Flatten(), output)


def measure(study: Study) -> Finding:
    params = study.params.sharing
    largest = max(params.train_sizes)
    inputs, labels = study.training_examples(largest + HELD_OUT)
    held_out = min(HELD_OUT, len(labels) // 4)
    # The first images train: a larger budget keeps those of a smaller one.
    training = inputs[:-held_out], labels[:-held_out]
    validation = inputs[-held_out:], labels[-held_out:]
    runs = compare(
        training,
        validation,
        study.test_examples(params.test_images),
        len(study.dataset.classes),
        params,
        study.seed,
    )
    return judge(runs, count_weights(FEATURE_MAPS), study.dataset.name, params)


def count_weights(sides: Sequence[int], channels: int = 64, kernel_size: int = 3) -> pd.DataFrame:
    """Weights without biases of the three forms at each size of feature map, stride 1, padded.

    Returns:
        columns side, shared, local, full, ratio (full over shared).
    """
    pair = kernel_size, kernel_size
    convolution = Conv2d(channels, channels, kernel_size, padding="same", bias=False, device="meta")
    shared = convolution.weight.numel()
    if shared != conv2d_parameters(channels, channels, pair, bias=False):
        raise RuntimeError("the layer and the formula disagree")
    rows = []
    for side in sides:
        features = channels * side**2
        # On the meta device a layer has its true shape and no memory.
        full = nn.Linear(features, features, bias=False, device="meta").weight.numel()
        local = side**2 * shared
        rows.append(
            {"side": side, "shared": shared, "local": local, "full": full, "ratio": full / shared}
        )
    return pd.DataFrame(rows)


def compare(
    training: Examples,
    validation: Examples,
    test: Examples,
    classes: int,
    params: SharingParams,
    seed: int,
) -> pd.DataFrame:
    """Train both forms at each training-set size and seed.

    Returns:
        columns train_size, form, seed, parameters, lr, accuracy (on the test images).
    """
    inputs, labels = training
    sizes = sorted({min(size, len(labels)) for size in params.train_sizes})

    def train(form: Form, size: int, run: int, lr: float) -> nn.Module:
        network = build(form, classes, seed + run, inputs.shape[-1])
        schedule = Schedule(steps=params.steps, batch_size=params.batch_size, lr=lr)
        return fit(network, (inputs[:size], labels[:size]), schedule, seed + run)

    rows = []
    for size, form in product(sizes, FORMS):
        tried = {lr: train(form, size, 0, lr) for lr in params.lr}
        lr = max(tried, key=lambda lr: accuracy(tried[lr], validation))
        for run in range(params.seeds):
            network = train(form, size, run, lr) if run else tried[lr]
            row: dict[str, Any] = {"train_size": size, "form": form, "seed": seed + run}
            row |= {"parameters": parameter_count(network), "lr": lr}
            rows.append(row | {"accuracy": accuracy(network, test)})
    return pd.DataFrame(rows)


def summarize(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy by training-set size and form, and how far shared weights are ahead.

    Returns:
        columns train_size, form, parameters, accuracy, low, high, ahead, ahead_low, ahead_high: the
        mean over seeds with its interval, and the same of the difference to "shared" by seed.
    """
    rows = []
    for size, group in runs.groupby("train_size"):
        by_seed = group.pivot(index="seed", columns="form", values="accuracy")
        for form in FORMS:
            low, high = mean_interval(by_seed[form].tolist())
            difference = (by_seed["shared"] - by_seed[form]).to_numpy()
            ahead_low, ahead_high = mean_interval(difference.tolist())
            rows.append(
                {
                    "train_size": size,
                    "form": form,
                    "parameters": group.loc[group["form"] == form, "parameters"].iloc[0],
                    "accuracy": by_seed[form].mean(),
                    "low": low,
                    "high": high,
                    "ahead": float(np.mean(difference)),
                    "ahead_low": ahead_low,
                    "ahead_high": ahead_high,
                }
            )
    return pd.DataFrame(rows)


def judge(
    runs: pd.DataFrame, weights: pd.DataFrame, dataset: str, params: SharingParams
) -> Finding:
    """Counts at every size, and the lead of shared weights at the smallest training set."""
    summary = summarize(runs)
    sizes = sorted({int(size) for size in runs["train_size"]})
    smallest, largest = sizes[0], sizes[-1]
    leads = {size: _leads(runs, size) for size in sizes}
    lead, interval = float(np.mean(leads[smallest])), mean_interval(leads[smallest])
    at_smallest = summary[summary["train_size"] == smallest].set_index("form")["accuracy"].to_dict()
    larger = weights[weights["side"] >= 2]
    fewest = bool((larger["shared"] < larger[["local", "full"]].min(axis=1)).all())
    parameters = {
        str(form): int(n) for form, n in runs.groupby("form")["parameters"].first().items()
    }
    full = {int(row["side"]): int(row["full"]) for row in weights.to_dict("records")}
    convolution = int(weights["shared"].iloc[0])
    examples = [f"{full[side]:,} at {side}×{side}" for side in EXAMPLES if side in full]
    fewer = [f"{side}×{side}: {n:,}" for side, n in full.items() if n <= convolution]
    statement = (
        f"A 3×3 convolution from 64 to 64 channels has {convolution:,} weights; "
        f"the fully connected layer with the same dimensions has {', '.join(examples)}"
        + (f" (and no more than that only at {', '.join(fewer)})" if fewer else "")
        + f". Trained on {count(smallest, 'image')}, shared weights classify "
        f"{percent(at_smallest['shared'])} of the test images correctly, the unshared twin with "
        f"{parameters['local'] / parameters['shared']:.0f} times the parameters "
        f"{percent(at_smallest['local'])}: sharing is worth {_points(leads[smallest])}"
        + (f"; with {largest:,} images {_points(leads[largest])}." if largest > smallest else ".")
    )
    return Finding(
        name=NAME,
        claim=CLAIM,
        verdict=decide(fewest and interval[0] > 0, fewest and interval[1] >= 0),
        statement=statement,
        number=100 * lead,
        unit=(
            "percentage points of accuracy that sharing is worth, trained on "
            f"{count(smallest, 'image')}"
        ),
        interval=(100 * interval[0], 100 * interval[1]),
        uncertainty=f"{count(params.seeds, 'seed')}, paired: same start, same batches",
        tables={"weights": weights, "accuracy": summary, "runs": runs},
        details={
            "shared_weights": convolution,
            "full_weights": {str(side): n for side, n in full.items()},
            "networks": parameters,
        },
        question="What would it cost to give each position its own weights, and would it help?",
        data=(
            f"{title_of(dataset)}, {listed([f'{size:,}' for size in sizes])} training images, "
            f"{count(params.test_images, 'test image')}, {count(params.seeds, 'seed')}, "
            f"{count(params.steps, 'step')} of {count(params.batch_size, 'image')} each."
        ),
        limits=(
            "Other designs, on which this small lead depends: see docs/principles.md. Deeper "
            "networks, augmentation, longer training; and images that are not centred, "
            "where weights that know only one place should fare worse."
        ),
    )


def _leads(runs: pd.DataFrame, size: int) -> list[float]:
    """By how much shared weights are ahead at one training-set size, seed by seed."""
    by_seed = runs[runs["train_size"] == size].pivot(
        index="seed", columns="form", values="accuracy"
    )
    return [float(lead) for lead in by_seed["shared"] - by_seed["local"]]


def _points(leads: Sequence[float]) -> str:
    low, high = mean_interval(leads)
    return (
        f"{_signed(float(np.mean(leads)))} percentage points (95 % interval {_signed(low)} to "
        f"{_signed(high)})"
    )


def _signed(fraction: float) -> str:
    return written(100 * fraction, "+.1f")
