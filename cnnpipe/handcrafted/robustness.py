"""Every method on the same corrupted images, on other data, and by time.

Axes: N test images, S corrupted versions of each (corruptions × severities).
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cnnpipe.data.dataset import Dataset, Split
from cnnpipe.findings.intervals import bootstrap_interval, proportion_interval
from cnnpipe.handcrafted.corruptions import CORRUPTIONS, corrupted
from cnnpipe.handcrafted.descriptors import Extractor, Features, Images
from cnnpipe.handcrafted.methods import Key, LinearClassifier, Method, in_portions

TRANSFER_COLUMNS = ["dataset", "method", "training", "classifier"]
TRANSFER_COLUMNS += ["accuracy", "low", "high", "images"]
Hits = NDArray[np.bool_]


@dataclass(frozen=True)
class Robustness:
    """Which test images each method classifies correctly, clean and corrupted."""

    clean: Mapping[Key, Hits]
    """(N,)"""
    corrupted: Mapping[str, Mapping[Key, Hits]]
    """By corruption, in the order of `CORRUPTIONS`: (severities, N) of each method."""

    @property
    def versions(self) -> dict[Key, Hits]:
        """All corruptions at all severities: (S, N) of each method."""
        judged = self.corrupted.values()
        return {key: np.concatenate([hits[key] for hits in judged]) for key in self.clean}

    def table(self) -> pd.DataFrame:
        """One row per method, corruption and severity, with Wilson's 95 % interval."""
        return pd.DataFrame(
            [
                {
                    "method": key[0],
                    "training": key[1],
                    "corruption": corruption.name,
                    "severity": float(severity),
                    **accuracy_with_interval(hits),
                }
                for key, clean in self.clean.items()
                for corruption in CORRUPTIONS
                for severity, hits in zip(
                    (0, *corruption.severities),
                    (clean, *self.corrupted[corruption.name][key]),
                    strict=True,
                )
            ]
        )


@dataclass(frozen=True)
class Transfer:
    """Which images of another data set each method classifies correctly, its features frozen."""

    dataset: str
    as_is: Mapping[Key, Hits]
    """With the linear classifier as it was trained; empty where the classes are others."""
    refitted: Mapping[Key, Hits]
    """With the linear classifier trained again on the other set's own training images."""


def judge_robustness(methods: Sequence[Method], test: Split, seed: int) -> Robustness:
    """Which of the same clean and corrupted images every method classifies correctly."""
    images, labels = test.images.numpy(), test.labels.numpy()

    def hits(levels: Images) -> dict[Key, Hits]:
        """
        Shape: (severities, N, H, W) → (severities, N) of each method.
        """
        features = extract_all(methods, levels.reshape(-1, *images.shape[1:]))
        answers = {m.key: m.classify(features[m.extract]) for m in methods}
        return {key: answer.reshape(-1, len(images)) == labels for key, answer in answers.items()}

    return Robustness(
        {key: clean[0] for key, clean in hits(images[np.newaxis]).items()},
        {c.name: hits(corrupted(images, c, seed)) for c in CORRUPTIONS},
    )


def judge_transfer(methods: Sequence[Method], own: Dataset, other: Dataset) -> Transfer:
    """The same for another data set's test images, with and without a new linear classifier."""
    images, labels = other.test.images.numpy(), other.test.labels.numpy()
    train_labels = other.train.labels.numpy()
    train_features = extract_all(methods, other.train.images.numpy())
    test_features = extract_all(methods, images)
    refits = {
        extract: LinearClassifier.fit(features, train_labels)(test_features[extract])
        for extract, features in train_features.items()
    }
    as_is = {m.key: m.classify(test_features[m.extract]) == labels for m in methods}
    return Transfer(
        other.name,
        as_is if own.classes == other.classes else {},
        {m.key: refits[m.extract] == labels for m in methods},
    )


def transfer_table(transfers: Iterable[Transfer]) -> pd.DataFrame:
    """One row per data set, method and whether the classifier was fitted again."""
    return pd.DataFrame(
        [
            {
                "dataset": transfer.dataset,
                "method": key[0],
                "training": key[1],
                "classifier": classifier,
                **accuracy_with_interval(hits),
            }
            for transfer in transfers
            for classifier, judged in (("as_is", transfer.as_is), ("refitted", transfer.refitted))
            for key, hits in judged.items()
        ],
        columns=TRANSFER_COLUMNS,
    )


def methods_table(methods: Sequence[Method], robustness: Robustness, seed: int) -> pd.DataFrame:
    """One row per method: clean, mean over all corruptions, and the part of clean that is lost."""
    rows, versions = [], robustness.versions
    for method in methods:
        clean = accuracy_with_interval(robustness.clean[method.key])
        per_image = versions[method.key].mean(axis=0)  # (N,)
        mean = float(per_image.mean())
        low, high = bootstrap_interval(per_image, seed=seed)
        rows.append(
            {
                "method": method.name,
                "kind": method.kind,
                "training": method.training,
                "clean": clean["accuracy"],
                "clean_low": clean["low"],
                "clean_high": clean["high"],
                "corrupted": mean,
                "corrupted_low": low,
                "corrupted_high": high,
                "relative_drop": 1 - mean / clean["accuracy"] if clean["accuracy"] else 0.0,
            }
        )
    return pd.DataFrame(rows)


def extract_all(methods: Sequence[Method], images: Images) -> dict[Extractor, Features]:
    """The features of every method, each extracted once."""
    kinds = {method.extract: method.kind for method in methods}
    return {
        extract: extract(images) if kind == "network" else in_portions(extract, images)
        for extract, kind in kinds.items()
    }


def time_methods(methods: Sequence[Method], images: Images) -> list[dict[str, Any]]:
    """Seconds to train, and milliseconds per image from stored bytes to an answer.

    All in one process. Extracting features of a training image is taken to cost as much as of a
    test image, since the time of portions shared by several processes means nothing.
    """
    rows: list[dict[str, Any]] = []
    for method in methods:
        start = time.perf_counter()
        features = method.extract(images)
        extraction = (time.perf_counter() - start) / len(images)
        method.classify(features)
        milliseconds = 1000 * (time.perf_counter() - start) / len(images)
        row: dict[str, Any] = {"method": method.name, "training": method.training}
        if method.training != "pipeline":  # its time is in reports/timings.json
            row["train_seconds"] = round(method.seconds + method.extracted * extraction, 2)
        rows.append(row | {"milliseconds_per_image": round(milliseconds, 3)})
    return rows


def accuracy_with_interval(hits: Hits) -> dict[str, Any]:
    """Accuracy with Wilson's 95 % interval."""
    low, high = proportion_interval(int(hits.sum()), len(hits))
    return {"accuracy": float(hits.mean()), "low": low, "high": high, "images": len(hits)}
