"""All that is measured to explain one network: its filters, and what its answers rest on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor

from cnnpipe.data.dataset import Dataset
from cnnpipe.explain.attribution import Attributions, attribute, finding
from cnnpipe.explain.filters import describe_filters, exciting_patches
from cnnpipe.findings.wording import title_of
from cnnpipe.inspection.responses import strongest
from cnnpipe.models import TrainedNetwork
from cnnpipe.params.explain import ExplainParams


@dataclass(frozen=True)
class Explanation:
    tables: Mapping[str, pd.DataFrame]
    """methods and correlations of the attribution; filters and patches of the convolutions."""
    attributions: Attributions
    answers: Tensor
    """The class that the network gives each drawn image: (images,)."""
    finding: dict[str, Any]
    """The outcome of the attribution, as the page quotes it."""


def explain(
    network: TrainedNetwork, dataset: Dataset, drawn: list[int], params: ExplainParams, seed: int
) -> Explanation:
    """Describe every filter of a network, and the pixels that its answers rest on.

    Args:
        network: of this project's layers.
        drawn: indices of the test images whose maps are wanted.
        seed: of the random networks that the maps are compared with.
    """
    test = dataset.test
    responses = strongest(network.model, network.normalization(test.images))
    filters = describe_filters(network, responses, test, params.removal_images)
    patches = exciting_patches(network.model, responses, params.patches)
    attributions = attribute(network, dataset, drawn, params.attribution, seed)
    return Explanation(
        tables={
            "methods": attributions.table(seed),
            "correlations": attributions.correlations,
            "filters": filters,
            "patches": patches,
        },
        attributions=attributions,
        answers=network.predict(test.images[drawn]).argmax(dim=1).cpu(),
        finding=finding(attributions, title_of(network.name), dataset, seed),
    )
