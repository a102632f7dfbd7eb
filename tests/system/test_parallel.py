"""Calls in several processes: one thread each, and one clear error."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest
import torch

from cnnpipe.system.errors import InputError
from cnnpipe.system.parallel import side_by_side


@pytest.mark.parametrize("processes", [1, 2])
def test_each_call_has_one_thread(processes):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert list(side_by_side([torch.get_num_threads] * 3, processes)) == [1, 1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_process_is_one_clear_error():
    with pytest.raises(InputError, match=r"^one of the 2 processes was killed; if memory ran out"):
        list(side_by_side([os.getpid, partial(signal.raise_signal, signal.SIGKILL)], 2))


WAITING = """
import os, sys, time
from functools import partial
from pathlib import Path
from cnnpipe.system.parallel import side_by_side

def wait(file):
    file.write_text(str(os.getpid()))
    time.sleep(120)

list(side_by_side([partial(wait, Path(sys.argv[1]) / name) for name in ("a", "b")], 2))
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
