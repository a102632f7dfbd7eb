"""Settings of the models: what each is built of, and what it overrides of `train`."""

from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field

from cnnpipe.params.section import Count, Fraction, Section, Selection
from cnnpipe.params.train import Algorithm, TrainParams

ModelName = Literal["lenet5", "vgg"]
Activation = Literal["relu", "tanh", "sigmoid"]
Pooling = Literal["max", "avg"]

MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)


class ArchitectureParams(Selection):
    """What a network is built with."""

    @classmethod
    def keys(cls) -> set[str]:
        """The keys of a model's section that are no settings of the training run."""
        return set(cls.model_fields) - set(TrainParams.model_fields)

    def architecture(self) -> dict[str, Any]:
        """Keyword arguments of `cnnpipe.models.build_model`."""
        return self.model_dump(include=self.keys())


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


class ModelsParams(Section):
    """The models' sections, completed by the keys of `train`."""

    lenet5: LeNet5Params
    vgg: VGGParams

    def of(self, name: ModelName) -> LeNet5Params | VGGParams:
        return self.lenet5 if name == "lenet5" else self.vgg


class LeNet5Selection(Selection):
    """For a stage that trains LeNet-5 alone."""

    lenet5: LeNet5Params


class ArchitecturesParams(Selection):
    """The models' sections for a stage that builds the networks and trains neither."""

    lenet5: LeNet5Architecture
    vgg: VGGArchitecture

    def of(self, name: ModelName) -> LeNet5Architecture | VGGArchitecture:
        return self.lenet5 if name == "lenet5" else self.vgg


class AlgorithmParams(Selection):
    algorithm: Algorithm


class AlgorithmsParams(Selection):
    """The models' sections for a stage that only needs to know how their convolutions compute."""

    lenet5: AlgorithmParams
    vgg: AlgorithmParams

    def used(self) -> set[Algorithm]:
        return {self.lenet5.algorithm, self.vgg.algorithm}
