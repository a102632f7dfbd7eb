"""The comparison that is judged: over independent draws of everything that is random.

Each draw has its own training images, initial weights, order, random maps, corruptions and test
images. LeNet-5 and the rivals, which were fixed before any draw, are trained on the same images
with the same random maps, and judged on the same images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedKFold

from cnnpipe.data.dataset import Dataset, Split, split_validation
from cnnpipe.findings.runs import kept_runs, seed_of_run
from cnnpipe.handcrafted.methods import (
    LinearClassifier,
    Method,
    handcrafted_methods,
    matched_lenet,
)
from cnnpipe.handcrafted.other_data import subset
from cnnpipe.handcrafted.robustness import extract_all, judge_robustness
from cnnpipe.params.handcrafted import HandcraftedParams
from cnnpipe.params.models import ModelParams
from cnnpipe.system.parallel import side_by_side

RIVALS = ("hog", "sift")
"""The descriptors that most of vision relied on before networks; edges are parts of both."""
FOLDS = 5
CLAIM = "handcrafted"


@dataclass(frozen=True)
class Conditions:
    """What all draws share."""

    dataset: Dataset
    others: Sequence[Dataset]
    sizes: HandcraftedParams
    lenet: ModelParams
    validation: float
    seed: int
    kept: Path | None = None
    """Folder for the tables of finished draws, by which an interrupted run continues."""


def judged_draws(conditions: Conditions) -> pd.DataFrame:
    """Accuracies of LeNet-5 and its rivals in every draw, a process for each core.

    Returns:
        columns word (brittle, domain-specific, failed to generalize), on (a corruption, or a data
        set), method, accuracy (fraction; under a corruption the mean over severities), run.
    """
    draws = range(conditions.sizes.draws)
    calls = [partial(_draw, conditions, number, os.getpid()) for number in draws]
    tables = {int(table["run"].iloc[0]): table for table in side_by_side(calls)}
    drawn: pd.DataFrame = pd.concat([tables[number] for number in draws], ignore_index=True)
    return drawn


def _draw(conditions: Conditions, number: int, stage: int) -> pd.DataFrame:
    if os.getpid() != stage:
        os.environ["LOKY_MAX_CPU_COUNT"] = "1"  # each draw has one core, and starts no process
    measure = partial(_measured, conditions)
    return kept_runs(measure, CLAIM, range(number, number + 1), conditions.kept)


def _measured(conditions: Conditions, number: int) -> pd.DataFrame:
    return draw(conditions, seed_of_run(conditions.seed, CLAIM, number))


def draw(conditions: Conditions, seed: int) -> pd.DataFrame:
    """The accuracies of one draw; columns as of `judged_draws`, without run."""
    dataset, sizes, lenet = conditions.dataset, conditions.sizes, conditions.lenet
    training, held_out = split_validation(dataset.train, conditions.validation, seed)
    training = subset(training, sizes.draw_training, seed)
    test = subset(dataset.test, sizes.draw_test, seed)
    methods = [
        *handcrafted_methods(training, sizes, lenet.augment, seed, RIVALS, ["augmented"]),
        *matched_lenet(training, held_out, len(dataset.classes), sizes, lenet, seed, ["augmented"]),
    ]
    robustness = judge_robustness(methods, test, seed)
    rows = [
        ("brittle", corruption, name, float(hits.mean()))
        for corruption, of_methods in robustness.corrupted.items()
        for (name, _), hits in of_methods.items()
    ]
    for other in conditions.others:
        images = subset(whole(other), sizes.draw_transfer, seed)
        rows += transferred(methods, dataset, other, images, seed)
    return pd.DataFrame(rows, columns=["word", "on", "method", "accuracy"])


def whole(dataset: Dataset) -> Split:
    """Training and test images together, as nothing is trained on another data set."""
    train, test = dataset.train, dataset.test
    return Split(torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels]))


def transferred(
    methods: Sequence[Method], own: Dataset, other: Dataset, images: Split, seed: int
) -> list[tuple[str, str, str, float]]:
    """Frozen features on another data set: with a new classifier, five-fold, and as trained."""
    labels = images.labels.numpy()
    features = extract_all(methods, images.images.numpy())
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    rows = []
    for method in methods:
        x = features[method.extract]
        right = np.zeros(len(labels), dtype=bool)
        for learned, judged in folds.split(x, labels):
            classifier = LinearClassifier.fit(x[learned], labels[learned])
            right[judged] = classifier(x[judged]) == labels[judged]
        rows.append(("domain-specific", other.name, method.name, float(right.mean())))
        if own.classes == other.classes:
            as_is = float((method.classify(x) == labels).mean())
            rows.append(("failed to generalize", other.name, method.name, as_is))
    return rows
