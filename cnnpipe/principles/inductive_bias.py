"""Claim 10: the inductive bias of convolution, local windows and shared weights, suits images.

A bias is worth something where it stands in for data: a network that need not learn that nearby
pixels belong together, and that a stroke is a stroke wherever it lies, needs fewer images. So the
advantage is that of a convolutional network over an MLP with as many parameters,

    a(n) = accuracy of the CNN − accuracy of the MLP, both trained on the same n images,

with the same steps of the same optimiser, over n on a logarithmic axis.

The control tells the bias from all else in which the two differ. The pixels of every image, in
training and test alike, are put in one fixed random order. An MLP cannot tell: its first layer
joins all pixels with all neurons, whatever their order. To the CNN neighbours are strangers now, so
what it gained by its bias must be gone.

Every seed has its own training images, initial weights and order of the pixels; differences are
taken seed by seed. The number is a(n) averaged over the sizes. The claim is supported if its whole
95 % interval lies above zero on images as they are and not on scrambled ones; partly, if the
advantage shrinks on scrambled ones but stays above zero; otherwise not. "Perfectly" no experiment
can show; what the CNN still gets wrong is said instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean

import pandas as pd
import torch
from torch import Tensor, nn

from cnnpipe.findings.finding import Finding, Verdict, decide
from cnnpipe.findings.intervals import mean_interval
from cnnpipe.findings.wording import NBSP, count, percent, tenths, title_of
from cnnpipe.layers import Conv2d, ReLU
from cnnpipe.principles.moved_images import (
    multilayer_perceptron,
    parameter_count,
    summarize,
)
from cnnpipe.principles.study import Study, accuracy, trials

NAME = "inductive_bias"
CLAIM = (
    "The inductive bias of convolutional networks, local connections and shared weights, is "
    "perfectly suited for visual data."
)

ORDERED, SCRAMBLED = "images as they are", "pixels in a random order"
CNN, MLP = "CNN", "MLP"


def measure(study: Study) -> Finding:
    """Train both networks on every number of images, in both orders, from every seed."""
    return conclude(train_on_growing_sets(study), study)


def convolutional_network(classes: int) -> nn.Sequential:
    """Local connections and shared weights and nothing else: strides of 2 instead of pooling.

    Shape: (N, 1, 28, 28) → (N, classes).
    """
    return nn.Sequential(
        Conv2d(1, 8, 5, stride=2),  # (N, 8, 12, 12)
        ReLU(),
        Conv2d(8, 16, 3, stride=2),  # (N, 16, 5, 5)
        ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 64),
        ReLU(),
        nn.Linear(64, classes),
    )


def perceptron_as_large_as(network: nn.Module, classes: int) -> nn.Sequential:
    """An MLP whose one hidden layer has as many neurons as the parameters of `network` pay for."""
    per_neuron = 28 * 28 + 1 + classes  # weights in, bias, weights out
    hidden = round((parameter_count(network) - classes) / per_neuron)
    return multilayer_perceptron(hidden, classes)


def networks_of_one_size(classes: int) -> dict[str, Callable[[], nn.Module]]:
    """What builds the two that are compared, by name."""
    return {
        CNN: lambda: convolutional_network(classes),
        MLP: lambda: perceptron_as_large_as(convolutional_network(classes), classes),
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
    for seed in range(study.seed, study.seed + params.seeds):
        images, labels = replace(study, seed=seed).training_examples(max(params.sizes))
        for order in (ORDERED, SCRAMBLED):
            tests = test_images
            if order == SCRAMBLED:
                images, tests = scrambled(images, seed), scrambled(test_images, seed)
            for size in sizes_within(params.sizes, len(images)):
                for name, network in trials(networks, (images[:size], labels[:size]), params, seed):
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
    by_network = {
        name: group.pivot_table(index="seed", columns="images", values="accuracy")
        for name, group in runs.groupby("network")
    }
    difference: pd.DataFrame = 100 * (by_network[CNN] - by_network[MLP])
    return difference


def judge(ordered: Sequence[float], control: Sequence[float]) -> Verdict:
    """The verdict on each seed's advantage, on images as they are and on scrambled ones."""
    shrunk = [plain - mixed for plain, mixed in zip(ordered, control, strict=True)]
    owed = mean_interval(ordered)[0] > 0 and mean_interval(shrunk)[0] > 0
    return decide(owed and mean_interval(control)[0] <= 0, owed)


def conclude(accuracies: pd.DataFrame, study: Study) -> Finding:
    """The verdict, from the table of `train_on_growing_sets`."""
    params = study.params.inductive_bias
    by_order = {order: advantages(accuracies, order) for order in (ORDERED, SCRAMBLED)}
    overall = {order: table.mean(axis=1).to_list() for order, table in by_order.items()}
    test_images = count(min(params.test_images, len(study.dataset.test)), "test image")
    summary = summarize(accuracies, by=["order", "network", "images"])
    return Finding(
        name=NAME,
        claim=CLAIM,
        verdict=judge(overall[ORDERED], overall[SCRAMBLED]),
        statement=say(by_order, summary),
        number=mean(overall[ORDERED]),
        unit=(
            "percentage points of accuracy that the CNN is ahead of an MLP with as many "
            "parameters, averaged over the sizes of the training set"
        ),
        interval=mean_interval(overall[ORDERED]),
        uncertainty=(
            f"{count(params.seeds, 'seed')} (training images, initial weights, order of the "
            f"pixels), each judged on the same {test_images}"
        ),
        tables={"advantage": compare(by_order), "accuracy": summary},
        details={
            "parameters": accuracies.groupby("network")["parameters"].first().to_dict(),
            "advantage_of_control": mean(overall[SCRAMBLED]),
            "interval_of_control": list(mean_interval(overall[SCRAMBLED])),
        },
        question="How many images does the bias of convolution replace, and is it the bias?",
        data=(
            f"{title_of(study.dataset.name)}: {params.steps} steps of at most {params.batch_size} "
            "images, "
            f"whatever the size of the set; {params.seeds} seeds; {test_images}"
        ),
        limits=(
            "One pair of small networks, one learning rate and a fixed number of steps: with "
            f"{params.steps * params.batch_size:,} images seen, larger sets are seen in part, and "
            "the curves level off there for lack of steps. Digits are not all of visual data."
        ),
    )


def compare(by_order: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The CNN's advantage by the number of images.

    Returns:
        columns order, images, advantage, low, high (percentage points).
    """
    rows = []
    for order, table in by_order.items():
        for images in table.columns:
            values = table[images].to_list()
            rows.append((order, images, mean(values), *mean_interval(values)))
    return pd.DataFrame(rows, columns=["order", "images", "advantage", "low", "high"])


def say(by_order: dict[str, pd.DataFrame], summary: pd.DataFrame) -> str:
    overall = {order: table.mean(axis=1).to_list() for order, table in by_order.items()}
    cnn, mlp = (
        summary[(summary["order"] == ORDERED) & (summary["network"] == name)] for name in (CNN, MLP)
    )
    sizes = [int(size) for size in cnn["images"]]
    errors = 1 - float(cnn["accuracy"].iloc[-1])
    return (
        f"Trained on {sizes[0]:,} to {sizes[-1]:,} images, the CNN is on average "
        f"{say_advantage(overall[ORDERED])} an MLP with as many parameters{say_images(cnn, mlp)}. "
        f"With the pixels in one fixed random order it is {say_advantage(overall[SCRAMBLED])} it: "
        f"{say_control(overall[ORDERED], overall[SCRAMBLED])}. As for perfect, after "
        f"{sizes[-1]:,} images in few steps the CNN gets {percent(errors)} wrong."
    )


def say_advantage(values: Sequence[float]) -> str:
    """Each seed's advantage as "2.0 points (95 % interval 1.0 to 3.0) ahead of"."""
    sign = 1 if mean(values) > 0 else -1
    low, high = sorted(sign * end for end in mean_interval(values))
    return (
        f"{tenths(sign * mean(values))} points (95{NBSP}% interval {tenths(low)} to "
        f"{tenths(high)}) {'ahead of' if sign > 0 else 'behind'}"
    )


def say_images(cnn: pd.DataFrame, mlp: pd.DataFrame) -> str:
    """From how few images on the CNN beats what the MLP reaches with any number, if it does."""
    better = cnn.loc[cnn["accuracy"] > mlp["accuracy"].max(), "images"]
    if better.empty:
        return ""
    return f", and from {int(better.min()):,} images on better than the MLP with any number of them"


def say_control(ordered: Sequence[float], control: Sequence[float]) -> str:
    low, high = mean_interval(control)
    if high < 0:
        return "the bias turns into a handicap" if mean(ordered) > 0 else "it was none before"
    if low <= 0:
        return "the advantage is gone" if mean(ordered) > 0 else "there was none before"
    shrunk = [plain - mixed for plain, mixed in zip(ordered, control, strict=True)]
    if mean_interval(shrunk)[0] > 0:
        return "a part of the advantage is not owed to the order of the pixels"
    return "the advantage is not owed to the order of the pixels"
