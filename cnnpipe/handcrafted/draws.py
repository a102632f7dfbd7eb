"""The comparison that is judged: over independent draws of everything that is random.

Each draw has its own training images, initial weights, order, random maps, corruptions and test
images. LeNet-5 and the rivals, which were fixed before any draw, are trained on the same images
with the same random maps, and judged on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from cnnpipe.handcrafted.robustness import extract_all, judge_robustness
from cnnpipe.params.handcrafted import HandcraftedParams
from cnnpipe.params.models import ModelParams

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


def judged_draw(conditions: Conditions, number: int) -> pd.DataFrame:
    """Accuracies of LeNet-5 and its rivals in one draw.

    Returns:
        columns word (brittle, domain-specific, failed to generalize), on (a corruption, or a data
        set), method, accuracy (fraction; under a corruption the mean over severities), run.
    """
    return kept_runs(
        lambda number: draw(conditions, seed_of_run(conditions.seed, CLAIM, number)),
        CLAIM,
        range(number, number + 1),
        conditions.kept,
    )


def draw(conditions: Conditions, seed: int) -> pd.DataFrame:
    """The accuracies of one draw; columns as of `judged_draw`, without run."""
    dataset, sizes, lenet = conditions.dataset, conditions.sizes, conditions.lenet
    training, held_out = split_validation(dataset.train, conditions.validation, seed)
    training = training.drawn(sizes.draw_training, seed)
    test = dataset.test.drawn(sizes.draw_test, seed)
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
        images = whole(other).drawn(sizes.draw_transfer, seed)
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
