"""Claims measured in several processes: one thread each, and one clear error."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil
import pytest
import torch

from cnnpipe.findings.finding import Finding
from cnnpipe.principles.claim import Claim
from cnnpipe.principles.claims import EXPERIMENTS
from cnnpipe.principles.parallel import LONGEST, measure_all
from cnnpipe.system.errors import InputError
from tests.helpers.tiny_study import TINY


@dataclass
class Experiment:
    """Finds how many threads it was measured with, or ends its own process."""

    name: str
    dies: bool = False

    @property
    def CLAIM(self) -> Claim:
        return Claim(self.name, "A claim.", "Why?", "None.", draw=None)

    def measure(self, study) -> Finding:
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        words = {"unit": "threads", "uncertainty": "exact", "data": "none"}
        threads = torch.get_num_threads()
        return self.CLAIM.finding(True, "So.", threads, **words, tables={}, details={})


@pytest.mark.parametrize("processes", [1, 2])
def test_each_claim_has_one_thread(processes):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = list(measure_all(TINY, (Experiment("a"), Experiment("b")), processes=processes))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert sorted(finding.name for finding in found) == ["a", "b"]
    assert [finding.number for finding in found] == [1, 1]


def test_the_longest_start_first():
    experiments = [Experiment("short"), *(Experiment(name) for name in reversed(LONGEST))]
    found = [finding.name for finding in measure_all(TINY, experiments, processes=1)]
    assert found == [*LONGEST, "short"]
    assert set(LONGEST) < {experiment.CLAIM.name for experiment in EXPERIMENTS}


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_process_is_one_clear_error():
    with pytest.raises(
        InputError, match=r"^one of the 2 processes .* was killed; if memory ran out"
    ):
        list(measure_all(TINY, (Experiment("a"), Experiment("b", dies=True)), processes=2))


WAITING = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from cnnpipe.principles.parallel import measure_all

class Experiment:
    def __init__(self, name):
        self.CLAIM = SimpleNamespace(name=name)
        self.file = Path(sys.argv[1]) / name

    def measure(self, study):
        self.file.write_text(str(os.getpid()))
        time.sleep(120)

list(measure_all(None, [Experiment("a"), Experiment("b")], processes=2))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_processes_end_with_the_one_that_started_them(tmp_path):
    """A killed process cannot stop its workers, which would go on for minutes."""
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
