"""Every claim of the theory, measured: a module per claim, with claim, formula and experiment.

A module holds `NAME`, `CLAIM` and `measure(study) -> Finding`; its figure is `draw` of the module
of the same name in `cnnpipe.principles.figures`. A verdict follows from the number, and can be "not
supported".

The claim about hand-crafted features is measured by `cnnpipe.handcrafted`, in a stage of its own.
"""

from typing import Protocol

from cnnpipe.findings.finding import Finding
from cnnpipe.principles import (
    activation,
    equivalence,
    filters,
    hierarchy,
    inductive_bias,
    locality,
    output_size,
    pooling,
    sharing,
    sparsity,
    translation,
)
from cnnpipe.principles.study import Study


class Claim(Protocol):
    """What a module offers."""

    NAME: str
    CLAIM: str

    def measure(self, study: Study) -> Finding: ...


CLAIMS: tuple[Claim, ...] = (
    equivalence,
    output_size,
    locality,
    sharing,
    translation,
    pooling,
    hierarchy,
    activation,
    sparsity,
    inductive_bias,
    filters,
)
"""In the order of the theory."""
