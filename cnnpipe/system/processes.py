"""A process that ends when the one that started it has ended.

A SIGKILL gives a process no time to end those that it started. They would go on, and write their
results while the next run writes its own.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cnnpipe.system.threads import collect_garbage_rarely


def terminate() -> None:
    """End this process as SIGTERM does, with time to remove what is half-written."""
    os.kill(os.getpid(), signal.SIGTERM)


def begin_worker(parent: int) -> None:
    """Begin as a stage does in a process that computes for `parent`, and end with it.

    To be called before torch is imported, which takes seconds: a worker that did not watch yet
    would wait for the next call of a parent that was killed meanwhile.
    """
    collect_garbage_rarely()
    end_with_parent(partial(os._exit, 1), parent)


def end_with_parent(end: Callable[[], object] = terminate, parent: int | None = None) -> None:
    """Call `end` soon after the process that started this one has ended.

    Args:
        end: ends this process; `os._exit` where its main thread may wait in foreign code.
        parent: the process that started this one, where it may have ended by now.
    """
    before = _parents()

    def watch() -> None:
        while _parents() == before and parent in (None, before[0]):
            time.sleep(0.5)
        end()

    threading.Thread(target=watch, daemon=True).start()


def _parents() -> tuple[int, ...]:
    """The process that runs this one; and where that is a shell (Debian's sh stays), its parent.

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
