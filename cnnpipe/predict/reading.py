"""What networks read in a picture, and where they are in doubt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from cnnpipe.data.raw import DESCRIPTION
from cnnpipe.data.sources import BOXED, DIGITS
from cnnpipe.explain.familiarity import Familiarity
from cnnpipe.findings.wording import listed, percent, title_of
from cnnpipe.models import TrainedNetwork
from cnnpipe.networks import MODEL_NAMES
from cnnpipe.predict.digits import Digit
from cnnpipe.predict.picture import Source
from cnnpipe.predict.seen import Seen, see, see_whole
from cnnpipe.system.artifacts import load_json
from cnnpipe.system.command import MODELS, RAW


@dataclass(frozen=True)
class Answer:
    """What one network says of one digit."""

    network: str
    """Its title, such as LeNet-5."""
    probabilities: dict[str, float]
    """Of each class, by its name."""
    familiar: bool
    """Whether the image is like those that the network was trained on."""

    @property
    def name(self) -> str:
        """The class of the highest probability."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def probability(self) -> float:
        return self.probabilities[self.name]


@dataclass(frozen=True)
class Reading:
    """One digit of a picture and what each network says of it."""

    digit: Digit
    answers: tuple[Answer, ...]

    @property
    def name(self) -> str:
        """The class that the networks give the highest probability, on the average."""
        names = self.answers[0].probabilities
        return max(names, key=lambda name: sum(a.probabilities.get(name, 0) for a in self.answers))

    @property
    def doubts(self) -> list[str]:
        """Why the answer may be wrong; none if nothing speaks against it."""
        doubts = []
        if len({answer.name for answer in self.answers}) > 1:
            doubts.append("the networks disagree")
        strange = [answer.network for answer in self.answers if not answer.familiar]
        if strange:
            doubts.append(f"unlike every training image for {listed(strange)}")
        return doubts

    def __str__(self) -> str:
        said = ", ".join(
            f"{answer.network} "
            + (f"{answer.name} at " if answer.name != self.name else "")
            + percent(answer.probability)
            for answer in self.answers
        )
        doubts = "; doubtful: " + "; ".join(self.doubts) if self.doubts else ""
        return f"{self.name} ({said}){doubts}"


@dataclass(frozen=True)
class Reader:
    """Trained networks that read pictures."""

    networks: Sequence[TrainedNetwork]
    familiarities: Sequence[Familiarity | None]
    """Of each network; None where there are no training images to compare with."""
    boxed: bool
    """Whether the networks know digits in MNIST's form, and not images of another data set."""

    @classmethod
    def load(cls, models: Iterable[str | Path] | None = None, raw: Path = RAW) -> Self:
        """Networks from their files, and what is familiar to them from the training images.

        Args:
            models: files that `save_model` wrote; by default all trained networks.
            raw: folder of the data set; without it, no image is called unfamiliar.

        Raises:
            InputError: a file is missing, damaged, or no model of this project.
        """
        paths = [Path(path) for path in models or trained()]
        networks = [TrainedNetwork.load(path) for path in paths]
        if not raw.is_dir():
            digits = all(network.classes == DIGITS for network in networks)
            return cls(networks, [None] * len(networks), digits)
        pairs = zip(networks, paths, strict=True)
        familiarities = [Familiarity.load(network, path, raw) for network, path in pairs]
        return cls(networks, familiarities, load_json(raw / DESCRIPTION)["name"] in BOXED)

    def see(self, picture: Source) -> Seen:
        """The digits of a picture; for networks of another data set, the picture as one image.

        Raises:
            InputError: the picture cannot be read, or is empty, or it cannot be decided which of
                its parts are a digit.
        """
        return see(picture) if self.boxed else see_whole(picture)

    def read(self, digits: Sequence[Digit]) -> list[Reading]:
        """What the networks say of each digit."""
        images = torch.from_numpy(np.stack([digit.image for digit in digits]))  # (N, 28, 28)
        answers = [
            self._answers(network, familiarity, images)
            for network, familiarity in zip(self.networks, self.familiarities, strict=True)
        ]
        return [Reading(*each) for each in zip(digits, zip(*answers, strict=True), strict=True)]

    def _answers(
        self, network: TrainedNetwork, familiarity: Familiarity | None, images: Tensor
    ) -> list[Answer]:
        probabilities = network.predict(images).double().softmax(dim=1).tolist()
        familiar = [True] * len(images)
        if familiarity:
            familiar = familiarity.is_familiar(images).tolist()
        return [
            Answer(title_of(network.name), dict(zip(network.classes, each, strict=True)), known)
            for each, known in zip(probabilities, familiar, strict=True)
        ]


def trained(models: Path = MODELS) -> list[Path]:
    """The trained networks; the first one that could be if there are none."""
    paths = [models / f"{name}.safetensors" for name in MODEL_NAMES]
    return [path for path in paths if path.is_file()] or paths[:1]


def classify(picture: Source, models: Iterable[str | Path] | None = None) -> list[Reading]:
    """Read the digits of one picture; for many pictures, load a `Reader` once.

    Args:
        picture: a file, a Pillow image, or a uint8 array (H, W) or (H, W, 3 or 4).
        models: files that `save_model` wrote; by default all trained networks of the pipeline.

    Raises:
        InputError: a model is missing or damaged; the picture cannot be read, or is empty, or it
            cannot be decided which of its parts are a digit.
    """
    reader = Reader.load(models)
    return reader.read(reader.see(picture).digits)
