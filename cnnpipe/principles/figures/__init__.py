"""One figure per claim of the theory: `draw`, in a module of the name of the claim's own.

A figure is drawn from the tables and details of a `Finding`; the titles ask, the numbers answer.
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
    "equivalence": equivalence.draw,
    "output_size": output_size.draw,
    "locality": locality.draw,
    "sharing": sharing.draw,
    "translation": translation.draw,
    "pooling": pooling.draw,
    "hierarchy": hierarchy.draw,
    "activation": activation.draw,
    "sparsity": sparsity.draw,
    "inductive_bias": inductive_bias.draw,
    "filters": filters.draw,
}
"""By the claim's name."""
