"""Claims measured in processes of their own: the same results, and one clear error."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pandas as pd
import psutil
import pytest
import torch

from cnnpipe.findings.finding import Finding
from cnnpipe.params.principles import ActivationParams, FiltersParams
from cnnpipe.principles import activation, filters
from cnnpipe.principles.claims import CLAIMS
from cnnpipe.principles.parallel import LONGEST, measure_all
from cnnpipe.principles.study import Study
from cnnpipe.system.errors import InputError
from tests.helpers.tiny_study import tiny_study

STUDY = tiny_study(
    activation=ActivationParams(
        depths=[2, 3],
        trained_depths=[2],
        channels=4,
        seeds=2,
        steps=3,
        batch_size=8,
        lr=0.01,
        test_images=20,
    ),
    filters=FiltersParams(draws=100),
)


@dataclass
class Claim:
    """Finds how many threads it was measured with, or ends its own process."""

    NAME: str
    dies: bool = False
    CLAIM: str = "A claim."

    def measure(self, study: Study) -> Finding:
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        threads = torch.get_num_threads()
        return Finding(
            self.NAME, self.CLAIM, "supported", "So.", threads, "threads", None, "exact", {}
        )


def test_the_number_of_processes_changes_no_bit():
    one, two = (
        {found.name: found for found in measure_all(STUDY, (filters, activation), processes=n)}
        for n in (1, 2)
    )
    assert one.keys() == two.keys() == {"filters", "activation"}
    for name, found in one.items():
        assert found.summary() == two[name].summary()
        for table, frame in found.tables.items():
            pd.testing.assert_frame_equal(frame, two[name].tables[table], check_exact=True)


@pytest.mark.parametrize("processes", [1, 2])
def test_each_claim_has_one_thread(processes):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = list(measure_all(STUDY, (Claim("a"), Claim("b")), processes=processes))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert sorted(finding.name for finding in found) == ["a", "b"]
    assert [finding.number for finding in found] == [1, 1]


def test_the_longest_start_first():
    claims = [Claim("short"), *(Claim(name) for name in reversed(LONGEST))]
    found = [finding.name for finding in measure_all(STUDY, claims, processes=1)]
    assert found == [*LONGEST, "short"]
    assert set(LONGEST) < {claim.NAME for claim in CLAIMS}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_process_is_one_clear_error():
    with pytest.raises(
        InputError, match=r"^one of the 2 processes .* was killed; if memory ran out"
    ):
        list(measure_all(STUDY, (Claim("a"), Claim("b", dies=True)), processes=2))


WAITING = """
import os, sys, time
from pathlib import Path
from cnnpipe.principles.parallel import measure_all

class Claim:
    def __init__(self, folder, name):
        self.folder, self.NAME = folder, name

    def measure(self, study):
        (Path(self.folder) / self.NAME).write_text(str(os.getpid()))
        time.sleep(120)

list(measure_all(None, [Claim(sys.argv[1], "a"), Claim(sys.argv[1], "b")], processes=2))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_processes_end_with_the_one_that_started_them(tmp_path):
    """It is killed, so it can tell them nothing, and they would measure on for minutes."""
    files = [tmp_path / "a", tmp_path / "b"]
    with subprocess.Popen([sys.executable, "-c", WAITING, str(tmp_path)]) as stage:
        deadline = time.monotonic() + 60
        while not all(file.exists() and file.read_text() for file in files):
            assert stage.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        stage.kill()
    workers = [int(file.read_text()) for file in files]
    deadline = time.monotonic() + 10
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, workers))
