"""All claims measured side by side, the longest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from cnnpipe.findings.finding import Finding
from cnnpipe.principles.claim import Experiment
from cnnpipe.principles.claims import EXPERIMENTS
from cnnpipe.principles.study import Study
from cnnpipe.system.parallel import side_by_side

LONGEST = (
    "sparsity",
    "hierarchy",
    "inductive_bias",
    "sharing",
    "filters",
    "pooling",
    "activation",
    "output_size",
    "translation",
)
"""By the time that they take with the budgets of params.yaml; the others take a few seconds. A long
one that starts last would leave the other cores idle. Nothing but the time depends on it."""


def measure_all(
    study: Study, experiments: Sequence[Experiment] = EXPERIMENTS, *, processes: int | None = None
) -> Iterator[Finding]:
    """Measure every claim; a finding is given as soon as it is there, in no fixed order.

    Args:
        study: is copied to every process.
        experiments: one for each claim.
        processes: as many as there are cores unless given, and never more than claims.

    Raises:
        InputError: a process was killed, as a machine does that runs out of memory.
    """
    order = {name: place for place, name in enumerate(LONGEST)}
    in_turn = sorted(experiments, key=lambda one: order.get(one.CLAIM.name, len(order)))
    yield from side_by_side([partial(one.measure, study) for one in in_turn], processes)
