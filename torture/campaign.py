"""What a promise is, how it is tried, and the table of all."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Attempts = Callable[[int, random.Random, Path], Iterator["Trial"]]


@dataclass(frozen=True)
class Trial:
    """One attempt to break a promise."""

    name: str
    """What was done, in enough words to do it again."""
    held: bool
    said: str = ""
    """What was seen, if it did not hold."""


@dataclass(frozen=True)
class Promise:
    text: str
    """A row of the table: what holds, whatever is tried."""
    attempts: Attempts
    """Called with the number of trials, a source of random numbers and an empty folder."""
    full: int
    """Trials of `make torture`."""
    few: int
    """Trials of the test suite; 0 where one takes too long, or where pytest tries them itself."""

    @property
    def name(self) -> str:
        """module.function, as the command line and the tests name it."""
        module = self.attempts.__module__.rpartition(".")[2]
        return f"{module.removeprefix('test_')}.{self.attempts.__name__.removeprefix('test_')}"


@dataclass(frozen=True)
class Outcome:
    name: str
    promise: str
    tried: int
    held: int
    seconds: float
    broken: list[str]
    """The trials that did not hold, and what was seen."""


def promise(text: str, *, full: int, few: int) -> Callable[[Attempts], Promise]:
    """Make a promise of a function that yields `Trial`s."""

    def made(attempts: Attempts) -> Promise:
        return Promise(text, attempts, full, few)

    return made


def try_promise(promise: Promise, trials: int, seed: int) -> Outcome:
    """Try a promise in a folder that is removed afterwards; the same seed tries the same."""
    started = time.monotonic()
    # A text seeds alike in every process; the hash of one does not.
    randomness = random.Random(f"{promise.name} {seed}")
    seen: list[Trial] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            seen.extend(promise.attempts(trials, randomness, Path(folder)))  # kept one by one
        except Exception as error:  # what the trials themselves stumble over is no success
            said = f"{type(error).__name__}: {error}"
            seen.append(Trial("the trials were broken off", held=False, said=said))
    return Outcome(
        name=promise.name,
        promise=promise.text,
        tried=len(seen),
        held=sum(trial.held for trial in seen),
        seconds=round(time.monotonic() - started, 1),
        broken=[f"{trial.name}: {trial.said}" for trial in seen if not trial.held],
    )


def judged(checks: Mapping[str, bool], said: str) -> tuple[bool, str]:
    """Whether all checks held; which did not, and the end of what was seen."""
    wrong = ", ".join(what for what, right in checks.items() if not right)
    return not wrong, f"{wrong}; {said[-1000:]}"


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes in Markdown."""
    lines = ["| promise | tried | held | seconds |", "|---|---:|---:|---:|"]
    lines += [
        f"| {outcome.promise} | {outcome.tried:,} | {outcome.held:,} | {outcome.seconds:,.0f} |"
        for outcome in outcomes
    ]
    return "\n".join(lines)


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [asdict(outcome) for outcome in outcomes]
