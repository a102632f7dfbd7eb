"""Tests run side by side: each worker, and each stage it starts, computes with one thread.

`make test` gives each file to one worker, so that what a file prepares is prepared once.
"""

import os
import sys

import pytest

from cnnpipe.system.threads import collect_garbage_rarely

os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is imported, after this line
# Stages and workers are processes that import the project: each would compile it again.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
collect_garbage_rarely()

LONGEST = (
    "docs/test_experiments.py",
    "stages/test_stages.py",
    "train/test_distributed.py",
    "stages/test_reruns.py",
    "report/test_interaction.py",
    "torture/test_torture.py",
    "functional/test_implicit_gemm.py",
    "compare/test_compare.py",
    "scripts/test_repro.py",
    "scripts/test_record.py",
)
"""Files that begin first, so that no worker is left alone with one of them at the end."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait, for a queue, a signal, or a time-out."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="module")
def browser():
    """Chromium, started for the tests of one file."""
    from tests.helpers.chromium_page import chromium  # with torch, which few tests need

    with chromium() as browser:
        yield browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((k for k, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=place)
