"""Settings of the machine that a run is computed on. None of them can change a result."""

from typing import Annotated

from pydantic import Field

from cnnpipe.params.section import Section


class RuntimeParams(Section):
    """No stage depends on these. What kind of device `device` is, cpu or cuda, does change bits:
    the validate stage writes it down, and what depends on it depends on that file."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps|xpu)$")] = "auto"
    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes of this machine that share each batch: one per GPU, or several of the CPU."""
    checkpoint: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """Seconds between two checkpoints; one more is taken at the end of each epoch."""
