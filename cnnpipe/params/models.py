"""Settings of the models: what each is built of, and what it overrides of `train`."""

from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import ConfigDict, Field

from cnnpipe.params.section import Count, Fraction, Selection
from cnnpipe.params.train import Algorithm, TrainParams

ModelName = Literal["lenet5", "vgg"]
Activation = Literal["relu", "tanh", "sigmoid"]
Pooling = Literal["max", "avg"]

MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)

LeNet5 = TypeVar("LeNet5")
VGG = TypeVar("VGG")


class ArchitectureParams(Selection):
    """What a network is built with."""

    def architecture(self) -> dict[str, Any]:
        """Keyword arguments of `cnnpipe.models.build_model`."""
        return self.model_dump(exclude=set(TrainParams.model_fields))


class LeNet5Architecture(ArchitectureParams):
    activation: Activation
    pooling: Pooling


class VGGArchitecture(ArchitectureParams):
    blocks: Annotated[
        list[Annotated[list[Count], Field(min_length=1)]], Field(min_length=1, max_length=4)
    ]
    """Output channels of each 3×3 convolution, block by block; a 2×2 max pooling ends a block."""
    hidden: Count
    """Neurons of the fully connected layer before the logits."""
    dropout: Fraction


class ModelParams(TrainParams, ArchitectureParams):
    """A model's own section: what it is built of, and its settings of the training run."""

    model_config = ConfigDict(extra="forbid")


class LeNet5Params(ModelParams, LeNet5Architecture):
    """LeNet-5's section, completed by the keys of `train`."""

    model_config = ConfigDict(extra="forbid")


class VGGParams(ModelParams, VGGArchitecture):
    """VGG's section, completed by the keys of `train`."""

    model_config = ConfigDict(extra="forbid")


class PerModel(Selection, Generic[LeNet5, VGG]):
    """What a stage reads of each model's section."""

    lenet5: LeNet5
    vgg: VGG

    def of(self, name: ModelName) -> LeNet5 | VGG:
        return self.lenet5 if name == "lenet5" else self.vgg


class ModelsParams(PerModel[LeNet5Params, VGGParams]):
    """The models' sections, completed by the keys of `train`."""

    model_config = ConfigDict(extra="forbid")


class LeNet5Selection(Selection):
    """For a stage that trains LeNet-5 alone."""

    lenet5: LeNet5Params


class AlgorithmParams(Selection):
    """How a model's convolutions compute."""

    algorithm: Algorithm
