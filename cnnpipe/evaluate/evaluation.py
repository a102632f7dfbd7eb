"""Judge a trained network on images it never saw: accuracy, confusion, calibration.

Axes: N images, H height, W width, K classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import moved
from cnnpipe.findings.intervals import proportion_interval
from cnnpipe.inspection.structure import layers_of
from cnnpipe.models import TrainedNetwork


@dataclass(frozen=True)
class Evaluation:
    """Predictions on a labelled split, and the metrics that follow from them."""

    labels: NDArray[np.int64]
    """(N,)"""
    probabilities: NDArray[np.float64]
    """(N, K), rows sum to 1."""
    classes: tuple[str, ...]
    copies: int = 1
    """Number of moved copies of an image that each answer is averaged over."""

    @property
    def predictions(self) -> NDArray[np.int64]:
        """(N,); of equal probabilities the first class wins."""
        return np.asarray(self.probabilities.argmax(axis=1))

    def metrics(self) -> dict[str, Any]:
        """The figures of reports/evaluation/<model>.json that predictions determine."""
        images = len(self.labels)
        correct = int((self.predictions == self.labels).sum())
        likelihood = self.probabilities[np.arange(images), self.labels]
        return {
            "images": images,
            # Only where answers are averaged over copies.
            **({"copies": self.copies} if self.copies > 1 else {}),
            "test_accuracy": correct / images,
            "test_accuracy_interval": list(proportion_interval(correct, images)),
            "test_errors": images - correct,
            "test_loss": float(-np.log(likelihood.clip(np.finfo(np.float64).tiny)).mean()),
            "ece": expected_calibration_error(self.probabilities, self.labels),
            "reliability": reliability(self.probabilities, self.labels),
            "per_class": self._per_class(),
            "confusion": self.confusion().tolist(),
        }

    def confusion(self) -> NDArray[np.int64]:
        """Counts (K, K): the row is the true class, the column the predicted one."""
        K = len(self.classes)
        return np.bincount(self.labels * K + self.predictions, minlength=K * K).reshape(K, K)

    def _per_class(self) -> list[dict[str, Any]]:
        """A class that is never predicted has no precision, and one without images no recall: 0."""
        counts = self.confusion()
        hits, predicted, support = counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1)
        scores = (
            hits / predicted.clip(1),
            hits / support.clip(1),
            2 * hits / (predicted + support).clip(1),
            support,
        )
        return [
            {
                "class": name,
                "precision": float(precision),
                "recall": float(recall),
                "f1": float(f1),
                "support": int(support),
            }
            for name, precision, recall, f1, support in zip(self.classes, *scores, strict=True)
        ]

    def prediction_table(self) -> pd.DataFrame:
        """One row per image, in the order of the split."""
        rows = np.arange(len(self.labels))
        return pd.DataFrame(
            {
                "index": rows,
                "label": self.labels,
                "prediction": self.predictions,
                "confidence": self.probabilities.max(axis=1),
                "probability_of_label": self.probabilities[rows, self.labels],
            }
        )

    def confusion_table(self) -> pd.DataFrame:
        """Actual and predicted class of each image by name, as `dvc plots` counts them."""
        names = np.array(self.classes)
        return pd.DataFrame({"actual": names[self.labels], "predicted": names[self.predictions]})


def evaluate(
    network: TrainedNetwork, split: Split, classes: tuple[str, ...], shift: int = 0
) -> Evaluation:
    """Run a network over a whole split, and over copies of it that are moved by a few pixels.

        p(k | x) = softmax_k( 1/V · Σ_v z(x_v) ),  V = (2·shift + 1)²,

    where z(x_v) are the logits of the v-th copy. It is the normalised geometric mean of the V
    answers, and the same as averaging their log-softmax: log-softmax subtracts one number from
    all logits of an answer, which the outer softmax does not see. With shift 0 it is the answer to
    the image itself.

    Shape: images (N, H, W) → probabilities (N, K).

    Args:
        shift: pixels by which copies are moved at most, along each axis.

    Source: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
    networks", NIPS 2012, section 4.1, averages over an image's crops; Hinton, "Training products
    of experts by minimizing contrastive divergence", Neural Computation 14(8), 2002, multiplies
    answers and normalises.
    """
    logits = torch.stack(
        [network.predict(copy).cpu().double() for copy in moved_copies(split.images, shift)]
    )  # (V, N, K)
    probabilities = logits.mean(dim=0).softmax(dim=1).numpy()  # (N, K)
    return Evaluation(split.labels.cpu().numpy(), probabilities, classes, copies=len(logits))


def moved_copies(images: Tensor, shift: int) -> Iterator[Tensor]:
    """The images moved by every whole number of pixels up to `shift`, along both axes.

    What comes in at the edges is black, as is the paper around a digit.

    Shape: uint8 (N, H, W) → (2·shift + 1)² times (N, H, W).
    """
    for rows, columns in product(range(-shift, shift + 1), repeat=2):
        yield moved(images, rows, columns)


def summary(network: TrainedNetwork, dataset: str, evaluation: Evaluation) -> dict[str, Any]:
    """The whole of reports/evaluation/<model>.json."""
    layers = layers_of(network.model)
    return {
        "model": network.name,
        "dataset": dataset,
        "parameters": sum(layer.parameters for layer in layers),
        "macs": sum(layer.macs for layer in layers),
        **evaluation.metrics(),
        "layers": [layer.summary() for layer in layers],
    }


BINS = 15


def expected_calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = BINS
) -> float:
    """How far confidence is from accuracy: ECE = Σ_b n_b/N · |accuracy(b) − confidence(b)|.

    The sum is over `bins` equal intervals (lo, hi] of confidence.

    Shape: probabilities (N, K), labels (N,).

    Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017.
    """
    confidence, correct, bin_of = _binned(probabilities, labels, bins)
    # n_b/N · |Σ correct/n_b − Σ confidence/n_b| = |Σ (correct − confidence)|/N: no empty-bin case
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def reliability(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = BINS
) -> list[dict[str, Any]]:
    """The bins that the expected calibration error sums over; those without images are left out.

    Returns:
        for each bin its ends low and high, images, mean confidence, accuracy, and the accuracy's
        Wilson 95 % interval.
    """
    confidence, correct, bin_of = _binned(probabilities, labels, bins)
    rows = []
    for number in np.unique(bin_of):
        inside = bin_of == number
        images, right = int(inside.sum()), int(correct[inside].sum())
        rows.append(
            {
                "low": float(number / bins),
                "high": float((number + 1) / bins),
                "images": images,
                "confidence": float(confidence[inside].mean()),
                "accuracy": right / images,
                "interval": list(proportion_interval(right, images)),
            }
        )
    return rows


def _binned(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Confidence of each answer, whether it is right, and the bin that it falls into."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    return confidence, correct, np.ceil(confidence * bins).astype(np.int64) - 1
