"""Calls in several processes: one thread each, and one clear error."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing import get_context

import psutil
import pytest
import torch

from cnnpipe.system.errors import InputError
from cnnpipe.system.parallel import side_by_side
from cnnpipe.system.processes import begin_worker


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
from pathlib import Path

def wait():
    Path(sys.argv[1], f"{os.getpid()}.pid").touch()
    time.sleep(120)
"""
STAGE = """
import os

if __name__ == "__main__":
    os.environ["STAGE"] = str(os.getpid())
    import late, waiting
    from cnnpipe.system.parallel import side_by_side
    list(side_by_side([waiting.wait, late.call], 2))
"""
LATE = """
import os, waiting

if os.environ["STAGE"] != str(os.getpid()):
    waiting.wait()

def call():
    pass
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_processes_end_with_the_one_that_started_them(tmp_path):
    """A killed process cannot stop its workers, in a call or on the way to it, for minutes."""
    for name, text in (("waiting", WAITING), ("stage", STAGE), ("late", LATE)):
        (tmp_path / f"{name}.py").write_text(text)
    with subprocess.Popen([sys.executable, tmp_path / "stage.py", tmp_path]) as stage:
        deadline = time.monotonic() + 60
        while len(files := list(tmp_path.glob("*.pid"))) < 2:
            assert stage.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        stage.kill()
    workers = [int(file.stem) for file in files]
    deadline = time.monotonic() + 10
    while any(map(psutil.pid_exists, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, workers))


def test_a_process_ends_that_begins_after_the_one_that_started_it_has_ended():
    with get_context("spawn").Pool(1, begin_worker, (os.getpid(),)) as pool:
        assert pool.apply(abs, (-1,)) == 1
    orphan = get_context("spawn").Process(target=begin_and_wait, args=(os.getppid(),))
    orphan.start()
    orphan.join(60)
    assert orphan.exitcode == 1


def begin_and_wait(parent):
    begin_worker(parent)
    time.sleep(120)
