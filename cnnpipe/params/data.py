"""Settings of the data set."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from cnnpipe.params.section import Selection

DatasetName = Literal["mnist", "fashion_mnist", "kmnist", "digits", "folder"]


class SourceParams(Selection):
    """Where the data set comes from."""

    name: DatasetName
    path: Annotated[str, Field(pattern=r"^\S(.*\S)?$")]
    """The folder that the data set named folder is read from; relative to params.yaml."""
    test: Annotated[float, Field(gt=0, lt=1)]
    """Fraction of each class that is tested with, where that folder has no test set."""
    mirrors: list[Annotated[str, Field(pattern=r"^https?://\S+$")]]
    """Where MNIST's files are fetched from, first to last."""
    timeout: Annotated[float, Field(gt=0, le=600)]
    """Seconds without an answer after which a mirror counts as dead."""


class SplitParams(Selection):
    """How the training images are divided."""

    validation: Annotated[float, Field(gt=0, lt=1)]
    """Fraction of the training images held out to watch training with."""


class DataParams(SourceParams, SplitParams):
    """The whole section."""

    model_config = ConfigDict(extra="forbid")
