"""All claims measured side by side: one to a core, with one thread each, the longest first.

The experiments' tensors are too small for a second thread to help much, and with one thread the
results are the same bits on any number of cores.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial

import torch
from joblib import Parallel, cpu_count, delayed
from threadpoolctl import threadpool_limits

from cnnpipe.findings.finding import Finding
from cnnpipe.principles.claim import Experiment
from cnnpipe.principles.claims import EXPERIMENTS
from cnnpipe.principles.study import Study
from cnnpipe.system.errors import InputError
from cnnpipe.system.processes import end_with_parent

LONGEST = (
    "sharing",
    "hierarchy",
    "pooling",
    "activation",
    "filters",
    "sparsity",
    "inductive_bias",
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
    processes = min(processes or cpu_count(), len(experiments))
    order = {name: place for place, name in enumerate(LONGEST)}
    in_turn = sorted(experiments, key=lambda one: order.get(one.CLAIM.name, len(order)))
    warnings.filterwarnings("ignore", "A worker stopped")  # joblib renews those that grew
    workers = Parallel(n_jobs=processes, return_as="generator_unordered")
    try:
        yield from workers(delayed(_measure)(one.measure, study, os.getpid()) for one in in_turn)
    except BrokenProcessPool:
        raise InputError(
            f"one of the {processes} processes that measure the claims was killed; if memory ran "
            "out, LOKY_MAX_CPU_COUNT=1 lets one run at a time"
        ) from None


def _measure(measure: Callable[[Study], Finding], study: Study, stage: int) -> Finding:
    """One claim with one thread, also where one process is enough and joblib starts no other."""
    if os.getpid() != stage:
        _end_with_stage()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return measure(study)
    finally:
        torch.set_num_threads(threads)


@cache  # once in each process
def _end_with_stage() -> None:
    end_with_parent(partial(os._exit, 1))
