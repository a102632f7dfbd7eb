"""One figure per claim of the theory: `draw`, in the module with the claim's name.

A figure is drawn from the tables and details of a `Finding`; titles ask, numbers answer.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cnnpipe.principles.figures import (
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

FIGURES: Mapping[str, Callable[[Mapping[str, pd.DataFrame], Mapping[str, Any]], Figure]] = {
    module.__name__.rpartition(".")[2]: module.draw
    for module in (
        *(equivalence, output_size, locality, sharing, translation, pooling, hierarchy),
        *(activation, sparsity, inductive_bias, filters),
    )
}
"""By the claim's name, which is the module's."""
