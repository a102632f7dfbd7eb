"""A model's section of params.yaml: what the network is built of, and how it is trained."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from cnnpipe.params.section import Selection
from cnnpipe.params.train import Algorithm, TrainParams

Activation = Literal["relu", "tanh", "sigmoid"]
Pooling = Literal["max", "avg"]


class ModelParams(TrainParams):
    """The section of one network, completed by the keys of `train`; `cnnpipe.networks` has them.

    A subclass declares what else its network is built with, each key with its type, limits and
    default. `cnnpipe.models.build_model` takes the same keys, with the same limits.
    """

    title: ClassVar[str]
    """What people call the network."""

    @abstractmethod
    def plan(self, layers: Any, classes: int) -> dict[str, Any]:
        """The layers in the order in which they run, by name; the last is called output.

        Shape: normalised images (N, 1, 28, 28) → logits (N, classes).

        Args:
            layers: the classes of layers, which have the names and arguments of `torch.nn`'s.
            classes: number of logits.
        """

    @classmethod
    def architecture_keys(cls) -> list[str]:
        """The keys that say what the network is built with, without those of `train`."""
        return [key for key in cls.model_fields if key not in TrainParams.model_fields]

    def architecture(self) -> dict[str, Any]:
        """Keyword arguments of `cnnpipe.models.build_model`."""
        return self.model_dump(include=set(self.architecture_keys()))


class AlgorithmParams(Selection):
    """How a model's convolutions compute."""

    algorithm: Algorithm
