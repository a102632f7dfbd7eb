"""What all stages share: where things lie, and how an error reaches a person."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click

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
        try:
            run(*args, **kwargs)
        except (InputError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return click.command(guarded)
