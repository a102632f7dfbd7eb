"""Settings of `make race`."""

from typing import Annotated, Generic, TypeVar

from pydantic import Field

from cnnpipe.params.models import ModelParams
from cnnpipe.params.section import Section

Network = TypeVar("Network", bound=ModelParams)


class RecipeParams(Section, Generic[Network]):
    """A network and a schedule that reach an accuracy in little time."""

    target: Annotated[float, Field(gt=0, lt=1)]
    """Test accuracy to reach, a fraction. The recipe was chosen on validation images."""
    vgg: Network
    """The network, and what it overrides of `train`."""


class RaceParams(Section, Generic[Network]):
    """Seconds from the first batch to a test accuracy (`make race`)."""

    seeds: Annotated[int, Field(ge=2, le=100)]
    """Runs of each contestant."""
    recipes: Annotated[list[RecipeParams[Network]], Field(min_length=1, max_length=10)]
