"""Claim 10: the inductive bias of convolution, local windows and shared weights, suits images.

A bias replaces data: a network that need not learn that nearby pixels belong together, and that a
stroke is the same wherever it lies, needs fewer images. So the advantage is that of a convolutional
network over an MLP with as many parameters,

    a(n) = accuracy of the CNN − accuracy of the MLP, both trained on the same n images,

with the same steps of the same optimiser, over n on a logarithmic axis.

The control separates the bias from all other differences between the two. The pixels of every
image, in training and test, are put in one fixed random order. This changes nothing for an MLP,
whose first layer joins all pixels with all neurons. For the CNN, neighbouring pixels have become
unrelated, so the advantage of its bias must be gone.

Every seed has its own training images, initial weights and order of the pixels; differences are
taken seed by seed. The number is a(n) averaged over the sizes. The claim is supported if its whole
95 % interval lies above zero on images as they are and not on scrambled ones; partly, if the
advantage shrinks on scrambled ones but stays above zero; otherwise not. No experiment can show
"perfectly"; the statement gives the share of images that the CNN still gets wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.findings.finding import Finding, decide
from cnnpipe.findings.wording import NBSP, count, percent, tenths
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.estimates import Estimate, paired, summarize
from cnnpipe.principles.figures.inductive_bias import draw
from cnnpipe.principles.networks import (
    CNN,
    MLP,
    parameter_count,
    perceptron_as_large_as,
    strided_network,
)
from cnnpipe.principles.study import Study, accuracy, train

CLAIM = Claim(
    name="inductive_bias",
    sentence=(
        "The inductive bias of convolutional networks, local connections and shared weights, is "
        "perfectly suited for visual data."
    ),
    question="How many images does the bias of convolution replace, and is it the bias?",
    limits=(
        "One pair of small networks, one learning rate and a fixed number of steps: with "
        "{seen:,} images seen, larger sets are seen in part, and the curves level off there for "
        "lack of steps. Images of 28×28 are not all of visual data."
    ),
    draw=draw,
)

ORDERED, SCRAMBLED = "images as they are", "pixels in a random order"


def measure(study: Study) -> Finding:
    """Train both networks on every number of images, in both orders, from every seed."""
    return judge(train_on_growing_sets(study), study)


def networks_of_one_size(classes: int) -> dict[str, Callable[[], nn.Module]]:
    """What builds the two that are compared, by name."""
    return {
        CNN: lambda: strided_network(classes),
        MLP: lambda: perceptron_as_large_as(strided_network(classes), classes),
    }


def train_on_growing_sets(study: Study) -> pd.DataFrame:
    """Accuracy of both networks on test images, in the order of pixels that they were trained with.

    Returns:
        columns order, network, parameters, images, seed, accuracy (fraction).
    """
    params = study.params.inductive_bias
    test_images, test_labels = study.test_examples(params.test_images)
    networks = networks_of_one_size(study.classes)
    rows = []
    for seed in study.seeds(params):
        images, labels = replace(study, seed=seed).training_examples(max(params.sizes))
        for order in (ORDERED, SCRAMBLED):
            tests = test_images
            if order == SCRAMBLED:
                images, tests = scrambled(images, seed), scrambled(test_images, seed)
            for size in sizes_within(params.sizes, len(images)):
                for name, build in networks.items():
                    network = train(build, (images[:size], labels[:size]), params, seed)
                    fraction = accuracy(network, (tests, test_labels))
                    rows.append((order, name, parameter_count(network), size, seed, fraction))
    return pd.DataFrame(
        rows, columns=["order", "network", "parameters", "images", "seed", "accuracy"]
    )


def scrambled(images: Tensor, seed: int) -> Tensor:
    """The pixels of every image in the same random order.

    Shape: (N, 1, H, W) → (N, 1, H, W).
    """
    pixels = images.flatten(1)
    order = torch.randperm(pixels.shape[1], generator=torch.Generator().manual_seed(seed))
    return pixels[:, order].view_as(images)


def sizes_within(sizes: Sequence[int], available: int) -> list[int]:
    """The sizes of training sets, with all images in place of those that are not there."""
    return sorted({min(size, available) for size in sizes})


def advantages(accuracies: pd.DataFrame, order: str) -> pd.DataFrame:
    """Accuracy of the CNN minus that of the MLP, in percentage points.

    Shape: a row per seed, a column per number of images.
    """
    runs = accuracies[accuracies["order"] == order]
    difference: pd.DataFrame = paired(runs, "network", CNN, MLP, ["seed", "images"]).unstack()
    return 100 * difference


def judge(accuracies: pd.DataFrame, study: Study) -> Finding:
    """The verdict, from the table of `train_on_growing_sets`."""
    params = study.params.inductive_bias
    by_order = {order: advantages(accuracies, order) for order in (ORDERED, SCRAMBLED)}
    ordered, control = (table.mean(axis=1).to_list() for table in by_order.values())
    ahead, ahead_scrambled = Estimate.over_seeds(ordered), Estimate.over_seeds(control)
    owed = Estimate.over_seeds(np.subtract(ordered, control).tolist())
    holds = ahead.low > 0 and owed.low > 0
    summary = summarize(accuracies, by=["order", "network", "images"])
    cnn, mlp = (
        summary[(summary["order"] == ORDERED) & (summary["network"] == name)] for name in (CNN, MLP)
    )
    sizes = [int(size) for size in cnn["images"]]
    statement = (
        f"Trained on {sizes[0]:,} to {sizes[-1]:,} images, the CNN is on average "
        f"{_advantage(ahead)} an MLP with as many parameters{_images_enough(cnn, mlp)}. "
        f"With the pixels in one fixed random order it is {_advantage(ahead_scrambled)} it: "
        f"{_control(ahead, ahead_scrambled, owed)}. As for perfect, after {sizes[-1]:,} images in "
        f"few steps the CNN gets {percent(1 - float(cnn['accuracy'].iloc[-1]))} wrong."
    )
    seen = params.steps * params.batch_size
    return replace(CLAIM, limits=CLAIM.limits.format(seen=seen)).finding(
        decide(holds and ahead_scrambled.low <= 0, holds),
        statement,
        ahead,
        unit=(
            "percentage points of accuracy that the CNN is ahead of an MLP with as many "
            "parameters, averaged over the sizes of the training set"
        ),
        uncertainty=(
            f"{count(params.seeds, 'seed')} (training images, initial weights, order of the "
            f"pixels), each judged on the same {study.tested(params)}"
        ),
        data=(
            f"{study.title}: {params.steps} steps of at most {params.batch_size} images, whatever "
            f"the size of the set; {params.seeds} seeds; {study.tested(params)}"
        ),
        tables={"advantage": compare(by_order), "accuracy": summary},
        details={
            "parameters": accuracies.groupby("network")["parameters"].first().to_dict(),
            "advantage_of_control": ahead_scrambled.mean,
            "interval_of_control": list(ahead_scrambled.interval),
        },
    )


def compare(by_order: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The CNN's advantage by the number of images.

    Returns:
        columns order, images, advantage, low, high (percentage points).
    """
    rows = [
        (order, images, *Estimate.over_seeds(table[images].to_list()))
        for order, table in by_order.items()
        for images in table.columns
    ]
    return pd.DataFrame(rows, columns=["order", "images", "advantage", "low", "high"])


def _advantage(ahead: Estimate) -> str:
    """For example "2.0 points (95 % interval 1.0 to 3.0) ahead of"."""
    sign = 1 if ahead.mean > 0 else -1
    low, high = sorted(sign * end for end in ahead.interval)
    return (
        f"{tenths(sign * ahead.mean)} points (95{NBSP}% interval {tenths(low)} to "
        f"{tenths(high)}) {'ahead of' if sign > 0 else 'behind'}"
    )


def _images_enough(cnn: pd.DataFrame, mlp: pd.DataFrame) -> str:
    """From how few images on the CNN beats what the MLP reaches with any number, if it does."""
    better = cnn.loc[cnn["accuracy"] > mlp["accuracy"].max(), "images"]
    if better.empty:
        return ""
    return f", and from {int(better.min()):,} images on better than the MLP with any number of them"


def _control(ahead: Estimate, ahead_scrambled: Estimate, owed: Estimate) -> str:
    """What becomes of the advantage when the pixels are scrambled."""
    if ahead_scrambled.high < 0:
        return "the bias turns into a handicap" if ahead.mean > 0 else "it was none before"
    if ahead_scrambled.low <= 0:
        return "the advantage is gone" if ahead.mean > 0 else "there was none before"
    part = "a part of the advantage" if owed.low > 0 else "the advantage"
    return f"{part} is not owed to the order of the pixels"
