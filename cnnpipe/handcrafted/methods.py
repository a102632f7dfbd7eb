"""Features with a linear classifier on them, hand-crafted or learned: one shape for all methods.

Axes: N images, D length of the feature vector, K classes.

A network fits the same shape: all its layers but the last are the feature, which was learned, and
the last is the linear classifier.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import nn

from cnnpipe.data.dataset import Split
from cnnpipe.data.preprocessing import Normalization, augment
from cnnpipe.handcrafted.descriptors import (
    Extractor,
    Features,
    Images,
    VisualWords,
    canny_edges,
    hog_descriptor,
    raw_pixels,
    sobel_edges,
)
from cnnpipe.models import TrainedNetwork, build_model, predict
from cnnpipe.params.handcrafted import HandcraftedParams
from cnnpipe.params.models import ModelParams
from cnnpipe.params.train import AugmentParams
from cnnpipe.train.loop import train

Kind = Literal["floor", "hand-crafted", "network"]
Training = Literal["plain", "augmented", "pipeline"]
Key = tuple[str, Training]
"""A method's name and training."""
Labels = NDArray[np.int64]
Classifier = Callable[[Features], Labels]
HANDCRAFTED = ("pixels", "sobel", "canny", "hog", "sift")
WAYS: tuple[Training, ...] = ("plain", "augmented")

INVERSE_REGULARISATION = 10.0
"""C of the logistic regression, for features of mean square length 1. On held-out training images,
none of 3, 10, 30 and 100 is better than another by more than chance, for any of the features."""
VOCABULARY_IMAGES = 1_000
"""Enough for 81,000 patches, twice as many as the vocabulary is learned from."""
PORTION = 500
"""Images whose features are extracted at a time, for memory's sake."""


@dataclass(frozen=True)
class Method:
    """A feature, a linear classifier on it, and how both were made."""

    name: str
    kind: Kind
    training: Training
    """plain: the training images as they are; augmented: with random affine maps of them as well;
    pipeline: as this pipeline trained its model, on all training images, augmented."""
    extract: Extractor
    """Methods with the same extractor share its features."""
    classify: Classifier
    seconds: float = 0.0
    """Wall-clock time of fitting, without extracting features; 0 for the pipeline's models."""
    extracted: int = 0
    """Training images whose features were extracted once; none for networks."""

    @property
    def key(self) -> Key:
        return self.name, self.training


@dataclass(frozen=True)
class LinearClassifier:
    """Multinomial logistic regression on features brought to mean 0 and mean square length 1.

    One factor for the whole vector, not one per component: a component that hardly varies, such as
    a corner pixel, is not scaled up to the size of the others.
    """

    mean: Features
    """(D,)"""
    factor: float
    regression: LogisticRegression

    @classmethod
    def fit(cls, features: Features, labels: Labels) -> Self:
        """Fit the scaling and the regression.

        Shape: features (N, D), labels (N,).
        """
        mean = features.mean(axis=0)
        centred = features - mean
        factor = float(np.square(centred).sum(axis=1).mean()) ** -0.5 if centred.any() else 1.0
        regression = LogisticRegression(C=INVERSE_REGULARISATION, tol=1e-3, max_iter=1_000)
        with threadpool_limits(1):  # the fit must not depend on their number
            regression.fit(centred * np.float32(factor), labels)
        return cls(mean, factor, regression)

    def __call__(self, features: Features) -> Labels:
        scaled = (features - self.mean) * np.float32(self.factor)
        return np.asarray(self.regression.predict(scaled))


@dataclass(frozen=True, eq=False)
class NetworkFeatures:
    """The outputs of a network's last hidden layer."""

    network: TrainedNetwork

    def __call__(self, images: Images) -> Features:
        """Features of stored images.

        Shape: (N, H, W) → (N, D).
        """
        hidden = self.network.model[:-1]
        pixels = torch.from_numpy(images)
        return np.asarray(predict(hidden, pixels, self.network.normalization))

    @torch.inference_mode()
    def classify(self, features: Features) -> Labels:
        """The network's own last layer.

        Shape: (N, D) → (N,).
        """
        return np.asarray(self.network.model[-1](torch.from_numpy(features)).argmax(dim=1))


def handcrafted_methods(
    training: Split,
    params: HandcraftedParams,
    maps: AugmentParams,
    seed: int,
    names: Sequence[str] = HANDCRAFTED,
    ways: Sequence[Training] = WAYS,
) -> list[Method]:
    """The hand-crafted features that are named, trained on plain and on augmented images."""
    plain, labels = training.images.numpy(), training.labels.numpy()
    augmented = np.concatenate(
        [plain, *(affine_copy(plain, maps, seed + copy) for copy in range(params.copies))]
    )
    start = time.perf_counter()
    words = VisualWords.learn(plain[:VOCABULARY_IMAGES], params.words, seed)
    learning = {"sift": time.perf_counter() - start}
    extractors: dict[str, Extractor] = {
        "pixels": raw_pixels,
        "sobel": sobel_edges,
        "canny": canny_edges,
        "hog": hog_descriptor,
        "sift": words,
    }
    methods = []
    for name in names:
        extract = extractors[name]
        features = in_portions(extract, augmented)  # the plain images come first
        counts: dict[Training, int] = {"plain": len(plain), "augmented": len(augmented)}
        for trained_on in ways:
            count = counts[trained_on]
            start = time.perf_counter()
            repeated = np.tile(labels, count // len(plain))
            classifier = LinearClassifier.fit(features[:count], repeated)
            seconds = time.perf_counter() - start + learning.get(name, 0.0)
            kind: Kind = "floor" if name == "pixels" else "hand-crafted"
            methods.append(Method(name, kind, trained_on, extract, classifier, seconds, count))
    return methods


def in_portions(extract: Extractor, images: Images) -> Features:
    """Extract the features of many images."""
    portions = np.array_split(images, -(-len(images) // PORTION))
    return np.concatenate([extract(portion) for portion in portions])


def affine_copy(images: Images, maps: AugmentParams, seed: int) -> Images:
    """Each image mapped once at random, as the networks' training does it.

    Shape: (N, H, W) → (N, H, W).
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(images).unsqueeze(1).float()  # (N, 1, H, W)
    mapped = augment(pixels, maps, background=0.0, generator=generator)
    return np.asarray(mapped.squeeze(1).round().clamp(0, 255).byte())


def matched_lenet(
    training: Split,
    validation: Split,
    classes: int,
    params: HandcraftedParams,
    run: ModelParams,
    seed: int,
    ways: Sequence[Training] = WAYS,
) -> list[Method]:
    """LeNet-5 trained on the same images as the hand-crafted methods, plain and augmented.

    Without it, the pipeline's models could be better only because they saw many more images.
    """
    still = AugmentParams(degrees=0.0, translate=0.0, scale=0.0, shear=0.0)
    maps: dict[Training, AugmentParams] = {"plain": still, "augmented": run.augment}
    small = {"epochs": params.epochs, "batch_size": params.batch_size}
    methods = []
    for way in ways:
        settings = run.model_copy(update=small | {"augment": maps[way]})
        network, seconds = _train_lenet(training, validation, classes, settings, seed)
        methods.append(network_method(network, way, seconds))
    return methods


def _train_lenet(
    training: Split, validation: Split, classes: int, run: ModelParams, seed: int
) -> tuple[TrainedNetwork, float]:
    """The network, and the seconds that its training took."""
    torch.manual_seed(seed)
    architecture = run.architecture() | {"classes": classes}
    model = build_model("lenet5", algorithm=run.algorithm, **architecture)
    normalization = Normalization.of(training.images)
    start = time.perf_counter()
    trained, _ = train(model, training, validation, run, normalization, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    return TrainedNetwork("lenet5", cast("nn.Sequential", trained.eval()), normalization), seconds


def network_method(network: TrainedNetwork, training: Training, seconds: float = 0.0) -> Method:
    features = NetworkFeatures(network)
    return Method(network.name, "network", training, features, features.classify, seconds)
