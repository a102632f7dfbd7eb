"""Whether worker processes end when the process that started them is killed."""

import subprocess
import sys
import time
from pathlib import Path

import psutil


def assert_workers_end(program: str, folder: Path, workers: int) -> None:
    """Kill a program once all of its workers run, and wait until none of them is left.

    Args:
        program: Python; each of its workers writes a file of its process id into the folder that
            is the program's argument, and then sleeps for minutes.
        folder: empty.
        workers: how many the program starts.
    """

    def ids() -> list[int]:
        return [int(text) for file in folder.iterdir() if (text := file.read_text())]

    with subprocess.Popen([sys.executable, "-c", program, str(folder)]) as started:
        deadline = time.monotonic() + 120
        while len(ids()) < workers:
            assert started.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        started.kill()
    deadline = time.monotonic() + 10
    while any(map(psutil.pid_exists, ids())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(psutil.pid_exists, ids()))
