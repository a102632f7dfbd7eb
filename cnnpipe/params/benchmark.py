"""Settings of the benchmark stage."""

from typing import Annotated

from pydantic import Field

from cnnpipe.params.section import Count, Positive, Section


class BenchmarkParams(Section):
    """Own layers against torch's, in time and memory."""

    batch_size: Count
    """Images, for single layers and operators and for the memory."""
    batch_sizes: Annotated[list[Count], Field(min_length=1)]
    """Images, for whole models."""
    seconds: Positive
    """For each comparison; it takes longer where three rounds do."""
