"""Claim: the inductive bias of convolution suits images, and which of its parts does.

A bias replaces data: a network that need not learn that nearby pixels belong together, and that a
stroke is the same wherever it lies, needs fewer images. The bias has three parts, and each is taken
away by itself:

    sharing   a convolutional network less its twin with separate weights at each position
    locality  that twin less an MLP with as many layers, whose neurons see all pixels
    depth     the convolutional network less one with a single layer of windows, as many parameters

in percentage points of accuracy on test images, all trained on the same images with the same steps.
Each network takes the learning rate of a list with which it does best on held-out training images,
in that run. The MLP has as many parameters as the convolutional network.

The control separates the bias from all other differences. The pixels of every image, in training
and test, are put in one fixed random order. This changes nothing for an MLP. For windows,
neighbouring pixels have become unrelated, so the advantage must be gone.

Every run has its own training images, initial weights, order of the pixels and test images. The
number is how far the convolutional network is ahead of the MLP, averaged over the sizes of the
training set. The claim is shown if that is more than a point and if more than a point of it is owed
to the order of the pixels; shown not to hold if either is clearly less. The article says
"perfectly suited", which no experiment can show; the statement gives the share of images that the
network still gets wrong.

Source: Neyshabur, "Towards learning convolutions from scratch", NeurIPS 2020, for the twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pandas as pd
from torch import nn

from cnnpipe.findings.estimates import Estimate, paired, summarize
from cnnpipe.findings.evidence import above, all_of
from cnnpipe.findings.finding import Finding
from cnnpipe.findings.wording import count, listed, percent
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.figures.inductive_bias import draw
from cnnpipe.principles.networks import (
    MLP,
    flat_network,
    parameter_count,
    perceptron,
    pyramid,
)
from cnnpipe.principles.scrambled import ORDERED, ORDERS, SCRAMBLED, scrambled
from cnnpipe.principles.study import POINT, Study, accuracy, train, tuned

CLAIM = Claim(
    name="inductive_bias",
    sentence=(
        "The inductive bias of convolutional networks, locality, shared weights and depth, suits "
        "visual data."
    ),
    question="What is each part of the bias of convolution worth, and is it the bias?",
    limits=(
        "The article says “perfectly suited”, which no experiment can show. Small networks and a "
        "fixed number of steps, so that larger sets are seen in part. Images of 28×28 are not all "
        "of visual data."
    ),
    draw=draw,
)
CNN, UNSHARED, FLAT = "CNN", "no sharing", "one layer"
PARTS = {"sharing": (CNN, UNSHARED), "locality": (UNSHARED, MLP), "depth": (CNN, FLAT)}
"""Which network is to be ahead of which."""


def measure(study: Study) -> Finding:
    """Train all networks on every number of images, in both orders, in every run."""
    params, networks = study.params.inductive_bias, networks_of(study.classes)
    compare = partial(train_on_growing_sets, networks=networks)
    return judge(study.repeat(CLAIM.name, params.runs, compare), study)


def networks_of(classes: int) -> dict[str, Callable[[], nn.Module]]:
    """What builds those that are compared, by name."""
    return {
        CNN: partial(pyramid, "shared", classes),
        UNSHARED: partial(pyramid, "local", classes),
        FLAT: partial(flat_network, classes),
        MLP: partial(perceptron, 32, classes, layers=3),
    }


def train_on_growing_sets(
    run: Study, networks: Mapping[str, Callable[[], nn.Module]]
) -> pd.DataFrame:
    """Accuracy of each network in one run, in the order of pixels that it was trained with.

    Returns:
        columns order, network, parameters, images, accuracy (fraction).
    """
    params = run.params.inductive_bias
    rates = tuned(run, params, networks, max(params.sizes))
    images, labels = run.training_examples(max(params.sizes))
    test_images, test_labels = run.test_examples(params.test_images)
    rows = []
    for order in ORDERS:
        inputs, tests = images, test_images
        if order == SCRAMBLED:
            inputs, tests = scrambled(images, run.seed), scrambled(test_images, run.seed)
        for size in sizes_within(params.sizes, len(images)):
            for name, build in networks.items():
                examples = inputs[:size], labels[:size]
                network = train(build, examples, params.at(rates[name]), run.seed)
                reached = accuracy(network, (tests, test_labels))
                rows.append((order, name, parameter_count(network), size, reached))
    return pd.DataFrame(rows, columns=["order", "network", "parameters", "images", "accuracy"])


def sizes_within(sizes: Sequence[int], available: int) -> list[int]:
    """The sizes of training sets, with all images in place of those that are not there."""
    return sorted({min(size, available) for size in sizes})


def advantages(accuracies: pd.DataFrame, order: str, ahead: str, behind: str) -> pd.DataFrame:
    """Accuracy of one network minus that of another, in percentage points.

    Shape: a row per run, a column per number of images.
    """
    runs = accuracies[accuracies["order"] == order]
    difference: pd.DataFrame = paired(runs, "network", ahead, behind, ["run", "images"]).unstack()
    return 100 * difference


def judge(accuracies: pd.DataFrame, study: Study) -> Finding:
    """The verdict, from the rows of `train_on_growing_sets` of all runs."""
    params = study.params.inductive_bias
    ordered, control = (
        advantages(accuracies, order, CNN, MLP).mean(axis=1).tolist() for order in ORDERS
    )
    owed = [whole - part for whole, part in zip(ordered, control, strict=True)]
    ahead, ahead_scrambled = Estimate.over_runs(ordered), Estimate.over_runs(control)
    by_part = {
        part: advantages(accuracies, ORDERED, *pair).mean(axis=1).tolist()
        for part, pair in PARTS.items()
    }
    summary = summarize(accuracies, by=["order", "network", "images"])
    cnn = summary[(summary["order"] == ORDERED) & (summary["network"] == CNN)]
    sizes = [int(size) for size in cnn["images"]]
    parts = [
        f"{part} {Estimate.over_runs(values).points()}; more than a point: "
        f"{above(values, POINT).verdict()}"
        for part, values in by_part.items()
    ]
    trained_on = count(sizes[0], "image")
    if len(sizes) > 1:
        trained_on = f"{sizes[0]:,} to {sizes[-1]:,} images"
    statement = (
        f"Trained on {trained_on}, the CNN is ahead of an MLP with as many layers and "
        f"parameters by {ahead.points()}, with the pixels in one fixed random order by "
        f"{ahead_scrambled.points()}. Part by part, on images as they are: {listed(parts)}. As for "
        f"perfect, after {sizes[-1]:,} images in few steps the CNN gets "
        f"{percent(1 - float(cnn['accuracy'].iloc[-1]))} wrong."
    )
    return CLAIM.finding(
        all_of(above(ordered, POINT), above(owed, POINT)),
        statement,
        ahead,
        unit="percentage points of accuracy that the CNN is ahead of an MLP with as many layers "
        "and parameters, averaged over the sizes of the training set",
        uncertainty=(
            f"{count(params.runs, 'run')}, each with its own images, initial weights and order of "
            "the pixels"
        ),
        data=(
            f"{study.title}: {params.steps} steps of at most {params.batch_size} images, whatever "
            f"the size of the set; {study.tested(params.test_images)} in each run"
        ),
        tables={
            "advantage": compare_parts(accuracies),
            "accuracy": summary,
            "runs": accuracies,
        },
        details={
            "parameters": accuracies.groupby("network", sort=False)["parameters"].first().to_dict(),
            "advantage_of_control": ahead_scrambled.mean,
            "interval_of_control": list(ahead_scrambled.interval),
            "parts": {part: above(values, POINT).verdict() for part, values in by_part.items()},
        },
    )


def compare_parts(accuracies: pd.DataFrame) -> pd.DataFrame:
    """What the whole bias and each of its parts are worth, by order and number of images.

    Returns:
        columns part, order, images, advantage, low, high (percentage points).
    """
    rows = [
        (part, order, images, *Estimate.over_runs(table[images].to_list()))
        for part, pair in {"all": (CNN, MLP), **PARTS}.items()
        for order in ORDERS
        for table in [advantages(accuracies, order, *pair)]
        for images in table.columns
    ]
    return pd.DataFrame(rows, columns=["part", "order", "images", "advantage", "low", "high"])
