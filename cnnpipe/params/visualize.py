"""Settings of the visualize stage."""

from typing import Annotated

from pydantic import ConfigDict, Field

from cnnpipe.params.section import Selection


class DrawnParams(Selection):
    """Which test images are followed through every layer; the explain stage draws them, too."""

    samples: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=10)]
    """Indices into the test set of the digits that are followed through every layer."""
    worst: Annotated[int, Field(ge=0, le=10)]
    """How many of the worst mistakes are followed through every layer like the chosen digits."""


class VisualizeParams(DrawnParams):
    """The whole section."""

    model_config = ConfigDict(extra="forbid")

    mistakes: Annotated[int, Field(ge=1, le=100)]
    """How many of the worst mistakes are shown."""
