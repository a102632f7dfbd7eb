"""What all stages share: where things lie, and how an error reaches a person."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import NoReturn, ParamSpec

import click

from cnnpipe.system.artifacts import TEMPORARY, remove_leftovers
from cnnpipe.system.errors import InputError

DATA = Path("data")
RAW = DATA / "raw"
MODELS = DATA / "models"
SNAPSHOTS = DATA / "snapshots"
EMBEDDINGS = DATA / "embeddings"
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
