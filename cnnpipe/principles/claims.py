"""The claims of the theory, in its order: the one list of them.

The claim about hand-crafted features is measured by `cnnpipe.handcrafted`, in a stage of its own.
"""

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
from cnnpipe.principles.claim import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
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
