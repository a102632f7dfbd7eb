"""One click script per DVC stage: parse, load, call `cnnpipe`, save. No logic."""

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path


def _end_with_dvc() -> None:
    """End this process soon after the DVC that runs it has gone.

    A SIGTERM to DVC alone, or a SIGKILL, ends DVC without a word to its stage. That would go on,
    and write its results while the next `dvc repro` writes its own.
    """
    before = _parents()

    def watch() -> None:
        while _parents() == before:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _parents() -> tuple[int, ...]:
    """The process that runs this one; and where that is a shell (Debian's sh stays), DVC above it.

    A process whose parent has ended gets another one.
    """
    parent = os.getppid()
    try:
        is_shell = b"\0-c\0" in Path(f"/proc/{parent}/cmdline").read_bytes()
        status = Path(f"/proc/{parent}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux
        return (parent,)
    # The name, in brackets, may hold anything; state and parent follow it.
    return (parent, int(status.rpartition(")")[2].split()[1])) if is_shell else (parent,)


# While `python -m` looks for a stage, its name is "-m". A program that imports one is no stage.
if sys.argv[:1] == ["-m"]:
    # Until `stages.command` takes over, a stage imports its modules, for seconds, and has begun
    # nothing: Ctrl-C ends it without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.name == "posix" and "DVC_STAGE" in os.environ:
        _end_with_dvc()

# OpenMP's threads spin while they wait for each other, unless told to sleep. Where another process
# wants the same cores (a second experiment of the queue, say), a spinning thread keeps the very
# core that the awaited one needs: a training step of LeNet-5 was seen to take 5 s instead of 33 ms.
# A thread that sleeps at once costs its waking: 27 ms a step instead of 14 on two idle cores, VGG
# 114 instead of 91. So they spin 3,000 times before they sleep: 16 ms, VGG 95; and with a second
# training on the same cores 46 ms and 238, where sleeping at once takes 25 and 155.
#
# libgomp reads the count; other OpenMP libraries sleep. Whoever sets OMP_WAIT_POLICY is obeyed. It
# is read when torch is imported, which no stage does before this line.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

# glibc hands freed memory back to the system, which clears every page anew when the next training
# step asks for it: 5,000 to 8,000 page faults a step of VGG. Kept instead, the step takes 77 ms
# instead of 88, LeNet-5's 13 instead of 14, and the peak stays the same. Other C libraries have no
# mallopt, or ignore these two.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
with suppress(AttributeError, OSError, TypeError):  # TypeError: Windows has no library of that name
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that it takes
    ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
