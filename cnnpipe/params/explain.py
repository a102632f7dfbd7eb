"""Settings of the explain stage."""

from typing import Annotated

from pydantic import Field

from cnnpipe.params.section import Section


class AttributionParams(Section):
    """Which pixels an answer rests on, and whether the same would be said of random weights."""

    images: Annotated[int, Field(ge=10, le=10_000)]
    """Test images, spread evenly, whose maps are compared with those of random weights."""
    networks: Annotated[int, Field(ge=1, le=20)]
    """Networks of random weights that they are compared with."""
    window: Annotated[int, Field(ge=2, le=14)]
    """Side of the square that occlusion blackens, pixels; it moves by half of that."""


class ExplainParams(Section):
    """What the filters do and what the answers rest on."""

    removal_images: Annotated[int, Field(ge=20, le=10_000)]
    """Test images, spread evenly, on which each filter is removed."""
    patches: Annotated[int, Field(ge=1, le=8)]
    """Test patches shown of each filter, those that excite it most."""
    attribution: AttributionParams
