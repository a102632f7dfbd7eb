"""Independent calls side by side: one to a core, with one thread each.

The tensors of such calls are too small for a second thread to help much, and with one thread the
results are the same bits on any number of cores.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch
from joblib import Parallel, cpu_count, delayed
from threadpoolctl import threadpool_limits

from cnnpipe.system.errors import InputError
from cnnpipe.system.processes import begin_worker

T = TypeVar("T")


def side_by_side(calls: Sequence[Callable[[], T]], processes: int | None = None) -> Iterator[T]:
    """Make all calls; a result is given as soon as it is there, in no fixed order.

    Args:
        calls: begun in this order, so the longest should come first; copied to the processes.
        processes: as many as there are cores unless given, and never more than calls.

    Raises:
        InputError: a process was killed, as a machine does that runs out of memory.

    >>> from functools import partial
    >>> sorted(side_by_side([partial(max, 1, 2), partial(max, 3, 4)], processes=1))
    [2, 4]
    """
    processes = min(processes or cpu_count(), len(calls))
    warnings.filterwarnings("ignore", "A worker stopped")  # joblib renews those that grew
    workers = Parallel(
        n_jobs=processes,
        return_as="generator_unordered",
        initializer=begin_worker,
        initargs=(os.getpid(),),
    )
    try:
        yield from workers(delayed(_alone)(call) for call in calls)
    except BrokenProcessPool:
        raise InputError(
            f"one of the {processes} processes was killed; if memory ran out, "
            "LOKY_MAX_CPU_COUNT=1 lets one run at a time"
        ) from None


def _alone(call: Callable[[], T]) -> T:
    """With one thread, also where one process is enough and joblib starts no other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            return call()
    finally:
        torch.set_num_threads(threads)
