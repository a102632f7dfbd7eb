"""How threads wait for each other, what malloc keeps, and when Python looks for garbage."""

import atexit
import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def configure_threads() -> None:
    """Let waiting threads spin briefly and then sleep. Call it before torch is imported.

    OpenMP's threads spin while they wait for each other, unless told to sleep. Where another
    process uses the same cores (such as a second experiment of the queue), a spinning thread keeps
    the very core that the awaited one needs: a training step of LeNet-5 was seen to take 5 s
    instead of 33 ms. A thread that sleeps at once costs its waking: a step takes 9.8 ms on two
    idle cores, one of VGG 56. So they spin 3,000 times before they sleep: 8.1 ms, VGG 45. With a
    second training on the same cores this takes 17 ms and 95, and sleeping at once 16 and 88.

    libgomp reads the count; other OpenMP libraries sleep. An OMP_WAIT_POLICY of the user is kept.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def keep_freed_memory() -> None:
    """Let malloc keep what is freed instead of handing it back to the system.

    The system clears every page again when the next training step asks for it. With the memory
    kept, a step of VGG takes 45 ms instead of 61 to 75, and the peak stays the same; LeNet-5 needs
    too little to gain. C libraries other than glibc have no mallopt, or ignore these two.
    """
    with suppress(AttributeError, OSError, TypeError):  # TypeError: Windows has no such library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that it takes
        ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def collect_garbage_rarely() -> None:
    """Let Python look for garbage in cycles after 100,000 new objects instead of 700.

    Each search walks through the objects that are there, hundreds of thousands once torch is
    imported. With fewer of them a stage's imports take 3.3 s instead of 3.8, and its figures a
    fifth less. The last search, when the process ends, took 0.8 s to find what ends with it.
    """
    gc.set_threshold(100_000, 20, 100)
    atexit.register(gc.freeze)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Let Python look for none in the block, which makes many objects or measures memory."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
