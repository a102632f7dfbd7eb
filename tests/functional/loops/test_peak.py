"""The loop that measures the peak does as many multiply-adds as it counts."""

import pytest
import torch

from cnnpipe.functional import loops
from cnnpipe.functional.loops import peak

if unsupported := loops.unsupported(torch.empty(0)):
    pytest.skip(unsupported, allow_module_level=True)


@pytest.mark.parametrize("lanes", peak.LANES)
def test_every_multiply_add_that_is_counted_is_computed(lanes):
    sums = torch.zeros(1, peak.CHAINS, lanes)
    peak._multiply_adds(lanes)(1, torch.ones(2, lanes), sums)  # one task: each sum counts its steps
    assert (sums == peak.STEPS).all()
    tasks = peak.TASKS * torch.get_num_threads()
    assert peak.flops(lanes) == 2 * tasks * int(sums.sum())


@pytest.mark.parametrize("lanes", peak.LANES)
def test_a_run_gives_all_threads_their_tasks(lanes, monkeypatch):
    given = []
    monkeypatch.setattr(peak, "_multiply_adds", lambda lanes: lambda *work: given.append(work))
    peak.run(lanes)
    [(tasks, factors, sums)] = given
    assert tasks == peak.TASKS * torch.get_num_threads()
    assert (factors.shape, sums.shape) == (
        (2, lanes),
        (torch.get_num_threads(), peak.CHAINS, lanes),
    )
