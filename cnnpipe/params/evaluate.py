"""Settings of the evaluate stage."""

from typing import Annotated

from pydantic import Field

from cnnpipe.params.section import Section


class EvaluateParams(Section):
    """How a trained network is judged."""

    shift: Annotated[int, Field(ge=0, le=3)]
    """Pixels; answers are averaged over the (2·shift + 1)² copies of an image moved by up to so
    many, up or down and left or right. 0 is the image alone."""
