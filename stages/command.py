"""What all stages share: where things lie, and how an error reaches a person."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import NoReturn, ParamSpec

import click

from cnnpipe.artifacts import TEMPORARY, remove_leftovers
from cnnpipe.errors import InputError

RAW = Path("data/raw")
MODELS = Path("data/models")
REPORTS = Path("reports")
UNREACHABLE = Path(".cnnpipe/unreachable.txt")
"""What a download that no mirror answered leaves in the project's root, for scripts/repro.py."""

P = ParamSpec("P")


def stage(run: Callable[P, None]) -> click.Command:
    """A command named after nothing but its module: bad input is one line and exit status 1.

    Errors that are ours (`InputError`) or the machine's (a full disk, a read-only folder) carry
    all that a person needs. Any other exception is a bug, and keeps its traceback.
    """

    @wraps(run)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        with _stoppable():
            _end_with_dvc()
            try:
                for pattern in (TEMPORARY, f"data/**/{TEMPORARY}", f"reports/**/{TEMPORARY}"):
                    remove_leftovers(Path().glob(pattern))
                run(*args, **kwargs)
            except (InputError, OSError) as error:
                raise click.ClickException(str(error)) from error

    return click.command(guarded)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and Ctrl-C end the block as an exception does, without temporary files.

    The exit status is the shell's for such an end, 143, 129 or 130: DVC takes no result for good.
    A SIGHUP that `nohup` has told the system to ignore stays ignored.
    """

    def stop(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_dvc() -> None:
    """End this stage soon after the DVC that runs it has gone.

    A SIGTERM to DVC alone, or a SIGKILL, ends DVC without a word to its stage. That would go on,
    and write its results while the next `dvc repro` writes its own.
    """
    if os.name != "posix" or "DVC_STAGE" not in os.environ:
        return
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
